//! A Vaultwarden backed up as one: found wherever its settings moved it, proved whole or named as damaged, and
//! restored to a folder that a server can start from.

use std::fs::{self, Permissions};
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use strongroom::service::vaultwarden::generator::{Options, Server, generate};

use crate::services::{Backup, Site, all_rows, assert_sound, names, number, open, rows, state};
use crate::site::let_times_settle;
use crate::support::Outcome;

/// Attachments and file Sends of the smallest made-up vault.
const FILES: u64 = 16;

/// A repository, and a data folder `data` as a stopped server leaves it.
fn vault() -> (Site, PathBuf) {
    let site = Site::new();
    let data = site.join("data");
    generate(&data, &Options::small()).unwrap();
    (site, data)
}

/// The place of some file of this kind, and where it lies.
fn some_file(data: &Path, kind: &str) -> (String, PathBuf) {
    let owner = names(&data.join(kind)).into_iter().next().unwrap();
    let file = names(&data.join(kind).join(&owner)).into_iter().next().unwrap();
    let place = format!("{kind}/{owner}/{file}");
    let path = data.join(&place);
    (place, path)
}

fn damaged(service: &Value) -> Vec<(&str, Option<u64>)> {
    let damaged = service["damaged"].as_array().unwrap();
    damaged.iter().map(|row| (row["path"].as_str().unwrap(), row["found_size"].as_u64())).collect()
}

/// Asserts that the newest snapshot's manifest says of the service what the summary said.
#[track_caller]
fn assert_in_manifest(site: &Site, backup: &Backup) {
    let newest = site.newest();
    assert_eq!(newest["id"], backup.summary["snapshot_id"]);
    assert_eq!(&newest["service"], backup.service());
    assert_eq!(newest["databases"], backup.summary["databases"]);
    assert_eq!(newest["summary"]["problems"], backup.summary["problems"]);
}

#[test]
fn a_whole_vault_is_proved_whole() {
    let (site, data) = vault();
    let backup = site.backup(["--vaultwarden", "data"], 0);
    assert!(backup.whole());
    assert!(backup.findings.is_empty(), "{:?}", backup.findings);
    let service = backup.service();
    assert_eq!(service["name"], "vaultwarden");
    assert_eq!(service["files_proved"], FILES);
    for list in ["damaged", "orphans"] {
        assert_eq!(service[list], Value::Array(Vec::new()), "{list}");
    }
    for (table, count) in rows(&open(&data.join("db.sqlite3"))) {
        assert_eq!(service["tables"][&table], count, "{table}");
    }
    assert_in_manifest(&site, &backup);
    let said = site.run(["backup", "--vaultwarden", "data"], 0).out();
    assert!(said.contains("16 files of attachments and Sends proved"), "{said}");
    assert!(said.contains("the service is whole"), "{said}");
    assert!(said.contains("checked"), "{said}");
    // Nothing new, nothing stored.
    let again = site.backup(["--vaultwarden", "data"], 0);
    assert_eq!(again.number("data_added"), 0, "{}", again.summary);
    assert!(again.whole());
    site.run(["check", "--read-data"], 0);
    let table = site.run(["snapshots"], 0).out();
    assert_eq!(table.matches("proved").count(), 3, "{table}");
}

#[test]
fn what_is_missing_is_named_every_night() {
    for kind in ["attachments", "sends"] {
        let (site, data) = vault();
        let (place, path) = some_file(&data, kind);
        fs::remove_file(path).unwrap();
        for _ in 0..2 {
            let backup = site.backup(["--vaultwarden", "data"], 3);
            backup.names(&place, "is missing");
            assert!(!backup.whole());
            assert_eq!(damaged(backup.service()), [(format!("/{place}").as_str(), None)]);
            assert_eq!(backup.service()["files_proved"], FILES - 1);
            assert_in_manifest(&site, &backup);
        }
        let said = site.run(["backup", "--vaultwarden", "data"], 3);
        assert!(said.out().contains("1 file missing or of the wrong size"), "{}", said.out());
        assert!(said.out().contains("NOT proved whole"), "{}", said.out());
        assert!(said.err().contains(&place), "{}", said.err());
        let quiet = site.run(["-q", "backup", "--vaultwarden", "data"], 3);
        assert_eq!(quiet.out(), "");
        assert!(quiet.err().contains(&place), "{}", quiet.err());
    }
}

