//! Tests of the restore target: hostile paths, hostile neighbors, and metadata to the last bit.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;

use super::*;
use crate::backend::local::random_name;
use crate::format::node::{Attribute, Timestamp};

/// A folder that is removed with this handle, and a target in it.
struct Place(PathBuf);

impl Place {
    fn new() -> (Self, Target) {
        let path = std::env::temp_dir().join(random_name("strongroom-test-").unwrap());
        fs::create_dir(&path).unwrap();
        let target = Target::create(&path.join("target")).unwrap();
        (Self(path), target)
    }

    fn at(&self, path: &[u8]) -> PathBuf {
        self.0.join("target").join(OsStr::from_bytes(path))
    }

    fn names(&self) -> Vec<Vec<u8>> {
        let names = fs::read_dir(self.at(b"")).unwrap();
        names.map(|entry| entry.unwrap().file_name().as_bytes().to_vec()).collect()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

fn node(kind: NodeKind) -> Node {
    Node {
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        mtime: Timestamp { seconds: 1_234_567_890, nanoseconds: 123_456_789 },
        ..Node::bare(kind, 0o640)
    }
}

fn write(target: &Target, path: &[u8], bytes: &[u8]) -> Result<Vec<Finding>> {
    let file = target.create_file(path, bytes.len() as u64)?;
    file.write_at(0, bytes)?;
    file.finish(&node(NodeKind::File))
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn only_an_empty_folder_is_filled() {
    let (place, target) = Place::new();
    assert_eq!(fs::metadata(place.at(b"")).unwrap().mode() & 0o7777, 0o700);
    fs::create_dir(place.at(b"lost+found")).unwrap();
    // A target is held for as long as it is open, by this process too.
    drop(target);
    let target = Target::create(&place.at(b"")).unwrap();
    write(&target, b"file", b"").unwrap();
    drop(target);
    let error = Target::create(&place.at(b"")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.next_step().is_some());
    assert!(Target::create(&place.at(b"no/such")).unwrap_err().next_step().is_some());
    assert!(Target::create(&place.at(b"file")).is_err());
}

#[test]
fn hostile_names_are_refused_everywhere() {
    let (place, target) = Place::new();
    target.make_directory(b"a").unwrap();
    write(&target, b"file", b"").unwrap();
    let hostile: [&[u8]; 14] = [
        b"",
        b"/",
        b"/a",
        b"a/",
        b"a//b",
        b".",
        b"..",
        b"../x",
        b"a/..",
        b"a/../../x",
        b"a/./b",
        b"x\0y",
        b"a\0/x",
        b"/etc/passwd",
    ];
    for path in hostile {
        let link = Node { link_target: Some(b"file".to_vec()), ..node(NodeKind::Symlink) };
        let outcomes = [
            target.make_directory(path),
            target.create_file(path, 0).map(drop),
            target.make_symlink(path, &link),
            target.make_special(path, &node(NodeKind::Fifo)),
            target.hard_link(b"file", path),
            target.hard_link(path, b"new"),
            target.apply_metadata(path, &node(NodeKind::Directory)).map(drop),
        ];
        for outcome in outcomes {
            assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Corrupt, "{}", printable(path));
        }
    }
    let mut names = place.names();
    names.sort();
    assert_eq!(names, [b"a".to_vec(), b"file".to_vec()]);
    assert_eq!(fs::read_dir(&place.0).unwrap().count(), 1);
}

#[test]
fn no_symbolic_link_is_written_through() {
    for (beneath, keep) in [(true, true), (true, false), (false, true), (false, false)] {
        let (place, target) = Place::new();
        target.shared.resolves_beneath.store(beneath, Ordering::Relaxed);
        let outside = place.0.join("outside");
        fs::create_dir(&outside).unwrap();
        target.make_directory(b"a").unwrap();
        target.make_directory(b"a/b").unwrap();
        write(&target, b"a/b/first", b"first").unwrap();
        let open = target.create_file(b"a/b/open", 4).unwrap();

        fs::rename(place.at(b"a"), place.at(b"moved")).unwrap();
        symlink(&outside, place.at(b"a")).unwrap();
        fs::create_dir(outside.join("b")).unwrap();
        if !keep {
            target.shared.parents.lock().unwrap().clear();
        }
        let link = Node { link_target: Some(b"/".to_vec()), ..node(NodeKind::Symlink) };
        let outcomes = [
            write(&target, b"a/b/second", b"second").map(drop),
            target.make_directory(b"a/b/folder"),
            target.make_symlink(b"a/b/link", &link),
            target.make_special(b"a/b/pipe", &node(NodeKind::Fifo)),
            target.hard_link(b"a/b/first", b"a/b/again"),
            open.finish(&node(NodeKind::File)).map(drop),
        ];
        for outcome in outcomes {
            assert_eq!(outcome.is_ok(), keep, "{outcome:?}");
        }
        assert_eq!(fs::read_dir(outside.join("b")).unwrap().count(), 0);
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);

        // The link itself is not taken for the folder that was there.
        let error = target.apply_metadata(b"a", &node(NodeKind::Directory)).unwrap_err();
        assert!(!error.to_string().is_empty());
        assert_eq!(write(&target, b"a", b"x").unwrap_err().kind(), ErrorKind::Refused);
        assert!(target.make_directory(b"a").is_err());
    }
}

#[test]
fn nothing_is_replaced_and_nothing_is_left() {
    let (place, target) = Place::new();
    write(&target, b"file", b"first").unwrap();
    assert_eq!(write(&target, b"file", b"second").unwrap_err().kind(), ErrorKind::Refused);
    assert_eq!(fs::read(place.at(b"file")).unwrap(), b"first");

    let file = target.create_file(b"unfinished", 10).unwrap();
    assert_eq!(place.names().len(), 2);
    assert_eq!(file.write_at(8, b"abc").unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(file.write_at(u64::MAX, b"abc").unwrap_err().kind(), ErrorKind::Corrupt);
    drop(file);
    assert_eq!(place.names(), [b"file".to_vec()]);
    assert!(target.create_file(b"huge", u64::MAX).is_err());
    assert_eq!(write(&target, b"no/file", b"").unwrap_err().kind(), ErrorKind::Missing);
    assert_eq!(place.names(), [b"file".to_vec()]);
    target.make_directory(b"folder").unwrap();
    target.make_directory(b"folder").unwrap();
    assert!(target.make_directory(b"file").is_err());
    target.sync().unwrap();
}

#[test]
fn many_threads_write_one_file_and_its_holes_stay() {
    let (place, target) = Place::new();
    let size = 64 << 20;
    let file = target.create_file(b"sparse", size).unwrap();
    std::thread::scope(|scope| {
        for number in 0..8_u8 {
            let file = &file;
            scope.spawn(move || {
                file.write_at(u64::from(number) * (8 << 20), &[number + 1; 4096]).unwrap();
                file.release_handle();
            });
        }
    });
    file.finish(&node(NodeKind::File)).unwrap();
    let metadata = fs::metadata(place.at(b"sparse")).unwrap();
    assert_eq!(metadata.len(), size);
    assert!(metadata.blocks() * 512 < 1 << 20);
    let bytes = fs::read(place.at(b"sparse")).unwrap();
    for number in 0..8_u8 {
        let start = usize::from(number) * (8 << 20);
        assert_eq!(bytes.get(start..start + 4096).unwrap(), [number + 1; 4096]);
        assert_eq!(bytes.get(start + 4096), Some(&0));
    }
}

#[test]
fn a_file_put_in_the_place_of_an_unfinished_one_is_not_written() {
    let (place, target) = Place::new();
    let file = target.create_file(b"file", 5).unwrap();
    file.write_at(0, b"ab").unwrap();
    file.release_handle();
    file.write_at(2, b"cde").unwrap();
    file.release_handle();
    let victim = place.0.join("victim");
    fs::write(&victim, b"whole").unwrap();
    let aside = place.at(place.names().first().unwrap());
    let kept = place.0.join("kept");
    fs::rename(&aside, &kept).unwrap();
    fs::hard_link(&victim, &aside).unwrap();
    assert_eq!(file.write_at(0, b"x").unwrap_err().kind(), ErrorKind::Refused);
    assert_eq!(file.finish(&node(NodeKind::File)).unwrap_err().kind(), ErrorKind::Refused);
    assert_eq!(fs::read(&victim).unwrap(), b"whole");
    assert_eq!(fs::read(&kept).unwrap(), b"abcde");
}

#[test]
fn names_that_are_no_text_and_paths_beyond_the_limit() {
    let (place, target) = Place::new();
    let name = b"\xff\xfe\n\x1b[2J";
    target.make_directory(name).unwrap();
    let mut path = name.to_vec();
    path.extend_from_slice(b"/\x80");
    write(&target, &path, b"bytes").unwrap();
    assert_eq!(fs::read(place.at(&path)).unwrap(), b"bytes");
    let error = write(&target, &path, b"again").unwrap_err().to_string();
    assert!(error.contains("\\xff") && !error.contains('\x1b'), "{error}");

    let mut deep = vec![b'd'; 250];
    target.make_directory(&deep).unwrap();
    while deep.len() < 6000 {
        deep.push(b'/');
        deep.extend_from_slice(&[b'd'; 250]);
        target.make_directory(&deep).unwrap();
    }
    let mut file = deep.clone();
    file.extend_from_slice(b"/file");
    write(&target, &file, b"deep").unwrap();
    target.apply_metadata(&deep, &Node { mode: 0o700, ..node(NodeKind::Directory) }).unwrap();
    assert!(write(&target, &[b'n'; 256], b"").is_err());
}

#[test]
fn hard_links_share_a_file() {
    let (place, target) = Place::new();
    target.make_directory(b"a").unwrap();
    write(&target, b"a/first", b"shared").unwrap();
    target.hard_link(b"a/first", b"second").unwrap();
    let first = fs::metadata(place.at(b"a/first")).unwrap();
    let second = fs::metadata(place.at(b"second")).unwrap();
    assert_eq!((first.ino(), first.nlink()), (second.ino(), 2));
    assert_eq!(target.hard_link(b"a/first", b"second").unwrap_err().kind(), ErrorKind::Refused);
    assert_eq!(target.hard_link(b"a", b"b").unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(target.hard_link(b"none", b"b").unwrap_err().kind(), ErrorKind::Missing);

    // A symbolic link is linked itself, not what it leads to.
    let link = Node { link_target: Some(b"/etc/passwd".to_vec()), ..node(NodeKind::Symlink) };
    target.make_symlink(b"link", &link).unwrap();
    target.hard_link(b"link", b"link again").unwrap();
    assert!(fs::symlink_metadata(place.at(b"link again")).unwrap().is_symlink());
}

#[test]
fn metadata_come_back_to_the_last_bit() {
    let (place, target) = Place::new();
    let times = [(0, 0), (-1, 999_999_999), (1_700_000_000, 1), (4_000_000_000, 500_000_000)];
    for (number, (seconds, nanoseconds)) in times.into_iter().enumerate() {
        let (uid, gid) =
            if is_root() { (1234, 4321) } else { (node(NodeKind::File).uid, node(NodeKind::File).gid) };
        let mode = [0o4755, 0o2711, 0o7777, 0o000].into_iter().nth(number).unwrap();
        let mtime = Timestamp { seconds, nanoseconds };
        let attributes = Some(vec![
            Attribute { name: b"user.empty".to_vec(), value: Vec::new() },
            Attribute { name: b"user.name".to_vec(), value: b"\0\xff value".to_vec() },
        ]);
        let with = |kind| Node { mode, uid, gid, mtime, attributes: attributes.clone(), ..node(kind) };

        let path = format!("file {number}");
        let file = target.create_file(path.as_bytes(), 3).unwrap();
        file.write_at(0, b"abc").unwrap();
        assert_eq!(file.finish(&with(NodeKind::File)).unwrap(), []);
        let folder = format!("folder {number}");
        target.make_directory(folder.as_bytes()).unwrap();
        assert_eq!(target.apply_metadata(folder.as_bytes(), &with(NodeKind::Directory)).unwrap(), []);

        for path in [path, folder] {
            let metadata = fs::metadata(place.at(path.as_bytes())).unwrap();
            assert_eq!(metadata.mode() & 0o7777, mode);
            assert_eq!((metadata.uid(), metadata.gid()), (uid, gid));
            assert_eq!((metadata.mtime(), metadata.mtime_nsec()), (seconds, nanoseconds.into()));
            if is_root() {
                let mut value = [0; 16];
                let length =
                    rustix::fs::getxattr(place.at(path.as_bytes()), "user.name", &mut value[..]).unwrap();
                assert_eq!(value.get(..length).unwrap(), b"\0\xff value");
            }
        }
    }
}

#[test]
fn links_pipes_sockets_and_devices_keep_theirs() {
    let (place, target) = Place::new();
    let (uid, gid) =
        if is_root() { (1234, 4321) } else { (node(NodeKind::Fifo).uid, node(NodeKind::Fifo).gid) };
    let victim = place.0.join("victim");
    fs::write(&victim, b"").unwrap();
    let before = fs::metadata(&victim).unwrap();
    let attributes =
        is_root().then(|| vec![Attribute { name: b"trusted.strongroom".to_vec(), value: b"mark".to_vec() }]);
    let link = Node {
        link_target: Some(victim.as_os_str().as_bytes().to_vec()),
        uid,
        gid,
        mode: 0o777,
        attributes: attributes.clone(),
        ..node(NodeKind::Symlink)
    };
    target.make_symlink(b"link", &link).unwrap();
    assert_eq!(target.apply_metadata(b"link", &link).unwrap(), []);
    assert_eq!(fs::read_link(place.at(b"link")).unwrap(), victim);
    if is_root() {
        let mut value = [0; 16];
        assert_eq!(rustix::fs::lgetxattr(place.at(b"link"), "trusted.strongroom", &mut value[..]), Ok(4));
    }
    let after = fs::metadata(&victim).unwrap();
    assert_eq!(
        (before.uid(), before.mode(), before.mtime_nsec()),
        (after.uid(), after.mode(), after.mtime_nsec())
    );
    assert_eq!((before.ctime(), before.ctime_nsec()), (after.ctime(), after.ctime_nsec()));

    let mut kinds = vec![NodeKind::Fifo, NodeKind::Socket];
    if is_root() {
        kinds.extend([NodeKind::CharacterDevice, NodeKind::BlockDevice]);
    }
    for kind in kinds {
        let path = format!("{kind:?}");
        let special = Node {
            uid,
            gid,
            device_number: Some((259 << 32) + 300),
            attributes: attributes.clone(),
            ..node(kind)
        };
        target.make_special(path.as_bytes(), &special).unwrap();
        assert_eq!(target.apply_metadata(path.as_bytes(), &special).unwrap(), []);
        let metadata = fs::symlink_metadata(place.at(path.as_bytes())).unwrap();
        assert_eq!((metadata.mode() & 0o7777, metadata.uid(), metadata.gid()), (0o640, uid, gid));
        assert_eq!((metadata.mtime(), metadata.mtime_nsec()), (1_234_567_890, 123_456_789));
        if metadata.file_type().is_block_device() || metadata.file_type().is_char_device() {
            assert_eq!(metadata.rdev(), rustix::fs::makedev(259, 300));
        }
        // What is there is not what this node says.
        assert!(target.apply_metadata(path.as_bytes(), &link).is_err());
    }
    let symlink = fs::symlink_metadata(place.at(b"link")).unwrap();
    assert_eq!((symlink.uid(), symlink.mtime_nsec()), (uid, 123_456_789));

    for damaged in [node(NodeKind::Symlink), Node { link_target: Some(b"a\0b".to_vec()), ..link }] {
        assert_eq!(target.make_symlink(b"damaged", &damaged).unwrap_err().kind(), ErrorKind::Corrupt);
    }
    for damaged in [NodeKind::BlockDevice, NodeKind::File] {
        assert_eq!(target.make_special(b"damaged", &node(damaged)).unwrap_err().kind(), ErrorKind::Corrupt);
    }
}

#[test]
fn what_cannot_be_set_is_found_once_and_counted() {
    let (place, mut target) = Place::new();
    // As somebody who is not root would meet it.
    Arc::get_mut(&mut target.shared).unwrap().privileged = false;
    let foreign = Node {
        uid: 4_000_000,
        mode: 0o4755,
        mtime: Timestamp { seconds: 0, nanoseconds: 0x3fff_ffff },
        attributes: Some(vec![Attribute { name: b"unheard.of".to_vec(), value: Vec::new() }]),
        ..node(NodeKind::File)
    };
    let findings = target.create_file(b"first", 0).unwrap().finish(&foreign).unwrap();
    assert_eq!(findings.len(), 4);
    assert!(
        findings.iter().all(|finding| finding.severity == Severity::Warning && finding.subject == "first")
    );
    assert_eq!(fs::metadata(place.at(b"first")).unwrap().mode() & 0o7777, 0o755);
    for number in 0..3 {
        let file = target.create_file(format!("{number}").as_bytes(), 0).unwrap();
        assert_eq!(file.finish(&Node { gid: u32::MAX, ..foreign.clone() }).unwrap(), []);
    }
    let further = target.further_findings();
    assert_eq!(further.len(), 4);
    assert!(further.iter().all(|finding| finding.cause.contains("3 more")), "{further:?}");
}

#[test]
fn a_list_that_the_folder_hands_on_is_not_kept() {
    let (place, target) = Place::new();
    drop(target);
    // Version 2; owner rwx, user 4321 rwx, group none, mask rwx, others none.
    let mut list = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in
        [(1, 7, u32::MAX), (2, 7, 4321), (4, 0, u32::MAX), (16, 7, u32::MAX), (32, 0, u32::MAX)]
    {
        list.extend(u16::to_le_bytes(tag));
        list.extend(u16::to_le_bytes(permissions));
        list.extend(u32::to_le_bytes(id));
    }
    let top = place.at(b"");
    if rustix::fs::setxattr(&top, metadata::DEFAULT_LIST, &list, rustix::fs::XattrFlags::empty()).is_err() {
        return;
    }
    let target = Target::create(&top).unwrap();
    write(&target, b"file", b"secret").unwrap();
    target.make_directory(b"folder").unwrap();
    target.apply_metadata(b"folder", &node(NodeKind::Directory)).unwrap();
    let kept = Node {
        attributes: Some(vec![Attribute { name: b"system.posix_acl_access".to_vec(), value: list.clone() }]),
        mode: 0o670,
        ..node(NodeKind::File)
    };
    target.create_file(b"kept", 0).unwrap().finish(&kept).unwrap();
    for (path, expected) in [(&b"file"[..], false), (b"folder", false), (b"kept", true)] {
        let found =
            rustix::fs::lgetxattr(place.at(path), "system.posix_acl_access", &mut [0; 256][..]).is_ok();
        assert_eq!(found, expected);
    }
    assert_eq!(fs::metadata(place.at(b"kept")).unwrap().permissions().mode() & 0o777, 0o670);
}

#[test]
fn what_is_put_aside_takes_no_name_that_is_taken() {
    let (place, target) = Place::new();
    write(&target, b"log", b"1").unwrap();
    write(&target, b"taken", b"2").unwrap();
    target.make_directory(b"sub").unwrap();
    assert!(target.rename(b"log", b"taken").is_err() && target.rename(b"log", b"sub/log").is_err());
    assert_eq!(fs::read(place.at(b"taken")).unwrap(), b"2");
    target.rename(b"log", b"free").unwrap();
    assert_eq!(fs::read(place.at(b"free")).unwrap(), b"1");
    assert!(!place.at(b"log").exists());
}

#[test]
fn what_is_in_use_is_replaced_by_nothing() {
    let (place, target) = Place::new();
    write(&target, b"key", b"in use").unwrap();
    drop(target);
    let seen = fs::metadata(place.at(b"key")).unwrap();
    let own = [((seen.dev(), seen.ino()), "key file")].into_iter().collect();
    let opening = Opening { may_hold_something: true, own, ..Opening::default() };
    let target = Target::open(&place.at(b""), &opening).unwrap();
    let file = target.create_file(b"key", 0).unwrap();
    let refused = [
        file.finish_over(&node(NodeKind::File), true).map(drop),
        target.make_directory_over(b"key", true).map(drop),
        target.replace_by(b"key", |aside| {
            target.make_symlink(aside, &Node { link_target: Some(b"x".to_vec()), ..node(NodeKind::Symlink) })
        }),
    ];
    for outcome in refused {
        assert!(outcome.unwrap_err().chain().contains("it is the key file, which is in use"));
    }
    assert_eq!(fs::read(place.at(b"key")).unwrap(), b"in use");
    assert_eq!(place.names(), [b"key".to_vec()]);
}

#[test]
fn a_folder_goes_only_with_all_that_may_go() {
    let (place, target) = Place::new();
    target.make_directory(b"x").unwrap();
    write(&target, b"x/one", b"1").unwrap();
    drop(target);
    let opening = Opening { may_hold_something: true, ..Opening::default() };
    let target = Target::open(&place.at(b""), &opening).unwrap();
    target.allow_clearing([&b"x"[..], b"x/one"].map(<[u8]>::to_vec).into());
    // Something that nobody had seen is there by now.
    fs::write(place.at(b"x/two"), "2").unwrap();
    let over = || target.create_file(b"x", 0).unwrap().finish_over(&node(NodeKind::File), true);
    assert!(over().is_err() && place.at(b"x/one").exists() && place.at(b"x/two").exists());
    fs::remove_file(place.at(b"x/two")).unwrap();
    over().unwrap();
    assert!(place.at(b"x").is_file());
}
