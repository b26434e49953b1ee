//! One operation through redirects, refusals, silence and its deadline: what it says at the end is never a lie.

use super::*;
use flotilla_topology::{ClusterMap, Epoch, NodeId, NodeInfo, Slot, plan_initial};

const ATTEMPT: Duration = Duration::from_millis(500);
const DEADLINE: Duration = Duration::from_secs(2);

fn address(node: u64) -> String {
    format!("127.0.0.1:{}", 7500 + node)
}

fn map() -> ClusterMap {
    let info = |id| NodeInfo { client_addr: address(id), peer_addr: "p:1".into(), http_addr: "h:1".into() };
    plan_initial(1, (1..=3).map(|id| (NodeId(id), info(id))).collect(), 4, 3).unwrap()
}

/// One operation under a script; shard 1, whose preferred leader is node 1.
struct Story {
    operation: Operation,
    routes: Routes,
    now: Duration,
    slot: Slot,
}

impl Story {
    fn of(effect: Effect) -> Self {
        let mut routes = Routes::new(vec!["endpoint:1".into()]);
        routes.set_map(map());
        let slot = map().slots_of(ShardId(1)).slots().next().unwrap();
        let patience = Patience { deadline: DEADLINE, attempt: ATTEMPT };
        let operation = Operation::new(Target::Slot(slot), effect, patience, 7);
        Self { operation, routes, now: Duration::ZERO, slot }
    }

    fn report(&self, term: u64, leader: u64) -> Route {
        let leader = (leader > 0).then(|| (NodeId(leader), address(leader)));
        Route { slot: self.slot, shard: ShardId(1), epoch: Epoch(1), term: Term(term), leader }
    }

    /// The next step, whatever it is.
    fn step(&mut self) -> Step {
        self.operation.next(self.now, &self.routes)
    }

    /// The next attempt must go out at once, to this node.
    fn sends_at_once_to(&mut self, node: u64) {
        let Step::Send { to, .. } = self.step() else { panic!("expected an attempt, got {:?}", self.step()) };
        assert_eq!(*to, *address(node));
    }

    /// The next attempt must go out after a wait, and says to whom.
    fn sends_after_a_wait(&mut self) -> String {
        let Step::Wait { until } = self.step() else { panic!("expected a wait, got {:?}", self.step()) };
        assert!(until > self.now);
        self.now = until;
        let Step::Send { to, .. } = self.step() else { panic!("expected an attempt, got {:?}", self.step()) };
        to.to_string()
    }

    fn redirect(&mut self, term: u64, leader: u64) {
        let report = self.report(term, leader);
        self.operation.redirected(self.now, &report, &mut self.routes);
    }

    fn fail(&mut self, failure: &Failure) {
        self.operation.failed(self.now, failure, &mut self.routes);
    }

    /// Fails every attempt alike until the operation gives up.
    fn fails_until_the_end(&mut self, failure: &Failure) -> Error {
        for _ in 0..1000 {
            match self.step() {
                Step::Send { .. } => self.fail(failure),
                Step::Wait { until } => self.now = until,
                Step::Fail(error) => return error,
            }
        }
        panic!("it never gave up");
    }
}

fn refused() -> Failure {
    Failure { definite: true, ..Failure::lost("shutting down") }
}

fn overloaded(retry_after: Duration) -> Failure {
    Failure { definite: true, verdict: Verdict::Later, retry_after, ..Failure::lost("overloaded") }
}

#[test]
fn a_redirect_is_followed_at_once_and_remembered() {
    let mut story = Story::of(Effect::Write);
    story.sends_at_once_to(1);
    story.redirect(4, 3);
    story.sends_at_once_to(3);
    assert_eq!(story.routes.leader(Target::Slot(story.slot)), Some(address(3).as_str()));
}

#[test]
fn an_answer_teaches_the_route() {
    let mut story = Story::of(Effect::Write);
    story.sends_at_once_to(1);
    story.operation.answered(ShardId(1), Term(4), &mut story.routes);
    assert_eq!(story.routes.route(Target::Slot(story.slot)), Some(&story.report(4, 1)));
}

#[test]
fn a_newer_report_of_others_beats_an_older_redirect() {
    let mut story = Story::of(Effect::Write);
    story.sends_at_once_to(1);
    let newer = story.report(9, 2);
    story.routes.learn(&newer);
    story.redirect(4, 3);
    story.sends_at_once_to(2);
}

/// The cache says node 1 leads in term 9; node 1 itself says that node 3 does, in term 4. It was restarted with an old
/// state, or its office ended: going back to it would go round for ever.
#[test]
fn who_denies_to_lead_is_believed_whatever_the_cache_says() {
    let mut story = Story::of(Effect::Write);
    let cached = story.report(9, 1);
    story.routes.learn(&cached);
    story.sends_at_once_to(1);
    story.redirect(4, 3);
    story.sends_at_once_to(3);
}

