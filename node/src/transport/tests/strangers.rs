//! An encrypted peer address: who reaches the node behind it, and who does not. What strangers do here is what a node does, so
//! that nothing but their certificate keeps them out.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use flotilla_daemon::metrics::Registry;
use flotilla_daemon::tls::Gate;
use flotilla_notary::{Authority, Paths, Subject};
use flotilla_proto::v1;
use flotilla_proto::v1::raft_client::RaftClient;
use flotilla_proto::v1::raft_server::Raft;
use flotilla_tls::{CallInfo, Caller, Files, Look, Owner, Tls, Whom};
use flotilla_topology::NodeId;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::codegen::Service;
use tonic::codegen::http::Uri;
use tonic::transport::server::TcpConnectInfo;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use super::side::{PATIENCE, SHARD, Side, beat, door, identity, options};
use super::snapshots::{filled, send};
use crate::transport::connection::explained;
use crate::transport::hello::Doorman;
use crate::transport::{Options, PeerEvent, PeerService, codec};

const HERE: [&str; 1] = ["127.0.0.1"];

fn owner(id: u64) -> Owner {
    Owner::Node { id: NodeId(id), hosts: HERE.map(str::to_owned).into() }
}

/// One authority, and where its certificates lie.
struct Office {
    authority: Authority,
    directory: TempDir,
}

impl Office {
    fn open() -> Self {
        Self { authority: Authority::new("our fleet"), directory: tempfile::tempdir().unwrap() }
    }

    fn paths(&self, name: &str, subject: &Subject) -> Paths {
        self.authority.write(self.directory.path(), name, subject)
    }

    /// What node `id` has, as the product reads it.
    fn tls(&self, id: u64) -> Tls {
        let Paths { certificate, key, authority } = self.paths(&format!("n{id}"), &Subject::node(id, HERE));
        Tls::load(Files { certificate, key, authority }, owner(id)).unwrap()
    }

    /// Node `id`, with a certificate that says so.
    fn node(&self, id: u64) -> Side {
        self.node_with(id, self.tls(id))
    }

    fn node_with(&self, id: u64, tls: Tls) -> Side {
        Side::start_as(identity(id, 1), Options { tls: Some(tls), ..options() }, "127.0.0.1:0")
    }

    /// Somebody who trusts our authority and shows a certificate that `signer` made, or none; and who does not look at it first.
    fn stranger(&self, shows: Option<(&Authority, &Subject)>) -> Stranger {
        let shows = shows.map(|(signer, subject)| signer.issue(subject));
        let mut config = self.authority.stranger(shows.as_ref());
        config.alpn_protocols = vec![b"h2".to_vec()];
        Stranger(Arc::new(config))
    }
}

/// Makes TLS connections, and judges nothing but the server's authority.
#[derive(Clone)]
struct Stranger(Arc<ClientConfig>);

impl Service<Uri> for Stranger {
    type Response = TokioIo<TlsStream<TcpStream>>;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connector = TlsConnector::from(Arc::clone(&self.0));
        Box::pin(async move {
            let stream = TcpStream::connect((uri.host().unwrap(), uri.port_u16().unwrap())).await?;
            let name = ServerName::try_from(uri.host().unwrap().to_owned()).unwrap();
            connector.connect(name, stream).await.map(TokioIo::new)
        })
    }
}

/// How a connection is made.
enum Way {
    Plain,
    Tls(Stranger),
    Product(Tls),
}

