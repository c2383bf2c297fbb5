//! Which chunks of a file in the target are right where they lie, so that they need not come from the repository.
//!
//! Invariant: a chunk is right if its bytes give its id. What was found to be right is proved again when it is copied.

use std::cell::RefCell;

use rayon::prelude::{IntoParallelRefIterator, ParallelIterator};
use rustix::fd::OwnedFd;
use rustix::fs::{SeekFrom, seek};
use rustix::io::{Errno, retry_on_intr};

use super::Context;
use super::plan::{FilePlan, Piece, Plan, Standing, spread};
use super::target::Target;
use crate::error::{Error, Result};
use crate::format::blob::BlobKind;
use crate::format::node::Hole;
use crate::id::Id;
use crate::repository::keyring::Keyring;

thread_local! {
    static CHUNK: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// What a file in the target is worth.
enum Verdict {
    /// Its contents are right.
    Equal,
    /// Of its chunks, those that are right.
    Partly(Vec<bool>),
}

/// Compares all files that are to be compared; what they have right leaves the pieces that are fetched.
pub(super) fn compare(context: &Context<'_>, target: &Target, plan: &mut Plan) -> Result<()> {
    let compared = std::mem::take(&mut plan.compared);
    let verdicts: Vec<(u32, usize, usize, Verdict)> = {
        let plan = &*plan;
        let verdict = |(number, start): &(u32, usize)| {
            context.interrupt.check()?;
            let nothing = || Error::refused("a file that is not in the plan");
            let file = usize::try_from(*number).ok().and_then(|at| plan.files.get(at)).ok_or_else(nothing)?;
            let count = usize::try_from(file.pieces).map_err(|_| nothing())?;
            let end = start.saturating_add(count);
            let pieces = plan.pieces.get(*start..end).ok_or_else(nothing)?;
            Ok((*number, *start, end, one(context, target, plan, file, pieces)?))
        };
        compared.par_iter().map(verdict).collect::<Result<_>>()?
    };
    let mut wanted = vec![true; plan.pieces.len()];
    for (number, start, end, verdict) in verdicts {
        let Some(file) = usize::try_from(number).ok().and_then(|at| plan.files.get_mut(at)) else { continue };
        let pieces = plan.pieces.get(start..end).unwrap_or_default();
        let flags = wanted.get_mut(start..end).unwrap_or_default();
        let right = match verdict {
            Verdict::Equal => {
                file.standing = Standing::Equal;
                file.pieces = 0;
                flags.fill(false);
                continue;
            }
            Verdict::Partly(right) => right,
        };
        let reused: Box<[Piece]> =
            pieces.iter().zip(&right).filter(|(_, right)| **right).map(|(piece, _)| *piece).collect();
        flags.iter_mut().zip(&right).for_each(|(wanted, right)| *wanted = !right);
        file.pieces = file.pieces.saturating_sub(u32::try_from(reused.len()).unwrap_or(u32::MAX));
        if !reused.is_empty() {
            plan.reused.insert(number, reused);
        }
    }
    let mut wanted = wanted.into_iter();
    plan.pieces.retain(|_| wanted.next().unwrap_or(true));
    Ok(())
}

fn one(
    context: &Context<'_>,
    target: &Target,
    plan: &Plan,
    file: &FilePlan,
    pieces: &[Piece],
) -> Result<Verdict> {
    let nothing = Verdict::Partly(vec![false; pieces.len()]);
    let Some((open, seen)) = target.open_existing(&file.path).ok().flatten() else { return Ok(nothing) };
    let keyring = context.reader.repository().keyring();
    let mut right = Vec::with_capacity(pieces.len());
    for piece in pieces {
        context.interrupt.check()?;
        let place = plan.index.place(piece.place).ok();
        right.push(place.is_some_and(|place| {
            let length = u64::from(place.plain_length);
            is_right(keyring, &open, file.lean.holes(), piece.stream_offset, length, &place.id)
        }));
    }
    let whole = seen.size == file.lean.size && right.iter().all(|right| *right);
    let whole = whole && file.lean.holes().iter().all(|hole| is_zero(&open, hole).unwrap_or(false));
    // What has other names does not get other metadata, for that would show under them too.
    if whole && (seen.links == 1 || !target.differs(&open, &file.lean.node())) {
        return Ok(Verdict::Equal);
    }
    Ok(Verdict::Partly(right))
}

/// Whether a chunk lies in a file where it belongs.
pub(super) fn is_right(
    keyring: &Keyring,
    file: &OwnedFd,
    holes: &[Hole],
    stream_offset: u64,
    length: u64,
    id: &Id,
) -> bool {
    with_chunk(keyring, file, holes, stream_offset, length, id, |_| ()).is_some()
}

/// Hands a chunk to `use_chunk` if it lies in a file where it belongs.
pub(super) fn with_chunk<T>(
    keyring: &Keyring,
    file: &OwnedFd,
    holes: &[Hole],
    stream_offset: u64,
    length: u64,
    id: &Id,
    use_chunk: impl FnOnce(&[u8]) -> T,
) -> Option<T> {
    // Taken out, not borrowed: whoever uses the chunk may ask for another.
    let mut chunk = CHUNK.take();
    chunk.resize(usize::try_from(length).ok()?, 0);
    let mut rest = chunk.as_mut_slice();
    let mut read = true;
    for (offset, length) in spread(holes, stream_offset, length) {
        let length = usize::try_from(length).unwrap_or(usize::MAX).min(rest.len());
        let (part, behind) = rest.split_at_mut(length);
        read = read && read_exactly(file, offset, part).unwrap_or(false);
        rest = behind;
    }
    let used = (read && keyring.blob_id(BlobKind::Chunk, &chunk) == *id).then(|| use_chunk(&chunk));
    CHUNK.set(chunk);
    used
}

/// Reads a stretch; false where the file ends before.
fn read_exactly(file: &OwnedFd, mut offset: u64, mut part: &mut [u8]) -> Result<bool, Errno> {
    while !part.is_empty() {
        let read = retry_on_intr(|| rustix::io::pread(file, &mut *part, offset))?;
        if read == 0 {
            return Ok(false);
        }
        offset = offset.saturating_add(read as u64);
        part = part.get_mut(read..).unwrap_or_default();
    }
    Ok(true)
}

/// Whether a stretch of a file reads as zeros; holes of the file are passed over.
pub(super) fn is_zero(file: &OwnedFd, hole: &Hole) -> Result<bool, Errno> {
    let end = hole.offset.saturating_add(hole.length);
    let mut position = hole.offset;
    let mut buffer = vec![0; 64 << 10];
    while position < end {
        position = match seek(file, SeekFrom::Data(position)) {
            Ok(data) => data.max(position),
            Err(Errno::NXIO) => return Ok(true),
            // A file system that knows no holes.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => position,
            Err(errno) => return Err(errno),
        };
        let length = usize::try_from(end.saturating_sub(position)).unwrap_or(usize::MAX).min(buffer.len());
        let part = buffer.get_mut(..length).unwrap_or_default();
        if !read_exactly(file, position, part)? || part.iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        position = position.saturating_add(length as u64);
    }
    Ok(true)
}
