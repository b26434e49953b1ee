//! With what kvctl shows a fleet who it is: three flags, read when a connection is first needed.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use clap::Args;
use flotilla_client::{Files, Owner, Tls};

use crate::failure::{Failure, one_line};

/// What help calls these flags.
const TLS: &str = "TLS";

/// The flags.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct TlsFlags {
    /// The certificate to show the fleet (PEM), for one that encrypts
    #[arg(long, help_heading = TLS, global = true, value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    /// The private key of the certificate (PEM)
    #[arg(long, help_heading = TLS, global = true, value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// The authority that signs the fleet's certificates (PEM)
    #[arg(long, help_heading = TLS, global = true, value_name = "FILE")]
    pub tls_ca: Option<PathBuf>,
}

/// What the flags name, read at most once.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    flags: TlsFlags,
    read: Arc<OnceLock<Option<Tls>>>,
}

impl Credentials {
    /// Those that these flags name.
    #[must_use]
    pub fn new(flags: &TlsFlags) -> Self {
        Self { flags: flags.clone(), read: Arc::default() }
    }

    /// Nothing: the fleet does not encrypt.
    ///
    /// # Errors
    /// A flag is missing, or a file is no use.
    pub fn get(&self) -> Result<Option<&Tls>, Failure> {
        if let Some(tls) = self.read.get() {
            return Ok(tls.as_ref());
        }
        let tls = self.load()?;
        Ok(self.read.get_or_init(|| tls).as_ref())
    }

    fn load(&self) -> Result<Option<Tls>, Failure> {
        let TlsFlags { tls_cert, tls_key, tls_ca } = self.flags.clone();
        match (tls_cert, tls_key, tls_ca) {
            (None, None, None) => Ok(None),
            (Some(certificate), Some(key), Some(authority)) => {
                let tls = Tls::load(Files { certificate, key, authority }, Owner::Client);
                tls.map(Some).map_err(|error| Failure::Usage(one_line(&error.to_string())))
            }
            _ => Err(Failure::Usage(
                "--tls-cert, --tls-key, --tls-ca: all three are needed, or none".to_owned(),
            )),
        }
    }
}