#[test]
fn a_file_of_the_wrong_size_is_named() {
    for (kind, length) in [("attachments", 100), ("sends", 0)] {
        let (site, data) = vault();
        let (place, path) = some_file(&data, kind);
        let before = fs::metadata(&path).unwrap().len();
        fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(length).unwrap();
        let backup = site.backup(["--vaultwarden", "data"], 3);
        backup.names(&place, &format!("has {length} bytes and must have {before}"));
        assert_eq!(damaged(backup.service()), [(format!("/{place}").as_str(), Some(length))]);
        assert!(!backup.whole());
        assert_in_manifest(&site, &backup);
        // It is stored all the same.
        assert_eq!(site.dump(&place).len() as u64, length);
    }
}

#[test]
fn a_file_without_a_row_is_a_warning() {
    let (site, _) = vault();
    site.folder.write("data/attachments/nobody/knows", "it");
    site.folder.write("data/sends/nobody/knows", "it");
    let backup = site.backup(["--vaultwarden", "data"], 0);
    assert!(backup.whole());
    for place in ["attachments/nobody/knows", "sends/nobody/knows"] {
        assert_eq!(backup.about("warning", place).len(), 1, "{:?}", backup.findings);
        assert_eq!(site.dump(place), b"it");
    }
    let orphans = &backup.service()["orphans"];
    assert_eq!(*orphans, serde_json::json!(["/attachments/nobody/knows", "/sends/nobody/knows"]));
    assert_in_manifest(&site, &backup);
}

/// Does something again and again beside a test, until this is dropped.
fn meanwhile<T>(mut again: impl FnMut() + Send, test: impl FnOnce() -> T) -> T {
    struct Stop<'a>(&'a AtomicBool);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let stopped = AtomicBool::new(false);
    thread::scope(|scope| {
        let stop = Stop(&stopped);
        scope.spawn(|| {
            while !stopped.load(Ordering::Relaxed) {
                again();
            }
        });
        let result = test();
        drop(stop);
        result
    })
}

#[test]
fn what_comes_and_goes_during_a_backup_is_no_damage() {
    let (site, data) = vault();
    let mut server = Server::open(&data, 31).unwrap();
    let mut round = 0;
    let comes_and_goes = || {
        round += 1;
        server.upload_attachment(2000 + round % 7 * 1000).unwrap();
        server.upload_send(3000).unwrap();
        server.delete_attachment().unwrap();
        server.delete_send().unwrap();
        server.act().unwrap();
        thread::sleep(Duration::from_millis(2));
    };
    let differed = meanwhile(comes_and_goes, || {
        let mut differed = 0;
        for round in 0..20 {
            let backup = site.backup(["--vaultwarden", "data"], 0);
            assert!(backup.whole(), "round {round}: {}", backup.service());
            assert!(backup.about("problem", "").is_empty(), "round {round}: {:?}", backup.findings);
            let service = backup.service();
            let noted = ["deleted_meanwhile", "being_uploaded"].map(|name| service[name].as_u64().unwrap());
            differed += u64::from(noted.iter().sum::<u64>() > 0);
        }
        differed
    });
    assert!(differed > 0, "the server was at work");
    drop(server);
    let restored = site.restore("latest");
    assert_sound(&open(&restored.join("db.sqlite3")));
    site.run(["check", "--read-data"], 0);
}

#[test]
fn a_folder_emptied_while_it_is_walked_is_no_damage() {
    let (site, data) = vault();
    let connection = Connection::open(data.join("db.sqlite3")).unwrap();
    connection.execute_batch("PRAGMA synchronous = OFF").unwrap();
    let cipher: String =
        connection.query_row("SELECT uuid FROM ciphers LIMIT 1", [], |row| row.get(0)).unwrap();
    let ids: Vec<String> = (0..4000).map(|number| format!("{number:020x}")).collect();
    connection.execute_batch("BEGIN").unwrap();
    for id in &ids {
        let sql =
            "INSERT INTO attachments (id, cipher_uuid, file_name, file_size) VALUES (?1, ?2, '2.a', 65)";
        connection.execute(sql, [id, &cipher]).unwrap();
        site.folder.write(format!("data/attachments/{cipher}/{id}"), [2; 65]);
    }
    connection.execute_batch("COMMIT").unwrap();
    let mut left = ids.iter().rev();
    let empties = move || {
        let Some(id) = left.next() else { return thread::sleep(Duration::from_millis(1)) };
        connection.execute("DELETE FROM attachments WHERE id = ?1", [id]).unwrap();
        fs::remove_file(data.join(format!("attachments/{cipher}/{id}"))).unwrap();
        thread::sleep(Duration::from_micros(200));
    };
    meanwhile(empties, || {
        for round in 0..4 {
            let backup = site.backup(["--vaultwarden", "data"], 0);
            assert!(backup.whole(), "round {round}: {}", backup.service());
        }
    });
}

