//! At the address of a node somebody else answers who has a certificate of the authority: a mistake in the map, or a detour that
//! somebody with another node's certificate has built. Nobody of the fleet says anything there.

use flotilla_notary::{Authority, Subject};
use flotilla_proto::v1::raft_server::RaftServer;
use flotilla_tls::{Door, Files, Owner, Tls};
use flotilla_topology::NodeId;
use futures_util::stream;
use tokio::net::TcpListener;
use tonic::transport::Server;

use crate::encrypted::House;
use crate::idler::Idler;
use crate::patience::until;
use crate::stage::Ports;

/// Node 9 of the fleet, by its certificate, answers at this address.
async fn nine_listens(authority: &Authority, address: &str) -> Idler {
    let directory = tempfile::tempdir().unwrap();
    let paths = authority.write(directory.path(), "n9", &Subject::node(9, ["127.0.0.1"]));
    let files = Files { certificate: paths.certificate, key: paths.key, authority: paths.authority };
    let tls = Tls::load(files, Owner::Node { id: NodeId(9), hosts: Vec::new() }).unwrap();
    let incoming = stream::unfold(TcpListener::bind(address).await.unwrap(), move |listener| {
        let tls = tls.clone();
        async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                if let Ok(stream) = tls.accept(Door::Peer, socket).await {
                    return Some((std::io::Result::Ok(stream), listener));
                }
            }
        }
    });
    let idler = Idler::default();
    let server = Server::builder().add_service(RaftServer::new(idler.clone()));
    tokio::spawn(server.serve_with_incoming(Box::pin(incoming)));
    idler
}

#[tokio::test(flavor = "multi_thread")]
async fn who_answers_in_the_place_of_a_node_hears_nothing() {
    let authority = Authority::new("our fleet");
    let mut house = House::start(&authority).await;
    house.nodes.get_mut(&1).unwrap().kill();
    let nine = nine_listens(&authority, &house.ports[&1].peer_addr()).await;
    let wrong = "wanted node 1, but the certificate at its address names node 9";

    // The stream of messages.
    for id in [2, 3] {
        let dialled = async || house.nodes[&id].words().contains(wrong).then_some(());
        until(&format!("node {id} has found somebody else"), dialled).await;
    }
    // A node that joins asks the nodes of the meta shard, of which node 1 is the first.
    house.ports.insert(4, Ports::free());
    house.start_node(4);
    let address = house.ports[&4].client_addr();
    let serves =
        async || (house.ask("client", &address, &["get", "k"]).await.status.code() == Some(1)).then_some(());
    until("node 4 serves", serves).await;
    // So does one that tells of its new addresses.
    house.nodes.get_mut(&4).unwrap().kill();
    house.ports.insert(4, Ports { http: Ports::free().http, ..house.ports[&4] });
    house.start_node(4);
    let told = async || {
        let words = house.nodes[&4].words();
        words.lines().any(|line| line.contains("our new addresses") && line.contains(wrong)).then_some(())
    };
    until("node 4 has announced its new address", told).await;
    // The controller asks every node.
    let removal = ["node", "remove", "1", "--force", "--dry-run"];
    let planned = async || {
        let asked = house.ask("client", &house.router_addr(), &removal).await;
        asked.status.success().then_some(())
    };
    until("it is planned who replaces node 1", planned).await;

    assert_eq!(nine.heard(), Vec::<&str>::new(), "said to another node");
}
