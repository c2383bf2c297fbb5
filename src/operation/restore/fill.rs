//! Reading the packs and writing the files.
//!
//! Invariants: each stretch of a pack is read once, its blobs are opened and checked, and each is written to
//! every file that holds it. Where the copy at hand is bad, every other copy is tried before a file is lost.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use rayon::prelude::{IndexedParallelIterator, IntoParallelRefIterator, ParallelIterator};

use super::plan::{FilePlan, Piece, Plan, Stray, spread};
use super::target::{PartialFile, Target};
use crate::backend::{ObjectKind, ObjectName};
use crate::error::{Error, ErrorKind, Result};
use crate::format::blob::BlobKind;
use crate::id::Id;
use crate::interrupt::Interrupt;
use crate::report::{Finding, Reporter, Severity, printable};
use crate::repository::blob::{OpenBuffers, open_frame};
use crate::repository::index::{Index, Place};
use crate::repository::reader::{BLOCK, BlobReader};

/// Longest stretch of a pack that is read at once, in bytes.
const STRETCH_MAX: u64 = 8 << 20;
/// Widest gap that is read over rather than skipped, in bytes.
const GAP_MAX: u64 = 256 << 10;

/// What filling came to.
pub(super) struct Filled {
    pub(super) files: u64,
    pub(super) bytes: u64,
    pub(super) problems: u64,
}

struct Filler<'a> {
    reader: &'a BlobReader<'a>,
    index: Arc<Index>,
    target: &'a Target,
    reporter: &'a dyn Reporter,
    interrupt: &'a Interrupt,
    files: &'a [FilePlan],
    states: Vec<Mutex<State>>,
    done_files: AtomicU64,
    done_bytes: AtomicU64,
    problems: AtomicU64,
}

/// A file being written.
struct State {
    left: u32,
    partial: Option<PartialFile>,
    ended: bool,
}

/// Where a chunk goes.
#[derive(Clone, Copy)]
struct Destination {
    file: u32,
    stream_offset: u64,
}

impl From<&Piece> for Destination {
    fn from(piece: &Piece) -> Self {
        Self { file: piece.file, stream_offset: piece.stream_offset }
    }
}

/// Pieces that lie near each other in one pack.
struct Stretch<'a> {
    pieces: &'a [Piece],
    start: u64,
    end: u64,
}

thread_local! {
    static BUFFERS: RefCell<OpenBuffers> = RefCell::default();
}

/// Writes every file of a plan.
pub(super) fn fill(
    reader: &BlobReader<'_>,
    target: &Target,
    plan: &Plan,
    reporter: &dyn Reporter,
    interrupt: &Interrupt,
) -> Result<Filled> {
    let state = |file: &FilePlan| Mutex::new(State { left: file.pieces, partial: None, ended: false });
    let filler = Filler {
        reader,
        index: Arc::clone(&plan.index),
        target,
        reporter,
        interrupt,
        files: &plan.files,
        states: plan.files.iter().map(state).collect(),
        done_files: AtomicU64::new(0),
        done_bytes: AtomicU64::new(0),
        problems: AtomicU64::new(0),
    };
    filler.without_pieces()?;
    let stretches = filler.stretches(&plan.pieces)?;
    stretches.par_iter().with_max_len(1).try_for_each(|stretch| filler.stretch(stretch))?;
    plan.strays.iter().try_for_each(|stray| filler.stray(stray))?;
    Ok(Filled {
        files: filler.done_files.into_inner(),
        bytes: filler.done_bytes.into_inner(),
        problems: filler.problems.into_inner(),
    })
}

