//! The client: one value per program is enough, clones share everything.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use flotilla_proto::limits::{BATCH_BYTES_MAX, DEADLINE_MS_MAX};
use flotilla_proto::v1;
use flotilla_tls::Tls;
use flotilla_topology::{ShardId, Slot};

use crate::call::Call;
use crate::crew::{Crew, Options, wall_ms};
use crate::dispatch::{Effect, Operation, Target, Ticket};
use crate::value::ttl_ms;
use crate::{Error, Scan, ScanRange, Stale, Swap, Value, Version};

/// How much longer than the operation its request id stays good, so that an attempt that leaves just before the deadline
/// is still executed, and not refused as too late when it arrives.
const GRACE: Duration = Duration::from_secs(2);

/// The longest operation. The id of a write must not reach further than a shard promises to remember; the rest is room for
/// clocks that differ.
const DEADLINE_MAX: Duration = Duration::from_millis(DEADLINE_MS_MAX * 3 / 4);

const _: () = assert!(DEADLINE_MAX.as_millis() + GRACE.as_millis() < DEADLINE_MS_MAX as u128);

/// Speaks to a fleet. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    pub(crate) crew: Arc<Crew>,
}

/// How a client is made.
#[derive(Clone, Debug)]
pub struct Builder {
    endpoints: Vec<String>,
    options: Options,
}

impl Builder {
    /// How long one operation may take, all its attempts together. Default 5 s, at most 45 s (longer ones are cut).
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.options.deadline = deadline.min(DEADLINE_MAX);
        self
    }

    /// How long one attempt may take before another node is asked. Default 1 s.
    #[must_use]
    pub const fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.options.attempt = timeout;
        self
    }

    /// How long making a connection may take. Default 500 ms.
    #[must_use]
    pub const fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.options.connect = timeout;
        self
    }

    /// Whether everything goes through the endpoints, which forward it: for a client that cannot reach the nodes, only a
    /// router. Default false: straight to the shards' leaders, at the addresses that the nodes advertise.
    #[must_use]
    pub const fn through_endpoints(mut self, through: bool) -> Self {
        self.options.through_endpoints = through;
        self
    }

    /// How much of this client's operations may be under way at once, in bytes: keys and values, and 256 for each operation. Beyond
    /// it callers wait, within their deadline. Default 64 MiB; at least one operation always goes.
    #[must_use]
    pub const fn in_flight_bytes_max(mut self, bytes: usize) -> Self {
        self.options.in_flight_bytes_max = bytes;
        self
    }

    /// Encrypts all connections with these credentials ([`Tls::load`] with [`Owner::Client`](crate::Owner::Client)). Their files are
    /// read again when they have changed, for connections that are made from then on. Default: nothing is encrypted.
    #[must_use]
    pub fn tls(mut self, tls: Option<Tls>) -> Self {
        self.options.tls = tls;
        self
    }

    /// Makes the client and fetches the cluster map from whichever endpoint answers.
    ///
    /// # Errors
    ///
    /// There is no endpoint, none answered within the deadline, or the operating system has no random numbers.
    pub async fn build(self) -> Result<Client, Error> {
        if self.endpoints.is_empty() {
            return Err(Error::invalid("endpoints", "at least one is needed"));
        }
        let mut random = [0; 16];
        getrandom::fill(&mut random)
            .map_err(|error| Error::not_executed(format!("no random numbers: {error}")))?;
        let crew = Arc::new(Crew::new(self.endpoints, self.options, u128::from_be_bytes(random)));
        crew.fetch_map().await?;
        crew.watch_map();
        Ok(Client { crew })
    }
}

impl Client {
    /// Begins a client of the fleet in which these addresses (`host:port`) are nodes or routers. One that is up suffices.
    #[must_use]
    pub fn builder(endpoints: impl IntoIterator<Item = impl Into<String>>) -> Builder {
        let options = Options {
            deadline: Duration::from_secs(5),
            attempt: Duration::from_secs(1),
            connect: Duration::from_millis(500),
            through_endpoints: false,
            in_flight_bytes_max: 64 << 20,
            tls: None,
        };
        Builder { endpoints: endpoints.into_iter().map(Into::into).collect(), options }
    }

