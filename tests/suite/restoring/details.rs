//! What a restore over something leaves of it: modes, lists and rights that the snapshot does not name, the logs of
//! databases, further names; and that a dry run ends as the real run would.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use rustix::fs::XattrFlags;

use crate::site::{DEADLINE, Site};
use crate::support::{SmallDisk, has_tool, is_root, run, untested};

const OVER: [&str; 6] = ["restore", "latest", "--target", ".", "--overwrite", "always"];

fn attribute(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0; 256];
    let length = rustix::fs::getxattr(path, name, &mut value).ok()?;
    value.truncate(length);
    Some(value)
}

#[test]
fn a_list_of_the_folder_gives_nobody_a_file_that_is_restored_into_it() {
    let site = Site::new();
    let file = site.folder.write("data/sub/f", "secret");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o660)).unwrap();
    site.backup(["data"]);
    fs::remove_file(&file).unwrap();
    // Version 2; owner rwx, user 65534 rwx, group none, mask rwx, others none.
    let entry = |tag: u16, rights: u16, id: u32| {
        [&tag.to_le_bytes()[..], &rights.to_le_bytes(), &id.to_le_bytes()].concat()
    };
    let none = u32::MAX;
    let list = [
        2u32.to_le_bytes().to_vec(),
        entry(1, 7, none),
        entry(2, 7, 65534),
        entry(4, 0, none),
        entry(16, 7, none),
        entry(32, 0, none),
    ]
    .concat();
    let folder = site.join("data/sub");
    if rustix::fs::setxattr(&folder, "system.posix_acl_default", &list, XattrFlags::empty()).is_err() {
        return untested("an inherited access control list");
    }
    site.run(0, OVER);
    assert_eq!(attribute(&file, "system.posix_acl_access"), None);
    assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o660);
}

#[test]
fn rights_that_a_program_got_later_are_taken_away() {
    let site = Site::new();
    let file = site.folder.write("data/program", "content");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    site.backup(["data"]);
    // Version 2, CAP_NET_RAW permitted and effective.
    let rights = [&0x0200_0001u32.to_le_bytes()[..], &(1u32 << 13).to_le_bytes(), &[0; 12]].concat();
    let what = "rights of a program";
    if !is_root(what) {
        return;
    }
    if rustix::fs::setxattr(&file, "security.capability", &rights, XattrFlags::empty()).is_err() {
        return untested(what);
    }
    let said = site.run(0, [&["-v"][..], &OVER].concat());
    assert!(said.out().contains("mended") || said.err().contains("mended"), "{}", said.out());
    assert_eq!(attribute(&file, "security.capability"), None);
}

fn as_nobody(site: &Site, arguments: &[&str]) -> Command {
    let inner = site.command(arguments);
    let mut command = Command::new("setpriv");
    command.env_clear().current_dir(site.folder.path());
    command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(inner.get_program());
    command.args(inner.get_args());
    command
}

#[test]
fn a_read_only_folder_is_read_only_again_afterwards() {
    let what = "a restore by somebody who is not root";
    if !is_root(what) || !has_tool("setpriv", what) {
        return;
    }
    let site = Site::new();
    site.folder.write("data/locked/file", "content");
    site.folder.write("data/locked/other", "content");
    let locked = site.join("data/locked");
    run(Command::new("chown").args(["-R", "65534:65534"]).arg(site.folder.path()), DEADLINE).expect_code(0);
    let mode = || fs::metadata(&locked).unwrap().mode() & 0o7777;
    run(&mut as_nobody(&site, &["backup", "data"]), DEADLINE).expect_code(0);
    for extra in [&["never"][..], &["always", "-i", "other"], &["always", "-i", "none", "-i", "file"]] {
        fs::remove_file(site.join("data/locked/file")).ok();
        fs::remove_file(site.join("data/locked/other")).ok();
        fs::set_permissions(&locked, fs::Permissions::from_mode(0o555)).unwrap();
        let arguments = [&["restore", "latest", "--target", ".", "--overwrite"], extra].concat();
        run(&mut as_nobody(&site, &arguments), DEADLINE).expect_code(0);
        assert!(fs::read_dir(&locked).unwrap().count() > 0);
        assert_eq!(mode(), 0o555, "{extra:?}");
        fs::set_permissions(&locked, fs::Permissions::from_mode(0o755)).unwrap();
    }
    // A mode that the snapshot has wins.
    fs::remove_file(site.join("data/locked/file")).ok();
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o555)).unwrap();
    run(&mut as_nobody(&site, &OVER), DEADLINE).expect_code(0);
    assert_eq!(mode(), 0o755);
}

#[test]
fn a_dry_run_fails_where_the_real_run_would() {
    let site = Site::new();
    site.folder.write("data/file", "content");
    site.backup(["data"]);
    let both = |target: &str, says: &str| {
        for dry in [&["-n"][..], &[]] {
            let arguments =
                [&["restore", "latest", "--target", target, "--overwrite", "always"], dry].concat();
            let said = site.run(1, arguments);
            assert!(said.err().contains(says), "{dry:?} {}", said.err());
        }
    };
    both("none/to", "make the folder above it first");
    both("data/file/to", "cannot restore into data/file/to");
    fs::create_dir(site.join("disk")).unwrap();
    let Some(disk) = SmallDisk::mount(&site.join("disk"), 1 << 20, "a read-only disk as a target") else {
        return;
    };
    fs::create_dir(site.join("disk/to")).unwrap();
    let remounted = Command::new("mount").args(["-o", "remount,ro"]).arg(site.join("disk")).output().unwrap();
    assert!(remounted.status.success());
    both("disk/to", "mount it writable");
    both("disk/new", "ead-only file system");
    drop(disk);
}

#[test]
fn a_further_name_of_a_file_that_stays_is_a_name_of_it() {
    let site = Site::new();
    let (one, two) = (site.folder.write("data/one", "content"), site.join("data/two"));
    fs::hard_link(&one, &two).unwrap();
    site.backup(["data"]);
    let never = ["restore", "latest", "--target", ".", "--overwrite", "never"];
    let inode = |path: &Path| fs::metadata(path).unwrap().ino();
    fs::remove_file(&two).unwrap();
    let said = site.run(0, never);
    assert_eq!(inode(&one), inode(&two), "{}", said.err());
    fs::remove_file(&two).unwrap();
    fs::write(&one, "other").unwrap();
    let said = site.run(0, never);
    assert!(inode(&one) != inode(&two) && fs::read(&two).unwrap() == b"content");
    assert!(said.err().contains("becomes a file of its own"), "{}", said.err());
}
