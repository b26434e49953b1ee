//! `kvctl txn FILE`: comparisons, then one of two lists of operations, all of it atomic.

pub mod file;

use std::ffi::OsString;

use clap::{Args, ValueHint};
use flotilla_client::{TxnAnswer, TxnResult};
use flotilla_daemon::table::{Align, Table};
use serde_json::{Map, Value, json};

use crate::argument;
use crate::console::Console;
use crate::encoding::{escape, insert};
use crate::failure::{Effect, Failure};
use crate::session::{self, Session};
use crate::verbs::get;
use crate::verbs::txn::file::{File, Operation};

const EXAMPLE: &str = r#"FILE is one JSON document:

  {
    "compares":  [{"key": "{ship}:name", "version": 3},
                  {"key": "{ship}:crew", "exists": false},
                  {"key": "{ship}:port", "value": "Bristol"}],
    "then":      [{"put": {"key": "{ship}:crew", "value": "Ann", "ttl": "30s"}},
                  {"get": {"key": "{ship}:name"}}],
    "otherwise": [{"delete": {"key": "{ship}:crew"}}]
  }

All compares must hold for `then`, else `otherwise` is executed; each list may be left out. A version of 0 means that the key
must not exist; a put without `ttl` stays. Bytes that are no UTF-8 stand in "key_b64" and "value_b64". All keys must lie in one
slot: the part in {} alone is hashed, so keys with the same part share a slot.

Try it:
  echo '{"then":[{"put":{"key":"{a}1","value":"x"}},{"put":{"key":"{a}2","value":"y"}}]}' | kvctl txn -

Exit code 0: the compares held; 1: they did not, and `otherwise` was executed."#;

/// Arguments of `kvctl txn`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub struct TxnArgs {
    /// The transaction, in JSON; `-` reads stdin
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: OsString,
}

/// Executes it and prints what came of each operation.
///
/// # Errors
/// The compares did not hold; wrong input; not executed, unknown whether executed, or stdout fails.
pub async fn run(args: &TxnArgs, session: &Session, console: &mut Console) -> Result<(), Failure> {
    let (name, text) = argument::file(&args.file, session.stdin())?;
    let file = File::parse(&text).map_err(|complaint| Failure::Usage(format!("{name}: {complaint}")))?;
    let result = session.client().await?.txn(file.txn()).await;
    let result = result.map_err(|error| session::failure(Effect::Write, &error))?;
    print(&file, &result, console)
}

fn print(file: &File, result: &TxnResult, console: &mut Console) -> Result<(), Failure> {
    let executed = if result.succeeded { &file.then } else { &file.otherwise };
    if executed.len() != result.results.len() {
        let (sent, answered) = (executed.len(), result.results.len());
        return Err(Failure::Internal(format!("{sent} operations were executed, {answered} were answered")));
    }
    if console.json_wanted() {
        console.json(&document(executed, result))?;
    } else {
        console.text(&page(executed, result))?;
    }
    if result.values_forgotten {
        console.note("the values that were read are not known: the first answer was lost, and they were too big to be kept");
    }
    if result.succeeded {
        return Ok(());
    }
    let done = if executed.is_empty() { "nothing was done" } else { "`otherwise` was executed" };
    Err(Failure::Negative(format!("the compares did not hold: {done}")))
}

fn page(executed: &[Operation], result: &TxnResult) -> String {
    let list = if result.succeeded { "then" } else { "otherwise" };
    let mut page = format!("{list}, version {}\n", result.version);
    if executed.is_empty() {
        return page;
    }
    let mut table = Table::new(&[
        ("#", Align::Right),
        ("OPERATION", Align::Left),
        ("KEY", Align::Left),
        ("VERSION", Align::Right),
        ("RESULT", Align::Left),
    ]);
    for (number, (operation, answer)) in (1..).zip(executed.iter().zip(&result.results)) {
        let (version, said) = match answer {
            TxnAnswer::Put(version) => (version.to_string(), "written".to_string()),
            TxnAnswer::Deleted(true) => ("-".to_string(), "deleted".to_string()),
            TxnAnswer::Deleted(false) | TxnAnswer::Got(None) => ("-".to_string(), "no such key".to_string()),
            TxnAnswer::Got(Some(found)) if result.values_forgotten => {
                (found.version.to_string(), "(not known)".to_string())
            }
            TxnAnswer::Got(Some(found)) => (found.version.to_string(), escape(&found.bytes)),
        };
        let (name, key) = (operation.name().to_string(), escape(operation.key()));
        table.row(vec![i32::to_string(&number), name, key, version, said]);
    }
    page.push('\n');
    page.push_str(&table.render());
    page
}