/// Runs a backup and stops it when the database is being copied, before it looks at any file; then something
/// happens, and it goes on.
fn stopped_after_the_copy(site: &Site, happens: impl FnOnce(), code: i32) -> Backup {
    let arguments = ["--json", "backup", "--vaultwarden", "data", "--temporary-folder", "copies"];
    fs::create_dir_all(site.join("copies")).unwrap();
    let mut child = site.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let copies = site.join("copies");
    let has_begun = || {
        let folder = names(&copies).into_iter().next();
        folder.is_some_and(|folder| {
            fs::metadata(copies.join(folder).join("0/database")).is_ok_and(|copy| copy.len() > 0)
        })
    };
    let deadline = Instant::now() + Duration::from_mins(1);
    while !has_begun() && child.try_wait().unwrap().is_none() {
        assert!(Instant::now() < deadline, "the copy never began");
        thread::yield_now();
    }
    let pid = Pid::from_child(&child);
    kill_process(pid, Signal::STOP).unwrap();
    happens();
    kill_process(pid, Signal::CONT).unwrap();
    let started = Instant::now();
    let output = child.wait_with_output().unwrap();
    let outcome = Outcome {
        code: output.status.code(),
        stdout: output.stdout,
        stderr: output.stderr,
        took: started.elapsed(),
    };
    Backup::of(&outcome.expect_code(code))
}

/// A vault whose database takes a moment to copy.
fn larger_vault() -> (Site, PathBuf) {
    let site = Site::new();
    let data = site.join("data");
    generate(&data, &Options { database_bytes: 24 << 20, ..Options::small() }).unwrap();
    (site, data)
}

#[test]
fn between_the_copy_and_the_files_the_server_goes_on() {
    let (site, data) = larger_vault();
    let mut server = Server::open(&data, 32).unwrap();
    let mut uploaded = Vec::new();
    let mut deleted = Vec::new();
    let happens = || {
        deleted.extend(server.delete_attachment().unwrap());
        deleted.extend(server.delete_send().unwrap());
        uploaded.push(server.upload_attachment(5000).unwrap());
        uploaded.push(server.upload_send(5000).unwrap());
    };
    let backup = stopped_after_the_copy(&site, happens, 0);
    assert!(backup.whole(), "{}", backup.service());
    assert_eq!(backup.service()["deleted_meanwhile"], 2);
    assert_eq!(backup.service()["being_uploaded"], 2);
    assert_eq!(backup.service()["files_proved"], FILES - 2);
    let listed = site.list();
    for place in &uploaded {
        assert!(listed.contains(&format!("/{place}")), "{place}");
    }
    assert_in_manifest(&site, &backup);
    // The next night all of it belongs together.
    let next = site.backup(["--vaultwarden", "data"], 0);
    assert_eq!(next.service()["files_proved"], FILES);
    assert_eq!(next.service()["deleted_meanwhile"], 0);
}

#[test]
fn a_file_lost_between_the_copy_and_the_files_is_damage_if_its_row_stays() {
    let (site, data) = larger_vault();
    // A server runs, so that it can be asked.
    let server = Server::open(&data, 33).unwrap();
    let (attachment, path) = some_file(&data, "attachments");
    let (send, send_path) = some_file(&data, "sends");
    let happens = || {
        fs::remove_file(path).unwrap();
        fs::write(send_path, "short").unwrap();
    };
    let backup = stopped_after_the_copy(&site, happens, 3);
    assert!(!backup.whole());
    backup.names(&attachment, "is missing");
    backup.names(&send, "has 5 bytes");
    assert_eq!(damaged(backup.service()).len(), 2);
    drop(server);
}

#[test]
fn a_row_deleted_before_the_copy_whose_file_is_about_to_go_is_no_damage() {
    let (site, data) = larger_vault();
    let server = Server::open(&data, 34).unwrap();
    let (place, path) = some_file(&data, "attachments");
    let id = place.rsplit('/').next().unwrap();
    // Only a warning if it stays, nothing at all if it goes.
    let connection = Connection::open(data.join("db.sqlite3")).unwrap();
    connection.execute("DELETE FROM attachments WHERE id = ?1", [id]).unwrap();
    let stays = site.backup(["--vaultwarden", "data"], 0);
    assert_eq!(stays.service()["orphans"], serde_json::json!([format!("/{place}")]));
    // A database that did not change would not be copied again.
    connection.execute("UPDATE users SET updated_at = '2030-01-01 00:00:00'", []).unwrap();
    let goes = stopped_after_the_copy(&site, || fs::remove_file(path).unwrap(), 0);
    assert!(goes.whole());
    assert_eq!(goes.service()["orphans"], serde_json::json!([]));
    drop(server);
}

