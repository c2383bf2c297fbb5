//! Walks through blobs that refer to each other: a snapshot's tree, and the lists of a file's chunks.
//!
//! The bytes are blobs behind each other, each behind its length. Blob number n has the id of 32 bytes n, so that
//! blobs that refer to each other, to themselves and to none are all within reach.

use strongroom::error::{Error, ErrorKind, Result};
use strongroom::format::blob::BlobKind;
use strongroom::format::node::{Content, NodeKind};
use strongroom::format::path;
use strongroom::id::Id;
use strongroom::limits;
use strongroom::repository::content::visit_chunks;
use strongroom::repository::reader::BlobSource;
use strongroom::repository::tree::{Root, TreeReader, lookup};

use super::accept;
use super::bytes::Source;

/// Most chunks that a walk is let go on for. A hostile list can name very many, one by one.
const CHUNKS_MAX: usize = 20_000;

struct Blobs<'a>(Vec<&'a [u8]>);

impl<'a> Blobs<'a> {
    fn read(source: &mut Source<'a>) -> Self {
        let mut blobs = Vec::new();
        while !source.0.is_empty() && blobs.len() < 256 {
            blobs.push(source.sized());
        }
        Self(blobs)
    }
}

impl BlobSource for Blobs<'_> {
    fn fetch(&self, _: BlobKind, id: &Id) -> Result<Vec<u8>> {
        let number = usize::from(id.0[0]);
        let blob = self.0.get(number).filter(|_| id.0.iter().all(|byte| *byte == id.0[0]));
        blob.map(|blob| blob.to_vec()).ok_or_else(|| Error::missing("no such blob"))
    }
}

fn expected(error: &Error) {
    assert!(matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Missing), "{}", error.chain());
}

/// A tree gives paths that rise, each in a folder that came before, and finds each of them again.
pub(super) fn tree(bytes: &[u8]) {
    let mut source = Source(bytes);
    let (level, root) = (source.u8() % (limits::LEVEL_MAX + 2), Id([source.u8(); 32]));
    let blobs = Blobs::read(&mut source);
    let root = Root { id: root, level };
    let mut reader = TreeReader::new(&blobs, root);
    let mut found: Vec<(Vec<u8>, NodeKind)> = Vec::new();
    let end = loop {
        match reader.next_entry() {
            Ok(Some(entry)) => {
                assert_eq!(path::fault(&entry.path), None);
                if let Some((last, _)) = found.last() {
                    assert!(path::compare(last, &entry.path).is_lt());
                }
                found.push((entry.path, entry.node.kind));
            }
            end => break end.map(|_| ()),
        }
    };
    for (number, (place, _)) in found.iter().enumerate() {
        let above = path::parent(place).filter(|above| !above.is_empty());
        let known = |above: &[u8]| {
            found[..number].iter().any(|(path, kind)| path == above && *kind == NodeKind::Directory)
        };
        // Looking at all that came before would take the square of their number.
        assert!(number > 200 || above.is_none_or(known));
    }
    match end {
        Ok(()) => {
            accept();
            for (place, kind) in found.iter().take(20) {
                assert_eq!(lookup(&blobs, root, place).unwrap().map(|node| node.kind), Some(*kind));
            }
        }
        Err(error) => expected(&error),
    }
}

/// The chunks of a file are visited in the order of their lists, and none is empty.
pub(super) fn content(bytes: &[u8]) {
    let mut source = Source(bytes);
    let (level, root, length) = (source.u8() % (limits::LEVEL_MAX + 2), Id([source.u8(); 32]), source.u8());
    let blobs = Blobs::read(&mut source);
    let content = Content::List { root, level };
    let (mut lists, mut chunks) = (0, 0usize);
    let walked = visit_chunks(
        &blobs,
        &content,
        &mut |_, _| {
            lists += 1;
            assert!(lists <= limits::LISTS_MAX);
            Ok(())
        },
        &mut |id| {
            chunks += 1;
            if chunks > CHUNKS_MAX {
                return Err(Error::missing("enough of them"));
            }
            Ok(u64::from(id.0[0].wrapping_add(length)))
        },
    );
    match walked {
        Ok(()) => {
            assert!(lists > 0 && level <= limits::LEVEL_MAX);
            accept();
        }
        Err(error) => expected(&error),
    }
}
