//! The codec of all methods: protobuf, with a look at what would be much larger in memory than it is on the wire.
//!
//! An operation without content takes two bytes in a message and hundreds in memory: five MiB of them would become hundreds
//! of MiB before anybody could count them. So they are counted in the encoded message, which costs a few nanoseconds each,
//! and the message is refused if they are more than it may have. The refusal is definite: nothing of the message was seen.
//!
//! | message | counted | limit |
//! | --- | --- | --- |
//! | `TxnRequest` | compares and operations | [`TXN_OPERATIONS_MAX`] |
//! | `PipelineRequest` | operations | [`PIPELINE_OPERATIONS_MAX`] |
//! | | compares and operations of all its transactions | the product of both |
//!
//! What it does not do: judge a single operation of a pipeline. One that is wrong is refused alone, by who serves it. It
//! bounds no bytes either: tonic refuses a message that is too long by its header, before there is anything to decode.

use std::any::TypeId;
use std::marker::PhantomData;

use prost::Message;
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder};
use tonic_prost::{ProstDecoder, ProstEncoder};

use crate::limits::{PIPELINE_OPERATIONS_MAX, TXN_OPERATIONS_MAX};
use crate::status;
use crate::v1::{PipelineRequest, TxnRequest};

/// The compares and operations that all transactions of one message of a pipeline may have together.
const PIPELINE_PARTS_MAX: usize = PIPELINE_OPERATIONS_MAX * TXN_OPERATIONS_MAX;

/// `PipelineRequest.operations`.
const OPERATIONS: u64 = 1;
/// `PipelineOperation.txn`.
const TXN: u64 = 7;
/// `compares`, `then` and `otherwise` of `TxnRequest`.
const PARTS: std::ops::RangeInclusive<u64> = 1..=3;

/// A varint has at most so many bytes.
const VARINT_BYTES_MAX: usize = 10;

/// Counts before it decodes.
#[derive(Clone, Copy, Debug)]
pub struct CountingCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for CountingCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T: Message + 'static, U: Message + Default + 'static> Codec for CountingCodec<T, U> {
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = CountingDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::default()
    }

    fn decoder(&mut self) -> Self::Decoder {
        CountingDecoder { count: count_of::<U>(), inner: ProstDecoder::default() }
    }
}

/// Refuses an encoded message that has too many of something.
type Count = fn(&[u8]) -> Result<(), Status>;

/// Counts, then decodes.
#[derive(Clone, Debug)]
pub struct CountingDecoder<U> {
    /// Nothing: such messages have nothing to count.
    count: Option<Count>,
    inner: ProstDecoder<U>,
}

impl<U: Message + Default> Decoder for CountingDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, source: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        use bytes::Buf;

        if let Some(count) = self.count {
            let (message, bytes) = (source.chunk(), source.remaining());
            assert_eq!(message.len(), bytes, "tonic hands a message over in one piece");
            count(message)?;
        }
        self.inner.decode(source)
    }

    fn buffer_settings(&self) -> BufferSettings {
        self.inner.buffer_settings()
    }
}

/// Refuses an encoded message of this type that has too many of something, as a server's decoder does before it decodes.
///
/// # Errors
/// INVALID_ARGUMENT, definite, with the field.
pub fn count<U: 'static>(message: &[u8]) -> Result<(), Status> {
    count_of::<U>().map_or(Ok(()), |count| count(message))
}

fn count_of<U: 'static>() -> Option<Count> {
    let message = TypeId::of::<U>();
    if message == TypeId::of::<PipelineRequest>() {
        Some(pipeline)
    } else if message == TypeId::of::<TxnRequest>() {
        Some(txn)
    } else {
        None
    }
}

fn txn(message: &[u8]) -> Result<(), Status> {
    if parts(message)? > TXN_OPERATIONS_MAX {
        let text = format!("a transaction may have {TXN_OPERATIONS_MAX} compares and operations");
        return Err(status::invalid("then", text));
    }
    Ok(())
}

fn pipeline(message: &[u8]) -> Result<(), Status> {
    let (mut operations, mut parts_of_all) = (0, 0);
    for field in Fields(message) {
        let (number, operation) = field?;
        if number != OPERATIONS {
            continue;
        }
        operations += 1;
        if operations > PIPELINE_OPERATIONS_MAX {
            let text = format!("a message may have {PIPELINE_OPERATIONS_MAX} operations");
            return Err(status::invalid("operations", text));
        }
        for field in Fields(operation) {
            let (number, content) = field?;
            if number == TXN {
                parts_of_all += parts(content)?;
            }
        }
        if parts_of_all > PIPELINE_PARTS_MAX {
            let text = format!(
                "the transactions of a message may have {PIPELINE_PARTS_MAX} compares and operations together"
            );
            return Err(status::invalid("operations", text));
        }
    }
    Ok(())
}

/// The compares and operations of an encoded transaction.
fn parts(txn: &[u8]) -> Result<usize, Status> {
    let mut count = 0;
    for field in Fields(txn) {
        count += usize::from(PARTS.contains(&field?.0));
    }
    Ok(count)
}

/// The fields of an encoded message, each with its number and, where it has a length of its own, its content.
///
/// What is not understood is refused, not passed over: else something that prost reads in another way could hide what is to
/// be counted. That is also said of groups, which proto3 does not have.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, &'a [u8]), Status>;

    fn next(&mut self) -> Option<Self::Item> {
        let malformed = || status::invalid("", "the message is no protobuf");
        (!self.0.is_empty()).then(|| self.field().ok_or_else(malformed))
    }
}

