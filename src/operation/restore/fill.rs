//! Reading the packs and writing the files.
//!
//! Invariants: each stretch of a pack is read once, its blobs are opened and checked, and each is written to
//! every file that holds it. Where the copy at hand is bad, every other copy is tried before a file is lost.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::{IndexedParallelIterator, IntoParallelRefIterator, ParallelIterator};

use super::Context;
use super::logs::Logs;
use super::lone_logs;
use super::others::Unmade;
use super::plan::{FilePlan, Piece, Plan, Standing, Stray, spread};
use super::request::{Action, Summary};
use super::target::{PartialFile, Target};
use crate::backend::{ObjectKind, ObjectName, aligned};
use crate::error::{Error, ErrorKind, Result};
use crate::format::blob::BlobKind;
use crate::id::Id;
use crate::report::{Finding, Severity, printable};
use crate::repository::blob::{OpenBuffers, open_frame};
use crate::repository::index::{Index, Place};

/// Longest stretch of a pack that is read at once, in bytes.
const STRETCH_MAX: u64 = 8 << 20;
/// Widest gap that is read over rather than skipped, in bytes.
const GAP_MAX: u64 = 256 << 10;

/// What to do where a file's contents cannot be read.
pub(super) const OTHER_SNAPSHOT: &str = "an older or newer snapshot may hold it whole";

/// What filling came to.
pub(super) struct Filled {
    /// The files that could not be restored, by their numbers.
    pub(super) lost: BTreeSet<u32>,
    counts: Counts,
}

/// What was done so far.
#[derive(Default)]
struct Counts {
    files: AtomicU64,
    bytes: AtomicU64,
    unchanged: AtomicU64,
    bytes_unchanged: AtomicU64,
    mended: AtomicU64,
    fetched: AtomicU64,
    problems: AtomicU64,
}

impl Filled {
    /// Adds all of it to a summary.
    pub(super) fn count(&self, summary: &mut Summary) {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        summary.files = of(&self.counts.files);
        summary.bytes = of(&self.counts.bytes);
        summary.files_unchanged = of(&self.counts.unchanged);
        summary.bytes_unchanged = of(&self.counts.bytes_unchanged);
        summary.mended = of(&self.counts.mended);
        summary.bytes_fetched = of(&self.counts.fetched);
        summary.problems = summary.problems.saturating_add(of(&self.counts.problems));
    }
}

pub(super) struct Filler<'a, 'c> {
    pub(super) context: &'a Context<'c>,
    pub(super) plan: &'a Plan,
    logs: &'a Logs,
    index: Arc<Index>,
    pub(super) target: &'a Target,
    states: Vec<Mutex<State>>,
    counts: Counts,
    pub(super) lost: Mutex<BTreeSet<u32>>,
    /// Logs that get their names once their databases have theirs.
    pub(super) later: BTreeSet<u32>,
    /// Files of which a place can no longer be looked up.
    pub(super) broken: Mutex<BTreeSet<u32>>,
}

/// A file being written.
pub(super) struct State {
    pub(super) left: u32,
    pub(super) partial: Option<Box<PartialFile>>,
    pub(super) ended: bool,
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

/// Writes every file of a plan, and mends those whose contents are right.
pub(super) fn fill(
    context: &Context<'_>,
    target: &Target,
    plan: &Plan,
    logs: &Logs,
    unmade: &Unmade,
) -> Result<Filled> {
    let state = |file: &FilePlan| {
        let ended = unmade.holds(&file.path);
        Mutex::new(State { left: file.pieces, partial: None, ended })
    };
    let skipped = plan.files.iter().enumerate().filter(|(_, file)| unmade.holds(&file.path));
    let filler = Filler {
        context,
        plan,
        logs,
        index: Arc::clone(&plan.index),
        target,
        states: plan.files.iter().map(state).collect(),
        counts: Counts::default(),
        lost: Mutex::new(skipped.filter_map(|(number, _)| u32::try_from(number).ok()).collect()),
        later: lone_logs::of_files(plan),
        broken: Mutex::default(),
    };
    filler.without_pieces()?;
    let stretches = filler.stretches(&plan.pieces);
    stretches.par_iter().with_max_len(1).try_for_each(|stretch| filler.stretch(stretch))?;
    plan.strays.iter().try_for_each(|stray| filler.stray(stray))?;
    filler.begin_again()?;
    filler.finish_logs()?;
    let lost = filler.lost.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(Filled { lost, counts: filler.counts })
}

impl Filler<'_, '_> {
    /// Files that are empty, or all hole, or lost before they began, or there already.
    fn without_pieces(&self) -> Result<()> {
        self.plan.files.par_iter().enumerate().try_for_each(|(number, file)| {
            self.context.interrupt.check()?;
            if self.state(number)?.ended {
                return Ok(());
            }
            if let Some(error) = &file.lost {
                let hint = error.next_step().unwrap_or(OTHER_SNAPSHOT);
                self.lose(number, &error.chain(), hint);
            } else if matches!(file.standing, Standing::Same | Standing::Equal) {
                let mut state = self.state(number)?;
                let mended = self.mend(&mut state, file);
                self.survive(&mut state, number, file, mended)?;
            } else if file.pieces == 0 {
                let mut state = self.state(number)?;
                let written =
                    self.begin(number, file).and_then(|partial| self.end(&mut state, number, file, partial));
                self.survive(&mut state, number, file, written)?;
            }
            Ok(())
        })
    }

