//! What a restore does not destroy, and what it says of what goes.

use std::fs;
use std::os::unix::fs::MetadataExt;

use strongroom::service::vaultwarden::generator::{Options, generate};

use super::refused::{assert_untouched, damage_largest_pack};
use super::{RESTORE, as_nobody, contents, restored, wrecked};
use crate::services::{Site, names, open};
use crate::support::{is_root, run};

#[test]
fn what_was_there_stays_beside_what_is_not_whole() {
    let site = Site::new();
    let data = site.join("data");
    generate(&data, &Options::small()).unwrap();
    let owner = data.join("attachments").join(names(&data.join("attachments")).remove(0));
    let elsewhere = site.join("elsewhere");
    fs::rename(&owner, &elsewhere).unwrap();
    site.backup(["--vaultwarden", "data"], 3);
    fs::rename(&elsewhere, &owner).unwrap();
    let before = contents(&data);
    let planned = restored(&site, &["--no-keep-previous", "--dry-run"], 0);
    assert!(planned["previous"].is_string(), "{planned}");
    let outcome = site.run([&RESTORE[..], &["--no-keep-previous"]].concat(), 3);
    assert!(outcome.err().contains("kept all the same"), "{}", outcome.err());
    let kept = names(site.folder.path()).into_iter().find(|name| name.starts_with("data.before-restore-"));
    assert_eq!(contents(&site.join(kept.expect("it is kept"))), before);
    assert!(!owner.exists());
}

#[test]
fn a_vault_without_its_database_is_never_put_in_place() {
    let site = Site::new();
    let data = site.join("data");
    // All that is large in it is the database.
    generate(&data, &Options { attachments: 0, sends: 0, ciphers: 400, ..Options::small() }).unwrap();
    let largest = names(&data).into_iter().max_by_key(|name| fs::metadata(data.join(name)).unwrap().size());
    assert_eq!(largest.as_deref(), Some("db.sqlite3"));
    site.backup(["--vaultwarden", "data"], 0);
    let before = contents(&data);
    damage_largest_pack(&site);
    for more in
        [&["--accept-problems", "--no-keep-previous"][..], &["--accept-problems", "--resync-clients"], &[]]
    {
        let outcome = site.run([&RESTORE[..], more].concat(), 1);
        let said = outcome.err();
        assert!(
            said.contains("db.sqlite3 of snapshot") && said.contains("not even with --accept-problems"),
            "{said}"
        );
        assert!(!said.contains("/proc/self") && !said.contains("immutable"), "{said}");
        assert!(said.contains("is as it was"), "{said}");
        assert_untouched(&site, &data, &before);
    }
}

#[test]
fn what_this_program_needs_does_not_go_with_the_folder() {
    let (site, data) = wrecked();
    fs::copy(site.join("full.key"), data.join("full.key")).unwrap();
    fs::write(data.join("password"), "one\n").unwrap();
    fs::create_dir(data.join("cache")).unwrap();
    let before = contents(&data);
    for (flags, words) in [
        (["--key-file", "data/full.key"], "key file"),
        (["--password-file", "data/password"], "password file"),
        (["--cache-dir", "data/cache"], "cache"),
    ] {
        let key = site.join("full.key").display().to_string();
        let also = if words == "password file" { &["--key-file", &key][..] } else { &[] };
        let outcome = site.run([&RESTORE[..], &flags, also].concat(), 1);
        assert!(outcome.err().contains(&format!("the {words} data/")), "{}", outcome.err());
        assert!(outcome.err().contains(&format!("move the {words} elsewhere first")), "{}", outcome.err());
        fs::remove_dir_all(data.join("cache")).unwrap();
        fs::create_dir(data.join("cache")).unwrap();
        assert_untouched(&site, &data, &before);
    }
}

#[test]
fn what_the_snapshot_does_not_hold_is_named() {
    let (site, data) = wrecked();
    fs::write(data.join(".env"), "ROCKET_PORT=80\n").unwrap();
    fs::create_dir(data.join("templates")).unwrap();
    fs::create_dir_all(data.join("icon_cache")).unwrap();
    for (more, hint) in [
        (&["--dry-run"][..], "what is kept"),
        (&["--dry-run", "--no-keep-previous"], "leave out --no-keep-previous"),
        (&[], "what is kept"),
    ] {
        let said = site.run([&RESTORE[..], more].concat(), 0).err();
        let named = said.lines().find(|line| line.contains("not in the snapshot")).unwrap_or_default();
        assert!(named.ends_with(": .env, marker, templates"), "{said}");
        assert!(said.contains(hint), "{said}");
    }
    let said = site.run(RESTORE, 0).err();
    assert!(!said.contains("not in the snapshot"), "{said}");
}

#[test]
fn who_cannot_see_a_server_is_told_so() {
    if !is_root("a restore by somebody who cannot see all processes") {
        return;
    }
    let (site, data) = wrecked();
    let said_in = |mode: &str| {
        fs::remove_file(data.join("db.sqlite3-wal")).ok();
        let server = open(&data.join("db.sqlite3"));
        server.pragma_update(None, "journal_mode", mode).unwrap();
        drop(server);
        run(&mut as_nobody(&site, &["--dry-run"]), 240).expect_code(0).err()
    };
    assert!(said_in("delete").contains("be sure that the server is stopped"));
    let said = said_in("wal");
    assert!(!said.contains("be sure"), "its locks would show: {said}");
    // Root sees all.
    let said = site.run([&RESTORE[..], &["--dry-run"]].concat(), 0).err();
    assert!(!said.contains("be sure"), "{said}");
}
