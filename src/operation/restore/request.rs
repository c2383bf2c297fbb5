//! What is asked of a restore, and what it tells while it works and in the end.

use std::fmt;

use super::select::Selection;
use super::target::Seen;
use crate::format::node::Timestamp;
use crate::operation::needed::Needed;

/// What becomes of what is in the target already, where the snapshot has something of the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overwrite {
    /// It becomes what the snapshot holds; a file's contents are read and compared.
    Always,
    /// The same, but a file of the same length and time of change is taken to be the same.
    IfChanged,
    /// It becomes what the snapshot holds where that is newer.
    IfNewer,
    /// It stays as it is.
    Never,
}

impl Overwrite {
    /// Whether something may become what a snapshot holds that changed then.
    pub(super) fn may_replace(self, seen: &Seen, mtime: Timestamp) -> bool {
        match self {
            Self::Always | Self::IfChanged => true,
            Self::IfNewer => mtime > seen.mtime,
            Self::Never => false,
        }
    }
}

/// What became of one thing, or would in a dry run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It was not there, and is made.
    Restored,
    /// Something else was there, and is replaced.
    Updated,
    /// Its contents are right, and its metadata are mended.
    Mended,
    /// It is as it was in the snapshot.
    Unchanged,
    /// It is not what the snapshot holds, and stays.
    Kept,
    /// The snapshot does not hold it, and it is removed.
    Deleted,
}

/// One thing and what became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// What became of it.
    pub action: Action,
    /// Its path below the target.
    pub path: &'a [u8],
    /// Its length in bytes; zero unless a file.
    pub size: u64,
    /// Whether it is a folder.
    pub is_folder: bool,
}

/// What is to be restored, and how.
#[derive(Clone, Default)]
pub struct Request<'a> {
    /// The folder of the snapshot that becomes the target, or the one thing that is put into it.
    pub place: Vec<u8>,
    /// Paths of the snapshot, at or below that place, that are restored alone, each below the target where it lies
    /// below the place; all where there are none.
    pub paths: Vec<Vec<u8>>,
    /// Patterns that choose further.
    pub selection: Selection,
    /// What becomes of what is there; where nothing is said, the target must be new or empty.
    pub overwrite: Option<Overwrite>,
    /// Whether what the snapshot does not hold is removed.
    pub delete: bool,
    /// Whether all files are read once they are restored.
    pub verify: bool,
    /// Whether zeros become holes.
    pub sparse: bool,
    /// Whether owners stay what they are.
    pub no_owner: bool,
    /// Whether nothing is changed, and only told what would be.
    pub dry_run: bool,
    /// What the restore works with itself, which --delete does not remove.
    pub own: Vec<Needed>,
    /// Who is told of each thing, from many threads.
    pub observer: Option<&'a (dyn Fn(&Event<'_>) + Sync)>,
}

impl Request<'_> {
    /// All that lies at a place, into a new or empty folder.
    pub fn of(place: &[u8]) -> Self {
        Self { place: place.to_vec(), ..Self::default() }
    }

    pub(super) fn tell(&self, action: Action, path: &[u8], size: u64, is_folder: bool) {
        if let Some(observer) = self.observer {
            observer(&Event { action, path, size, is_folder });
        }
    }
}

impl fmt::Debug for Request<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, paths, overwrite, delete, .. } = self;
        write!(formatter, "Request({place:?}, {paths:?}, {overwrite:?}, delete: {delete})")
    }
}

/// What a restore did, or would do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Files that were written, hard links included.
    pub files: u64,
    /// Folders that were made.
    pub directories: u64,
    /// Links, pipes, sockets and devices that were made.
    pub others: u64,
    /// Bytes of the files that were written.
    pub bytes: u64,
    /// What is missing, or is not as it was.
    pub problems: u64,
    /// Files of the snapshot that were selected, hard links included.
    pub total_files: u64,
    /// Their bytes, each file once.
    pub total_bytes: u64,
    /// Files whose contents were right already.
    pub files_unchanged: u64,
    /// Their bytes.
    pub bytes_unchanged: u64,
    /// Things of any kind that stay although the snapshot holds something else.
    pub kept: u64,
    /// Bytes of the files among them, as long as the snapshot has them.
    pub bytes_kept: u64,
    /// Files whose contents were right and whose metadata were not.
    pub mended: u64,
    /// Bytes of files that came from the repository, and not from what was there.
    pub bytes_fetched: u64,
    /// Files, links and the like that were removed.
    pub files_deleted: u64,
    /// Folders that were removed.
    pub directories_deleted: u64,
    /// Bytes of the files that were removed.
    pub bytes_deleted: u64,
    /// Files that were read again and are right.
    pub files_verified: u64,
    /// Their bytes.
    pub bytes_verified: u64,
    /// What a restore that was killed had left unfinished, and is removed.
    pub leftovers: u64,
}
