//! A certificate authority that lives as long as a test: certificates of nodes and clients, good ones and bad ones.
//!
//! ```
//! use flotilla_notary::{Authority, Subject};
//!
//! let authority = Authority::new("a fleet of a test");
//! let issued = authority.issue(&Subject::node(1, ["127.0.0.1"]));
//! assert!(issued.certificate.contains("BEGIN CERTIFICATE") && issued.key.contains("BEGIN PRIVATE KEY"));
//! ```
//!
//! Why here and not in files: a certificate in a repository expires, and its key is published.
//!
//! What it does not do: keep anything. A real fleet has its own authority (`docs/operations/tls.md`).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

const HOUR: Duration = Duration::from_secs(3600);

/// Signs certificates.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// Whom a certificate names, and for how long.
#[derive(Clone, Debug)]
pub struct Subject {
    name: String,
    uris: Vec<String>,
    hosts: Vec<String>,
    serves: bool,
    from: SystemTime,
    until: SystemTime,
}

/// A certificate and its key, as PEM.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The certificate.
    pub certificate: String,
    /// Its private key.
    pub key: String,
}

/// Where a certificate, its key and its authority lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The certificate of the authority.
    pub authority: PathBuf,
}

impl Subject {
    /// A node: it serves at these hosts (names or addresses), and asks other nodes.
    pub fn node(id: u64, hosts: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self::server(format!("node {id}"), hosts).uri(format!("flotilla://node/{id}"))
    }

    /// A server that is no node, as a router.
    pub fn server(name: impl Into<String>, hosts: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let hosts = hosts.into_iter().map(Into::into).collect();
        Self { hosts, serves: true, ..Self::client(name) }
    }

    /// Who only asks.
    pub fn client(name: impl Into<String>) -> Self {
        let now = SystemTime::now();
        Self {
            name: name.into(),
            uris: Vec::new(),
            hosts: Vec::new(),
            serves: false,
            from: now - 2 * HOUR,
            until: now + 24 * HOUR,
        }
    }

    /// It also names this.
    #[must_use]
    pub fn uri(mut self, uri: impl Into<String>) -> Self {
        self.uris.push(uri.into());
        self
    }

    /// It ended an hour ago.
    #[must_use]
    pub fn expired(self) -> Self {
        self.until(SystemTime::now() - HOUR)
    }

    /// It ends then.
    #[must_use]
    pub fn until(self, until: SystemTime) -> Self {
        Self { until, ..self }
    }
}

impl Authority {
    /// A new one. Two of one name are still two.
    ///
    /// # Panics
    /// The system has no random numbers.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let issuer = CertifiedIssuer::self_signed(params, new_key());
        Self { issuer: issuer.unwrap_or_else(|error| panic!("no authority {name:?}: {error}")) }
    }

    /// Its certificate, as PEM.
    #[must_use]
    pub fn certificate(&self) -> String {
        self.issuer.pem()
    }

    /// How somebody connects who trusts this authority and shows this certificate, whoever signed it, or none.
    ///
    /// # Panics
    /// The certificate or its key cannot be read.
    #[must_use]
    pub fn stranger(&self, shows: Option<&Issued>) -> ClientConfig {
        let chain = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).map(|it| vec![it]);
        let config = || {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(chain(&self.certificate()).map_err(unreadable)?);
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let builder =
                ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
            let builder = builder.with_root_certificates(roots);
            let Some(Issued { certificate, key }) = shows else { return Ok(builder.with_no_client_auth()) };
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(unreadable)?;
            builder.with_client_auth_cert(chain(certificate).map_err(unreadable)?, key)
        };
        config().unwrap_or_else(|error: rustls::Error| panic!("{error}"))
    }

    /// Signs a certificate, with a key of its own.
    ///
    /// # Panics
    /// A host or URI is no ASCII text.
    #[must_use]
    pub fn issue(&self, subject: &Subject) -> Issued {
        let mut params = CertificateParams::new(subject.hosts.clone())
            .unwrap_or_else(|error| panic!("{:?}: {error}", subject.hosts));
        params.distinguished_name.push(DnType::CommonName, &subject.name);
        for uri in &subject.uris {
            let name = uri.clone().try_into().unwrap_or_else(|error| panic!("{uri:?}: {error}"));
            params.subject_alt_names.push(SanType::URI(name));
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        if subject.serves {
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
        }
        params.not_before = subject.from.into();
        params.not_after = subject.until.into();
        let key = new_key();
        let signed = params.signed_by(&key, &self.issuer);
        let certificate = signed.unwrap_or_else(|error| panic!("{}: {error}", subject.name)).pem();
        Issued { certificate, key: key.serialize_pem() }
    }

    /// Signs a certificate and puts it into files of this name, the authority's beside it. What was there is replaced.
    ///
    /// # Panics
    /// They cannot be written.
    pub fn write(&self, directory: &Path, name: &str, subject: &Subject) -> Paths {
        let issued = self.issue(subject);
        let place = |text: &str, ending: &str| {
            let path = directory.join(format!("{name}{ending}"));
            std::fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            path
        };
        Paths {
            certificate: place(&issued.certificate, ".pem"),
            key: place(&issued.key, ".key"),
            authority: place(&self.certificate(), "-ca.pem"),
        }
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Authority")
    }
}

fn new_key() -> KeyPair {
    KeyPair::generate().unwrap_or_else(|error| panic!("no key: {error}"))
}

fn unreadable(error: rustls::pki_types::pem::Error) -> rustls::Error {
    rustls::Error::General(error.to_string())
}
