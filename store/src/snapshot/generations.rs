//! Generations: which of the states that the base holds of a shard counts, and the removal of the others.

use bytes::Bytes;
use flotilla_topology::ShardId;

use crate::base::{Base, View, WriteBatch};
use crate::error::Error;
use crate::layout::{self, Meta, Tag};

/// The generation that counts; `None`: the shard was never flushed here.
///
/// # Errors
///
/// The base fails, or holds what cannot be read.
pub fn current_generation(view: &impl View, shard: ShardId) -> Result<Option<u64>, Error> {
    layout::read_pointer(view, shard)
}

/// A generation of which the base holds nothing, for [`crate::Machine::create`]. Above all that it holds:
/// nothing that an earlier replica left behind ever mixes with it.
///
/// # Errors
///
/// The base fails.
pub fn unused_generation(view: &impl View, shard: ShardId) -> Result<u64, Error> {
    let (from, to) = shard_range(shard);
    let last = view.range(&from, &to, true).next().transpose()?;
    let generation = last.and_then(|(key, _)| layout::place(&key)).map_or(0, |(_, generation)| generation);
    Ok(generation + 1)
}

/// A generation to stage a snapshot under, while the machine is of generation `current`, flushed or not.
///
/// # Errors
///
/// The base fails.
pub fn stage_generation(view: &impl View, shard: ShardId, current: u64) -> Result<u64, Error> {
    Ok(unused_generation(view, shard)?.max(current + 1))
}

/// Makes a staged generation the current one, atomically and durably. Doing it again does no harm.
///
/// # Errors
///
/// The base fails, or the generation was not finished ([`Error::Missing`]).
pub fn activate<B: Base>(base: &B, shard: ShardId, generation: u64) -> Result<(), Error> {
    if Meta::read(&base.view(), shard, generation)?.is_none() {
        return Err(Error::Missing { shard, generation, record: "state" });
    }
    let mut batch = WriteBatch::new();
    batch.put(layout::pointer_key(shard), layout::encode_pointer(generation));
    base.commit(batch)?;
    base.sync()?;
    Ok(())
}

/// The generations of a shard that do not count: old ones, and what an interrupted snapshot left. A snapshot
/// that is being staged is among them.
///
/// # Errors
///
/// The base fails.
pub fn leftovers(view: &impl View, shard: ShardId) -> Result<Vec<u64>, Error> {
    let current = layout::read_pointer(view, shard)?;
    let (mut from, to) = shard_range(shard);
    let mut found = Vec::new();
    loop {
        let first = view.range(&from, &to, false).next().transpose()?;
        let Some((_, generation)) = first.and_then(|(key, _)| layout::place(&key)) else { break };
        if generation != 0 && Some(generation) != current {
            found.push(generation);
        }
        let Some(next) = generation.checked_add(1) else { break };
        from = layout::key(shard, next, Tag::Pointer, b"");
    }
    Ok(found)
}

/// Removes up to `keys_max` keys of a generation that is not current. Returns whether it is gone. Not synced:
/// what comes back in a crash is found again.
///
/// # Errors
///
/// The base fails, or the generation is current ([`Error::Generation`]).
pub fn purge<B: Base>(base: &B, shard: ShardId, generation: u64, keys_max: usize) -> Result<bool, Error> {
    let view = base.view();
    let current = layout::read_pointer(&view, shard)?;
    if current == Some(generation) {
        return Err(Error::Generation { shard, generation, current });
    }
    let from = layout::key(shard, generation, Tag::Pointer, b"");
    let to = match generation.checked_add(1) {
        Some(next) => layout::key(shard, next, Tag::Pointer, b""),
        None => shard_range(shard).1,
    };
    remove(base, &view, &from, &to, keys_max)
}

/// Removes up to `keys_max` keys of a shard, the pointer first. Returns whether all is gone. For a replica
/// that was removed.
///
/// # Errors
///
/// The base fails.
pub fn purge_shard<B: Base>(base: &B, shard: ShardId, keys_max: usize) -> Result<bool, Error> {
    let (from, to) = shard_range(shard);
    remove(base, &base.view(), &from, &to, keys_max)
}

fn remove<B: Base>(base: &B, view: &B::View, from: &[u8], to: &[u8], keys_max: usize) -> Result<bool, Error> {
    let mut batch = WriteBatch::new();
    let mut done = true;
    for entry in view.range(from, to, false) {
        let (key, _) = entry?;
        if batch.len() == keys_max {
            done = false;
            break;
        }
        batch.delete(key);
    }
    if !batch.is_empty() {
        base.commit(batch)?;
    }
    Ok(done)
}

/// The shards of which the base holds anything, in rising order.
///
/// # Errors
///
/// The base fails.
pub fn shards_in(view: &impl View) -> Result<Vec<ShardId>, Error> {
    let mut found = Vec::new();
    let mut next = Some(ShardId(0));
    while let Some(shard) = next {
        let from = layout::key(shard, 0, Tag::Pointer, b"");
        let to = shard_range(ShardId(u64::MAX)).1;
        let Some((key, _)) = view.range(&from, &to, false).next().transpose()? else { break };
        let Some((shard, _)) = layout::place(&key) else { break };
        found.push(shard);
        next = shard.0.checked_add(1).map(ShardId);
    }
    Ok(found)
}

fn shard_range(shard: ShardId) -> (Bytes, Bytes) {
    let from = Bytes::copy_from_slice(&shard.0.to_be_bytes());
    let to = match shard.0.checked_add(1) {
        Some(next) => Bytes::copy_from_slice(&next.to_be_bytes()),
        // Greater than any key of the last shard: no generation gets there.
        None => Bytes::from_static(&[0xff; 16]),
    };
    (from, to)
}
