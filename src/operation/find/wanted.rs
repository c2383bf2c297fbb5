//! What is looked for: by path, kind, size and time, and by the blobs that a file needs.

use std::collections::HashSet;

use crate::error::{Error, Result};
use crate::format::blob::BlobKind;
use crate::format::list::{self, List};
use crate::format::node::{Content, Node, NodeKind, Timestamp};
use crate::id::{ID_LEN, Id};
use crate::limits;
use crate::report::printable;
use crate::repository::index::Index;
use crate::repository::reader::BlobSource;
use crate::source::files::PathPatterns;

/// What is looked for. Everything that is asked for has to be true.
#[derive(Debug, Default)]
pub struct Query {
    /// Any of these patterns; all paths if there is none.
    pub patterns: PathPatterns,
    /// Last changed at this time or later.
    pub oldest: Option<Timestamp>,
    /// Last changed at this time or earlier.
    pub newest: Option<Timestamp>,
    /// Files of at least so many bytes.
    pub larger: Option<u64>,
    /// Files of at most so many bytes.
    pub smaller: Option<u64>,
    /// Any of these kinds; all if there is none.
    pub kinds: Vec<NodeKind>,
    /// Files that need any of these blobs, and such blobs of trees.
    pub blobs: Option<WantedBlobs>,
}

impl Query {
    /// Whether path and node are as asked for; which blobs a file needs is not looked at.
    pub(super) fn matches(&self, path: &[u8], node: &Node) -> bool {
        let sized = self.larger.is_none() && self.smaller.is_none() || node.kind == NodeKind::File;
        sized
            && self.larger.is_none_or(|least| node.size >= least)
            && self.smaller.is_none_or(|most| node.size <= most)
            && self.oldest.is_none_or(|oldest| node.mtime >= oldest)
            && self.newest.is_none_or(|newest| node.mtime <= newest)
            && (self.kinds.is_empty() || self.kinds.contains(&node.kind))
            && (self.patterns.is_empty() || self.patterns.matches(&[b"/", path].concat()))
    }
}

/// Blobs that are looked for: some whose ids begin with what a person gave, or all that a pack holds.
#[derive(Debug, Default)]
pub struct WantedBlobs {
    ids: HashSet<Id>,
    prefixes: Vec<Prefix>,
    /// Lists of chunks that name nothing that is wanted, nor does any list below them.
    clean: HashSet<Id>,
}

impl WantedBlobs {
    /// Wants the blobs whose ids begin with these digits.
    ///
    /// # Errors
    /// `Refused` where they are no such digits.
    pub fn add_blob(&mut self, digits: &str) -> Result<()> {
        if let Some(id) = Id::from_hex(digits) {
            self.ids.insert(id);
        } else {
            self.prefixes.push(Prefix::parse(digits, "blob")?);
        }
        Ok(())
    }

    /// Wants all blobs of the packs whose ids begin with these digits.
    ///
    /// # Errors
    /// `Missing` where the index names no such pack; `Refused` where they are no such digits.
    pub fn add_pack(&mut self, index: &Index, digits: &str) -> Result<()> {
        let prefix = Prefix::parse(digits, "pack")?;
        let packs: Vec<bool> = index.packs().iter().map(|pack| prefix.begins(&pack.id)).collect();
        if !packs.contains(&true) {
            let shown = printable(digits.as_bytes());
            return Err(Error::missing(format!("the index names no pack {shown}"))
                .hint("`strongroom check` tells which packs are there"));
        }
        for place in index.all() {
            let (_, place) = place?;
            let pack = usize::try_from(place.pack).ok();
            if pack.and_then(|pack| packs.get(pack)) == Some(&true) {
                self.ids.insert(place.id);
            }
        }
        Ok(())
    }

    /// Whether a blob is wanted.
    pub(super) fn contains(&self, id: &Id) -> bool {
        self.ids.contains(id) || self.prefixes.iter().any(|prefix| prefix.begins(id))
    }

    /// Whether a file needs a blob that is wanted. Lists are read, each once unless it names one.
    ///
    /// # Errors
    /// Where a list cannot be read.
    pub(super) fn needed_by(&mut self, source: &dyn BlobSource, content: &Content) -> Result<bool> {
        let (root, level) = match content {
            Content::Inline(ids) => return Ok(ids.iter().any(|id| self.contains(id))),
            Content::List { root, level } => (*root, *level),
        };
        let mut waiting = vec![(root, level)];
        let mut seen = HashSet::new();
        while let Some((id, level)) = waiting.pop() {
            if self.contains(&id) {
                return Ok(true);
            }
            if self.clean.contains(&id) || !seen.insert(id) {
                continue;
            }
            if seen.len() > limits::LISTS_MAX {
                return Err(Error::corrupt("a file has more lists than any file can need"));
            }
            match list::decode(&source.fetch(BlobKind::List, &id)?, level)? {
                List::Chunks(ids) if ids.iter().any(|id| self.contains(id)) => return Ok(true),
                List::Chunks(_) => {}
                List::Lists { entries, .. } => {
                    let below = level.saturating_sub(1);
                    waiting.extend(entries.iter().map(|entry| (entry.id, below)));
                }
            }
        }
        self.clean.extend(seen);
        Ok(false)
    }
}

/// The beginning of an id.
#[derive(Debug)]
struct Prefix {
    whole: Vec<u8>,
    half: Option<u8>,
}

impl Prefix {
    fn parse(digits: &str, what: &str) -> Result<Self> {
        let value = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let values: Option<Vec<u8>> = digits.as_bytes().iter().map(value).collect();
        let values = values.filter(|values| (4..=2 * ID_LEN).contains(&values.len()));
        let values = values.ok_or_else(|| {
            Error::refused(format!("{} names no {what}", printable(digits.as_bytes())))
                .hint("give at least four digits of its id")
        })?;
        let (pairs, rest) = values.as_chunks::<2>();
        let whole = pairs.iter().map(|[high, low]| high << 4 | low).collect();
        Ok(Self { whole, half: rest.first().copied() })
    }

    fn begins(&self, id: &Id) -> bool {
        let rest = id.as_bytes().strip_prefix(self.whole.as_slice());
        rest.is_some_and(|rest| {
            self.half.is_none_or(|half| rest.first().is_some_and(|byte| byte >> 4 == half))
        })
    }
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn an_id_is_named_by_its_beginning() {
        let id = Id([0xab; ID_LEN]);
        for (digits, expected) in
            [("abab", true), ("ABABA", true), ("ababb", false), ("ababab", true), ("aaab", false)]
        {
            assert_eq!(Prefix::parse(digits, "blob").unwrap().begins(&id), expected, "{digits}");
        }
        assert!(Prefix::parse(&id.to_hex(), "blob").unwrap().begins(&id));
        let long = format!("{}0", id.to_hex());
        for digits in ["", "aba", "abxb", "ab ab", &long] {
            assert_eq!(Prefix::parse(digits, "blob").unwrap_err().kind(), ErrorKind::Refused, "{digits}");
        }
    }
}
