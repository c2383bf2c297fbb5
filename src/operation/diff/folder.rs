//! A snapshot beside a folder on disk: one merge of the walk with the tree.
//!
//! Invariant: no link is followed below the folder, and nothing is written. Whether a file has the contents that a snapshot
//! holds is told by the ids of its chunks, which takes no key that reads them; but for the header of a database, of which a copy
//! never is the same byte for byte.

use std::fs::File;
use std::io::ErrorKind as IoErrorKind;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::{Change, Modifier, Statistics, metadata_differs, modified};
use crate::error::{Error, ErrorKind, Result};
use crate::format::blob::BlobKind;
use crate::format::node::{Content, Hole, Node, NodeKind};
use crate::format::path;
use crate::format::tree::LeafEntry;
use crate::id::Id;
use crate::interrupt::Interrupt;
use crate::report::{Finding, Reporter, printable};
use crate::repository::content::visit_chunks;
use crate::repository::index::Index;
use crate::repository::keyring::Keyring;
use crate::repository::reader::BlobReader;
use crate::repository::tree::{Root, TreeReader, lookup};
use crate::source::files::{self, Entry, ExcludeOptions, Excludes, Plan};

/// What a SQLite database begins with.
const DATABASE: &[u8] = b"SQLite format 3\0";
/// The fields of its header that say how often and by which version it was written: a copy has its own.
const COPY_FIELDS: [Range<usize>; 2] = [24..28, 92..100];

/// How to compare.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Whether mode, owner, time and attributes count where the contents are the same.
    pub metadata: bool,
    /// Whether files are read, and compared by their contents alone. Otherwise size and time decide.
    pub contents: bool,
}

/// Compares what lies below a path of a snapshot with a folder on disk, and hands out the changes in the order of their
/// paths: what is in the folder only is new.
///
/// # Errors
/// Where there is no folder at one of the two; where the repository cannot be read. What cannot be read on disk is
/// reported.
pub fn compare(
    reader: &BlobReader<'_>,
    (root, place): (Root, &[u8]),
    folder: &Path,
    options: Options,
    reporter: &dyn Reporter,
    interrupt: &Interrupt,
    visit: &mut dyn FnMut(&Change) -> Result<()>,
) -> Result<Statistics> {
    require_folders(reader, root, place, folder)?;
    let mut tree = TreeReader::below(reader, root, place);
    let next = tree.next_entry()?;
    let index = reader.index()?;
    let statistics = Statistics::default();
    let mut merge =
        Merge { reader, index: &index, tree, next, place, options, reporter, interrupt, statistics, visit };
    let mut plan = Plan::new();
    plan.map(b"", folder)?;
    let excludes = Excludes::new(&ExcludeOptions::default())?;
    let walked = files::walk(&plan, &excludes, reporter, &mut |entry| merge.meet(&entry))?;
    while merge.next.is_some() {
        merge.removed()?;
    }
    let mut statistics = merge.statistics;
    statistics.problems = statistics.problems.saturating_add(walked.problems);
    Ok(statistics)
}

fn require_folders(reader: &BlobReader<'_>, root: Root, place: &[u8], folder: &Path) -> Result<()> {
    let shown = printable(folder.as_os_str().as_encoded_bytes());
    let found = folder.metadata().map_err(|error| Error::io(format!("cannot look at {shown}"), error))?;
    if !found.is_dir() {
        return Err(Error::refused(format!("{shown} is not a folder")).hint("name a folder by --folder"));
    }
    let node = lookup(reader, root, place)?;
    if node.is_some_and(|node| node.kind != NodeKind::Directory) {
        return Err(Error::refused(format!("/{} is not a folder in the snapshot", printable(place)))
            .hint("name the folder that holds it, as SNAPSHOT:PATH"));
    }
    Ok(())
}

struct Merge<'a, 'v> {
    reader: &'a BlobReader<'a>,
    index: &'a Index,
    tree: TreeReader<'a>,
    /// What comes next in the snapshot.
    next: Option<LeafEntry>,
    place: &'a [u8],
    options: Options,
    reporter: &'a dyn Reporter,
    interrupt: &'a Interrupt,
    statistics: Statistics,
    visit: &'v mut dyn FnMut(&Change) -> Result<()>,
}

