//! What a load measured, as a table for people and as one line of JSON for programs.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::load::{Outcome, Plan};
use crate::recorder::Kind;

/// The figures of one load. Times in microseconds.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) target: String,
    pub(crate) mix: String,
    pub(crate) keys: String,
    pub(crate) clients: usize,
    pub(crate) connections: usize,
    pub(crate) value_bytes: usize,
    pub(crate) seconds: f64,
    pub(crate) operations: u64,
    pub(crate) operations_per_second: f64,
    pub(crate) refused: u64,
    pub(crate) unknown: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) first_failure: Option<String>,
    pub(crate) latencies: Vec<Latency>,
    /// CPU time of all servers per operation; absent where no server was found on this machine.
    pub(crate) server_cpu_us_per_operation: Option<f64>,
    pub(crate) servers: usize,
    /// CPU time of this program per operation.
    pub(crate) client_cpu_us_per_operation: f64,
}

/// How long operations of one kind took.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Latency {
    pub(crate) kind: &'static str,
    pub(crate) operations: u64,
    pub(crate) mean_us: f64,
    pub(crate) p50_us: u64,
    pub(crate) p90_us: u64,
    pub(crate) p99_us: u64,
    pub(crate) p999_us: u64,
    pub(crate) max_us: u64,
}

impl Report {
    pub(crate) fn of(plan: &Plan, outcome: &Outcome) -> Self {
        let measured = &outcome.measured;
        let operations = measured.operations();
        let per_operation = |time: Duration| time.as_secs_f64() * 1e6 / operations.max(1) as f64;
        Self {
            target: value_name(&plan.place.name)
                + if plan.place.through_routers { " through routers" } else { "" },
            mix: plan.workload.mix.to_string(),
            keys: format!("{} {}", plan.workload.keys, value_name(&plan.workload.distribution)),
            clients: plan.clients,
            connections: plan.connections,
            value_bytes: plan.workload.value_bytes,
            seconds: outcome.took.as_secs_f64(),
            operations,
            operations_per_second: operations as f64 / outcome.took.as_secs_f64(),
            refused: measured.refused,
            unknown: measured.unknown,
            first_failure: measured.first_failure.clone(),
            latencies: measured.latencies.iter().map(|(kind, it)| latency(*kind, it)).collect(),
            server_cpu_us_per_operation: outcome.servers.map(|(time, _)| per_operation(time)),
            servers: outcome.servers.map_or(0, |(_, servers)| servers),
            client_cpu_us_per_operation: per_operation(outcome.own),
        }
    }

    /// For people.
    pub(crate) fn table(&self) -> String {
        let mut lines = vec![format!(
            "{}: {}, {} keys, values of {} B, {} clients on {} connections, {:.1} s",
            self.target, self.mix, self.keys, self.value_bytes, self.clients, self.connections, self.seconds
        )];
        lines.push(format!(
            "{:>12} {:>12} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}",
            "", "operations", "mean µs", "p50", "p90", "p99", "p99.9", "max"
        ));
        for it in &self.latencies {
            lines.push(format!(
                "{:>12} {:>12} {:>9.0} {:>9} {:>9} {:>9} {:>9} {:>9}",
                it.kind, it.operations, it.mean_us, it.p50_us, it.p90_us, it.p99_us, it.p999_us, it.max_us
            ));
        }
        let servers = match self.server_cpu_us_per_operation {
            Some(micros) => format!("{micros:.1} µs in {} server processes", self.servers),
            None => "servers not on this machine".to_owned(),
        };
        lines.push(format!(
            "{:.0} operations/s; CPU per operation: {servers}, {:.1} µs here",
            self.operations_per_second, self.client_cpu_us_per_operation
        ));
        if self.refused + self.unknown > 0 {
            let first = self.first_failure.as_deref().unwrap_or_default();
            lines.push(format!("{} refused, {} unknown; the first: {first}", self.refused, self.unknown));
        }
        lines.join("\n")
    }
}

fn latency(kind: Kind, histogram: &Histogram<u64>) -> Latency {
    let kind = match kind {
        Kind::Read => "read",
        Kind::Write => "write",
        Kind::Change => "change",
        Kind::Scan => "scan",
    };
    Latency {
        kind,
        operations: histogram.len(),
        mean_us: histogram.mean(),
        p50_us: histogram.value_at_quantile(0.5),
        p90_us: histogram.value_at_quantile(0.9),
        p99_us: histogram.value_at_quantile(0.99),
        p999_us: histogram.value_at_quantile(0.999),
        max_us: histogram.max(),
    }
}

pub(crate) fn value_name(value: &impl clap::ValueEnum) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}
