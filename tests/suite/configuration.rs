//! The configuration: what is refused and how that is said, the schema, a first one, and systemd's units.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::running::Jobs;
use crate::site::DEADLINE;
use crate::support::{has_tool, run};

const JOB: &str = "[jobs.files]\npaths = [\"@/data\"]\n";

#[test]
fn a_slip_of_the_finger_is_named_with_its_place_and_what_was_meant() {
    let jobs = Jobs::new("");
    for (text, words) in [
        ("exclud = [\"x\"]\n", &["line 7, column 1: unknown key exclud", "did you mean exclude?"][..]),
        (
            "retention = { keep-dayly = 7 }\n",
            &["line 7", "unknown key keep-dayly", "did you mean keep-daily?"],
        ),
        ("retention = { keep-daily = \"many\" }\n", &["line 7", "give a number from 1 up"]),
        ("check = { read-data-subset = \"8/7\" }\n", &["line 7", "n is at least 1 and at most t"]),
        ("exclude = \"x\"\n", &["line 7, column 11", "invalid type", "config schema"]),
        ("exclude = [\n", &["line 7", "config schema"]),
        (
            "repository = \"mian\"\n",
            &["line 5", "job files: there is no repository mian", "did you mean main?"],
        ),
    ] {
        jobs.configure(&format!("{JOB}{text}"));
        for command in [&["config", "check"][..], &["run"], &["status"], &["config", "systemd"]] {
            let outcome = jobs.run(1, command);
            for word in words {
                assert!(outcome.err().contains(word), "{text}: {word}\n{}", outcome.err());
            }
        }
    }
    jobs.configure(JOB);
    let outcome = jobs.run(1, &["run", "flies"]);
    assert!(outcome.err().contains("no job flies") && outcome.err().contains("did you mean files?"));
    assert!(jobs.run(1, &["-r", "/x", "run"]).err().contains("the configuration names the repositories"));
}

#[test]
fn a_file_that_others_may_write_to_is_refused() {
    let jobs = Jobs::new(JOB);
    let path = jobs.site.join("strongroom.toml");
    for mode in [0o666, 0o620, 0o602] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let outcome = jobs.run(1, &["run"]);
        assert!(
            outcome.err().contains("others may write") && outcome.err().contains("chmod go-w"),
            "{}",
            outcome.err()
        );
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    jobs.run(0, &["-q", "run"]);
    jobs.write(
        "strongroom.toml",
        &format!(
            "[repositories.main]\npath = \"@/repo\"\npassword = \"hunter2\"\ncache-dir = \"@/cache\"\n{JOB}"
        ),
    );
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let outcome = jobs.run(1, &["run"]);
    assert!(outcome.err().contains("others may read the passwords"), "{}", outcome.err());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let outcome = jobs.run(12, &["run"]);
    assert!(!outcome.err().contains("hunter2") && !outcome.out().contains("hunter2"));
    // No file at all: what to do is said.
    let mut command = Command::new(env!("CARGO_BIN_EXE_strongroom"));
    command.env_clear().env("STRONGROOM_CONFIG", "/no/such/file").arg("run");
    assert!(run(&mut command, DEADLINE).expect_code(1).err().contains("/no/such/file"));
}

#[test]
fn a_check_says_what_is_missing_and_what_would_run() {
    let jobs = Jobs::new(
        "[jobs.files]\npaths = [\"@/absent\"]\nbefore = [[\"no-such-program\"], \"true\"]\n\
         [jobs.good]\npaths = [\"@/data\"]\nretention = { keep-last = 3 }\nprune = true\n",
    );
    let outcome = jobs.run(3, &["config", "check"]);
    assert!(
        outcome.err().contains("job files: cannot find")
            && outcome.err().contains("there is no program no-such-program")
    );
    assert!(outcome.out().contains("job good: backup of") && outcome.out().contains(", forget, prune\n"));
    assert!(
        outcome.out().contains("its key has role full") && outcome.out().contains("2 problems; exit code 3")
    );
    fs::set_permissions(jobs.site.join("full.key"), fs::Permissions::from_mode(0o644)).unwrap();
    assert!(jobs.run(3, &["config", "check"]).err().contains("others have rights on"));
}

