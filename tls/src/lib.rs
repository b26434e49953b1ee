//! Who is who on a connection: certificates, and the streams that they protect.
//!
//! ```text
//!   --tls-cert --tls-key --tls-ca ──▶ files ──▶ credentials ──▶ accept(door, stream)      who asks? ──▶ Caller
//!        read again: look()            │        (the old ones   connect(endpoint, whom)   who answers? ──▶ Whom
//!                                      └ broken: refused         │
//!                                        go on)                  └ nothing is said before both know each other
//! ```
//!
//! One authority signs all certificates of a fleet. A node's names the node, as `flotilla://node/ID`; who has another one is a
//! client. Three doors ask for different things ([`Door`]): the peer address for a node, the client address for anybody whom
//! the authority knows, the HTTP address takes a certificate where there is one.
//!
//! Without certificates nothing here is on the path of a byte but a `match` ([`Stream::Clear`]).
//!
//! Reading order: `identity.rs` (who a certificate names), `files.rs` (files become credentials), `credentials.rs` (what each
//! door demands), this file, `stream.rs`, `connector.rs`, `cleartext.rs` (who wants TLS), `refusal.rs`, `der.rs`.
//!
//! What it does not do: revocation (an authority takes a certificate back by being replaced), session tickets (a second
//! handshake is judged like the first), TLS 1.2. A connection that stands is not judged again when its certificate expires.

mod cleartext;
mod connector;
mod credentials;
mod der;
mod files;
mod identity;
mod refusal;
mod stream;

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustls::pki_types::UnixTime;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;

pub use cleartext::wants_tls;
pub use connector::{DialError, Whom, connect, connect_lazy};
pub use files::{Files, TlsError};
pub use refusal::{Reason, Refusal};
pub use stream::{CallInfo, Caller, Stream};

use credentials::Credentials;
use files::Material;

/// A client looks at its files again this often at most, when it connects. Servers look by themselves.
const CLIENT_LOOK_INTERVAL: Duration = Duration::from_secs(10);

/// What a certificate must say of the process that has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// It is this node, and serves at these hosts.
    Node {
        /// Its id.
        id: flotilla_topology::NodeId,
        /// Names or addresses by which others reach it.
        hosts: Vec<String>,
    },
    /// It serves.
    Server,
    /// It only asks.
    Client,
}

/// Where a connection comes in, which decides who may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// Nodes only.
    Peer,
    /// Whoever has a certificate of the authority.
    Client,
    /// Anybody; who shows a certificate is known. HTTP/1.1.
    Http,
}

/// The credentials of a process, as its files have them. Clones are handles of the same.
#[derive(Clone, Debug)]
pub struct Tls {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    files: Files,
    owner: Owner,
    now: RwLock<Arc<Credentials>>,
    looked: Mutex<Looked>,
}

/// What was found in the files.
#[derive(Debug)]
struct Looked {
    /// From what the credentials are, or what was refused since.
    last: Result<Material, String>,
    at: Instant,
}

/// What a look at the files found.
#[derive(Debug)]
pub enum Look {
    /// What was there before.
    Same,
    /// New credentials: handshakes from now on use them.
    Renewed,
    /// Something that is no use, for the first time. The old credentials go on.
    Refused(TlsError),
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// They cannot be read, do not fit together, have expired, or name somebody else.
    pub fn load(files: Files, owner: Owner) -> Result<Self, TlsError> {
        let material = files.read()?;
        let credentials = Credentials::new(&files, &material, &owner, UnixTime::now())?;
        let looked = Looked { last: Ok(material), at: Instant::now() };
        let (now, looked) = (RwLock::new(Arc::new(credentials)), Mutex::new(looked));
        Ok(Self { inner: Arc::new(Inner { files, owner, now, looked }) })
    }

    /// Reads the files again. Blocks on the disk.
    #[must_use]
    pub fn look(&self) -> Look {
        let Inner { files, owner, now, looked } = &*self.inner;
        let mut looked = looked.lock().unwrap_or_else(PoisonError::into_inner);
        looked.at = Instant::now();
        let found = files.read();
        let seen = match &found {
            Ok(material) => Ok(material.clone()),
            Err(error) => Err(error.to_string()),
        };
        if seen == looked.last {
            return Look::Same;
        }
        looked.last = seen;
        let made = found.and_then(|it| Credentials::new(files, &it, owner, UnixTime::now()));
        match made {
            Ok(credentials) => {
                *now.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(credentials);
                Look::Renewed
            }
            Err(error) => Look::Refused(error),
        }
    }

    /// When our certificate (or one between it and the authority) expires.
    #[must_use]
    pub fn expires(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(self.credentials().expires)
    }

    /// Takes a connection in: returns when both sides know each other. Whoever calls bounds the time that it may take.
    ///
    /// # Errors
    /// The other side is not who may come in here, or does not speak TLS.
    pub async fn accept<S>(&self, door: Door, stream: S) -> Result<Stream<S>, Refusal>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let acceptor = TlsAcceptor::from(self.credentials().server(door));
        let stream = acceptor.accept(stream).await.map_err(|error| Refusal::of(&error))?;
        let chain = stream.get_ref().1.peer_certificates();
        let caller = match chain.and_then(<[_]>::first) {
            None => Caller::Anonymous,
            Some(certificate) => {
                let node = identity::node_of(certificate);
                Caller::Certified(node.map_err(|error| Refusal::new(Reason::NotANode, error.to_string()))?)
            }
        };
        Ok(Stream::Encrypted(Box::new(stream), caller))
    }

    fn credentials(&self) -> Arc<Credentials> {
        Arc::clone(&self.inner.now.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// A client has nobody who looks for it: it does so where it is about to connect.
    async fn look_if_client(&self) {
        let looked = |inner: &Inner| inner.looked.lock().unwrap_or_else(PoisonError::into_inner).at.elapsed();
        if self.inner.owner == Owner::Client && looked(&self.inner) > CLIENT_LOOK_INTERVAL {
            let tls = self.clone();
            // Nobody to tell: what is refused leaves the old credentials, and the server says what it thinks of them.
            drop(tokio::task::spawn_blocking(move || drop(tls.look())).await);
        }
    }
}
