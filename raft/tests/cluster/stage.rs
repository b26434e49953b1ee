//! The stage on which the stories play: replicas, the messages between them, one clock, and the commands of a
//! script.
//!
//! After every command each replica's `Ready` is taken and printed. What is committed is applied at once,
//! unless the replica is told to wait (`hold`). Messages and disk jobs wait for `deliver` and `persist`, or
//! for `settle`, which does both until all is quiet.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use flotilla_raft::{
    Configuration, HardState, Index, Life, Message, Options, ReadId, Ready, ReplicaId, RoleKind, Round, Rpc,
    SupportNumber, Term, Time,
};
use goldenscript::{ArgumentConsumer, Command, Context};

use super::notation;
use super::promises::Promises;
use super::replica::{Disk, Job, Replica, State};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

#[derive(Default)]
pub struct Stage {
    now: Time,
    options: Options,
    replicas: BTreeMap<ReplicaId, Replica>,
    /// Sent and not delivered, in order.
    messages: Vec<Message>,
    /// What is sent along these is lost.
    cut: BTreeSet<(ReplicaId, ReplicaId)>,
    /// Who does not apply by itself.
    held: BTreeSet<ReplicaId>,
    promises: Promises,
    output: String,
}

impl goldenscript::Runner for Stage {
    type Command = Command;

    fn run(&mut self, command: &Command, _context: &Context) -> Result<String> {
        self.output.clear();
        let mut args = command.consume_args();
        self.dispatch(&command.name, &mut args)?;
        args.reject_next()?;
        self.drain();
        Ok(std::mem::take(&mut self.output))
    }
}

impl Stage {
    fn dispatch(&mut self, name: &str, args: &mut ArgumentConsumer<'_>) -> Result<()> {
        match name {
            "options" => self.set_options(args),
            "replicas" => self.add_fresh(args),
            "replica" => self.add_recovered(args),
            "campaign" | "propose" | "read" | "transfer" | "unreachable" | "silent" | "snapshot-failed" => {
                self.ask(name, args)
            }
            "add" | "drop" | "enter" | "leave" => self.change(name, args),
            "deliver" | "lose" | "repeat" => self.deliver(name, args),
            "forge" => self.forge(args),
            "persist" => self.persist(args),
            "fail-install" => self.each(args, |stage, id| {
                let now = stage.now;
                stage.replica(id).fail_install(now);
            }),
            "settle" => self.settle(args),
            "tick" => self.tick(args),
            "timeout" => self.timeout(args),
            "cut" | "heal" | "isolate" => self.connect(name, args),
            "crash" => self.crash(args),
            "restart" => self.each(args, |stage, id| {
                stage.replicas.get_mut(&id).unwrap().restart(id.0, stage.now);
                let life = stage.promises.life(id);
                stage.replica(id).raft().in_life(life);
            }),
            "hold" => self.each(args, |stage, id| {
                stage.held.insert(id);
            }),
            "apply" => self.each(args, |stage, id| {
                stage.held.remove(&id);
            }),
            "support" | "restarted" | "lease-read" | "released" => self.support(name, args),
            "beats" | "quiesce" | "wake" => self.sleep(name, args),
            "flush" => self.flush(args),
            "stream" => self.stream(args),
            "status" | "progress" | "log" | "disk" | "deadline" | "configuration" => self.show(name, args),
            _ => Err(format!("no such command: {name}").into()),
        }
    }

    fn say(&mut self, line: impl std::fmt::Display) {
        writeln!(self.output, "{line}").unwrap();
    }

    fn replica(&mut self, id: ReplicaId) -> &mut Replica {
        self.replicas.get_mut(&id).unwrap_or_else(|| panic!("there is no {id}"))
    }

    fn alive(&self) -> Vec<ReplicaId> {
        self.replicas.values().filter(|replica| replica.raft.is_some()).map(|replica| replica.id).collect()
    }

    /// The replicas that a command names; all that are alive if it names none.
    fn named(&self, args: &mut ArgumentConsumer<'_>) -> Result<Vec<ReplicaId>> {
        let named: Vec<_> =
            std::iter::from_fn(|| args.next_pos()).map(notation::parse_replica).collect::<Result<_>>()?;
        Ok(if named.is_empty() { self.alive() } else { named })
    }

