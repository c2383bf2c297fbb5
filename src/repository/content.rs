//! The chunks of a file: naming them in a node or in list blobs, and finding them again.
//!
//! Follows `format-spec/08-tree.md#lists`.

use super::reader::BlobSource;
use super::writer::BlobSink;
use crate::error::{Error, Result};
use crate::format::blob::BlobKind;
use crate::format::list::{self, List, ListEntry};
use crate::format::node::Content;
use crate::id::Id;
use crate::limits;

/// Stores the lists that a file's chunks need and gives its content.
pub fn store_content(sink: &dyn BlobSink, chunks: &[(Id, u64)]) -> Result<Content> {
    if chunks.len() <= limits::INLINE_CHUNKS_MAX {
        return Ok(Content::Inline(chunks.iter().map(|(id, _)| *id).collect()));
    }
    let mut entries: Vec<ListEntry> =
        chunks.iter().map(|(id, bytes)| ListEntry { id: *id, bytes: *bytes }).collect();
    for level in 0..=limits::LEVEL_MAX {
        entries = store_level(sink, level, &entries)?;
        if let [root] = entries.as_slice() {
            return Ok(Content::List { root: root.id, level });
        }
    }
    Err(Error::refused("a file has more chunks than the format can name"))
}

fn store_level(sink: &dyn BlobSink, level: u8, entries: &[ListEntry]) -> Result<Vec<ListEntry>> {
    let mut parents = Vec::new();
    let mut start = 0;
    for (index, entry) in entries.iter().enumerate() {
        let next = index.saturating_add(1);
        if list::ends_after(next.saturating_sub(start), &entry.id) || next == entries.len() {
            let part = entries.get(start..next).unwrap_or_default();
            let plain = if level == 0 {
                list::encode_chunks(&part.iter().map(|entry| entry.id).collect::<Vec<_>>())
            } else {
                list::encode_lists(level, part)
            };
            let bytes = part.iter().fold(0u64, |sum, entry| sum.saturating_add(entry.bytes));
            parents.push(ListEntry { id: sink.store(BlobKind::List, &plain)?, bytes });
            start = next;
        }
    }
    Ok(parents)
}

/// Visits the chunks of a file in order; `lists` is told of every list blob on the way.
pub fn visit_chunks(
    source: &dyn BlobSource,
    content: &Content,
    lists: &mut dyn FnMut(&Id, &[u8]) -> Result<()>,
    visit: &mut dyn FnMut(&Id) -> Result<()>,
) -> Result<()> {
    let (root, level) = match content {
        Content::Inline(ids) => return ids.iter().try_for_each(visit),
        Content::List { root, level } => (*root, *level),
    };
    if level > limits::LEVEL_MAX {
        return Err(Error::corrupt("a list of chunks is too high"));
    }
    // A stack of our own: what is read from a store never recurses. Levels fall with each step, so it ends.
    let mut waiting = vec![(root, level)];
    let mut visited = 0usize;
    while let Some((id, level)) = waiting.pop() {
        visited = visited.saturating_add(1);
        if visited > limits::LISTS_MAX {
            return Err(Error::corrupt("a file has more lists than any file can need"));
        }
        let plain = source.fetch(BlobKind::List, &id)?;
        lists(&id, &plain)?;
        match list::decode(&plain, level)? {
            List::Chunks(ids) => ids.iter().try_for_each(&mut *visit)?,
            List::Lists { entries, .. } => {
                let below =
                    level.checked_sub(1).ok_or_else(|| Error::corrupt("a list is of an impossible level"))?;
                waiting.extend(entries.iter().rev().map(|entry| (entry.id, below)));
            }
        }
    }
    Ok(())
}
