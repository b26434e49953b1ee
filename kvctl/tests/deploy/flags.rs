//! Everything in `deploy/` that starts a program is read by that program's own parser, and says the same as its neighbours.
//! A flag that was renamed, an address that nobody listens on: this is where it shows, and not on somebody's cluster.

use std::ffi::OsString;
use std::process::Command;

use flotilla_node::config::{Config as Node, Parsed as NodeParsed};
use flotilla_router::config::{Config as Router, Parsed as RouterParsed};

use crate::texts::{block, items, pairs, path, text, values};

/// What `kvnode` makes of arguments.
fn node(args: &[String]) -> Node {
    match flotilla_node::config::parse(with_name("kvnode", args)) {
        Ok(NodeParsed::Run(config)) => *config,
        other => panic!("kvnode {args:?}: {other:?}"),
    }
}

/// What `kvrouter` makes of arguments.
fn router(args: &[String]) -> Router {
    match flotilla_router::config::parse(with_name("kvrouter", args)) {
        Ok(RouterParsed::Run(config)) => *config,
        other => panic!("kvrouter {args:?}: {other:?}"),
    }
}

fn with_name(name: &str, args: &[String]) -> Vec<OsString> {
    [name].into_iter().map(OsString::from).chain(args.iter().map(OsString::from)).collect()
}

/// Variables as the flags that they stand for: `KVNODE_DATA_DIR: data` is `--data-dir data`.
fn as_flags(variables: &[(String, String)]) -> Vec<String> {
    let flag = |(name, value): &(String, String)| {
        let name = name.split_once('_').unwrap().1.to_lowercase().replace('_', "-");
        if value == "true" { vec![format!("--{name}")] } else { vec![format!("--{name}"), value.clone()] }
    };
    variables.iter().flat_map(flag).collect()
}

/// The port of an address.
fn port(address: &str) -> &str {
    address.rsplit_once(':').unwrap().1
}

/// Nodes that find each other: ids from 1, and each is told to others as all know it.
fn agree(nodes: &[Node]) {
    for (at, node) in nodes.iter().enumerate() {
        assert_eq!(node.id.0, at as u64 + 1);
        let init = |node: &Node| format!("{:?}", node.first_start.init);
        assert_eq!(init(node), init(&nodes[0]), "a fleet is founded by equals");
        assert_eq!(node.first_start.shards, nodes[0].first_start.shards);
        assert_eq!(node.first_start.replicas, nodes[0].first_start.replicas);
        assert_eq!(node.first_start.init.len(), nodes.len());
        let told = node.addresses.advertised_peer();
        let named = node.first_start.init.iter().find(|named| named.node == node.id);
        assert_eq!(named.map(|named| &named.peer_addr), Some(told), "node {}", node.id.0);
        for (bound, told) in [
            (&node.addresses.client_addr, node.addresses.advertised_client()),
            (&node.addresses.peer_addr, told),
        ] {
            assert_eq!(port(bound.as_str()), port(told.as_str()), "what is told is what is bound");
        }
    }
}

/// A router that knows all nodes.
fn knows(router: &Router, nodes: &[Node]) {
    let told: Vec<_> = nodes.iter().map(|node| node.addresses.advertised_client().clone()).collect();
    assert_eq!(router.nodes, told);
}

fn compose() -> (Vec<Node>, Router) {
    let compose = text("deploy/docker/compose.yaml");
    let common = pairs(&block(&compose, "x-environment: &environment"), "KVNODE_");
    let nodes = (1..=3).map(|id| {
        let own = pairs(&block(&compose, &format!("node{id}:")), "KVNODE_");
        node(&as_flags(&[common.clone(), own].concat()))
    });
    let router = router(&as_flags(&pairs(&block(&compose, "x-router: &router"), "KVROUTER_")));
    (nodes.collect(), router)
}

