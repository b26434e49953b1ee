//! The operations of one stream that are not answered yet.

use std::collections::HashSet;

use flotilla_proto::status;
use flotilla_topology::{ShardId, Slot};
use tokio::time::Instant;
use tonic::Status;

use super::operation::{Kind, Parsed};
use crate::runtime::Question;

/// An operation that is not answered yet.
#[derive(Debug)]
pub(super) struct Unanswered {
    /// The client's name for it.
    pub(super) id: u64,
    pub(super) kind: Kind,
    pub(super) slot: Slot,
    pub(super) shard: ShardId,
    /// What its key and value take.
    pub(super) bytes: usize,
    /// When nobody waits for it any more.
    pub(super) deadline: Option<Instant>,
    /// The operation itself, where it may have to be forwarded.
    pub(super) kept: Option<Parsed>,
}

/// The operations of one stream that are not answered yet, each at a place that is its question's number.
#[derive(Debug, Default)]
pub(super) struct Table {
    places: Vec<Option<Unanswered>>,
    free: Vec<u32>,
    ids: HashSet<u64>,
    bytes: usize,
}

impl Table {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    /// What their keys and values take, in bytes.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes one in, unless its id is that of another.
    pub(super) fn enter(&mut self, operation: Unanswered) -> Result<Question, Status> {
        if !self.ids.insert(operation.id) {
            let text = format!("another operation with the id {} is still unanswered", operation.id);
            return Err(status::invalid("id", text));
        }
        self.bytes += operation.bytes;
        let Some(place) = self.free.pop() else {
            self.places.push(Some(operation));
            return Ok(Question(u32::try_from(self.places.len() - 1).unwrap_or(u32::MAX)));
        };
        self.places[place as usize] = Some(operation);
        Ok(Question(place))
    }

    /// One that stays for now.
    pub(super) fn get_mut(&mut self, question: Question) -> Option<&mut Unanswered> {
        self.places.get_mut(question.0 as usize)?.as_mut()
    }

    /// One that is answered.
    pub(super) fn leave(&mut self, question: Question) -> Option<Unanswered> {
        let operation = self.places.get_mut(question.0 as usize)?.take()?;
        self.free.push(question.0);
        self.ids.remove(&operation.id);
        self.bytes -= operation.bytes;
        Some(operation)
    }

    /// All of them: none will be answered.
    pub(super) fn leave_all(&mut self) -> impl Iterator<Item = Unanswered> + use<> {
        std::mem::take(self).places.into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    fn operation(id: u64) -> Unanswered {
        Unanswered {
            id,
            kind: Kind::Get,
            slot: Slot::of(b"k"),
            shard: ShardId(1),
            bytes: 10,
            deadline: None,
            kept: None,
        }
    }

    #[test]
    fn an_id_is_free_again_when_its_operation_is_answered() {
        let mut table = Table::default();
        let first = table.enter(operation(7)).unwrap();
        let second = table.enter(operation(8)).unwrap();
        assert_ne!(first, second);
        let refusal = table.enter(operation(7)).unwrap_err();
        assert_eq!((refusal.code(), status::definite(&refusal)), (Code::InvalidArgument, true));
        assert_eq!((table.len(), table.bytes()), (2, 20));
        assert_eq!(table.leave(first).map(|operation| operation.id), Some(7));
        assert!(table.leave(first).is_none(), "an operation is answered once");
        assert_eq!(table.enter(operation(7)).unwrap(), first, "places are reused");
        assert_eq!(table.leave_all().map(|operation| operation.id).collect::<Vec<_>>(), [7, 8]);
        assert_eq!((table.len(), table.bytes()), (0, 0));
    }
}
