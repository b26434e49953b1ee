//! Why a connection was not let in, as a word for a metric and as a line for a log.

use std::error::Error;

use rustls::{CertificateError, InvalidMessage, OtherError};

use crate::credentials::NotANode;

/// The kinds of refusals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// What came is no TLS.
    Plaintext,
    /// The handshake took too long.
    Silent,
    /// It closed in mid-handshake.
    Closed,
    /// It showed no certificate.
    NoCertificate,
    /// Its certificate has expired, or is not valid yet.
    Expired,
    /// Its certificate is not of our authority.
    UnknownAuthority,
    /// Its certificate is for another use.
    WrongUse,
    /// Its certificate names no node.
    NotANode,
    /// Its certificate names another node than the one that it says it is.
    WrongNode,
    /// It does not accept our certificate, or wants something that we have not.
    Declined,
    /// Too many handshakes were under way, and this was the oldest.
    Crowded,
    /// Anything else.
    Other,
}

impl Reason {
    /// Its name in metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Plaintext => "plaintext",
            Self::Silent => "silent",
            Self::Closed => "closed",
            Self::NoCertificate => "no_certificate",
            Self::Expired => "expired",
            Self::UnknownAuthority => "unknown_authority",
            Self::WrongUse => "wrong_use",
            Self::NotANode => "not_a_node",
            Self::WrongNode => "wrong_node",
            Self::Declined => "declined",
            Self::Crowded => "crowded",
            Self::Other => "other",
        }
    }
}

/// A connection that was not let in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Refusal {
    /// What kind of refusal it is.
    pub reason: Reason,
    /// In words.
    pub text: String,
}

impl Refusal {
    /// A refusal in these words.
    #[must_use]
    pub fn new(reason: Reason, text: impl Into<String>) -> Self {
        Self { reason, text: text.into() }
    }

    /// What became of a handshake.
    pub(crate) fn of(error: &std::io::Error) -> Self {
        let Some(tls) = tls(error) else { return Self::new(Reason::Closed, error.to_string()) };
        let reason = reason(tls);
        let text = match reason {
            Reason::Plaintext => "what came is no TLS".to_owned(),
            Reason::NotANode => match tls {
                rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(what))) => {
                    what.to_string()
                }
                other => other.to_string(),
            },
            _ => tls.to_string(),
        };
        Self::new(reason, text)
    }
}

/// The TLS layer's word, if it had one.
pub(crate) fn tls(error: &std::io::Error) -> Option<&rustls::Error> {
    error.get_ref().and_then(|inner| (inner as &(dyn Error + 'static)).downcast_ref())
}

fn reason(error: &rustls::Error) -> Reason {
    use rustls::Error as Tls;
    match error {
        Tls::InvalidMessage(InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion) => {
            Reason::Plaintext
        }
        Tls::NoCertificatesPresented => Reason::NoCertificate,
        Tls::AlertReceived(_) => Reason::Declined,
        Tls::InvalidCertificate(certificate) => match certificate {
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => Reason::Expired,
            // Two authorities may have one name: then the signature tells them apart.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => Reason::UnknownAuthority,
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
                Reason::WrongUse
            }
            CertificateError::Other(OtherError(what)) if what.is::<NotANode>() => Reason::NotANode,
            _ => Reason::Other,
        },
        _ => Reason::Other,
    }
}
