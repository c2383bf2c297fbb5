//! The one place that draws random bytes.

use crate::error::{Error, ErrorKind, Result};
use crate::id::{ID_LEN, Id};

/// Random bytes from the operating system.
pub fn bytes<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .map_err(|error| Error::new(ErrorKind::Io, format!("the system gives no random bytes: {error}")))?;
    Ok(bytes)
}

/// A random id.
pub fn id() -> Result<Id> {
    Ok(Id(bytes::<ID_LEN>()?))
}
