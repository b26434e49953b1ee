//! A `Kv` in memory, behind the HTTP address.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use flotilla_daemon::http::{self, Options, Process, Report};
use flotilla_daemon::tls::Gate;
use flotilla_proto::v1;
use flotilla_proto::v1::kv_server::Kv;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_stream::Stream;
use tonic::{Request, Response, Status, Streaming};

/// The longest value.
pub const VALUE_BYTES_MAX: usize = 64;

/// Keys, values, and what goes wrong next.
#[derive(Clone, Default)]
pub struct FakeKv {
    pub records: Arc<Mutex<BTreeMap<Bytes, v1::Record>>>,
    pub failure: Arc<Mutex<Option<Status>>>,
    pub silent: Arc<Mutex<bool>>,
}

type Pages<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl FakeKv {
    async fn begin(&self) -> Result<(), Status> {
        if *self.silent.lock().unwrap() {
            std::future::pending::<()>().await;
        }
        self.failure.lock().unwrap().take().map_or(Ok(()), Err)
    }

    fn version(&self, key: &Bytes) -> u64 {
        self.records.lock().unwrap().get(key).map_or(0, |record| record.version)
    }

    fn write(&self, key: Bytes, value: Bytes, ttl_ms: Option<u64>) -> u64 {
        let mut records = self.records.lock().unwrap();
        let version = 10 + records.values().map(|record| record.version).max().unwrap_or_default();
        records.insert(key, v1::Record { value, version, expires_ms: ttl_ms.map(|ttl| 1_000 + ttl) });
        version
    }
}

fn stamp() -> Option<v1::Stamp> {
    Some(v1::Stamp { shard: 3, term: 1, version: 9, shard_time_ms: 1_000 })
}

#[tonic::async_trait]
impl Kv for FakeKv {
    async fn get(&self, request: Request<v1::GetRequest>) -> Result<Response<v1::GetResponse>, Status> {
        self.begin().await?;
        let it = request.into_inner();
        let record = self.records.lock().unwrap().get(&it.key).cloned();
        let lag =
            (it.consistency() == v1::Consistency::Stale).then_some(v1::Lag { entries: 2, silence_ms: 0 });
        let result = v1::GetResult { record, lag, stamp: stamp() };
        Ok(Response::new(v1::GetResponse { outcome: Some(v1::get_response::Outcome::Result(result)) }))
    }

    async fn put(&self, request: Request<v1::PutRequest>) -> Result<Response<v1::PutResponse>, Status> {
        self.begin().await?;
        let it = request.into_inner();
        let version = self.write(it.key, it.value, it.ttl_ms);
        let result = v1::PutResult { version, stamp: stamp() };
        Ok(Response::new(v1::PutResponse { outcome: Some(v1::put_response::Outcome::Result(result)) }))
    }

    async fn delete(
        &self,
        request: Request<v1::DeleteRequest>,
    ) -> Result<Response<v1::DeleteResponse>, Status> {
        self.begin().await?;
        let existed = self.records.lock().unwrap().remove(&request.into_inner().key).is_some();
        let result = v1::DeleteResult { existed, stamp: stamp() };
        Ok(Response::new(v1::DeleteResponse { outcome: Some(v1::delete_response::Outcome::Result(result)) }))
    }

    async fn compare_and_swap(
        &self,
        request: Request<v1::CompareAndSwapRequest>,
    ) -> Result<Response<v1::CompareAndSwapResponse>, Status> {
        self.begin().await?;
        let it = request.into_inner();
        let current = self.records.lock().unwrap().get(&it.key).cloned();
        let swapped = self.version(&it.key) == it.expected_version;
        let version = if swapped { self.write(it.key, it.value, it.ttl_ms) } else { 0 };
        let result = v1::CompareAndSwapResult { swapped, version, current, stamp: stamp() };
        let outcome = v1::compare_and_swap_response::Outcome::Result(result);
        Ok(Response::new(v1::CompareAndSwapResponse { outcome: Some(outcome) }))
    }

    /// Only what a deletion that compares needs.
    async fn txn(&self, request: Request<v1::TxnRequest>) -> Result<Response<v1::TxnResponse>, Status> {
        use v1::txn_operation_result::Result as Done;
        let it = request.into_inner();
        let [compare] = &it.compares[..] else { panic!("one comparison: {it:?}") };
        let Some(v1::compare::Condition::Version(expected)) = compare.condition else { panic!("{it:?}") };
        let record = self.records.lock().unwrap().get(&compare.key).cloned();
        let succeeded = self.version(&compare.key) == expected;
        let done = if succeeded {
            let existed = self.records.lock().unwrap().remove(&compare.key).is_some();
            Done::Delete(v1::TxnDeleteResult { existed })
        } else {
            Done::Get(v1::TxnGetResult { record })
        };
        let results = vec![v1::TxnOperationResult { result: Some(done) }];
        let result = v1::TxnResult { succeeded, results, values_forgotten: false, stamp: stamp() };
        Ok(Response::new(v1::TxnResponse { outcome: Some(v1::txn_response::Outcome::Result(result)) }))
    }

