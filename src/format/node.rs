//! A node: what a snapshot knows of one file, folder, link or device.
//!
//! Follows `format-spec/08-tree.md#node`. Names and values are bytes, for file systems know no
//! encoding. Access times are not kept.

use minicbor::{Decode, Encode};

use crate::id::Id;

/// What kind of thing a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum NodeKind {
    /// A folder.
    #[n(0)]
    Directory,
    /// A regular file.
    #[n(1)]
    File,
    /// A symbolic link.
    #[n(2)]
    Symlink,
    /// A named pipe.
    #[n(3)]
    Fifo,
    /// A socket.
    #[n(4)]
    Socket,
    /// A character device.
    #[n(5)]
    CharacterDevice,
    /// A block device.
    #[n(6)]
    BlockDevice,
}

/// A point in time, to the nanosecond, counted from the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(array)]
pub struct Timestamp {
    /// Seconds; negative before 1970.
    #[n(0)]
    pub seconds: i64,
    /// Nanoseconds within the second, below 1,000,000,000.
    #[cbor(n(1), decode_with = "decode_nanoseconds")]
    pub nanoseconds: u32,
}

/// Refuses a second or more: every record with a time is held to this, wherever it stands.
fn decode_nanoseconds<C>(
    decoder: &mut minicbor::Decoder<'_>,
    _: &mut C,
) -> Result<u32, minicbor::decode::Error> {
    let nanoseconds = decoder.u32()?;
    if nanoseconds <= NANOSECONDS_MAX {
        return Ok(nanoseconds);
    }
    Err(minicbor::decode::Error::message("a time has as many nanoseconds as a second or more"))
}

/// Most nanoseconds that a time has beside its seconds.
pub(super) const NANOSECONDS_MAX: u32 = 999_999_999;

/// One extended attribute.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Attribute {
    /// Its full name, such as `user.comment` or `system.posix_acl_access`.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub name: Vec<u8>,
    /// Its value.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub value: Vec<u8>,
}

/// A stretch of a file that was never written and reads as zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Hole {
    /// Where it starts, in bytes from the start of the file.
    #[n(0)]
    pub offset: u64,
    /// Its length in bytes; never zero.
    #[n(1)]
    pub length: u64,
}

/// The data of a file: its chunks in order, holes left out.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Content {
    /// Few chunks, named here.
    #[n(0)]
    Inline(#[n(0)] Vec<Id>),
    /// Many chunks, named in a tree of list blobs.
    #[n(1)]
    List {
        /// The list blob at the top.
        #[n(0)]
        root: Id,
        /// Its height: 0 names chunks, n names list blobs of height n - 1.
        #[n(1)]
        level: u8,
    },
}

impl Default for Content {
    fn default() -> Self {
        Self::Inline(Vec::new())
    }
}

/// What was known of a SQLite database when it was taken, so that the next run can tell whether it changed.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct DatabaseState {
    /// Page size in bytes.
    #[n(0)]
    pub page_size: u32,
    /// Pages in each chunk.
    #[n(1)]
    pub run_pages: u32,
    /// BLAKE3 of main file's stamp, log's stamp and the log's header: equal means unchanged.
    #[n(2)]
    pub fingerprint: Id,
    /// Whether the copy passed `integrity_check`.
    #[n(3)]
    pub checked: bool,
}

/// One entry of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Node {
    /// What it is.
    #[n(0)]
    pub kind: NodeKind,
    /// Permission bits, set-id bits and sticky bit: `st_mode & 0o7777`.
    #[n(1)]
    pub mode: u32,
    /// Owner's number.
    #[n(2)]
    pub uid: u32,
    /// Group's number.
    #[n(3)]
    pub gid: u32,
    /// Owner's name, empty if unknown.
    #[cbor(n(4), with = "minicbor::bytes")]
    pub user: Vec<u8>,
    /// Group's name, empty if unknown.
    #[cbor(n(5), with = "minicbor::bytes")]
    pub group: Vec<u8>,
    /// Time of the last change of its content.
    #[n(6)]
    pub mtime: Timestamp,
    /// Time of the last change of anything about it.
    #[n(7)]
    pub ctime: Timestamp,
    /// Length in bytes, holes included; zero unless a file.
    #[n(8)]
    pub size: u64,
    /// Number of the file system it was on.
    #[n(9)]
    pub device: u64,
    /// Inode number there.
    #[n(10)]
    pub inode: u64,
    /// Number of names that the inode has.
    #[n(11)]
    pub links: u64,
    /// Where a symbolic link points.
    #[cbor(n(12), with = "minicbor::bytes")]
    pub link_target: Option<Vec<u8>>,
    /// Device number of a device node: `(major << 32) | minor`.
    #[n(13)]
    pub device_number: Option<u64>,
    /// Extended attributes, sorted by name.
    #[n(14)]
    pub attributes: Option<Vec<Attribute>>,
    /// Data of a file.
    #[n(15)]
    pub content: Option<Content>,
    /// Holes of a file, sorted, not touching each other.
    #[n(16)]
    pub holes: Option<Vec<Hole>>,
    /// Set where the file is a SQLite database taken through its backup interface.
    #[n(17)]
    pub database: Option<DatabaseState>,
    /// Records that later versions may add and this one passes over.
    #[n(18)]
    pub extensions: Option<Vec<Extension>>,
}

impl Node {
    /// One of which nothing is known but what it is and its mode: empty, of user and group 0, from 1970.
    pub fn bare(kind: NodeKind, mode: u32) -> Self {
        Self {
            kind,
            mode,
            uid: 0,
            gid: 0,
            user: Vec::new(),
            group: Vec::new(),
            mtime: Timestamp::default(),
            ctime: Timestamp::default(),
            size: 0,
            device: 0,
            inode: 0,
            links: 1,
            link_target: None,
            device_number: None,
            attributes: None,
            content: None,
            holes: None,
            database: None,
            extensions: None,
        }
    }
}

/// A record of a kind that not every reader knows. One that is not known is kept apart by its length and ignored.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Extension {
    /// What it is, by the registry in `format-spec/14-versioning.md`.
    #[n(0)]
    pub code: u32,
    /// What it says.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub value: Vec<u8>,
}
