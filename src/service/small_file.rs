//! Reads the small files that a service is configured by.
//!
//! Invariants: no more than a mebibyte is read, and nothing that is no regular file; the text is wiped when it is let go.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use zeroize::Zeroizing;

use crate::error::{Error, ErrorKind, Result};
use crate::report::printable;

/// The largest such file that is read.
const MAXIMUM_FILE_SIZE: u64 = 1 << 20;

/// Reads a small regular file whole. Bytes that are no UTF-8 become replacement characters. `what` it should be is named
/// where it is too large.
///
/// # Errors
/// `Missing` where it is not there; `Refused` where it is no regular file, or too large.
pub(super) fn read(path: &Path, what: &str) -> Result<Zeroizing<String>> {
    let name = || printable(path.as_os_str().as_encoded_bytes());
    let cannot_read = |error| Error::io(format!("cannot read {}", name()), error);
    // A pipe by this name would otherwise be waited for, forever.
    if !fs::metadata(path).map_err(cannot_read)?.is_file() {
        return Err(Error::refused(format!("{} is not a regular file", name())));
    }
    let file = File::open(path).map_err(cannot_read)?;
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(MAXIMUM_FILE_SIZE + 1).read_to_end(&mut bytes).map_err(cannot_read)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > MAXIMUM_FILE_SIZE {
        let message = format!("{} is larger than {MAXIMUM_FILE_SIZE} bytes", name());
        return Err(Error::new(ErrorKind::Refused, message).hint(format!("check that this is a {what}")));
    }
    Ok(Zeroizing::new(String::from_utf8_lossy(&bytes).into_owned()))
}