/// Says that it is node `claimed`, and sends a message; returns the answer's Hello.
fn attack(at: &Side, way: Way, claimed: u64) -> Result<v1::Hello, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let endpoint = Endpoint::from_shared(format!("http://{}", at.address)).unwrap();
    runtime.block_on(async move {
        let channel: Channel = match way {
            Way::Plain => endpoint.connect().await,
            Way::Tls(stranger) => endpoint.connect_with_connector(stranger).await,
            Way::Product(tls) => flotilla_tls::connect(endpoint, Some(&tls), Whom::Node(NodeId(1))).await,
        }
        .map_err(|error| innermost(&error))?;
        let said = |status: Status| format!("{:?}: {}", status.code(), status.message());
        let frames = vec![hello(claimed), message(666)];
        let answers = RaftClient::new(channel).frames(tokio_stream::iter(frames)).await;
        let mut answers = answers.map_err(said)?.into_inner();
        let first = answers.message().await.map_err(said)?.ok_or("nothing was answered")?;
        while answers.message().await.map_err(said)?.is_some() {}
        first.hello.ok_or("no Hello".to_owned())
    })
}

fn innermost(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), innermost)
}

fn hello(claimed: u64) -> v1::PeerFrame {
    let hello = Doorman::new(identity(claimed, 1), 1 << 20).hello(NodeId(1));
    v1::PeerFrame { hello: Some(hello), ..v1::PeerFrame::default() }
}

fn message(term: u64) -> v1::PeerFrame {
    v1::PeerFrame { messages: vec![codec::encode(SHARD, beat(term))], ..v1::PeerFrame::default() }
}

/// Node 2 talks to node 1, which has heard of nobody else so far.
fn only_the_honest_is_heard(office: &Office, one: &Side, term: u64) {
    let heard = one.unawaited();
    assert!(heard.is_empty(), "a stranger reached the node: {heard:?}");
    let two = office.node(2);
    two.knows(&[one]);
    two.await_connected(one);
    two.transport.send(NodeId(1), SHARD, beat(term));
    assert_eq!(one.await_terms(NodeId(2), term), [term]);
}

#[test]
fn nodes_with_certificates_of_one_authority_talk() {
    let office = Office::open();
    let (one, two) = (office.node(1), office.node(2));
    one.knows(&[&two]);
    two.knows(&[&one]);
    one.await_connected(&two);
    two.await_connected(&one);
    for (from, to) in [(&one, &two), (&two, &one)] {
        (1..=500).for_each(|term| from.transport.send(to.node, SHARD, beat(term)));
        assert_eq!(to.await_terms(from.node, 500), (1..=500).collect::<Vec<_>>());
    }
}

#[test]
fn whoever_is_no_node_of_this_authority_never_reaches_the_node() {
    let office = Office::open();
    let one = office.node(1);
    let elsewhere = Authority::new("our fleet");
    let two = Subject::node(2, HERE);
    let client = Subject::client("an honest client");
    let server_only = Subject::server("a router", HERE);
    let strangers = [
        ("plaintext", Way::Plain),
        ("no_certificate", Way::Tls(office.stranger(None))),
        ("unknown_authority", Way::Tls(office.stranger(Some((&elsewhere, &two))))),
        ("expired", Way::Tls(office.stranger(Some((&office.authority, &two.clone().expired()))))),
        ("not_a_node", Way::Tls(office.stranger(Some((&office.authority, &client))))),
        ("not_a_node", Way::Tls(office.stranger(Some((&office.authority, &server_only))))),
    ];
    let mut counts = std::collections::BTreeMap::new();
    for (reason, way) in strangers {
        let refused = attack(&one, way, 2).expect_err(reason);
        // A service that answers, even with a refusal, was reached: not every one of them asks who calls.
        assert!(!refused.contains("Unauthenticated"), "{reason}: refused behind the door: {refused}");
        let count = counts.entry(reason).or_insert(0);
        *count += 1;
        one.await_refused(reason, *count);
    }
    let heard = one.unawaited();
    assert!(heard.is_empty(), "a stranger reached the node: {heard:?}");
    // The same words from who may say them: what was refused was the certificate.
    let welcome = attack(&one, Way::Tls(office.stranger(Some((&office.authority, &two)))), 2).unwrap();
    assert_eq!((welcome.from_node, welcome.to_node), (1, 2));
    assert_eq!(one.await_terms(NodeId(2), 666), [666]);
    drop(one.unawaited());
    only_the_honest_is_heard(&office, &one, 7);
}

