//! Slots: the 16384 buckets of the key space, by the function that Redis Cluster publishes.

use std::fmt;

/// How many slots there are.
pub const SLOTS: u16 = 16384;

/// One bucket of the key space: `crc16_xmodem(hash_tag(key)) % 16384`. Valid by construction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(u16);

impl Slot {
    /// The slot with this number, if there is one.
    #[must_use]
    pub const fn new(number: u16) -> Option<Self> {
        if number < SLOTS { Some(Self(number)) } else { None }
    }

    /// The number of the slot, below [`SLOTS`].
    #[must_use]
    pub const fn number(self) -> u16 {
        self.0
    }

    /// The slot of a key (Redis Cluster specification, "Key distribution model").
    #[must_use]
    pub fn of(key: &[u8]) -> Self {
        let mut crc = 0_u16;
        for &byte in hash_tag(key) {
            crc = (crc << 8) ^ CRC16[usize::from((crc >> 8) as u8 ^ byte)];
        }
        Self(crc % SLOTS)
    }

    /// All slots, in order.
    pub fn all() -> impl DoubleEndedIterator<Item = Self> {
        (0..SLOTS).map(Self)
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The part of a key that chooses its slot: what stands between the first `{` and the next `}`, unless that is
/// empty or one of them is missing; then the whole key.
#[must_use]
pub fn hash_tag(key: &[u8]) -> &[u8] {
    let Some(open) = key.iter().position(|&byte| byte == b'{') else { return key };
    let tail = &key[open + 1..];
    match tail.iter().position(|&byte| byte == b'}') {
        None | Some(0) => key,
        Some(close) => &tail[..close],
    }
}

/// CRC-16/XMODEM: polynomial 0x1021, initial value 0, not reflected.
const CRC16: [u16; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_value_of_crc16_xmodem_holds() {
        assert_eq!(Slot::of(b"123456789").number(), 0x31C3 % SLOTS);
    }

    #[test]
    fn keys_of_the_redis_cluster_tutorial_fall_where_redis_puts_them() {
        assert_eq!(Slot::of(b"foo").number(), 12182);
        assert_eq!(Slot::of(b"bar").number(), 5061);
        assert_eq!(Slot::of(b"hello").number(), 866);
    }

    #[test]
    fn a_hash_tag_keeps_keys_together_unless_it_is_empty() {
        assert_eq!(hash_tag(b"{user1000}.following"), b"user1000");
        assert_eq!(hash_tag(b"foo{}{bar}"), b"foo{}{bar}");
        assert_eq!(hash_tag(b"foo{{bar}}zap"), b"{bar");
        assert_eq!(hash_tag(b"foo{bar}{zap}"), b"bar");
        assert_eq!(hash_tag(b"foo{bar"), b"foo{bar");
        assert_eq!(hash_tag(b""), b"");
    }
}
