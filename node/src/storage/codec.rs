//! Reading the small files: every length is checked against what is there before anything is allocated.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Why bytes are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// They end too early.
    #[error("it ends too early")]
    Short,
    /// Something follows the end.
    #[error("{bytes} bytes follow its end")]
    Trailing {
        /// How many.
        bytes: usize,
    },
    /// A tag that this version does not know.
    #[error("{what} has the unknown tag {tag}")]
    Tag {
        /// Of what.
        what: &'static str,
        /// The tag.
        tag: u8,
    },
    /// Text that is not UTF-8.
    #[error("a text in it is not UTF-8")]
    Text,
    /// Two nodes of one id.
    #[error("a node is named twice in it")]
    Doubled,
}

/// Takes a number of one byte.
pub(super) fn get_u8(from: &mut Bytes) -> Result<u8, CodecError> {
    from.try_get_u8().map_err(|_| CodecError::Short)
}

/// Takes a number of four bytes, big-endian.
pub(super) fn get_u32(from: &mut Bytes) -> Result<u32, CodecError> {
    from.try_get_u32().map_err(|_| CodecError::Short)
}

/// Takes a number of eight bytes, big-endian.
pub(super) fn get_u64(from: &mut Bytes) -> Result<u64, CodecError> {
    from.try_get_u64().map_err(|_| CodecError::Short)
}

/// Takes a number of sixteen bytes, big-endian.
pub(super) fn get_u128(from: &mut Bytes) -> Result<u128, CodecError> {
    from.try_get_u128().map_err(|_| CodecError::Short)
}

/// Takes a text with its length in front.
pub(super) fn get_text(from: &mut Bytes) -> Result<String, CodecError> {
    let length = get_u32(from)? as usize;
    if from.len() < length {
        return Err(CodecError::Short);
    }
    String::from_utf8(from.split_to(length).to_vec()).map_err(|_| CodecError::Text)
}

/// Puts a text with its length in front.
pub(super) fn put_text(to: &mut BytesMut, text: &str) {
    let length = u32::try_from(text.len());
    let length = length.unwrap_or_else(|_| panic!("a text of {} bytes does not fit a file", text.len()));
    to.put_u32(length);
    to.put_slice(text.as_bytes());
}

/// Checks that nothing is left.
pub(super) fn end(from: &Bytes) -> Result<(), CodecError> {
    if from.is_empty() { Ok(()) } else { Err(CodecError::Trailing { bytes: from.len() }) }
}