impl<'a> Fields<'a> {
    fn field(&mut self) -> Option<(u64, &'a [u8])> {
        let key = self.varint()?;
        let content = match key & 7 {
            0 => self.varint().map(|_| &[][..])?,
            1 => self.take(size_of::<u64>()).map(|_| &[][..])?,
            2 => {
                let bytes = usize::try_from(self.varint()?).ok()?;
                self.take(bytes)?
            }
            5 => self.take(size_of::<u32>()).map(|_| &[][..])?,
            _ => return None,
        };
        Some((key >> 3, content))
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for (place, byte) in self.0.iter().take(VARINT_BYTES_MAX).enumerate() {
            value |= u64::from(byte & 0x7F) << (7 * place);
            if byte & 0x80 == 0 {
                self.0 = &self.0[place + 1..];
                return Some(value);
            }
        }
        None
    }

    fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1::pipeline_operation::Operation;
    use crate::v1::{Compare, GetRequest, Id128, PipelineOperation, PutRequest, RequestId, TxnOperation};

    fn transaction(parts: usize) -> TxnRequest {
        TxnRequest {
            compares: vec![Compare::default(); parts / 3],
            then: vec![TxnOperation::default(); parts / 3],
            otherwise: vec![TxnOperation::default(); parts - 2 * (parts / 3)],
            route_mode: 1,
            request: Some(RequestId {
                client: Some(Id128 { high: u64::MAX, low: 1 }),
                sequence: u64::MAX,
                ..RequestId::default()
            }),
        }
    }

    fn message(operations: Vec<Operation>) -> Vec<u8> {
        let operation = |operation| PipelineOperation { id: 7, timeout_ms: 300, operation: Some(operation) };
        PipelineRequest { operations: operations.into_iter().map(operation).collect() }.encode_to_vec()
    }

    fn refused(counted: Result<(), Status>) -> Option<String> {
        let refusal = counted.err()?;
        assert!(status::definite(&refusal) && refusal.code() == tonic::Code::InvalidArgument, "{refusal:?}");
        Some(refusal.message().to_owned())
    }

    #[test]
    fn a_message_may_be_full_and_no_fuller() {
        let put = Operation::Put(PutRequest {
            key: "k".into(),
            value: vec![8; 300].into(),
            ..PutRequest::default()
        });
        assert_eq!(refused(pipeline(&message(vec![put.clone(); PIPELINE_OPERATIONS_MAX]))), None);
        let text = refused(pipeline(&message(vec![put; PIPELINE_OPERATIONS_MAX + 1])));
        assert_eq!(text.as_deref(), Some("a message may have 4096 operations"));

        assert_eq!(refused(txn(&transaction(TXN_OPERATIONS_MAX).encode_to_vec())), None);
        let text = refused(txn(&transaction(TXN_OPERATIONS_MAX + 1).encode_to_vec()));
        assert_eq!(text.as_deref(), Some("a transaction may have 128 compares and operations"));
    }

    #[test]
    fn transactions_in_a_pipeline_are_counted_together() {
        let get = Operation::Get(GetRequest { key: "k".into(), ..GetRequest::default() });
        let large = Operation::Txn(transaction(TXN_OPERATIONS_MAX + 1));
        let few = message(vec![get, large.clone()]);
        assert_eq!(refused(pipeline(&few)), None, "whoever serves it refuses the one alone");
        let text = refused(pipeline(&message(vec![large; PIPELINE_OPERATIONS_MAX])));
        assert!(text.is_some_and(|text| text.contains("524288")));

        // The same field again and again is one transaction that grows.
        let empty_part = [10, 0];
        let field = [&[58, 2][..], &empty_part].concat();
        let operation = field.repeat(PIPELINE_PARTS_MAX + 1);
        let merged = PipelineOperation::decode(&operation[..]).unwrap();
        assert!(
            matches!(merged.operation, Some(Operation::Txn(txn)) if txn.compares.len() > PIPELINE_PARTS_MAX)
        );
        let mut whole = vec![10];
        prost::encode_length_delimiter(operation.len(), &mut whole).unwrap();
        whole.extend(operation);
        assert!(refused(pipeline(&whole)).is_some());
    }

    #[test]
    fn what_is_not_understood_hides_nothing() {
        // Numbers of fields and lengths may take more bytes than they need.
        let wordy = [0x8A, 0x80, 0x00, 0x80, 0x00].repeat(PIPELINE_OPERATIONS_MAX + 1);
        assert_eq!(
            PipelineRequest::decode(&wordy[..]).unwrap().operations.len(),
            PIPELINE_OPERATIONS_MAX + 1
        );
        assert!(refused(pipeline(&wordy)).is_some_and(|text| text.contains("4096")));

        // A group, an unknown wire type, half a field, half a number, a number without end, a length beyond all.
        let endless = [0xFF; 11];
        let beyond = [10, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1];
        let wrong: [&[u8]; 7] = [&[11, 12], &[14], &[10, 5, 0], &[0x80], &endless, &beyond, &[9, 0]];
        for bytes in wrong {
            assert_eq!(refused(pipeline(bytes)).as_deref(), Some("the message is no protobuf"), "{bytes:?}");
        }
        let unknown =
            [&[0x98, 0x06, 0x05][..], &[0x9D, 0x06, 1, 2, 3, 4], &[0x99, 0x06, 1, 2, 3, 4, 5, 6, 7, 8]]
                .concat();
        assert_eq!(refused(pipeline(&unknown)), None, "fields of a later version are passed over");
        assert!(PipelineRequest::decode(&unknown[..]).is_ok());
    }
}
