//! A fleet in which everything is encrypted, and everybody has a certificate: it serves, a node comes back, certificates and even
//! the authority are replaced under load without a restart, and who has none is told so.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use flotilla_client::{Client, Files, Owner, Tls};
use flotilla_notary::{Authority, Issued, Subject};
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::task::JoinHandle;

use crate::patience::until;
use crate::ports;
use crate::process::Process;
use crate::stage::Ports;
use crate::tool::{ended, kvctl, output};

const NODES: u64 = 3;
/// Whoever fails within this has not waited for an election.
const PATIENT: Duration = Duration::from_secs(20);
/// So many writes are answered between two changes.
const CALM: u64 = 100;
/// How often the story begins anew when somebody took a port.
const STARTS_MAX: usize = 5;

/// The names under which certificates lie: three nodes and one that may join them, a router, a client.
const NAMES: [&str; 6] = ["n1", "n2", "n3", "n4", "router", "client"];

/// An encrypted fleet with a router.
pub struct House {
    folder: TempDir,
    pub ports: BTreeMap<u64, Ports>,
    router: [u16; 2],
    pub nodes: BTreeMap<u64, Process>,
    routing: Option<Process>,
}

impl House {
    pub async fn start(authority: &Authority) -> Self {
        for _ in 0..STARTS_MAX {
            let ports = (1..=NODES).map(|id| (id, Ports::free())).collect();
            let folder = tempfile::Builder::new().prefix("flotilla-").tempdir().unwrap();
            let mut house =
                Self { folder, ports, router: ports::free(), nodes: BTreeMap::new(), routing: None };
            house.certify(authority, &authority.certificate());
            (1..=NODES).for_each(|id| house.start_node(id));
            house.start_router();
            if house.first_ready().await {
                return house;
            }
        }
        panic!("somebody took a port of the fleet, {STARTS_MAX} times");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Gives everybody a new certificate of this authority, and says whom to trust.
    fn certify(&self, authority: &Authority, trusted: &str) {
        for name in NAMES {
            let subject = match name.strip_prefix('n').and_then(|id| id.parse().ok()) {
                Some(id) => Subject::node(id, ["127.0.0.1"]),
                None if name == "router" => Subject::server(name, ["127.0.0.1"]),
                None => Subject::client(name),
            };
            let Issued { certificate, key } = authority.issue(&subject);
            // One file for both, so that no look finds one without the other.
            replace(&self.path(&format!("{name}.pem")), &format!("{certificate}{key}"));
        }
        self.trust(trusted);
    }

    fn trust(&self, trusted: &str) {
        replace(&self.path("ca.pem"), trusted);
    }

    fn tls(&self, name: &str) -> Vec<String> {
        let file = |name: &str| self.path(name).to_str().unwrap().to_owned();
        let own = file(&format!("{name}.pem"));
        ["--tls-cert", &own, "--tls-key", &own, "--tls-ca", &file("ca.pem")].map(str::to_owned).to_vec()
    }

    pub fn start_node(&mut self, id: u64) {
        let named: Vec<String> =
            (1..=NODES).map(|id| format!("{id}={}", self.ports[&id].peer_addr())).collect();
        // Who is not of the founding joins.
        let mut args: Vec<String> = if id <= NODES {
            ["--id", &id.to_string(), "--shards", "4", "--init", &named.join(",")].map(str::to_owned).to_vec()
        } else {
            ["--id", &id.to_string(), "--join", &self.router_addr()].map(str::to_owned).to_vec()
        };
        args.extend(["--data-dir".to_owned(), self.path(&format!("d{id}")).to_str().unwrap().to_owned()]);
        args.extend(self.ports[&id].flags());
        args.extend(self.tls(&format!("n{id}")));
        let process = Process::start(&args, &self.path(&format!("n{id}.log")));
        self.nodes.insert(id, process);
    }

    fn start_router(&mut self) {
        let nodes: Vec<String> = self.ports.values().map(|ports| ports.client_addr()).collect();
        let mut args: Vec<String> = [
            "--nodes",
            &nodes.join(","),
            "--client-addr",
            &self.router_addr(),
            "--http-addr",
            &format!("127.0.0.1:{}", self.router[1]),
        ]
        .map(str::to_owned)
        .to_vec();
        args.extend(self.tls("router"));
        self.routing = Some(Process::start_as("kvrouter", &args, &self.path("router.log")));
    }

    pub fn router_addr(&self) -> String {
        format!("127.0.0.1:{}", self.router[0])
    }

    fn processes(&mut self) -> impl Iterator<Item = &mut Process> {
        self.nodes.values_mut().chain(&mut self.routing)
    }

    /// False: a process could not have one of its ports.
    async fn first_ready(&mut self) -> bool {
        until("the fleet is founded", async || {
            for process in self.processes() {
                if process.ended().is_some() {
                    assert!(process.words().contains("cannot listen on"), "{}", process.words());
                    return Some(false);
                }
            }
            self.is_well().await.then_some(true)
        })
        .await
    }

    async fn is_well(&self) -> bool {
        let status = self.ask("client", &self.router_addr(), &["status"]).await;
        status.status.success() && String::from_utf8_lossy(&status.stdout).contains("all is well")
    }

    async fn well(&self) {
        until("all is well", async || self.is_well().await.then_some(())).await;
    }

    /// Runs `kvctl` with the certificate of this name.
    pub async fn ask(&self, name: &str, endpoint: &str, args: &[&str]) -> Output {
        let mut command = kvctl(endpoint, args);
        command.args(self.tls(name));
        output(command).await
    }

    /// SIGHUP to everybody; returns when each has heard it and has read its files again, `count` times so far.
    async fn renew(&mut self, count: usize) {
        for process in self.processes() {
            process.signal(Signal::HUP);
        }
        // Each would find the new files by itself too, only later.
        self.all_said("SIGHUP: reading the certificate again", count).await;
        self.renewed(count).await;
    }

    async fn renewed(&mut self, count: usize) {
        self.all_said("the certificate was read again", count).await;
    }

    async fn all_said(&mut self, words: &str, count: usize) {
        until(&format!("everybody has said {words:?} {count} times"), async || {
            self.processes().all(|it| it.words().matches(words).count() == count).then_some(())
        })
        .await;
    }

    fn client_tls(&self) -> Tls {
        let own = self.path("client.pem");
        let files = Files { certificate: own.clone(), key: own, authority: self.path("ca.pem") };
        Tls::load(files, Owner::Client).unwrap()
    }

    async fn client(&self, endpoints: Vec<String>) -> Client {
        Client::builder(endpoints).deadline(PATIENT).tls(Some(self.client_tls())).build().await.unwrap()
    }

    fn node_addrs(&self) -> Vec<String> {
        self.ports.values().map(|ports| ports.client_addr()).collect()
    }
}

impl Drop for House {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for name in NAMES.into_iter().filter(|name| *name != "client") {
                let words = std::fs::read_to_string(self.path(&format!("{name}.log"))).unwrap_or_default();
                let lines: Vec<&str> = words.lines().collect();
                eprintln!("--- {name}:\n{}", lines[lines.len().saturating_sub(30)..].join("\n"));
            }
        }
    }
}