    fn each(
        &mut self,
        args: &mut ArgumentConsumer<'_>,
        mut act: impl FnMut(&mut Self, ReplicaId),
    ) -> Result<()> {
        self.named(args)?.into_iter().for_each(|id| act(self, id));
        Ok(())
    }

    /// Takes and prints everything that is ready.
    fn drain(&mut self) {
        for id in self.alive() {
            self.drain_one(id);
            while !self.held.contains(&id) {
                let now = self.now;
                let Some(entry) = self.replica(id).apply(now) else { break };
                self.say(format!("{id} applies {}", notation::entry(&entry)));
                self.drain_one(id);
            }
        }
    }

    fn drain_one(&mut self, id: ReplicaId) {
        while self.replica(id).raft().has_ready() {
            let ready = self.replica(id).take_ready();
            self.show_ready(id, ready);
        }
    }

    fn show_ready(&mut self, id: ReplicaId, ready: Ready) {
        if ready.role_changed {
            let status = self.replica(id).raft().status();
            let leader = match (status.role, status.leader) {
                (RoleKind::Follower, Some(leader)) => format!(" of {leader}"),
                _ => String::new(),
            };
            self.say(format!("{id} is {}{leader} in t{}", status.role, status.term));
        }
        for message in ready.messages {
            let lost = self.cut.contains(&(message.from, message.to));
            self.say(format!("{}{}", notation::message(&message), if lost { "  (lost)" } else { "" }));
            self.messages.extend((!lost).then_some(message));
        }
        if let Some(write) = &ready.write {
            self.say(format!("{id} {}", notation::write(write)));
        }
        for (read, index) in ready.reads {
            self.say(format!("{id} confirms read {} at {index}", read.0));
        }
        for read in ready.reads_lost {
            self.say(format!("{id} lost read {}", read.0));
        }
        for follower in ready.snapshots {
            self.say(format!("{id} wants a snapshot streamed to {follower}"));
        }
        if let Some(meta) = ready.install {
            self.say(format!("{id} installs snapshot {meta}"));
        }
    }

    fn set_options(&mut self, args: &mut ArgumentConsumer<'_>) -> Result<()> {
        while let Some((key, value)) = args.next_key() {
            match key {
                "inflight_count_max" => self.options.inflight_count_max = value.parse()?,
                "inflight_bytes_max" => self.options.inflight_bytes_max = value.parse()?,
                "append_bytes_max" => self.options.append_bytes_max = value.parse()?,
                "proposal_bytes_max" => self.options.proposal_bytes_max = value.parse()?,
                "idle_after_ms" => self.options.idle_after = Some(Duration::from_millis(value.parse()?)),
                "uncommitted_bytes_max" => self.options.uncommitted_bytes_max = value.parse()?,
                _ => return Err(format!("no such option: {key}").into()),
            }
        }
        Ok(())
    }

    fn start(&mut self, id: ReplicaId, disk: Disk) {
        let replica = Replica::new(id, self.options.clone(), id.0, self.now, disk);
        self.replicas.insert(id, replica);
    }

    /// `replicas 1 2 3 learners=4`
    fn add_fresh(&mut self, args: &mut ArgumentConsumer<'_>) -> Result<()> {
        let learners = notation::parse_set(args.take_key("learners").unwrap_or_default())?;
        let configuration =
            Configuration { voters: self.named(args)?.into_iter().collect(), learners, ..Default::default() };
        for id in configuration.members().collect::<Vec<_>>() {
            let base = State { configuration: configuration.clone(), ..State::default() };
            self.start(id, Disk { base, ..Disk::default() });
        }
        Ok(())
    }

    /// `replica 1 voters="1 2 3" outgoing="" learners="" log="1@1 2@1" compacted=0@0 term=1 vote=2 commit=1`
    fn add_recovered(&mut self, args: &mut ArgumentConsumer<'_>) -> Result<()> {
        let id = notation::parse_replica(args.next_pos().ok_or("which replica?")?)?;
        let mut set = |key| notation::parse_set(args.take_key(key).unwrap_or_default());
        let configuration =
            Configuration { voters: set("voters")?, outgoing: set("outgoing")?, learners: set("learners")? };
        let entries = notation::parse_log(args.take_key("log").unwrap_or_default())?;
        let compacted = args.take_key("compacted").map_or(Ok(Default::default()), notation::parse_id)?;
        let last = entries.last().map_or(compacted, |entry| entry.id);
        let term = args.take_key("term").map_or(Ok(last.term), |term| term.parse().map(Term))?;
        let vote = args.take_key("vote").map(notation::parse_replica).transpose()?;
        let commit = Index(args.take_key("commit").unwrap_or("0").parse()?);
        let base = State { configuration, applied: compacted, ..State::default() };
        self.start(id, Disk { hard_state: HardState { term, vote, commit }, compacted, entries, base });
        Ok(())
    }

