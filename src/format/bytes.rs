//! Fixed-width little-endian fields, read without trusting the length of anything.

use crate::error::{Error, Result};
use crate::id::{ID_LEN, Id};

/// Reads fields one after another; running out of bytes is an error that names the object.
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
    object: &'static str,
}

impl<'a> Fields<'a> {
    pub(crate) fn new(bytes: &'a [u8], object: &'static str) -> Self {
        Self { rest: bytes, object }
    }

    pub(crate) fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or_else(|| self.short())?;
        self.rest = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or_else(|| self.short())?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(crate) fn u8(&mut self) -> Result<u8> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    pub(crate) fn u16(&mut self) -> Result<u16> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(crate) fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(crate) fn id(&mut self) -> Result<Id> {
        Ok(Id(self.array::<ID_LEN>()?))
    }

    /// Takes `length` bytes that must all be zero: reserved fields and padding.
    pub(crate) fn zeros(&mut self, length: usize) -> Result<()> {
        if self.take(length)?.iter().any(|byte| *byte != 0) {
            return Err(Error::corrupt(format!("{}: a reserved field is not zero", self.object)));
        }
        Ok(())
    }

    /// How many bytes are left.
    pub(crate) fn left(&self) -> usize {
        self.rest.len()
    }

    /// Everything that is left.
    pub(crate) fn rest(self) -> &'a [u8] {
        self.rest
    }

    /// Requires that nothing is left.
    pub(crate) fn end(self) -> Result<()> {
        if self.rest.is_empty() {
            return Ok(());
        }
        Err(Error::corrupt(format!("{}: {} bytes too many", self.object, self.rest.len())))
    }

    fn short(&self) -> Error {
        Error::corrupt(format!("{}: it ends too early", self.object))
    }
}