/// In one step: who reads finds the old one or the new one.
fn replace(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    std::fs::write(&beside, text).unwrap();
    std::fs::rename(&beside, path).unwrap();
}

/// Writes that go on, each of which must succeed.
struct Writing {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    task: JoinHandle<u64>,
}

impl Writing {
    fn start(client: Client) -> Self {
        let (stop, done) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (stopping, counting) = (Arc::clone(&stop), Arc::clone(&done));
        let task = tokio::spawn(async move {
            let mut count = 0;
            while !stopping.load(Ordering::Relaxed) {
                client.put(format!("key-{}", count % 64), format!("{count}")).await.unwrap();
                count += 1;
                counting.store(count, Ordering::Relaxed);
            }
            count
        });
        Self { stop, done, task }
    }

    /// Waits until some more were answered.
    async fn progress(&self) {
        let begun = self.done.load(Ordering::Relaxed);
        until("writes go on", async || {
            assert!(!self.task.is_finished(), "a write failed");
            (self.done.load(Ordering::Relaxed) >= begun + CALM).then_some(())
        })
        .await;
    }

    async fn end(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.expect("no write failed")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encrypted_fleet_serves_and_tells_who_has_no_certificate() {
    let authority = Authority::new("our fleet");
    let mut house = House::start(&authority).await;
    for (at, endpoint) in [house.router_addr()].into_iter().chain(house.node_addrs()).enumerate() {
        let key = format!("key{at}");
        ended(&house.ask("client", &endpoint, &["put", &key, "Bounty"]).await, 0);
        let got = house.ask("client", &endpoint, &["get", &key]).await;
        assert_eq!(got.stdout, b"Bounty", "{}", ended(&got, 0));
    }
    // A node goes and comes back.
    house.nodes.get_mut(&2).unwrap().kill();
    ended(&house.ask("client", &house.router_addr(), &["put", "without", "2", "--timeout", "20s"]).await, 0);
    house.start_node(2);
    house.well().await;

    // Nothing but TLS, and nobody without a certificate of this authority; what was not let in was surely not executed.
    let (router, node) = (house.router_addr(), house.ports[&1]);
    let plain = output(kvctl(&router, &["put", "k", "v"])).await;
    let said = ended(&plain, 3);
    assert!(said.contains("does it want --tls-cert"), "{said}");
    let other = Authority::new("another fleet").issue(&Subject::client("client"));
    replace(&house.path("other.pem"), &format!("{}{}", other.certificate, other.key));
    let said = ended(&house.ask("other", &router, &["put", "k", "v"]).await, 2);
    assert!(said.contains("--tls-cert") && said.contains("not signed by an authority of --tls-ca"), "{said}");
    // The peer address is not for clients.
    let said = ended(&house.ask("client", &node.peer_addr(), &["put", "k", "v"]).await, 3);
    assert!(said.contains("names no node"), "{said}");
    let got = house.ask("client", &router, &["get", "k"]).await;
    ended(&got, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_and_their_authority_are_replaced_while_writes_go_on() {
    let (old, new) = (Authority::new("the old one"), Authority::new("the new one"));
    let mut house = House::start(&old).await;
    let straight = Writing::start(house.client(house.node_addrs()).await);
    let through = Writing::start(house.client(vec![house.router_addr()]).await);
    straight.progress().await;
    through.progress().await;

    // Whoever trusts both can be shown either.
    house.trust(&format!("{}{}", old.certificate(), new.certificate()));
    house.renew(1).await;
    straight.progress().await;
    house.certify(&new, &format!("{}{}", old.certificate(), new.certificate()));
    house.renew(2).await;
    straight.progress().await;
    // Whoever is not told looks now and then.
    house.trust(&new.certificate());
    house.renewed(3).await;
    straight.progress().await;
    through.progress().await;

    // Each new connection is made with the new ones only. Whoever comes back makes all of its own anew; and in the end no
    // connection is left that a client made with the old ones.
    for id in [3, 2, 1] {
        house.nodes.get_mut(&id).unwrap().kill();
        house.start_node(id);
        house.well().await;
    }
    house.routing.as_mut().unwrap().kill();
    house.start_router();
    house.well().await;
    straight.progress().await;
    through.progress().await;
    let (one, two) = (straight.end().await, through.end().await);
    assert!(one > 0 && two > 0);
    let client = house.client(house.node_addrs()).await;
    assert!(client.get("key-0").await.unwrap().is_some());

    // The old authority's certificates are good for nothing any more.
    let Issued { certificate, key } = old.issue(&Subject::client("client"));
    let folder = house.path("past");
    std::fs::create_dir(&folder).unwrap();
    let own = folder.join("client.pem");
    replace(&own, &format!("{certificate}{key}"));
    replace(&folder.join("ca.pem"), &format!("{}{}", old.certificate(), new.certificate()));
    let mut command = kvctl(&house.router_addr(), &["put", "k", "v"]);
    command.arg("--tls-cert").arg(&own).arg("--tls-key").arg(&own).arg("--tls-ca").arg(folder.join("ca.pem"));
    let said = ended(&output(command).await, 3);
    assert!(said.contains("our certificate is not of its authority"), "{said}");
    // A broken file changes nothing.
    replace(&house.path("n1.pem"), "no certificate");
    let node = house.nodes.get_mut(&1).unwrap();
    node.signal(Signal::HUP);
    until("the broken file is refused", async || {
        node.words().contains("the changed certificate is no use").then_some(())
    })
    .await;
    house.well().await;
}
