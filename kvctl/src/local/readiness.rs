//! Whether a process is ready, by its own word: `GET /readyz`.
//!
//! One question of a fixed form needs no HTTP client: HTTP/1.0 closes the connection behind the answer.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::failure::one_line;

/// A process that takes longer is not ready.
const PATIENCE: Duration = Duration::from_secs(2);

/// An answer is one line and a head; more is not read.
const ANSWER_BYTES_MAX: u64 = 4096;

/// What the process at this HTTP address lacks; nothing when it is ready.
pub(super) async fn missing(address: &str) -> Option<String> {
    match timeout(PATIENCE, ask(address)).await {
        Err(_) => Some(format!("no answer within {} s", PATIENCE.as_secs())),
        Ok(Err(error)) => Some(one_line(&error.to_string())),
        Ok(Ok(answer)) => judge(&answer),
    }
}

async fn ask(address: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(format!("GET /readyz HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn judge(answer: &str) -> Option<String> {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
    let status = head.lines().next().unwrap_or_default();
    if status.split(' ').nth(1) == Some("200") {
        return None;
    }
    Some(one_line(if body.trim().is_empty() { status } else { body }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_200_is_ready_and_the_reason_is_repeated() {
        assert_eq!(judge("HTTP/1.0 200 OK\r\na: b\r\n\r\nready\n"), None);
        let waiting = judge("HTTP/1.0 503 Service Unavailable\r\n\r\nshard 3 has no leader\n");
        assert_eq!(waiting.unwrap(), "shard 3 has no leader");
        assert_eq!(judge("HTTP/1.0 404 Not Found\r\n\r\n").unwrap(), "HTTP/1.0 404 Not Found");
        assert!(judge("").is_some(), "a closed connection counts as ready");
    }
}
