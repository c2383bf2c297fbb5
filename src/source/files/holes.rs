//! Holes of a file: stretches never written, which need not be read.
//!
//! Invariant: holes are sorted, do not touch, lie within the size asked for, and what is not named a hole is
//! read as data; counting a hole as data is always safe.

use std::fs::File;

use rustix::fs::{SeekFrom, fstat, seek, tell};
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::format::node::Hole;

/// A shorter hole costs more to record than to read.
const SHORTEST: u64 = 64 * 1024;

/// From here on the rest of the file counts as data, so that no file makes a node without end.
const MOST: usize = 4096;

/// Finds the holes of an open file among its first `size` bytes; its position is as before afterwards.
///
/// A file system that knows no holes has none.
pub fn holes(file: &File, size: u64) -> Result<Vec<Hole>> {
    let stat = fstat(file).map_err(|error| Error::io("cannot read the size of an open file", error))?;
    let allocated = u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512);
    if size < SHORTEST || allocated >= size {
        return Ok(Vec::new());
    }
    let position = tell(file).map_err(|error| Error::io("cannot tell the position in a file", error))?;
    let found = find(file, size);
    seek(file, SeekFrom::Start(position))
        .map_err(|error| Error::io("cannot return to the position in a file", error))?;
    match found {
        Ok(holes) => Ok(holes),
        Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(Vec::new()),
        Err(error) => Err(Error::io("cannot look for holes in a file", error)),
    }
}

fn find(file: &File, size: u64) -> rustix::io::Result<Vec<Hole>> {
    let mut holes = Vec::new();
    let mut position = 0;
    while position < size && holes.len() < MOST {
        let data = match seek(file, SeekFrom::Data(position)) {
            Ok(data) => data.min(size),
            // No data from here to the end.
            Err(Errno::NXIO) => size,
            Err(error) => return Err(error),
        };
        let length = data.saturating_sub(position);
        if length >= SHORTEST {
            holes.push(Hole { offset: position, length });
        }
        if data >= size {
            break;
        }
        position = match seek(file, SeekFrom::Hole(data)) {
            Ok(hole) if hole > data => hole,
            // The file was cut short meanwhile, or the answer leads nowhere.
            Ok(_) | Err(Errno::NXIO) => break,
            Err(error) => return Err(error),
        };
    }
    Ok(holes)
}

#[cfg(test)]
mod tests {

    use std::io::{Read, Seek};
    use std::os::unix::fs::FileExt;

    use super::*;
    use crate::source::files::testing::Scratch;

    fn sparse(scratch: &Scratch, size: u64, written: impl IntoIterator<Item = u64>) -> File {
        let path = scratch.path().join("sparse");
        let file = File::options().create(true).truncate(true).read(true).write(true).open(path).unwrap();
        file.set_len(size).unwrap();
        for offset in written {
            file.write_all_at(&[7; 4096], offset).unwrap();
        }
        file
    }

    #[test]
    fn holes_are_found_between_data_and_at_both_ends() {
        let scratch = Scratch::new("holes");
        let mib = 1024 * 1024;
        let mut file = sparse(&scratch, 8 * mib, [2 * mib, 5 * mib]);
        file.seek(std::io::SeekFrom::Start(2 * mib)).unwrap();
        let found = holes(&file, 8 * mib).unwrap();
        assert_eq!(
            found,
            [
                Hole { offset: 0, length: 2 * mib },
                Hole { offset: 2 * mib + 4096, length: 3 * mib - 4096 },
                Hole { offset: 5 * mib + 4096, length: 3 * mib - 4096 },
            ]
        );
        let mut byte = [0];
        file.read_exact(&mut byte).unwrap();
        assert_eq!(byte, [7], "the position is as before");
        assert_eq!(holes(&file, mib).unwrap(), [Hole { offset: 0, length: mib }]);
    }

    #[test]
    fn short_holes_and_whole_files_have_none() {
        let scratch = Scratch::new("no-holes");
        assert!(holes(&sparse(&scratch, 4096, []), 4096).unwrap().is_empty());
        assert!(holes(&sparse(&scratch, 0, []), 0).unwrap().is_empty());
        let close = (0..100).map(|index| index * 32 * 1024);
        assert!(
            holes(&sparse(&scratch, 99 * 32 * 1024 + 4096, close), 99 * 32 * 1024 + 4096).unwrap().is_empty()
        );
        assert_eq!(
            holes(&sparse(&scratch, 1 << 40, []), 1 << 40).unwrap(),
            [Hole { offset: 0, length: 1 << 40 }]
        );
    }

    #[test]
    fn after_many_holes_the_rest_is_data() {
        let scratch = Scratch::new("many-holes");
        let step = 128 * 1024;
        let size = 4200 * step;
        let found = holes(&sparse(&scratch, size, (0..4200).map(|index| index * step)), size).unwrap();
        assert_eq!(found.len(), MOST);
        assert!(found.windows(2).all(|pair| pair[0].offset + pair[0].length < pair[1].offset));
    }
}
