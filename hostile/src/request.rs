//! Requests of clients: counted, decoded, and what the gate makes of them.

use flotilla_node::api::{examine, examine_scan};
use flotilla_node::config::{Bytes as Size, Limits};
use flotilla_proto::limits::{BATCH_BYTES_MAX, KEY_BYTES_MAX, PIPELINE_OPERATIONS_MAX, VALUE_BYTES_MAX};
use flotilla_proto::v1::pipeline_operation::Operation;
use flotilla_proto::{codec, status, v1};
use prost::Message;
use tonic::{Code, Status};

use crate::input::Input;

/// As a node has them that was given no flags.
const LIMITS: Limits = Limits {
    key_bytes_max: Size(KEY_BYTES_MAX as u64),
    value_bytes_max: Size(VALUE_BYTES_MAX as u64),
    batch_bytes_max: Size(BATCH_BYTES_MAX as u64),
    deadline_max_ms: 60_000,
};

/// The first byte: which method. Then the message.
pub(crate) fn enter(bytes: &[u8]) -> bool {
    let mut input = Input(bytes);
    match input.byte() % 7 {
        0 => pipeline(input.0),
        1 => one(input.0, Operation::Get),
        2 => one(input.0, Operation::Put),
        3 => one(input.0, Operation::Delete),
        4 => one(input.0, Operation::CompareAndSwap),
        5 => one(input.0, Operation::Txn),
        _ => scan(input.0),
    }
}

/// The message, if a server would decode it.
fn decoded<M: Message + Default + 'static>(bytes: &[u8]) -> Option<M> {
    if let Err(refusal) = codec::count::<M>(bytes) {
        judge(&refusal);
        return None;
    }
    M::decode(bytes).ok()
}

/// A refusal of ours says that nothing was executed, and what was wrong.
fn judge(refusal: &Status) {
    assert!(matches!(refusal.code(), Code::InvalidArgument | Code::Unimplemented), "{refusal:?}");
    assert!(status::definite(refusal), "{refusal:?}");
}

fn pipeline(bytes: &[u8]) -> bool {
    let Some(message) = decoded::<v1::PipelineRequest>(bytes) else { return false };
    assert!(message.operations.len() <= PIPELINE_OPERATIONS_MAX);
    let accepted = message.operations.into_iter().filter(|it| gate(it.operation.clone())).count();
    accepted > 0
}

fn one<M: Message + Default + 'static>(bytes: &[u8], of: fn(M) -> Operation) -> bool {
    decoded::<M>(bytes).is_some_and(|message| gate(Some(of(message))))
}

fn gate(operation: Option<Operation>) -> bool {
    match examine(&LIMITS, operation) {
        Ok(key) => {
            assert!((1..=KEY_BYTES_MAX).contains(&key.len()), "a key of {} bytes was accepted", key.len());
            true
        }
        Err(refusal) => {
            judge(&refusal);
            false
        }
    }
}

fn scan(bytes: &[u8]) -> bool {
    let Some(message) = decoded::<v1::ScanRequest>(bytes) else { return false };
    match examine_scan(&LIMITS, message) {
        Ok(range) => {
            assert!(range.from.len() <= KEY_BYTES_MAX + 1);
            assert!(range.to.is_none_or(|to| !to.is_empty() && to.len() <= KEY_BYTES_MAX + 1));
            true
        }
        Err(refusal) => {
            judge(&refusal);
            false
        }
    }
}