impl Merge<'_, '_> {
    /// Takes the next thing on disk.
    fn meet(&mut self, entry: &Entry) -> Result<()> {
        self.interrupt.check()?;
        self.reporter.progress().add_files(1);
        loop {
            let order = self.next.as_ref().map(|next| path::compare(self.relative(&next.path), &entry.path));
            match order {
                Some(std::cmp::Ordering::Less) => self.removed()?,
                Some(std::cmp::Ordering::Equal) => {
                    let Some(next) = self.next.take() else { return Ok(()) };
                    self.next = self.tree.next_entry()?;
                    return self.both(entry, &next.node);
                }
                _ => {
                    return self.tell(Modifier::Added, entry.path.clone(), None, Some(&entry.node));
                }
            }
        }
    }

    /// Takes what is in the snapshot only.
    fn removed(&mut self) -> Result<()> {
        let Some(next) = self.next.take() else { return Ok(()) };
        self.next = self.tree.next_entry()?;
        let path = self.relative(&next.path).to_vec();
        self.tell(Modifier::Removed, path, Some(&next.node), None)
    }

    fn both(&mut self, entry: &Entry, old: &Node) -> Result<()> {
        let new = &entry.node;
        let modifier = if old.kind == new.kind {
            match self.contents_differ(entry, old) {
                Ok(true) => Some(modified(old, new)),
                Ok(false) => self.metadata_differs(entry, old).then_some(Modifier::Metadata),
                Err(error) if error.kind() == ErrorKind::Interrupted => return Err(error),
                Err(error) => {
                    let subject = printable(entry.host_path().as_os_str().as_encoded_bytes());
                    self.problem(Finding::problem(subject, format!("cannot be compared: {}", error.chain())));
                    None
                }
            }
        } else {
            Some(Modifier::Type)
        };
        match modifier {
            Some(modifier) => self.tell(modifier, entry.path.clone(), Some(old), Some(new)),
            None => Ok(()),
        }
    }

    fn contents_differ(&self, entry: &Entry, old: &Node) -> Result<bool> {
        let new = &entry.node;
        if new.kind != NodeKind::File {
            return Ok(old.link_target != new.link_target || old.device_number != new.device_number);
        }
        if old.size != new.size {
            return Ok(true);
        }
        if !self.options.contents {
            return Ok(old.mtime != new.mtime);
        }
        let file = entry.open()?;
        let keyring = self.reader.repository().keyring();
        let mut reading =
            Reading { file: &file, keyring, index: self.index, position: 0, buffer: Vec::new() };
        reading.differs(self.reader, old, self.reporter, self.interrupt)
    }

    fn metadata_differs(&mut self, entry: &Entry, old: &Node) -> bool {
        if !self.options.metadata {
            return false;
        }
        match entry.attributes() {
            Ok(attributes) => metadata_differs(old, &Node { attributes, ..entry.node.clone() }),
            Err(error) => {
                let subject = printable(entry.host_path().as_os_str().as_encoded_bytes());
                self.problem(Finding::problem(subject, format!("its attributes: {}", error.chain())));
                false
            }
        }
    }

    fn problem(&mut self, finding: Finding) {
        self.statistics.problems = self.statistics.problems.saturating_add(1);
        self.reporter.report(finding);
    }

    fn tell(
        &mut self,
        modifier: Modifier,
        path: Vec<u8>,
        old: Option<&Node>,
        new: Option<&Node>,
    ) -> Result<()> {
        let statistics = &mut self.statistics;
        statistics.count(modifier, old, new);
        if modifier != Modifier::Metadata {
            let bytes = |node: Option<&Node>| node.map_or(0, |node| node.size);
            statistics.added.bytes = statistics.added.bytes.saturating_add(bytes(new));
            statistics.removed.bytes = statistics.removed.bytes.saturating_add(bytes(old));
        }
        let Some(shown) = new.or(old) else { return Ok(()) };
        (self.visit)(&Change { path, modifier, kind: shown.kind })
    }

    /// A path of the snapshot below the folder that is compared.
    fn relative<'p>(&self, path: &'p [u8]) -> &'p [u8] {
        let rest = path.strip_prefix(self.place).unwrap_or(path);
        rest.strip_prefix(b"/").unwrap_or(rest)
    }
}

