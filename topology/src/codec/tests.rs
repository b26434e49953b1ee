//! A map survives its encoding; no damage does.

use super::*;
use crate::genesis::tests::fleet;
use crate::{Change, SlotSet};
use rand_core::{Rng, SeedableRng};

/// A map that uses everything the format can say.
fn rich() -> ClusterMap {
    let mut map = fleet(4, 5, 3);
    map.epoch = Epoch(u64::MAX);
    map.removed_nodes.extend([NodeId(7), NodeId(u64::MAX)]);
    let shard = map.shards.get_mut(&ShardId(2)).unwrap();
    shard.greatest_replica = ReplicaId(300);
    shard.replicas.get_mut(&ReplicaId(2)).unwrap().membership = Membership::Learner;
    map
}

/// A map that uses everything the second format can say.
fn moving() -> ClusterMap {
    let mut map = rich();
    map.joined.insert(NodeId(4), 0xD1 << 120 | 4);
    for shard in [1, 3] {
        map.shards.get_mut(&ShardId(shard)).unwrap().reported = Index(300 * shard);
    }
    let from = map.shards[&ShardId(1)].replicas[&ReplicaId(1)].node;
    let to = map.nodes.keys().copied().find(|node| map.replica_on(ShardId(1), *node).is_none()).unwrap();
    let mut map = map_at(map, Epoch(7)).apply(Change::StartMove { shard: ShardId(1), from, to }).unwrap();
    map.moves.get_mut(&MoveId(1)).unwrap().cancelled = true;
    map.greatest_move = MoveId(300);
    map
}

/// A map that uses everything the newest format can say.
fn leaving() -> ClusterMap {
    let mut map = moving();
    map.leaving = [(NodeId(1), Leaving::Removed), (NodeId(3), Leaving::Drained)].into();
    map
}

fn map_at(map: ClusterMap, epoch: Epoch) -> ClusterMap {
    ClusterMap { epoch, ..map }
}

/// Puts the right checksum under bytes that were changed.
fn sealed(mut body: Vec<u8>) -> Vec<u8> {
    let checksum = crc32fast::hash(&body);
    body.extend(checksum.to_le_bytes());
    body
}

fn body(map: &ClusterMap) -> Vec<u8> {
    let mut bytes = map.encode();
    bytes.truncate(bytes.len() - CHECKSUM_BYTES);
    bytes
}

#[test]
fn a_map_comes_back_as_it_was() {
    for map in [fleet(1, 1, 1), fleet(3, 8, 3), fleet(7, 64, 5), rich(), moving(), leaving()] {
        assert_eq!(ClusterMap::decode(&map.encode()), Ok(map));
    }
}

#[test]
fn the_map_of_the_readme_fleet_is_small() {
    let bytes = fleet(3, 8, 3).encode().len();
    assert!(bytes < 6000, "{bytes} bytes");
}

#[test]
fn every_flipped_bit_and_every_cut_is_noticed() {
    for bytes in [rich().encode(), moving().encode(), leaving().encode()] {
        for at in 0..bytes.len() {
            assert!(ClusterMap::decode(&bytes[..at]).is_err(), "cut at {at}");
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                assert!(ClusterMap::decode(&flipped).is_err(), "bit {bit} of byte {at}");
            }
        }
    }
}

/// With a right checksum the fields themselves must be checked: whatever is accepted has exactly one encoding.
#[test]
fn damage_under_a_right_checksum_never_panics_and_never_has_a_second_form() {
    let sound = [body(&rich()), body(&moving()), body(&leaving())];
    let mut random = rand_pcg::Pcg64Mcg::seed_from_u64(11);
    let mut accepted = 0;
    for round in 0..20_000 {
        let mut bytes = sound[round % 3].clone();
        // What is joined, reported, moved and leaves stands at the end.
        let from_end = round % 4 == 3;
        for _ in 0..=random.next_u32() % 3 {
            // The head of the map, before the long list of runs, is where most can go wrong.
            let at = match from_end {
                true => bytes.len() - 1 - random.next_u32() as usize % 60,
                false => MAGIC.len() + 1 + random.next_u32() as usize % 400,
            };
            match random.next_u32() % 3 {
                0 => bytes[at] = random.next_u32() as u8,
                1 => drop(bytes.remove(at)),
                _ => bytes.insert(at, random.next_u32() as u8),
            }
        }
        let bytes = sealed(bytes);
        if let Ok(map) = ClusterMap::decode(&bytes) {
            assert_eq!(map.encode(), bytes);
            accepted += 1;
        }
    }
    assert!(accepted > 100, "only {accepted} were accepted: the test tests nothing");
}

