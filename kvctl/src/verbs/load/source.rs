//! The input, read and understood by a thread of its own, a bounded number of lines ahead of whoever writes them.
//!
//! It stops at the first line that is no record: whoever skips one silently loses data, and whoever goes on hides that he did.

use std::io::{self, BufRead, BufReader, Read};

use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::record::{Fault, Record};
use crate::verbs::load::window::{Line, Position};

/// No record of any fleet needs a longer line: a message holds 4 MiB, and JSON needs at most 6 bytes for one.
pub const LINE_BYTES_MAX: usize = 32 << 20;

/// A batch is handed over when it holds so much.
const BATCH_LINES: usize = 256;
const BATCH_BYTES: u64 = 256 << 10;

/// So many batches wait for their writer.
const BATCHES_AHEAD: usize = 4;

/// Lines in the order of the input.
#[derive(Debug)]
pub struct Batch {
    /// Those that hold a record.
    pub lines: Vec<Line>,
    /// Where the next line begins.
    pub next: Position,
    /// How many empty lines were among them.
    pub empty: u64,
    /// How long the lines are that are not in it: empty ones, and those that were read over.
    pub passed_bytes: u64,
    /// Why this is the last batch, if it is.
    pub end: Option<End>,
}

/// Why there are no more lines.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// The input ended.
    Complete,
    /// The line at [`Batch::next`] is no record.
    Fault(Fault),
    /// The input could not be read any further.
    Unreadable(String),
}

/// Where reading begins.
#[derive(Clone, Copy, Debug)]
pub struct Begin {
    /// Where the input stands.
    pub at: Position,
    /// The first line that is wanted; those before it are read over.
    pub from_line: u64,
}

/// Starts the thread. It ends with the input, or when the receiver is gone.
///
/// # Errors
/// The system has no thread for it.
pub fn start(input: Box<dyn Read + Send>, begin: Begin) -> io::Result<Receiver<Batch>> {
    let (sender, batches) = channel(BATCHES_AHEAD);
    let lines = Lines { input: BufReader::with_capacity(256 << 10, input), at: begin.at, line: Vec::new() };
    std::thread::Builder::new()
        .name("load".to_string())
        .spawn(move || run(lines, begin.from_line, &sender))?;
    Ok(batches)
}

fn run(mut lines: Lines, from_line: u64, batches: &Sender<Batch>) {
    loop {
        let batch = lines.batch(from_line);
        let last = batch.end.is_some();
        if batches.blocking_send(batch).is_err() || last {
            return;
        }
    }
}

struct Lines {
    input: BufReader<Box<dyn Read + Send>>,
    /// The next line.
    at: Position,
    /// Its bytes, while it is read.
    line: Vec<u8>,
}

impl Lines {
    fn batch(&mut self, from_line: u64) -> Batch {
        let mut batch = Batch { lines: Vec::new(), next: self.at, empty: 0, passed_bytes: 0, end: None };
        let begin = self.at.offset;
        while batch.end.is_none() && batch.lines.len() < BATCH_LINES && self.at.offset - begin < BATCH_BYTES {
            batch.end = self.line(from_line, &mut batch);
            batch.next = self.at;
            // A pipe that pauses: what it gave is not held back for what it may give.
            if self.input.buffer().is_empty() && !batch.lines.is_empty() {
                break;
            }
        }
        batch
    }

    /// Reads one line into a batch. Stays before a line that is no record.
    fn line(&mut self, from_line: u64, batch: &mut Batch) -> Option<End> {
        self.line.clear();
        let limit = LINE_BYTES_MAX as u64 + 1;
        let read = self.input.by_ref().take(limit).read_until(b'\n', &mut self.line);
        let length = match read {
            Ok(0) => return Some(End::Complete),
            Ok(length) => length as u64,
            Err(error) => return Some(End::Unreadable(error.to_string())),
        };
        if length == limit {
            let what = format!("the line is longer than {} MiB", LINE_BYTES_MAX >> 20);
            return Some(End::Fault(Fault { column: LINE_BYTES_MAX, what }));
        }
        let text = self.line.strip_suffix(b"\n").unwrap_or(&self.line);
        if self.at.line < from_line {
            batch.passed_bytes += length;
        } else if text.trim_ascii().is_empty() && !text.contains(&b'\t') {
            batch.empty += 1;
            batch.passed_bytes += length;
        } else {
            match Record::parse(text) {
                Ok(record) => batch.lines.push(Line { at: self.at, length, record }),
                Err(fault) => return Some(End::Fault(fault)),
            }
        }
        self.at = Position { line: self.at.line + 1, offset: self.at.offset + length };
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All lines, and the last batch with the empty lines of all.
    fn read(text: &'static [u8], from_line: u64) -> (Vec<(Position, String)>, Batch) {
        let begin = Begin { at: Position::START, from_line };
        let mut batches = start(Box::new(text), begin).unwrap();
        let (mut lines, mut empty) = (Vec::new(), 0);
        loop {
            let mut batch = batches.blocking_recv().unwrap();
            empty += batch.empty;
            let keys = batch
                .lines
                .iter()
                .map(|line| (line.at, String::from_utf8(line.record.key.to_vec()).unwrap()));
            lines.extend(keys);
            if batch.end.is_some() {
                batch.empty = empty;
                return (lines, batch);
            }
        }
    }

    fn at(line: u64, offset: u64) -> Position {
        Position { line, offset }
    }

    #[test]
    fn lines_know_where_they_stand_and_the_last_one_needs_no_newline() {
        let (lines, last) = read(b"a\t1\n\n{\"key\":\"b\",\"value\":\"\"}\n \r\nc\t3", 1);
        let expected = [(at(1, 0), "a"), (at(3, 5), "b"), (at(5, 31), "c")];
        assert_eq!(lines, expected.map(|(at, key)| (at, key.to_string())));
        assert_eq!((last.end, last.next, last.empty), (Some(End::Complete), at(6, 34), 2));
    }

    #[test]
    fn lines_before_the_wanted_one_are_read_over_whatever_they_are() {
        let (lines, last) = read(b"nonsense\nb\t2\n", 2);
        assert_eq!(lines, [(at(2, 9), "b".to_string())]);
        assert_eq!(last.end, Some(End::Complete));
    }

    #[test]
    fn a_line_that_is_no_record_ends_the_input_before_it() {
        let (lines, last) = read(b"a\t1\nnonsense\nc\t3\n", 1);
        assert_eq!(lines, [(at(1, 0), "a".to_string())]);
        let what = "neither a JSON object nor key<TAB>value".to_string();
        assert_eq!((last.end, last.next), (Some(End::Fault(Fault { column: 1, what })), at(2, 4)));
    }

    #[test]
    fn an_endless_line_does_not_fill_the_memory() {
        let begin = Begin { at: Position::START, from_line: 1 };
        let mut batches = start(Box::new(io::repeat(b'x')), begin).unwrap();
        let batch = batches.blocking_recv().unwrap();
        let Some(End::Fault(fault)) = batch.end else { panic!("{:?}", batch.end) };
        assert_eq!((fault.what.as_str(), batch.next.line), ("the line is longer than 32 MiB", 1));
    }

    #[test]
    fn a_failing_input_is_told_from_a_complete_one() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("gone"))
            }
        }
        let begin = Begin { at: Position::START, from_line: 1 };
        let batch = start(Box::new(Broken), begin).unwrap().blocking_recv().unwrap();
        assert_eq!(batch.end, Some(End::Unreadable("gone".to_string())));
    }
}
