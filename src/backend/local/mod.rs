//! A repository in a folder of this computer, or of one that is mounted here.
//!
//! Invariants: `LocalBackend::publish` is the only way in; what it makes visible is whole, durable and new.
//! Everything is opened relative to the handle on the top folder, and below it no symbolic link is followed.
//! Files are read-only, and open to the group only where the top folder is.

mod create;
mod disk;
mod leftovers;
mod listing;
mod same;
mod strangers;
mod write;

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::buffer::spare_capacity;
use rustix::fd::OwnedFd;
use rustix::fs::{Advice, AtFlags, CWD, FileType, Mode, OFlags, RenameFlags, Stat};
use rustix::io::{Errno, retry_on_intr};

use self::listing::{collect, entries, size_at};
pub use same::is_same_store;
pub use strangers::Strangers;

use super::{BLOCK, Backend, Listed, ObjectKind, ObjectName, first_two_digits};
use crate::error::{Error, ErrorKind, Result};
use crate::report::printable;

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// A repository in a folder.
#[derive(Debug)]
pub struct LocalBackend {
    root: OwnedFd,
    location: String,
    file_mode: Mode,
    folder_mode: Mode,
    /// What ranges are multiples of.
    alignment: u64,
    /// Pack folders with deletions that may not have reached the disk yet. Many packs go at once, and a flush
    /// for each would be slow.
    unsettled: Mutex<BTreeSet<String>>,
}

impl LocalBackend {
    /// Opens the repository in a folder.
    ///
    /// # Errors
    /// `NoRepository` where there is none.
    pub fn open(path: &Path) -> Result<Self> {
        let location = printable(path.as_os_str().as_bytes());
        let none = |reason: &str| {
            Error::new(ErrorKind::NoRepository, format!("there is no repository in {location}: {reason}"))
                .hint("check the path and that its disk is mounted, or make a new one with `strongroom init`")
        };
        let backend = match Self::at(path, location.clone()) {
            Ok(backend) => backend,
            Err(Errno::NOENT) => return Err(none("the folder does not exist")),
            Err(Errno::NOTDIR) => return Err(none("it is not a folder")),
            Err(errno) => return Err(Error::io(format!("cannot open the repository in {location}"), errno)),
        };
        match rustix::fs::statat(&backend.root, "config", AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if is_file(&stat) => Ok(backend),
            Ok(_) => Err(none("its `config` is not a file")),
            Err(Errno::NOENT) if backend.has_parts() => Err(Error::new(
                ErrorKind::NoRepository,
                format!("{location} holds parts of a repository, but no `config`"),
            )
            .hint("bring `config` back from a copy of the repository: it never changes")),
            Err(Errno::NOENT) => Err(none("it has no file `config`")),
            Err(errno) => Err(Error::io(format!("cannot open the repository in {location}"), errno)),
        }
    }

    /// Whether folders lie here that only a repository has side by side.
    fn has_parts(&self) -> bool {
        let is_there = |name: &str| rustix::fs::statat(&self.root, name, AtFlags::SYMLINK_NOFOLLOW).is_ok();
        ["keys", "packs", "index"].into_iter().all(is_there)
    }

    fn at(path: &Path, location: String) -> Result<Self, Errno> {
        let root = open_top(path)?;
        let alignment = if disk::is_own(&root) { 1 } else { BLOCK };
        let mode = rustix::fs::fstat(&root)?.st_mode;
        // The set-group-id bit stays as well: it hands the group on to whatever is made inside.
        Ok(Self {
            root,
            location,
            file_mode: Mode::from_raw_mode(0o400 | mode & 0o040),
            folder_mode: Mode::from_raw_mode(0o700 | mode & 0o2070),
            alignment,
            unsettled: Mutex::default(),
        })
    }

    /// Opens the folder of an object, component by component, so that no symbolic link is followed.
    fn folder_of(&self, name: &ObjectName, make: bool) -> Result<OwnedFd, Errno> {
        let digits = first_two_digits(&name.id);
        let components = match name.kind {
            ObjectKind::Config => ["", ""],
            ObjectKind::Pack => ["packs", &digits],
            kind => [kind.folder(), ""],
        };
        let mut folder = open_folder(&self.root, ".")?;
        for component in components.into_iter().filter(|component| !component.is_empty()) {
            folder = match open_folder(&folder, component) {
                // Some tools that copy folders leave empty ones behind.
                Err(Errno::NOENT) if make => {
                    self.make_folder(&folder, component)?;
                    sync_folder(&folder)?;
                    open_folder(&folder, component)?
                }
                other => other?,
            };
        }
        Ok(folder)
    }

