//! Histories as they are written in stories; tests/stories/README.md explains it.

use std::error::Error;

use flotilla_history::{
    Answer, Call, Client, Compare, Condition, Done, History, Moment, Outcome, RequestId, Seen, Shard, Stamp,
    Txn, TxnAnswer, TxnStep, Version,
};
use goldenscript::{Argument, Command};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// A history that is being told.
#[derive(Debug, Default)]
pub struct Story {
    history: History,
}

/// The arguments of one line.
struct Words<'a>(&'a Command);

impl Words<'_> {
    fn position(&self, at: usize) -> Result<String> {
        let words = self.0.args.iter().filter_map(|word| match word {
            Argument::Positional(word) => Some(word.clone()),
            _ => None,
        });
        Ok(words.clone().nth(at).ok_or_else(|| format!("{} needs more words", self.0.name))?)
    }

    fn all(&self, name: &str) -> Vec<String> {
        let named = self.0.args.iter().filter_map(|word| match word {
            Argument::KeyValue(key, value) if key == name => Some(value.clone()),
            _ => None,
        });
        named.collect()
    }

    fn named(&self, name: &str) -> Option<String> {
        self.all(name).into_iter().next()
    }

    fn number(&self, name: &str) -> Result<Option<u64>> {
        Ok(self.named(name).map(|text| text.parse()).transpose()?)
    }

    fn says(&self, word: &str) -> bool {
        self.0.args.iter().any(|other| matches!(other, Argument::Positional(other) if other == word))
    }

    fn version(&self) -> Result<Option<Version>> {
        Ok(self.number("v")?.map(Version))
    }

    /// `is=1@3`: this value under this version; `is=1`: of a version that nobody saw; `is=none`.
    fn seen(&self) -> Result<Option<Seen>> {
        seen(&self.named("is").ok_or("what is there? is=VALUE@VERSION or is=none")?)
    }

    /// `at=3-5`, and `at=3` for what never ended.
    fn moments(&self) -> Result<(Moment, Option<Moment>)> {
        let text = self.named("at").ok_or("when? at=BEGIN-END")?;
        let (begin, end) = text.split_once('-').map_or((text.as_str(), None), |(a, b)| (a, Some(b)));
        Ok((Moment(begin.parse()?), end.map(|end| end.parse().map(Moment)).transpose()?))
    }
}

fn seen(text: &str) -> Result<Option<Seen>> {
    if text == "none" {
        return Ok(None);
    }
    let (value, version) =
        text.split_once('@').map_or((text, None), |(value, version)| (value, Some(version)));
    let version = version.map(|version| version.parse().map(Version)).transpose()?;
    Ok(Some(Seen { value: (value != "forgotten").then(|| value.to_owned().into()), version }))
}

impl goldenscript::Runner for Story {
    type Command = Command;

    fn run(&mut self, command: &Command, _: &goldenscript::Context) -> Result<String> {
        match command.name.as_str() {
            "judge" => return Ok(std::mem::take(&mut self.history).judge().to_string()),
            "show" => return Ok(self.history.to_string()),
            _ => {}
        }
        let words = Words(command);
        let (call, answer) = operation(&command.name, &words)?;
        let (begin, end) = words.moments()?;
        let client = Client(words.number("client")?.unwrap_or(1));
        let shard = Shard(words.number("shard")?.unwrap_or(1));
        let id = match words.number("request")? {
            Some(sequence) => {
                self.history.attempt(RequestId { client: 1, sequence }, begin, client, shard, call)
            }
            None => self.history.invoke(begin, client, shard, call),
        };
        let Some(end) = end else { return Ok(String::new()) };
        let outcome = if words.says("refused") {
            Outcome::NotExecuted
        } else if words.says("unknown") {
            Outcome::Unknown
        } else {
            let counter = words.number("counter")?.map(Version);
            let stamp = words.number("term")?.map(|term| Stamp { term, counter });
            let stamp = stamp.or(counter.map(|counter| Stamp { term: 1, counter: Some(counter) }));
            Outcome::Done(Done { answer: answer?, stamp })
        };
        self.history.complete(id, end, outcome);
        Ok(String::new())
    }
}

