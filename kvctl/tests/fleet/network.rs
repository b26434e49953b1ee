//! Several hosts on one machine: each in a network namespace of its own, with an address of its own, on one wire. Links are
//! cut in one direction or both, silently, as a broken switch would do it: packets vanish, and nobody is told.
//!
//! ```text
//!   host 1          host 2          host 3         a namespace each: 10.77.0.1, 10.77.0.2, …
//!     │ eth0          │ eth0          │ eth0       packets are dropped here, by iptables
//!   ──┴───────────────┴───────────────┴────────    a bridge in one more namespace, the quay
//!                   quay: 10.77.0.254              where the story itself is told, with its clients
//! ```
//!
//! Nothing of it touches the machine's own network: no route, no rule, no interface. The namespaces go when the network is
//! dropped, also when the story fails. Those of a test process that was killed are removed by the next one.
//!
//! It needs root, `ip` and `iptables`. Elsewhere a story prints `SKIPPED` with the reason; where `FLOTILLA_REQUIRE` names
//! `network`, that is a failure.

use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::panic::resume_unwind;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use std::{fs, thread};

use rustix::process::geteuid;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::runtime::Builder;
use tokio::task::JoinHandle;

use crate::skips;

/// Where `ip netns` keeps its names.
const NAMES: &str = "/run/netns";

/// The first part of all names, before the process id.
const PREFIX: &str = "flotilla-";

/// The host number of the quay.
const QUAY: u64 = 254;

/// No story takes longer, whatever happens.
const STORY_MAX: Duration = Duration::from_secs(180);

/// Networks that this process made.
static MADE: AtomicU64 = AtomicU64::new(0);

/// Which packets of a host are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// All that it sends and all that is sent to it.
    Both,
    /// What is sent to it: it speaks, and hears nothing.
    Deaf,
    /// What it sends: it hears, and nobody hears it.
    Mute,
}

/// Hosts on one wire.
#[derive(Debug)]
pub struct Network {
    name: String,
    hosts: u64,
}

/// Tells a story on the quay of a network of so many hosts: what it connects to and starts by itself, it does from there.
pub fn story(hosts: u64, tell: impl AsyncFnOnce(Arc<Network>) + Send) {
    let network = match Network::make(hosts) {
        Ok(network) => Arc::new(network),
        Err(reason) => return skips::skip("network", &reason),
    };
    network.on(QUAY, || {
        // Its threads are started from this one, so they are on the quay too.
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let told = async || tokio::time::timeout(STORY_MAX, tell(Arc::clone(&network))).await;
        runtime.block_on(told()).expect("the story ends in time");
    });
}

impl Network {
    /// The reason why it cannot be had here, if so.
    fn make(hosts: u64) -> Result<Self, String> {
        if !geteuid().is_root() {
            return Err("network namespaces need root".to_string());
        }
        sweep();
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{number}", std::process::id());
        // Dropped on the way out of a failure, with what is there already.
        let network = Self { name, hosts };
        let quay = network.host(QUAY);
        ip(&format!("netns add {quay}"))?;
        ip(&format!("-n {quay} link set lo up"))?;
        ip(&format!("-n {quay} link add wire type bridge"))?;
        ip(&format!("-n {quay} address add {}/24 dev wire", Self::address(QUAY)))?;
        ip(&format!("-n {quay} link set wire up"))?;
        for id in 1..=hosts {
            let host = network.host(id);
            ip(&format!("netns add {host}"))?;
            ip(&format!("-n {host} link set lo up"))?;
            ip(&format!("-n {quay} link add port{id} type veth peer name eth0 netns {host}"))?;
            ip(&format!("-n {quay} link set port{id} master wire up"))?;
            ip(&format!("-n {host} address add {}/24 dev eth0", Self::address(id)))?;
            ip(&format!("-n {host} link set eth0 up"))?;
        }
        network.on(1, || run("iptables", "-w 5 -S"))?;
        Ok(network)
    }

    /// A host's address.
    pub fn address(id: u64) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, 0, u8::try_from(id).unwrap())
    }

    fn host(&self, id: u64) -> String {
        format!("{}-{id}", self.name)
    }

    /// Does something on a host: what it starts and connects to, threads and processes included, is there.
    pub fn on<T: Send>(&self, id: u64, act: impl FnOnce() -> T + Send) -> T {
        let name = Path::new(NAMES).join(self.host(id));
        let act = || {
            let space = File::open(name).unwrap();
            // Of this thread alone, and of those that it starts.
            move_into_link_name_space(space.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            act()
        };
        thread::scope(|scope| scope.spawn(act).join()).unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// Somebody who lives on a host until `live` ends.
    pub fn ashore<T: Send + 'static>(
        self: &Arc<Self>,
        id: u64,
        live: impl AsyncFnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        let network = Arc::clone(self);
        tokio::task::spawn_blocking(move || {
            network.on(id, || Builder::new_current_thread().enable_all().build().unwrap().block_on(live()))
        })
    }

    /// Loses packets between a host and all others, the quay among them.
    pub fn cut(&self, id: u64, cut: Cut) {
        self.lose(id, cut, None);
    }

    /// Loses packets between a host and one other.
    pub fn part(&self, id: u64, cut: Cut, other: u64) {
        self.lose(id, cut, Some(other));
    }

    fn lose(&self, id: u64, cut: Cut, other: Option<u64>) {
        let named = |flag| other.map_or(String::new(), |other| format!("{flag} {}", Self::address(other)));
        let (from, to) = (named("--source"), named("--destination"));
        self.on(id, || {
            if cut != Cut::Mute {
                run("iptables", &format!("-w 5 -A INPUT -i eth0 {from} -j DROP")).unwrap();
            }
            if cut != Cut::Deaf {
                run("iptables", &format!("-w 5 -A OUTPUT -o eth0 {to} -j DROP")).unwrap();
            }
        });
    }

    /// Loses no more packets of a host.
    pub fn heal(&self, id: u64) {
        self.on(id, || run("iptables", "-w 5 -F")).unwrap();
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for id in (1..=self.hosts).chain([QUAY]) {
            remove(&self.host(id));
        }
    }
}

/// Removes what killed test processes left.
fn sweep() {
    let Ok(names) = fs::read_dir(NAMES) else { return };
    for name in names.flatten().filter_map(|entry| entry.file_name().into_string().ok()) {
        let pid = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        if pid.is_some_and(|pid| pid.parse::<u32>().is_ok() && !Path::new("/proc").join(pid).exists()) {
            remove(&name);
        }
    }
}

fn remove(name: &str) {
    if Path::new(NAMES).join(name).exists()
        && let Err(error) = ip(&format!("netns delete {name}"))
    {
        eprintln!("{error}");
    }
}

fn ip(arguments: &str) -> Result<(), String> {
    run("ip", arguments)
}

fn run(program: &str, arguments: &str) -> Result<(), String> {
    let mut command = Command::new(program);
    // They live where not everybody's path leads.
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").stdin(Stdio::null());
    let output = command.args(arguments.split_whitespace()).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    let words = String::from_utf8_lossy(&output.stderr);
    output.status.success().then_some(()).ok_or_else(|| format!("{program} {arguments}: {}", words.trim()))
}
