//! The end: faults stop, a quorum is whole, and then everything must be well.

use std::collections::BTreeSet;
use std::sync::Arc;

use flotilla_node::controller::orders;
use flotilla_node::host::{Input, ReplicaStatus};
use flotilla_raft::{ProgressKind, ReplicaId};
use flotilla_store::Base;
use flotilla_topology::{Change, Leaving, NodeId, ShardId};

use super::{Waiter, World};
use crate::clients::{ClientId, Final};
use crate::faults::{Ending, FaultKind};
use crate::judges::{hold, violated};

/// In peace, everything must be well within this time: some dozen election timeouts, and what a slow disk still holds up.
const PEACE_US: u64 = 20_000_000;
/// How often it is looked whether it is.
const LOOK_US: u64 = 50_000;

impl World {
    /// Ends all faults, then asks for everything that was promised.
    pub(crate) fn settle(&mut self) {
        self.loading = false;
        self.make_peace();
        if !self.quorums_live() {
            // Rot took more than a quorum can spare: only availability may be gone.
            self.coverage.count("ends without a quorum");
            self.judge_history();
            return;
        }
        self.until("every operation has ended", Self::clients_idle);
        self.until("every shard has a leader", Self::all_led);
        self.until("who asked to join is a member", |world| world.fleet.asking.is_empty());
        self.until("every move has ended, and who shall be empty is, if others have room", Self::moves_over);
        if self.scenario.faults.contains(&FaultKind::Rebalance) && self.scenario.moves {
            self.until("a rebalance has nothing left to do", Self::is_even);
            self.judge_evenness();
        }
        self.moves_rest = true;
        self.until("who sleeps follows a leader", Self::all_sleepers_led);
        self.read_everything();
        self.until("all replicas have applied the same", Self::all_equal);
        self.flush_everything();
        self.judge_members();
        if self.scenario.options.raft.idle_after.is_some() {
            self.until("every whole group sleeps", Self::all_whole_sleep);
        }
        self.judge_history();
    }

    fn make_peace(&mut self) {
        self.trace.line(self.now_us, || "peace".to_owned());
        self.network.heal();
        self.scenario.weather.late_permille = 0;
        self.end_fault(Ending::Storm);
        let spare = self.faults.chance.permille(300).then(|| self.a_dispensable()).flatten();
        for router in self.routers.values_mut() {
            (router.paused_until_us, router.down_until_us) = (0, 0);
        }
        for id in self.node_ids() {
            self.end_fault(Ending::Disk(id));
            self.resume_flusher(id);
            self.wake(id);
            if self.judges.nodes.gone().contains(&id) {
                self.stop(id);
            } else if Some(id) == spare {
                self.coverage.count("nodes left dead at the end");
                self.cut_power(id);
                self.node(id).dead = Some("left dead".to_owned());
            } else {
                self.start_at(self.now_us, id);
            }
        }
        self.run_until(self.now_us + LOOK_US);
    }

    /// A node that may stay dead: nobody else is, and no shard lives on it alone.
    fn a_dispensable(&mut self) -> Option<NodeId> {
        let nodes: Vec<NodeId> = self.map.nodes.keys().copied().collect();
        self.note_healed();
        let whole = self.sick.is_empty() && self.fleet.lost.is_empty() && self.scenario.replicas >= 3;
        self.faults.chance.pick(&nodes).copied().filter(|_| whole)
    }

    /// Whether every shard has, of each half of each configuration by which it may have to decide, a majority that can live.
    pub(super) fn quorums_live(&mut self) -> bool {
        let dead: BTreeSet<NodeId> =
            self.node_ids().into_iter().filter(|id| self.node(*id).dead.is_some()).collect();
        let (members, replicas) = (&self.judges.members, &self.judges.replicas);
        self.map.shards.keys().all(|shard| {
            let lives = |replica: &ReplicaId| {
                let home = members.home(*shard, *replica);
                home.is_some_and(|home| !dead.contains(&home)) && !members.is_lost(*shard, *replica)
            };
            let needed = members.needed(*shard, replicas.committed(*shard));
            let mut halves = needed.into_iter().flat_map(|it| [&it.voters, &it.outgoing]);
            halves.all(|half| half.is_empty() || half.iter().filter(|it| lives(it)).count() * 2 > half.len())
        })
    }

