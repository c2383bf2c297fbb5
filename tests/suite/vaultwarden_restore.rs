//! A Vaultwarden put back in its place: proved before the old one goes, which is kept; refused while a server runs; and
//! nothing changed where it fails.

mod again;
mod killed;
mod outlived;
mod refused;
mod spared;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use strongroom::service::vaultwarden::generator::{Options, Server, generate};

use crate::services::{Site, assert_sound, copy_folder, names, number, open, sample_vault};
use crate::support::{Outcome, SmallDisk, is_root, run, strongroom};

/// Whoever has no rights.
const NOBODY: u32 = 65_534;

/// Paths below a folder, and what is in the files; what restores keep in it does not count.
pub(crate) type Contents = BTreeMap<PathBuf, Vec<u8>>;

pub(crate) fn contents(folder: &Path) -> Contents {
    let mut found = Contents::new();
    let mut open = vec![folder.to_owned()];
    while let Some(path) = open.pop() {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path != folder && (name.starts_with(".before-restore-") || name == ".strongroom-restoring") {
            continue;
        }
        let place = path.strip_prefix(folder).unwrap().to_owned();
        if path.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            found.insert(place, Vec::new());
        } else {
            found.insert(place, blake3::hash(&fs::read(&path).unwrap()).as_bytes().to_vec());
        }
    }
    found
}

/// Something worse than the snapshot: files gone, a log that belongs to nothing.
pub(crate) fn wreck(data: &Path) {
    fs::remove_dir_all(data.join("attachments")).unwrap();
    fs::write(data.join("db.sqlite3-wal"), "stale").unwrap();
    fs::write(data.join("marker"), "old").unwrap();
}

/// A vault that is backed up whole, and then wrecked.
fn wrecked() -> (Site, PathBuf) {
    let site = Site::new();
    let data = site.join("data");
    generate(&data, &Options::small()).unwrap();
    site.backup(["--vaultwarden", "data"], 0);
    wreck(&data);
    (site, data)
}

const RESTORE: [&str; 5] = ["restore", "--vaultwarden", "latest", "--target", "data"];

fn summary(outcome: &Outcome) -> Value {
    let last = outcome.out().lines().last().map(str::to_owned).expect("a summary");
    serde_json::from_str(&last).expect("JSON")
}

/// Restores in place with `--json`, and gives the summary.
#[track_caller]
fn restored(site: &Site, more: &[&str], code: i32) -> Value {
    summary(&site.run([&["--json"], &RESTORE[..], more].concat(), code))
}

/// Asserts that a server can start from a folder, and that all in it is as in the snapshot.
#[track_caller]
fn assert_restored(site: &Site, data: &Path) {
    let expected = site.restore("latest");
    assert_eq!(contents(data), contents(&expected));
    for name in ["db.sqlite3-wal", "db.sqlite3-shm", "db.sqlite3-journal", "marker"] {
        assert!(!data.join(name).exists(), "{name}");
    }
    assert_sound(&open(&data.join("db.sqlite3")));
    for name in names(data).iter().filter(|name| name.starts_with("rsa_key")) {
        assert_eq!(fs::metadata(data.join(name)).unwrap().mode() & 0o777, 0o600, "{name}");
    }
}