#[test]
fn each_damage_is_named() {
    let sound = body(&fleet(3, 2, 3));
    let decode = |bytes: Vec<u8>| ClusterMap::decode(&sealed(bytes)).unwrap_err();
    assert_eq!(ClusterMap::decode(b""), Err(DecodeError::Magic));
    assert_eq!(ClusterMap::decode(b"FMAP"), Err(DecodeError::Short { field: "format" }));
    assert_eq!(ClusterMap::decode(b"FMAP\x01"), Err(DecodeError::Checksum));
    assert_eq!(ClusterMap::decode(b"FMAP\x04whatever"), Err(DecodeError::Format { format: 4 }));
    assert_eq!(ClusterMap::decode(&sound), Err(DecodeError::Checksum));
    assert_eq!(decode([sound.clone(), vec![0]].concat()), DecodeError::Value { field: "end" });

    let with = |at: usize, replacement: &[u8]| [&sound[..at], replacement, &sound[at + 1..]].concat();
    let epoch = MAGIC.len() + 1 + 16;
    assert_eq!(decode(with(epoch, &[0x81, 0x00])), DecodeError::Value { field: "epoch" }, "1 in two bytes");
    assert_eq!(decode(with(epoch, &[0xFF; 10])), DecodeError::Value { field: "epoch" }, "beyond 64 bits");
    assert_eq!(decode(with(epoch + 2, &[9])), DecodeError::Value { field: "node" }, "nodes 9, 2, 3");
    assert_eq!(
        decode(with(epoch + 3, &[0xFF, 0xFF, 0xFF, 0xFF, 0x7F])),
        DecodeError::Short { field: "client address" }
    );
    let huge = [&sound[..=epoch], &[0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F]].concat();
    assert_eq!(decode(huge), DecodeError::Short { field: "node" }, "a huge count allocates nothing");
}

/// What the first format can say has no second form, and what it cannot say is not in it.
#[test]
fn the_format_is_the_oldest_that_can_say_it() {
    assert_eq!([rich(), moving(), leaving()].map(|map| map.encode()[4]), [1, 2, 3]);
    let mut plain = body(&fleet(3, 2, 3));
    plain[4] = 2;
    plain.extend([0, 0, 0, 0]);
    assert_eq!(ClusterMap::decode(&sealed(plain)), Err(DecodeError::Value { field: "format" }));
    for mut plain in [body(&rich()), body(&moving())] {
        plain[4] = 3;
        plain.push(0);
        assert!(ClusterMap::decode(&sealed(plain)).is_err(), "nobody leaves");
    }
    let stays = fleet(3, 2, 3).apply(Change::Drain { node: NodeId(2) }).unwrap();
    let stays = stays.apply(Change::Undrain { node: NodeId(2) }).unwrap();
    assert_eq!(stays.encode()[4], 1, "who leaves no more leaves no trace");
    let mut expected = fleet(4, 1, 3);
    expected =
        expected.apply(Change::StartMove { shard: ShardId(1), from: NodeId(1), to: NodeId(4) }).unwrap();
    let mut old = body(&expected);
    old[4] = 1;
    assert_eq!(ClusterMap::decode(&sealed(old)), Err(DecodeError::Value { field: "membership" }));
}

#[test]
fn an_unsound_map_is_not_decoded() {
    let mut map = fleet(3, 2, 3);
    map.nodes.remove(&NodeId(3));
    assert!(matches!(ClusterMap::decode(&map.encode()), Err(DecodeError::Fault(Fault::StrayReplica { .. }))));
}