    fn ask(&mut self, name: &str, args: &mut ArgumentConsumer<'_>) -> Result<()> {
        let now = self.now;
        let id = notation::parse_replica(args.next_pos().ok_or("which replica?")?)?;
        let rest: Vec<_> = std::iter::from_fn(|| args.next_pos()).collect();
        for word in if rest.is_empty() { vec![""] } else { rest } {
            self.bind(id);
            let raft = self.replica(id).raft();
            match name {
                "campaign" => raft.campaign(now),
                "propose" => {
                    let data = match word.strip_prefix("bytes-") {
                        Some(count) => Bytes::from(vec![b'x'; count.parse()?]),
                        None => Bytes::copy_from_slice(word.as_bytes()),
                    };
                    raft.propose(now, data)?;
                }
                "read" => raft.read(now, ReadId(word.parse()?))?,
                "transfer" => raft.transfer(now, notation::parse_replica(word)?)?,
                "unreachable" => raft.unreachable(notation::parse_replica(word)?),
                "silent" => raft.silent(now, notation::parse_replica(word)?),
                "snapshot-failed" => raft.snapshot_done(now, notation::parse_replica(word)?, None),
                _ => unreachable!("{name}"),
            }
        }
        Ok(())
    }

    /// `add 1 4 5`, `drop 1 4`, `enter 1 promote=4 remove=3 [leave=explicit]`, `leave 1`: asks a leader to change
    /// the members; with `from=2`, as decided on the configuration of entry 2.
    fn change(&mut self, name: &str, args: &mut ArgumentConsumer<'_>) -> Result<()> {
        let id = notation::parse_replica(args.next_pos().ok_or("which replica?")?)?;
        let from = args.take_key("from").map(str::parse).transpose()?.map(Index);
        let change = notation::parse_change(name, args)?;
        let (now, raft) = (self.now, self.replica(id).raft());
        let from = from.unwrap_or(raft.configuration().1);
        let entry = raft.propose_configuration(now, &change, from)?;
        self.say(format!("{id} proposes {entry}"));
        Ok(())
    }

    /// `deliver [from=1] [to=2] [only=Append] [count=1]`: the messages that wait now, not those that they
    /// provoke. `lose` takes them away; `repeat` delivers and keeps them.
    fn deliver(&mut self, name: &str, args: &mut ArgumentConsumer<'_>) -> Result<()> {
        let from = args.take_key("from").map(notation::parse_replica).transpose()?;
        let to = args.take_key("to").map(notation::parse_replica).transpose()?;
        let only = args.take_key("only").map(str::to_owned);
        let count = args.take_key("count").map_or(Ok(usize::MAX), str::parse)?;
        let mut chosen = Vec::new();
        let mut kept = Vec::new();
        for message in std::mem::take(&mut self.messages) {
            let kind = format!("{:?}", message.rpc);
            let fits = from.is_none_or(|id| id == message.from)
                && to.is_none_or(|id| id == message.to)
                && only.as_ref().is_none_or(|only| kind.split([' ', '{']).next() == Some(only))
                && chosen.len() < count;
            if fits { chosen.push(message) } else { kept.push(message) }
        }
        self.messages = kept;
        if name == "repeat" {
            self.messages.extend(chosen.iter().cloned());
        }
        if name != "lose" {
            chosen.into_iter().for_each(|message| self.hand_over(message));
        }
        Ok(())
    }

