//! What the image is made of. No registry is needed: the base images are made here, from Debian's own packages, under the
//! names that the Dockerfile uses. They stay, as a cache for the next run; an image that is there under such a name, made here
//! or pulled, is used as it is.
//!
//! ```text
//!   debootstrap ──► debian:bookworm-slim ─────────────┬──► the image, around the programs that cargo built beside this test
//!                          │ gcc, this machine's Rust  │
//!                          ▼                           │
//!                   rust:1-slim-bookworm ──────────────┴──► the image, all from source; FLOTILLA_IMAGE=source asks for it
//! ```

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::texts::{path, repository};
use crate::tools::{run, words};

/// Parts of a Debian system that no container reads.
const NEEDLESS: &[&str] = &[
    "usr/share/doc",
    "usr/share/info",
    "usr/share/locale",
    "usr/share/man",
    "var/cache/apt",
    "var/lib/apt/lists",
];

const DOCKERFILE: &str = "deploy/docker/Dockerfile";

/// Runs `docker`.
///
/// # Panics
/// It fails.
pub fn docker(args: &[&str]) -> String {
    succeed(Command::new("docker").args(args))
}

/// Runs something that must succeed, and returns what it printed.
pub fn succeed(command: &mut Command) -> String {
    let output = run(command).unwrap();
    assert!(output.status.success(), "{command:?}: {}: {}", output.status, words(&output));
    String::from_utf8_lossy(&output.stdout).trim().to_string()
}

/// Whether there is an engine, and what base images can be made of: Debian's name of this machine's release.
///
/// # Errors
/// The reason why there can be no containers here.
pub fn possible() -> Result<String, String> {
    let info = run(Command::new("docker").args(["info", "--format", "{{.ServerVersion}}"]))?;
    if !info.status.success() {
        return Err(format!("no engine answers docker: {}", words(&info).trim()));
    }
    let release =
        fs::read_to_string("/etc/os-release").map_err(|error| format!("/etc/os-release: {error}"))?;
    let value = |name: &str| release.lines().find_map(|line| line.strip_prefix(name)).map(str::to_string);
    // Programs of this machine run in an image of the same release only.
    let (Some("debian"), Some(release)) = (value("ID=").as_deref(), value("VERSION_CODENAME=")) else {
        return Err("this machine is no Debian".to_string());
    };
    if !exists(&base_name(&release)) {
        run(Command::new("debootstrap").arg("--version"))?;
    }
    programs()?;
    Ok(release)
}

fn base_name(release: &str) -> String {
    format!("debian:{release}-slim")
}

fn exists(image: &str) -> bool {
    run(Command::new("docker").args(["image", "inspect", image])).unwrap().status.success()
}

/// The programs beside this test, as cargo built them: `cargo test --workspace` does.
fn programs() -> Result<Vec<PathBuf>, String> {
    let kvctl = Path::new(env!("CARGO_BIN_EXE_kvctl"));
    let version = |program: &Path| {
        let output = run(Command::new(program).arg("--version"))
            .map_err(|error| format!("{error}; cargo build -p flotilla-node -p flotilla-router builds it"))?;
        Ok::<_, String>(words(&output).split_once(' ').map(|(_, version)| version.to_string()))
    };
    let expected = version(kvctl)?;
    let named = ["kvnode", "kvrouter", "kvctl"].map(|name| kvctl.with_file_name(name));
    for program in &named {
        let found = version(program)?;
        if found != expected {
            return Err(format!("{} is of another version: {found:?}, not {expected:?}", program.display()));
        }
    }
    Ok(named.into())
}

/// The image, made by the Dockerfile under this name. From source where `FLOTILLA_IMAGE` says so.
pub fn build(release: &str, name: &str) {
    base(release);
    let dockerfile = path(DOCKERFILE);
    let debian = format!("DEBIAN={release}");
    let build = ["build", "-f", &dockerfile, "-t", name, "--build-arg", &debian];
    if std::env::var("FLOTILLA_IMAGE").is_ok_and(|from| from == "source") {
        builder(release);
        docker(&[&build[..], &[repository().to_str().unwrap()]].concat());
        return;
    }
    let context = tempfile::tempdir().unwrap();
    for program in programs().unwrap() {
        let copy = context.path().join(program.file_name().unwrap());
        let stripped = run(Command::new("strip").arg("-o").args([&copy, &program]));
        if !stripped.is_ok_and(|output| output.status.success()) {
            fs::copy(&program, &copy).unwrap();
        }
    }
    docker(
        &[
            &build[..],
            &["--target", "prebuilt", "--build-arg", "PROGRAMS=.", context.path().to_str().unwrap()],
        ]
        .concat(),
    );
}

/// Debian alone, as small as it gets.
fn base(release: &str) {
    let name = base_name(release);
    if exists(&name) {
        return;
    }
    println!("making {name} by debootstrap");
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    succeed(Command::new("debootstrap").args(["--variant=minbase", release]).arg(&root));
    for needless in NEEDLESS {
        // What is not there needs not to be removed.
        drop(fs::remove_dir_all(root.join(needless)));
    }
    fs::create_dir_all(root.join("var/cache/apt/archives/partial")).unwrap();
    let archive = folder.path().join("root.tar");
    succeed(Command::new("tar").arg("-C").arg(&root).arg("-cf").args([archive.as_os_str(), ".".as_ref()]));
    docker(&["import", archive.to_str().unwrap(), &name]);
}

/// Debian with a C compiler and this machine's Rust, in place of the official image.
fn builder(release: &str) {
    let name = format!("rust:1-slim-{release}");
    if exists(&name) {
        return;
    }
    println!("making {name} of this machine's toolchain");
    let toolchain = succeed(Command::new("rustc").args(["--print", "sysroot"]));
    let context = tempfile::tempdir().unwrap();
    for part in ["bin", "lib"] {
        succeed(Command::new("cp").arg("-a").arg(Path::new(&toolchain).join(part)).arg(context.path()));
    }
    // Whom this machine trusts, the builder trusts: the way to the registry of crates may lead through a proxy of its own.
    let trusted = Path::new("/etc/ssl/certs/ca-certificates.crt");
    fs::copy(trusted, context.path().join("ca-certificates.crt")).unwrap();
    let recipe = format!(
        "FROM {}\nRUN apt-get update && apt-get install -y --no-install-recommends ca-certificates gcc libc6-dev\n\
         COPY bin /usr/local/bin\nCOPY lib /usr/local/lib\nCOPY ca-certificates.crt {}\n",
        base_name(release),
        trusted.display()
    );
    fs::write(context.path().join("Dockerfile"), recipe).unwrap();
    docker(&["build", "-t", &name, context.path().to_str().unwrap()]);
}
