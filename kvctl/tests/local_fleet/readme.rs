//! What the README shows is what happens: its commands are run as they stand there, its program is one that is built and run.

use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;

use crate::dev::{Dev, free_base};

/// The router's HTTP port by default, which the README writes.
const PORT: &str = "127.0.0.1:7480";

/// Makes curl tell the status code of each answer on stderr, whatever its command line says.
const CURLRC: &str = "write-out = \"%{stderr}%{http_code} \"\n";

/// A file of the repository.
fn file(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    std::fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// What stands between a heading and the next one of its rank.
fn section(page: &str, title: &str) -> String {
    let heading = format!("## {title}\n");
    let (_, after) = page.split_once(&heading).unwrap_or_else(|| panic!("no section {title:?}"));
    after.split("\n## ").next().unwrap().to_owned()
}

/// The first fenced block of a language, and what follows it.
fn block<'a>(section: &'a str, language: &str) -> (&'a str, &'a str) {
    let fence = format!("```{language}\n");
    let (_, after) = section.split_once(&fence).unwrap_or_else(|| panic!("no block of {language}"));
    let (block, rest) = after.split_once("```\n").unwrap();
    (block, rest)
}

/// What stands in backticks, up to a line's end or the next fence.
fn spans(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

#[test]
fn the_curl_commands_print_what_the_readme_says() {
    if let Err(error) = Command::new("curl").arg("--version").output() {
        assert_eq!(error.kind(), ErrorKind::NotFound, "curl cannot be run: {error}");
        panic!(
            "curl is not installed, and the README's commands need it: install it (Debian: apt-get install curl)"
        );
    }
    let readme = file("README.md");
    let section = section(&readme, "Over HTTP");
    let (commands, rest) = block(&section, "sh");
    // The first answers stand in the sentence between the blocks, the others in the second one.
    let (sentence, _) = rest.split_once("```").unwrap();
    let [written, read] = spans(sentence)[..] else { panic!("not two answers: {sentence:?}") };
    let (others, rest) = block(rest, "text");
    let (_, codes) = rest.split_once("status codes ").unwrap();
    let codes: Vec<&str> = codes.split(" (").next().unwrap().split(", ").collect();
    assert_eq!(codes.len(), commands.lines().count(), "one status code for each command: {codes:?}");

    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(".curlrc"), CURLRC).unwrap();
    let dev = Dev::start(&folder.path().join("fleet"), free_base(), &[]);
    let mut shell = Command::new("sh");
    shell.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("CURL_HOME", folder.path());
    assert!(commands.contains(PORT), "{commands}");
    shell.arg("-c").arg(commands.replace(PORT, &format!("127.0.0.1:{}", dev.http_port())));
    let output = shell.output().unwrap();
    let said = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    assert_eq!(said(&output.stdout), format!("{written}\n{read}{others}"), "{}", said(&output.stderr));
    assert_eq!(said(&output.stderr).split_whitespace().collect::<Vec<_>>(), codes);
}

#[test]
fn the_program_is_the_example_that_is_built_and_run() {
    let readme = file("README.md");
    let section = section(&readme, "From Rust");
    let example = file("client/examples/readme.rs");
    // Its head is for this repository alone: what the file is, and a lint that is let off.
    let (head, program) = example.split_once("\n\n").unwrap();
    assert!(head.lines().all(|line| line.starts_with("//!") || line.starts_with("#![allow(")), "{head}");
    assert_eq!(block(&section, "rust").0, program);
}
