//! `kvctl load FILE`: writes every record of a file, fast, and so that it can be interrupted at any time.
//!
//! ```text
//!  source (a thread) ──batches──▶ voyage ──window: which may be written──▶ SDK, many at once
//!  reads, parses, stops at        │   ▲                                        │
//!  the first wrong line           │   └──────────── answers ───────────────────┘
//!                                 └──▶ bookmark beside the file, progress on stderr
//! ```
//!
//! What it does not do: it does not tell what else writes these keys meanwhile, and it is no transaction. Readers see it come in.

mod bookmark;
mod ending;
mod source;
mod voyage;
mod window;

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::{Duration, Instant};

use clap::{Args, ValueHint};
use flotilla_client::Client;

use crate::cli::Common;
use crate::console::Console;
use crate::duration::Span;
use crate::failure::Failure;
use crate::local::interrupt::Interrupts;
use crate::progress::Progress;
use crate::session::Session;
use crate::verbs::load::bookmark::{Identity, Mark, Place, wall_ms};
use crate::verbs::load::ending::Report;
use crate::verbs::load::source::Begin;
use crate::verbs::load::voyage::{Orders, Voyage};
use crate::verbs::load::window::{Limits, Position};

/// Keys and values of all lines that are taken and not yet written, and 256 bytes for each. Below what the SDK lets be under way, so
/// that no write waits there while its time runs.
const OPEN_BYTES_MAX: usize = 32 << 20;

const FORMATS: &str = r#"FILE holds one record on each line, in any of these forms:

  {"key":"ship","value":"Argo"}
  {"key_b64":"AP8=","value_b64":"/w=="}               bytes that are no UTF-8
  {"key":"port","value":"Bristol","ttl":"30s"}        vanishes 30 s after it was loaded
  {"key":"crew","value":"Ann","expires_ms":1767225600000}     as `kvctl dump` and `kvctl scan -o json` print it
  ship<TAB>Argo                                       bytes as they are, up to the end of the line

Of several lines of one key the last one wins. A record whose time is over deletes its key. A line that is no record ends the load
with exit code 2 and its place; everything before it is loaded then.

Interrupted, even by SIGKILL, the same command goes on where it was: FILE.kvctl-load beside the file knows how far it came (it vanishes
at the end). Where none can be written, and for stdin, it says which --from-line goes on. A file that was changed meanwhile is
refused without --from-line or --restart.

Try it:
  kvctl dump > fleet.jsonl && kvctl load fleet.jsonl --endpoint other-fleet:7400"#;

/// Arguments of `kvctl load`.
#[derive(Debug, Args)]
#[command(after_help = FORMATS)]
pub struct LoadArgs {
    /// The records, one on each line; `-` reads stdin
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: OsString,
    /// Begin at this line, counted from 1, and leave out those before it
    #[arg(long, value_name = "LINE", value_parser = clap::value_parser!(u64).range(1..))]
    pub from_line: Option<u64>,
    /// Begin at the first line, although an earlier load of the file was interrupted
    #[arg(long)]
    pub restart: bool,
    /// At most so many writes under way at once
    #[arg(long, value_name = "WRITES", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub in_flight: u32,
    /// Give up when a write fails and none was acknowledged for so long
    #[arg(long, value_name = "DURATION", default_value = "60s")]
    pub patience: Span,
}

/// Loads it, and prints what was done.
///
/// # Errors
/// A line is wrong; the fleet took no writes for too long; interrupted; or stdout fails. Each says how to go on.
pub async fn run(
    args: &LoadArgs,
    common: &Common,
    session: &Session,
    console: &mut Console,
) -> Result<(), Failure> {
    if args.restart && args.from_line.is_some() {
        return Err(Failure::Usage("--restart and --from-line exclude each other".to_string()));
    }
    let mut interrupts = session.interrupts()?;
    let input = tokio::select! {
        input = Input::open(args, session) => input?,
        () = interrupts.next() => return Err(Failure::Interrupted),
    };
    let begin = begin(args, &input, console)?;
    if !settled(input.open_until_ms(), console, &mut interrupts).await {
        return Err(Failure::Interrupted);
    }
    let began = Instant::now();
    let Input { name, client, reader, bytes, place, .. } = input;
    let orders = Orders {
        limits: Limits { writes: args.in_flight as usize, bytes: OPEN_BYTES_MAX },
        timeout: common.timeout.duration(),
        patience: args.patience.duration(),
        place: place.clone(),
        begin: begin.at,
    };
    let reader =
        reader.at(begin.at).map_err(|why| Failure::Usage(format!("FILE: cannot read {name}: {why}")))?;
    let source = source::start(reader, begin)
        .map_err(|error| Failure::Internal(format!("cannot start a thread: {error}")))?;
    let short = Path::new(&name).file_name().unwrap_or_default().to_string_lossy();
    let voyage = Voyage::new(client, orders, source, Progress::new(&short, bytes));
    let (ending, tally, unmarked) = voyage.run(&mut interrupts).await;
    if let Some(why) = &unmarked {
        console.note(&format!("kvctl: {why}"));
    }
    let bookmarked = place.is_some() && unmarked.is_none();
    let report = Report { name, tally, took: began.elapsed(), bookmarked, patience: args.patience };
    report.end(&ending, console)
}

