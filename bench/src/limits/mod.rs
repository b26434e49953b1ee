//! What nothing built of these parts can exceed on this machine: gRPC calls and streams that only echo, syncs of the disk, and the
//! consensus core alone.
//!
//! Each is measured in this process, for a fixed time, and told as operations per second and microseconds per operation. The echo's
//! client and server are both in here: its CPU time is that of both sides together.
//!
//! What it does not do: add the parts up. A budget of a put is DESIGN's business; these are its inputs.

mod consensus;
mod echo;
mod sync;

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use crate::machine::{self, Machine};

/// What is to be done.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) duration: Duration,
    pub(crate) out: Option<PathBuf>,
    pub(crate) dir: PathBuf,
    pub(crate) note: Option<String>,
}

/// One figure.
#[derive(Clone, Debug, Serialize)]
struct Limit {
    limit: &'static str,
    operations_per_second: f64,
    /// CPU time of this process per operation: both sides of an echo, all three replicas of the core.
    cpu_us_per_operation: f64,
    /// How long one took, where they are made one after the other.
    p50_us: Option<f64>,
    p99_us: Option<f64>,
}

/// Does it.
pub(crate) async fn run(plan: Plan) -> Result<(), String> {
    let machine = Machine::look(&plan.dir);
    let mut limits = Vec::new();
    let mut found = |limit: Limit| -> Result<(), String> {
        let (rate, cpu) = (limit.operations_per_second, limit.cpu_us_per_operation);
        machine::say(&format!("{:<44} {rate:>11.0}/s {cpu:>8.2} µs of CPU", limit.limit));
        let line = serde_json::to_string(&limit).map_err(|error| error.to_string())?;
        writeln!(std::io::stdout(), "{line}").map_err(|error| error.to_string())?;
        limits.push(limit);
        Ok(())
    };
    found(echo::unary(plan.duration).await?)?;
    found(echo::batches(plan.duration).await?)?;
    for block in [sync::Block::Page, sync::Block::Batch] {
        let (dir, duration) = (plan.dir.clone(), plan.duration);
        let measured = tokio::task::spawn_blocking(move || sync::measure(&dir, block, duration)).await;
        found(measured.map_err(|error| error.to_string())??)?;
    }
    for batch in [consensus::Batch::One, consensus::Batch::Many] {
        let duration = plan.duration;
        let measured = tokio::task::spawn_blocking(move || consensus::measure(batch, duration)).await;
        found(measured.map_err(|error| error.to_string())??)?;
    }
    let Some(out) = &plan.out else { return Ok(()) };
    let broken = |error: std::io::Error| format!("--out {}: {error}", out.display());
    std::fs::create_dir_all(out).map_err(broken)?;
    let file = out.join("limits.md");
    std::fs::write(&file, page(&plan, &machine, &limits)).map_err(broken)?;
    machine::say(&format!("wrote {}", file.display()));
    Ok(())
}

fn page(plan: &Plan, machine: &Machine, limits: &[Limit]) -> String {
    let note = plan.note.as_ref().map(|note| format!("> {note}\n\n")).unwrap_or_default();
    let mut text = format!(
        "# Limits\n\n{note}Made by `kvbench limits` on {}: {} s each, in one process. What it means: [the method](README.md).\n\n\
         Machine: {}; load average at the beginning {}.\n\n\
         | | per second | µs of CPU each | p50 / p99 in µs |\n| --- | ---: | ---: | ---: |\n",
        machine.date,
        plan.duration.as_secs_f64(),
        machine.words,
        machine.load,
    );
    for limit in limits {
        let times = match (limit.p50_us, limit.p99_us) {
            (Some(p50), Some(p99)) => format!("{p50:.0} / {p99:.0}"),
            _ => "–".to_owned(),
        };
        text += &format!(
            "| {} | {:.0} | {:.2} | {times} |\n",
            limit.limit, limit.operations_per_second, limit.cpu_us_per_operation
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_a_row_for_each_limit() {
        let plan = Plan { duration: Duration::from_secs(3), out: None, dir: PathBuf::new(), note: None };
        let machine = Machine {
            words: "2 processors".to_owned(),
            load: "0.10".to_owned(),
            date: "2026-01-01".to_owned(),
            in_memory: false,
        };
        let limit = |limit, p50_us| Limit {
            limit,
            operations_per_second: 1_234.4,
            cpu_us_per_operation: 0.256,
            p50_us,
            p99_us: p50_us.map(|p50| p50 * 2.0),
        };
        let text = page(&plan, &machine, &[limit("echo", None), limit("sync", Some(500.0))]);
        let rows = "| echo | 1234 | 0.26 | – |\n| sync | 1234 | 0.26 | 500 / 1000 |\n";
        assert!(text.starts_with("# Limits\n\nMade by `kvbench limits` on 2026-01-01: 3 s each"), "{text}");
        assert!(text.ends_with(rows), "{text}");
    }
}