    /// Writes a value; it stays until it is overwritten or deleted.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub async fn put(&self, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Result<Version, Error> {
        self.put_with_ttl(key, value, None).await
    }

    /// Writes a value that ends after `ttl` of shard time, in whole ms; `None`: it stays.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub async fn put_with_ttl(
        &self,
        key: impl Into<Bytes>,
        value: impl Into<Bytes>,
        ttl: Option<Duration>,
    ) -> Result<Version, Error> {
        let (key, value) = (key.into(), value.into());
        let write = self.write(&key, value.len())?;
        let ttl_ms = ttl.map(ttl_ms);
        let (route_mode, request) = (self.crew.route_mode(), Some(write.id));
        let result = write.run(&v1::PutRequest { key, value, ttl_ms, route_mode, request }).await?;
        Ok(result.version)
    }

    /// Deletes a key. Whether it existed.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub async fn delete(&self, key: impl Into<Bytes>) -> Result<bool, Error> {
        let key = key.into();
        let write = self.write(&key, 0)?;
        let (route_mode, request) = (self.crew.route_mode(), Some(write.id));
        let result = write.run(&v1::DeleteRequest { key, route_mode, request }).await?;
        Ok(result.existed)
    }

    /// Writes a value if the key has the version `expected`, or, with 0, if there is no such key.
    ///
    /// # Errors
    ///
    /// See [`Error`]. That the comparison failed is no error.
    pub async fn compare_and_swap(
        &self,
        key: impl Into<Bytes>,
        expected: Version,
        value: impl Into<Bytes>,
    ) -> Result<Swap, Error> {
        self.compare_and_swap_with_ttl(key, expected, value, None).await
    }

    /// As [`compare_and_swap`](Self::compare_and_swap); the value ends after `ttl` of shard time, in whole ms; `None`: it stays.
    ///
    /// # Errors
    ///
    /// See [`Error`]. That the comparison failed is no error.
    pub async fn compare_and_swap_with_ttl(
        &self,
        key: impl Into<Bytes>,
        expected: Version,
        value: impl Into<Bytes>,
        ttl: Option<Duration>,
    ) -> Result<Swap, Error> {
        let (key, value) = (key.into(), value.into());
        let write = self.write(&key, value.len())?;
        let request = v1::CompareAndSwapRequest {
            key,
            value,
            ttl_ms: ttl.map(ttl_ms),
            expected_version: expected,
            route_mode: self.crew.route_mode(),
            request: Some(write.id),
        };
        let result = write.run(&request).await?;
        let current = result.current.map(Value::from);
        Ok(if result.swapped { Swap::Swapped(result.version) } else { Swap::Conflict(current) })
    }

    /// Reads a key: at least as new as everything that was answered before the call.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub async fn get(&self, key: impl Into<Bytes>) -> Result<Option<Value>, Error> {
        let result = self.read(key.into(), v1::Consistency::Linearizable).await?;
        Ok(result.record.map(Value::from))
    }

    /// Reads a key from whichever replica answers, and says how far behind that one may be. Also while the shard has no leader.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub async fn get_stale(&self, key: impl Into<Bytes>) -> Result<Stale, Error> {
        let result = self.read(key.into(), v1::Consistency::Stale).await?;
        let lag = result.lag.unwrap_or_default();
        Ok(Stale {
            value: result.record.map(Value::from),
            lag_entries: lag.entries,
            silence: Duration::from_millis(lag.silence_ms),
        })
    }

    /// The records of a range, in the order of their keys, over all shards. Each page of each shard shows one moment of it;
    /// the pages may show different moments. Needs to be called within a tokio runtime.
    #[must_use]
    pub fn scan(&self, range: ScanRange) -> Scan {
        Scan::start(&self.crew, range)
    }

    async fn read(&self, key: Bytes, consistency: v1::Consistency) -> Result<v1::GetResult, Error> {
        check(&key, 0)?;
        let operation = self.crew.operation(self.crew.aim(Target::Slot(Slot::of(&key))), Effect::Read);
        let route_mode = self.crew.route_mode();
        let request = v1::GetRequest { key, route_mode, consistency: consistency.into() };
        let result = self.crew.run(operation, &request).await?;
        if let Some(stamp) = &result.stamp {
            self.crew.clock().at_least(ShardId(stamp.shard), stamp.shard_time_ms, wall_ms());
        }
        Ok(result)
    }

    /// Begins a write: gives it its id, which all its attempts carry.
    fn write(&self, key: &Bytes, value_bytes: usize) -> Result<Write, Error> {
        check(key, value_bytes)?;
        Ok(self.begin_write(Slot::of(key)))
    }

    /// As `write`, of keys that were checked.
    pub(crate) fn begin_write(&self, slot: Slot) -> Write {
        let crew = Arc::clone(&self.crew);
        let target = Target::Slot(slot);
        let shard = match crew.chart.way(slot) {
            Some(way) => way.shard,
            None => crew.chart.read(|routes| routes.shard(target)).unwrap_or_default(),
        };
        let good_for = crew.options.deadline + GRACE;
        let good_for = u64::try_from(good_for.as_millis()).unwrap_or(u64::MAX);
        let deadline_ms = crew.clock().estimate(shard, wall_ms()).saturating_add(good_for);
        let (ticket, id) = {
            let mut requests = crew.requests();
            let ticket = requests.begin();
            let id = requests.id(&ticket, deadline_ms);
            (ticket, id)
        };
        let operation = crew.operation(crew.aim(target), Effect::Write);
        Write { operation, id, under_way: UnderWay { crew, ticket } }
    }
}

/// A write that has an id and was not answered yet.
pub(crate) struct Write {
    operation: Operation,
    pub(crate) id: v1::RequestId,
    under_way: UnderWay,
}

/// Ends the write when it goes away, also when its future is dropped in the middle: nobody will try it again then.
struct UnderWay {
    crew: Arc<Crew>,
    ticket: Ticket,
}

impl Write {
    pub(crate) async fn run<C: Call>(self, request: &C) -> Result<C::Answer, Error> {
        let crew = &self.under_way.crew;
        let answer = crew.run(self.operation, request).await?;
        if let Some(stamp) = C::stamp(&answer) {
            crew.clock().present(ShardId(stamp.shard), stamp.shard_time_ms, wall_ms());
        }
        Ok(answer)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.crew.requests().end(&self.ticket);
    }
}

/// What can be known to be wrong without asking. The fleet's own limits may be lower, and it will say so; but what does not
/// fit into a message at all would be refused by the gRPC layer, which cannot say that nothing happened.
pub(crate) fn check(key: &Bytes, value_bytes: usize) -> Result<(), Error> {
    if key.is_empty() {
        return Err(Error::invalid("key", "it is empty"));
    }
    let bytes = key.len().saturating_add(value_bytes);
    if bytes > BATCH_BYTES_MAX {
        let field = if key.len() > value_bytes { "key" } else { "value" };
        return Err(Error::invalid(
            field,
            format!("{bytes} bytes, at most {BATCH_BYTES_MAX} fit into a message"),
        ));
    }
    Ok(())
}
