//! How far a restore in place reaches: `--delete` cleans in what a backup named and nowhere else, what the restore needs
//! itself stays, and a folder in the place of something else goes only with all in it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::site::{DEADLINE, Site, last, number, see};
use crate::support::{Outcome, SmallDisk, run};

const ALWAYS: [&str; 4] = ["--target", ".", "--overwrite", "always"];

fn within(site: &Site, folder: &str, code: i32, arguments: &[&str]) -> Outcome {
    let mut command = site.command_at(folder, arguments);
    run(&mut command, DEADLINE).expect_code(code)
}

/// A restore over what is there, as a dry run and in earnest: both end with this code.
fn restore(site: &Site, folder: &str, code: i32, arguments: &[&str]) -> Outcome {
    let all = [&["restore"], arguments].concat();
    let before = see(&site.join(folder));
    let dry = within(site, folder, code, &[&all[..], &["--dry-run"]].concat());
    assert!(before == see(&site.join(folder)), "a dry run changes nothing: {}", dry.err());
    within(site, folder, code, &all)
}

fn exists(site: &Site, path: &str) -> bool {
    site.join(path).symlink_metadata().is_ok()
}

#[test]
fn nothing_is_deleted_beside_what_was_named_and_is_not_in_the_snapshot() {
    let site = Site::new();
    site.folder.write("s/etc/nginx/conf", "conf");
    site.folder.write("s/hm/me/big.iso", vec![1; 9000]);
    site.folder.write("s/hm/me/letter", "dear");
    site.folder.write("s/hm/you/diary", "dear");
    let large = ["--exclude-larger-than", "1k"];
    within(&site, "s", 0, &[&["backup", "etc/nginx", "hm/me/big.iso"], &large[..]].concat());
    let delete = [&["latest"], &ALWAYS[..], &["--delete"]].concat();
    let said = restore(&site, "s", 3, &delete);
    assert!(said.err().contains("nothing is deleted: what the backup named, /"), "{}", said.err());
    assert!(said.err().contains("hm/me/big.iso, is not in the snapshot"), "{}", said.err());
    assert!(exists(&site, "s/hm/me/letter") && exists(&site, "s/hm/you/diary"));
    // Alone, it leaves nothing to restore.
    for paths in [&["hm/me/big.iso"][..], &["../s/hm/me/big.iso"]] {
        within(&site, "s", 0, &[&["backup"], paths, &large].concat());
        let said = restore(&site, "s", 1, &delete);
        assert!(said.err().contains("nothing of the snapshot is selected"), "{}", said.err());
        assert!(exists(&site, "s/hm/me/letter") && exists(&site, "s/hm/you/diary"));
    }
}

#[test]
fn nothing_is_deleted_beside_what_a_pattern_or_a_rewrite_took_away() {
    let site = Site::new();
    for name in ["s/a/one/file", "s/b/two/file", "s/b/mine", "s/b/other/file"] {
        site.folder.write(name, "content");
    }
    within(&site, "s", 0, &["backup", "a/one", "b/two", "--exclude", "two"]);
    let delete = [&["latest"], &ALWAYS[..], &["--delete"]].concat();
    site.folder.write("s/a/one/stray", "stays, for nobody knows");
    restore(&site, "s", 3, &delete);
    assert!(exists(&site, "s/b/mine") && exists(&site, "s/b/other/file") && exists(&site, "s/a/one/stray"));

    let absolute = [site.join("s/a/one"), site.join("s/b/two")];
    site.backup(&absolute);
    site.run(0, ["rewrite", "latest", "--exclude", "two", "--forget"]);
    let above = site.join("s");
    let place = format!("latest:{}", above.display());
    let said = restore(&site, "s", 3, &[&[place.as_str()], &ALWAYS[..], &["--delete"]].concat());
    assert!(exists(&site, "s/b/mine") && exists(&site, "s/b/two/file"), "{}", said.err());

    // Below what was named, and is there, everything is as it was backed up.
    site.backup(&absolute);
    site.folder.write("s/b/two/later", "goes");
    restore(&site, "s", 0, &[&[place.as_str()], &ALWAYS[..], &["--delete"]].concat());
    assert!(!exists(&site, "s/b/two/later") && exists(&site, "s/b/mine") && exists(&site, "s/b/other/file"));
}

