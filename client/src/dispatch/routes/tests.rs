//! The route cache keeps what is newest by (epoch, term), whatever order answers come in.

use super::*;
use flotilla_raft::Term;
use flotilla_topology::{Change, NodeId, NodeInfo, plan_initial};

fn info(port: u64) -> NodeInfo {
    let address = |base: u64| format!("127.0.0.1:{}", base + port);
    NodeInfo { client_addr: address(7500), peer_addr: address(7600), http_addr: address(7700) }
}

fn map() -> ClusterMap {
    plan_initial(1, (1..=4).map(|id| (NodeId(id), info(id))).collect(), 8, 3).unwrap()
}

fn routes() -> Routes {
    let mut routes = Routes::new(vec!["endpoint:1".into(), "127.0.0.1:7502".into()]);
    routes.set_map(map());
    routes
}

fn report(shard: u64, epoch: u64, term: u64, leader: u64) -> Route {
    let slot = map().slots_of(ShardId(shard)).slots().next().unwrap();
    let leader = (leader > 0).then(|| (NodeId(leader), format!("127.0.0.1:{}", 7500 + leader)));
    Route { slot, shard: ShardId(shard), epoch: Epoch(epoch), term: Term(term), leader }
}

#[test]
fn the_replicas_of_the_shard_are_asked_first_then_everyone_else_once() {
    let target = Target::Shard(ShardId(2));
    assert_eq!(
        texts(routes().candidates(target)),
        ["127.0.0.1:7502", "127.0.0.1:7503", "127.0.0.1:7504", "127.0.0.1:7501", "endpoint:1"]
    );
    assert_eq!(
        texts(Routes::new(vec!["e:1".into()]).candidates(target)),
        ["e:1"],
        "without a map: the endpoints"
    );
    assert_eq!(texts(routes().candidates(Target::Anyone)), ["endpoint:1", "127.0.0.1:7502"]);
}

fn texts(addresses: Vec<Arc<str>>) -> Vec<String> {
    addresses.iter().map(ToString::to_string).collect()
}

#[test]
fn an_address_that_failed_is_shunned_for_a_while() {
    let mut routes = routes();
    let now = Duration::from_secs(9);
    routes.shun(now, "endpoint:1");
    assert!(routes.is_shunned(now, "endpoint:1") && !routes.is_shunned(now, "127.0.0.1:7502"));
    assert!(!routes.is_shunned(now + SHUNNED_FOR, "endpoint:1"));
}

#[test]
fn every_change_of_owners_and_leaders_is_counted_and_nothing_else() {
    let mut routes = routes();
    let mut before = routes.changes();
    let mut changed = |routes: &Routes| std::mem::replace(&mut before, routes.changes()) != routes.changes();
    routes.learn(&report(1, 1, 5, 2));
    assert!(changed(&routes), "a new leader");
    routes.learn(&report(1, 1, 4, 3));
    routes.doubt(Target::Shard(ShardId(1)), "127.0.0.1:7509");
    routes.shun(Duration::ZERO, "127.0.0.1:7502");
    routes.set_map(map());
    assert!(!changed(&routes), "none of this is news");
    routes.doubt(Target::Shard(ShardId(1)), "127.0.0.1:7502");
    assert!(changed(&routes), "a leader doubted");
    let slot = report(1, 1, 1, 0).slot;
    routes.learn(&report(2, 2, 9, 4));
    assert!(changed(&routes));
    routes.learn(&Route { slot, ..report(2, 2, 8, 4) });
    assert!(changed(&routes), "a slot moved, though the leader is no news");
    routes.set_map(map().apply(Change::SetAddresses { node: NodeId(1), info: info(80) }).unwrap());
    assert!(changed(&routes), "a new map");
}

#[test]
fn the_highest_epoch_and_term_are_kept() {
    let mut routes = routes();
    let target = Target::Shard(ShardId(1));
    assert!(routes.learn(&report(1, 1, 5, 2)));
    assert!(!routes.learn(&report(1, 1, 4, 3)), "an older term is no news");
    assert_eq!(routes.leader(target), Some("127.0.0.1:7502"));
    assert!(routes.learn(&report(1, 1, 6, 0)));
    assert_eq!(routes.leader(target), None, "nobody leads yet in term 6");
    assert!(routes.learn(&report(1, 1, 6, 3)));
    assert_eq!(routes.leader(target), Some("127.0.0.1:7503"));
}

#[test]
fn a_doubted_leader_is_forgotten_but_its_term_is_not() {
    let mut routes = routes();
    let target = Target::Shard(ShardId(1));
    routes.learn(&report(1, 1, 5, 2));
    routes.doubt(target, "127.0.0.1:7509");
    assert_eq!(routes.leader(target), Some("127.0.0.1:7502"), "someone else was doubted");
    routes.doubt(target, "127.0.0.1:7502");
    assert_eq!(routes.leader(target), None);
    assert!(!routes.learn(&report(1, 1, 4, 3)));
    assert!(routes.learn(&report(1, 1, 5, 2)), "told again that it leads in that term, we believe it");
}

#[test]
fn a_slot_that_moved_is_followed_until_the_map_says_so_too() {
    let mut routes = routes();
    let slot = report(1, 1, 1, 0).slot;
    let target = Target::Slot(slot);
    assert_eq!(routes.shard(target), Some(ShardId(1)));
    assert!(!routes.map_is_old());

    routes.learn(&Route { slot, ..report(2, 2, 1, 4) });
    assert_eq!(routes.shard(target), Some(ShardId(2)));
    assert_eq!(routes.leader(target), Some("127.0.0.1:7504"));
    assert!(routes.map_is_old(), "someone spoke of epoch 2");
    routes.learn(&Route { slot, ..report(1, 1, 9, 1) });
    assert_eq!(routes.shard(target), Some(ShardId(2)), "a report of an older epoch does not move it back");

    let newer = map().apply(Change::SetAddresses { node: NodeId(1), info: info(80) }).unwrap();
    routes.set_map(newer);
    assert!(!routes.map_is_old());
    assert_eq!(routes.shard(target), Some(ShardId(1)), "the map of epoch 2 decides");
    routes.set_map(map());
    assert_eq!(routes.map().unwrap().epoch, Epoch(2), "an older map is not taken");
    routes.set_map(ClusterMap { cluster: 2, epoch: Epoch(9), ..map() });
    assert_eq!(routes.map().unwrap().epoch, Epoch(2), "nor is the map of another fleet");
}