/// With a stolen certificate of node 2 somebody could else be node 3 too, and give both their votes.
#[test]
fn the_certificate_of_one_node_does_not_speak_for_another() {
    let office = Office::open();
    let one = office.node(1);
    let refused = attack(&one, Way::Product(office.tls(2)), 3).unwrap_err();
    assert!(refused.contains("says that it is node 3, but its certificate names node 2"), "{refused}");
    one.await_refused("wrong_node", 1);
    assert_eq!(one.transport.directory_of(NodeId(3)), None, "nothing of it was remembered");
    only_the_honest_is_heard(&office, &one, 8);
    // The same holds for questions.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let status = runtime.block_on(async {
        let endpoint = Endpoint::from_shared(format!("http://{}", one.address)).unwrap();
        let channel = flotilla_tls::connect(endpoint, Some(&office.tls(2)), Whom::Node(NodeId(1))).await;
        let mut client = RaftClient::new(channel.unwrap());
        let probe = v1::ProbeRequest { from_node: 3, directory: Some(9.into()) };
        assert_eq!(client.probe(probe).await.unwrap_err().code(), Code::Unauthenticated);
        let header = v1::SnapshotHeader { from_node: 3, ..v1::SnapshotHeader::default() };
        let chunk = v1::SnapshotChunk { header: Some(header), ..v1::SnapshotChunk::default() };
        assert_eq!(
            client.snapshot(tokio_stream::once(chunk)).await.unwrap_err().code(),
            Code::Unauthenticated
        );
        let adopt = v1::AdoptRequest { from_node: 3, ..v1::AdoptRequest::default() };
        assert_eq!(client.adopt(adopt).await.unwrap_err().code(), Code::Unauthenticated);
        let announce = v1::AnnounceRequest { node: 3, ..v1::AnnounceRequest::default() };
        assert_eq!(client.announce(announce).await.unwrap_err().code(), Code::Unauthenticated);
        client.join(v1::JoinRequest { node: 3, ..v1::JoinRequest::default() }).await.unwrap_err()
    });
    assert_eq!(status.code(), Code::Unauthenticated);
    one.await_refused("wrong_node", 6);
}

/// The door lets in nobody who is no node. Should it do so one day, each service still asks.
#[test]
fn behind_the_door_each_service_asks_again() {
    let (office, directory) = (Office::open(), tempfile::tempdir().unwrap());
    let gate = Gate::new(Some(office.tls(1)), &Registry::new());
    let service = PeerService::new(door(NodeId(1), directory.path()), gate);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for caller in [Caller::Unasked, Caller::Anonymous, Caller::Certified(None)] {
        let refused = runtime.block_on(async {
            [
                service.probe(by(caller, v1::ProbeRequest::default())).await.map(drop),
                service.adopt(by(caller, v1::AdoptRequest::default())).await.map(drop),
                service.announce(by(caller, v1::AnnounceRequest::default())).await.map(drop),
                service.join(by(caller, v1::JoinRequest::default())).await.map(drop),
                service.inspect(by(caller, v1::InspectRequest::default())).await.map(drop),
                service.change_members(by(caller, v1::ChangeMembersRequest::default())).await.map(drop),
                service.hand_over(by(caller, v1::HandOverRequest::default())).await.map(drop),
            ]
        });
        let codes = refused.map(|refused| refused.unwrap_err().code());
        assert_eq!(codes, [Code::Unauthenticated; 7], "{caller:?}");
    }
}

/// A request as it comes from this caller.
fn by<T>(caller: Caller, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let tcp = TcpConnectInfo { local_addr: None, remote_addr: None };
    request.extensions_mut().insert(CallInfo { tcp, caller });
    request
}