#[test]
fn what_is_there_is_replaced_and_kept() {
    let (site, data) = wrecked();
    let before = contents(&data);
    let planned = restored(&site, &["--dry-run"], 0);
    assert_eq!((planned["dry_run"].as_bool(), contents(&data)), (Some(true), before.clone()));
    assert_eq!(names(site.folder.path()).iter().filter(|name| name.contains("restor")).count(), 0);
    let done = restored(&site, &[], 0);
    assert_restored(&site, &data);
    let previous = PathBuf::from(done["previous"].as_str().unwrap());
    assert!(previous.to_str().unwrap().contains("/data.before-restore-2"), "{previous:?}");
    assert_eq!(contents(&previous), before);
    assert_eq!(done["proof"]["files_proved"], 16);
    assert_eq!(done["proof"]["users"], 4);
    assert_eq!(done["proof"]["compared_with_backup"], true);
    let steps = done["next_steps"].as_array().unwrap();
    let last = steps.last().unwrap()["commands"][0].as_str().unwrap().to_owned();
    assert_eq!(last, format!("rm -rf -- {}", previous.display()));
    // What restoring needs for itself is not in it.
    let listed = site.list();
    let stored = listed.iter().map(|place| place.trim_matches('/').to_owned());
    let stored = stored.filter(|place| !place.is_empty()).collect::<BTreeSet<_>>();
    let found = contents(&data).into_keys().map(|place| place.display().to_string());
    assert_eq!(found.filter(|place| !place.is_empty()).collect::<BTreeSet<_>>(), stored);
    // Nothing of it is left, and the service goes on being whole.
    assert!(site.backup(["--vaultwarden", "data"], 0).whole());
    // Once more, keeping nothing, as a person sees it.
    let said = site.run([&RESTORE[..], &["--no-keep-previous"]].concat(), 0).out();
    assert!(said.contains("as at the backup") && said.contains("Force clients to resync"), "{said}");
    assert!(
        said.lines()
            .skip_while(|line| *line != "What comes next:")
            .all(|line| line.len() <= 80 || line.starts_with("      "))
    );
    let kept =
        names(site.folder.path()).into_iter().filter(|name| name.starts_with("data")).collect::<Vec<_>>();
    assert_eq!(kept.len(), 2, "{kept:?}");
    assert_restored(&site, &data);
}

#[test]
fn an_absent_or_empty_folder_will_do() {
    let (site, data) = wrecked();
    fs::remove_dir_all(&data).unwrap();
    assert_eq!(restored(&site, &[], 0)["previous"], Value::Null);
    assert_restored(&site, &data);
    fs::remove_dir_all(&data).unwrap();
    fs::create_dir(&data).unwrap();
    fs::set_permissions(&data, Permissions::from_mode(0o750)).unwrap();
    assert_eq!(restored(&site, &[], 0)["previous"], Value::Null);
    assert_eq!(fs::metadata(&data).unwrap().mode() & 0o777, 0o750);
    assert_restored(&site, &data);
    assert!(
        !names(site.folder.path())
            .iter()
            .any(|name| name.contains("restor") && !name.starts_with("restored"))
    );
}

#[test]
fn a_real_vault_with_a_hot_log_comes_back() {
    let Some(sample) = sample_vault("a real Vaultwarden put back in its place") else { return };
    let site = Site::new();
    let data = site.join("data");
    copy_folder(&sample, &data);
    run(Command::new("chmod").args(["-R", "u+w"]).arg(&data), 60).expect_code(0);
    site.backup(["--vaultwarden", "data"], 0);
    restored(&site, &[], 0);
    assert_restored(&site, &data);
    assert_eq!(number(&open(&data.join("db.sqlite3")), "SELECT count(*) FROM sends"), 1);
}

#[test]
fn what_was_missing_at_the_backup_is_said_again() {
    let site = Site::new();
    let data = site.join("data");
    generate(&data, &Options::small()).unwrap();
    site.backup(["--vaultwarden", "data"], 0);
    let whole = site.newest()["short_id"].as_str().map(str::to_owned);
    let owner = names(&data.join("attachments")).remove(0);
    fs::remove_dir_all(data.join("attachments").join(&owner)).unwrap();
    site.backup(["--vaultwarden", "data"], 3);
    let outcome = site.run(RESTORE, 3);
    assert!(
        outcome.err().contains(&owner) && outcome.err().contains("as it was at the backup"),
        "{}",
        outcome.err()
    );
    assert!(outcome.err().contains("was not proved whole"), "{}", outcome.err());
    if let Some(whole) = whole {
        assert!(outcome.err().contains(&whole), "the whole one is named: {}", outcome.err());
    }
    assert!(!data.join("attachments").join(&owner).exists());
    let done = restored(&site, &[], 3);
    assert!(done["proof"]["problems_known_at_backup"].as_u64().unwrap() > 0);
}