fn document(executed: &[Operation], result: &TxnResult) -> Value {
    let results = executed.iter().zip(&result.results).map(|(operation, answer)| {
        let mut object = Map::new();
        insert(&mut object, "key", operation.key());
        match answer {
            TxnAnswer::Put(version) => {
                object.insert("version".to_string(), json!(version));
            }
            TxnAnswer::Deleted(existed) => {
                object.insert("existed".to_string(), json!(existed));
            }
            TxnAnswer::Got(found) => {
                object.insert("found".to_string(), json!(found.is_some()));
                match found {
                    Some(found) if result.values_forgotten => {
                        object.insert("version".to_string(), json!(found.version));
                    }
                    Some(found) => get::record(&mut object, found),
                    None => {}
                }
            }
        }
        json!({ operation.name(): object })
    });
    json!({
        "succeeded": result.succeeded,
        "version": result.version,
        "results": results.collect::<Vec<_>>(),
        "values_forgotten": result.values_forgotten,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"{
        "then": [{"put": {"key": "{a}1", "value": "x"}}, {"get": {"key": "{a}2"}}, {"get": {"key": "{a}3"}},
                 {"delete": {"key": "{a}4"}}, {"delete": {"key": "{a}5"}}],
        "otherwise": [{"get": {"key": "{a}2"}}]
    }"#;

    fn result() -> TxnResult {
        let results = vec![
            TxnAnswer::Put(12),
            TxnAnswer::Got(Some(get::sample(b"a\nb", 9))),
            TxnAnswer::Got(None),
            TxnAnswer::Deleted(true),
            TxnAnswer::Deleted(false),
        ];
        TxnResult { succeeded: true, version: 12, results, values_forgotten: false }
    }

    #[test]
    fn the_page_has_one_row_for_each_operation() {
        let file = File::parse(TEXT.as_bytes()).unwrap();
        let expected = "\
then, version 12

#  OPERATION  KEY   VERSION  RESULT
1  put        {a}1       12  written
2  get        {a}2        9  a\\nb
3  get        {a}3        -  no such key
4  delete     {a}4        -  deleted
5  delete     {a}5        -  no such key
";
        assert_eq!(page(&file.then, &result()), expected);
    }

    #[test]
    fn the_document_repeats_the_operations_with_what_came_of_them() {
        let file = File::parse(TEXT.as_bytes()).unwrap();
        let expected = json!({"succeeded": true, "version": 12, "values_forgotten": false, "results": [
            {"put": {"key": "{a}1", "version": 12}},
            {"get": {"key": "{a}2", "found": true, "value": "a\nb", "version": 9, "expires_ms": null}},
            {"get": {"key": "{a}3", "found": false}},
            {"delete": {"key": "{a}4", "existed": true}},
            {"delete": {"key": "{a}5", "existed": false}},
        ]});
        assert_eq!(document(&file.then, &result()), expected);
    }

    #[test]
    fn values_that_were_forgotten_are_not_shown_as_empty() {
        let file = File::parse(TEXT.as_bytes()).unwrap();
        let forgotten = TxnResult { values_forgotten: true, ..result() };
        assert!(page(&file.then, &forgotten).contains("9  (not known)"));
        let shown = document(&file.then, &forgotten)["results"][1]["get"].clone();
        assert_eq!(shown, json!({"key": "{a}2", "found": true, "version": 9}));
    }
}
