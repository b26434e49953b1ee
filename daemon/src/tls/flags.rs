//! The three flags, the same for every server.

use std::path::PathBuf;

use clap::Args;
use flotilla_tls::{Files, Owner, Tls, TlsError};

use crate::config::ConfigError;

/// With what a process shows who it is, and by what it judges others.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "TLS")]
pub struct TlsFlags {
    /// The certificate of this process (PEM), then those between it and the authority. With it everything is encrypted, and
    /// nodes and clients must show a certificate too. Read again when it changes, and at SIGHUP
    #[arg(long, value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    /// The private key of the certificate (PEM); may be the same file
    #[arg(long, value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// The authority that signs the certificates of the fleet and of its clients (PEM); several while one replaces another
    #[arg(long, value_name = "FILE")]
    pub tls_ca: Option<PathBuf>,
}

impl TlsFlags {
    /// The files; `None`: nothing is encrypted.
    ///
    /// # Errors
    /// One of them is missing.
    pub fn files(&self) -> Result<Option<Files>, ConfigError> {
        match (&self.tls_cert, &self.tls_key, &self.tls_ca) {
            (None, None, None) => Ok(None),
            (Some(certificate), Some(key), Some(authority)) => Ok(Some(Files {
                certificate: certificate.clone(),
                key: key.clone(),
                authority: authority.clone(),
            })),
            _ => {
                Err(ConfigError("--tls-cert, --tls-key, --tls-ca: all three are needed, or none".to_owned()))
            }
        }
    }

    /// Whether anything is encrypted.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.tls_cert.is_some()
    }

    /// Reads the files.
    ///
    /// # Errors
    /// See [`TlsError`].
    pub fn load(&self, owner: Owner) -> Result<Option<Tls>, TlsError> {
        // That all are there was checked with the flags.
        let files = self.files().ok().flatten();
        files.map(|files| Tls::load(files, owner)).transpose()
    }
}