#[test]
fn two_nodes_that_point_at_each_other_are_not_asked_without_pause() {
    let mut story = Story::of(Effect::Write);
    story.sends_at_once_to(1);
    let (mut sent, mut waited) = (1, 0);
    let mut asked = 1;
    while story.now < DEADLINE {
        let other = if asked == 1 { 2 } else { 1 };
        story.redirect(5, other);
        match story.step() {
            Step::Send { to, .. } => asked = if *to == *address(1) { 1 } else { 2 },
            Step::Wait { until } => {
                waited += 1;
                story.now = until;
                match story.step() {
                    Step::Send { to, .. } => asked = if *to == *address(1) { 1 } else { 2 },
                    Step::Fail(error) => {
                        assert!(matches!(error, Error::NotExecuted { .. }), "{error:?}");
                        break;
                    }
                    Step::Wait { .. } => panic!("two waits in a row"),
                }
            }
            Step::Fail(error) => panic!("{error:?}"),
        }
        sent += 1;
    }
    assert!(sent <= (HOPS_MAX + 1) * (waited + 1), "{sent} attempts with {waited} waits");
    assert!(sent < 120, "{sent} attempts in {DEADLINE:?}");
}

#[test]
fn while_there_is_no_leader_others_are_asked_after_a_wait() {
    let mut story = Story::of(Effect::Write);
    story.sends_at_once_to(1);
    story.redirect(5, 0);
    assert_eq!(story.sends_after_a_wait(), address(2));
    story.redirect(5, 0);
    assert_eq!(story.sends_after_a_wait(), address(3));
    story.redirect(6, 2);
    story.sends_at_once_to(2);
}

#[test]
fn a_lost_leader_is_doubted_and_another_replica_asked() {
    let mut story = Story::of(Effect::Write);
    let report = story.report(5, 2);
    story.routes.learn(&report);
    story.sends_at_once_to(2);
    story.fail(&Failure::lost("connection reset"));
    assert_eq!(story.routes.leader(Target::Slot(story.slot)), None);
    assert_eq!(story.sends_after_a_wait(), address(1));
    // Node 1 has not noticed yet. Going back is right (it may live again), but not without a pause.
    story.redirect(5, 2);
    assert_eq!(story.sends_after_a_wait(), address(2));
}

#[test]
fn an_overloaded_leader_is_asked_again_when_it_said() {
    let mut story = Story::of(Effect::Write);
    story.sends_at_once_to(1);
    story.fail(&overloaded(Duration::from_millis(300)));
    assert_eq!(story.sends_after_a_wait(), address(1));
    assert_eq!(story.now, Duration::from_millis(300));
}

#[test]
fn only_if_every_attempt_was_definite_it_was_surely_not_executed() {
    let mut all_refused = Story::of(Effect::Write);
    let error = all_refused.fails_until_the_end(&refused());
    assert!(matches!(error, Error::NotExecuted { .. }), "{error:?}");
    assert!(all_refused.now >= DEADLINE, "it gave up early, at {:?}", all_refused.now);

    let mut one_lost = Story::of(Effect::Write);
    one_lost.sends_at_once_to(1);
    one_lost.fail(&Failure::lost("connection reset"));
    let error = one_lost.fails_until_the_end(&refused());
    assert!(matches!(error, Error::Unknown { .. }), "one lost attempt may have been executed: {error:?}");
}

#[test]
fn a_read_is_never_unknown() {
    let error = Story::of(Effect::Read).fails_until_the_end(&Failure::lost("connection reset"));
    assert!(matches!(error, Error::NotExecuted { .. }), "{error:?}");
}

#[test]
fn a_hint_when_to_come_back_reaches_the_caller() {
    let hint = Duration::from_millis(1900);
    let error = Story::of(Effect::Write).fails_until_the_end(&overloaded(hint));
    assert!(matches!(error, Error::NotExecuted { retry_after: Some(it), .. } if it == hint), "{error:?}");
}

#[test]
fn a_wrong_request_ends_at_once_but_is_unknown_after_a_lost_attempt() {
    let wrong = Failure {
        definite: true,
        verdict: Verdict::Invalid { field: "value".into() },
        ..Failure::lost("too long")
    };
    let mut story = Story::of(Effect::Write);
    story.sends_at_once_to(1);
    story.fail(&wrong);
    assert_eq!(
        story.step(),
        Step::Fail(Error::Invalid { field: "value".into(), message: "too long".into() })
    );

    let mut story = Story::of(Effect::Write);
    story.sends_at_once_to(1);
    story.fail(&Failure::lost("connection reset"));
    story.sends_after_a_wait();
    story.fail(&wrong);
    assert!(
        matches!(story.step(), Step::Fail(Error::Unknown { .. })),
        "the first attempt may have been executed"
    );
}