#[test]
fn the_owner_of_the_folder_that_is_there_stays() {
    if !is_root("owners of a Vaultwarden put back") {
        return;
    }
    let (site, data) = wrecked();
    run(Command::new("chown").args(["-R", "1234:1235"]).arg(&data), 60).expect_code(0);
    let outcome = site.run(RESTORE, 0);
    assert!(outcome.err().contains("1234:1235"), "{}", outcome.err());
    let owner = |path: &Path| fs::metadata(path).map(|found| (found.uid(), found.gid())).unwrap();
    for name in ["", "db.sqlite3", "attachments", "rsa_key.pem"] {
        assert_eq!(owner(&data.join(name)), (1234, 1235), "{name}");
    }
    let done = restored(&site, &["--owner-from-snapshot"], 0);
    assert_eq!(done["owner"]["uid"], 0);
    assert_eq!(owner(&data.join("db.sqlite3")), (0, 0));
    // The snapshot's owner, where nobody else's folder is there.
    run(Command::new("chown").args(["-R", "1234:1235"]).arg(&data), 60).expect_code(0);
    site.backup(["--vaultwarden", "data"], 0);
    fs::remove_dir_all(&data).unwrap();
    site.run(RESTORE, 0);
    for name in ["", "db.sqlite3", "attachments"] {
        assert_eq!(owner(&data.join(name)), (1234, 1235), "{name}");
    }
}

#[test]
fn parts_that_were_moved_go_where_the_settings_point() {
    let (site, data) = wrecked();
    fs::remove_dir_all(&data).unwrap();
    generate(&data, &Options::small()).unwrap();
    fs::rename(data.join("attachments"), data.join("files")).unwrap();
    fs::create_dir(data.join("sql")).unwrap();
    fs::rename(data.join("db.sqlite3"), data.join("sql/vault.db")).unwrap();
    fs::rename(data.join("sends"), site.join("sends")).unwrap();
    let sends = site.join("sends").display().to_string();
    let settings =
        format!("ATTACHMENTS_FOLDER=/data/files\nDATABASE_URL=data/sql/vault.db\nSENDS_FOLDER={sends}\n");
    fs::write(data.join(".env"), settings).unwrap();
    assert!(site.backup(["--vaultwarden", "data"], 0).whole());
    let before = contents(&data);
    wreck_moved(&data);
    let done = restored(&site, &[], 0);
    assert_sound(&open(&data.join("sql/vault.db")));
    assert_eq!(contents(&data.join("files")), contents_below(&before, "files"));
    assert!(!data.join("attachments").exists() && !data.join("db.sqlite3").exists());
    assert!(data.join("sends").is_dir(), "it lay elsewhere");
    let told = done["next_steps"]
        .as_array()
        .unwrap()
        .iter()
        .any(|step| step["text"].as_str().unwrap().contains(&sends));
    assert!(told, "{done}");
    // A server on the database where it was moved is seen too.
    let server = open(&data.join("sql/vault.db"));
    number(&server, "SELECT count(*) FROM users");
    site.run(RESTORE, 11);
}

fn wreck_moved(data: &Path) {
    fs::remove_dir_all(data.join("files")).unwrap();
    fs::remove_file(data.join("sql/vault.db")).unwrap();
}

fn contents_below(all: &Contents, folder: &str) -> Contents {
    let below = all
        .iter()
        .filter_map(|(path, hash)| Some((path.strip_prefix(folder).ok()?.to_owned(), hash.clone())));
    below.collect()
}

#[test]
fn clients_are_made_to_fetch_anew_where_asked() {
    let (site, data) = wrecked();
    let newest = |data: &Path| -> String {
        open(&data.join("db.sqlite3"))
            .query_row("SELECT min(updated_at) FROM users", [], |row| row.get(0))
            .unwrap()
    };
    restored(&site, &[], 0);
    let before = newest(&data);
    let done = restored(&site, &["--resync-clients"], 0);
    assert_eq!(done["clients_resynced"], 4);
    let after = newest(&data);
    assert!(after > before && after.len() == "2026-11-21 19:05:00.123456789".len(), "{before} {after}");
    assert!(!names(&data).iter().any(|name| name.starts_with("db.sqlite3-")), "{:?}", names(&data));
}