/// At the address of node 2 another node of the fleet answers: a mistake in the map, or a detour.
#[test]
fn who_dials_a_node_says_nothing_to_another() {
    let office = Office::open();
    let (one, three) = (office.node(1), office.node_with(2, office.tls(3)));
    // It would answer as node 2, but its certificate names node 3.
    one.knows(&[&three]);
    let honest = office.node(4);
    one.knows(&[&three, &honest]);
    one.await_connected(&honest);
    let answered = attack(&three, Way::Product(office.tls(1)), 1).unwrap_err();
    assert!(
        answered.contains("wanted node 1, but the certificate at its address names node 3"),
        "{answered}"
    );
    let sent = send(&one, &filled()).recv_timeout(PATIENCE).unwrap().unwrap_err().to_string();
    assert!(sent.contains("wanted node 2, but the certificate at its address names node 3"), "{sent}");
    let heard = three.unawaited();
    assert!(heard.is_empty(), "{heard:?}");
    let connected = |id| one.transport.peers().iter().any(|peer| peer.node == NodeId(id) && peer.connected);
    assert!(connected(4) && !connected(2));
}

#[test]
fn a_renewed_certificate_is_shown_to_the_next_connection_while_the_old_ones_stand() {
    let office = Office::open();
    let paths = office.paths("n1", &Subject::node(1, HERE));
    let files = Files {
        certificate: paths.certificate.clone(),
        key: paths.key.clone(),
        authority: paths.authority.clone(),
    };
    let tls = Tls::load(files, owner(1)).unwrap();
    let (one, two) = (office.node_with(1, tls.clone()), office.node(2));
    two.knows(&[&one]);
    two.await_connected(&one);

    // Half of a renewal: the key is not there yet.
    let renewed = office.authority.issue(&Subject::node(1, HERE));
    std::fs::write(&paths.certificate, &renewed.certificate).unwrap();
    let Look::Refused(error) = tls.look() else { panic!("a certificate without its key was taken") };
    assert!(error.to_string().starts_with("--tls-key"), "{error}");
    assert!(matches!(tls.look(), Look::Same), "said once");
    let three = office.node(3);
    three.knows(&[&one]);
    three.await_connected(&one);

    // The whole of it.
    std::fs::write(&paths.key, &renewed.key).unwrap();
    assert!(matches!(tls.look(), Look::Renewed));
    let four = office.node(4);
    four.knows(&[&one]);
    four.await_connected(&one);

    // A certificate of another node, or an expired one, is no renewal.
    for wrong in [Subject::node(2, HERE), Subject::node(1, HERE).expired(), Subject::client("x")] {
        let wrong = office.authority.issue(&wrong);
        std::fs::write(&paths.certificate, &wrong.certificate).unwrap();
        std::fs::write(&paths.key, &wrong.key).unwrap();
        assert!(matches!(tls.look(), Look::Refused(_)));
    }
    std::fs::remove_file(&paths.key).unwrap();
    assert!(matches!(tls.look(), Look::Refused(_)));
    let five = office.node(5);
    five.knows(&[&one]);
    five.await_connected(&one);

    for (side, term) in [(&two, 2), (&three, 3), (&four, 4), (&five, 5)] {
        side.transport.send(NodeId(1), SHARD, beat(term));
        assert_eq!(one.await_terms(side.node, term), [term]);
        let lost =
            side.unawaited().into_iter().filter(|event| matches!(event, PeerEvent::Lost { .. })).count();
        assert_eq!(lost, 0, "{}: its connection broke", side.node);
    }
}

#[test]
fn who_dials_a_fleet_with_certificates_without_one_is_told_so() {
    let office = Office::open();
    let (encrypted, clear) = (office.node(1), Side::start(2));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let said = |at: &Side, code, message| {
        let address = at.address.to_string();
        let explained = runtime.block_on(explained(&address, Status::new(code, message), None));
        explained.message().to_owned()
    };
    assert!(said(&encrypted, Code::Unknown, "transport error").starts_with("it wants TLS"));
    assert_eq!(said(&encrypted, Code::FailedPrecondition, "not yours"), "not yours", "it has answered");
    assert_eq!(said(&clear, Code::Unknown, "transport error"), "transport error");
    assert_ne!(said(&clear, Code::Unavailable, ""), "");
}
