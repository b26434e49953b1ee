//! Waiting until a server serves, by its own word.

use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::process::{Process, Sign};
use crate::recorder::Failed;
use crate::target::{Connection, Name, Place};

/// One question may take so long.
const ANSWER_PATIENCE: Duration = Duration::from_secs(2);

/// Between two looks: a process that does not listen yet offers nothing to wait for.
const LOOK_PAUSE: Duration = Duration::from_millis(20);

/// Answers are one line and a head; more is not read.
const ANSWER_BYTES_MAX: u64 = 4096;

/// Until it serves, has ended, or patience is over.
pub(super) async fn wait(process: &mut Process, patience: Duration) -> Result<(), String> {
    let give_up = Instant::now() + patience;
    loop {
        process.check()?;
        let asked = timeout(ANSWER_PATIENCE, ask(process.sign())).await;
        let missing = match asked {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(missing)) => missing,
            Err(_) => "no answer".to_owned(),
        };
        if Instant::now() > give_up {
            return Err(format!("{} is not ready after {} s: {missing}", process.name(), patience.as_secs()));
        }
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}

async fn ask(sign: &Sign) -> Result<(), String> {
    match sign {
        Sign::Readyz(address) => {
            let answer = get(address).await.map_err(|error| error.to_string())?;
            let status = answer.lines().next().unwrap_or_default();
            if status.split(' ').nth(1) == Some("200") { Ok(()) } else { Err(status.to_owned()) }
        }
        Sign::EtcdRead(address) => read(Name::Etcd, address).await,
        Sign::RedisRead(address) => read(Name::Redis, address).await,
    }
}

/// HTTP/1.0 closes the connection behind the answer.
async fn get(address: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(format!("GET /readyz HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

async fn read(name: Name, address: &str) -> Result<(), String> {
    let place = Place { name, endpoints: vec![address.to_owned()], through_routers: false, servers: None };
    let connection = Connection::open(&place, 0).await?;
    let read = connection.read(Bytes::from_static(b"ready")).await;
    read.map(drop).map_err(|failed| match failed {
        Failed::Refused(text) | Failed::Unknown(text) => text,
    })
}