    fn open_object(&self, name: &ObjectName) -> Result<(OwnedFd, u64)> {
        let opened = self.folder_of(name, false).and_then(|folder| {
            // Non-blocking, for something put in the place of an object may be a pipe.
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let handle =
                retry_on_intr(|| rustix::fs::openat(&folder, file_name(name), flags, Mode::empty()))?;
            let stat = rustix::fs::fstat(&handle)?;
            Ok((handle, stat))
        });
        match opened {
            Ok((handle, stat)) if is_file(&stat) => Ok((handle, size_of(&stat))),
            Ok(_) | Err(Errno::LOOP) => Err(Error::corrupt(format!("{name} is not a file"))),
            Err(errno) => Err(self.failed("read", name, errno)),
        }
    }

    /// The one way in. The bytes go to a temporary file, then to the disk; only then does the file get its
    /// name, which fails where that is taken; last, the name goes to the disk.
    ///
    /// Where the last step fails, the object stays: another put of it may have been told that it is there.
    fn publish(&self, folder: &OwnedFd, name: &str, bytes: &[u8]) -> Result<(), Errno> {
        let (temporary, file) = leftovers::create_locked(folder, self.file_mode)?;
        if let Err(errno) = write::write(&file, bytes) {
            rustix::fs::unlinkat(folder, &temporary, AtFlags::empty()).ok();
            return Err(errno);
        }
        let published = self
            .show_to_group(&file)
            .and_then(|()| retry_on_intr(|| rustix::fs::fsync(&file)))
            .and_then(|()| rename_without_replacing(folder, temporary.as_bytes(), name.as_bytes()));
        if let Err(errno) = published {
            rustix::fs::unlinkat(folder, &temporary, AtFlags::empty()).ok();
            return Err(errno);
        }
        sync_folder(folder)
    }

    /// The umask may have taken from the group what the top folder gives it.
    fn show_to_group(&self, file: &OwnedFd) -> Result<(), Errno> {
        if self.file_mode == Mode::RUSR {
            return Ok(());
        }
        match rustix::fs::fchmod(file, self.file_mode) {
            Err(errno) if !is_unsupported(errno) && errno != Errno::PERM => Err(errno),
            _ => Ok(()),
        }
    }

    /// An object of this name is there already. It counts as stored if it holds the same bytes and is on the
    /// disk, which whoever wrote it may not have reached yet.
    fn confirm(&self, folder: &OwnedFd, name: &ObjectName, bytes: &[u8]) -> Result<()> {
        let (file, size) = self.open_object(name)?;
        if size != bytes.len() as u64 || self.read(&file, name, 0, size)? != bytes {
            return Err(super::holds_other_bytes(name));
        }
        retry_on_intr(|| rustix::fs::fsync(&file))
            .and_then(|()| sync_folder(folder))
            .map_err(|errno| self.failed("write", name, errno))
    }

    /// Reads a stretch that the caller has found to be there, into memory that is not zeroed first.
    fn read(&self, file: &OwnedFd, name: &ObjectName, offset: u64, length: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let wanted = usize::try_from(length).unwrap_or(usize::MAX);
        bytes.try_reserve_exact(wanted).map_err(|cause| {
            Error::new(ErrorKind::Io, format!("not enough memory to read {name}")).caused_by(cause)
        })?;
        while bytes.len() < wanted {
            let position = offset.saturating_add(bytes.len() as u64);
            match rustix::io::pread(file, spare_capacity(&mut bytes), position) {
                Ok(0) => return Err(super::too_short(name, position, offset, length)),
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(self.failed("read", name, errno)),
            }
        }
        bytes.truncate(wanted);
        Ok(bytes)
    }

