//! `/`: the status as a page for people. It needs nothing but itself: no script, no picture, no other address.

use std::fmt::{Display, Write};

use super::report::{NodeReport, Report, ShardReport};

/// The slots of the whole ring.
const SLOTS: u16 = flotilla_topology::SLOTS;

/// Neighbouring numbers get far colours: a step of the golden angle, in degrees.
const HUE_STEP: u64 = 137;

/// What the eye needs, in light and dark.
const STYLE: &str = "\
:root{color-scheme:light dark;--dim:#667;--line:#8884;--bad:#b3261e}\
@media(prefers-color-scheme:dark){:root{--dim:#9aa;--bad:#ff8a80}}\
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:64rem;padding:0 1rem}\
table{border-collapse:collapse;width:100%;margin:.5rem 0 2rem}\
th,td{text-align:left;padding:.25rem .75rem .25rem 0;border-bottom:1px solid var(--line);white-space:nowrap}\
th{color:var(--dim);font-weight:500}p.dim,td.dim{color:var(--dim)}.bad{color:var(--bad)}\
div.scroll{overflow-x:auto}svg{width:13rem;height:13rem;float:right}i{display:inline-block;width:.8em;height:.8em;border-radius:50%}";

/// The page.
pub(super) fn html(report: &Report) -> String {
    let name = match report.node {
        Some(node) => format!("node {node}"),
        None => report.process.to_owned(),
    };
    let mut page = String::new();
    // Writing into a string cannot fail.
    let _ = write!(
        page,
        "<!doctype html><html lang=en><head><meta charset=utf-8><meta http-equiv=refresh content=5>\
         <meta name=viewport content=\"width=device-width\"><title>Flotilla: {name}</title><style>{STYLE}</style></head><body>\
         {}<h1>Flotilla: {name}</h1>",
        ring(&report.shards),
    );
    let _ = match &report.missing {
        None => write!(page, "<p>ready</p>"),
        Some(missing) => write!(page, "<p class=bad>not ready: {}</p>", escaped(missing)),
    };
    let cluster = report.cluster.as_deref().unwrap_or("not known yet");
    let _ = write!(
        page,
        "<p class=dim>cluster {cluster}, epoch {}, version {}</p>",
        report.epoch,
        crate::VERSION_LINE
    );
    page += &table(
        "Nodes",
        &["node", "client", "peer", "http", "line"],
        report.nodes.iter().map(|node| node_row(node, report.node)),
    );
    page += &table(
        "Shards",
        &["shard", "leader", "term", "address", "slots", "replicas on nodes"],
        report.shards.iter().map(shard_row),
    );
    if report.node.is_some() {
        let row = |it: &super::report::ReplicaReport| {
            row(&[&it.shard, &it.role, &it.applied, &it.slots, &it.keys, &it.bytes])
        };
        page += &table(
            "Replicas here",
            &["shard", "role", "applied", "slots", "keys", "bytes"],
            report.replicas.iter().map(row),
        );
    }
    page + "</body></html>\n"
}

fn table(title: &str, heads: &[&str], rows: impl Iterator<Item = String>) -> String {
    let heads: String = heads.iter().map(|head| format!("<th>{head}</th>")).collect();
    let rows: String = rows.collect();
    format!("<h2>{title}</h2><div class=scroll><table><tr>{heads}</tr>{rows}</table></div>")
}

fn row(cells: &[&dyn Display]) -> String {
    let cells: String = cells.iter().map(|cell| format!("<td>{cell}</td>")).collect();
    format!("<tr>{cells}</tr>")
}

fn node_row(node: &NodeReport, own: Option<u64>) -> String {
    let line = match node.connected {
        Some(true) => "connected",
        Some(false) => "<span class=bad>no connection</span>",
        None if own == Some(node.node) => "this node",
        None => "-",
    };
    let texts = [&node.client_addr, &node.peer_addr, &node.http_addr].map(|text| escaped(text));
    row(&[&node.node, &texts[0], &texts[1], &texts[2], &line])
}

fn shard_row(shard: &ShardReport) -> String {
    let leader = match shard.leader {
        Some(node) => format!("node {node}"),
        None => "<span class=bad>not known</span>".to_owned(),
    };
    let address = shard.leader_addr.as_deref().map_or("-".to_owned(), escaped);
    let nodes: Vec<String> = shard.replicas.iter().map(|placed| placed.node.to_string()).collect();
    let mark = format!("<i style=\"background:{}\"></i> {}", colour(shard.shard), shard.shard);
    row(&[&mark, &leader, &shard.term, &address, &shard.slots, &nodes.join(", ")])
}

/// The ring: each range of slots is an arc in its shard's colour.
fn ring(shards: &[ShardReport]) -> String {
    let mut arcs = String::new();
    for shard in shards {
        for [first, last] in &shard.ranges {
            let length = last - first + 1;
            let _ = write!(
                arcs,
                "<circle cx=60 cy=60 r=48 pathLength={SLOTS} stroke=\"{}\" stroke-dasharray=\"{length} {}\" stroke-dashoffset=-{first} />",
                colour(shard.shard),
                SLOTS - length,
            );
        }
    }
    format!(
        "<svg viewBox=\"0 0 120 120\" role=img aria-label=\"the ring of slots, by shard\">\
         <g fill=none stroke-width=16 transform=\"rotate(-90 60 60)\">{arcs}</g></svg>"
    )
}

fn colour(shard: u64) -> String {
    format!("hsl({} 60% 52%)", shard.wrapping_mul(HUE_STEP) % 360)
}

/// Text of others, as text in a page.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
#[path = "page_tests.rs"]
mod tests;