#[test]
fn a_stream_and_a_root_beside_another_path_delete_nothing_around_them() {
    let site = Site::new();
    site.folder.write("s/db/mine", "stays");
    site.folder.write("s/etc/mine", "goes with the root that was named");
    let mut command = site.command_at("s", ["backup", "--stdin", "--stdin-filename", "db/dump.sql"]);
    crate::support::run_with_input(&mut command, b"rows", DEADLINE).expect_code(0);
    let delete = [&["latest"], &ALWAYS[..], &["--delete"]].concat();
    restore(&site, "s", 0, &delete);
    assert!(exists(&site, "s/db/mine") && exists(&site, "s/db/dump.sql") && exists(&site, "s/etc/mine"));
    // The root of a snapshot is one named folder, `x/y` below it may be a way to another.
    let named = site.folder.write("far/x/y/file", "content");
    site.folder.write("s/w/file", "content");
    let far = named.parent().unwrap().to_owned();
    let mut command = site.command_at("s/w", ["backup", "."]);
    command.arg(&far);
    run(&mut command, DEADLINE).expect_code(0);
    let inside = format!("s/w{}", far.parent().unwrap().display());
    site.folder.write(format!("{inside}/mine"), "stays");
    site.folder.write("s/w/stray", "goes");
    restore(&site, "s/w", 0, &delete);
    assert!(exists(&site, &format!("{inside}/mine")) && !exists(&site, "s/w/stray"));
}

#[test]
fn the_repository_in_use_stays_as_it_is_where_the_snapshot_holds_it() {
    let site = Site::new();
    site.folder.write("w/docs/a", "a");
    fs::rename(site.join("repo"), site.join("w/docs/repo")).unwrap();
    symlink("w/docs/repo", site.join("repo")).unwrap();
    for night in 0..3 {
        site.folder.write("w/docs/a", format!("night {night}"));
        within(&site, "w", 0, &["backup", "docs"]);
    }
    let objects = see(&site.join("w/docs/repo"));
    site.folder.write("w/docs/stray", "goes");
    let arguments = ["--target", ".", "--overwrite", "if-changed", "--delete"];
    let said = restore(&site, "w", 0, &[&["latest~1"], &arguments[..]].concat());
    assert_eq!(said.err().matches("it is the repository, which is in use").count(), 1, "{}", said.err());
    assert!(!exists(&site, "w/docs/stray"));
    assert_eq!(fs::read(site.join("w/docs/a")).unwrap(), b"night 1");
    let after = see(&site.join("w/docs/repo"));
    assert!(objects.keys().eq(after.keys()), "no object came or went");
    for place in ["latest", "latest:/docs/repo/packs"] {
        let said = within(
            &site,
            "w/docs/repo/packs",
            1,
            &["restore", place, "--target", ".", "--overwrite", "always"],
        );
        assert!(said.err().contains("lies in the repository"), "{}", said.err());
    }
    within(
        &site,
        "w",
        0,
        &["restore", "latest~2", "docs/repo/sessions", "docs/a", "--target", ".", "--overwrite", "always"],
    );
    assert!(after.keys().eq(see(&site.join("w/docs/repo")).keys()), "nor if it is named");
    site.assert_sound();
}

