//! Changes a given share of the database's pages, for benchmarks of the next night's backup.
//!
//! Invariant: the number returned is counted, not estimated: the file is hashed page by page before and
//! after, with nothing left in the log at either time.

use std::fs::File;
use std::io::{BufReader, Read as _};
use std::path::Path;

use crate::error::{Error, Result};

use super::activity::Server;
use super::database_path;

/// Bytes of a page of every database here.
const PAGE: usize = 4096;

/// Tries before a share that cannot be reached is given up.
const ROUNDS: u32 = 12;

impl Server {
    /// Changes about a share of the database's pages by edits in place of rows drawn at random, moves
    /// them out of the log, and returns how many pages differ.
    ///
    /// Only pages that hold ciphers change, some seven in ten of all where events are logged; a larger share is
    /// not reached.
    /// Unlike the server's own edits these move no row, so that the share comes out as asked.
    pub fn change_pages(&mut self, share: f64) -> Result<u64> {
        self.checkpoint()?;
        let path = database_path(&self.folder);
        let before = hashes(&path)?;
        let pages = u32::try_from(before.len()).unwrap_or(u32::MAX);
        let wanted = share.clamp(0.0, 1.0) * f64::from(pages);
        let mut changed = 0;
        for _ in 0..ROUNDS {
            let missing = (1..=pages).take_while(|more| f64::from(changed + more) < wanted + 0.5).count();
            if missing == 0 {
                break;
            }
            self.transact(|mut work| (0..missing).try_for_each(|_| work.rename_in_place()))?;
            self.checkpoint()?;
            let after = hashes(&path)?;
            let kept = before.iter().zip(&after).filter(|(old, new)| old == new).count();
            changed = u32::try_from(after.len().saturating_sub(kept)).unwrap_or(pages);
        }
        Ok(u64::from(changed))
    }
}

/// A hash of each page of a file.
fn hashes(path: &Path) -> Result<Vec<[u8; 32]>> {
    let failed = |error| Error::io(format!("cannot read {}", path.display()), error);
    let length = std::fs::metadata(path).map_err(failed)?.len();
    let mut reader = BufReader::with_capacity(64 * PAGE, File::open(path).map_err(failed)?);
    let mut page = [0; PAGE];
    let pages = length / u64::try_from(PAGE).unwrap_or(1);
    let mut hashes = Vec::with_capacity(usize::try_from(pages).unwrap_or(0));
    for _ in 0..pages {
        reader.read_exact(&mut page).map_err(failed)?;
        hashes.push(*blake3::hash(&page).as_bytes());
    }
    Ok(hashes)
}
