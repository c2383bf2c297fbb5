//! Reading large files and databases into buffers of whole chunks.
//!
//! Invariants: what is read never exceeds the length that the walk saw, so that a file that grows while it is
//! read is stored as it was then. Buffers come from a pool and go back to it.

use std::cell::RefCell;
use std::fs::File;
use std::os::unix::fs::FileExt;

use crossbeam_channel::{Receiver, Sender, unbounded};

use crate::chunker::dump::DumpChunker;
use crate::chunker::gear::GearChunker;
use crate::error::{Error, Result};
use crate::format::node::Hole;

/// Length of a buffer in bytes.
const BUFFER: usize = 8 << 20;
/// Buffers of shorter streams have a multiple of this length, so that they fit one another's streams.
const BUFFER_STEP: usize = 512 << 10;

/// How a stream is cut.
pub(in crate::operation) enum Cutter<'a> {
    /// By content.
    Gear(&'a GearChunker),
    /// By content, finer at the beginning.
    Dump(&'a DumpChunker),
    /// Into runs of this many bytes.
    Runs(usize),
}

impl Cutter<'_> {
    /// What must lie in a buffer before a cut is certain.
    pub(in crate::operation) fn reach(&self) -> usize {
        match self {
            Self::Gear(chunker) => chunker.sizes().maximum,
            Self::Dump(chunker) => chunker.maximum(),
            Self::Runs(length) => *length,
        }
    }

    /// Length of the next chunk, before which there are so many bytes of the stream.
    pub(in crate::operation) fn cut(&self, bytes: &[u8], before: u64) -> usize {
        match self {
            Self::Gear(chunker) => chunker.cut(bytes),
            Self::Dump(chunker) => chunker.cut(bytes, before),
            Self::Runs(length) => bytes.len().min(*length),
        }
    }
}

/// Buffers that were used and may be used again: fresh memory costs a page fault for every 4 KiB.
pub(super) struct Pool {
    length: usize,
    give: Sender<Vec<u8>>,
    take: Receiver<Vec<u8>>,
    free: RefCell<Vec<Vec<u8>>>,
}

impl Pool {
    pub(super) fn new() -> Self {
        Self::of(BUFFER)
    }

    /// One of buffers of this length, which is at least that of the longest chunk.
    fn of(length: usize) -> Self {
        let (give, take) = unbounded();
        Self { length, give, take, free: RefCell::default() }
    }

    /// A buffer for a stream of this length; what stands in it is of no meaning. A short stream gets a short
    /// one, for a batch may hold many.
    pub(super) fn buffer(&self, stream: u64) -> Vec<u8> {
        let wanted = usize::try_from(stream).unwrap_or(usize::MAX).min(self.length);
        let length = wanted.next_multiple_of(BUFFER_STEP).min(self.length);
        let mut free = self.free.borrow_mut();
        free.extend(self.take.try_iter());
        match free.iter().position(|buffer| buffer.len() == length) {
            Some(position) => free.swap_remove(position),
            None => vec![0; length],
        }
    }

    /// Where buffers are given back.
    pub(super) fn returns(&self) -> Sender<Vec<u8>> {
        self.give.clone()
    }
}

/// Reads the data between the holes of a file and hands it over in buffers of whole chunks; gives the length
/// that was there, holes included.
///
/// # Errors
/// `Io` and its kin where the file cannot be read; whatever `emit` says.
pub(super) fn read_chunks(
    file: &File,
    size: u64,
    holes: &[Hole],
    cutter: &Cutter<'_>,
    pool: &Pool,
    emit: &mut dyn FnMut(Vec<u8>, Vec<usize>) -> Result<()>,
) -> Result<ReadOutcome> {
    let mut stream = Stream { file, extents: extents(size, holes), position: 0, extent: 0, short: None };
    let mut fill = |buffer: &mut [u8], filled: &mut usize| stream.fill(buffer, filled);
    if let Some(error) = cut_stream(&mut fill, pool.buffer(size), cutter, pool, emit)? {
        return Ok(ReadOutcome::Unreadable(error));
    }
    Ok(stream.short.map_or(ReadOutcome::Whole, ReadOutcome::Short))
}

/// Cuts what `fill` puts into buffers, `buffer` being the first, and hands it over in buffers of whole chunks;
/// gives the error that `fill` ended with. `fill` adds to what a buffer holds, and says whether that was the end.
///
/// # Errors
/// Whatever `emit` says.
pub(super) fn cut_stream(
    fill: &mut dyn FnMut(&mut [u8], &mut usize) -> Result<bool>,
    mut buffer: Vec<u8>,
    cutter: &Cutter<'_>,
    pool: &Pool,
    emit: &mut dyn FnMut(Vec<u8>, Vec<usize>) -> Result<()>,
) -> Result<Option<Error>> {
    let mut filled = 0;
    let mut before = 0u64;
    loop {
        let ended = match fill(&mut buffer, &mut filled) {
            Ok(ended) => ended,
            Err(error) => return Ok(Some(error)),
        };
        let mut cuts = Vec::new();
        let mut start = 0;
        while let Some(rest) = buffer.get(start..filled).filter(|rest| !rest.is_empty()) {
            if !ended && rest.len() < cutter.reach() {
                break;
            }
            let length = cutter.cut(rest, before).max(1);
            start = start.saturating_add(length);
            before = before.saturating_add(length as u64);
            cuts.push(start);
        }
        if ended {
            if !cuts.is_empty() {
                emit(buffer, cuts)?;
            }
            return Ok(None);
        }
        let mut next = pool.buffer(u64::MAX);
        let rest = buffer.get(start..filled).unwrap_or_default();
        if let Some(room) = next.get_mut(..rest.len()) {
            room.copy_from_slice(rest);
        }
        filled = rest.len();
        emit(buffer, cuts)?;
        buffer = next;
    }
}