    /// `forge from=2 to=1 term=3 previous=9@1 entries="10@3" [commit=9]`: an append that nobody sent. Instead of
    /// `previous`: `matched=9`, an answer to one; `heartbeat=9`, a heartbeat with this commit index; `answer=7`, the answer
    /// to that round; `sleep=9 life=1 number=7`, a heartbeat that asks to sleep; nothing, a `TimeoutNow`.
    fn forge(&mut self, args: &mut ArgumentConsumer<'_>) -> Result<()> {
        let mut take = |key: &str| args.take_key(key).ok_or(format!("{key}= is missing"));
        let (from, to) = (notation::parse_replica(take("from")?)?, notation::parse_replica(take("to")?)?);
        let term = Term(take("term")?.parse()?);
        let mut number = |key: &str| args.take_key(key).map(str::parse::<u64>).transpose();
        let (matched, heartbeat, answer) = (number("matched")?, number("heartbeat")?, number("answer")?);
        let (sleep, life, promise) = (number("sleep")?, number("life")?, number("number")?);
        let vote = args.take_key("vote").map(notation::parse_id).transpose()?;
        let transfer = args.take_key("transfer").is_some();
        let rpc = match args.take_key("previous").map(notation::parse_id).transpose()? {
            _ if vote.is_some() => Rpc::Vote { last: vote.unwrap_or_default(), transfer },
            None if sleep.is_some() => {
                let (all, life) = (Index(sleep.unwrap_or_default()), Life(life.unwrap_or_default()));
                let sleep = promise.map(SupportNumber);
                Rpc::Heartbeat { commit: all, sent: all, round: Round(1), life, sleep }
            }
            None => forged(matched.map(Index), heartbeat.map(Index), answer.map(Round)),
            Some(previous) => {
                let entries = notation::parse_log(args.take_key("entries").unwrap_or_default())?;
                let commit = Index(args.take_key("commit").unwrap_or("0").parse()?);
                Rpc::Append { previous, entries, commit }
            }
        };
        self.hand_over(Message { from, to, term, rpc });
        Ok(())
    }

    fn hand_over(&mut self, message: Message) {
        let (now, cut) = (self.now, self.cut.contains(&(message.from, message.to)));
        if !cut && self.alive().contains(&message.to) {
            self.tell_promises(&message);
        }
        if let Some(raft) = self.replicas.get_mut(&message.to).and_then(|replica| replica.raft.as_mut())
            && !cut
        {
            let to = message.to;
            if let Err(impossible) = raft.step(now, message) {
                self.say(format!("{to} drops it: {impossible}"));
            }
            // One `Ready` per message: the story stays readable, and batching has its own story.
            if self.replica(to).raft().has_ready() {
                self.drain();
            }
        }
    }

    /// `persist [1 2 …] [count=1]`: the disks do what waits for them.
    fn persist(&mut self, args: &mut ArgumentConsumer<'_>) -> Result<()> {
        let count = args.take_key("count").map_or(Ok(usize::MAX), str::parse)?;
        for id in self.named(args)? {
            let waiting = self.replica(id).jobs.len().min(count);
            for _ in 0..waiting {
                let now = self.now;
                match self.replica(id).persist(now) {
                    Some(Job::Write(write)) => self.say(format!("{id} persisted #{}", write.ticket.0)),
                    Some(Job::Install(meta)) => self.say(format!("{id} installed {}", meta.last)),
                    None => {}
                }
                self.drain();
            }
        }
        Ok(())
    }

    /// `settle`: deliver and persist until nothing is left to do.
    fn settle(&mut self, args: &mut ArgumentConsumer<'_>) -> Result<()> {
        for _ in 0..1000 {
            self.drain();
            let busy = !self.messages.is_empty()
                || self.replicas.values().any(|replica| replica.raft.is_some() && !replica.jobs.is_empty());
            if !busy {
                return Ok(());
            }
            self.deliver("deliver", args)?;
            self.persist(args)?;
        }
        Err("it does not settle".into())
    }

    /// `tick 50 [1 2 …]`: so many milliseconds pass; the named replicas notice.
    fn tick(&mut self, args: &mut ArgumentConsumer<'_>) -> Result<()> {
        let millis = args.next_pos().ok_or("how many milliseconds?")?.parse()?;
        self.now = self.now + Duration::from_millis(millis);
        self.each(args, |stage, id| {
            let now = stage.now;
            stage.bind(id);
            stage.replica(id).raft().tick(now);
        })
    }

    /// `timeout 2`: time passes until the deadline of that replica, and only it notices.
    fn timeout(&mut self, args: &mut ArgumentConsumer<'_>) -> Result<()> {
        self.each(args, |stage, id| {
            let now = stage.now;
            let deadline = stage.replica(id).raft().deadline().expect("it waits for something");
            stage.now = now.max(deadline);
            stage.bind(id);
            stage.replica(id).raft().tick(now.max(deadline));
        })
    }