#[test]
fn within_a_mount_point_the_contents_are_replaced() {
    let site = Site::new();
    let data = site.join("data");
    fs::create_dir(&data).unwrap();
    let Some(_disk) = SmallDisk::mount(&data, 64 << 20, "a Vaultwarden put back into a mount point") else {
        return;
    };
    generate(&data, &Options::small()).unwrap();
    site.backup(["--vaultwarden", "data"], 0);
    wreck(&data);
    let before = contents(&data);
    let done = restored(&site, &[], 0);
    assert_eq!(done["contents_replaced"], true);
    assert_restored(&site, &data);
    let previous = PathBuf::from(done["previous"].as_str().unwrap());
    assert_eq!(previous.parent(), Some(data.as_path()));
    assert_eq!(fs::metadata(&previous).unwrap().mode() & 0o777, 0o700);
    assert_eq!(contents(&previous), before);
    // A backup leaves it out, and the next restore leaves it alone.
    site.backup(["--vaultwarden", "data"], 0);
    assert!(!site.list().iter().any(|place| place.contains("before-restore")), "{:?}", site.list());
    restored(&site, &["--no-keep-previous"], 0);
    assert_eq!(contents(&previous), before);
    assert_restored(&site, &data);
    assert!(!data.join(".strongroom-restoring").exists());
}

/// The restore by somebody without rights on anything but the site's own folders.
fn as_nobody(site: &Site, more: &[&str]) -> Command {
    fs::set_permissions(site.folder.path(), Permissions::from_mode(0o755)).unwrap();
    for path in ["data", "repository", "full.key", "home", "tmp"] {
        run(Command::new("chown").args(["-R", "65534:65534"]).arg(site.join(path)), 60).expect_code(0);
    }
    let program = strongroom(&site.folder);
    let mut command = Command::new("setpriv");
    command.env_clear().envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command
        .env("STRONGROOM_REPOSITORY", site.join("repository"))
        .env("STRONGROOM_KEY_FILE", site.join("full.key"));
    command.current_dir(site.folder.path());
    let id = NOBODY.to_string();
    command.args([format!("--reuid={id}"), format!("--regid={id}"), "--clear-groups".into()]);
    command.arg(program.get_program()).args(RESTORE.iter().chain(more).map(OsStr::new));
    command
}

#[test]
fn without_rights_on_the_folder_above_the_contents_are_replaced() {
    if !is_root("a restore by somebody without rights") {
        return;
    }
    let (site, data) = wrecked();
    let before = contents(&data);
    let done = summary(&run(&mut as_nobody(&site, &["--json"]), 240).expect_code(0));
    assert_eq!(done["contents_replaced"], true, "{done}");
    let previous = PathBuf::from(done["previous"].as_str().unwrap());
    assert_eq!(contents(&previous), before);
    assert_eq!(fs::metadata(data.join("db.sqlite3")).unwrap().uid(), NOBODY);
    assert_restored(&site, &data);
}

#[test]
fn a_server_at_work_on_the_restored_folder_finds_all_in_order() {
    let (site, data) = wrecked();
    restored(&site, &[], 0);
    let mut server = Server::open(&data, 41).unwrap();
    for _ in 0..20 {
        server.act().unwrap();
    }
    drop(server);
    assert!(site.backup(["--vaultwarden", "data"], 0).whole());
}

#[test]
fn the_commands_of_the_readme_work_as_they_stand() {
    let (site, data) = wrecked();
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let (_, rest) = readme.split_once("### Your Vaultwarden is gone").expect("the heading");
    let block = rest.split("```").nth(1).expect("its commands");
    let here = |path: &Path| path.display().to_string();
    let script = block
        .replace("/srv/backup/vault", &here(&site.join("repository")))
        .replace("/path/to/strongroom-full.key", &here(&site.join("full.key")))
        .replace("/srv/vaultwarden/data", &here(&data));
    assert!(!script.contains("/srv"), "{script}");
    let tools = site.join("tools");
    let log = here(&site.join("docker.log"));
    site.folder.write("tools/docker", format!("#!/bin/sh\necho \"$@\" >> {log}\n"));
    fs::set_permissions(tools.join("docker"), Permissions::from_mode(0o755)).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_strongroom"), tools.join("strongroom")).unwrap();
    let program = strongroom(&site.folder);
    let mut shell = Command::new("sh");
    shell.args(["-ec", &script]).current_dir(site.folder.path()).env_clear();
    shell.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell.env("PATH", format!("{}:{}", tools.display(), std::env::var("PATH").unwrap()));
    run(&mut shell, 240).expect_code(0);
    assert_eq!(fs::read_to_string(log).unwrap(), "compose stop vaultwarden\ncompose start vaultwarden\n");
    assert_restored(&site, &data);
}
