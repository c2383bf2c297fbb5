//! One attempt to copy one snapshot: session, tree, index, manifest, in this order.
//!
//! Invariant: the manifest is stored last, when packs and index were acknowledged; whatever fails before leaves no
//! snapshot, and what was stored is named by an index all the same, for the next attempt to find.

use super::content::Trouble;
use super::earlier::{Earlier, candidates};
use super::tree::{Afresh, Reuse, TreeCopy};
use super::{Copied, Copy};
use crate::error::{Error, ErrorKind, Result};
use crate::format::snapshot::{Change, Manifest, Original, Statistics};
use crate::id::Id;
use crate::operation::announce;
use crate::operation::backup::parent::ParentSource;
use crate::report::Finding;
use crate::repository::cache::Cache;
use crate::repository::cached_tree::{RecordingSink, TreeRecorder};
use crate::repository::session::{self, Commit, Session};
use crate::repository::snapshot::Snapshot;
use crate::repository::tree::Root;
use crate::repository::writer::{BlobWriter, Written};

/// A namespace for the steps of an attempt.
pub(super) struct Attempt;

/// A tree that is stored, its packs perhaps still on their way.
pub(super) struct Made<'a> {
    root: Root,
    pub(super) read_bytes: u64,
    parent: Option<Id>,
    recorder: Option<TreeRecorder<'a>>,
    outdated: Vec<Id>,
}

impl Attempt {
    /// Copies a snapshot; nothing where the session was given up by somebody else meanwhile.
    pub(super) fn run(copy: &Copy<'_>, snapshot: &Snapshot) -> Result<Option<Copied>, Trouble> {
        let mut session = announce::begin(copy.destination, copy.cache, &copy.options.host, copy.reporter)
            .map_err(Trouble::Store)?;
        let stored = Self::store(copy, &session, snapshot).and_then(|(made, written)| {
            let manifest = manifest(copy, snapshot, &made, written).map_err(Trouble::Store)?;
            Ok((made, written, manifest))
        });
        let (made, written, mut manifest) = match stored {
            Ok(stored) => stored,
            Err(trouble) => {
                // No manifest was sent, so none can land late: the session ends here.
                session.end();
                return match trouble {
                    Trouble::Store(error) if error.kind() == ErrorKind::Abandoned => Ok(None),
                    trouble => Err(trouble),
                };
            }
        };
        let id = *session.id();
        if session.commit_for_another(&mut manifest).map_err(Trouble::Store)? == Commit::Abandoned {
            return Ok(None);
        }
        keep_cache(copy, &made, &id);
        Ok(Some(Copied { source: snapshot.id, copy: Some(id), read_bytes: made.read_bytes, written }))
    }

    fn store<'a>(
        copy: &Copy<'a>,
        session: &Session<'_>,
        snapshot: &Snapshot,
    ) -> Result<(Made<'a>, Written), Trouble> {
        let usable = session.usable().map_err(Trouble::Store)?;
        let writer = BlobWriter::announced(copy.destination, &usable.index, session);
        let writer = writer.map_err(Trouble::Store)?;
        match Self::build(copy, &writer, snapshot, false) {
            Ok(made) => {
                let written = writer.finish(usable.adopted).map_err(Trouble::Store)?;
                usable.index.report_troubles(copy.reporter);
                Ok((made, written))
            }
            Err(trouble) => {
                if writer.finish(usable.adopted).is_err() {
                    // The store is what failed; the first error is the one to tell.
                }
                Err(trouble)
            }
        }
    }

    /// Builds the tree of the copy.
    pub(super) fn build<'a>(
        copy: &Copy<'a>,
        writer: &BlobWriter<'_>,
        snapshot: &Snapshot,
        dry: bool,
    ) -> Result<Made<'a>, Trouble> {
        let copies = copy.copies().map_err(Trouble::Store)?;
        let pairs = candidates(copy.destination, &copies, &copy.sources.snapshots, snapshot);
        let earlier: Vec<&Snapshot> = pairs.iter().map(|(copy, _)| *copy).collect();
        let opened = ParentSource::open(copy.destination, copy.cache, &earlier, copy.reporter);
        let opened = opened.map_err(Trouble::Store)?;
        let (blobs, parent) = opened.map_or((None, None), |(blobs, parent)| (Some(blobs), Some(parent)));
        let recorder = copy.cache.filter(|_| !dry).and_then(|cache| recorder(copy, cache, blobs.as_ref()));
        let pair = parent.and_then(|parent| pairs.iter().find(|(copy, _)| copy.id == parent.id).copied());
        let sink = RecordingSink { sink: writer, recorder: recorder.as_ref() };
        let mut tree = TreeCopy::new(copy.recutter, &sink, copy.reporter, &copy.options.interrupt);
        let root = {
            let mut earlier = blobs.as_ref().zip(pair).map(|(blobs, pair)| {
                let source = copy.recutter.source();
                Earlier::new(source, blobs.source(), pair, writer.index(), recorder.as_ref(), copy.reporter)
            });
            let reuse: &mut dyn Reuse = match &mut earlier {
                Some(earlier) => earlier,
                None => &mut Afresh,
            };
            tree.run(copy.destination, snapshot.root(), reuse)?
        };
        let read_bytes = tree.read_bytes;
        let outdated = earlier.iter().map(|copy| copy.id).collect();
        Ok(Made { root, read_bytes, parent: pair.map(|(copy, _)| copy.id), recorder, outdated })
    }
}

fn recorder<'a>(
    copy: &Copy<'a>,
    cache: &Cache,
    previous: Option<&ParentSource<'a>>,
) -> Option<TreeRecorder<'a>> {
    match cache.write_tree(copy.destination, previous.and_then(ParentSource::cached)) {
        Ok(recorder) => Some(recorder),
        Err(error) => {
            warn_of_cache(copy, &error);
            None
        }
    }
}

/// Keeps the new tree for the next copy and drops those it replaces.
fn keep_cache(copy: &Copy<'_>, made: &Made<'_>, id: &Id) {
    let (Some(cache), Some(recorder)) = (copy.cache, &made.recorder) else { return };
    if let Err(error) = recorder.keep_as(id) {
        warn_of_cache(copy, &error);
        return;
    }
    let known = cache.trees().unwrap_or_default();
    for tree in known.iter().filter(|tree| made.outdated.contains(tree) && *tree != id) {
        cache.remove_tree(tree);
    }
}

fn warn_of_cache(copy: &Copy<'_>, error: &Error) {
    let cause = format!("cannot be written, so the next copy may read every file again: {}", error.chain());
    copy.reporter.report(Finding::warning("the cache", cause));
}

/// The manifest of the copy: what the backup said, and where it comes from.
fn manifest(copy: &Copy<'_>, snapshot: &Snapshot, made: &Made<'_>, written: Written) -> Result<Manifest> {
    let sequence = session::next_sequence(copy.destination, &copy.destination.snapshots()?);
    let origin = snapshot.origin();
    Ok(Manifest {
        root: made.root.id,
        level: made.root.level,
        sequence,
        parent: made.parent,
        statistics: Statistics {
            data_blobs: written.data_blobs,
            tree_blobs: written.tree_blobs,
            data_added: written.plain_bytes,
            data_added_packed: written.stored_bytes,
            ..snapshot.manifest.statistics.clone()
        },
        program: env!("CARGO_PKG_VERSION").to_owned(),
        original: Some(Original {
            snapshot: origin.snapshot,
            writer: origin.writer,
            sequence: origin.sequence,
            made_from: snapshot.id,
            change: Change::Copied,
        }),
        ..snapshot.manifest.clone()
    })
}