    /// What a host does before it steps a message.
    fn tell_promises(&mut self, message: &Message) {
        let (from, to) = (message.from, message.to);
        if message.rpc.is_of_election() {
            self.bind(to);
        }
        if matches!(message.rpc, Rpc::Heartbeat { .. })
            && let Some(number) = self.promises.number(to, from)
        {
            let life = self.promises.life(from);
            self.replica(to).raft().supported(from, number, life);
        }
    }

    /// What a host does before anything that may end in a vote.
    fn bind(&mut self, id: ReplicaId) {
        let (now, acknowledged) = (self.now, self.replica(id).raft().acknowledged());
        let support =
            acknowledged.map_or(Time(0), |it| self.promises.bound_until(id, it.leader, it.number, now));
        let restart = self.promises.restart_until(id);
        self.replica(id).raft().bind(support, restart);
    }

    /// `support 2 1 number=7 for=90 [told=no]`: the node of 2 supports that of 1, which knows it. `restarted 2 for=90`: it may have
    /// promised so long. `lease-read 1 7`: a read. `released 2 1 term=3`: the node of 1 told that of 2 that it leads no more.
    fn support(&mut self, name: &str, args: &mut ArgumentConsumer<'_>) -> Result<()> {
        let id = notation::parse_replica(args.next_pos().ok_or("who?")?)?;
        let mut number = |key: &str| args.take_key(key).map(str::parse::<u64>).transpose();
        let (promise, millis, term) = (number("number")?, number("for")?.unwrap_or(90), number("term")?);
        let (now, until) = (self.now, self.now + Duration::from_millis(millis));
        if name == "restarted" {
            self.promises.restart(id, until);
            return Ok(());
        }
        let other = args.next_pos().ok_or("whom?")?;
        match name {
            "support" => {
                let told = args.take_key("told") != Some("no");
                let to = notation::parse_replica(other)?;
                self.promises.give(id, to, promise.ok_or("which number?")?, until, told);
            }
            "released" => {
                let leader = notation::parse_replica(other)?;
                self.replica(id).raft().released(now, leader, Term(term.ok_or("which term?")?));
            }
            _ => {
                let read = ReadId(other.parse()?);
                let raft = self.replicas.get_mut(&id).and_then(|it| it.raft.as_mut()).ok_or("it is down")?;
                let alone = raft.read_by_lease(now, read, |voter| self.promises.held(voter, id))?;
                self.say(if alone { "by lease" } else { "no lease" });
            }
        }
        Ok(())
    }

    /// `beats 1 life=2`: the node of 1 is heard in this life. `quiesce 1 [after=50] [silent="2"]`: so many ms later 1 may put its
    /// group to sleep, and ticks; the nodes of these are silent. `wake 2 [ago=40]`: it is woken; the other nodes were heard so many ms ago.
    fn sleep(&mut self, name: &str, args: &mut ArgumentConsumer<'_>) -> Result<()> {
        let now = self.now;
        let id = notation::parse_replica(args.next_pos().ok_or("who?")?)?;
        match name {
            "beats" => {
                self.promises.live(id, args.take_key("life").ok_or("which life?")?.parse()?);
                let life = self.promises.life(id);
                self.replica(id).raft().in_life(life);
            }
            "quiesce" => {
                let after = args.take_key("after").unwrap_or("0").parse()?;
                self.now = now + Duration::from_millis(after);
                let now = self.now;
                let silent = notation::parse_set(args.take_key("silent").unwrap_or_default())?;
                let raft = self.replicas.get_mut(&id).and_then(|it| it.raft.as_mut()).ok_or("it is down")?;
                let held = |other| self.promises.held(other, id).map(|held| held.number);
                raft.quiesce(now, |other| held(other).filter(|_| !silent.contains(&other)));
                raft.tick(now);
            }
            _ => {
                let ago: u64 = args.take_key("ago").unwrap_or("0").parse()?;
                let heard = Time(now.0.saturating_sub(ago * 1000));
                self.bind(id);
                self.replica(id).raft().wake(now, |_| Some(heard));
            }
        }
        Ok(())
    }