#[test]
fn a_first_configuration_is_one_that_can_be_read() {
    let jobs = Jobs::new("");
    let place = jobs.site.folder.path().display().to_string();
    let vault = jobs.site.join("vault data");
    make_vault(&vault);
    let vault = vault.display().to_string();
    for (settings, expected) in [
        ("", "vaultwarden = "),
        ("DATABASE_URL=postgresql://vw:hunter2@db/vw\n", "pg_dump"),
        ("DATABASE_URL=mysql://vw:hunter2@db/vw\n", "mariadb-dump"),
    ] {
        jobs.site.folder.write("vault data/.env", settings);
        let text =
            jobs.run(0, &["-r", &format!("{place}/repo"), "config", "init", "--vaultwarden", &vault]).out();
        assert!(text.contains(expected) && !text.contains("hunter2"), "{text}");
        // With the key and cache that are here, it passes its own check as far as it can.
        let text = text.replace("/etc/strongroom/backup.key", &format!("{place}/full.key"));
        jobs.write("strongroom.toml", &text.replace("/var/cache/strongroom", &format!("{place}/cache")));
        let outcome = run(&mut jobs.command(&["config", "check"]), DEADLINE);
        assert!(
            matches!(outcome.code, Some(0 | 3)) && outcome.out().contains("job vaultwarden: "),
            "{}",
            outcome.err()
        );
    }
    let written = format!("{place}/new.toml");
    let arguments = ["config", "init", "--vaultwarden", &vault, "--output", &written];
    jobs.run(0, &arguments);
    assert_eq!(fs::metadata(&written).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(jobs.run(1, &arguments).err().contains("is there already"));
}

/// A data folder with a database in it.
fn make_vault(folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join("rsa_key.pem"), "key").unwrap();
    let connection = rusqlite::Connection::open(folder.join("db.sqlite3")).unwrap();
    connection.execute_batch("CREATE TABLE users (uuid TEXT)").unwrap();
}

#[test]
fn units_are_what_systemd_takes() {
    let jobs = Jobs::new("metrics = \"@/my metrics 100%/s.prom\"\n[jobs.files]\npaths = [\"@/data\"]\n");
    let place = jobs.site.folder.path().display().to_string();
    fs::create_dir_all(jobs.site.join("units")).unwrap();
    let printed = jobs.run(0, &["config", "systemd"]).out();
    assert!(printed.contains("ReadWritePaths=\"-") && printed.contains("my metrics 100%%\""), "{printed}");
    assert!(printed.contains("OnCalendar=*-*-* 03:15:00") && printed.contains("Persistent=true"));
    let units = format!("{place}/units");
    let arguments = ["config", "systemd", "--out-dir", &units, "--on-calendar", "Mon *-*-* 02:00:00"];
    jobs.run(0, &arguments);
    jobs.run(1, &arguments);
    if !has_tool("systemd-analyze", "whether systemd takes the units") {
        return;
    }
    let mut verify = Command::new("systemd-analyze");
    verify.args(["verify", "--man=no", "--recursive-errors=no"]);
    verify.arg(format!("{units}/strongroom.service")).arg(format!("{units}/strongroom.timer"));
    let outcome = run(&mut verify, DEADLINE);
    let words = outcome.err();
    assert!(!words.contains("strongroom."), "{words}");
}

#[test]
fn the_schema_is_json() {
    let jobs = Jobs::new("");
    let text = jobs.run(0, &["config", "schema"]).out();
    let schema: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert!(schema["$defs"]["job"]["properties"]["after-backup"].is_object());
}
