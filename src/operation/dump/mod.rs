//! What lies at a path of a snapshot, as a stream: a file as it is, a folder as an archive.
//!
//! Invariants: every byte that is written was proved by its chunk's id. What is lost is left out and named where that is known
//! before it starts, and otherwise ends the stream with an error, an archive without its end; nothing is made up.

mod ahead;
pub(super) mod contents;
mod tar;
mod zip;

use std::collections::HashSet;
use std::io::Write;
use std::sync::mpsc::sync_channel;

use super::restore::find;
use crate::error::{Error, ErrorKind, Result};
use crate::format::key_slot::Role;
use crate::format::node::{Node, NodeKind};
use crate::format::path;
use crate::interrupt::Interrupt;
use crate::report::{Finding, Reporter, printable};
use crate::repository::Repository;
use crate::repository::reader::BlobReader;
use crate::repository::snapshot::Snapshot;
use crate::repository::tree::TreeReader;

use ahead::{Ahead, Blobs, Start, Step, Window, stops};
use contents::{Contents, cannot_write};
use tar::Tar;
use zip::Zip;

/// Files up to this size are summed before they are written to a zip archive, so that any reader takes them from a pipe.
const SUMMED_MAX: u64 = 64 << 20;

/// How a folder is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// POSIX pax.
    Tar,
    /// Zip, not compressed.
    Zip,
}

/// What is to be dumped.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The snapshot.
    pub snapshot: &'a Snapshot,
    /// Where it lies.
    pub place: &'a [u8],
    /// The folder that names in the archive are relative to: `place` or a folder above it.
    pub base: &'a [u8],
    /// How a folder is written.
    pub format: Format,
}

/// What a dump wrote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Files, further names of a file included.
    pub files: u64,
    /// Folders.
    pub directories: u64,
    /// Links, pipes and devices.
    pub others: u64,
    /// Bytes of the files.
    pub bytes: u64,
    /// What was left out though it ought to be there.
    pub problems: u64,
}

/// What is dumped, so that a caller may refuse to write an archive to a terminal.
pub struct Dump<'a> {
    reader: BlobReader<'a>,
    request: Request<'a>,
    is_file: bool,
}

impl<'a> Dump<'a> {
    /// Finds it.
    ///
    /// # Errors
    /// `RoleNotAllowed` without a key of role full, `Missing` where nothing lies there, `Refused` where it is neither a
    /// folder nor a file.
    pub fn find(repository: &'a Repository, request: Request<'a>, reporter: &dyn Reporter) -> Result<Self> {
        repository.keyring().require(Role::Full, "reading a file")?;
        let reader = BlobReader::with_kept_metadata(repository, reporter)?;
        let is_file = match find(&reader, request.snapshot, request.place)?.map(|node| node.kind) {
            Some(NodeKind::File) => true,
            None | Some(NodeKind::Directory) => false,
            Some(_) => {
                let place = printable(request.place);
                return Err(Error::refused(format!("/{place} is neither a file nor a folder"))
                    .hint("`strongroom ls -l` shows what it is; `strongroom restore` brings it back"));
            }
        };
        Ok(Self { reader, request, is_file })
    }

    /// Whether it is one file, which is written as it is.
    pub fn is_file(&self) -> bool {
        self.is_file
    }

    /// Writes it.
    ///
    /// # Errors
    /// `Corrupt` or `Missing` where a file is lost that was begun, or the only one. What was written is then no whole
    /// archive, and readers say so.
    pub fn run(
        &self,
        out: &mut dyn Write,
        reporter: &dyn Reporter,
        interrupt: &Interrupt,
    ) -> Result<Summary> {
        let repository = self.reader.repository();
        let shape = match (self.is_file, self.request.format) {
            (true, _) => Shape::File(&mut *out),
            (false, Format::Tar) => Shape::Tar(Tar::new(&mut *out)),
            (false, Format::Zip) => Shape::Zip(Box::new(Zip::new(&mut *out, repository))),
        };
        let links = matches!(shape, Shape::Tar(_));
        let mut writer = Writer {
            shape,
            base: self.request.base,
            reporter,
            interrupt,
            lost: HashSet::new(),
            open: None,
            summary: Summary::default(),
        };
        std::thread::scope(|scope| {
            let (send, receive) = sync_channel(0);
            let ahead = Ahead::new(&self.reader, interrupt, links, send)?;
            let tree = TreeReader::below(&self.reader, self.request.snapshot.root(), self.request.place);
            scope.spawn(move || ahead.run(tree));
            // It is gone before the scope waits, so that whoever reads ahead stops.
            receive.into_iter().try_for_each(|window| writer.window(window?))
        })?;
        let summary = writer.finish()?;
        out.flush().map_err(cannot_write)?;
        self.reader.index()?.report_troubles(reporter);
        Ok(summary)
    }
}