#[test]
fn a_key_and_a_link_in_use_are_not_replaced() {
    let site = Site::new();
    fs::create_dir(site.join("w")).unwrap();
    fs::rename(site.join("full.key"), site.join("w/full.key")).unwrap();
    symlink("w/full.key", site.join("full.key")).unwrap();
    let real = fs::read(site.join("w/full.key")).unwrap();
    // An old key stands in the snapshot under the name of the one in use.
    let spare = site.folder.write("spare.key", &real);
    site.folder.write("w/full.key", "old");
    let backup = ["-r", "repo", "--key-file", spare.to_str().unwrap(), "backup", "w"];
    run(crate::support::strongroom(&site.folder).args(backup), DEADLINE).expect_code(0);
    site.folder.write("w/full.key", &real);
    for extra in [&[][..], &["--delete"]] {
        let all = [&["restore", "latest"], &ALWAYS[..], extra].concat();
        let dry = site.run(0, [&all[..], &["-n"]].concat());
        let said = site.run(0, &all);
        assert_eq!(dry.err(), said.err());
        assert_eq!(said.err().matches("it is the key file, which is in use").count(), 1, "{}", said.err());
        assert_eq!(fs::read(site.join("w/full.key")).unwrap(), real);
    }
    site.run(0, ["snapshots"]);
}

/// `x` is a file in the snapshot, and a folder with films in the target.
fn folder_in_the_way(options: &[&str]) -> Site {
    let site = Site::new();
    site.folder.write("s/d/x", "a file");
    site.folder.write("s/d/y", "another");
    within(&site, "s", 0, &[&["backup", "d"], options].concat());
    fs::remove_file(site.join("s/d/x")).unwrap();
    site.folder.write("s/d/x/film.mkv", "film");
    site.folder.write("s/d/x/sub/text", "text");
    site
}

#[test]
fn a_folder_in_the_place_of_a_file_goes_only_if_all_in_it_may() {
    let delete = [&["latest"], &ALWAYS[..], &["--delete"]].concat();
    let site = folder_in_the_way(&["--exclude", "*.mkv"]);
    let said = restore(&site, "s", 3, &delete);
    assert!(said.err().contains("d/x") && said.err().contains("film.mkv is not deleted"), "{}", said.err());
    assert!(exists(&site, "s/d/x/film.mkv") && exists(&site, "s/d/x/sub/text"));
    // A mark in it, and without --delete.
    fs::remove_file(site.join("s/d/x/film.mkv")).unwrap();
    let said = restore(&site, "s", 3, &[&["latest"], &ALWAYS[..]].concat());
    assert!(said.err().contains("let --delete remove it"), "{}", said.err());
    assert!(exists(&site, "s/d/x/sub/text"));
    // All may go: it is counted and told, beforehand too.
    let verbose = [&["-v", "--json", "restore"], &delete[..]].concat();
    for dry in [true, false] {
        let all = [&verbose[..], if dry { &["-n"][..] } else { &[] }].concat();
        let objects = crate::site::objects(&within(&site, "s", 0, &all));
        let gone =
            |item: &str| objects.iter().any(|object| object["action"] == "deleted" && object["item"] == item);
        assert!(gone("/d/x/sub/text") && gone("/d/x/sub") && !gone("/d/x"), "{objects:?}");
        assert_eq!(number(&last(&objects), "files_deleted"), 2);
        assert_eq!(number(&last(&objects), "bytes_deleted"), 4);
        assert_eq!(exists(&site, "s/d/x/sub/text"), dry);
    }
    assert_eq!(fs::read(site.join("s/d/x")).unwrap(), b"a file");
}