    /// Brings deletions of packs to the disk: a record that says something about packs must not be changed
    /// before them.
    fn settle(&self) -> Result<()> {
        let mut unsettled = self.unsettled.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(digits) = unsettled.first().cloned() {
            let synced = open_folder(&self.root, ObjectKind::Pack.folder())
                .and_then(|packs| open_folder(&packs, &digits))
                .and_then(|folder| sync_folder(&folder));
            match synced {
                Ok(()) | Err(Errno::NOENT) => unsettled.remove(&digits),
                Err(errno) => {
                    let message = format!("cannot bring deletions in packs/{digits} to the disk");
                    return Err(Error::io(message, errno));
                }
            };
        }
        Ok(())
    }

    /// Everything in the folder of a kind, in no order: id and length.
    fn entries_of(&self, kind: ObjectKind) -> Result<Vec<Listed>, Errno> {
        let mut listed = Vec::new();
        if kind == ObjectKind::Config {
            if let Some(size) = size_at(&self.root, b"config")? {
                listed.push(Listed { id: ObjectName::CONFIG.id, size });
            }
            return Ok(listed);
        }
        let top = open_folder(&self.root, kind.folder())?;
        if kind != ObjectKind::Pack {
            collect(&top, "", &mut listed)?;
            return Ok(listed);
        }
        for number in 0..=u8::MAX {
            let digits = format!("{number:02x}");
            match open_folder(&top, &digits) {
                Ok(folder) => collect(&folder, &digits, &mut listed)?,
                // Folders are made when they are needed, so that without one there is no pack.
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(listed)
    }

    fn failed(&self, verb: &str, name: &ObjectName, errno: Errno) -> Error {
        if verb != "write" && errno == Errno::NOENT {
            return super::missing(name);
        }
        let error = Error::io(format!("cannot {verb} {name} in {}", self.location), errno);
        match error.kind() {
            ErrorKind::NoSpace => error.hint(format!("free some space on the disk of {}", self.location)),
            ErrorKind::Denied => {
                error.hint("check the owner and the mode of the folder, and that its disk is not read-only")
            }
            _ => error,
        }
    }
}

impl Backend for LocalBackend {
    fn put(&self, name: &ObjectName, bytes: &[u8]) -> Result<()> {
        if name.kind != ObjectKind::Pack {
            self.settle()?;
        }
        let folder = self.folder_of(name, true).map_err(|errno| self.failed("write", name, errno))?;
        match self.publish(&folder, &file_name(name), bytes) {
            Ok(()) => Ok(()),
            Err(Errno::EXIST) => self.confirm(&folder, name, bytes),
            Err(errno) => Err(self.failed("write", name, errno)),
        }
    }

    fn get(&self, name: &ObjectName, limit: u64) -> Result<Vec<u8>> {
        let (file, size) = self.open_object(name)?;
        if size > limit {
            return Err(super::too_large(name, size, limit));
        }
        if name.kind == ObjectKind::Pack {
            // Who reads a pack whole wants to know what the disk holds, not what this computer remembers of writing it.
            rustix::fs::fadvise(&file, 0, None, Advice::DontNeed).ok();
        }
        self.read(&file, name, 0, size)
    }

    fn get_range(&self, name: &ObjectName, offset: u64, length: u64) -> Result<Vec<u8>> {
        let (file, size) = self.open_object(name)?;
        if offset.checked_add(length).is_none_or(|end| end > size) {
            return Err(super::too_short(name, size, offset, length));
        }
        self.read(&file, name, offset, length)
    }

    fn alignment(&self) -> u64 {
        self.alignment
    }

    fn size(&self, name: &ObjectName) -> Result<u64> {
        self.folder_of(name, false)
            .and_then(|folder| size_at(&folder, file_name(name).as_bytes()))
            .map_err(|errno| self.failed("read", name, errno))?
            .ok_or_else(|| super::missing(name))
    }

    fn list(&self, kind: ObjectKind) -> Result<Vec<Listed>> {
        let mut listed = self.entries_of(kind).map_err(|errno| {
            let error = Error::io(format!("cannot list {}/{}", self.location, kind.folder()), errno);
            match error.kind() {
                // Nothing to see and nothing there are not the same: a folder that should be there may be away.
                ErrorKind::Missing => {
                    error.hint("if a copy of the repository left out its empty folders, make this one")
                }
                ErrorKind::Denied => {
                    error.hint("check the owner and the mode of this folder and of those in it")
                }
                _ => error,
            }
        })?;
        listed.sort_unstable_by_key(|object| object.id);
        Ok(listed)
    }

    fn delete(&self, name: &ObjectName) -> Result<()> {
        if name.kind != ObjectKind::Pack {
            self.settle()?;
        }
        let deleted = self.folder_of(name, false).and_then(|folder| {
            rustix::fs::unlinkat(&folder, file_name(name), AtFlags::empty())?;
            if name.kind == ObjectKind::Pack {
                let mut unsettled = self.unsettled.lock().unwrap_or_else(PoisonError::into_inner);
                unsettled.insert(first_two_digits(&name.id));
                return Ok(());
            }
            sync_folder(&folder)
        });
        match deleted {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(self.failed("delete", name, errno)),
        }
    }

    fn remove_leftovers(&self) -> Result<(u64, u64)> {
        self.remove_temporary_files().map_err(|errno| {
            Error::io(format!("cannot remove leftovers of crashed runs in {}", self.location), errno)
        })
    }

    fn location(&self) -> String {
        self.location.clone()
    }
}

impl Drop for LocalBackend {
    /// Nobody is left to tell of a failure, and a deletion that did not last is only done again.
    fn drop(&mut self) {
        self.settle().ok();
    }
}

/// Gives a file its name in the same folder where that is free, and fails with `EXIST` where it is not.
///
/// Linux knows a rename that does not replace; file systems without it (NFS among them) know hard links. One
/// that knows neither cannot keep the promise and is refused.
pub(crate) fn rename_without_replacing(folder: &OwnedFd, from: &[u8], to: &[u8]) -> Result<(), Errno> {
    match rustix::fs::renameat_with(folder, from, folder, to, RenameFlags::NOREPLACE) {
        Err(errno) if errno == Errno::INVAL || is_unsupported(errno) => {
            rustix::fs::linkat(folder, from, folder, to, AtFlags::empty())?;
            // What stays behind if this fails is a temporary file, which no listing shows.
            let unlink = || rustix::fs::unlinkat(folder, from, AtFlags::empty());
            // Once more, for a restored folder is to hold nothing else.
            unlink().or_else(|_| unlink()).ok();
            Ok(())
        }
        outcome => outcome,
    }
}

/// A name that nobody has used or can guess.
pub(crate) fn random_name(prefix: &str) -> Result<String, Errno> {
    let mut number = [0; 16];
    getrandom::fill(&mut number).map_err(|_| Errno::IO)?;
    Ok(format!("{prefix}{:032x}", u128::from_le_bytes(number)))
}

fn file_name(name: &ObjectName) -> String {
    if name.kind == ObjectKind::Config { "config".into() } else { name.id.to_hex() }
}

fn parent_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.into(),
        _ => ".".into(),
    }
}

