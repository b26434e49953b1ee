//! How things are written in scripts: entries as `index@term`, replicas by their number.

use std::collections::BTreeSet;
use std::error::Error;

use bytes::Bytes;
use flotilla_raft::{
    Change, Configuration, Entry, HardState, Index, Leave, LogId, Message, Payload, ReplicaId, Rpc, Status,
    Term, Write,
};
use goldenscript::ArgumentConsumer;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

pub fn message(message: &Message) -> String {
    let Message { from, to, term, rpc } = message;
    format!("{from} → {to}  t{term} {}", rpc_text(rpc))
}

fn rpc_text(rpc: &Rpc) -> String {
    let yes = |granted: &bool| if *granted { "yes" } else { "no" };
    match rpc {
        Rpc::PreVote { campaign, last } => format!("PreVote for t{campaign}, last {last}"),
        Rpc::PreVoteReply { campaign, granted, commit, wait } => {
            let wait = wait.map_or(String::new(), |wait| format!(", bound for {} ms", wait.as_millis()));
            format!("PreVoteReply for t{campaign}: {}, commit {commit}{wait}", yes(granted))
        }
        Rpc::Vote { last, transfer: false } => format!("Vote last {last}"),
        Rpc::Vote { last, transfer: true } => format!("Vote last {last}, transfer"),
        Rpc::VoteReply { granted } => format!("VoteReply {}", yes(granted)),
        Rpc::Append { previous, entries, commit } => {
            format!("Append {previous} [{}] commit {commit}", ids(entries))
        }
        Rpc::AppendReply { matched } => format!("AppendReply matched {matched}"),
        Rpc::AppendRejected { previous, hint } => format!("AppendRejected {previous}, hint {hint}"),
        Rpc::Heartbeat { commit, sent, round, life, sleep } => {
            let sleep = sleep
                .map_or(String::new(), |number| format!(", sleep: life {}, support #{}", life.0, number.0));
            format!("Heartbeat #{} sent {sent}, commit {commit}{sleep}", round.0)
        }
        Rpc::HeartbeatReply { round, sent, accepted, matched, support, asleep } => {
            let support = support.map_or(String::new(), |number| format!(", support #{}", number.0));
            let asleep = if *asleep { ", asleep" } else { "" };
            format!(
                "HeartbeatReply #{} sent {sent}, accepted {accepted}, matched {matched}{support}{asleep}",
                round.0
            )
        }
        Rpc::InstallSnapshot { meta } => format!("InstallSnapshot {meta}"),
        Rpc::TimeoutNow => "TimeoutNow".into(),
        Rpc::TermOver => "TermOver".into(),
    }
}

pub fn ids(entries: &[Entry]) -> String {
    entries.iter().map(|entry| entry.id.to_string()).collect::<Vec<_>>().join(" ")
}

pub fn payload(payload: &Payload) -> String {
    match payload {
        Payload::Noop => "noop".into(),
        Payload::Data(data) if data.len() > 20 => format!("{} bytes", data.len()),
        Payload::Data(data) => String::from_utf8_lossy(data).into_owned(),
        Payload::Configuration(configuration) => configuration.to_string(),
    }
}

pub fn entry(entry: &Entry) -> String {
    format!("{} {}", entry.id, payload(&entry.payload))
}

pub fn write(write: &Write) -> String {
    let mut text = format!("write #{}:", write.ticket.0);
    if let Some(state) = &write.hard_state {
        text += &format!(" {}", hard_state(state));
    }
    if !write.entries.is_empty() {
        text += &format!(" [{}]", ids(&write.entries));
    }
    text
}

pub fn hard_state(state: &HardState) -> String {
    let vote = state.vote.map_or("-".into(), |id| id.to_string());
    format!("term {} vote {vote} commit {}", state.term, state.commit)
}

pub fn status(status: &Status) -> String {
    let leader = status.leader.map_or("-".into(), |id| id.to_string());
    let transfer = status.transfer.map_or(String::new(), |id| format!(" transfer to {id}"));
    let asleep = if status.asleep { " asleep" } else { "" };
    let Status { id, role, term, last, persisted, commit, applied, .. } = status;
    format!(
        "{id} {role} t{term} leader {leader}: last {last} persisted {persisted} commit {commit} applied {applied}{transfer}{asleep}"
    )
}

pub fn progress(status: &Status) -> Vec<String> {
    let lines = status.progress.iter().map(|(id, progress)| {
        let silent = if progress.recent_active { "" } else { " silent" };
        format!("{id} {} matched {} next {}{silent}", progress.state, progress.matched, progress.next)
    });
    lines.collect()
}

pub fn parse_replica(text: &str) -> Result<ReplicaId> {
    Ok(ReplicaId(text.parse().map_err(|_| format!("'{text}' is no replica"))?))
}

/// `1 2 3`, or `1+2+3`
pub fn parse_set(text: &str) -> Result<BTreeSet<ReplicaId>> {
    text.split(['+', ' ']).filter(|id| !id.is_empty()).map(parse_replica).collect()
}

/// `1+2+3`, joint `1+2+4/1+2+3`
fn parse_configuration(text: &str) -> Result<Configuration> {
    let (voters, outgoing) = text.split_once('/').unwrap_or((text, ""));
    Ok(Configuration {
        voters: parse_set(voters)?,
        outgoing: parse_set(outgoing)?,
        ..Configuration::default()
    })
}

/// `add` and `drop` name learners; `enter` says who is promoted, demoted, removed.
pub fn parse_change(name: &str, args: &mut ArgumentConsumer<'_>) -> Result<Change> {
    let mut set = |key| parse_set(args.take_key(key).unwrap_or_default());
    let (promote, demote, remove) = (set("promote")?, set("demote")?, set("remove")?);
    let leave = match args.take_key("leave") {
        Some("explicit") => Leave::Explicit,
        _ => Leave::Auto,
    };
    let named = std::iter::from_fn(|| args.next_pos()).map(parse_replica).collect::<Result<_>>()?;
    Ok(match name {
        "add" => Change::AddLearners(named),
        "drop" => Change::RemoveLearners(named),
        "enter" => Change::Enter { promote, demote, remove, leave },
        _ => Change::Leave,
    })
}

/// `5@2`
pub fn parse_id(text: &str) -> Result<LogId> {
    let (index, term) = text.split_once('@').ok_or_else(|| format!("'{text}' is no index@term"))?;
    Ok(LogId::new(Index(index.parse()?), Term(term.parse()?)))
}

/// `1@1 2@1 3@2:1+2+4`: the last one brings a configuration.
pub fn parse_log(text: &str) -> Result<Vec<Entry>> {
    let entry = |text: &str| -> Result<Entry> {
        let (id, payload) = match text.split_once(':') {
            Some((id, configuration)) => (id, Payload::Configuration(parse_configuration(configuration)?)),
            None => (text, Payload::Data(Bytes::copy_from_slice(text.as_bytes()))),
        };
        Ok(Entry { id: parse_id(id)?, payload })
    };
    text.split(' ').filter(|text| !text.is_empty()).map(entry).collect()
}