/// Moves everything that settings can move, and returns the settings that say so.
fn move_apart(site: &Site, data: &Path) -> Vec<(&'static str, String)> {
    for folder in ["data/sql", "data/keys", "volumes", "elsewhere"] {
        fs::create_dir_all(site.join(folder)).unwrap();
    }
    for (from, to) in [
        ("db.sqlite3", "data/sql/vault.db"),
        ("rsa_key.pem", "data/keys/jwt.pem"),
        ("attachments", "data/files"),
        ("sends", "volumes/sends"),
        ("icon_cache", "data/cache"),
        ("tmp", "volumes/tmp"),
    ] {
        fs::rename(data.join(from), site.join(to)).unwrap();
    }
    site.folder.write("elsewhere/templates/email/welcome.hbs", "hello");
    vec![
        ("DATABASE_URL", "/data/sql/vault.db".to_owned()),
        ("RSA_KEY_FILENAME", "/data/keys/jwt".to_owned()),
        ("ATTACHMENTS_FOLDER", "/data/files".to_owned()),
        ("SENDS_FOLDER", "/volumes/sends".to_owned()),
        ("ICON_CACHE_FOLDER", "/data/cache".to_owned()),
        ("TMP_FOLDER", "/volumes/tmp".to_owned()),
        ("TEMPLATES_FOLDER", site.join("elsewhere/templates").display().to_string()),
    ]
}

fn as_environment(settings: &[(&str, String)]) -> String {
    let lines: Vec<String> =
        settings.iter().map(|(name, value)| format!("export {name}=\"{value}\"")).collect();
    format!("# the server's\n{}\nADMIN_TOKEN='hunter2'\n", lines.join("\n"))
}

fn as_config(settings: &[(&str, String)]) -> String {
    let object: serde_json::Map<String, Value> =
        settings.iter().map(|(name, value)| (name.to_lowercase(), value.clone().into())).collect();
    Value::from(object).to_string()
}

/// The folders and files directly in the newest snapshot.
fn top(site: &Site) -> Vec<String> {
    let list = site.list();
    list.into_iter().filter(|path| path.matches('/').count() == 1 && path != "/").collect()
}

/// Asserts that a snapshot of a vault that was moved apart restores to one plain folder.
fn assert_plain(site: &Site, backup: &Backup, expected: &[Vec<u8>], with_env: bool) {
    assert!(backup.whole(), "{}", backup.service());
    assert_eq!(backup.service()["files_proved"], FILES);
    let mut places =
        vec!["/attachments", "/config.json", "/db.sqlite3", "/rsa_key.pem", "/sends", "/templates"];
    if with_env {
        places.insert(0, "/.env");
    }
    // Empty folders that only held what moved are no part of it, but may stay.
    let found: Vec<String> = top(site).into_iter().filter(|path| path != "/sql" && path != "/keys").collect();
    assert_eq!(found, places);
    let restored = site.restore("latest");
    assert_eq!(contents(&restored), expected);
    assert_eq!(fs::read(restored.join("templates/email/welcome.hbs")).unwrap(), b"hello");
    let server = Server::open(&restored, 1);
    server.unwrap().day().unwrap();
}

/// Every attachment, Send and row, in order, so that two vaults can be compared.
fn contents(data: &Path) -> Vec<Vec<u8>> {
    let mut found: Vec<Vec<u8>> = Vec::new();
    for kind in ["attachments", "sends"] {
        for owner in names(&data.join(kind)) {
            for file in names(&data.join(kind).join(&owner)) {
                let path = data.join(kind).join(&owner).join(file);
                found.push(fs::read(path).unwrap());
            }
        }
    }
    found.push(fs::read(data.join("rsa_key.pem")).unwrap());
    let database = open(&data.join("db.sqlite3"));
    assert_sound(&database);
    found.extend(all_rows(&database).into_iter().map(String::into_bytes));
    found
}

fn origin<'a>(backup: &'a Backup, place: &str) -> &'a Value {
    let origins = backup.service()["origins"].as_array().unwrap();
    origins.iter().find(|origin| origin["path"] == place).unwrap_or_else(|| panic!("{place} in {origins:?}"))
}