    fn mend(&self, state: &mut State, file: &FilePlan) -> Result<()> {
        let mend = || self.target.mend_file(&file.path, &file.lean.node());
        let (changed, findings) = self.logs.aside(self.context, self.target, &file.path, mend)?;
        self.report(findings);
        state.ended = true;
        let count = |counter: &AtomicU64, by| counter.fetch_add(by, Ordering::Relaxed);
        count(&self.counts.unchanged, 1);
        count(&self.counts.bytes_unchanged, file.lean.size);
        count(&self.counts.mended, u64::from(changed));
        let progress = self.context.reporter.progress();
        progress.add_files(1);
        progress.add_bytes(file.lean.size);
        let action = if changed { Action::Mended } else { Action::Unchanged };
        self.context.request.tell(action, &file.path, file.lean.size, false);
        Ok(())
    }

    fn place(&self, piece: &Piece) -> Result<Place> {
        self.index.place(piece.place)
    }

    fn stretches<'p>(&self, pieces: &'p [Piece]) -> Vec<Stretch<'p>> {
        let mut stretches = Vec::new();
        let mut first = 0;
        let mut open: Option<(u32, u64, u64)> = None;
        for (number, piece) in pieces.iter().enumerate() {
            // Those whose places cannot be looked up stand at the end.
            let Ok(place) = self.place(piece) else {
                self.give_back(pieces.get(number..).unwrap_or_default());
                if let Some((_, start, end)) = open.take() {
                    let pieces = pieces.get(first..number).unwrap_or_default();
                    stretches.push(Stretch { pieces, start, end });
                }
                break;
            };
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
        stretches
    }

    /// Takes note that the files of these pieces have to be looked up anew.
    fn give_back(&self, pieces: &[Piece]) {
        let mut broken = self.broken.lock().unwrap_or_else(PoisonError::into_inner);
        broken.extend(pieces.iter().map(|piece| piece.file));
    }

    fn stretch(&self, stretch: &Stretch<'_>) -> Result<()> {
        self.context.interrupt.check()?;
        let Some(first) = stretch.pieces.first() else { return Ok(()) };
        let Ok(pack) = self.place(first).and_then(|place| self.index.pack(&place)) else {
            self.give_back(stretch.pieces);
            return Ok(());
        };
        let name = ObjectName::new(ObjectKind::Pack, pack.id);
        let backend = self.context.reader.repository().backend();
        let (start, length) = aligned(stretch.start, stretch.end, backend.alignment(), pack.size);
        let read = backend.get_range(&name, start, length);
        let mut rest = stretch.pieces;
        while let Some(piece) = rest.first() {
            // Pieces of one place are neighbors: the blob is opened once for all of them.
            let count = rest.iter().take_while(|other| other.place == piece.place).count();
            let (same, behind) = rest.split_at_checked(count.max(1)).unwrap_or((rest, &[]));
            rest = behind;
            match (self.place(piece), &read) {
                (Ok(place), Ok(bytes)) => self.blob(&place, bytes, start, same)?,
                (Ok(place), Err(_)) => self.blob_from_elsewhere(&place, same)?,
                (Err(_), _) => self.give_back(same),
            }
        }
        self.release(stretch.pieces);
        Ok(())
    }

