//! What is compared: suites by name, each a page; panels, each a table and a plot; series, each a line; points, each a load.
//!
//! Pure: a suite is a list, and nothing is started or measured here.

use crate::fleet::{Door, Setup};

/// A page of results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Suite {
    /// Every suite below, sharing fleets where they can
    All,
    /// Writes at 1 to 1,024 clients
    Puts,
    /// Linearizable reads at 1 to 1,024 clients
    Gets,
    /// 80 reads to 20 writes
    Mix,
    /// Through a router beside straight to the leaders
    Router,
    /// 3, 5 and 7 nodes
    Nodes,
    /// 1, 8 and 64 shards
    Shards,
}

/// How much of a suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scale {
    Full,
    /// Enough to see that everything works.
    Quick,
}

/// One table and one plot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Panel {
    /// On whose page it stands.
    pub(crate) suite: Suite,
    /// The name of its plot's file.
    pub(crate) id: &'static str,
    pub(crate) title: &'static str,
    /// What is counted along the horizontal axis.
    pub(crate) axis: &'static str,
    pub(crate) series: Vec<Series>,
}

/// One line of a plot, one column of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Series {
    pub(crate) label: &'static str,
    /// Which of the plot's colours: the same series has the same one in every plot.
    pub(crate) hue: usize,
    pub(crate) points: Vec<Point>,
}

/// One load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Point {
    pub(crate) x: u32,
    pub(crate) clients: u32,
    pub(crate) mix: &'static str,
    pub(crate) setup: Setup,
    pub(crate) door: Door,
}

const NODES: u16 = 3;
const SHARDS: u32 = 8;
const REPLICAS: u16 = 3;

const FLOTILLA: Setup = Setup::Flotilla { nodes: NODES, shards: SHARDS, replicas: REPLICAS, router: false };
const ROUTED: Setup = Setup::Flotilla { nodes: NODES, shards: SHARDS, replicas: REPLICAS, router: true };
const ETCD: Setup = Setup::Etcd { nodes: NODES };

const PIPELINED: (&str, usize) = ("flotilla, pipelined", 0);
const TO_LEADERS: (&str, usize) = ("flotilla, unary to leaders", 1);
const UNARY: (&str, usize) = ("flotilla, unary", 2);
const THEIRS: (&str, usize) = ("etcd", 3);
const REDIS: (&str, usize) = ("redis (one server)", 4);

/// Loads whose shape does not depend on the number of clients have these.
const STEADY_CLIENTS: u32 = 256;

impl Suite {
    /// Every suite that is a page.
    pub(crate) const PAGES: [Self; 6] =
        [Self::Puts, Self::Gets, Self::Mix, Self::Router, Self::Nodes, Self::Shards];

    /// The name of its page.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Puts => "puts",
            Self::Gets => "gets",
            Self::Mix => "mix",
            Self::Router => "router",
            Self::Nodes => "nodes",
            Self::Shards => "shards",
        }
    }

    /// Its heading.
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::All => "Everything",
            Self::Puts => "Puts",
            Self::Gets => "Linearizable gets",
            Self::Mix => "80 reads to 20 writes",
            Self::Router => "Through a router",
            Self::Nodes => "3, 5 and 7 nodes",
            Self::Shards => "1, 8 and 64 shards",
        }
    }

    /// Everything that is measured for it.
    pub(crate) fn panels(self, scale: Scale) -> Vec<Panel> {
        match self {
            Self::All => Self::PAGES.iter().flat_map(|page| page.panels(scale)).collect(),
            Self::Puts => vec![by_clients(self, "puts", self.title(), "put", &clients(scale))],
            Self::Gets => vec![by_clients(self, "gets", self.title(), "get", &clients(scale))],
            Self::Mix => vec![by_clients(self, "mix", self.title(), "80/20", &some_clients(scale))],
            Self::Router => vec![
                routed("router-puts", "Puts through a router", "put", scale),
                routed("router-gets", "Gets through a router", "get", scale),
            ],
            Self::Nodes => vec![nodes(scale)],
            Self::Shards => vec![shards(scale)],
        }
    }
}

fn clients(scale: Scale) -> Vec<u32> {
    if scale == Scale::Quick { vec![1, 16] } else { vec![1, 16, 64, 256, 1024] }
}

fn some_clients(scale: Scale) -> Vec<u32> {
    if scale == Scale::Quick { vec![16] } else { vec![16, 64, 256] }
}

fn steady_clients(scale: Scale) -> u32 {
    if scale == Scale::Quick { 16 } else { STEADY_CLIENTS }
}

fn by_clients(
    suite: Suite,
    id: &'static str,
    title: &'static str,
    mix: &'static str,
    clients: &[u32],
) -> Panel {
    let line = |(label, hue): (&'static str, usize), setup: Setup, door: Door| Series {
        label,
        hue,
        points: clients.iter().map(|&clients| Point { x: clients, clients, mix, setup, door }).collect(),
    };
    let series = vec![
        line(PIPELINED, FLOTILLA, Door::Pipelined),
        line(TO_LEADERS, FLOTILLA, Door::UnaryToLeaders),
        line(UNARY, FLOTILLA, Door::Unary),
        line(THEIRS, ETCD, Door::Peer),
        line(REDIS, Setup::Redis, Door::Peer),
    ];
    Panel { suite, id, title, axis: "clients", series }
}

