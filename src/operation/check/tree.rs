//! Whether the tree of a snapshot is what it must be: every blob opens, paths rise, folders come before what lies in them,
//! and the chunks of each file are together as long as the file.

use std::collections::HashMap;

use super::Bad;
use crate::error::{Error, ErrorKind, Result};
use crate::format::blob::BlobKind;
use crate::format::node::{Content, Node, NodeKind};
use crate::id::Id;
use crate::interrupt::Interrupt;
use crate::repository::content::visit_chunks;
use crate::repository::reader::BlobReader;
use crate::repository::tree::{Root, TreeReader};

/// The first thing that is wrong with a tree, if anything is. `checked` has the lengths of lists that were gone through.
pub(super) fn first_fault(
    reader: &BlobReader<'_>,
    root: Root,
    bad: &Bad,
    checked: &mut HashMap<Id, u64>,
    interrupt: &Interrupt,
) -> Result<Option<Error>> {
    let mut tree = TreeReader::new(reader, root);
    loop {
        interrupt.check()?;
        let entry = match tree.next_entry() {
            Ok(Some(entry)) => entry,
            Ok(None) => return Ok(None),
            Err(error) if error.kind() == ErrorKind::Interrupted => return Err(error),
            Err(error) => return Ok(Some(error)),
        };
        if entry.node.kind != NodeKind::File {
            continue;
        }
        if let Err(error) = check_content(reader, &entry.node, bad, checked, interrupt) {
            interrupt.check()?;
            return Ok(Some(error));
        }
    }
}

/// Whether every chunk of a file has a good place and all are together as long as the file. Lists that were
/// checked once are not read again; `checked` keeps their lengths.
fn check_content(
    reader: &BlobReader<'_>,
    node: &Node,
    bad: &Bad,
    checked: &mut HashMap<Id, u64>,
    interrupt: &Interrupt,
) -> Result<()> {
    let too_long = || Error::corrupt("its chunks are not as long as the file");
    let index = reader.index()?;
    let empty = Content::default();
    let content = node.content.as_ref().unwrap_or(&empty);
    let known = match content {
        Content::List { root, .. } => checked.get(root).copied(),
        Content::Inline(_) => None,
    };
    let length = match known {
        Some(length) => length,
        None => {
            let mut length = 0u64;
            visit_chunks(reader, content, &mut |_, _| Ok(()), &mut |id| {
                let plain = index.plain_length(BlobKind::Chunk, id)?;
                let plain = plain.filter(|_| !bad.contains(&(BlobKind::Chunk, *id)));
                let plain =
                    plain.ok_or_else(|| Error::missing(format!("its chunk {} is lost", id.short())))?;
                length = length.saturating_add(u64::from(plain));
                // A hostile list can go on for billions of chunks.
                interrupt.check()?;
                if length > node.size { Err(too_long()) } else { Ok(u64::from(plain)) }
            })?;
            if let Content::List { root, .. } = content {
                checked.insert(*root, length);
            }
            length
        }
    };
    let holes: u64 = node.holes.iter().flatten().fold(0, |sum, hole| sum.saturating_add(hole.length));
    if length.saturating_add(holes) == node.size { Ok(()) } else { Err(too_long()) }
}