#[test]
fn parts_moved_by_settings_come_back_at_their_own_places() {
    let (site, data) = vault();
    let expected = contents(&data);
    let settings = move_apart(&site, &data);
    let env = as_environment(&settings);
    site.folder.write(".env", &env);
    let map = format!("/volumes={}", site.join("volumes").display());
    let backup = site.backup(["--vaultwarden", "data", "--map", &map], 0);
    assert_plain(&site, &backup, &expected, true);
    assert_eq!(site.dump(".env"), env.as_bytes());

    let of_key = origin(&backup, "/rsa_key.pem");
    assert_eq!(of_key["setting"], "RSA_KEY_FILENAME");
    assert_eq!(of_key["value"], "/data/keys/jwt.pem");
    assert_eq!(of_key["origin"], data.join("keys/jwt.pem").to_str().unwrap());
    assert_eq!(origin(&backup, "/sends")["value"], "/volumes/sends");
    assert_eq!(origin(&backup, "/sends")["origin"], site.join("volumes/sends").to_str().unwrap());
    assert_eq!(origin(&backup, "/db.sqlite3")["origin"], data.join("sql/vault.db").to_str().unwrap());
    assert_eq!(origin(&backup, "/.env")["origin"], site.join(".env").to_str().unwrap());
    assert_in_manifest(&site, &backup);
    assert!(!backup.summary.to_string().contains("hunter2"));
}

#[test]
fn the_settings_file_may_lie_anywhere() {
    let (site, data) = vault();
    let expected = contents(&data);
    let env = as_environment(&move_apart(&site, &data));
    site.folder.write("etc/vaultwarden.env", &env);
    let map = format!("/volumes={}", site.join("volumes").display());
    let arguments = ["--vaultwarden", "data", "--map", &map, "--env-file", "etc/vaultwarden.env"];
    let backup = site.backup(arguments, 0);
    assert_plain(&site, &backup, &expected, true);
    assert_eq!(site.dump(".env"), env.as_bytes());
    // Without it nothing is where it should be.
    let outcome = site.run(["backup", "--vaultwarden", "data"], 1);
    assert!(
        outcome.err().contains("--env-file") || outcome.err().contains("data folder"),
        "{}",
        outcome.err()
    );
    assert_eq!(site.run(["snapshots", "--json"], 0).out().lines().count(), 1);
    site.run(["backup", "--vaultwarden", "data", "--env-file", "no/such.env"], 1);
}

#[test]
fn config_json_overrides_the_environment() {
    let (site, data) = vault();
    let expected = contents(&data);
    let settings = move_apart(&site, &data);
    site.folder.write("data/config.json", as_config(&settings));
    site.folder.write("data/.env", "ATTACHMENTS_FOLDER=/data/wrong\nSENDS_FOLDER=/data/wrong\n");
    let map = format!("/volumes={}", site.join("volumes").display());
    let backup = site.backup(["--vaultwarden", "data", "--map", &map], 0);
    assert_plain(&site, &backup, &expected, true);
}

#[test]
fn a_mounted_or_linked_folder_is_followed() {
    let (site, data) = vault();
    let expected = contents(&data);
    fs::create_dir(site.join("disk")).unwrap();
    fs::rename(data.join("attachments"), site.join("disk/attachments")).unwrap();
    symlink(site.join("disk/attachments"), data.join("attachments")).unwrap();
    // What a volume mounted at /data/sends hides.
    fs::rename(data.join("sends"), site.join("disk/sends")).unwrap();
    fs::create_dir(data.join("sends")).unwrap();
    let map = format!("/data/sends={}", site.join("disk/sends").display());
    let backup = site.backup(["--vaultwarden", "data", "--map", &map], 0);
    assert!(backup.whole());
    assert_eq!(contents(&site.restore("latest")), expected);
}

#[test]
fn what_a_setting_promises_and_is_not_here_leaves_nothing_whole() {
    let (site, _) = vault();
    site.folder.write(".env", "TEMPLATES_FOLDER=/no/such/templates\nRSA_KEY_FILENAME=/no/such/key\n");
    let backup = site.backup(["--vaultwarden", "data"], 3);
    backup.names("TEMPLATES_FOLDER", "/no/such/templates");
    backup.names("RSA_KEY_FILENAME", "/no/such/key");
    assert!(!backup.whole());
    assert_eq!(backup.number("problems"), 2);
    assert_in_manifest(&site, &backup);
}