/// Opens the top folder, to which a symbolic link may lead.
fn open_top(path: &Path) -> Result<OwnedFd, Errno> {
    retry_on_intr(|| rustix::fs::openat(CWD, path, FOLDER, Mode::empty()))
}

/// Opens a folder below the top, to which none may.
fn open_folder(parent: &OwnedFd, name: &str) -> Result<OwnedFd, Errno> {
    retry_on_intr(|| rustix::fs::openat(parent, name, FOLDER | OFlags::NOFOLLOW, Mode::empty()))
}

/// Brings the names in a folder to the disk. Some network file systems know no such thing, and do it anyway.
fn sync_folder(folder: &OwnedFd) -> Result<(), Errno> {
    match retry_on_intr(|| rustix::fs::fsync(folder)) {
        Err(errno) if errno == Errno::INVAL || is_unsupported(errno) => Ok(()),
        outcome => outcome,
    }
}

fn is_file(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
}

fn size_of(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or_default()
}

fn is_unsupported(errno: Errno) -> bool {
    [Errno::NOSYS, Errno::OPNOTSUPP, Errno::NOTSUP].contains(&errno)
}

#[cfg(test)]
mod tests {

    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::process::{Command, Stdio};
    use std::time::Duration;

    use super::*;
    use crate::backend::conformance::{self, Folder, id, pack};

    fn repository() -> (Folder, LocalBackend) {
        let folder = Folder::new();
        let backend = LocalBackend::create(&folder.path("repository")).unwrap();
        (folder, backend)
    }

    fn mount(folder: &Path, options: &str) -> bool {
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", options, "strongroom-test"]).arg(folder);
        command.stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    }