    /// All moves were finished or rolled back, the controller has nothing to do, and nobody hosts what has ended. Operators have moves
    /// undone whose new node is dead.
    pub(super) fn moves_over(&mut self) -> bool {
        if !self.scenario.moves {
            return true;
        }
        let map = Arc::clone(&self.map);
        let mut seen = self.seen_now();
        if self.scenario.repair_after.is_some() {
            seen.dead = map.nodes.keys().copied().filter(|id| self.node(*id).dead.is_some()).collect();
        }
        for (id, moving) in map.moves.iter().filter(|(_, moving)| !moving.cancelled) {
            if self.node(moving.to).dead.is_some() {
                self.wish(Change::CancelMove { id: *id });
            }
        }
        let hosted = seen.shards.iter().all(|(shard, seen)| {
            seen.replicas.iter().all(|(node, it)| map.replica_on(*shard, *node) == Some(it.replica))
        });
        // Whatever the map places lives, or was replaced. Who leaves is emptied, if that is possible; nobody replaces what is out of
        // service there.
        let lives = |shard: &ShardId, replica: ReplicaId, node: NodeId| {
            let here = seen.shards.get(shard).and_then(|it| it.replicas.get(&node));
            !seen.up.contains(&node) || !map.is_home(node) || here.is_some_and(|it| it.replica == replica)
        };
        let whole = map.shards.iter().all(|(shard, info)| {
            info.replicas.iter().all(|(replica, placement)| lives(shard, *replica, placement.node))
        });
        hosted && whole && !orders(&map, &seen).is_busy() && self.nothing_left() && self.is_emptied()
    }

    /// Who shall be empty is, and lost machines are removed, unless a replica there has no other home: every node that is up and stays
    /// has one of its shard. (The controller is not asked why it begins nothing.)
    fn is_emptied(&self) -> bool {
        let (map, homes) = (&self.map, self.homes());
        let is_homeless = |(shard, _): (ShardId, ReplicaId)| {
            homes.iter().all(|node| map.replica_on(shard, *node).is_some())
        };
        let leaving = map.leaving.iter().all(|(node, how)| {
            let is_gone = *how == Leaving::Drained || map.replicas_on(*node).next().is_some();
            is_gone && map.replicas_on(*node).all(is_homeless)
        });
        let mut waiting = self.fleet.lost.iter().filter(|node| !map.leaving.contains_key(node));
        leaving && waiting.all(|node| map.replicas_on(*node).any(is_homeless))
    }

    /// Who has no replica of a shard keeps nothing of it.
    pub(crate) fn nothing_left(&mut self) -> bool {
        let map = Arc::clone(&self.map);
        self.running().into_iter().all(|id| {
            let held = flotilla_store::snapshot::shards_in(&self.node(id).base.view());
            let held = held.unwrap_or_else(|error| panic!("{id}: the base cannot be read: {error}"));
            held.into_iter().all(|shard| map.replica_on(shard, id).is_some())
        })
    }

    /// The map says of the members what the shards' own logs say, and nobody needs who has left the fleet.
    fn judge_members(&mut self) {
        self.judges.check_gone(&self.map);
        for (shard, info) in self.map.shards.iter().filter(|_| self.scenario.moves) {
            let (at, newest) = self.judges.members.newest(*shard);
            hold(info.reported == at && info.configuration() == *newest, "members", || {
                format!("{shard}: the map says {info:?}, and its members are {newest} since entry {at}")
            });
        }
    }

    fn until(&mut self, what: &str, mut holds: impl FnMut(&mut Self) -> bool) {
        let end_us = self.now_us + PEACE_US;
        while !holds(self) {
            if self.now_us >= end_us {
                violated(
                    "liveness",
                    format!("not within {PEACE_US} µs of peace: {what}\n{}", self.portrait()),
                );
            }
            self.run_until(self.now_us + LOOK_US);
        }
    }

    fn clients_idle(&mut self) -> bool {
        self.clients.values().all(crate::clients::Client::is_idle)
    }

    fn all_led(&mut self) -> bool {
        let shards: Vec<ShardId> = self.map.shards.keys().copied().collect();
        shards.into_iter().all(|shard| self.leader(shard).is_some())
    }

