//! What tidy reads: every text of the workspace, and what follows from its place.
//!
//! Paths are relative to the root and written with `/`. Build output, the version store and editor directories are
//! skipped; everything else in the tree counts, committed or not, so that a fault is found before it is committed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{fmt, fs, io};

/// Directories that hold no source of ours, wherever they stand.
const SKIPPED: &[&str] = &["target", ".git", ".idea", ".vscode", "node_modules"];

/// A file larger than this is not read as text; [`crate::rules::large_files`] reports it by its size.
const TEXT_BYTES_MAX: u64 = 4 << 20;

/// One fault, where it stands and what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The file, relative to the root.
    pub path: String,
    /// The line, counted from 1; 0 when the fault is the whole file's.
    pub line: usize,
    /// What is wrong, in one line.
    pub what: String,
}

impl Finding {
    /// A fault at a line of a file.
    pub fn new(path: &str, line: usize, what: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, what: what.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.path, self.what),
            line => write!(f, "{}:{line}: {}", self.path, self.what),
        }
    }
}

/// One file of the tree.
#[derive(Clone, Debug)]
pub struct File {
    /// Relative to the root, with `/`.
    pub path: String,
    /// Size on disk.
    pub bytes: u64,
    /// The content, when it is UTF-8 and not huge.
    pub text: Option<String>,
}

impl File {
    /// The Rust syntax tree. Panics on what does not parse: such a tree does not build either.
    #[must_use]
    pub fn syntax(&self) -> syn::File {
        let text = self.text.as_deref().unwrap_or_default();
        syn::parse_file(text).unwrap_or_else(|error| panic!("{}: does not parse: {error}", self.path))
    }

    /// The first directory: the package that the file belongs to, or "" for a file at the root.
    #[must_use]
    pub fn package(&self) -> &str {
        self.path.split_once('/').map_or("", |(package, _)| package)
    }
}

/// All files of the tree.
#[derive(Debug)]
pub struct Workspace {
    files: Vec<File>,
    /// Files and directories that hold tests only, because a parent declares them under `cfg(test)`.
    test_modules: BTreeSet<String>,
}

impl Workspace {
    /// Reads the tree that this crate was built in.
    ///
    /// # Errors
    /// When a file or directory cannot be read.
    pub fn read() -> io::Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut files = Vec::new();
        let mut directories = vec![PathBuf::new()];
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(root.join(&directory))? {
                let entry = entry?;
                let path = directory.join(entry.file_name());
                let kind = entry.file_type()?;
                // In a second work tree of the repository, `.git` is a file.
                if SKIPPED.iter().any(|skipped| entry.file_name() == *skipped) {
                    continue;
                }
                if kind.is_dir() {
                    directories.push(path);
                } else if kind.is_file() {
                    files.push(read_file(&root, &path)?);
                }
            }
        }
        Ok(Self::new(files))
    }

    /// A small tree for the tests of the rules: `(path, text)`.
    #[must_use]
    pub fn of(files: &[(&str, &str)]) -> Self {
        let file = |&(path, text): &(&str, &str)| File {
            path: path.to_owned(),
            bytes: text.len() as u64,
            text: Some(text.to_owned()),
        };
        Self::new(files.iter().map(file).collect())
    }

    fn new(mut files: Vec<File>) -> Self {
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let mut this = Self { files, test_modules: BTreeSet::new() };
        this.test_modules = this.rust().flat_map(declared_test_modules).collect();
        this
    }

    /// Every file.
    pub fn files(&self) -> impl Iterator<Item = &File> {
        self.files.iter()
    }

    /// The file at a path.
    #[must_use]
    pub fn file(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }

    /// Whether a file or directory stands at a path.
    #[must_use]
    pub fn has(&self, path: &str) -> bool {
        let path = path.trim_end_matches('/');
        let within = |file: &File| file.path.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'));
        path.is_empty() || self.files.iter().any(|file| file.path == path || within(file))
    }

    /// Every Rust file.
    pub fn rust(&self) -> impl Iterator<Item = &File> {
        self.with_extension(".rs")
    }

    /// Every Markdown page.
    pub fn pages(&self) -> impl Iterator<Item = &File> {
        self.with_extension(".md")
    }

    fn with_extension(&self, extension: &'static str) -> impl Iterator<Item = &File> {
        self.files.iter().filter(move |file| file.path.ends_with(extension) && file.text.is_some())
    }

    /// The manifests of the member packages, with their directory: `("raft", file, table)`.
    pub fn manifests(&self) -> impl Iterator<Item = (&str, &File, toml::Table)> {
        let manifest = |file: &'_ File| file.path.ends_with("/Cargo.toml");
        self.files.iter().filter(move |file| manifest(file)).map(|file| {
            let text = file.text.as_deref().unwrap_or_default();
            let table = text.parse().unwrap_or_else(|error| panic!("{}: {error}", file.path));
            (file.path.trim_end_matches("/Cargo.toml"), file, table)
        })
    }

    /// Whether a file holds only tests: it stands in `tests/` or `benches/`, or is declared under `cfg(test)`.
    #[must_use]
    pub fn is_test(&self, file: &File) -> bool {
        let in_test_directory = file.path.split('/').any(|part| part == "tests" || part == "benches");
        in_test_directory || self.test_modules.iter().any(|module| file.path.starts_with(module))
    }
}

