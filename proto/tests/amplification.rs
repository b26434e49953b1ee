//! What a message of empty operations costs who receives it. The only test of its process, so that the memory is its own.

#![allow(missing_docs, clippy::unwrap_used)]

use bytes::{BufMut, Bytes, BytesMut};
use flotilla_proto::codec::CountingCodec;
use flotilla_proto::limits::MESSAGE_BYTES_MAX;
use flotilla_proto::status;
use flotilla_proto::v1::{PipelineRequest, PipelineResponse};
use http_body_util::Full;
use tonic::codec::{Codec, Streaming};

const MIB: u64 = 1 << 20;

/// How much memory this process had at most, in bytes.
fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

#[tokio::test]
async fn four_mib_of_empty_operations_are_refused_before_they_are_made() {
    let operations = Bytes::from([10, 0].repeat(2 * MIB as usize));
    let mut body = BytesMut::new();
    body.put_u8(0);
    body.put_u32(u32::try_from(operations.len()).unwrap());
    body.put(operations);

    let before = peak_bytes();
    let decoder = CountingCodec::<PipelineResponse, PipelineRequest>::default().decoder();
    let body = Full::new(body.freeze());
    let mut messages = Streaming::new_request(decoder, body, None, Some(MESSAGE_BYTES_MAX));
    // Counted, so that a failure does not print millions of operations.
    let outcome = messages.message().await.map(|message| message.map(|it| it.operations.len()));
    let grown = peak_bytes() - before;

    let refusal = outcome.unwrap_err();
    assert_eq!(refusal.code(), tonic::Code::InvalidArgument);
    assert!(status::definite(&refusal), "{refusal:?}");
    assert_eq!(refusal.message(), "a message may have 4096 operations");
    // tonic keeps the message once more. Decoded, its two million operations would have taken hundreds of MiB.
    assert!(grown < 16 * MIB, "{grown} bytes");
}