#[test]
fn what_need_not_be_stored_is_left_out_unless_asked_for() {
    let (site, _) = vault();
    site.folder.write("data/tmp/upload", "half of it");
    site.folder.write("data/db_20260101_000000.sqlite3", "an old copy");
    site.folder.write("data/my_db_1.sqlite3", "not one of them");
    let left_out = ["/tmp", "/icon_cache", "/db_20260101_000000.sqlite3"];
    let has = |place: &str| site.list().iter().any(|path| path == place);

    assert!(site.backup(["--vaultwarden", "data"], 0).whole());
    for place in left_out {
        assert!(!has(place), "{place}");
    }
    assert!(has("/my_db_1.sqlite3") && has("/sends"));
    let flags = ["--with-tmp", "--with-icon-cache", "--with-built-in-backups"];
    for (flag, place) in flags.into_iter().zip(left_out) {
        assert!(site.backup(["--vaultwarden", "data", flag], 0).whole());
        let found = left_out.map(has);
        assert_eq!(found, left_out.map(|one| one == place), "{flag}");
    }
    assert!(site.backup([&["--vaultwarden", "data"][..], &flags].concat(), 0).whole());
    assert!(left_out.into_iter().all(has));

    let without = site.backup(["--vaultwarden", "data", "--no-sends"], 0);
    assert!(without.whole());
    assert_eq!(without.service()["files_proved"], FILES - 4);
    assert!(!has("/sends") && has("/attachments"));
    // Without its database nobody can say that it is whole.
    site.run(["rewrite", "--exclude", "my_db_1.sqlite3", "latest"], 0);
    let table = site.run(["snapshots"], 0).out();
    assert!(table.contains("not proved, rewritten from"), "{table}");
}

/// A fresh copy has new times throughout, which must not pass for uploads.
#[test]
fn what_this_run_left_out_is_no_upload_however_fresh_it_is() {
    let (site, data) = vault();
    let (place, _) = some_file(&data, "attachments");
    let backup = site.backup(["--vaultwarden", "data", "--exclude", "attachments"], 3);
    backup.names(&place, "is not in this snapshot");
    assert!(!backup.whole());
}

#[test]
fn a_file_that_was_stored_before_is_missed_whatever_happens_to_its_entry() {
    let (site, data) = larger_vault();
    assert!(site.backup(["--vaultwarden", "data"], 0).whole());
    let (place, path) = some_file(&data, "attachments");
    let connection = Connection::open(data.join("db.sqlite3")).unwrap();
    connection.execute("UPDATE ciphers SET updated_at = datetime('now')", []).unwrap();
    drop(connection);
    fs::remove_file(path).unwrap();
    let lost = site.backup(["--vaultwarden", "data"], 3);
    lost.names(&place, "");
    assert!(!lost.whole());
}

#[test]
fn what_the_service_needs_is_not_left_out_in_silence() {
    let (site, data) = vault();
    let (place, path) = some_file(&data, "attachments");
    fs::write(path.parent().unwrap().join("stray"), vec![b'x'; 1 << 20]).unwrap();
    let (name, session_key) = (Path::new(&place).file_name().unwrap().to_str().unwrap(), "rsa_key.pem");
    let size = fs::metadata(&path).unwrap().len();
    assert!(data.join(session_key).is_file());
    // What was written a moment ago might be an upload that is not done.
    let_times_settle();
    let tag = "Signature: 8a477f597d28d172789f06886806bc55";
    for (options, named, why) in [
        (&["--exclude", name][..], place.as_str(), "is not in this snapshot"),
        (&["--exclude", "attachments"], place.as_str(), "is not in this snapshot"),
        (&["--exclude", "*.sqlite3"], "db.sqlite3", "the database is not stored"),
        (&["--iexclude", "RSA_*"], session_key, "the service needs it"),
        (&["--exclude-larger-than", "100"], session_key, "the service needs it"),
        (&["--exclude-larger-than", &(size - 1).to_string()], place.as_str(), "is not in this snapshot"),
    ] {
        let backup = site.backup([&["--vaultwarden", "data"], options].concat(), 3);
        backup.names(named, why);
        assert!(!backup.whole(), "{options:?}");
    }
    // What it does not need may go.
    for options in [&["--exclude", "stray"][..], &["--exclude-caches"], &["-x"]] {
        assert!(site.backup([&["--vaultwarden", "data"], options].concat(), 0).whole(), "{options:?}");
    }
    // Nor does a mark on the data folder pass for an order to store nothing.
    site.folder.write("data/CACHEDIR.TAG", tag);
    let marked = site.backup(["--vaultwarden", "data", "--exclude-caches"], 3);
    marked.names("data", "the service needs it, or what lies in it");
    assert!(!marked.whole());
    // Unchanged and proved as before: no further snapshot is needed.
    let first = site.backup(["--vaultwarden", "data"], 0);
    let second = site.backup(["--vaultwarden", "data", "--skip-if-unchanged"], 0);
    assert_eq!(second.summary["unchanged_since"], first.summary["snapshot_id"]);
    fs::remove_file(path).unwrap();
    let lost = site.backup(["--vaultwarden", "data", "--skip-if-unchanged"], 3);
    assert!(lost.summary["snapshot_id"].is_string(), "{}", lost.summary);
}

