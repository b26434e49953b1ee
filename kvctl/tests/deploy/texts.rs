//! The files under `deploy/`, and just enough of YAML to find in them what a program will be started with: blocks are told
//! by their indentation, and all that is read is of plain text.

use std::path::{Path, PathBuf};

/// Where the repository is.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// A file of the repository.
pub fn path(name: &str) -> String {
    repository().join(name).to_str().unwrap().to_owned()
}

/// What it says.
pub fn text(name: &str) -> String {
    std::fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The lines below a line, as far as they are indented more than it.
pub fn block<'a>(text: &'a str, head: &str) -> Vec<&'a str> {
    let mut lines = text.lines().skip_while(|line| line.trim() != head);
    let depth = indent(lines.next().unwrap_or_else(|| panic!("no line {head:?}")));
    lines.take_while(|line| line.trim().is_empty() || indent(line) > depth).collect()
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// The items of a list in a block, without dashes and quotes.
pub fn items(block: &[&str]) -> Vec<String> {
    let items = block.iter().filter_map(|line| line.trim().strip_prefix("- "));
    items.map(|item| item.trim_matches('"').to_string()).collect()
}

/// The plain values of a block whose names begin so.
pub fn pairs(block: &[&str], prefix: &str) -> Vec<(String, String)> {
    let pairs = block.iter().filter_map(|line| line.trim().split_once(": "));
    let pairs = pairs.filter(|(name, _)| name.starts_with(prefix));
    pairs.map(|(name, value)| (name.to_string(), value.trim_matches('"').to_string())).collect()
}

/// All values of a name, `containerPort` say, wherever it stands in braces or alone.
pub fn values(text: &str, name: &str) -> Vec<String> {
    let head = format!("{name}: ");
    let ends = |letter: char| !(letter.is_alphanumeric() || "_-./".contains(letter));
    let rest = text.match_indices(&head).filter(|(at, _)| *at == 0 || text[..*at].ends_with([' ', '"']));
    rest.map(|(at, _)| text[at + head.len()..].split(ends).next().unwrap().to_string()).collect()
}
