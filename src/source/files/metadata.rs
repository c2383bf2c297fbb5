//! What the system tells of a file, as a node and as a stamp.
//!
//! Invariant: content, holes, attributes and database of a node made here are empty; they cost reading and are
//! only filled in for what changed.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, FileType, Statx, StatxFlags, StatxTimestamp, makedev, statx};

use crate::error::{Error, Result};
use crate::format::node::{Node, NodeKind, Timestamp};

/// What changes whenever a file does: two equal stamps mean that nothing was written in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Number of the file system.
    pub device: u64,
    /// Inode number there.
    pub inode: u64,
    /// Length in bytes; zero unless a file.
    pub size: u64,
    /// Time of the last change of its content.
    pub mtime: Timestamp,
    /// Time of the last change of anything about it.
    pub ctime: Timestamp,
}

impl Stamp {
    /// The stamp at the time of the walk.
    pub fn of(node: &Node) -> Self {
        Self { device: node.device, inode: node.inode, size: node.size, mtime: node.mtime, ctime: node.ctime }
    }
}

/// Reads the stamp of an open file, to compare with [`Stamp::of`] its node after reading.
pub fn stat_file(file: &File) -> Result<Stamp> {
    let stat = stat_open(file)?;
    Ok(Stamp {
        device: device(&stat),
        inode: stat.stx_ino,
        size: size(&stat),
        mtime: timestamp(stat.stx_mtime),
        ctime: timestamp(stat.stx_ctime),
    })
}

/// Whether an open file was deleted, or replaced by another of its name, and is otherwise as the walk saw it: what
/// is read from it is what it was.
pub fn deleted_unchanged(file: &File, node: &Node) -> bool {
    let Ok(stat) = stat_open(file) else { return false };
    let now = (device(&stat), stat.stx_ino, size(&stat), timestamp(stat.stx_mtime));
    stat.stx_nlink == 0 && now == (node.device, node.inode, node.size, node.mtime)
}

/// Reads the metadata of an open file.
pub(super) fn stat_open(file: &File) -> Result<Statx> {
    statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)
        .map_err(|error| Error::io("cannot read the metadata of an open file", error))
}

/// Names of users and groups, each asked for once: a directory service may answer slowly.
#[derive(Default)]
pub(super) struct Accounts {
    users: HashMap<u32, Vec<u8>>,
    groups: HashMap<u32, Vec<u8>>,
}

impl Accounts {
    fn user(&mut self, number: u32) -> Vec<u8> {
        let ask = || uzers::get_user_by_uid(number).map(|user| user.name().as_bytes().to_vec());
        self.users.entry(number).or_insert_with(|| ask().unwrap_or_default()).clone()
    }

    fn group(&mut self, number: u32) -> Vec<u8> {
        let ask = || uzers::get_group_by_gid(number).map(|group| group.name().as_bytes().to_vec());
        self.groups.entry(number).or_insert_with(|| ask().unwrap_or_default()).clone()
    }

    /// Makes a node of what the system told; nothing if it is of a kind unknown to snapshots.
    pub(super) fn node(&mut self, stat: &Statx) -> Option<Node> {
        let kind = kind(stat)?;
        let is_device = matches!(kind, NodeKind::CharacterDevice | NodeKind::BlockDevice);
        let number = u64::from(stat.stx_rdev_major) << 32 | u64::from(stat.stx_rdev_minor);
        Some(Node {
            kind,
            mode: u32::from(stat.stx_mode) & 0o7777,
            uid: stat.stx_uid,
            gid: stat.stx_gid,
            user: self.user(stat.stx_uid),
            group: self.group(stat.stx_gid),
            mtime: timestamp(stat.stx_mtime),
            ctime: timestamp(stat.stx_ctime),
            size: size(stat),
            device: device(stat),
            inode: stat.stx_ino,
            links: u64::from(stat.stx_nlink),
            link_target: None,
            device_number: is_device.then_some(number),
            attributes: None,
            content: None,
            holes: None,
            database: None,
            extensions: None,
        })
    }

    /// The node of a folder that exists in the snapshot only, because something was placed below it.
    pub(super) fn made_up_folder(&mut self) -> Node {
        let uid = rustix::process::geteuid().as_raw();
        let gid = rustix::process::getegid().as_raw();
        let (user, group) = (self.user(uid), self.group(gid));
        Node { uid, gid, user, group, ..Node::bare(NodeKind::Directory, 0o755) }
    }
}

/// What kind of thing it is.
pub(super) fn kind(stat: &Statx) -> Option<NodeKind> {
    kind_of(FileType::from_raw_mode(u32::from(stat.stx_mode)))
}

/// What the system calls a file of this type; nothing for one that a snapshot cannot hold.
pub fn kind_of(file_type: FileType) -> Option<NodeKind> {
    match file_type {
        FileType::Directory => Some(NodeKind::Directory),
        FileType::RegularFile => Some(NodeKind::File),
        FileType::Symlink => Some(NodeKind::Symlink),
        FileType::Fifo => Some(NodeKind::Fifo),
        FileType::Socket => Some(NodeKind::Socket),
        FileType::CharacterDevice => Some(NodeKind::CharacterDevice),
        FileType::BlockDevice => Some(NodeKind::BlockDevice),
        FileType::Unknown => None,
    }
}

/// Number of the file system, as `st_dev` has it.
pub(super) fn device(stat: &Statx) -> u64 {
    makedev(stat.stx_dev_major, stat.stx_dev_minor)
}

fn size(stat: &Statx) -> u64 {
    if kind(stat) == Some(NodeKind::File) { stat.stx_size } else { 0 }
}

fn timestamp(time: StatxTimestamp) -> Timestamp {
    Timestamp { seconds: time.tv_sec, nanoseconds: time.tv_nsec }
}
