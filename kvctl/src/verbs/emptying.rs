//! Looking on while the fleet empties a node: one line on a terminal, drawn again and again; else a line for each replica that has left.
//!
//! The fleet goes on by itself. So Ctrl-C ends the looking, and nothing else.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use flotilla_proto::v1 as wire;
use tokio::time::MissedTickBehavior;

use crate::admin::Admin;
use crate::console::Console;
use crate::failure::Failure;
use crate::local::interrupt::Interrupts;
use crate::progress::{CUT, ERASE, WRAP, bar, clock};

/// How often it is asked how far it is.
const LOOK: Duration = Duration::from_millis(300);

/// Without an answer for so long nobody waits any more: the meta shard may be down, and everything rests.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// What a replica counts beside its bytes: its members change three times, however small it is.
const REPLICA_BYTES: u64 = 1 << 20;

/// What is looked on at.
#[derive(Clone, Copy, Debug)]
pub struct Emptying {
    /// The node.
    pub node: u64,
    /// It ends when the node is no member any more; else when it is empty.
    pub removed: bool,
}

/// How far it is.
#[derive(Clone, Debug, Default, PartialEq)]
struct Far {
    /// Replicas that were there, and that are.
    all: usize,
    left: usize,
    /// Replicas that are on their way.
    moving: usize,
    /// The part that is done, from 0 to 1.
    part: f64,
    /// What it waits for; empty: nothing in particular.
    waiting: String,
}

impl Emptying {
    /// Returns when it is over.
    ///
    /// # Errors
    /// Interrupted; the node was let stay by somebody; nobody answers for a minute.
    pub async fn watch(self, admin: &Admin, console: &mut Console) -> Result<(), Failure> {
        let node = self.node;
        let mut interrupts = Interrupts::listen_to_ctrl_c()?;
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut line = Line::new(node);
        let mut sizes = BTreeMap::new();
        let mut heard = Instant::now();
        loop {
            let asked = async {
                look.tick().await;
                Ok((admin.stored_map().await?, admin.listed_moves().await?))
            };
            let answer: Result<_, Failure> = tokio::select! {
                answer = asked => answer,
                () = interrupts.next() => {
                    line.clear();
                    console.note(&format!(
                        "node {node} is being emptied without this command; look on with `kvctl status`, end it with `kvctl node undrain {node}`"
                    ));
                    return Err(Failure::Interrupted);
                }
            };
            match answer {
                Ok((map, listed)) => {
                    heard = Instant::now();
                    let state = map.nodes.iter().find(|it| it.node == node).map(wire::Node::leaving);
                    let far = far(node, &map, &listed, &mut sizes);
                    let is_over = if self.removed { state.is_none() } else { far.left == 0 };
                    if is_over {
                        line.clear();
                        return Ok(());
                    }
                    if state.is_none_or(|it| it == wire::Leaving::Stays) {
                        line.clear();
                        return Err(Failure::Refused(format!(
                            "somebody undrained node {node}: {} of {} replicas are still there",
                            far.left, far.all
                        )));
                    }
                    line.show(&far, console);
                }
                Err(failure) if heard.elapsed() > SILENCE_MAX => {
                    line.clear();
                    return Err(Failure::Unknown(format!(
                        "{failure}; the fleet knows that node {node} shall be empty, how far it is is not known"
                    )));
                }
                Err(_) => {}
            }
        }
    }
}

/// `sizes` remembers the bytes of every replica that was ever there.
fn far(
    node: u64,
    map: &wire::ClusterMap,
    listed: &wire::ListMovesResult,
    sizes: &mut BTreeMap<u64, u64>,
) -> Far {
    let here = map.shards.iter().filter(|shard| shard.replicas.iter().any(|replica| replica.node == node));
    let here: Vec<u64> = here.map(|shard| shard.shard).collect();
    let moves: Vec<&wire::Move> =
        listed.moves.iter().filter(|it| it.from_node == node && here.contains(&it.shard)).collect();
    for shard in &here {
        sizes.entry(*shard).or_default();
    }
    for it in &moves {
        let size = sizes.entry(it.shard).or_default();
        *size = (*size).max(it.bytes_total);
    }
    let weight = |shard: &u64| (sizes.get(shard).copied().unwrap_or(0) + REPLICA_BYTES) as f64;
    let sent: f64 = moves.iter().map(|it| it.bytes_sent.min(it.bytes_total) as f64).sum();
    let all: f64 = sizes.keys().map(weight).sum();
    let left: f64 = here.iter().map(weight).sum::<f64>() - sent;
    Far {
        all: sizes.len(),
        left: here.len(),
        moving: moves.len(),
        part: if all > 0.0 { 1.0 - left / all } else { 1.0 },
        waiting: listed
            .waiting
            .iter()
            .find(|it| it.node == node)
            .map(|it| it.why.clone())
            .unwrap_or_default(),
    }
}