/// Finds what lies at a place and writes it, with names relative to the snapshot's root.
///
/// # Errors
/// Those of [`Dump::find`] and [`Dump::run`].
pub fn run(
    repository: &Repository,
    snapshot: &Snapshot,
    place: &[u8],
    out: &mut dyn Write,
    reporter: &dyn Reporter,
) -> Result<Summary> {
    let request = Request { snapshot, place, base: b"", format: Format::Tar };
    Dump::find(repository, request, reporter)?.run(out, reporter, &Interrupt::default())
}

/// What is written.
enum Shape<'o> {
    File(&'o mut dyn Write),
    Tar(Tar<'o>),
    Zip(Box<Zip<'o>>),
}

impl Write for Shape<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.write_all(bytes).map(|()| bytes.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match self {
            Self::File(out) => out.write_all(bytes),
            Self::Tar(tar) => tar.data(bytes),
            Self::Zip(zip) => zip.data(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

struct Writer<'a, 'o> {
    shape: Shape<'o>,
    base: &'a [u8],
    reporter: &'a dyn Reporter,
    interrupt: &'a Interrupt,
    /// Files that were left out and have other names.
    lost: HashSet<Vec<u8>>,
    /// The file that is being written, and its path.
    open: Option<(Contents, Vec<u8>)>,
    summary: Summary,
}

impl Writer<'_, '_> {
    fn window(&mut self, window: Window) -> Result<()> {
        for step in window.steps {
            self.interrupt.check()?;
            self.step(step, &window.blobs)?;
        }
        Ok(())
    }

    fn step(&mut self, step: Step, blobs: &Blobs) -> Result<()> {
        if let Some(mut start) = step.start {
            if step.ends && start.lost.is_none() {
                start.lost = step.chunks.iter().find_map(|chunk| damage(blobs, *chunk));
            }
            if let Some(error) = start.lost.take_if(|error| stops(error)) {
                return Err(error);
            }
            if !self.start(start, &step.chunks, blobs)? {
                return Ok(());
            }
        }
        let Some((mut contents, path)) = self.open.take() else { return Ok(()) };
        for chunk in &step.chunks {
            let Some(Ok(plain)) = blobs.get(chunk) else {
                let cause = damage(blobs, *chunk).unwrap_or_else(|| Error::missing("a chunk was not read"));
                return Err(self.torn(&path, cause));
            };
            contents.write(&mut self.shape, plain)?;
            self.reporter.progress().add_bytes(plain.len() as u64);
        }
        if !step.ends {
            self.open = Some((contents, path));
            return Ok(());
        }
        contents.finish(&mut self.shape)?;
        self.end()
    }

    /// Starts something; says whether a file's contents are to follow.
    fn start(&mut self, start: Start, chunks: &[u32], blobs: &Blobs) -> Result<bool> {
        let Start { path, node, link, lost } = start;
        let cause = lost.or_else(|| {
            let first = link.as_ref().filter(|first| self.lost.contains(*first))?;
            Some(Error::missing(format!("it is the same file as /{}", printable(first))))
        });
        if let Some(cause) = cause {
            return self.leave_out(path, &node, cause).map(|()| false);
        }
        let Some(name) = self.name(&path) else { return Ok(false) };
        let is_contents = node.kind == NodeKind::File && link.is_none();
        match &mut self.shape {
            Shape::File(_) => {}
            Shape::Tar(_) if node.kind == NodeKind::Socket => {
                self.pass_over(&path, "is a socket, which only the program that made it can use");
                return Ok(false);
            }
            Shape::Tar(tar) => {
                let link = link.as_deref().map(|first| relative(first, self.base));
                tar.start(&name, &node, link)?;
            }
            Shape::Zip(zip) => {
                if let Some(obstacle) = zip::obstacle(&name, &node) {
                    if matches!(node.kind, NodeKind::Socket) {
                        self.pass_over(&path, "is a socket, which only the program that made it can use");
                    } else {
                        self.miss(&path, obstacle, "use --archive tar");
                    }
                    return Ok(false);
                }
                zip.start(&name, &node, sum(&node, chunks, blobs)?)?;
            }
        }
        let count = match node.kind {
            NodeKind::Directory => &mut self.summary.directories,
            NodeKind::File => &mut self.summary.files,
            _ => &mut self.summary.others,
        };
        *count = count.saturating_add(1);
        if is_contents {
            self.summary.bytes = self.summary.bytes.saturating_add(node.size);
            self.open = Some((Contents::new(node.size, node.holes.as_deref()), path));
            return Ok(true);
        }
        self.end()?;
        Ok(false)
    }

    /// The name in the archive; none for the folder that names are relative to.
    fn name(&self, path: &[u8]) -> Option<Vec<u8>> {
        let name = relative(path, self.base);
        (!name.is_empty() || matches!(self.shape, Shape::File(_))).then(|| name.to_vec())
    }

    fn end(&mut self) -> Result<()> {
        self.reporter.progress().add_files(1);
        match &mut self.shape {
            Shape::File(_) => Ok(()),
            Shape::Tar(tar) => tar.end(),
            Shape::Zip(zip) => zip.end(),
        }
    }

    fn leave_out(&mut self, path: Vec<u8>, node: &Node, cause: Error) -> Result<()> {
        if matches!(self.shape, Shape::File(_)) {
            return Err(not_whole(&path, cause));
        }
        let cause = format!("is left out: {}", cause.chain());
        self.miss(&path, &cause, "an older or newer snapshot may hold it whole");
        if node.links > 1 {
            self.lost.insert(path);
        }
        Ok(())
    }

    fn miss(&mut self, path: &[u8], cause: &str, hint: &str) {
        self.summary.problems = self.summary.problems.saturating_add(1);
        self.reporter.report(Finding::problem(format!("/{}", printable(path)), cause).with_hint(hint));
    }

    fn pass_over(&mut self, path: &[u8], cause: &str) {
        self.reporter.report(Finding::warning(format!("/{}", printable(path)), cause));
    }

    /// What ends a stream within a file.
    fn torn(&self, path: &[u8], cause: Error) -> Error {
        if stops(&cause) {
            return cause;
        }
        if matches!(self.shape, Shape::File(_)) {
            return not_whole(path, cause);
        }
        cause
            .context(format!("the archive ends within /{}, a part of which is damaged", printable(path)))
            .hint(
                "an older or newer snapshot may hold it whole; `strongroom restore` brings back all the rest",
            )
    }

    fn finish(self) -> Result<Summary> {
        match self.shape {
            Shape::File(_) => {}
            Shape::Tar(tar) => tar.finish()?,
            Shape::Zip(zip) => zip.finish()?,
        }
        Ok(self.summary)
    }
}

/// Says which file it was that could not be read.
fn not_whole(path: &[u8], cause: Error) -> Error {
    if !matches!(cause.kind(), ErrorKind::Corrupt | ErrorKind::Missing) {
        return cause;
    }
    cause
        .context(format!("/{} cannot be read whole", printable(path)))
        .hint("what was written so far is right; an older or newer snapshot may hold it whole")
}

fn relative<'p>(path: &'p [u8], base: &[u8]) -> &'p [u8] {
    let rest = if path::is_below(path, base) { path.strip_prefix(base) } else { None }.unwrap_or(path);
    rest.strip_prefix(b"/").unwrap_or(rest)
}

/// Why a chunk cannot be had.
fn damage(blobs: &Blobs, chunk: u32) -> Option<Error> {
    match blobs.get(&chunk) {
        Some(Ok(_)) => None,
        Some(Err(cause)) => {
            let error = Error::new(cause.kind(), cause.chain());
            Some(match cause.next_step() {
                Some(step) => error.hint(step.to_owned()),
                None => error,
            })
        }
        None => Some(Error::missing("a chunk was not read")),
    }
}

/// The sum of a file that lies in one window and is not too long.
fn sum(node: &Node, chunks: &[u32], blobs: &Blobs) -> Result<Option<crc32fast::Hasher>> {
    struct Sum(crc32fast::Hasher);
    impl Write for Sum {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.update(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    if node.kind != NodeKind::File || node.size > SUMMED_MAX {
        return Ok(None);
    }
    let mut sum = Sum(crc32fast::Hasher::new());
    let mut contents = Contents::new(node.size, node.holes.as_deref());
    for chunk in chunks {
        let Some(Ok(plain)) = blobs.get(chunk) else { return Ok(None) };
        contents.write(&mut sum, plain)?;
    }
    Ok(contents.finish(&mut sum).is_ok().then_some(sum.0))
}
