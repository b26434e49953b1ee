//! What goes wrong between nodes.

use flotilla_node::host::Input;
use flotilla_topology::NodeId;

use super::Fleet;

impl Fleet {
    /// Everybody else hears that a node's connections broke.
    pub fn silence(&mut self, node: NodeId) {
        for other in self.nodes() {
            if other != node && self.alive(other) {
                self.input(other, Input::PeerSilent { node });
            }
        }
    }

    /// Gives a node an input that nobody answers.
    pub fn tell(&mut self, node: NodeId, input: Input) {
        self.input(node, input);
    }

    /// Stops what flows from one node to another. One way.
    pub fn cut(&mut self, from: NodeId, to: NodeId) {
        self.cuts.insert((from, to));
    }

    /// Cuts a node off from all others, both ways.
    pub fn isolate(&mut self, node: NodeId) {
        for other in self.nodes() {
            self.cut(node, other);
            self.cut(other, node);
        }
    }

    /// The network is whole again.
    pub fn heal(&mut self) {
        self.cuts.clear();
    }
}
