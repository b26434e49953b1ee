//! Keys and values as arguments. They are bytes: what the shell passes is taken as it is.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use bytes::Bytes;

use crate::failure::Failure;

/// A value larger than this is not even read: no fleet takes it, whatever its limits.
const VALUE_BYTES_MAX: u64 = 64 << 20;

/// A key.
///
/// # Errors
/// It is empty.
pub fn key(argument: &OsStr) -> Result<Bytes, Failure> {
    if argument.is_empty() {
        return Err(Failure::Usage("KEY: must not be empty".to_string()));
    }
    Ok(Bytes::copy_from_slice(argument.as_bytes()))
}

/// A value: `-` is what stdin holds, `@FILE` what the file holds, anything else is itself.
///
/// # Errors
/// It cannot be read, or is far beyond any limit.
pub fn value(argument: &OsStr, stdin: impl Read) -> Result<Bytes, Failure> {
    match argument.as_bytes() {
        b"-" => read("VALUE", "stdin", stdin),
        [b'@', path @ ..] => {
            let path = Path::new(OsStr::from_bytes(path));
            read("VALUE", &path.display().to_string(), open("VALUE", path)?)
        }
        bytes => Ok(Bytes::copy_from_slice(bytes)),
    }
}

/// A file and its name: `-` is what stdin holds.
///
/// # Errors
/// It cannot be read, or is far beyond any limit.
pub fn file(argument: &OsStr, stdin: impl Read) -> Result<(String, Bytes), Failure> {
    if argument == "-" {
        return Ok(("stdin".to_string(), read("FILE", "stdin", stdin)?));
    }
    let name = Path::new(argument).display().to_string();
    let text = open("FILE", Path::new(argument)).and_then(|file| read("FILE", &name, file))?;
    Ok((name, text))
}

fn open(argument: &str, path: &Path) -> Result<File, Failure> {
    let cannot = |error| Failure::Usage(format!("{argument}: cannot open {}: {error}", path.display()));
    File::open(path).map_err(cannot)
}

/// Everything, unless it is too much.
fn read(argument: &str, name: &str, source: impl Read) -> Result<Bytes, Failure> {
    let mut bytes = Vec::new();
    let read = source.take(VALUE_BYTES_MAX + 1).read_to_end(&mut bytes);
    let length = read.map_err(|error| Failure::Usage(format!("{argument}: cannot read {name}: {error}")))?;
    if length as u64 > VALUE_BYTES_MAX {
        return Err(Failure::Usage(format!(
            "{argument}: {name} holds more than {} MiB",
            VALUE_BYTES_MAX >> 20
        )));
    }
    Ok(Bytes::from(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[test]
    fn values_are_taken_as_they_are_or_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("value");
        std::fs::write(&path, [0, 255, b'\n']).unwrap();
        let at = format!("@{}", path.display());
        assert_eq!(value(OsStr::new("plain"), io::empty()).unwrap(), "plain");
        assert_eq!(value(OsStr::new(""), io::empty()).unwrap(), "");
        assert_eq!(value(OsStr::new("-"), &b"from\nstdin\n"[..]).unwrap(), "from\nstdin\n");
        assert_eq!(value(OsStr::new(&at), io::empty()).unwrap(), [0, 255, b'\n'].as_slice());
    }

    #[test]
    fn what_cannot_be_read_is_wrong_usage() {
        let failure = value(OsStr::new("@/nowhere/at/all"), io::empty()).unwrap_err();
        assert_eq!(failure.code(), 2);
        assert!(failure.to_string().contains("/nowhere/at/all"), "{failure}");
        assert_eq!(value(OsStr::new("-"), io::repeat(0)).unwrap_err().code(), 2);
        assert_eq!(key(OsStr::new("")).unwrap_err().code(), 2);
    }
}