impl Filler<'_> {
    /// Files that are empty, or all hole, or lost before they began.
    fn without_pieces(&self) -> Result<()> {
        self.files.par_iter().enumerate().try_for_each(|(number, file)| {
            self.interrupt.check()?;
            if let Some(error) = &file.lost {
                self.lose(number, &error.chain());
            } else if file.pieces == 0 {
                let mut state = self.state(number)?;
                let made = self.target.create_file(&file.path, file.node.size);
                let written = made.and_then(|partial| self.finish(&mut state, file, partial));
                self.survive(&mut state, file, written)?;
            }
            Ok(())
        })
    }

    fn place(&self, piece: &Piece) -> Result<Place> {
        self.index.place(piece.place)
    }

    fn stretches<'p>(&self, pieces: &'p [Piece]) -> Result<Vec<Stretch<'p>>> {
        let mut stretches = Vec::new();
        let mut first = 0;
        let mut open: Option<(u32, u64, u64)> = None;
        for (number, piece) in pieces.iter().enumerate() {
            let place = self.place(piece)?;
            let (start, end) = (
                u64::from(place.offset),
                u64::from(place.offset).saturating_add(u64::from(place.stored_length)),
            );
            if let Some((pack, from, to)) = open {
                let joins = pack == place.pack
                    && start <= to.saturating_add(GAP_MAX)
                    && end.saturating_sub(from) <= STRETCH_MAX;
                if joins {
                    open = Some((pack, from, to.max(end)));
                    continue;
                }
                let pieces = pieces.get(first..number).unwrap_or_default();
                stretches.push(Stretch { pieces, start: from, end: to });
            }
            open = Some((place.pack, start, end));
            first = number;
        }
        if let Some((_, start, end)) = open {
            stretches.push(Stretch { pieces: pieces.get(first..).unwrap_or_default(), start, end });
        }
        Ok(stretches)
    }

    fn stretch(&self, stretch: &Stretch<'_>) -> Result<()> {
        self.interrupt.check()?;
        let Some(first) = stretch.pieces.first() else { return Ok(()) };
        let pack = self.index.pack(&self.place(first)?)?;
        let start = stretch.start - stretch.start % BLOCK;
        let end = stretch.end.next_multiple_of(BLOCK).min(pack.size);
        let name = ObjectName::new(ObjectKind::Pack, pack.id);
        let read = self.reader.repository().backend().get_range(&name, start, end.saturating_sub(start));
        let mut rest = stretch.pieces;
        while let Some(piece) = rest.first() {
            // Pieces of one place are neighbors: the blob is opened once for all of them.
            let count = rest.iter().take_while(|other| other.place == piece.place).count();
            let (same, behind) = rest.split_at_checked(count.max(1)).unwrap_or((rest, &[]));
            rest = behind;
            let place = self.place(piece)?;
            match &read {
                Ok(bytes) => self.blob(&place, bytes, start, same)?,
                Err(_) => self.blob_from_elsewhere(&place, same)?,
            }
        }
        self.release(stretch.pieces);
        Ok(())
    }

    fn blob(&self, place: &Place, bytes: &[u8], start: u64, pieces: &[Piece]) -> Result<()> {
        let from = usize::try_from(u64::from(place.offset).saturating_sub(start)).unwrap_or(usize::MAX);
        let length = usize::try_from(place.stored_length).unwrap_or(usize::MAX);
        let frame = bytes.get(from..from.saturating_add(length)).unwrap_or_default();
        let repository = self.reader.repository();
        let opened = BUFFERS.with_borrow_mut(|buffers| {
            let key = self.index.content_key(repository, place)?;
            let keyring = repository.keyring();
            let plain = open_frame(keyring, key, place.kind, &place.id, place.plain_length, frame, buffers)?;
            let targets: Vec<Destination> = pieces.iter().map(Destination::from).collect();
            Ok::<_, Error>(self.write(plain, &targets))
        });
        match opened {
            Ok(written) => written,
            Err(_) => self.blob_from_elsewhere(place, pieces),
        }
    }

    fn stray(&self, stray: &Stray) -> Result<()> {
        self.interrupt.check()?;
        let target = Destination { file: stray.file, stream_offset: stray.stream_offset };
        self.fetch(&stray.id, &[target])
    }

    /// The copy that was planned is bad: any other will do.
    fn blob_from_elsewhere(&self, place: &Place, pieces: &[Piece]) -> Result<()> {
        let targets: Vec<Destination> = pieces.iter().map(Destination::from).collect();
        self.fetch(&place.id, &targets)
    }

    fn fetch(&self, id: &Id, targets: &[Destination]) -> Result<()> {
        let mut written = Ok(());
        let read = self.reader.with_blob(BlobKind::Chunk, id, |plain| {
            written = self.write(plain, targets);
            Ok(())
        });
        if let Err(error) = read {
            if matches!(error.kind(), ErrorKind::RoleNotAllowed | ErrorKind::Denied) {
                return Err(error);
            }
            for target in targets {
                self.lose(usize::try_from(target.file).unwrap_or(usize::MAX), &error.chain());
            }
        }
        written
    }

    fn write(&self, plain: &[u8], targets: &[Destination]) -> Result<()> {
        for target in targets {
            let number = usize::try_from(target.file).unwrap_or(usize::MAX);
            let Some(file) = self.files.get(number) else { continue };
            let mut state = self.state(number)?;
            if !state.ended {
                let written = self.write_one(&mut state, file, target.stream_offset, plain);
                self.survive(&mut state, file, written)?;
            }
        }
        Ok(())
    }

    fn write_one(&self, state: &mut State, file: &FilePlan, stream_offset: u64, plain: &[u8]) -> Result<()> {
        let partial = match state.partial.take() {
            Some(partial) => partial,
            None => self.target.create_file(&file.path, file.node.size)?,
        };
        let holes = file.node.holes.as_deref().unwrap_or_default();
        let mut rest = plain;
        for (offset, length) in spread(holes, stream_offset, plain.len() as u64) {
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            let (part, behind) = rest.split_at_checked(length).unwrap_or((rest, &[]));
            partial.write_at(offset, part)?;
            rest = behind;
        }
        self.reporter.progress().add_bytes(plain.len() as u64);
        state.left = state.left.saturating_sub(1);
        if state.left == 0 {
            return self.finish(state, file, partial);
        }
        state.partial = Some(partial);
        Ok(())
    }

    /// A file that cannot be written is lost, and the rest is worth having all the same. Where there is no room
    /// left, nothing more can be written.
    fn survive(&self, state: &mut State, file: &FilePlan, written: Result<()>) -> Result<()> {
        match written {
            Err(error) if error.kind() == ErrorKind::NoSpace => Err(error),
            Err(error) => {
                self.give_up(state, file, &error.chain());
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    fn finish(&self, state: &mut State, file: &FilePlan, partial: PartialFile) -> Result<()> {
        state.ended = true;
        for finding in partial.finish(&file.node)? {
            if finding.severity == Severity::Problem {
                self.problems.fetch_add(1, Ordering::Relaxed);
            }
            self.reporter.report(finding);
        }
        self.done_files.fetch_add(1, Ordering::Relaxed);
        self.done_bytes.fetch_add(file.node.size, Ordering::Relaxed);
        self.reporter.progress().add_files(1);
        Ok(())
    }

    fn lose(&self, number: usize, cause: &str) {
        let (Some(file), Ok(mut state)) = (self.files.get(number), self.state(number)) else { return };
        if !state.ended {
            self.give_up(&mut state, file, cause);
        }
    }

    /// A file cannot be restored: what was written of it goes away.
    fn give_up(&self, state: &mut State, file: &FilePlan, cause: &str) {
        state.ended = true;
        drop(state.partial.take());
        self.problems.fetch_add(1, Ordering::Relaxed);
        let finding = Finding::problem(printable(&file.path), format!("is not restored: {cause}"));
        self.reporter.report(finding.with_hint("an older or newer snapshot may hold it whole"));
    }

    /// Files that wait for chunks from elsewhere keep no descriptor meanwhile.
    fn release(&self, pieces: &[Piece]) {
        for piece in pieces {
            if let Ok(state) = self.state(usize::try_from(piece.file).unwrap_or(usize::MAX))
                && let Some(partial) = &state.partial
            {
                partial.release_handle();
            }
        }
    }

    fn state(&self, number: usize) -> Result<std::sync::MutexGuard<'_, State>> {
        self.states
            .get(number)
            .and_then(|state| state.lock().ok())
            .ok_or_else(|| Error::refused("another thread failed while it restored a file"))
    }
}