#[test]
fn the_compose_file_starts_a_fleet_that_agrees() {
    let (nodes, router) = compose();
    agree(&nodes);
    knows(&router, &nodes);
    for (id, node) in (1..).zip(&nodes) {
        assert!(node.addresses.insecure, "a private network is not loopback");
        assert_eq!(node.addresses.advertised_client().host(), format!("node{id}"), "the service's name");
    }
    let compose = text("deploy/docker/compose.yaml");
    let dockerfile = text("deploy/docker/Dockerfile");
    let exposed = dockerfile.lines().find_map(|line| line.strip_prefix("EXPOSE ")).unwrap();
    let exposed: Vec<&str> = exposed.split(' ').collect();
    let addresses = &nodes[0].addresses;
    let bound = [&addresses.client_addr, &addresses.peer_addr, &addresses.http_addr];
    let bound: Vec<&str> = bound
        .into_iter()
        .chain([&router.client_addr, &router.http_addr])
        .map(|addr| port(addr.as_str()))
        .collect();
    assert_eq!(exposed, bound);
    // The health check asks kvctl's endpoint.
    assert!(dockerfile.contains(&format!("KVCTL_ENDPOINT=127.0.0.1:{}", bound[0])));
    assert!(compose.contains(&format!("KVCTL_ENDPOINT: 127.0.0.1:{}", bound[3])));
    assert!(nodes[0].data_dir.starts_with("/var/lib/flotilla"), "the volume");
    assert!(dockerfile.contains("VOLUME /var/lib/flotilla\n"));
}

#[test]
fn prometheus_scrapes_what_the_compose_file_starts() {
    let (nodes, router) = compose();
    let scraped = text("deploy/prometheus/prometheus.yml");
    let http: Vec<String> = nodes.iter().map(|node| node.addresses.advertised_http()).collect();
    assert!(scraped.contains(&format!("targets: [{}]", http.join(", "))), "{http:?}");
    let port = port(router.http_addr.as_str());
    assert!(scraped.contains(&format!("targets: [router1:{port}, router2:{port}]")), "{port}");
}

