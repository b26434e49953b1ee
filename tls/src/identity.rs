//! Who a certificate names.
//!
//! A node's certificate has exactly one name of the form `flotilla://node/ID` among its subject alternative names. A URI and not a
//! host name, because an authority that signs for hosts must not make nodes by accident, and because a node may move
//! to another host.

use flotilla_topology::NodeId;
use rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;

/// What comes before the id.
const NODE: &str = "flotilla://node/";

/// Why nobody can be said to be named.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum IdentityError {
    /// It cannot be read.
    #[error("the certificate cannot be read: {0}")]
    Encoding(webpki::Error),
    /// It names a node whose id is none.
    #[error("the certificate names {0:?}, which is no node")]
    Id(String),
    /// It names several nodes.
    #[error("the certificate names more than one node")]
    Several,
}

/// The node that a certificate names; `None`: it is of a client. It was verified before.
pub(crate) fn node_of(certificate: &CertificateDer<'_>) -> Result<Option<NodeId>, IdentityError> {
    let certificate = EndEntityCert::try_from(certificate).map_err(IdentityError::Encoding)?;
    let mut named = certificate.valid_uri_names().filter(|name| name.starts_with("flotilla:"));
    let Some(name) = named.next() else { return Ok(None) };
    if named.next().is_some() {
        return Err(IdentityError::Several);
    }
    let id = name.strip_prefix(NODE).and_then(id).ok_or_else(|| IdentityError::Id(name.to_owned()))?;
    Ok(Some(id))
}

/// An id as it is printed, and in no other way: two names must not mean one node.
fn id(text: &str) -> Option<NodeId> {
    let id: u64 = text.parse().ok()?;
    (id > 0 && id.to_string() == text).then_some(NodeId(id))
}

#[cfg(test)]
mod tests {
    use flotilla_notary::{Authority, Subject};
    use rustls::pki_types::pem::PemObject;

    use super::*;

    fn named(subject: &Subject) -> Result<Option<NodeId>, IdentityError> {
        let issued = Authority::new("test").issue(subject);
        node_of(&CertificateDer::from_pem_slice(issued.certificate.as_bytes()).unwrap())
    }

    #[test]
    fn a_certificate_names_one_node_or_none() {
        assert_eq!(named(&Subject::node(7, ["localhost"])), Ok(Some(NodeId(7))));
        assert_eq!(named(&Subject::node(u64::MAX, ["localhost"])), Ok(Some(NodeId(u64::MAX))));
        assert_eq!(named(&Subject::client("sdk")), Ok(None));
        assert_eq!(named(&Subject::client("sdk").uri("spiffe://x/flotilla://node/1")), Ok(None));
        assert_eq!(named(&Subject::node(7, ["h"]).uri("flotilla://node/8")), Err(IdentityError::Several));
        for id in ["0", "07", "+7", "7/", "", " 7", "18446744073709551616", "x"] {
            let name = format!("flotilla://node/{id}");
            assert_eq!(named(&Subject::client("x").uri(name.clone())), Err(IdentityError::Id(name)));
        }
        let other = "flotilla:node/7".to_owned();
        assert_eq!(named(&Subject::client("x").uri(other.clone())), Err(IdentityError::Id(other)));
    }
}
