//! What lies in one folder, and what lies below each of its folders in all.

use super::entries::Entries;
use crate::error::{Error, Result};
use crate::format::node::NodeKind;
use crate::format::path;
use crate::format::tree::LeafEntry;
use crate::interrupt::Interrupt;
use crate::report::printable;
use crate::repository::reader::BlobSource;
use crate::repository::tree::{Root, TreeReader};

/// Entries in the first page, which is to be there at once.
const FIRST_PAGE: usize = 256;
/// Most entries in a page.
const PAGE_MAX: usize = 8192;
/// Most entries of a folder that are given.
const ENTRIES_MAX: u64 = 4_000_000;
/// Most bytes of their names.
const NAMES_MAX: usize = 256 << 20;
/// So often is a walk taken up again after it failed: a hostile tree may fail without end.
const FAILURES_MAX: usize = 1000;
/// Folders whose sums are handed over at once.
const SUMS_AT_ONCE: usize = 512;

/// Some entries of a folder, which follow those of the page before.
#[derive(Debug, Default)]
pub struct Page {
    /// The entries.
    pub entries: Entries,
    /// What is lost of the folder, and why: each a sentence.
    pub losses: Vec<String>,
}

/// What was found in a folder in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Entries.
    pub entries: u64,
    /// What is lost.
    pub losses: u64,
    /// Whether there are more, which were not looked at.
    pub more: bool,
}

/// What lies below a folder in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summed {
    /// Files.
    pub files: u64,
    /// Their bytes, by their lengths.
    pub bytes: u64,
    /// What is lost, and therefore not in the sums.
    pub losses: u64,
}

/// A walk that goes on behind what is lost.
struct Walk<'a> {
    tree: TreeReader<'a>,
    interrupt: &'a Interrupt,
    /// What was lost since somebody took this, and why.
    losses: Vec<String>,
    /// So often did the walk itself fail.
    failures: usize,
}

impl<'a> Walk<'a> {
    fn new(tree: TreeReader<'a>, interrupt: &'a Interrupt) -> Self {
        Self { tree, interrupt, losses: Vec::new(), failures: 0 }
    }

    fn next(&mut self) -> Result<Option<LeafEntry>> {
        loop {
            self.interrupt.check()?;
            let losses = &mut self.losses;
            match self.tree.next_surviving(&mut |part| losses.push(part.error.chain())) {
                Err(error) => self.lose(error)?,
                next => return next,
            }
        }
    }

    /// Passes over what lies below a path, lost or not.
    fn pass_over(&mut self, path: &[u8]) -> Result<()> {
        while let Err(error) = self.tree.skip_below(path) {
            self.interrupt.check()?;
            self.lose(error)?;
        }
        Ok(())
    }

    fn lose(&mut self, error: Error) -> Result<()> {
        self.failures = self.failures.saturating_add(1);
        if !TreeReader::is_damage(&error) {
            return Err(error);
        }
        if self.failures > FAILURES_MAX {
            return Err(error.context("too much is lost here to look further"));
        }
        self.losses.push(error.chain());
        Ok(())
    }
}

/// The path of what lies directly in a folder and holds `path`, or is it.
fn child<'p>(path: &'p [u8], folder: &[u8]) -> &'p [u8] {
    let start = if folder.is_empty() { 0 } else { folder.len().saturating_add(1) };
    let rest = path.get(start..).unwrap_or_default();
    let length = rest.iter().position(|byte| *byte == b'/').unwrap_or(rest.len());
    path.get(..start.saturating_add(length)).unwrap_or(path)
}

/// Reads the entries of a folder and hands them over page by page, the first one soon. What lies below its folders is
/// passed over.
///
/// # Errors
/// `Missing` where there is nothing at `place`, `Refused` where that is no folder, `Interrupted`, and where the store
/// cannot be read. What is lost is in the pages.
pub fn folder(
    source: &dyn BlobSource,
    root: Root,
    place: &[u8],
    interrupt: &Interrupt,
    take: &mut dyn FnMut(Page) -> Result<()>,
) -> Result<Found> {
    let mut walk = Walk::new(TreeReader::below(source, root, place), interrupt);
    let (mut page, mut found) = (Page::default(), Found::default());
    let (mut page_size, mut name_bytes, mut is_there) = (FIRST_PAGE, 0usize, place.is_empty());
    while let Some(LeafEntry { path, node }) = walk.next()? {
        if path == place {
            is_there = true;
            if node.kind != NodeKind::Directory {
                return Err(Error::refused(format!("/{} is no folder", printable(place))));
            }
            continue;
        }
        let child = child(&path, place);
        let name = path::name(child);
        if child.len() == path.len() {
            page.entries.push(name, &node);
        } else {
            page.entries.push_lost_folder(name);
        }
        walk.pass_over(child)?;
        found.entries = found.entries.saturating_add(1);
        name_bytes = name_bytes.saturating_add(name.len());
        if found.entries >= ENTRIES_MAX || name_bytes > NAMES_MAX {
            found.more = true;
            break;
        }
        if page.entries.len() >= page_size {
            found.losses = found.losses.saturating_add(walk.losses.len() as u64);
            page.losses = std::mem::take(&mut walk.losses);
            take(std::mem::take(&mut page))?;
            page_size = page_size.saturating_mul(2).min(PAGE_MAX);
        }
    }
    found.losses = found.losses.saturating_add(walk.losses.len() as u64);
    page.losses = walk.losses;
    if !is_there && found == Found::default() {
        return Err(Error::missing(format!("the snapshot holds nothing at /{}", printable(place))));
    }
    take(page)?;
    Ok(found)
}

/// Sums the lengths of all files below each folder that lies directly in a folder, by their names. `told` hears now and
/// then what was counted so far.
///
/// # Errors
/// `Interrupted`, and where the store cannot be read.
pub fn sizes(
    source: &dyn BlobSource,
    root: Root,
    place: &[u8],
    interrupt: &Interrupt,
    told: &dyn Fn(Summed),
    take: &mut dyn FnMut(Vec<(Vec<u8>, u64)>) -> Result<()>,
) -> Result<Summed> {
    let mut walk = Walk::new(TreeReader::below(source, root, place), interrupt);
    let mut summed = Summed::default();
    let mut sums: Vec<(Vec<u8>, u64)> = Vec::new();
    while let Some(LeafEntry { path, node }) = walk.next()? {
        // Only their number is wanted.
        summed.losses = summed.losses.saturating_add(walk.losses.len() as u64);
        walk.losses.clear();
        if path == place {
            continue;
        }
        let name = path::name(child(&path, place));
        if sums.last().is_none_or(|(last, _)| last != name) {
            if sums.len() >= SUMS_AT_ONCE {
                take(std::mem::take(&mut sums))?;
            }
            sums.push((name.to_vec(), 0));
        }
        if node.kind == NodeKind::File {
            summed.files = summed.files.saturating_add(1);
            summed.bytes = summed.bytes.saturating_add(node.size);
            if let Some((_, bytes)) = sums.last_mut() {
                *bytes = bytes.saturating_add(node.size);
            }
            if summed.files.is_multiple_of(1024) {
                told(summed);
            }
        }
    }
    summed.losses = summed.losses.saturating_add(walk.losses.len() as u64);
    take(sums)?;
    Ok(summed)
}
