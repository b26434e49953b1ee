//! 128-bit ids on the wire: two fixed64, because protobuf has no wider number.

use crate::v1::Id128;

impl From<u128> for Id128 {
    fn from(id: u128) -> Self {
        Self { high: (id >> 64) as u64, low: id as u64 }
    }
}

impl From<Id128> for u128 {
    fn from(id: Id128) -> Self {
        (Self::from(id.high) << 64) | Self::from(id.low)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_keeps_both_halves() {
        for id in [0, 1, u128::MAX, 0x0123_4567_89AB_CDEF_FEDC_BA98_7654_3210] {
            assert_eq!(u128::from(Id128::from(id)), id);
        }
        assert_eq!(Id128::from(1_u128 << 64), Id128 { high: 1, low: 0 });
    }
}