/// `docs/formats/map.md`, byte by byte: the map lies in shard 0, in caches of nodes, and between releases. Whoever changes one
/// of these bytes changes [`FORMAT`] too.
#[test]
fn the_bytes_of_a_map_are_these() {
    let mut map = fleet(2, 2, 2);
    map.epoch = Epoch(300);
    map.removed_nodes.insert(NodeId(9));
    map.greatest_shard = ShardId(130);
    map.slots = SlotMap::from_lengths([(100, ShardId(1)), (16284, ShardId(2))]).unwrap();
    let [range, other] = [(3, 3), (10, 127)]
        .map(|(first, last)| SlotRange::new(Slot::new(first).unwrap(), Slot::new(last).unwrap()).unwrap());
    map.shards.get_mut(&ShardId(1)).unwrap().genesis.slots = [range, other].into_iter().collect();
    map.shards.get_mut(&ShardId(2)).unwrap().genesis.slots = SlotSet::new();
    map.shards.get_mut(&ShardId(2)).unwrap().replicas.get_mut(&ReplicaId(2)).unwrap().membership =
        Membership::Learner;
    assert_eq!(map.validate(), Ok(()));

    let node = |id: u8, digit: u8| {
        let address = |port: &[u8]| [&[14][..], b"127.0.0.1:", port, &[digit]].concat();
        [&[id][..], &address(b"750"), &address(b"760"), &address(b"770")].concat()
    };
    let weight = [0x80, 0x01];
    let body = [
        &b"FMAP"[..],
        &[1],
        &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x0F, 0x1E, 0xE7],
        &[0xAC, 0x02],
        &[2],
        &node(1, b'1'),
        &node(2, b'2'),
        &[1, 9],
        &[0x82, 0x01],
        &[3],
        // Shard 0: weight, greatest replica, replicas; genesis: epoch, voters, no slots.
        &[0, 0, 2, 2, 1, 1, 0, 2, 2, 0],
        &[1, 2, 1, 1, 2, 2, 0],
        &[1],
        &weight,
        &[2, 2, 1, 1, 0, 2, 2, 0],
        &[1, 2, 1, 1, 2, 2, 2, 3, 1, 6, 118],
        &[2],
        &weight,
        &[2, 2, 1, 2, 0, 2, 1, 1],
        &[1, 2, 1, 2, 2, 1, 0],
        &[2, 100, 1, 0x9C, 0x7F, 2],
    ]
    .concat();
    assert_eq!(map.encode(), sealed(body.clone()));

    // Format 2: the membership of who is expected, and at the end who joined, what was reported, what moves.
    let place = Placement { node: NodeId(3), membership: Membership::Expected };
    map.nodes.insert(
        NodeId(3),
        NodeInfo { client_addr: "a:1".into(), peer_addr: "b:2".into(), http_addr: String::new() },
    );
    map.joined.insert(NodeId(3), 0x0300);
    let shard = map.shards.get_mut(&ShardId(2)).unwrap();
    (shard.greatest_replica, shard.reported) = (ReplicaId(3), Index(300));
    shard.replicas.insert(ReplicaId(3), place);
    let it = Move {
        shard: ShardId(2),
        from: NodeId(1),
        to: NodeId(3),
        leaving: ReplicaId(2),
        arriving: ReplicaId(3),
        cancelled: true,
    };
    map.moves.insert(MoveId(7), it);
    map.greatest_move = MoveId(130);
    assert_eq!(map.validate(), Ok(()));
    let mut newer = body;
    newer[4] = 2;
    // The nodes end before the removed ones: 1 of them, 9.
    let nodes_end = 4 + 1 + 16 + 2 + 1 + 2 * (1 + 3 * 15);
    newer[4 + 1 + 16 + 2] = 3;
    newer.splice(nodes_end..nodes_end, [&[3, 3][..], b"a:1", &[3], b"b:2", &[0]].concat());
    let shard_2 = [&weight[..], &[2, 2, 1, 2, 0, 2, 1, 1]].concat();
    let at = newer.windows(shard_2.len()).position(|bytes| bytes == shard_2).unwrap();
    newer.splice(at..at + shard_2.len(), [&weight[..], &[3, 3, 1, 2, 0, 2, 1, 1, 3, 3, 2]].concat());
    newer.extend([&[1, 3][..], &[0; 14], &[3, 0]].concat());
    newer.extend([1, 2, 0xAC, 0x02]);
    newer.extend([0x82, 0x01]);
    newer.extend([1, 7, 2, 1, 3, 2, 3, 1]);
    assert_eq!(map.encode(), sealed(newer));
    // Format 3: and then who leaves.
    map.leaving = [(NodeId(1), Leaving::Drained), (NodeId(3), Leaving::Removed)].into();
    let mut newest = self::body(&ClusterMap { leaving: BTreeMap::new(), ..map.clone() });
    newest[4] = 3;
    newest.extend([2, 1, 0, 3, 1]);
    assert_eq!(map.encode(), sealed(newest));
}
