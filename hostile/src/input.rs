//! Pieces of an input: an input of any bytes has some, so that every mutation of it still means something.

/// Takes pieces off the front.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Input<'a>(pub(crate) &'a [u8]);

impl<'a> Input<'a> {
    pub(crate) const fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// The next byte; 0 at the end.
    pub(crate) fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    /// A length of two bytes, low one first, and as many bytes as there are of so many.
    pub(crate) fn piece(&mut self) -> &'a [u8] {
        let length = usize::from(self.byte()) | usize::from(self.byte()) << 8;
        self.take(length)
    }

    fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        taken
    }
}

/// Puts a piece at the end.
pub(crate) fn put_piece(out: &mut Vec<u8>, piece: &[u8]) {
    let length = u16::try_from(piece.len());
    let length = length.unwrap_or_else(|_| panic!("a piece of {} bytes is too long", piece.len()));
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(piece);
}
