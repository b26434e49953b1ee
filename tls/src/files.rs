//! The three files: the certificate (with what is between it and the authority), its key, the authority.

use std::path::{Path, PathBuf};

use flotilla_topology::NodeId;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Where the credentials of a process lie, each as PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// Its certificate first, then those between it and the authority.
    pub certificate: PathBuf,
    /// The private key of the certificate. The same file will do.
    pub key: PathBuf,
    /// The certificates of the authorities that are trusted.
    pub authority: PathBuf,
}

/// Why files are no credentials. Each begins with the flag that names the file.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{flag}: {} cannot be read: {source}", .path.display())]
    Read {
        /// The flag.
        flag: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file does not hold what it should.
    #[error("{flag}: {}: {what}", .path.display())]
    Content {
        /// The flag.
        flag: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The key is of another certificate, or of a kind that is not known.
    #[error("--tls-key: {}: no key of this certificate: {what}", .path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The authority does not stand for the certificate, or it has expired, or is for another use.
    #[error("--tls-cert: {}: not good for {what}: {why}", .path.display())]
    Useless {
        /// The file.
        path: PathBuf,
        /// For what.
        what: &'static str,
        /// Why not.
        why: String,
    },
    /// The certificate is not of this node.
    #[error(
        "--tls-cert: {}: names {}, and this is node {}: it needs the name flotilla://node/{}",
        .path.display(), named.map_or("no node".to_owned(), |it| format!("node {}", it.0)), node.0, node.0
    )]
    OtherNode {
        /// The file.
        path: PathBuf,
        /// Whom it names.
        named: Option<NodeId>,
        /// This node.
        node: NodeId,
    },
    /// Whoever dials this node at this host would not take it for the one that was meant.
    #[error("--tls-cert: {}: is not for {host}, where others reach this node: it needs that name, or that IP address", .path.display())]
    OtherHost {
        /// The file.
        path: PathBuf,
        /// The host.
        host: String,
    },
}

pub(crate) const CERT: &str = "--tls-cert";
const KEY: &str = "--tls-key";
const CA: &str = "--tls-ca";

/// The largest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// What the files hold, to be compared with what they held before.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Material {
    certificate: Vec<u8>,
    key: Vec<u8>,
    authority: Vec<u8>,
}

/// Without the key.
impl std::fmt::Debug for Material {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Material")
    }
}

/// What the files mean.
pub(crate) struct Parsed {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: PrivateKeyDer<'static>,
    pub(crate) authorities: Vec<CertificateDer<'static>>,
}

impl Files {
    pub(crate) fn read(&self) -> Result<Material, TlsError> {
        Ok(Material {
            certificate: read(CERT, &self.certificate)?,
            key: read(KEY, &self.key)?,
            authority: read(CA, &self.authority)?,
        })
    }

    pub(crate) fn parse(&self, material: &Material) -> Result<Parsed, TlsError> {
        let key = PrivateKeyDer::from_pem_slice(&material.key)
            .map_err(|error| content(KEY, &self.key, &format!("no private key: {error}")))?;
        Ok(Parsed {
            chain: certificates(CERT, &self.certificate, &material.certificate)?,
            key,
            authorities: certificates(CA, &self.authority, &material.authority)?,
        })
    }

    /// What is wrong with the file of the authority.
    pub(crate) fn wrong_authority(&self, what: &str) -> TlsError {
        content(CA, &self.authority, what)
    }
}

fn content(flag: &'static str, path: &Path, what: &str) -> TlsError {
    TlsError::Content { flag, path: path.to_owned(), what: what.to_owned() }
}

fn read(flag: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    let wrong = |source| TlsError::Read { flag, path: path.to_owned(), source };
    // A device or a log that was named by mistake shall not fill the memory.
    let bytes = std::fs::metadata(path).map_err(wrong)?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(content(flag, path, &format!("{bytes} bytes are more than {FILE_BYTES_MAX}")));
    }
    std::fs::read(path).map_err(wrong)
}

fn certificates(
    flag: &'static str,
    path: &Path,
    pem: &[u8],
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.map_err(|error| content(flag, path, &error.to_string()))?;
    if found.is_empty() { Err(content(flag, path, "holds no certificate")) } else { Ok(found) }
}