#[test]
fn what_nobody_will_answer_differently_is_not_tried_again() {
    let mut story = Story::of(Effect::Write);
    story.sends_at_once_to(1);
    story.fail(&Failure { verdict: Verdict::Stop, ..Failure::lost("deadline passed in shard time") });
    assert!(matches!(story.step(), Step::Fail(Error::Unknown { .. })));
}

#[test]
fn no_attempt_outlives_the_deadline() {
    let mut story = Story::of(Effect::Write);
    let Step::Send { timeout, .. } = story.step() else { panic!() };
    assert_eq!(timeout, ATTEMPT);
    story.fail(&refused());
    story.now = DEADLINE - Duration::from_millis(30);
    let Step::Send { timeout, .. } = story.step() else { panic!() };
    assert_eq!(timeout, Duration::from_millis(30));
    story.fail(&overloaded(Duration::from_secs(60)));
    assert_eq!(
        story.step(),
        Step::Wait { until: DEADLINE },
        "a hint beyond the deadline does not prolong it"
    );
}

#[test]
fn without_anyone_to_ask_it_fails_at_once() {
    let patience = Patience { deadline: DEADLINE, attempt: ATTEMPT };
    let mut operation = Operation::new(Target::Anyone, Effect::Write, patience, 1);
    let step = operation.next(Duration::ZERO, &Routes::new(Vec::new()));
    assert!(matches!(step, Step::Fail(Error::NotExecuted { .. })), "{step:?}");
}

#[test]
fn who_has_the_leader_at_hand_may_go_straight_there() {
    let mut story = Story::of(Effect::Write);
    let leader: Arc<str> = address(2).into();
    let step = story.operation.first(story.now, Arc::clone(&leader));
    assert_eq!(step, Step::Send { to: leader, timeout: ATTEMPT });
    story.fail(&Failure::lost("connection reset"));
    assert_ne!(story.sends_after_a_wait(), address(2), "all that follows is as ever");
    let late = Story::of(Effect::Write).operation.first(DEADLINE, "x:1".into());
    assert!(matches!(late, Step::Fail(Error::NotExecuted { .. })), "{late:?}");
}

#[test]
fn attempts_at_much_work_grow_when_nobody_answers_and_only_then() {
    let mut story = Story::of(Effect::Read);
    story.operation = story.operation.growing();
    let timeout = |story: &mut Story| match story.step() {
        Step::Send { timeout, .. } => timeout,
        Step::Wait { until } => {
            story.now = until;
            let Step::Send { timeout, .. } = story.step() else { panic!("a wait after a wait") };
            timeout
        }
        Step::Fail(error) => panic!("{error}"),
    };
    assert_eq!(timeout(&mut story), ATTEMPT);
    story.fail(&overloaded(Duration::ZERO));
    assert_eq!(timeout(&mut story), ATTEMPT, "a refusal says nothing of how long it takes");
    story.fail(&Failure::lost("no page in time"));
    assert_eq!(timeout(&mut story), 2 * ATTEMPT);
    story.fail(&Failure::lost("no page in time"));
    let left = DEADLINE - story.now;
    assert!(timeout(&mut story) <= left.min(4 * ATTEMPT), "never past the deadline");
}

/// One router of three is down. The first operation finds out; the others go elsewhere at once.
#[test]
fn what_failed_one_operation_is_skipped_by_the_others_for_a_while() {
    let endpoints = ["r:1", "r:2", "r:3"];
    let mut routes = Routes::new(endpoints.map(str::to_owned).to_vec());
    let patience = Patience { deadline: DEADLINE, attempt: ATTEMPT };
    let first_asked = |routes: &Routes, seed| {
        let mut operation = Operation::new(Target::Anyone, Effect::Write, patience, seed);
        let Step::Send { to, .. } = operation.next(Duration::ZERO, routes) else { panic!() };
        (operation, to)
    };
    let (mut operation, dead) = first_asked(&routes, 1);
    operation.failed(Duration::ZERO, &Failure::not_sent("connection refused"), &mut routes);
    let asked: Vec<Arc<str>> = (0..50).map(|seed| first_asked(&routes, seed).1).collect();
    assert!(!asked.contains(&dead));
    let others = endpoints.iter().filter(|endpoint| **endpoint != &*dead);
    assert!(others.clone().all(|other| asked.iter().any(|it| **it == **other)), "the others share the load");
    for other in others {
        routes.shun(Duration::ZERO, other);
    }
    let _ = first_asked(&routes, 2);
}