/// A file that is held against the chunks of a node.
struct Reading<'a> {
    file: &'a File,
    keyring: &'a Keyring,
    index: &'a Index,
    position: u64,
    buffer: Vec<u8>,
}

impl Reading<'_> {
    /// Whether a file of the same size holds anything else. The index tells where each chunk ends, so nothing has to be
    /// cut anew.
    fn differs(
        &mut self,
        reader: &BlobReader<'_>,
        old: &Node,
        reporter: &dyn Reporter,
        interrupt: &Interrupt,
    ) -> Result<bool> {
        let empty = Content::default();
        let content = old.content.as_ref().unwrap_or(&empty);
        let mut holes = old.holes.iter().flatten().copied().peekable();
        let mut differs = false;
        let walked = visit_chunks(reader, content, &mut |_, _| Ok(()), &mut |id| {
            interrupt.check()?;
            let length = self.index.plain_length(BlobKind::Chunk, id)?;
            let length = length.ok_or_else(|| {
                Error::missing(format!("its chunk {} lies in no pack that the index names", id.short()))
            })?;
            let begins = self.position == 0;
            self.buffer.clear();
            let wanted = usize::try_from(length).unwrap_or(usize::MAX);
            while self.buffer.len() < wanted && !differs {
                differs |= self.pass_holes(&mut holes)?;
                let until = holes.peek().map_or(u64::MAX, |hole| hole.offset.saturating_sub(self.position));
                let left = wanted.saturating_sub(self.buffer.len());
                let part = left.min(usize::try_from(until).unwrap_or(usize::MAX));
                differs |= !self.read(part)?;
            }
            if !differs && self.keyring.blob_id(BlobKind::Chunk, &self.buffer) != *id {
                differs = !(begins && self.is_same_database(reader, id)?);
            }
            reporter.progress().add_bytes(u64::from(length));
            if differs { Err(found()) } else { Ok(u64::from(length)) }
        });
        match walked {
            Err(_) if differs => Ok(true),
            Err(error) => Err(error),
            Ok(()) => Ok(self.pass_holes(&mut holes)? || self.position != old.size),
        }
    }

    /// Whether what was read is the beginning of a database that differs from the stored one in what copying it changes.
    fn is_same_database(&self, reader: &BlobReader<'_>, id: &Id) -> Result<bool> {
        if !self.buffer.starts_with(DATABASE) || !self.keyring.opens(BlobKind::Chunk.class()) {
            return Ok(false);
        }
        let is_content = |(at, _): &(usize, &u8)| !COPY_FIELDS.iter().any(|field| field.contains(at));
        reader.with_blob(BlobKind::Chunk, id, |stored| {
            let here = self.buffer.iter().enumerate().filter(is_content);
            Ok(here.eq(stored.iter().enumerate().filter(is_content)))
        })
    }

    /// Passes the holes that begin here; says whether there is anything in them.
    fn pass_holes(&mut self, holes: &mut std::iter::Peekable<impl Iterator<Item = Hole>>) -> Result<bool> {
        while let Some(hole) = holes.next_if(|hole| hole.offset == self.position) {
            let filled = self.buffer.len();
            let mut left = hole.length;
            while left > 0 {
                let part = usize::try_from(left).unwrap_or(usize::MAX).min(256 << 10);
                let whole = self.read(part)?;
                let zeros = self.buffer.get(filled..).is_some_and(|read| read.iter().all(|byte| *byte == 0));
                self.buffer.truncate(filled);
                if !whole || !zeros {
                    return Ok(true);
                }
                left = left.saturating_sub(part as u64);
            }
        }
        Ok(false)
    }

    /// Adds so many bytes to the buffer; says whether the file has so many.
    fn read(&mut self, length: usize) -> Result<bool> {
        let start = self.buffer.len();
        self.buffer.resize(start.saturating_add(length), 0);
        let part = self.buffer.get_mut(start..).unwrap_or_default();
        match self.file.read_exact_at(part, self.position) {
            Ok(()) => {
                self.position = self.position.saturating_add(length as u64);
                Ok(true)
            }
            Err(error) if error.kind() == IoErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(Error::io("cannot read the file", error)),
        }
    }
}

/// Ends a walk through chunks of which one is not as it was.
fn found() -> Error {
    Error::refused("a chunk differs")
}
