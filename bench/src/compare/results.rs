//! What was measured, by load, over all rounds.

use std::collections::BTreeMap;
use std::io::Write;

use serde::Serialize;

use super::schedule::Address;
use super::spread::Spread;
use super::suite::Panel;
use crate::report::Report;

/// One measurement, as a line of JSON.
#[derive(Debug, Serialize)]
pub(crate) struct Line<'a> {
    pub(crate) panel: &'a str,
    pub(crate) series: &'a str,
    pub(crate) round: u32,
    pub(crate) x: u32,
    #[serde(flatten)]
    pub(crate) report: &'a Report,
}

/// All rounds of one load, as a line of JSON.
#[derive(Debug, Serialize)]
struct Summary<'a> {
    panel: &'a str,
    series: &'a str,
    x: u32,
    rounds: usize,
    operations_per_second: Spread,
    server_cpu_us_per_operation: Option<f64>,
    failures: u64,
}

/// Reports by load.
#[derive(Debug, Default)]
pub(crate) struct Results {
    reports: BTreeMap<Address, Vec<Report>>,
}

impl Results {
    pub(crate) fn add(&mut self, address: Address, report: Report) {
        self.reports.entry(address).or_default().push(report);
    }

    /// Operations per second.
    pub(crate) fn rate(&self, address: Address) -> Option<Spread> {
        self.over(address, |report| Some(report.operations_per_second))
    }

    /// CPU time of the servers per operation, in microseconds.
    pub(crate) fn cpu(&self, address: Address) -> Option<Spread> {
        self.over(address, |report| report.server_cpu_us_per_operation)
    }

    /// A quantile of the commonest kind of operation, in microseconds.
    pub(crate) fn latency(
        &self,
        address: Address,
        quantile: fn(&crate::report::Latency) -> u64,
    ) -> Option<Spread> {
        self.over(address, |report| {
            let common = report.latencies.iter().max_by_key(|latency| latency.operations)?;
            Some(quantile(common) as f64)
        })
    }

    /// Operations that were not answered well, and what the first was told.
    pub(crate) fn failures(&self, address: Address) -> (u64, Option<&str>) {
        let reports = self.reports.get(&address).map(Vec::as_slice).unwrap_or_default();
        let count = reports.iter().map(|report| report.refused + report.unknown).sum();
        (count, reports.iter().find_map(|report| report.first_failure.as_deref()))
    }

    fn over(&self, address: Address, value: impl Fn(&Report) -> Option<f64>) -> Option<Spread> {
        Spread::of(self.reports.get(&address)?.iter().filter_map(value))
    }

    /// One line of JSON for each load.
    pub(crate) fn print(&self, panels: &[Panel]) -> Result<(), String> {
        for (address, reports) in &self.reports {
            let panel = &panels[address.0];
            let series = &panel.series[address.1];
            let Some(rate) = self.rate(*address) else { continue };
            let summary = Summary {
                panel: panel.id,
                series: series.label,
                x: series.points[address.2].x,
                rounds: reports.len(),
                operations_per_second: rate,
                server_cpu_us_per_operation: self.cpu(*address).map(|cpu| cpu.median),
                failures: self.failures(*address).0,
            };
            let line = serde_json::to_string(&summary).map_err(|error| error.to_string())?;
            writeln!(std::io::stdout(), "{line}").map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod samples {
    use super::*;
    use crate::report::Latency;

    /// A report of so many operations per second.
    pub(crate) fn report(operations_per_second: f64) -> Report {
        let latency = Latency {
            kind: "write",
            operations: 100,
            mean_us: 900.0,
            p50_us: 850,
            p90_us: 1_000,
            p99_us: 12_345,
            p999_us: 20_000,
            max_us: 30_000,
        };
        Report {
            target: "flotilla".to_owned(),
            mix: "put".to_owned(),
            keys: "10000 uniform".to_owned(),
            clients: 64,
            connections: 3,
            value_bytes: 256,
            seconds: 4.0,
            operations: 100,
            operations_per_second,
            refused: 0,
            unknown: 0,
            first_failure: None,
            latencies: vec![latency],
            server_cpu_us_per_operation: Some(1e6 / operations_per_second),
            servers: 3,
            client_cpu_us_per_operation: 5.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_are_put_together_by_load() {
        let mut results = Results::default();
        for rate in [1_000.0, 3_000.0, 2_000.0] {
            results.add((0, 0, 0), samples::report(rate));
        }
        results.add(
            (0, 1, 0),
            Report { unknown: 2, first_failure: Some("gone".to_owned()), ..samples::report(5.0) },
        );
        assert_eq!(results.rate((0, 0, 0)), Some(Spread { median: 2_000.0, min: 1_000.0, max: 3_000.0 }));
        assert_eq!(results.cpu((0, 0, 0)).map(|cpu| cpu.median), Some(500.0));
        assert_eq!(results.latency((0, 0, 0), |latency| latency.p99_us).map(|it| it.max), Some(12_345.0));
        assert_eq!(results.failures((0, 0, 0)), (0, None));
        assert_eq!(results.failures((0, 1, 0)), (2, Some("gone")));
        assert_eq!(results.rate((9, 9, 9)), None);
    }
}