/// How reading ended.
pub(super) enum ReadOutcome {
    /// All of it was there.
    Whole,
    /// The file ended early, at this length.
    Short(u64),
    /// The source could not be read.
    Unreadable(Error),
}

/// The stretches of data between the holes.
fn extents(size: u64, holes: &[Hole]) -> Vec<(u64, u64)> {
    let mut extents = Vec::new();
    let mut start = 0;
    for hole in holes {
        if hole.offset > start {
            extents.push((start, hole.offset));
        }
        start = hole.offset.saturating_add(hole.length);
    }
    if size > start {
        extents.push((start, size));
    }
    extents
}

struct Stream<'a> {
    file: &'a File,
    extents: Vec<(u64, u64)>,
    extent: usize,
    position: u64,
    short: Option<u64>,
}

impl Stream<'_> {
    /// Fills a buffer from `filled` on; says whether the stream ended.
    fn fill(&mut self, buffer: &mut [u8], filled: &mut usize) -> Result<bool> {
        while let Some((start, end)) = self.extents.get(self.extent).copied() {
            let from = self.position.max(start);
            let wanted = usize::try_from(end.saturating_sub(from)).unwrap_or(usize::MAX);
            let room = buffer.len().saturating_sub(*filled);
            let to = filled.saturating_add(wanted.min(room));
            let Some(free) = buffer.get_mut(*filled..to).filter(|free| !free.is_empty()) else { break };
            let read = match self.file.read_at(free, from) {
                Ok(read) => read,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Error::io("cannot be read", error)),
            };
            if read == 0 {
                self.short = Some(from);
                self.extent = self.extents.len();
                break;
            }
            *filled = filled.saturating_add(read);
            self.position = from.saturating_add(read as u64);
            if self.position >= end {
                self.extent = self.extent.saturating_add(1);
            }
        }
        Ok(self.extent >= self.extents.len())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::chunker::gear::Sizes;
    use crate::chunker::gear::tests::naive_cut;
    use crate::format::tests::{Random, each_seed};

    /// Random stretches of a file to be taken for holes: apart, none empty.
    fn random_holes(random: &mut Random, size: u64) -> Vec<Hole> {
        let mut holes = Vec::new();
        let mut offset = random.next() % 2000;
        while random.below(4) > 0 {
            let length = 1 + random.next() % 3000;
            if offset + length > size {
                break;
            }
            holes.push(Hole { offset, length });
            offset += length + 1 + random.next() % 5000;
        }
        holes
    }

    /// The lengths of the chunks that come out, and what is in them.
    fn read(file: &File, size: u64, holes: &[Hole], cutter: &Cutter<'_>, pool: &Pool) -> Vec<Vec<u8>> {
        let mut chunks = Vec::new();
        let outcome = read_chunks(file, size, holes, cutter, pool, &mut |bytes, cuts| {
            let mut start = 0;
            for end in cuts {
                chunks.push(bytes[start..end].to_vec());
                start = end;
            }
            // As the storing side does: what stands in a buffer must not matter to the next.
            pool.returns().send(bytes).unwrap();
            Ok(())
        });
        assert!(matches!(outcome.unwrap(), ReadOutcome::Whole));
        chunks
    }

    #[test]
    fn whatever_is_read_at_a_time_the_cuts_are_those_of_the_text() {
        let mut path = std::env::temp_dir();
        path.push(format!("strongroom-test-read-{}", std::process::id()));
        each_seed(|seed| {
            let mut random = Random::new(seed ^ 0x7265_6164);
            let size = random.below(60_000);
            let bytes = random.bytes(size);
            let mut file =
                File::options().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
            file.write_all(&bytes).unwrap();
            let holes = random_holes(&mut random, size as u64);
            let data: Vec<u8> = extents(size as u64, &holes)
                .into_iter()
                .flat_map(|(start, end)| bytes[start as usize..end as usize].to_vec())
                .collect();

            let average = 64usize << random.below(5);
            let minimum = 64 + 2 * random.below((average - 64) / 2 + 1);
            let sizes = Sizes { minimum, average, maximum: average + 2 * random.below(1000) };
            let mut table = [0; 256];
            table.fill_with(|| random.next());
            let chunker = GearChunker::new(sizes, &table);
            let run = 512 << random.below(5);

            let dump = DumpChunker::new(sizes, &table);
            let finest = |size: usize| (size / 8).max(64) & !1;
            let finest =
                Sizes { minimum: finest(minimum), average: finest(average), maximum: finest(sizes.maximum) };
            for cutter in [Cutter::Gear(&chunker), Cutter::Dump(&dump), Cutter::Runs(run)] {
                let mut expected = Vec::new();
                let mut rest = data.as_slice();
                while !rest.is_empty() {
                    let length = match cutter {
                        Cutter::Gear(_) => naive_cut(rest, sizes, &table),
                        Cutter::Dump(_) => naive_cut(rest, finest, &table),
                        Cutter::Runs(run) => rest.len().min(run),
                    };
                    expected.push(rest[..length].to_vec());
                    rest = &rest[length..];
                }
                for pool in
                    [Pool::new(), Pool::of(cutter.reach()), Pool::of(cutter.reach() + random.below(9000))]
                {
                    assert!(read(&file, size as u64, &holes, &cutter, &pool) == expected, "{sizes:?} {run}");
                }
            }
        });
        std::fs::remove_file(path).unwrap();
    }
}
