//! The chunks of a file: naming them in a node or in list blobs, and finding them again.
//!
//! Follows `format-spec/08-tree.md#lists`.

use std::collections::{HashMap, HashSet};

use super::reader::BlobSource;
use super::writer::BlobSink;
use crate::error::{Error, ErrorKind, Result};
use crate::format::blob::BlobKind;
use crate::format::list::{self, List, ListEntry};
use crate::format::node::Content;
use crate::id::Id;
use crate::limits;

/// Stores the lists that a file's chunks need and gives its content.
pub fn store_content(sink: &dyn BlobSink, chunks: &[(Id, u64)]) -> Result<Content> {
    let mut builder = ContentBuilder::default();
    chunks.iter().try_for_each(|(id, bytes)| builder.push(sink, *id, *bytes))?;
    builder.finish(sink)
}

/// Names the chunks of one file as they come, and stores each list as soon as it is known where it ends: what is held
/// does not grow with the file.
#[derive(Default)]
pub struct ContentBuilder {
    /// What the list at hand of each level holds, from the chunks upwards.
    open: Vec<Vec<ListEntry>>,
    /// How many entries there were on each level, in all.
    count: Vec<usize>,
    /// The first chunks: where there are no more, the node itself names them.
    first: Vec<ListEntry>,
}

impl ContentBuilder {
    /// Takes the next chunk and its length in bytes.
    pub fn push(&mut self, sink: &dyn BlobSink, id: Id, bytes: u64) -> Result<()> {
        let entry = ListEntry { id, bytes };
        if self.open.is_empty() && self.first.len() < limits::INLINE_CHUNKS_MAX {
            self.first.push(entry);
            return Ok(());
        }
        for entry in std::mem::take(&mut self.first) {
            self.add(sink, entry)?;
        }
        self.add(sink, entry)
    }

    /// Stores what is left and names all of it.
    pub fn finish(mut self, sink: &dyn BlobSink) -> Result<Content> {
        if self.open.is_empty() {
            return Ok(Content::Inline(self.first.iter().map(|entry| entry.id).collect()));
        }
        for level in 0..=limits::LEVEL_MAX {
            self.close(sink, level)?;
            let above = usize::from(level).saturating_add(1);
            if let (Some(1), Some([root])) = (self.count.get(above), self.open.get(above).map(Vec::as_slice))
            {
                return Ok(Content::List { root: root.id, level });
            }
        }
        Err(too_many())
    }

    /// Adds a chunk, and every list that ends with it.
    fn add(&mut self, sink: &dyn BlobSink, chunk: ListEntry) -> Result<()> {
        let mut level = 0u8;
        let mut ended = self.put(level, chunk);
        while ended {
            let list = self.store(sink, level)?;
            level = level.checked_add(1).filter(|level| *level <= limits::LEVEL_MAX).ok_or_else(too_many)?;
            ended = self.put(level, list);
        }
        Ok(())
    }

    /// Puts an entry on a level; says whether the list there ends with it.
    fn put(&mut self, level: u8, entry: ListEntry) -> bool {
        let level = usize::from(level);
        if self.open.len() <= level {
            self.open.resize_with(level.saturating_add(1), Vec::new);
            self.count.resize(level.saturating_add(1), 0);
        }
        let (Some(open), Some(count)) = (self.open.get_mut(level), self.count.get_mut(level)) else {
            return false;
        };
        open.push(entry);
        *count = count.saturating_add(1);
        list::ends_after(open.len(), &entry.id)
    }

    /// Stores the list at hand of a level, if it holds anything, and puts it on the level above.
    fn close(&mut self, sink: &dyn BlobSink, level: u8) -> Result<()> {
        if self.open.get(usize::from(level)).is_some_and(|open| !open.is_empty()) {
            let list = self.store(sink, level)?;
            // Whether the list above ends here is of no meaning: it is closed next, if it is needed at all.
            self.put(level.saturating_add(1), list);
        }
        Ok(())
    }

    fn store(&mut self, sink: &dyn BlobSink, level: u8) -> Result<ListEntry> {
        let part = self.open.get_mut(usize::from(level)).map(std::mem::take).unwrap_or_default();
        let plain = if level == 0 {
            list::encode_chunks(&part.iter().map(|entry| entry.id).collect::<Vec<_>>())
        } else {
            list::encode_lists(level, &part)
        };
        let bytes = part.iter().fold(0u64, |sum, entry| sum.saturating_add(entry.bytes));
        Ok(ListEntry { id: sink.store(BlobKind::List, &plain)?, bytes })
    }
}

fn too_many() -> Error {
    Error::refused("a file has more chunks than the format can name")
}

/// Visits the chunks of a file in order; `lists` is told of every list blob on the way, `visit` gives the length
/// of each chunk.
///
/// # Errors
/// `Corrupt` where a chunk is empty, as a list of billions could be named for nothing, or where a list is longer or
/// shorter than the one above says; whatever `lists` and `visit` say.
pub fn visit_chunks(
    source: &dyn BlobSource,
    content: &Content,
    lists: &mut dyn FnMut(&Id, &[u8]) -> Result<()>,
    visit: &mut dyn FnMut(&Id) -> Result<u64>,
) -> Result<()> {
    let (root, level) = match content {
        Content::Inline(ids) => return visit_all(ids, visit).map(|_| ()),
        Content::List { root, level } => (*root, *level),
    };
    if level > limits::LEVEL_MAX {
        return Err(Error::corrupt("a list of chunks is too high"));
    }
    bound_lists(source, root, level)?;
    // A stack of our own: what is read from a store never recurses. Levels fall with each step, so it ends.
    let mut waiting = vec![(root, level, None)];
    while let Some((id, level, said)) = waiting.pop() {
        let plain = source.fetch(BlobKind::List, &id)?;
        lists(&id, &plain)?;
        let bytes = match list::decode(&plain, level)? {
            List::Chunks(ids) => visit_all(&ids, visit)?,
            List::Lists { entries, .. } => {
                let below =
                    level.checked_sub(1).ok_or_else(|| Error::corrupt("a list is of an impossible level"))?;
                waiting.extend(entries.iter().rev().map(|entry| (entry.id, below, Some(entry.bytes))));
                entries.iter().try_fold(0u64, |sum, entry| sum.checked_add(entry.bytes))
            }
        };
        if bytes.is_none() || said.is_some_and(|said| bytes != Some(said)) {
            return Err(Error::corrupt("a list of chunks is not as long as the list above it says"));
        }
    }
    Ok(())
}