    type ScanStream = Pages<v1::ScanResponse>;

    async fn scan(&self, _: Request<v1::ScanRequest>) -> Result<Response<Self::ScanStream>, Status> {
        Err(Status::unimplemented("nobody scans here"))
    }

    type PipelineStream = Pages<v1::PipelineResponse>;

    async fn pipeline(
        &self,
        _: Request<Streaming<v1::PipelineRequest>>,
    ) -> Result<Response<Self::PipelineStream>, Status> {
        Err(Status::unimplemented("nobody pipelines here"))
    }
}

/// A process around it.
pub struct FakeProcess {
    kv: FakeKv,
    pub open: Mutex<bool>,
}

impl Process for FakeProcess {
    type Kv = FakeKv;

    fn kv(&self) -> Option<FakeKv> {
        self.open.lock().unwrap().then(|| self.kv.clone())
    }

    async fn missing(&self) -> Option<String> {
        (!*self.open.lock().unwrap()).then(|| "no fleet".to_owned())
    }

    async fn report(&self) -> Report {
        Report::of_router(vec!["a:1".into()], 5)
    }

    async fn metrics(&self) -> String {
        "kv_process_uptime_seconds 5\n".to_owned()
    }
}

/// The HTTP address of a fake process.
pub struct Stage {
    pub kv: FakeKv,
    pub process: Arc<FakeProcess>,
    pub address: String,
    shut: oneshot::Sender<()>,
    ended: JoinHandle<std::io::Result<()>>,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    head: String,
    pub body: Vec<u8>,
}

impl Answer {
    /// A header's value; empty: it is not there.
    pub fn header(&self, name: &str) -> &str {
        let line = self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.unwrap_or_default()
    }

    /// The error in the body.
    #[track_caller]
    pub fn error(&self) -> serde_json::Value {
        assert_eq!(self.header("content-type"), "application/json", "{self:?}");
        let body: serde_json::Value = serde_json::from_slice(&self.body).unwrap();
        body["error"].clone()
    }
}

impl Stage {
    pub async fn set() -> Self {
        Self::set_behind(Gate::open()).await
    }

    pub async fn set_behind(gate: Gate) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let kv = FakeKv::default();
        let process = Arc::new(FakeProcess { kv: kv.clone(), open: Mutex::new(true) });
        let options = Options { value_bytes_max: VALUE_BYTES_MAX, patience: Duration::from_millis(200) };
        let (shut, shutdown) = oneshot::channel::<()>();
        let served = Arc::clone(&process);
        let serving = async move {
            http::serve(listener, &gate, served, options, async { drop(shutdown.await) }).await
        };
        Self { kv, process, address, shut, ended: tokio::spawn(serving) }
    }

    /// Sends these bytes, and nothing behind them; reads until the other side is done.
    pub async fn raw(&self, request: &[u8]) -> Answer {
        self.raw_over(TcpStream::connect(&self.address).await.unwrap(), request).await
    }

    /// The same over a connection that stands.
    pub async fn raw_over(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &[u8]) -> Answer {
        stream.write_all(request).await.unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.unwrap();
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, head, body: bytes[end + 4..].to_vec() }
    }

    /// A whole request; `headers` end in line breaks.
    pub async fn ask(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> Answer {
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n"
        );
        self.raw(&[head.as_bytes(), body].concat()).await
    }

    /// Begins a request, then hangs up with half of its body sent.
    pub async fn break_off(&self, path: &str) {
        let mut stream = TcpStream::connect(&self.address).await.unwrap();
        let request = format!("PUT {path} HTTP/1.1\r\nhost: h\r\ncontent-length: 20\r\n\r\n0123456789");
        stream.write_all(request.as_bytes()).await.unwrap();
        // The other side may still answer that this was not enough.
        stream.shutdown().await.unwrap();
        let mut rest = Vec::new();
        drop(stream.read_to_end(&mut rest).await);
    }

    /// Ends it, and waits until it has ended.
    pub async fn strike(self) {
        self.shut.send(()).unwrap();
        self.ended.await.unwrap().unwrap();
    }
}