    fn unmount(folder: &Path) {
        assert!(Command::new("umount").arg(folder).status().unwrap().success());
    }

    fn temporary_files(folder: &Path) -> usize {
        let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.as_bytes().starts_with(b".tmp-")).count()
    }

    #[test]
    fn behaves_as_a_backend() {
        let (_folder, backend) = repository();
        conformance::run(&backend);
    }

    #[test]
    fn what_is_no_object_is_ignored() {
        let (folder, backend) = repository();
        backend.put(&pack(0xab, 1), b"whole").unwrap();
        let packs = folder.path("repository/packs");
        let stray = id(0xab, 2).to_hex();
        fs::write(packs.join("ab/.tmp-0123"), b"half").unwrap();
        fs::write(packs.join("ab").join(format!("{stray}~")), b"editor").unwrap();
        fs::write(packs.join("ab").join(id(0xcd, 3).to_hex()), b"in the wrong folder").unwrap();
        fs::write(packs.join("ab").join(stray.to_uppercase()), b"not its only name").unwrap();
        fs::write(packs.join("notes.txt"), b"").unwrap();
        fs::create_dir(packs.join("ab").join(&stray)).unwrap();
        symlink("/etc/passwd", packs.join("ab").join(id(0xab, 4).to_hex())).unwrap();
        assert_eq!(backend.list(ObjectKind::Pack).unwrap(), [Listed { id: id(0xab, 1), size: 5 }]);
        assert_eq!(backend.get(&pack(0xab, 4), 1 << 20).unwrap_err().kind(), ErrorKind::Corrupt);
        assert_eq!(backend.get(&pack(0xab, 2), 1 << 20).unwrap_err().kind(), ErrorKind::Corrupt);
    }

    #[test]
    fn no_symbolic_link_is_followed_below_the_top() {
        let (folder, backend) = repository();
        let elsewhere = folder.path("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        let keys = folder.path("repository/keys");
        fs::remove_dir(&keys).unwrap();
        symlink(&elsewhere, &keys).unwrap();
        let name = ObjectName::new(ObjectKind::Key, id(1, 1));
        assert!(backend.put(&name, b"key").is_err());
        assert!(backend.list(ObjectKind::Key).is_err());
        assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
    }

    #[test]
    fn a_lost_folder_is_an_error_and_a_lost_pack_folder_is_made_again() {
        let (folder, backend) = repository();
        fs::remove_dir(folder.path("repository/gc")).unwrap();
        assert_eq!(backend.list(ObjectKind::Gc).unwrap_err().kind(), ErrorKind::Missing);
        fs::remove_dir(folder.path("repository/packs/ab")).unwrap();
        assert!(backend.list(ObjectKind::Pack).unwrap().is_empty());
        backend.put(&pack(0xab, 1), b"pack").unwrap();
        assert_eq!(backend.get(&pack(0xab, 1), 4).unwrap(), b"pack");
    }

    #[test]
    fn only_a_repository_is_opened_and_only_an_empty_folder_becomes_one() {
        let folder = Folder::new();
        let path = folder.path("repository");
        let error = LocalBackend::open(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoRepository);
        assert!(error.next_step().unwrap().contains("strongroom init"));

        drop(LocalBackend::create(&path).unwrap());
        assert_eq!(LocalBackend::open(&path).unwrap_err().kind(), ErrorKind::NoRepository);

        let backend = LocalBackend::create(&path).unwrap();
        backend.put(&ObjectName::new(ObjectKind::Key, id(1, 1)), b"key").unwrap();
        assert_eq!(LocalBackend::create(&path).unwrap_err().kind(), ErrorKind::Refused);
        backend.put(&ObjectName::CONFIG, b"config").unwrap();
        assert_eq!(LocalBackend::create(&path).unwrap_err().kind(), ErrorKind::Refused);
        assert_eq!(LocalBackend::open(&path).unwrap().get(&ObjectName::CONFIG, 6).unwrap(), b"config");

        fs::write(folder.path("letter.txt"), b"").unwrap();
        assert_eq!(LocalBackend::create(&folder.path("")).unwrap_err().kind(), ErrorKind::Refused);
        let error = LocalBackend::create(&folder.path("no/such")).unwrap_err();
        assert!(error.next_step().unwrap().contains("mount"));
    }

    #[test]
    fn modes_follow_the_top_folder() {
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        for (top, sub, file) in [(0o700, 0o700, 0o400), (0o2770, 0o2770, 0o440), (0o755, 0o750, 0o440)] {
            let folder = Folder::new();
            let path = folder.path("repository");
            fs::create_dir(&path).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(top)).unwrap();
            let backend = LocalBackend::create(&path).unwrap();
            backend.put(&pack(0xab, 1), b"pack").unwrap();
            assert_eq!(mode(&path.join("packs/ab")), sub);
            assert_eq!(mode(&path.join(pack(0xab, 1).path())), file);
        }
    }

    #[test]
    fn a_full_disk_leaves_nothing_behind() {
        let folder = Folder::new();
        let disk = folder.path("disk");
        fs::create_dir(&disk).unwrap();
        if !mount(&disk, "size=1m,mode=0700") {
            return;
        }
        let backend = LocalBackend::create(&disk.join("repository")).unwrap();
        backend.put(&pack(0xab, 1), &[1; 4096]).unwrap();
        let error = backend.put(&pack(0xab, 2), &vec![2; 2 << 20]).unwrap_err();
        let left = temporary_files(&disk.join("repository/packs/ab"));
        let listed = backend.list(ObjectKind::Pack).unwrap();
        let again = backend.put(&pack(0xab, 3), &[3; 4096]);
        drop(backend);
        unmount(&disk);
        assert_eq!(error.kind(), ErrorKind::NoSpace);
        assert!(error.next_step().unwrap().contains("free some space"));
        assert_eq!((left, listed.len()), (0, 1));
        again.unwrap();
    }

    #[test]
    fn a_read_only_disk_denies() {
        let folder = Folder::new();
        let disk = folder.path("disk");
        fs::create_dir(&disk).unwrap();
        if !mount(&disk, "size=1m,mode=0700") {
            return;
        }
        let backend = LocalBackend::create(&disk.join("repository")).unwrap();
        backend.put(&ObjectName::CONFIG, b"config").unwrap();
        assert!(mount(&disk, "remount,ro"));
        let outcomes = [backend.put(&pack(0xab, 1), b"pack"), backend.delete(&ObjectName::CONFIG)];
        let config = backend.get(&ObjectName::CONFIG, 6);
        drop(backend);
        unmount(&disk);
        for outcome in outcomes {
            assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Denied);
        }
        assert_eq!(config.unwrap(), b"config");
    }

    /// The other side of the next test: puts packs until it is killed.
    #[test]
    #[ignore = "runs in a process of its own, which is killed"]
    fn put_until_killed() {
        let path = std::env::var_os("STRONGROOM_TEST_REPOSITORY").unwrap();
        let backend = LocalBackend::open(Path::new(&path)).unwrap();
        for number in 0..=u8::MAX {
            backend.put(&pack(0xab, number), &vec![number; 1 << 20]).unwrap();
        }
    }

    #[test]
    fn whoever_is_killed_leaves_whole_objects_and_temporary_files() {
        let (folder, backend) = repository();
        backend.put(&ObjectName::CONFIG, b"config").unwrap();
        for pause in [0, 3, 7, 12] {
            let mut child = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "backend::local::tests::put_until_killed", "--ignored", "--quiet"])
                .env("STRONGROOM_TEST_REPOSITORY", folder.path("repository"))
                .stdout(Stdio::null())
                .spawn()
                .unwrap();
            let before = backend.list(ObjectKind::Pack).unwrap().len();
            while backend.list(ObjectKind::Pack).unwrap().len() == before {
                assert!(child.try_wait().unwrap().is_none(), "it ended before it was killed");
            }
            std::thread::sleep(Duration::from_millis(pause));
            child.kill().unwrap();
            child.wait().unwrap();
            let listed = backend.list(ObjectKind::Pack).unwrap();
            for object in &listed {
                let bytes = backend.get(&ObjectName::new(ObjectKind::Pack, object.id), 1 << 20).unwrap();
                assert_eq!(bytes, vec![object.id.0[31]; 1 << 20]);
            }
            let folder = folder.path("repository/packs/ab");
            assert_eq!(fs::read_dir(&folder).unwrap().count(), listed.len() + temporary_files(&folder));
        }
    }
}
