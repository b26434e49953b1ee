//! Units and rules, by the tools that will read them.

use std::process::Command;

use crate::texts::{path, text};
use crate::tools::{run, skip, words};

#[test]
fn systemd_accepts_the_units() {
    let folder = tempfile::tempdir().unwrap();
    // It wants the programs to be there; any one will do, the flags are tried elsewhere.
    let program = folder.path().join("program");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_kvctl"), &program).unwrap();
    for (unit, named) in [("kvnode@.service", "kvnode@1.service"), ("kvrouter.service", "kvrouter.service")] {
        let unit = text(&format!("deploy/systemd/{unit}"));
        let unit = unit.replace("/usr/bin/kvnode ", &format!("{} ", program.display()));
        let unit = unit.replace("/usr/bin/kvrouter ", &format!("{} ", program.display()));
        let file = folder.path().join(named);
        std::fs::write(&file, unit).unwrap();
        let verified = run(Command::new("systemd-analyze").arg("verify").arg("--man=no").arg(&file));
        let Ok(output) = verified else { return skip("systemd-analyze", &verified.unwrap_err()) };
        // It warns of an unknown setting, and is content all the same.
        let words = words(&output);
        let ours = words.lines().filter(|line| line.contains(named)).count();
        assert!(output.status.success() && ours == 0, "{named}: {words}");
    }
}

#[test]
fn prometheus_accepts_its_files() {
    for (what, file) in
        [("config", "deploy/prometheus/prometheus.yml"), ("rules", "deploy/prometheus/alerts.yml")]
    {
        let checked = run(Command::new("promtool").args(["check", what]).arg(path(file)));
        let Ok(output) = checked else { return skip("promtool", &checked.unwrap_err()) };
        let words = words(&output);
        assert!(output.status.success() && words.contains("SUCCESS"), "{file}: {words}");
    }
}

/// A panel or an alert on a series that nobody has shows nothing, for ever.
#[test]
fn alerts_and_dashboard_ask_for_series_that_are_documented() {
    let page = text("docs/operations/metrics.md");
    let mut asked = 0;
    for file in ["deploy/prometheus/alerts.yml", "deploy/grafana/flotilla.json"] {
        let text = text(file);
        let is_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
        for word in text.split(|letter| !is_name(letter)).filter(|word| word.starts_with("kv_")) {
            let name = ["_bucket", "_sum", "_count"].iter().find_map(|end| word.strip_suffix(end));
            let name = name.unwrap_or(word);
            assert!(page.contains(&format!("`{name}`")), "{file} asks for {name}");
            asked += 1;
        }
    }
    assert!(asked > 10, "{asked}");
}