    /// Nobody sleeps behind a leader that is none.
    fn all_sleepers_led(&mut self) -> bool {
        let shards: Vec<ShardId> = self.map.shards.keys().copied().collect();
        shards.into_iter().all(|shard| {
            let statuses = self.statuses(shard);
            let leads = |node, term| {
                statuses.iter().any(|(at, it)| Some(*at) == node && it.leads() && it.term == term)
            };
            statuses.iter().all(|(_, it)| !it.sleeps() || leads(it.leader_node, it.term))
        })
    }

    /// Where all members of a group live and nothing is asked, all sleep.
    fn all_whole_sleep(&mut self) -> bool {
        let map = self.map.clone();
        map.shards.keys().all(|shard| {
            let statuses = self.statuses(*shard);
            // A learner has no timer in any case.
            let rests = |it: &ReplicaStatus| it.sleeps() || !it.configuration.is_voter(it.replica);
            statuses.len() < map.preference(*shard).count() || statuses.iter().all(|(_, it)| rests(it))
        })
    }

    /// Every key is read once more: whatever was acknowledged must be there.
    fn read_everything(&mut self) {
        // Groups of all crowds, but never more clients at once than the judges take.
        let mut reads = Final::of(self.scenario.groups * self.scenario.crowds);
        let ids: Vec<ClientId> = self.clients.keys().copied().take(flotilla_history::IN_FLIGHT_MAX).collect();
        let mut left = true;
        while left {
            for id in &ids {
                let Some(call) = reads.take() else {
                    left = false;
                    break;
                };
                let Some(client) = self.clients.get_mut(id) else { continue };
                let deeds = client.begin(self.now_us, call, &mut self.history, &mut self.coverage);
                self.carry_out_deeds(*id, deeds);
            }
            self.until("every final read has ended", Self::clients_idle);
        }
        let unanswered = self.coverage.of("operations not executed");
        let asked = self.history.outcomes();
        self.trace.line(self.now_us, || format!("(done, not executed, unknown): {asked:?}, {unanswered}"));
    }

    fn all_equal(&mut self) -> bool {
        let shards: Vec<ShardId> = self.map.shards.keys().copied().collect();
        shards.into_iter().all(|shard| {
            let statuses = self.statuses(shard);
            let first = statuses.first().map(|(_, status)| status.applied);
            let level = |status: &ReplicaStatus| {
                status.commit == status.last && Some(status.applied) == first && followed(status)
            };
            statuses.iter().all(|(_, status)| level(status))
        }) && self.streams.is_empty()
    }

    /// Everything goes into the bases, which the judge compares; then no queue holds anything.
    fn flush_everything(&mut self) {
        let shards: Vec<ShardId> = self.map.shards.keys().copied().collect();
        for shard in &shards {
            for (id, _) in self.statuses(*shard) {
                let shard = *shard;
                self.ask(id, Waiter::Nobody, |token| Input::Flush { shard, token });
            }
        }
        self.until("all bases hold everything", |world| {
            shards.iter().all(|shard| {
                world.statuses(*shard).iter().all(|(_, status)| status.durable == status.applied)
            })
        });
        for shard in shards {
            for (id, _) in self.statuses(shard) {
                self.check_base(id, shard);
            }
        }
        self.until("all queues are empty", |world| {
            world.running().into_iter().all(|id| {
                let running = world.node(id).up();
                running.base_jobs() == 0 && running.queued.is_empty() && running.writing.is_empty()
            })
        });
    }

    fn judge_history(&mut self) {
        // Where clocks are worse than the nodes are told, nobody vouches for what a read by lease saw.
        let beyond = self.scenario.beyond_the_drift;
        let judgement = if beyond { self.history.judge_writes() } else { self.history.judge() };
        if !judgement.passes() {
            violated("linearizable", judgement.to_string());
        }
    }

    /// Every replica in a line: what a failing world prints.
    #[must_use]
    pub fn portrait(&mut self) -> String {
        let mut lines = vec![format!("at {} µs", self.now_us)];
        for shard in self.map.clone().shards.keys() {
            for (id, status) in self.statuses(*shard) {
                lines.push(format!("{id} {status:?}"));
            }
        }
        lines.join("\n")
    }
}

/// Nothing is stuck in probing or in a snapshot: all that lives was heard of.
fn followed(status: &ReplicaStatus) -> bool {
    let stuck = |state| matches!(state, ProgressKind::Snapshot | ProgressKind::Probe);
    status.followers.iter().all(|follower| !follower.active || !stuck(follower.state))
}
