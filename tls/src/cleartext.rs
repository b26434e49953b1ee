//! Whether a server wants TLS, asked when it has failed to answer in clear.
//!
//! What the failed call itself says of that depends on who is faster: the server's alert, or our question. So a connection of its own asks,
//! which waits for the first word: HTTP/2 begins with a frame, TLS with a record.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long the first word may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// With what a client begins HTTP/2 (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The type of a TLS record that tells what is wrong (RFC 8446, section 5.1). As the first byte of an HTTP/2 frame it would mean one of
/// more than a mebibyte, which nobody begins with.
const ALERT: u8 = 21;

/// Whether whoever listens at `host:port` answers HTTP/2 in clear as TLS does. Takes a second at most.
pub async fn wants_tls(address: &str) -> bool {
    let asked = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(PREFACE).await?;
        stream.read_u8().await
    };
    matches!(timeout(PATIENCE, asked).await, Ok(Ok(ALERT)))
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// A server that hears the beginning, and answers so.
    async fn judged(answer: &'static [u8]) -> bool {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut heard = [0; PREFACE.len()];
            stream.read_exact(&mut heard).await.unwrap();
            assert_eq!(heard, PREFACE);
            stream.write_all(answer).await.unwrap();
        };
        tokio::join!(wants_tls(&address), server).0
    }

    #[tokio::test]
    async fn an_alert_is_told_from_a_frame_and_from_silence() {
        assert!(judged(&[ALERT, 3, 3, 0, 2, 2, 50]).await);
        assert!(!judged(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await, "the settings of HTTP/2");
        assert!(!judged(&[]).await, "it closes");
    }
}