fn routed(id: &'static str, title: &'static str, mix: &'static str, scale: Scale) -> Panel {
    let clients = some_clients(scale);
    let line = |label: &'static str, hue: usize, door: Door| Series {
        label,
        hue,
        points: clients
            .iter()
            .map(|&clients| Point { x: clients, clients, mix, setup: ROUTED, door })
            .collect(),
    };
    let series = vec![
        line("pipelined, direct", 0, Door::Pipelined),
        line("pipelined, router", 4, Door::PipelinedThroughRouter),
        line("unary, any node", 2, Door::Unary),
        line("unary, router", 3, Door::UnaryThroughRouter),
    ];
    Panel { suite: Suite::Router, id, title, axis: "clients", series }
}

fn nodes(scale: Scale) -> Panel {
    let counts: &[u16] = if scale == Scale::Quick { &[3] } else { &[3, 5, 7] };
    let line = |label: &'static str, hue: usize, door: Door, setup: fn(u16) -> Setup| Series {
        label,
        hue,
        points: counts
            .iter()
            .map(|&count| Point {
                x: u32::from(count),
                clients: steady_clients(scale),
                mix: "put",
                setup: setup(count),
                door,
            })
            .collect(),
    };
    let three = |nodes| Setup::Flotilla { nodes, shards: SHARDS, replicas: REPLICAS, router: false };
    let everywhere = |nodes| Setup::Flotilla { nodes, shards: SHARDS, replicas: nodes, router: false };
    let series = vec![
        line("pipelined, 3 replicas", 0, Door::Pipelined, three),
        line("pipelined, on every node", 4, Door::Pipelined, everywhere),
        line("unary, 3 replicas", 2, Door::Unary, three),
        line("etcd, on every node", 3, Door::Peer, |nodes| Setup::Etcd { nodes }),
    ];
    Panel { suite: Suite::Nodes, id: "nodes", title: "Puts by nodes, 256 clients", axis: "nodes", series }
}

fn shards(scale: Scale) -> Panel {
    let counts: &[u32] = if scale == Scale::Quick { &[1, 8] } else { &[1, 8, 64] };
    let line = |(label, hue): (&'static str, usize), door: Door| Series {
        label,
        hue,
        points: counts
            .iter()
            .map(|&shards| Point {
                x: shards,
                clients: steady_clients(scale),
                mix: "put",
                setup: Setup::Flotilla { nodes: NODES, shards, replicas: REPLICAS, router: false },
                door,
            })
            .collect(),
    };
    let series = vec![
        line(PIPELINED, Door::Pipelined),
        line(TO_LEADERS, Door::UnaryToLeaders),
        line(UNARY, Door::Unary),
    ];
    Panel { suite: Suite::Shards, id: "shards", title: "Puts by shards, 256 clients", axis: "shards", series }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn puts_and_gets_are_measured_at_the_promised_numbers_of_clients() {
        for (suite, mix) in [(Suite::Puts, "put"), (Suite::Gets, "get")] {
            let panels = suite.panels(Scale::Full);
            assert_eq!((panels.len(), panels[0].series.len()), (1, 5));
            for series in &panels[0].series {
                let clients: Vec<u32> = series.points.iter().map(|point| point.clients).collect();
                assert_eq!(clients, [1, 16, 64, 256, 1024]);
                assert!(series.points.iter().all(|point| point.mix == mix && point.x == point.clients));
            }
        }
    }

    #[test]
    fn nodes_and_shards_change_only_what_they_say() {
        let nodes = &Suite::Nodes.panels(Scale::Full)[0];
        let setups: Vec<Setup> = nodes.series[3].points.iter().map(|point| point.setup).collect();
        assert_eq!(setups, [3, 5, 7].map(|nodes| Setup::Etcd { nodes }));
        assert_eq!(
            nodes.series[1].points[2].setup,
            Setup::Flotilla { nodes: 7, shards: 8, replicas: 7, router: false }
        );
        let shards = &Suite::Shards.panels(Scale::Full)[0];
        let counts: Vec<u32> = shards.series[0].points.iter().map(|point| point.x).collect();
        assert_eq!(counts, [1, 8, 64]);
        let all = nodes.series.iter().chain(&shards.series).flat_map(|series| &series.points);
        assert!(all.into_iter().all(|point| point.clients == STEADY_CLIENTS && point.mix == "put"));
    }

    #[test]
    fn all_is_every_page_and_no_two_plots_share_a_file() {
        let panels = Suite::All.panels(Scale::Full);
        let pages: BTreeSet<Suite> = panels.iter().map(|panel| panel.suite).collect();
        assert_eq!(pages, Suite::PAGES.into_iter().collect());
        let files: BTreeSet<&str> = panels.iter().map(|panel| panel.id).collect();
        assert_eq!(files.len(), panels.len());
    }

    #[test]
    fn the_quick_variant_has_the_same_lines_and_far_less_work() {
        let loads = |scale| -> usize {
            let panels = Suite::All.panels(scale);
            panels.iter().flat_map(|panel| &panel.series).map(|series| series.points.len()).sum()
        };
        assert!(loads(Scale::Quick) * 2 < loads(Scale::Full));
        let lines = |scale| -> Vec<&str> {
            let panels = Suite::All.panels(scale);
            panels.iter().flat_map(|panel| &panel.series).map(|series| series.label).collect()
        };
        assert_eq!(lines(Scale::Quick), lines(Scale::Full));
    }
}