    fn blob(&self, place: &Place, bytes: &[u8], start: u64, pieces: &[Piece]) -> Result<()> {
        let from = usize::try_from(u64::from(place.offset).saturating_sub(start)).unwrap_or(usize::MAX);
        let length = usize::try_from(place.stored_length).unwrap_or(usize::MAX);
        let frame = bytes.get(from..from.saturating_add(length)).unwrap_or_default();
        let repository = self.context.reader.repository();
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

    pub(super) fn stray(&self, stray: &Stray) -> Result<()> {
        self.context.interrupt.check()?;
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
        let read = self.context.reader.with_blob(BlobKind::Chunk, id, |plain| {
            written = self.write(plain, targets);
            Ok(())
        });
        if let Err(error) = read {
            if matches!(error.kind(), ErrorKind::RoleNotAllowed | ErrorKind::Denied) {
                return Err(error);
            }
            for target in targets {
                let number = usize::try_from(target.file).unwrap_or(usize::MAX);
                self.lose(number, &error.chain(), OTHER_SNAPSHOT);
            }
        }
        written
    }

    fn write(&self, plain: &[u8], targets: &[Destination]) -> Result<()> {
        for target in targets {
            let number = usize::try_from(target.file).unwrap_or(usize::MAX);
            let Some(file) = self.plan.files.get(number) else { continue };
            let mut state = self.state(number)?;
            if !state.ended {
                let written = self.write_one(&mut state, number, file, target.stream_offset, plain);
                self.survive(&mut state, number, file, written)?;
            }
        }
        Ok(())
    }

    fn write_one(
        &self,
        state: &mut State,
        number: usize,
        file: &FilePlan,
        stream_offset: u64,
        plain: &[u8],
    ) -> Result<()> {
        let partial = match state.partial.take() {
            Some(partial) => partial,
            None => self.begin(number, file)?,
        };
        write_chunk(&partial, file, stream_offset, plain)?;
        self.context.reporter.progress().add_bytes(plain.len() as u64);
        self.counts.fetched.fetch_add(plain.len() as u64, Ordering::Relaxed);
        state.left = state.left.saturating_sub(1);
        if state.left == 0 {
            return self.end(state, number, file, partial);
        }
        state.partial = Some(partial);
        Ok(())
    }

    fn end(
        &self,
        state: &mut State,
        number: usize,
        file: &FilePlan,
        partial: Box<PartialFile>,
    ) -> Result<()> {
        if u32::try_from(number).is_ok_and(|number| self.later.contains(&number)) {
            partial.release_handle();
            state.partial = Some(partial);
            return Ok(());
        }
        self.finish(state, file, *partial)
    }

    /// A file that cannot be written is lost, and the rest is worth having all the same. Where there is no room
    /// left, nothing more can be written.
    pub(super) fn survive(
        &self,
        state: &mut State,
        number: usize,
        file: &FilePlan,
        written: Result<()>,
    ) -> Result<()> {
        match written {
            Err(error) if matches!(error.kind(), ErrorKind::NoSpace | ErrorKind::Interrupted) => Err(error),
            Err(error) => {
                self.give_up(state, number, file, &error.chain(), error.next_step());
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    fn report(&self, findings: Vec<Finding>) {
        for finding in findings {
            if finding.severity == Severity::Problem {
                self.counts.problems.fetch_add(1, Ordering::Relaxed);
            }
            self.context.reporter.report(finding);
        }
    }

    pub(super) fn finish(&self, state: &mut State, file: &FilePlan, partial: PartialFile) -> Result<()> {
        state.ended = true;
        let replace = file.standing != Standing::Absent;
        let finish = || partial.finish_over(&file.lean.node(), replace);
        self.report(self.logs.aside(self.context, self.target, &file.path, finish)?);
        self.counts.files.fetch_add(1, Ordering::Relaxed);
        self.counts.bytes.fetch_add(file.lean.size, Ordering::Relaxed);
        self.context.reporter.progress().add_files(1);
        let action = if replace { Action::Updated } else { Action::Restored };
        self.context.request.tell(action, &file.path, file.lean.size, false);
        Ok(())
    }

    fn lose(&self, number: usize, cause: &str, hint: &str) {
        let (Some(file), Ok(mut state)) = (self.plan.files.get(number), self.state(number)) else { return };
        if !state.ended {
            self.give_up(&mut state, number, file, cause, Some(hint));
        }
    }

    /// A file cannot be restored: what was written of it goes away, and what was there before stays.
    pub(super) fn give_up(
        &self,
        state: &mut State,
        number: usize,
        file: &FilePlan,
        cause: &str,
        hint: Option<&str>,
    ) {
        state.ended = true;
        drop(state.partial.take());
        let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        lost.extend(u32::try_from(number));
        drop(lost);
        self.counts.problems.fetch_add(1, Ordering::Relaxed);
        let mut finding = Finding::problem(printable(&file.path), format!("is not restored: {cause}"));
        finding.hint = hint.map(str::to_owned);
        self.context.reporter.report(finding);
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

    pub(super) fn state(&self, number: usize) -> Result<std::sync::MutexGuard<'_, State>> {
        self.states
            .get(number)
            .and_then(|state| state.lock().ok())
            .ok_or_else(|| Error::refused("another thread failed while it restored a file"))
    }
}

/// Writes a chunk where it belongs in a file.
pub(super) fn write_chunk(
    partial: &PartialFile,
    file: &FilePlan,
    stream_offset: u64,
    plain: &[u8],
) -> Result<()> {
    let mut rest = plain;
    for (offset, length) in spread(file.lean.holes(), stream_offset, plain.len() as u64) {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let (part, behind) = rest.split_at_checked(length).unwrap_or((rest, &[]));
        partial.write_at(offset, part)?;
        rest = behind;
    }
    Ok(())
}