#[test]
fn databases_that_cannot_be_had_are_refused_without_showing_a_password() {
    for scheme in ["postgresql", "postgres", "mysql", "mariadb", "oracle"] {
        let (site, _) = vault();
        let url = format!("{scheme}://vault:hunter2@db.example.invalid:5432/vault");
        let (env, config) = (format!("DATABASE_URL='{url}'\n"), as_config(&[("DATABASE_URL", url)]));
        for (file, content) in [(".env", env), ("data/config.json", config)] {
            let path = site.folder.write(file, content);
            for arguments in [&["backup"][..], &["--json", "backup"], &["-v", "backup", "-n"]] {
                let outcome = site.run([arguments, &["--vaultwarden", "data"]].concat(), 1);
                let said = format!("{}{}", outcome.out(), outcome.err());
                assert!(!said.contains("hunter2"), "{said}");
                // Servers are asked, and this one is not there.
                assert!(scheme != "oracle" || said.contains("DATABASE_URL"), "{said}");
                assert!(scheme != "oracle" || !said.contains("db.example.invalid"), "{said}");
            }
            fs::remove_file(path).unwrap();
        }
        assert_eq!(site.run(["snapshots", "--json"], 0).out(), "");
    }
}

#[test]
fn what_is_no_vaultwarden_is_refused() {
    let site = Site::new();
    site.folder.write("photos/holiday.jpg", "a beach");
    for folder in ["photos", "photos/holiday.jpg", "no/such/folder"] {
        let outcome = site.run(["backup", "--vaultwarden", folder], 1);
        assert!(outcome.err().starts_with("error: "), "{}", outcome.err());
    }
    assert_eq!(site.run(["snapshots", "--json"], 0).out(), "");
    // Its parts without its database.
    site.folder.write("data/rsa_key.pem", "key");
    site.run(["backup", "--vaultwarden", "data"], 1);
    site.folder.write("data/db.sqlite3", "");
    site.run(["backup", "--vaultwarden", "data"], 1);
    for wrong in [
        &["--vaultwarden", "data", "photos"][..],
        &["--vaultwarden", "data", "--map", "nonsense"],
        &["--vaultwarden", ""],
        &[],
    ] {
        site.run([&["backup"], wrong].concat(), 2);
    }
}

#[test]
fn a_locked_database_proves_nothing() {
    let (site, data) = vault();
    let server = Connection::open(data.join("db.sqlite3")).unwrap();
    server.execute_batch("PRAGMA journal_mode = DELETE; BEGIN EXCLUSIVE;").unwrap();
    let backup = site.backup(["--vaultwarden", "data", "--lock-timeout", "1"], 3);
    assert!(!backup.whole());
    backup.names("db.sqlite3", "locked for 1 second");
    assert_eq!(backup.database()["outcome"], "not_stored");
    assert_eq!(backup.service()["files_proved"], 0);
    let listed = site.list();
    assert!(!listed.iter().any(|path| path.contains("db.sqlite3")), "{listed:?}");
    assert!(listed.iter().any(|path| path == "/rsa_key.pem"));
    assert_in_manifest(&site, &backup);
    server.execute_batch("ROLLBACK").unwrap();
    assert!(site.backup(["--vaultwarden", "data"], 0).whole());
}

/// Something done to an open database.
type Damage = fn(&fs::File);

#[test]
fn a_damaged_database_is_never_whole() {
    // In a page of rows, in the schema, cut off, and garbage behind the magic.
    let damages: [(&str, Damage); 4] = [
        ("failed_check", |file| file.write_all_at(&[0xff; 4096], 4096 * 40).unwrap()),
        ("failed_check", |file| file.write_all_at(&[0xff; 3000], 100).unwrap()),
        ("stored_as_found", |file| file.set_len(50_000).unwrap()),
        ("stored_as_found", |file| file.write_all_at(&vec![0xaa; 100_000], 16).unwrap()),
    ];
    for (number, (expected, damage)) in damages.into_iter().enumerate() {
        let (site, data) = vault();
        let file = fs::OpenOptions::new().write(true).open(data.join("db.sqlite3")).unwrap();
        damage(&file);
        drop(file);
        for _ in 0..2 {
            let backup = site.backup(["--vaultwarden", "data"], 3);
            assert!(!backup.whole(), "damage {number}");
            assert_eq!(backup.database()["outcome"], expected, "damage {number}");
            assert!(!backup.about("problem", "data/db.sqlite3").is_empty(), "{:?}", backup.findings);
            assert_in_manifest(&site, &backup);
            assert!(site.list().iter().any(|path| path == "/db.sqlite3"));
        }
    }
}

