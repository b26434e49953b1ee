//! Whether a node may say of itself what it says: what a message calls its sender must stand in the certificate of the connection.
//!
//! Else who has stolen the certificate of one node could play any other, and vote twice in one term.

use flotilla_daemon::tls::{Door, Gate};
use flotilla_tls::{CallInfo, Caller, Reason, Refusal};
use flotilla_topology::NodeId;
use tonic::Status;

/// What the certificate of one connection vouches for.
pub(super) struct Voucher {
    gate: Gate,
    caller: Caller,
    from: String,
}

impl Voucher {
    /// `info` is what the connection of a request says.
    pub(super) fn new(gate: &Gate, info: Option<&CallInfo>) -> Self {
        let remote = info.and_then(|info| info.tcp.remote_addr());
        Self {
            gate: gate.clone(),
            caller: info.map_or(Caller::Unasked, |info| info.caller),
            from: remote.map_or_else(String::new, |address| address.to_string()),
        }
    }

    /// Where the connection comes from.
    pub(super) fn from(&self) -> &str {
        &self.from
    }

    /// Whether the caller is this node. Without encryption everybody is believed.
    pub(super) fn check(&self, claimed: u64) -> Result<(), Status> {
        match (self.gate.tls(), self.caller) {
            (None, _) => Ok(()),
            (Some(_), Caller::Certified(Some(node))) if node == NodeId(claimed) => Ok(()),
            (Some(_), Caller::Certified(Some(node))) => {
                let text =
                    format!("it says that it is node {claimed}, but its certificate names node {}", node.0);
                Err(self.refuse(Reason::WrongNode, text))
            }
            (Some(_), _) => Err(self.no_node()),
        }
    }

    /// Whether the caller is some node.
    pub(super) fn check_any(&self) -> Result<(), Status> {
        match (self.gate.tls(), self.caller) {
            (None, _) | (Some(_), Caller::Certified(Some(_))) => Ok(()),
            (Some(_), _) => Err(self.no_node()),
        }
    }

    fn no_node(&self) -> Status {
        self.refuse(Reason::NotANode, "its certificate names no node".to_owned())
    }

    fn refuse(&self, reason: Reason, text: String) -> Status {
        self.gate.refused(Door::Peer, &self.from, &Refusal::new(reason, text.clone()));
        Status::unauthenticated(text)
    }
}
