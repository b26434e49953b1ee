//! Where a request comes in: is there a fleet, how long may it take, and is it to be forwarded or told the way?

use std::time::Duration;

use flotilla_client::dispatch::Target;
use flotilla_client::{Client, Forwarder};
use flotilla_proto::{status, v1};
use prost::Message;
use tokio::sync::OwnedSemaphorePermit;
use tonic::metadata::MetadataMap;
use tonic::{Request, Status};

use crate::fleet::Fleet;

/// Not worth asking again sooner, while no node has answered yet.
const RETRY_MS: u64 = 100;

/// An open door: what one request goes through.
pub(crate) struct Door {
    client: Client,
    /// Forwards within the time that the request has.
    pub(crate) forwarder: Forwarder,
    /// The request's share of what may be under way.
    _room: OwnedSemaphorePermit,
}

impl Door {
    /// Lets a request of so many bytes in, which may take so long here.
    pub(crate) fn open(fleet: &Fleet, within: Option<Duration>, bytes: usize) -> Result<Self, Status> {
        let client = fleet.client().ok_or_else(|| {
            status::unavailable(None, RETRY_MS, "this router has not found a node of its fleet yet")
        })?;
        let room = fleet.room().take(bytes)?;
        let within = within.map_or(fleet.deadline(), |asked| asked.min(fleet.deadline()));
        let forwarder = client.forwarder(within);
        Ok(Self { client, forwarder, _room: room })
    }

    /// Lets a request in that came by itself.
    pub(crate) fn open_for<T: Message>(fleet: &Fleet, request: Request<T>) -> Result<(Self, T), Status> {
        let within = patience(request.metadata());
        let message = request.into_inner();
        Ok((Self::open(fleet, within, message.encoded_len())?, message))
    }

    /// The way to the leader of a target, where a request with this `route_mode` asks for it; nothing where it is to be
    /// forwarded. From the route cache: the report of the highest (epoch, term).
    pub(crate) fn redirect(&self, route_mode: i32, target: Target) -> Result<Option<v1::Redirect>, Status> {
        match v1::RouteMode::try_from(route_mode) {
            Ok(v1::RouteMode::Proxy) => return Ok(None),
            Ok(v1::RouteMode::Redirect) => {}
            Err(_) => {
                return Err(status::invalid("route_mode", format!("there is no route mode {route_mode}")));
            }
        }
        let route = self.client.route(target);
        let route = route.ok_or_else(|| status::unavailable(None, RETRY_MS, "the shard is not known"))?;
        let (leader_node, leader_addr) = route.leader.map(|(node, addr)| (node.0, addr)).unwrap_or_default();
        Ok(Some(v1::Redirect {
            slot: u32::from(route.slot.number()),
            shard: route.shard.0,
            epoch: route.epoch.0,
            term: route.term.0,
            leader_node,
            leader_addr,
        }))
    }
}

/// How long a request may take here: a little less than its sender waits. When the sender's time is over, the gRPC layer
/// ends the request with a status that cannot say whether anything happened; before that, we can.
pub(crate) fn sooner(asked: Duration) -> Duration {
    asked / 10 * 9
}

/// How long a request may take here by its headers.
pub(crate) fn patience(metadata: &MetadataMap) -> Option<Duration> {
    let text = metadata.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let count: u64 = digits.parse().ok()?;
    // The units of the gRPC specification ("PROTOCOL-HTTP2", Timeout).
    let asked = match unit {
        "H" => Duration::from_secs(count.saturating_mul(3600)),
        "M" => Duration::from_secs(count.saturating_mul(60)),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return None,
    };
    Some(sooner(asked))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &'static str) -> Option<Duration> {
        let mut metadata = MetadataMap::new();
        metadata.insert("grpc-timeout", text.parse().unwrap());
        patience(&metadata)
    }

    #[test]
    fn a_request_ends_here_before_its_sender_gives_up() {
        assert_eq!(of("1S"), Some(Duration::from_millis(900)));
        assert_eq!(of("200m"), Some(Duration::from_millis(180)));
        assert_eq!(of("1000000u"), Some(Duration::from_millis(900)));
        assert_eq!(of("1H"), Some(Duration::from_secs(3240)));
        assert_eq!(patience(&MetadataMap::new()), None);
        for nonsense in ["", "S", "12", "12x", "-1S"] {
            assert_eq!(of(nonsense), None, "{nonsense:?}");
        }
    }
}