#[test]
fn a_database_that_cannot_be_read_is_stored_with_its_log() {
    let (site, data) = vault();
    // Kept from moving its log into the database as it ends.
    let server = Connection::open(data.join("db.sqlite3")).unwrap();
    server.execute_batch("UPDATE users SET name = 'somebody'").unwrap();
    let log = fs::read(data.join("db.sqlite3-wal")).unwrap();
    server.close().unwrap();
    fs::write(data.join("db.sqlite3-wal"), &log).unwrap();
    let file = fs::OpenOptions::new().write(true).open(data.join("db.sqlite3")).unwrap();
    file.write_all_at(&vec![0xaa; 100_000], 16).unwrap();
    let backup = site.backup(["--vaultwarden", "data"], 3);
    assert_eq!(backup.database()["outcome"], "stored_as_found");
    assert!(!backup.whole());
    assert!(site.dump("db.sqlite3") == fs::read(data.join("db.sqlite3")).unwrap());
    assert!(!log.is_empty() && site.dump("db.sqlite3-wal") == log);
}

#[test]
fn the_key_comes_back_with_its_mode() {
    for mode in [0o600, 0o640, 0o644] {
        let (site, data) = vault();
        fs::set_permissions(data.join("rsa_key.pem"), Permissions::from_mode(mode)).unwrap();
        assert!(site.backup(["--vaultwarden", "data"], 0).whole());
        let restored = site.restore("latest");
        let metadata = fs::metadata(restored.join("rsa_key.pem")).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o7777, mode);
        assert_eq!(state(&restored.join("rsa_key.pem")), state(&data.join("rsa_key.pem")));
        assert_eq!(state(&restored.join("attachments")), state(&data.join("attachments")));
    }
}

#[test]
fn a_restored_folder_is_one_that_a_server_can_start_from() {
    let (site, data) = vault();
    // A server at work, so that there is a log.
    let mut server = Server::open(&data, 35).unwrap();
    server.day().unwrap();
    server.upload_attachment(70_000).unwrap();
    assert!(data.join("db.sqlite3-wal").exists());
    let backup = site.backup(["--vaultwarden", "data"], 0);
    assert!(backup.whole());
    assert_eq!(backup.service()["files_proved"], FILES + 1);
    let restored = site.restore("latest");
    assert_eq!(names(&restored), ["attachments", "config.json", "db.sqlite3", "rsa_key.pem", "sends"]);
    let expected = all_rows(&Connection::open(data.join("db.sqlite3")).unwrap());
    let database = open(&restored.join("db.sqlite3"));
    assert_sound(&database);
    assert_eq!(number(&database, "SELECT count(*) FROM pragma_foreign_key_check"), 0);
    assert_eq!(all_rows(&database), expected);
    drop(database);
    for part in ["attachments", "sends", "config.json", "rsa_key.pem"] {
        assert_eq!(state(&restored.join(part)), state(&data.join(part)), "{part}");
    }
    // It works on, and is as good a source as the first one.
    let mut second = Server::open(&restored, 36).unwrap();
    second.day().unwrap();
    second.upload_send(1000).unwrap();
    second.delete_attachment().unwrap().unwrap();
    let again = site.backup(["--vaultwarden", restored.to_str().unwrap()], 0);
    assert!(again.whole());
    assert_eq!(again.service()["files_proved"], FILES + 1);
}

#[test]
fn a_dry_run_proves_and_stores_nothing() {
    let (site, data) = vault();
    let before = state(&site.join("repository"));
    let backup = site.backup(["--vaultwarden", "data", "-n"], 0);
    assert!(backup.whole());
    assert_eq!(backup.summary["snapshot_id"], Value::Null);
    assert!(backup.number("data_added") > 100_000);
    fs::remove_file(some_file(&data, "attachments").1).unwrap();
    assert!(!site.backup(["--vaultwarden", "data", "-n"], 3).whole());
    assert_eq!(state(&site.join("repository")), before);
}

#[test]
fn a_database_that_is_left_out_is_missed() {
    let (site, _) = vault();
    let backup = site.backup(["--vaultwarden", "data", "--exclude", "*.sqlite3"], 3);
    assert!(!backup.whole());
}

#[test]
fn attachments_that_are_left_out_are_missed_however_new_they_are() {
    let (site, _) = vault();
    // A file that came while the copy was made would be excused; these came before it.
    std::thread::sleep(std::time::Duration::from_secs(4));
    let backup = site.backup(["--vaultwarden", "data", "--exclude", "attachments"], 3);
    assert!(!backup.whole());
}