fn read_file(root: &Path, path: &Path) -> io::Result<File> {
    let bytes = fs::metadata(root.join(path))?.len();
    let text =
        if bytes <= TEXT_BYTES_MAX { String::from_utf8(fs::read(root.join(path))?).ok() } else { None };
    let parts: Vec<_> = path.iter().map(|part| part.to_string_lossy()).collect();
    Ok(File { path: parts.join("/"), bytes, text })
}

/// Where the children of `#[cfg(test)] mod name;` stand: both `name.rs` and everything under `name/`.
fn declared_test_modules(file: &File) -> Vec<String> {
    if !file.text.as_deref().unwrap_or_default().contains("cfg(test)") {
        return Vec::new();
    }
    let stem = file.path.trim_end_matches(".rs");
    let (directory, name) = stem.rsplit_once('/').unwrap_or(("", stem));
    let home = if matches!(name, "lib" | "main" | "mod") { directory } else { stem };
    let mut modules = Vec::new();
    for item in file.syntax().items {
        if let syn::Item::Mod(module) = item
            && module.content.is_none()
            && crate::code::is_for_tests(&module.attrs)
        {
            match crate::code::path_attribute(&module.attrs) {
                // `#[path]` is relative to the directory of the file that says it.
                Some(path) => modules.push(format!("{directory}/{}", path.value())),
                None => {
                    modules.push(format!("{home}/{}.rs", module.ident));
                    modules.push(format!("{home}/{}/", module.ident));
                }
            }
        }
    }
    modules
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_declared_for_tests_is_a_test_wherever_it_stands() {
        let tree = Workspace::of(&[
            ("raft/src/lib.rs", "#[cfg(test)] mod stories; mod log;"),
            ("raft/src/stories.rs", ""),
            ("raft/src/vote.rs", "#[cfg(test)] #[path = \"vote_tests.rs\"] mod tests;"),
            ("raft/src/vote_tests.rs", ""),
            ("raft/src/stories/figure_8.rs", ""),
            ("raft/src/log.rs", "#[cfg(test)] mod oracle;"),
            ("raft/src/log/oracle.rs", ""),
            ("raft/tests/golden.rs", ""),
        ]);
        let tests: Vec<_> =
            tree.files().filter(|file| tree.is_test(file)).map(|file| &file.path[..]).collect();
        let expected = [
            "raft/src/log/oracle.rs",
            "raft/src/stories.rs",
            "raft/src/stories/figure_8.rs",
            "raft/src/vote_tests.rs",
            "raft/tests/golden.rs",
        ];
        assert_eq!(tests, expected);
    }

    #[test]
    fn a_directory_exists_when_something_stands_in_it() {
        let tree = Workspace::of(&[("docs/formats/log.md", "")]);
        assert!(tree.has("docs/formats/") && tree.has("docs") && tree.has("docs/formats/log.md"));
        assert!(!tree.has("docs/form") && !tree.has("docs/log.md"));
    }
}