/// The arguments with which the shell of a pod starts its node: the shell itself says so.
fn pod(ordinal: u64) -> Vec<String> {
    let manifest = text("deploy/kubernetes/nodes.yaml");
    assert!(manifest.contains(r#"command: ["/bin/sh", "-c"]"#));
    let script: Vec<&str> = block(&manifest, "- >-").iter().map(|line| line.trim()).collect();
    let folder = tempfile::tempdir().unwrap();
    let stub = folder.path().join("kvnode");
    std::fs::write(&stub, "#!/bin/sh\nprintf '%s\\n' \"$@\"\n").unwrap();
    std::fs::set_permissions(&stub, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut shell = Command::new("/bin/sh");
    shell.arg("-c").arg(script.join(" ")).env_clear().env("PATH", folder.path());
    let output = shell.env("HOSTNAME", format!("flotilla-{ordinal}")).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_string).collect()
}

#[test]
fn the_kubernetes_manifests_start_a_fleet_that_agrees() {
    let (nodes_file, routers_file) =
        (text("deploy/kubernetes/nodes.yaml"), text("deploy/kubernetes/routers.yaml"));
    let nodes: Vec<Node> = (0..3).map(|ordinal| node(&pod(ordinal))).collect();
    agree(&nodes);
    let args = items(&block(&routers_file, "command:"));
    assert_eq!(args[0], "kvrouter");
    let router = router(&args[1..]);
    knows(&router, &nodes);

    let addresses = &nodes[0].addresses;
    let bound = [&addresses.client_addr, &addresses.peer_addr, &addresses.http_addr];
    let bound: Vec<&str> = bound.iter().map(|addr| port(addr.as_str())).collect();
    // The headless service, then the container.
    assert_eq!(values(&nodes_file, "port")[..3], bound);
    assert_eq!(values(&nodes_file, "containerPort"), bound);
    assert!(nodes_file.contains(&format!("prometheus.io/port: \"{}\"", bound[2])));
    let bound = [port(router.client_addr.as_str()), port(router.http_addr.as_str())];
    assert_eq!(values(&routers_file, "port")[..2], bound);
    assert_eq!(values(&routers_file, "containerPort"), bound);
    assert!(routers_file.contains(&format!("prometheus.io/port: \"{}\"", bound[1])));

    // A pod's name is the set's with a number, and it is resolved by the headless service.
    assert_eq!(nodes[1].addresses.advertised_client().host(), "flotilla-1.flotilla");
    assert_eq!(values(&nodes_file, "serviceName"), ["flotilla"]);
    assert!(
        nodes_file.contains("publishNotReadyAddresses: true"),
        "a new fleet needs all before any is ready"
    );
    assert_eq!(values(&nodes_file, "maxUnavailable"), ["1"], "a quorum of three stays");
    let grace: u64 = values(&nodes_file, "terminationGracePeriodSeconds")[0].parse().unwrap();
    assert!(grace * 1000 > nodes[0].timing.shutdown_timeout_ms, "leaders have the time to move");
    // The image's user owns the disk.
    let dockerfile = text("deploy/docker/Dockerfile");
    let user = &values(&nodes_file, "runAsUser")[0];
    assert!(dockerfile.contains(&format!("--uid {user} ")), "{user}");
    assert_eq!(values(&nodes_file, "fsGroup"), [user.as_str()]);
    assert_eq!(values(&routers_file, "runAsUser"), [user.as_str()]);
    let mounted = &values(&nodes_file, "mountPath")[0];
    assert!(nodes[0].data_dir.starts_with(mounted), "all else cannot be written: {mounted}");
}

#[test]
fn the_units_start_what_the_example_files_say() {
    for (unit, program, example) in [
        ("kvnode@.service", "kvnode", "deploy/kvnode.toml"),
        ("kvrouter.service", "kvrouter", "deploy/kvrouter.toml"),
    ] {
        let unit = text(&format!("deploy/systemd/{unit}"));
        let start = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
        let mut words = start.split(' ');
        assert_eq!(words.next(), Some(format!("/usr/bin/{program}").as_str()));
        // The file that it names is the reader's own; the example stands for it.
        let args: Vec<String> = words
            .map(|word| if word.starts_with("/etc/flotilla/") { path(example) } else { word.to_string() })
            .collect();
        assert!(args.contains(&path(example)), "{start}");
        if program == "kvnode" {
            let node = node(&args);
            assert!(node.data_dir.starts_with("/var/lib/flotilla"), "StateDirectory");
            let stop: u64 =
                unit.lines().find_map(|line| line.strip_prefix("TimeoutStopSec=")).unwrap().parse().unwrap();
            assert!(stop * 1000 > node.timing.shutdown_timeout_ms);
        } else {
            router(&args);
        }
    }
}

#[test]
fn the_example_files_fit_each_other() {
    let first = node(&["--config".to_string(), path("deploy/kvnode.toml")]);
    let named = first.first_start.init.iter().find(|named| named.node == first.id).unwrap();
    assert_eq!(&named.peer_addr, first.addresses.advertised_peer());
    let by_file = router(&["--config".to_string(), path("deploy/kvrouter.toml")]);
    assert!(by_file.nodes.contains(&first.addresses.client_addr));
    // The same as flags, as the page shows them.
    let page = text("deploy/README.md");
    let (_, line) = page.split_once("or as flags: `kvrouter ").unwrap();
    let args: Vec<String> = line.split('`').next().unwrap().split(' ').map(str::to_string).collect();
    let by_flags = router(&args);
    assert_eq!(by_flags.nodes, by_file.nodes);
    assert_eq!((by_flags.client_addr, by_flags.http_addr), (by_file.client_addr, by_file.http_addr));
}