/// What is shown meanwhile.
struct Line {
    node: u64,
    terminal: bool,
    begun: Instant,
    /// How much was done when the looking began: the rate is that of what happened since.
    first: Option<f64>,
    said: Option<(usize, String)>,
}

impl Line {
    fn new(node: u64) -> Self {
        let terminal = io::stderr().is_terminal();
        Self { node, terminal, begun: Instant::now(), first: None, said: None }
    }

    fn show(&mut self, far: &Far, console: &mut Console) {
        let first = *self.first.get_or_insert(far.part);
        if self.terminal {
            let seconds = left(far.part, first, self.begun.elapsed());
            // A terminal that cannot be written to is no reason to stop.
            let _ = write!(io::stderr(), "{ERASE}{CUT}{}{WRAP}", picture(self.node, far, seconds));
        } else if self.said.as_ref() != Some(&(far.left, far.waiting.clone())) {
            self.said = Some((far.left, far.waiting.clone()));
            let waits = if far.waiting.is_empty() { String::new() } else { format!(" ({})", far.waiting) };
            let gone = far.all - far.left;
            console.note(&format!("node {}: {gone} of {} replicas have left{waits}", self.node, far.all));
        }
    }

    fn clear(&mut self) {
        if self.terminal {
            let _ = write!(io::stderr(), "{ERASE}");
        }
    }
}

/// The seconds that are left, if it goes on as it went since `first`. Nothing: it did not come on yet.
fn left(part: f64, first: f64, elapsed: Duration) -> Option<u64> {
    let rate = (part - first) / elapsed.as_secs_f64();
    (rate > 0.0).then(|| ((1.0 - part) / rate).ceil() as u64)
}

fn picture(node: u64, far: &Far, seconds: Option<u64>) -> String {
    let mut parts = vec![
        format!("node {node}"),
        bar(far.part),
        format!("{:3.0}%", (far.part * 100.0).floor()),
        format!("{} of {} replicas have left", far.all - far.left, far.all),
        format!("{} on their way", far.moving),
        format!("ETA {}", seconds.map_or_else(|| "-".to_string(), clock)),
    ];
    if !far.waiting.is_empty() {
        parts.push(format!("({})", far.waiting));
    }
    parts.join("  ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::samples::map;

    #[test]
    fn what_was_sent_counts_and_so_does_what_is_gone() {
        let mut map = map();
        let mut sizes = BTreeMap::new();
        let mut listed = wire::ListMovesResult::default();
        assert_eq!(far(1, &map, &listed, &mut sizes).part, 0.0);
        let (total, sent) = (6 * REPLICA_BYTES, 2 * REPLICA_BYTES);
        let it = wire::Move {
            shard: 1,
            from_node: 1,
            bytes_total: total,
            bytes_sent: sent,
            ..wire::Move::default()
        };
        listed.moves = vec![it];
        listed.waiting = vec![wire::NodeWaiting { node: 1, why: "s0 has no leader".into() }];
        let moving = far(1, &map, &listed, &mut sizes);
        // 2 of 7 + 1.
        let expected = Far { all: 2, left: 2, moving: 1, part: 0.25, waiting: "s0 has no leader".into() };
        assert_eq!(moving, expected);
        map.shards[1].replicas.remove(0);
        let gone = far(1, &map, &listed, &mut sizes);
        assert_eq!((gone.left, gone.moving, gone.part), (1, 0, 0.875));
    }

    #[test]
    fn the_line_tells_how_far_it_is_and_what_it_waits_for() {
        let far = Far { all: 9, left: 5, moving: 4, part: 0.4401, waiting: String::new() };
        let expected =
            "node 1  [==========>             ]   44%  4 of 9 replicas have left  4 on their way  ETA 0:14";
        assert_eq!(picture(1, &far, Some(14)), expected);
        let waits = Far { waiting: "s0 has no leader".into(), ..far };
        assert!(picture(1, &waits, None).ends_with("ETA -  (s0 has no leader)"));
    }

    #[test]
    fn the_time_that_is_left_is_reckoned_from_what_was_seen() {
        assert_eq!(left(0.5, 0.25, Duration::from_secs(10)), Some(20));
        assert_eq!(left(0.5, 0.5, Duration::from_secs(10)), None);
    }
}