/// What is asked, and what is answered if it is.
fn operation(name: &str, words: &Words<'_>) -> Result<(Call, Result<Answer>)> {
    let key = || words.position(0).map(Into::into);
    let value = || words.position(1).map(Into::into);
    Ok(match name {
        "get" => (Call::Get { key: key()? }, words.seen().map(Answer::Got)),
        "put" => (Call::Put { key: key()?, value: value()? }, words.version().map(Answer::Written)),
        "delete" => {
            let existed = !words.says("missing");
            let answer = words.version().map(|version| Answer::Deleted { existed, version });
            (Call::Delete { key: key()? }, answer)
        }
        "cas" => {
            let expected = Version(words.number("expected")?.ok_or("expected=VERSION")?);
            let swapped = words.version().map(Answer::Written);
            let answer = if words.says("conflict") { words.seen().map(Answer::Conflict) } else { swapped };
            (Call::CompareAndSwap { key: key()?, expected, value: value()? }, answer)
        }
        "scan" => {
            let range = words.position(0)?;
            let (from, to) = range.split_once("..").ok_or("scan FROM..TO")?;
            let to = (!to.is_empty()).then(|| to.to_owned().into());
            let records = words.all("found").into_iter().map(record).collect::<Result<Vec<_>>>();
            let call = Call::Scan { from: from.to_owned().into(), to };
            let Call::Scan { from, to } = call.clone() else { unreachable!("it was made above") };
            (call, records.map(|records| Answer::Scanned { from, to, records }))
        }
        "txn" => txn(words)?,
        other => return Err(format!("there is no {other}").into()),
    })
}

fn record(text: String) -> Result<(bytes::Bytes, Seen)> {
    let (key, found) = text.split_once('/').ok_or("found=KEY/VALUE@VERSION")?;
    Ok((key.to_owned().into(), seen(found)?.ok_or("found nothing?")?))
}

fn txn(words: &Words<'_>) -> Result<(Call, Result<Answer>)> {
    let (mut txn, mut results) = (Txn::default(), Vec::new());
    let succeeded = !words.says("failed");
    txn.compares = words.all("if").iter().map(|text| compare(text)).collect::<Result<_>>()?;
    for word in &words.0.args {
        let Argument::Positional(word) = word else { continue };
        let (list, word) = word.strip_prefix("else/").map_or((true, word.as_str()), |word| (false, word));
        let Some((step, result)) = step(word)? else { continue };
        if list { &mut txn.then } else { &mut txn.otherwise }.push(step);
        if list == succeeded {
            results.push(result);
        }
    }
    let answer = words.version().map(|version| Answer::Txn { succeeded, version, results });
    Ok((Call::Txn(txn), answer))
}

fn compare(text: &str) -> Result<Compare> {
    let (key, condition) = text.split_once('/').ok_or("if=KEY/CONDITION")?;
    let condition = match condition {
        "exists" => Condition::Exists(true),
        "absent" => Condition::Exists(false),
        other => match other.strip_prefix('@') {
            Some(version) => Condition::Version(Version(version.parse()?)),
            None => Condition::Value(other.to_owned().into()),
        },
    };
    Ok(Compare { key: key.to_owned().into(), condition })
}

/// `put/KEY/VALUE`, `get/KEY/SEEN`, `delete/KEY/yes`
fn step(word: &str) -> Result<Option<(TxnStep, TxnAnswer)>> {
    let parts: Vec<&str> = word.splitn(3, '/').collect();
    let [verb, key, more] = parts.as_slice() else { return Ok(None) };
    let key = bytes::Bytes::from((*key).to_owned());
    Ok(Some(match *verb {
        "put" => (TxnStep::Put(key, (*more).to_owned().into()), TxnAnswer::Put),
        "get" => (TxnStep::Get(key), TxnAnswer::Got(seen(more)?)),
        "delete" => (TxnStep::Delete(key), TxnAnswer::Deleted(*more == "yes")),
        other => return Err(format!("there is no step {other}").into()),
    }))
}
