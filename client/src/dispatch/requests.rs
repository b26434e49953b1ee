//! Numbers the writes of a client, so that each is executed at most once.
//!
//! Shards remember the result of a write until the client says that it has it. `acknowledged` says so: the client has
//! the answers of all its writes up to there. Writes end out of order; the number moves on only over an unbroken row of
//! ended ones. A write that was given up has ended too: nobody will try it again, and a late attempt of it is then refused by
//! the shard as one below the client's floor, which is what we want.

use std::collections::VecDeque;

use flotilla_proto::v1::RequestId;

/// The request ids of one client.
#[derive(Debug)]
pub struct Requests {
    client: u128,
    last: u64,
    acknowledged: u64,
    /// Of each write above `acknowledged`, in order: whether it has ended. The first one has not.
    ended: VecDeque<bool>,
}

/// One write that has begun. To be given back to [`Requests::end`].
#[derive(Debug, PartialEq, Eq)]
pub struct Ticket {
    sequence: u64,
    acknowledged: u64,
}

impl Requests {
    /// A client that has never written. The number must be drawn at random at each start: under a number used before, old
    /// results would be taken for the answers of new writes.
    #[must_use]
    pub const fn new(client: u128) -> Self {
        Self { client, last: 0, acknowledged: 0, ended: VecDeque::new() }
    }

    /// Begins a write.
    pub fn begin(&mut self) -> Ticket {
        self.last += 1;
        self.ended.push_back(false);
        Ticket { sequence: self.last, acknowledged: self.acknowledged }
    }

    /// Ends a write: it was answered, or will never be tried again.
    pub fn end(&mut self, ticket: &Ticket) {
        let place = ticket.sequence.checked_sub(self.acknowledged + 1);
        let place = place.and_then(|place| self.ended.get_mut(usize::try_from(place).ok()?));
        let was = place.is_some_and(|ended| !std::mem::replace(ended, true));
        assert!(was, "write {} ended twice", ticket.sequence);
        while self.ended.front() == Some(&true) {
            self.ended.pop_front();
            self.acknowledged += 1;
        }
    }

    /// The id that all attempts of this write carry.
    #[must_use]
    pub fn id(&self, ticket: &Ticket, deadline_ms: u64) -> RequestId {
        RequestId {
            client: Some(self.client.into()),
            sequence: ticket.sequence,
            acknowledged: ticket.acknowledged,
            deadline_ms,
        }
    }
}

/// The id under which a program between client and fleet passes a write on: the one with which it came, deadline included;
/// its own only where there was none. No hop recomputes anything of an id (DESIGN §6). Counterexample: an attempt is held up
/// here until its client has its answer from another attempt, and its deadline has passed, so that the shard has forgotten the
/// client; with a new deadline it would be executed a second time.
#[must_use]
pub fn passed_on(came: Option<RequestId>, own: Option<RequestId>) -> Option<RequestId> {
    came.or(own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_unbroken_row_of_ended_writes_is_acknowledged() {
        let mut requests = Requests::new(9);
        let [one, two, three] = [requests.begin(), requests.begin(), requests.begin()];
        assert_eq!([one.sequence, two.sequence, three.sequence], [1, 2, 3]);
        assert_eq!([one.acknowledged, two.acknowledged, three.acknowledged], [0, 0, 0]);

        requests.end(&three);
        requests.end(&one);
        let four = requests.begin();
        assert_eq!(four.acknowledged, 1, "2 is still under way, so 3 must stay remembered");
        requests.end(&two);
        let five = requests.begin();
        assert_eq!(five.acknowledged, 3);
        requests.end(&four);
        requests.end(&five);
        assert_eq!(requests.begin().acknowledged, 5);
    }

    #[test]
    fn an_id_never_acknowledges_itself() {
        let mut requests = Requests::new(u128::MAX);
        for _ in 0..10 {
            let ticket = requests.begin();
            let id = requests.id(&ticket, 70);
            assert!(id.acknowledged < id.sequence);
            assert_eq!((id.client, id.deadline_ms), (Some(u128::MAX.into()), 70));
            requests.end(&ticket);
        }
    }

    #[test]
    fn an_id_is_passed_on_as_it_came() {
        let id = |sequence, deadline_ms| RequestId { client: None, sequence, acknowledged: 0, deadline_ms };
        assert_eq!(passed_on(Some(id(3, 70)), Some(id(9, 99))), Some(id(3, 70)));
        assert_eq!(passed_on(None, Some(id(9, 99))), Some(id(9, 99)));
    }

    #[test]
    #[should_panic(expected = "write 1 ended twice")]
    fn ending_twice_is_a_bug() {
        let mut requests = Requests::new(1);
        let ticket = requests.begin();
        requests.end(&ticket);
        requests.end(&ticket);
    }
}
