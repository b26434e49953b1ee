//! The page of the gaps.

use std::path::Path;

use super::{Kill, LANES, NODES, Plan, Summary};
use crate::fleet::Kind;
use crate::machine::{self, Machine};

pub(super) fn write(
    out: &Path,
    plan: &Plan,
    all: &[(Summary, Vec<Kill>)],
    machine: &Machine,
) -> Result<(), String> {
    let broken = |error: std::io::Error| format!("--out {}: {error}", out.display());
    std::fs::create_dir_all(out).map_err(broken)?;
    let versions: Vec<String> = [Kind::Flotilla, Kind::Etcd]
        .into_iter()
        .filter(|kind| plan.targets.contains(kind))
        .filter_map(|kind| plan.programs.version(kind))
        .collect();
    let file = out.join("failover.md");
    std::fs::write(&file, page(plan.note.as_deref(), plan.kills, &versions, all, machine)).map_err(broken)?;
    machine::say(&format!("wrote {}", file.display()));
    Ok(())
}

fn page(
    note: Option<&str>,
    kills: u32,
    versions: &[String],
    all: &[(Summary, Vec<Kill>)],
    machine: &Machine,
) -> String {
    let note = note.map(|note| format!("> {note}\n\n")).unwrap_or_default();
    let mut text = format!(
        "# Failover\n\n{note}Made by `kvbench failover` on {}: {NODES} nodes, {LANES} lanes of writes, {kills} times a signal \
         or a slow disk (each fdatasync 2 s longer) for the node that leads most of them. A gap is the longest time without an acknowledged write around it. How it is \
         measured: [the method](README.md#failover).\n\nMachine: {}; load average at the beginning {}. Versions: {}.\n\n\
         | | what | median gap | longest gap of each, median (least–greatest) | shards led by others |\n| --- | --- | ---: | ---: | ---: |\n",
        machine.date,
        machine.words,
        machine.load,
        versions.join("; "),
    );
    for (summary, _) in all {
        let (gap, longest) = (summary.gap_ms, summary.longest_gap_ms);
        let others = summary.bystanders_ms.map_or("–".to_owned(), |gap| format!("at most {gap:.0} ms"));
        text += &format!(
            "| {} | {} | {:.0} ms | {:.0} ms ({:.0}–{:.0}) | {others} |\n",
            summary.target, summary.signal, gap.median, longest.median, longest.min, longest.max
        );
    }
    for (summary, _) in all {
        if let Some((before, beside)) = summary.p99_ms {
            text += &format!(
                "\nWhile a follower of {} has the slow disk, the 99th percentile of all writes is {:.1} ms \
                 ({:.1}–{:.1}), and was {:.1} ms ({:.1}–{:.1}) before.\n",
                summary.target, beside.median, beside.min, beside.max, before.median, before.min, before.max
            );
        }
    }
    text += "\nEach of them:\n\n| | what | | gaps of what the node led, in ms | back, in ms |\n| --- | --- | ---: | --- | ---: |\n";
    for kill in all.iter().flat_map(|(_, kills)| kills) {
        let gaps: Vec<String> = kill.gaps_ms.iter().map(|gap| format!("{gap:.0}")).collect();
        text += &format!(
            "| {} | {} | {} | {} | {:.0} |\n",
            kill.target,
            kill.signal,
            kill.kill,
            gaps.join(", "),
            kill.back_ms
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failover::{Blow, summary};

    #[test]
    fn every_gap_is_on_the_page() {
        let machine = Machine {
            words: "2 processors".to_owned(),
            load: "0.10".to_owned(),
            date: "2026-01-01".to_owned(),
            in_memory: false,
        };
        let kill = |target, kill, gaps: &[f64], bystanders_ms| Kill {
            target,
            signal: "SIGKILL",
            kill,
            gaps_ms: gaps.to_vec(),
            bystanders_ms,
            back_ms: 321.0,
            p99_ms: None,
        };
        let ours =
            vec![kill("flotilla", 1, &[200.4, 300.0], Some(20.0)), kill("flotilla", 2, &[250.0], Some(10.0))];
        let theirs = vec![kill("etcd", 1, &[1_500.0], None)];
        let all = [
            (summary("flotilla", Blow::Kill, &ours).unwrap(), ours),
            (summary("etcd", Blow::Kill, &theirs).unwrap(), theirs),
        ];
        let text = page(None, 2, &["kvctl 0.1.0".to_owned()], &all, &machine);
        let tables = text.split_once("| --- | --- | ---: | ---: | ---: |\n").unwrap().1;
        let expected = "\
| flotilla | SIGKILL | 250 ms | 275 ms (250–300) | at most 20 ms |
| etcd | SIGKILL | 1500 ms | 1500 ms (1500–1500) | – |

Each of them:

| | what | | gaps of what the node led, in ms | back, in ms |
| --- | --- | ---: | --- | ---: |
| flotilla | SIGKILL | 1 | 200, 300 | 321 |
| flotilla | SIGKILL | 2 | 250 | 321 |
| etcd | SIGKILL | 1 | 1500 | 321 |
";
        assert_eq!(tables, expected);
    }
}
