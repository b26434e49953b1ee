//! Reading and writing of the hand-written binary formats (`docs/formats/entry.md`, `docs/formats/base.md`).
//!
//! Numbers are LEB128 varints, byte strings are length and bytes. The reader slices its input, it never
//! copies and never allocates by a length that it read: a length beyond the end is an error.

use bytes::{BufMut, Bytes, BytesMut};

/// Why bytes are not what they should be. Nothing is ever half decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end too early, or state a length that they do not have.
    #[error("{what}: cut short")]
    Short {
        /// What was being read.
        what: &'static str,
    },
    /// A tag, flag or version that this release does not know.
    #[error("{what}: unknown tag {tag}")]
    Unknown {
        /// What was being read.
        what: &'static str,
        /// The number found.
        tag: u64,
    },
    /// A number out of its range, or out of order.
    #[error("{what}: value out of range")]
    Range {
        /// What was being read.
        what: &'static str,
    },
    /// Bytes are left over at the end.
    #[error("{what}: {count} bytes left over")]
    Trailing {
        /// What was being read.
        what: &'static str,
        /// How many.
        count: usize,
    },
}

/// Writes one number, seven bits per byte, low bits first.
pub(crate) fn put_varint(out: &mut BytesMut, mut number: u64) {
    while number >= 0x80 {
        out.put_u8(number as u8 | 0x80);
        number >>= 7;
    }
    out.put_u8(number as u8);
}

/// Writes a length and the bytes.
pub(crate) fn put_bytes(out: &mut BytesMut, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.put_slice(bytes);
}

/// Takes values off the front of some bytes.
pub(crate) struct Reader {
    rest: Bytes,
}

impl Reader {
    pub(crate) fn new(bytes: Bytes) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn remaining(&self) -> usize {
        self.rest.len()
    }

    pub(crate) fn u8(&mut self, what: &'static str) -> Result<u8, DecodeError> {
        Ok(self.take(1, what)?[0])
    }

    pub(crate) fn u128(&mut self, what: &'static str) -> Result<u128, DecodeError> {
        let bytes = self.take(16, what)?;
        let mut array = [0; 16];
        array.copy_from_slice(&bytes);
        Ok(u128::from_be_bytes(array))
    }

    pub(crate) fn varint(&mut self, what: &'static str) -> Result<u64, DecodeError> {
        let mut number = 0_u64;
        for (place, &byte) in self.rest.iter().enumerate().take(10) {
            // The tenth byte has room for one bit: more would be lost, and one number would have two forms.
            if place == 9 && byte > 1 {
                return Err(DecodeError::Range { what });
            }
            number |= u64::from(byte & 0x7f) << (7 * place);
            if byte < 0x80 {
                if place > 0 && byte == 0 {
                    return Err(DecodeError::Range { what });
                }
                let _ = self.rest.split_to(place + 1);
                return Ok(number);
            }
        }
        if self.rest.len() >= 10 {
            Err(DecodeError::Range { what })
        } else {
            Err(DecodeError::Short { what })
        }
    }

    pub(crate) fn bytes(&mut self, what: &'static str) -> Result<Bytes, DecodeError> {
        let length = self.varint(what)?;
        let length = usize::try_from(length).map_err(|_| DecodeError::Range { what })?;
        self.take(length, what)
    }

    pub(crate) fn take(&mut self, length: usize, what: &'static str) -> Result<Bytes, DecodeError> {
        if length > self.rest.len() {
            return Err(DecodeError::Short { what });
        }
        Ok(self.rest.split_to(length))
    }

    pub(crate) fn rest(self) -> Bytes {
        self.rest
    }

    pub(crate) fn end(self, what: &'static str) -> Result<(), DecodeError> {
        match self.rest.len() {
            0 => Ok(()),
            count => Err(DecodeError::Trailing { what, count }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn varint(bytes: &[u8]) -> Result<u64, DecodeError> {
        Reader::new(Bytes::copy_from_slice(bytes)).varint("test")
    }

    #[test]
    fn a_number_comes_back_and_has_one_form_only() {
        for number in [0, 1, 127, 128, 300, 1 << 32, u64::MAX - 1, u64::MAX] {
            let mut out = BytesMut::new();
            put_varint(&mut out, number);
            assert_eq!(varint(&out), Ok(number));
        }
        assert_eq!(varint(&[0x80, 0x00]), Err(DecodeError::Range { what: "test" }), "a longer form of 0");
        assert_eq!(varint(&[0xff; 10]), Err(DecodeError::Range { what: "test" }), "65 bits");
        assert_eq!(varint(&[0xff; 9]), Err(DecodeError::Short { what: "test" }));
    }

    #[test]
    fn a_length_beyond_the_end_allocates_nothing_and_is_an_error() {
        let mut out = BytesMut::new();
        put_varint(&mut out, u64::MAX);
        out.put_slice(b"abc");
        assert_eq!(Reader::new(out.freeze()).bytes("test"), Err(DecodeError::Short { what: "test" }));
    }
}
