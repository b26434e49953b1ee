//! Promises outlive the process that made them.

use std::io::Write;

use flotilla_sim::supporters::start_again;

/// Panics are quiet here, as worlds catch them: so what is wrong is printed.
fn expect_all_kept(shorter: bool) {
    if let Some(failure) = start_again(shorter) {
        let what = format!("{}\n{}: {}", failure.last.join("\n"), failure.judge, failure.what);
        let _ = writeln!(std::io::stderr(), "{what}");
        panic!("{what}");
    }
}

#[test]
fn who_starts_again_waits_for_what_it_promised() {
    expect_all_kept(false);
}

#[test]
fn who_starts_again_with_a_shorter_support_waits_for_the_longer_one() {
    expect_all_kept(true);
}
