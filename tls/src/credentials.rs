//! What the files mean for a handshake: what we show, and what each door demands.

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, OtherError,
    RootCertStore, ServerConfig, SignatureScheme,
};
use webpki::{EndEntityCert, KeyUsage};

use crate::files::{Files, Material, TlsError};
use crate::{Door, Owner, der, identity};

/// What is spoken on an encrypted gRPC address, and on an HTTP address.
const HTTP2: &[u8] = b"h2";
const HTTP1: &[u8] = b"http/1.1";

/// Ready for handshakes.
pub(crate) struct Credentials {
    peer: Arc<ServerConfig>,
    client: Arc<ServerConfig>,
    http: Arc<ServerConfig>,
    pub(crate) dialling: Arc<ClientConfig>,
    /// In seconds since 1970.
    pub(crate) expires: u64,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("expires", &self.expires).finish_non_exhaustive()
    }
}

impl Credentials {
    /// Of files with this content, which must do for this owner now.
    pub(crate) fn new(
        files: &Files,
        material: &Material,
        owner: &Owner,
        now: UnixTime,
    ) -> Result<Self, TlsError> {
        let parsed = files.parse(material)?;
        let provider = Arc::new(ring::default_provider());
        let mut roots = RootCertStore::empty();
        for authority in &parsed.authorities {
            let added = roots.add(authority.clone());
            added.map_err(|error| files.wrong_authority(&format!("no authority: {error}")))?;
        }
        let roots = Arc::new(roots);
        judge(files, &parsed.chain, owner, &roots, &provider, now)?;
        let expires = parsed.chain.iter().filter_map(der::not_after).min().unwrap_or_default();
        let key = CertifiedKey::from_der(parsed.chain, parsed.key, &provider)
            .map_err(|error| TlsError::Key { path: files.key.clone(), what: error.to_string() })?;
        let key = Arc::new(rustls::sign::SingleCertAndKey::from(key));
        let internal = |error: &dyn std::error::Error| files.wrong_authority(&error.to_string());
        let verifier =
            || WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider));
        let known = verifier().build().map_err(|error| internal(&error))?;
        let anybody = verifier().allow_unauthenticated().build().map_err(|error| internal(&error))?;
        let nodes = Arc::new(OnlyNodes(Arc::clone(&known)));
        let serving = |verifier: Arc<dyn ClientCertVerifier>, protocol: &[u8]| {
            let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
            let builder = builder.with_protocol_versions(&[&TLS13]).map_err(|error| internal(&error))?;
            let mut config = builder.with_client_cert_verifier(verifier).with_cert_resolver(key.clone());
            config.alpn_protocols = vec![protocol.to_vec()];
            // A resumed session would not be judged again: an expired certificate could come back with its ticket.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
            Ok(Arc::new(config))
        };
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider));
        let builder = builder.with_protocol_versions(&[&TLS13]).map_err(|error| internal(&error))?;
        let mut dialling =
            builder.with_root_certificates(Arc::clone(&roots)).with_client_cert_resolver(key.clone());
        dialling.alpn_protocols = vec![HTTP2.to_vec()];
        dialling.resumption = Resumption::disabled();
        Ok(Self {
            peer: serving(nodes, HTTP2)?,
            client: serving(known, HTTP2)?,
            http: serving(anybody, HTTP1)?,
            dialling: Arc::new(dialling),
            expires,
        })
    }

    pub(crate) fn server(&self, door: Door) -> Arc<ServerConfig> {
        Arc::clone(match door {
            Door::Peer => &self.peer,
            Door::Client => &self.client,
            Door::Http => &self.http,
        })
    }
}

/// Whether our own certificate does: what others would refuse is refused here, where its operator reads it.
fn judge(
    files: &Files,
    chain: &[CertificateDer<'static>],
    owner: &Owner,
    roots: &RootCertStore,
    provider: &CryptoProvider,
    now: UnixTime,
) -> Result<(), TlsError> {
    let path = || files.certificate.clone();
    let Some((first, between)) = chain.split_first() else { unreachable!("an empty chain was parsed") };
    let useless = |what, error: webpki::Error| TlsError::Useless { path: path(), what, why: why(&error) };
    let own = EndEntityCert::try_from(first).map_err(|error| useless("anything", error))?;
    let judge = |usage, what| {
        let algorithms = provider.signature_verification_algorithms.all;
        let verified = own.verify_for_usage(algorithms, &roots.roots, between, now, usage, None, None);
        verified.map(drop).map_err(|error| useless(what, error))
    };
    judge(KeyUsage::client_auth(), "asking (clientAuth)")?;
    if *owner != Owner::Client {
        judge(KeyUsage::server_auth(), "serving (serverAuth)")?;
    }
    let named = identity::node_of(first);
    let named = named.map_err(|error| TlsError::Useless {
        path: path(),
        what: "this fleet",
        why: error.to_string(),
    })?;
    let Owner::Node { id, hosts } = owner else { return Ok(()) };
    if named != Some(*id) {
        return Err(TlsError::OtherNode { path: path(), named, node: *id });
    }
    let is_for = |host: &&String| {
        let name = ServerName::try_from(host.as_str());
        name.is_ok_and(|name| own.verify_is_valid_for_subject_name(&name).is_ok())
    };
    match hosts.iter().find(|host| !is_for(host)) {
        Some(host) => Err(TlsError::OtherHost { path: path(), host: host.clone() }),
        None => Ok(()),
    }
}

/// The verifier's word, for an operator.
fn why(error: &webpki::Error) -> String {
    match error {
        webpki::Error::UnknownIssuer => "it is not signed by an authority of --tls-ca".to_owned(),
        webpki::Error::CertExpired { .. } => "it has expired".to_owned(),
        webpki::Error::CertNotValidYet { .. } => "its time has not begun".to_owned(),
        webpki::Error::RequiredEkuNotFoundContext(_) => "its extended key usage is another".to_owned(),
        other => other.to_string(),
    }
}

/// Lets in what names a node, and nothing else.
#[derive(Debug)]
struct OnlyNodes(Arc<dyn ClientCertVerifier>);

/// A certificate of the authority that names no node.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct NotANode(String);

impl ClientCertVerifier for OnlyNodes {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.0.verify_client_cert(certificate, between, now)?;
        let named = identity::node_of(certificate).map_err(|error| error.to_string());
        match named.and_then(|node| node.ok_or_else(|| "the certificate names no node".to_owned())) {
            Ok(_) => Ok(verified),
            Err(what) => {
                Err(Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(NotANode(what))))))
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
