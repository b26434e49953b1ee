//! The page of the moves.

use std::path::Path;

use super::{Moved, NODES, Plan, Stage};
use crate::fleet::Kind;
use crate::machine::{self, Machine};

pub(super) fn write(
    out: &Path,
    plan: &Plan,
    stages: &[Stage],
    moves: &[Moved],
    machine: &Machine,
) -> Result<(), String> {
    let broken = |error: std::io::Error| format!("--out {}: {error}", out.display());
    std::fs::create_dir_all(out).map_err(broken)?;
    let file = out.join("moving.md");
    let version = plan.programs.version(Kind::Flotilla).unwrap_or_default();
    std::fs::write(&file, page(plan, stages, moves, &version, machine)).map_err(broken)?;
    machine::say(&format!("wrote {}", file.display()));
    Ok(())
}

fn page(plan: &Plan, stages: &[Stage], moves: &[Moved], version: &str, machine: &Machine) -> String {
    let note = plan.note.as_deref().map(|note| format!("> {note}\n\n")).unwrap_or_default();
    let mut text = format!(
        "# Moving\n\n{note}Made by `kvbench moving` on {}: {NODES} nodes, {} shards of 3 replicas, {} keys of 16 B, values of {} B; {} clients of one SDK instance read and write by turns all the \
         time, with a deadline of 10 s for each operation. How it is measured: [the method](README.md#moving).\n\nMachine: {}; load average at the beginning {}. Version: {version}.\n\n\
         | stage | seconds | operations per second | p50 / p99 in ms | longest in ms | failed |\n| --- | ---: | ---: | ---: | ---: | ---: |\n",
        machine.date, plan.shards, plan.keys, plan.value_bytes, plan.clients, machine.words, machine.load,
    );
    for it in stages {
        text += &format!(
            "| {} | {:.1} | {:.0} | {:.1} / {:.1} | {:.0} | {} |\n",
            it.stage,
            it.seconds,
            it.operations_per_second,
            it.p50_ms,
            it.p99_ms,
            it.longest_ms,
            failed(it)
        );
    }
    text += "\nThe moves of the third stage, from the command to its end:\n\n| shard | from node | to node | MB | seconds | MB/s |\n| ---: | ---: | ---: | ---: | ---: | ---: |\n";
    for it in moves {
        let mb = it.bytes as f64 / 1e6;
        text += &format!(
            "| {} | {} | {} | {mb:.2} | {:.2} | {:.1} |\n",
            it.shard,
            it.from,
            it.to,
            it.seconds,
            mb / it.seconds
        );
    }
    text
}

fn failed(stage: &Stage) -> String {
    match stage.refused + stage.unknown {
        0 => "0".to_owned(),
        failed => {
            format!("{failed} ({} unknown): {}", stage.unknown, stage.first_failure.as_deref().unwrap_or(""))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn every_stage_and_every_move_is_on_the_page() {
        let plan = Plan {
            shards: 2,
            clients: 64,
            keys: 10,
            value_bytes: 256,
            quiet: Duration::ZERO,
            out: None,
            dir: "/".into(),
            note: None,
            programs: crate::fleet::Programs::default(),
        };
        let stage = Stage {
            stage: "before".to_owned(),
            seconds: 5.0,
            operations_per_second: 20_000.0,
            p50_ms: 1.0,
            p99_ms: 4.0,
            longest_ms: 20.0,
            refused: 0,
            unknown: 0,
            first_failure: None,
        };
        let bad = Stage { refused: 1, unknown: 2, first_failure: Some("gone".to_owned()), ..stage.clone() };
        let moved = Moved { shard: 1, from: 2, to: 4, bytes: 6_000_000, seconds: 2.0 };
        let text = page(&plan, &[stage, bad], &[moved], "kvctl 0.1.0", &Machine::default());
        assert!(text.contains("\n| before | 5.0 | 20000 | 1.0 / 4.0 | 20 | 0 |\n"), "{text}");
        assert!(text.contains("| 20 | 3 (2 unknown): gone |\n"), "{text}");
        assert!(text.ends_with("\n| 1 | 2 | 4 | 6.00 | 2.00 | 3.0 |\n"), "{text}");
    }
}