    /// `cut 1 2` (both ways; `cut 1 2 oneway=true`), `isolate 1`, `heal`
    fn connect(&mut self, name: &str, args: &mut ArgumentConsumer<'_>) -> Result<()> {
        let oneway = args.take_key("oneway").is_some();
        let ids: Vec<_> =
            std::iter::from_fn(|| args.next_pos()).map(notation::parse_replica).collect::<Result<_>>()?;
        let pairs: Vec<_> = match (name, ids.as_slice()) {
            ("heal", []) => {
                self.cut.clear();
                return Ok(());
            }
            ("cut", [a, b]) => vec![(*a, *b)],
            ("isolate", [a]) => self.replicas.keys().map(|b| (*a, *b)).collect(),
            _ => return Err("whom?".into()),
        };
        for (a, b) in pairs {
            self.cut.insert((a, b));
            self.cut.extend((!oneway).then_some((b, a)));
        }
        let cut = self.cut.clone();
        self.messages.retain(|message| !cut.contains(&(message.from, message.to)));
        Ok(())
    }

    /// `crash 1 [kept=1]`: of its disk jobs, so many writes made it. What it sent is lost with it.
    fn crash(&mut self, args: &mut ArgumentConsumer<'_>) -> Result<()> {
        let kept = args.take_key("kept").unwrap_or("0").parse()?;
        self.each(args, |stage, id| {
            stage.replica(id).crash(kept);
            stage.messages.retain(|message| message.from != id);
        })
    }

    /// `flush 1 [keep=2]`
    fn flush(&mut self, args: &mut ArgumentConsumer<'_>) -> Result<()> {
        let keep = args.take_key("keep").unwrap_or("0").parse()?;
        self.each(args, |stage, id| {
            stage.replica(id).flush(keep);
            let compacted = stage.replica(id).disk.compacted;
            stage.say(format!("{id} compacted up to {compacted}"));
        })
    }

    /// `stream 1 2 [told=no]`: the base of 1 is staged at 2, and 1 told that it arrived.
    fn stream(&mut self, args: &mut ArgumentConsumer<'_>) -> Result<()> {
        let told = args.take_key("told") != Some("no");
        let from = notation::parse_replica(args.next_pos().ok_or("from whom?")?)?;
        let to = notation::parse_replica(args.next_pos().ok_or("to whom?")?)?;
        let (now, snapshot) = (self.now, self.replica(from).disk.base.clone());
        let (term, last) = (self.replica(from).raft().term(), snapshot.applied);
        self.replica(to).stage(now, from, term, snapshot);
        if told {
            self.replica(from).raft().snapshot_done(now, to, Some(last));
        }
        Ok(())
    }

    fn show(&mut self, name: &str, args: &mut ArgumentConsumer<'_>) -> Result<()> {
        for id in self.named(args)? {
            let status = self.replica(id).raft().status();
            let deadline =
                self.replica(id).raft().deadline().map_or("none".into(), |at| format!("{:?}", at - self.now));
            match name {
                "status" => self.say(notation::status(&status)),
                "progress" => {
                    notation::progress(&status).iter().for_each(|line| self.say(format!("{id}: {line}")))
                }
                "deadline" => self.say(format!("{id} deadline: {deadline}")),
                "configuration" => {
                    let settled = if status.configuration_settled { ", settled" } else { "" };
                    let (configuration, since) = (&status.configuration, status.configuration_index);
                    self.say(format!("{id} {configuration} since {since}{settled}"))
                }
                "disk" => {
                    let disk = &self.replica(id).disk;
                    let line = format!(
                        "{id} disk: {} [{}]",
                        notation::hard_state(&disk.hard_state),
                        notation::ids(&disk.entries)
                    );
                    self.say(line);
                }
                _ => {
                    let state: Vec<_> = self.replica(id).state.entries.iter().map(notation::entry).collect();
                    self.say(format!("{id} state: {}", state.join(", ")));
                }
            }
        }
        Ok(())
    }
}

/// What nobody sent, other than an append.
fn forged(matched: Option<Index>, heartbeat: Option<Index>, answer: Option<Round>) -> Rpc {
    let none = Index(0);
    match (matched, heartbeat, answer) {
        (_, _, Some(round)) => {
            let (sent, accepted, matched) = (none, none, none);
            Rpc::HeartbeatReply { round, sent, accepted, matched, support: None, asleep: false }
        }
        (_, Some(commit), None) => {
            let (round, life) = (Round(1), Life(1));
            Rpc::Heartbeat { commit, sent: commit, round, life, sleep: None }
        }
        (Some(matched), None, None) => Rpc::AppendReply { matched },
        (None, None, None) => Rpc::TimeoutNow,
    }
}
