//! The pool without threads: what it would take next.

use flotilla_raft::{Configuration, ReplicaId, Term};
use flotilla_store::{Genesis, Limits, Lookup, Machine, ScanRange, Scope, disk};
use flotilla_topology::{Epoch, ShardId};

use super::*;
use crate::host::Served;

const SHARD: ShardId = ShardId(1);

/// A key of the scope that the test's shard owns.
const KEY: &[u8] = b"\0flotilla/k";

fn machine() -> Machine {
    let configuration = Configuration { voters: [ReplicaId(1)].into(), ..Configuration::default() };
    Machine::create(SHARD, 1, &Genesis { scope: Scope::Meta, epoch: Epoch(1), configuration })
}

fn served() -> Served {
    Served { shard: SHARD, term: Term(1), time_ms: 1, version: 1, lag_entries: None, silence_ms: 0 }
}

fn get(machine: &Machine, base: &NodeBase, token: Token) -> Job {
    let Lookup::Base(read) = machine.get(KEY) else { panic!("a key that was written") };
    Job::Get { token, served: served(), read, view: base.view() }
}

fn page(machine: &Machine, base: &NodeBase, token: Token) -> Job {
    let limits = Limits { records_max: 10, bytes_max: 1 << 20, examined_max: 100 };
    let range = ScanRange { from: Bytes::new(), to: None, reverse: false };
    Job::Scan { token, served: served(), slice: machine.scan(&range, limits), view: base.view() }
}

/// A client asks, gives up after a while, and asks again. On a machine so slow that an answer takes longer than that, each
/// question found all that were given up before it in the queue, and none was answered in time.
#[tokio::test]
async fn questions_that_were_given_up_cost_the_pool_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let base = NodeBase::open(directory.path(), disk::Options::default()).expect("a new base");
    let (tokens, machine) = (Arc::<Tokens>::default(), machine());
    let fatal = Fatal::new(|reason| panic!("{reason}"));
    let readers = Readers::new(100, base.clone(), Arc::clone(&tokens), Vec::new(), fatal);
    for job in [get, page] {
        for _ in 0..20 {
            let given_up = tokens.draw();
            readers.push(job(&machine, &base, given_up.token()));
        }
        let lane = tokens.open_lane();
        readers.push(job(&machine, &base, lane.token(super::super::Question(1))));
        drop(lane);
        let waiting = tokens.draw();
        readers.push(job(&machine, &base, waiting.token()));
        let next = readers.take().expect("somebody waits");
        let (Job::Get { token, .. } | Job::Scan { token, .. }) = &next else {
            panic!("a load was not asked for")
        };
        assert_eq!(*token, waiting.token(), "the pool works for nobody");
        readers.carry_out(next);
        assert!(matches!(waiting.await, Ok(Answer::Got(_, None) | Answer::Page(..))));
        assert_eq!(readers.queued(), 0);
    }
    // What a shard needs to go on has no asker, and is done.
    readers.push(Job::Load { shard: SHARD, generation: 1, reads: Vec::new(), view: base.view() });
    assert!(matches!(readers.take(), Some(Job::Load { .. })));
}