/// The chunks that only the first of two contents has, and those that only the second has. Lists that both have are
/// not read, so that a chunk which also lies in one of those may be among them.
///
/// # Errors
/// Where a list cannot be read, or more are named than any two files can need.
pub fn compare_chunks(
    source: &dyn BlobSource,
    old: &Content,
    new: &Content,
) -> Result<(HashSet<Id>, HashSet<Id>)> {
    let (mut old, mut new) = (Reading::of(old), Reading::of(new));
    let mut room = limits::LISTS_MAX.saturating_mul(2);
    loop {
        if old.level == new.level {
            let both: HashSet<Id> = old.ids.intersection(&new.ids).copied().collect();
            old.ids.retain(|id| !both.contains(id));
            new.ids.retain(|id| !both.contains(id));
        }
        match (old.level, new.level) {
            (None, None) => return Ok((old.ids, new.ids)),
            (one, other) if one >= other => old.descend(source, &mut room)?,
            _ => new.descend(source, &mut room)?,
        }
    }
}

/// The lists of one level, or the chunks, of a file whose lists are being read.
struct Reading {
    /// The level of the lists; none where these are chunks.
    level: Option<u8>,
    ids: HashSet<Id>,
}

impl Reading {
    fn of(content: &Content) -> Self {
        match content {
            Content::Inline(ids) => Self { level: None, ids: ids.iter().copied().collect() },
            Content::List { root, level } => Self { level: Some(*level), ids: HashSet::from([*root]) },
        }
    }

    fn descend(&mut self, source: &dyn BlobSource, room: &mut usize) -> Result<()> {
        let Some(level) = self.level else { return Ok(()) };
        let mut below = HashSet::new();
        for id in &self.ids {
            *room = room
                .checked_sub(1)
                .ok_or_else(|| Error::corrupt("a file has more lists than any file can need"))?;
            match list::decode(&source.fetch(BlobKind::List, id)?, level)? {
                List::Chunks(ids) => below.extend(ids),
                List::Lists { entries, .. } => below.extend(entries.iter().map(|entry| entry.id)),
            }
        }
        *self = Self { level: level.checked_sub(1), ids: below };
        Ok(())
    }
}

/// Refuses a file of more lists than any file can need, each counted as often as it is named, before its first chunk is
/// looked at: a few lists that name each other over and over come to billions of chunks. Each is read once here, and those
/// that name chunks not at all. What cannot be read counts once: whoever visits it will say so.
///
/// # Errors
/// `Corrupt` where there are more; trouble that may pass.
pub(crate) fn bound_lists(source: &dyn BlobSource, root: Id, level: u8) -> Result<()> {
    let mut counts: HashMap<(Id, u8), u64> = HashMap::new();
    let mut steps = vec![Step::Enter(root, level)];
    while let Some(step) = steps.pop() {
        match step {
            Step::Enter(id, level) if level == 0 || counts.contains_key(&(id, level)) => {}
            Step::Enter(id, level) => {
                let plain = match source.fetch(BlobKind::List, &id) {
                    Err(error) if matches!(error.kind(), ErrorKind::Missing | ErrorKind::Corrupt) => continue,
                    fetched => fetched?,
                };
                let Ok(List::Lists { entries, .. }) = list::decode(&plain, level) else { continue };
                let below = level.saturating_sub(1);
                let named: Vec<Id> = entries.into_iter().map(|entry| entry.id).collect();
                let distinct: HashSet<Id> = named.iter().copied().collect();
                steps.push(Step::Leave(id, level, named));
                steps.extend(distinct.into_iter().map(|id| Step::Enter(id, below)));
            }
            Step::Leave(id, level, named) => {
                let below = level.saturating_sub(1);
                let lists = |id: &Id| counts.get(&(*id, below)).copied().unwrap_or(1);
                let count = named.iter().fold(1u64, |sum, id| sum.saturating_add(lists(id)));
                if count > limits::LISTS_MAX as u64 {
                    return Err(Error::corrupt("a file has more lists than any file can need"));
                }
                counts.insert((id, level), count);
            }
        }
    }
    Ok(())
}

/// A step through the lists above those that name chunks.
enum Step {
    /// Look at a list of a level, and at those that it names.
    Enter(Id, u8),
    /// Count what a list names, all of which was counted.
    Leave(Id, u8, Vec<Id>),
}

/// Visits chunks and gives their length in all; nothing where that is beyond all numbers.
fn visit_all(ids: &[Id], visit: &mut dyn FnMut(&Id) -> Result<u64>) -> Result<Option<u64>> {
    let mut bytes = Some(0u64);
    for id in ids {
        let length = visit(id)?;
        if length == 0 {
            return Err(Error::corrupt("a chunk is empty"));
        }
        bytes = bytes.and_then(|bytes| bytes.checked_add(length));
    }
    Ok(bytes)
}