#[test]
fn a_folder_in_the_place_of_a_link_stays_where_nothing_is_deleted() {
    let delete = [&["latest"], &ALWAYS[..], &["--delete"]].concat();
    let site = Site::new();
    site.folder.write("s/d/y", "y");
    fs::hard_link(site.join("s/d/y"), site.join("s/d/z")).unwrap();
    symlink("y", site.join("s/d/x")).unwrap();
    site.folder.write("s/e", vec![1; 2000]);
    within(&site, "s", 0, &["backup", "d", "e", "--exclude-larger-than", "1k"]);
    for name in ["x", "z"] {
        fs::remove_file(site.join("s/d").join(name)).unwrap();
        site.folder.write(format!("s/d/{name}/mine"), "mine");
    }
    let said = restore(&site, "s", 3, &delete);
    assert_eq!(
        said.err().matches("nothing is deleted, for what the backup named").count(),
        2,
        "{}",
        said.err()
    );
    assert!(exists(&site, "s/d/x/mine") && exists(&site, "s/d/z/mine"));
    let said = restore(&site, "s", 3, &[&["latest"], &ALWAYS[..]].concat());
    assert!(exists(&site, "s/d/x/mine") && exists(&site, "s/d/z/mine"), "{}", said.err());
    fs::remove_dir_all(site.join("s/d/x")).unwrap();
    fs::create_dir(site.join("s/d/x")).unwrap();
    restore(&site, "s", 3, &[&["latest"], &ALWAYS[..]].concat());
    assert!(site.join("s/d/x").is_symlink(), "an empty folder is replaced");
}

#[test]
fn a_folder_with_a_disk_in_it_stays_whole() {
    let site = folder_in_the_way(&[]);
    fs::create_dir(site.join("s/d/x/disk")).unwrap();
    let Some(disk) = SmallDisk::mount(&site.join("s/d/x/disk"), 1 << 20, "a disk in the place of a file")
    else {
        return;
    };
    let said = restore(&site, "s", 3, &[&["latest"], &ALWAYS[..], &["--delete"]].concat());
    assert!(said.err().contains("another file system is mounted there"), "{}", said.err());
    assert!(exists(&site, "s/d/x/film.mkv") && exists(&site, "s/d/x/sub/text"));
    drop(disk);
}

#[test]
fn a_link_above_what_was_named_is_not_replaced() {
    let site = Site::new();
    let file = site.folder.write("s/home2/me/letter", "dear");
    site.backup([site.join("s/home2/me")]);
    let above = file.ancestors().nth(3).unwrap();
    let place = format!("latest:{}", above.display());
    fs::create_dir(site.join("s/disk")).unwrap();
    fs::rename(site.join("s/home2"), site.join("s/disk/home")).unwrap();
    symlink("disk/home", site.join("s/home2")).unwrap();
    for (extra, code) in [(&[][..], 3), (&["--delete"][..], 1)] {
        let said = restore(&site, "s", code, &[&[place.as_str()], &ALWAYS[..], extra].concat());
        assert!(said.err().contains("is a symbolic link to disk/home, and stays"), "{}", said.err());
        assert!(site.join("s/home2").is_symlink() && exists(&site, "s/disk/home/me/letter"));
    }
}

#[test]
fn what_shrank_since_and_a_mark_that_is_not_selected_protect() {
    let site = Site::new();
    site.folder.write("s/big", vec![1; 5000]);
    site.folder.write("s/file", "content");
    site.folder.write("s/cache/.nobackup", "");
    site.folder.write("s/cache/data", "data");
    let options = ["--exclude-larger-than", "4000", "--exclude-if-present", ".nobackup"];
    within(&site, "s", 0, &[&["backup", "."], &options[..]].concat());
    fs::OpenOptions::new().write(true).open(site.join("s/big")).unwrap().set_len(10).unwrap();
    fs::remove_file(site.join("s/cache/.nobackup")).unwrap();
    site.folder.write("s/later", "goes");
    let all = [&["latest"], &ALWAYS[..], &["--delete", "--exclude", ".nobackup"]].concat();
    let said = restore(&site, "s", 0, &all);
    assert!(exists(&site, "s/big") && exists(&site, "s/cache/data"), "{}", said.err());
    let born = Path::new("/").join(site.join("s")).metadata().unwrap().created().is_ok();
    assert_eq!(exists(&site, "s/later"), !born, "{}", said.err());
}
