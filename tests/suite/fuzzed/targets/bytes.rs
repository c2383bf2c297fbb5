//! Takes fields off the front of a target's bytes. Where they run out, what is missing is zero, so that every input is one.

/// What is left of the bytes.
pub(super) struct Source<'a>(pub(super) &'a [u8]);

impl<'a> Source<'a> {
    /// A field of fixed length.
    pub(super) fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut field = [0; N];
        let taken = self.take(N);
        field[..taken.len()].copy_from_slice(taken);
        field
    }

    /// One byte.
    pub(super) fn u8(&mut self) -> u8 {
        self.array::<1>()[0]
    }

    /// A little-endian number.
    pub(super) fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.array())
    }

    /// A little-endian number.
    pub(super) fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }

    /// A little-endian number.
    pub(super) fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }

    /// So many bytes, or all that are left.
    pub(super) fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// A length of two bytes, and so many bytes.
    pub(super) fn sized(&mut self) -> &'a [u8] {
        let length = self.u16();
        self.take(length.into())
    }
}

/// What [`Source::sized`] takes off again.
pub(crate) fn sized(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).expect("a part of a seed is short");
    [&length.to_le_bytes(), bytes].concat()
}
