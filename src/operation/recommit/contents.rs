//! Whether the contents of files are all there: every chunk and every list, and as long as the file.
//!
//! Invariant: a list is read once, however many files and snapshots share it.

use std::collections::HashMap;

use crate::error::{Error, Result};
use crate::format::blob::BlobKind;
use crate::format::list::{self, List, ListEntry};
use crate::format::node::{Content, Node};
use crate::format::tree::LeafEntry;
use crate::id::Id;
use crate::interrupt::Interrupt;
use crate::limits;

use super::look::Look;

/// How many bytes something holds, or why it is lost.
type Length = std::result::Result<u64, String>;

/// What is known of lists so far.
#[derive(Default)]
pub(super) struct Contents {
    lists: HashMap<(Id, u8), Length>,
}

/// A list of lists that is being looked at.
struct Frame {
    id: Id,
    level: u8,
    entries: std::vec::IntoIter<ListEntry>,
    /// What the entry says that is being looked at.
    said: u64,
    sum: Length,
}

impl Contents {
    /// Why each file of a leaf is lost that is; in the order of the entries.
    pub(super) fn losses(
        &mut self,
        look: &Look<'_>,
        entries: &[LeafEntry],
        interrupt: &Interrupt,
    ) -> Result<Vec<Option<String>>> {
        let inline = |entry: &LeafEntry| match &entry.node.content {
            Some(Content::Inline(ids)) => ids.clone(),
            _ => Vec::new(),
        };
        let chunks = chunks(look, entries.iter().flat_map(inline).collect())?;
        let mut losses = Vec::with_capacity(entries.len());
        for entry in entries {
            let length = match &entry.node.content {
                None => {
                    losses.push(None);
                    continue;
                }
                Some(Content::Inline(ids)) => sum(&chunks, ids),
                Some(Content::List { root, level }) => self.list(look, *root, *level, interrupt)?,
            };
            losses.push(length.and_then(|length| fills(&entry.node, length)).err());
        }
        Ok(losses)
    }

    /// How long a tree of lists is. It is gone through on a stack of its own: what comes from a store never recurses.
    fn list(&mut self, look: &Look<'_>, id: Id, level: u8, interrupt: &Interrupt) -> Result<Length> {
        let mut stack = Vec::new();
        let mut found = self.enter(look, id, level, &mut stack)?;
        loop {
            interrupt.check()?;
            let Some(frame) = stack.last_mut() else {
                return found.ok_or_else(|| Error::refused("a list has no end"));
            };
            if let Some(length) = found.take() {
                frame.add(length);
            }
            if let Some(entry) = frame.entries.next() {
                frame.said = entry.bytes;
                let below = frame.level.saturating_sub(1);
                found = self.enter(look, entry.id, below, &mut stack)?;
            } else if let Some(Frame { id, level, sum, .. }) = stack.pop() {
                self.lists.insert((id, level), sum.clone());
                found = Some(sum);
            }
        }
    }

    /// The length of a list that is known or names chunks; another goes onto the stack.
    fn enter(
        &mut self,
        look: &Look<'_>,
        id: Id,
        level: u8,
        stack: &mut Vec<Frame>,
    ) -> Result<Option<Length>> {
        if let Some(known) = self.lists.get(&(id, level)) {
            return Ok(Some(known.clone()));
        }
        let length = match look.fetch(BlobKind::List, &id)? {
            Err(cause) => Err(cause),
            Ok(plain) => match list::decode(&plain, level.min(limits::LEVEL_MAX)) {
                Err(error) => Err(error.chain()),
                Ok(List::Chunks(ids)) => sum(&chunks(look, ids.clone())?, &ids),
                Ok(List::Lists { entries, .. }) => {
                    stack.push(Frame { id, level, entries: entries.into_iter(), said: 0, sum: Ok(0) });
                    return Ok(None);
                }
            },
        };
        self.lists.insert((id, level), length.clone());
        Ok(Some(length))
    }
}

impl Frame {
    fn add(&mut self, length: Length) {
        let said = self.said;
        let wrong = || "a list of chunks is not as long as the list above it says".to_owned();
        let sum = std::mem::replace(&mut self.sum, Ok(0));
        self.sum = sum.and_then(|sum| {
            let length = length?;
            if length == said { sum.checked_add(length).ok_or_else(wrong) } else { Err(wrong()) }
        });
    }
}

/// The lengths of chunks, each looked up once and in order: neighbours lie in one block of the index.
fn chunks(look: &Look<'_>, mut ids: Vec<Id>) -> Result<HashMap<Id, Option<u32>>> {
    ids.sort_unstable();
    ids.dedup();
    ids.into_iter().map(|id| Ok((id, look.length(BlobKind::Chunk, &id)?))).collect()
}

fn sum(chunks: &HashMap<Id, Option<u32>>, ids: &[Id]) -> Length {
    ids.iter().try_fold(0u64, |sum, id| match chunks.get(id).copied().flatten() {
        Some(0) => Err("a chunk is empty".to_owned()),
        Some(length) => Ok(sum.saturating_add(u64::from(length))),
        None => Err(format!("its chunk {} is lost", id.short())),
    })
}

/// Whether chunks of this length, and the holes between them, are the whole file.
fn fills(node: &Node, length: u64) -> std::result::Result<(), String> {
    let holes: u64 = node.holes.iter().flatten().fold(0, |sum, hole| sum.saturating_add(hole.length));
    if length.saturating_add(holes) == node.size {
        return Ok(());
    }
    Err("its chunks are not as long as the file".to_owned())
}