/// What is loaded, and into which fleet.
struct Input {
    name: String,
    client: Client,
    reader: Reader,
    /// The length of a file.
    bytes: Option<u64>,
    place: Option<Place>,
    /// What an earlier load left behind.
    found: Result<Option<Mark>, bookmark::Refusal>,
}

enum Reader {
    File(File),
    /// What cannot be asked for its length.
    Stream(Box<dyn Read + Send>),
}

impl Input {
    async fn open(args: &LoadArgs, session: &Session) -> Result<Self, Failure> {
        if args.file == "-" {
            let (name, client) = ("stdin".to_string(), session.client().await?.clone());
            let reader = Reader::Stream(session.stdin());
            return Ok(Self { name, client, reader, bytes: None, place: None, found: Ok(None) });
        }
        let path = Path::new(&args.file);
        let cannot = |error| Failure::Usage(format!("FILE: cannot open {}: {error}", path.display()));
        let file = File::open(path).map_err(cannot)?;
        let metadata = file.metadata().map_err(cannot)?;
        let (name, client) = (path.display().to_string(), session.client().await?.clone());
        if !metadata.is_file() {
            let reader = Reader::Stream(Box::new(file));
            return Ok(Self { name, client, reader, bytes: None, place: None, found: Ok(None) });
        }
        let cluster = session.admin().map().await?.cluster.unwrap_or_default();
        let cluster = format!("{:016x}{:016x}", cluster.high, cluster.low);
        let place = Place::beside(path, Identity::of(&metadata, cluster));
        let (found, bytes) = (place.find(), Some(metadata.len()));
        Ok(Self { name, client, reader: Reader::File(file), bytes, place: Some(place), found })
    }

    /// Until when writes of an earlier load may be executed.
    fn open_until_ms(&self) -> u64 {
        self.found.as_ref().ok().and_then(Option::as_ref).map_or(0, |mark| mark.open_until_ms)
    }
}

impl Reader {
    fn at(self, at: Position) -> std::io::Result<Box<dyn Read + Send>> {
        match self {
            Self::Stream(stream) => Ok(stream),
            Self::File(mut file) => {
                bookmark::seek(&mut file, at)?;
                Ok(Box::new(file))
            }
        }
    }
}

/// Where to begin: as the user says, or where an earlier load stopped.
fn begin(args: &LoadArgs, input: &Input, console: &mut Console) -> Result<Begin, Failure> {
    if let Some(from_line) = args.from_line {
        return Ok(Begin { at: Position::START, from_line });
    }
    let start = Begin { at: Position::START, from_line: 1 };
    match &input.found {
        _ if args.restart => Ok(start),
        Ok(None) => Ok(start),
        Ok(Some(mark)) if mark.at == Position::START => Ok(start),
        Ok(Some(mark)) => {
            let line = mark.at.line;
            console.note(&format!(
                "going on at line {line}, where an earlier load stopped (--restart begins at the first one)"
            ));
            Ok(Begin { at: mark.at, from_line: line })
        }
        Err(refusal) => Err(Failure::Usage(format!(
            "{refusal}; --restart loads everything, --from-line LINE what begins there"
        ))),
    }
}

/// Waits until no write of an earlier load can be executed any more. False: interrupted.
async fn settled(open_until_ms: u64, console: &mut Console, interrupts: &mut Interrupts) -> bool {
    let wait_ms = open_until_ms.saturating_sub(wall_ms());
    if wait_ms == 0 {
        return true;
    }
    let seconds = wait_ms.div_ceil(1_000);
    console.note(&format!(
        "waiting {seconds} s: until then, writes of the load that was interrupted may still be executed"
    ));
    tokio::select! {
        () = tokio::time::sleep(Duration::from_millis(wait_ms)) => true,
        () = interrupts.next() => false,
    }
}
