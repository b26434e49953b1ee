//! Runs the stories in `tests/scripts`. Each file is one; its commands are explained in
//! `tests/scripts/README.md`. After a change, `UPDATE_GOLDENFILES=1 cargo test -p flotilla-raft --test
//! scripts` writes what the replicas do now: read the difference as critically as the code.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod cluster;

use std::path::Path;

fn run(story: &str) {
    let path = Path::new("tests/scripts").join(story);
    goldenscript::run(&mut cluster::stage::Stage::default(), path)
        .unwrap_or_else(|error| panic!("{story}: {error}"));
}

/// One test per story, and a check that no story is forgotten.
macro_rules! stories {
    ($($story:ident)*) => {
        $(#[test] fn $story() { run(stringify!($story)); })*

        #[test]
        fn every_story_is_told() {
            let told = [$(stringify!($story)),*];
            for file in std::fs::read_dir("tests/scripts").unwrap() {
                let name = file.unwrap().file_name().into_string().unwrap();
                assert!(name == "README.md" || told.contains(&name.as_str()), "{name} is not in the list of stories");
            }
        }
    };
}

stories! {
    acknowledgements_wait_for_the_disk
    broken_promise_lost_disk
    broken_promise_rewritten_history
    broken_promise_two_leaders
    candidate_learns_of_commits
    change_after_a_restart
    change_lost_with_its_leader
    change_refused
    change_refused_unless_ready
    check_quorum
    check_quorum_one_way
    configuration_takes_effect_when_applied
    conflict_backtracking
    delayed_commit_catches_up
    election
    election_log_must_be_up_to_date
    election_split_vote
    figure_7
    figure_8
    follower_ahead_of_its_disk
    heartbeat_frees_probe
    impossible_messages
    joint_add_one
    joint_add_two
    joint_demote
    joint_leave_explicit
    joint_left_by_the_next_leader
    joint_quorum
    joint_replace_one
    leader_ahead_of_its_disk
    learner_comes_and_goes
    learners
    lease
    lease_joint_and_learners
    lease_leader_is_no_voter
    lease_needs_the_acknowledged_number
    lease_not_after_timeout_now
    lost_append_is_found_by_heartbeat
    lost_reply_is_found_by_heartbeat
    old_leader_is_told
    pre_vote_stale_replica_cannot_disrupt
    proposals_refused
    proposals_share_an_append
    reads
    reads_lost
    reads_lost_round
    reads_repeated_answer
    reads_wait_for_own_term
    recent_leader_rule
    refused_for_a_while
    removed_leader_leaves_office
    removed_replica_cannot_disrupt
    removed_replica_is_needed_until_settled
    repeated_and_overtaken_messages
    restart
    silent_leader
    single_voter
    sleep
    sleep_and_wake
    sleep_fallen
    sleep_follower_restarts
    sleep_late_word
    sleep_not_all
    sleep_restart
    sleep_silence
    snapshot
    snapshot_carries_joint
    snapshot_install_fails
    snapshot_not_needed
    snapshot_restart_and_failure
    snapshot_state_left_by_plain_reply
    snapshot_then_votes
    summons_waits_for_configuration
    support_binds
    support_binds_candidates
    support_not_after_release
    support_of_a_former_life
    support_released
    support_restart
    tickets_out_of_step_with_terms
    transfer
    transfer_broken_off_delays_nothing
    transfer_delays_leave
    transfer_in_joint
    transfer_of_late_candidate
    transfer_refused
    transfer_times_out
    two_ask_at_once
    unapplied_configuration_does_not_campaign
    unaware_incoming_voter_votes
    unaware_promoted_learner_votes
    unreachable_peer
    vote_waits_for_its_disk
    window
    window_bytes
}
