//! An authentik put back by one command: rows, keys and uploaded files are as they were, and another release keeps its database.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use super::{COMPOSE, ENVIRONMENT, OLD_COMPOSE, compose_folder, counts, keys, server, upload, url};
use crate::servers::postgres::Postgres;
use crate::site::{DEADLINE, Site, assert_same, last, see};
use crate::support::run;

const DATABASES: &str =
    "SELECT string_agg(datname, ' ' ORDER BY datname) FROM pg_database WHERE NOT datistemplate";

#[test]
fn one_command_puts_it_back_elsewhere() {
    let what = "an authentik restored elsewhere";
    let (Some(server), Some(fresh)) = (server(what, "2026.2.2", 500), Postgres::start(what)) else { return };
    let site = Site::new();
    compose_folder(&site);
    site.backup(["--authentik", "authentik", "--postgres", &url(&server)]);
    let (rows, foreign_keys) = (counts(&server, "authentik"), keys(&server, "authentik"));
    assert!(rows.len() >= 40, "{}", rows.len());
    let files = see(&site.join("authentik"));
    drop(server);
    fs::remove_dir_all(site.join("authentik")).unwrap();

    let url = url(&fresh);
    let restore = ["restore", "--service", "latest", "--postgres", &url, "--target", "new"];
    let dry = site.run(0, [&restore[..], &["--dry-run"]].concat()).out();
    for words in
        ["AUTHENTIK_POSTGRESQL__HOST", "AUTHENTIK_TAG=2026.2.2", "docker compose up -d", "mv -T new/"]
    {
        assert!(dry.contains(words), "{words}\n{dry}");
    }
    assert_eq!(fresh.sql("postgres", DATABASES), "postgres");
    assert!(!site.join("new").exists());

    let summary = last(&site.json(0, restore));
    let proof = &summary["proof"];
    assert_eq!((&proof["files_proved"], &proof["users"]), (&5.into(), &500.into()), "{summary}");
    assert_eq!((&proof["compared_with_backup"], &summary["problems"]), (&true.into(), &0.into()));
    assert_eq!(proof["schema_version"], "authentik_core.0056_user_roles");
    assert_eq!(counts(&fresh, "authentik"), rows);
    assert_eq!(keys(&fresh, "authentik"), foreign_keys);
    assert!(foreign_keys.ends_with("|t"), "{foreign_keys}");
    let restored = site.join("new").join(site.folder.path().strip_prefix("/").unwrap()).join("authentik");
    assert_same(&files, &see(&restored));
    assert_eq!(fs::read_to_string(restored.join("compose.yml")).unwrap(), COMPOSE);
    assert!(!site.join("new/postgres").exists(), "the dump is no file of the service");

    // Moved as it says, it can be backed up again, whole.
    let steps = summary["next_steps"].as_array().unwrap();
    let commands = steps.iter().filter_map(|step| step["commands"].as_array()).flatten();
    let moves: Vec<&str> =
        commands.filter_map(|command| command.as_str()).filter(|line| line.starts_with("mv ")).collect();
    assert_eq!(moves.len(), 1, "{moves:?}");
    run(Command::new("sh").args(["-c", moves[0]]).current_dir(site.folder.path()), DEADLINE).expect_code(0);
    let again = site.backup(["--authentik", "authentik", "--postgres", &url]);
    assert_eq!(again["service"]["whole"], true, "{again}");
    site.assert_sound();
}

#[test]
fn a_database_of_an_unfitting_release_stays() {
    let Some(server) = server("refused restores of an authentik in place", "2025.12.1", 100) else { return };
    let site = Site::new();
    compose_folder(&site);
    let url = url(&server);
    site.backup(["--authentik", "authentik", "--postgres", &url]);
    server.sql(
        "authentik",
        "INSERT INTO authentik_version_history (\"timestamp\", version, build) VALUES ('2026-03-01 UTC', '2026.2.2', ''); \
         DELETE FROM authentik_core_token",
    );
    let rows = counts(&server, "authentik");
    let restore = ["restore", "--service", "latest", "--postgres", &url, "--in-place", "--yes"];
    for (release, words) in [("2026.2.2", "the newer 2026.2.2"), ("2025.10.3", "the older 2025.10.3")] {
        server.sql(
            "authentik",
            &format!("UPDATE authentik_version_history SET version = '{release}' WHERE id = 3"),
        );
        let refused = site.run(1, restore).err();
        for words in [words, "2025.12.1", "without --in-place", "stays as it is"] {
            assert!(refused.contains(words), "{words}\n{refused}");
        }
        assert_eq!(server.sql("postgres", DATABASES), "authentik postgres");
        assert_eq!(counts(&server, "authentik"), rows);
    }
    // A later release of the same series may give way, and so may a database that does not say.
    server.sql("authentik", "UPDATE authentik_version_history SET version = '2025.12.4' WHERE id = 3");
    let summary = last(&site.json(0, restore));
    let aside = summary["databases"][0]["previous"].as_str().unwrap().to_owned();
    assert_eq!(counts(&server, &aside), rows);
    assert_eq!(counts(&server, "authentik")["authentik_core_token"], 50);
    server.sql("authentik", "DROP TABLE authentik_version_history");
    site.run(0, restore);
    assert_eq!(counts(&server, "authentik")["authentik_version_history"], 2);
}

#[test]
fn uploaded_files_are_proved_behind_links_and_missing_ones_named() {
    let what = "the proof of an authentik's restored files";
    let (Some(server), Some(fresh)) = (server(what, "2024.12.3", 100), Postgres::start(what)) else { return };
    let site = Site::new();
    site.folder.write("authentik/docker-compose.yml", OLD_COMPOSE);
    site.folder.write("authentik/.env", ENVIRONMENT);
    site.folder.write("authentik/certs/tls.pem", "certificate");
    upload(&site.folder, "disk");
    symlink(site.join("disk"), site.join("authentik/media")).unwrap();
    let (here, there) = (url(&server), url(&fresh));
    let backup = ["backup", "--authentik", "authentik", "--no-redis", "--postgres", &here];
    site.run(0, backup);
    let restored = site.run(0, ["restore", "--service", "latest", "--postgres", &there, "--target", "new"]);
    assert!(restored.out().contains("5 files that rows name"), "{}", restored.out());
    let moved = format!("/disk {}", site.join("disk").display());
    assert!(restored.out().contains(&moved), "{}", restored.out());

    // What the backup missed is missing, and in place nothing gives way to it.
    fs::remove_file(site.join("disk/public/favicon.ico")).unwrap();
    site.run(3, backup);
    fresh.sql("postgres", "DROP DATABASE authentik");
    let lacking = site.run(3, ["restore", "--service", "latest", "--postgres", &there, "--target", "second"]);
    assert!(
        lacking.err().contains("disk/public/favicon.ico")
            && lacking.err().contains("as it was at the backup"),
        "{}",
        lacking.err()
    );
    let refused = site.run(
        1,
        ["restore", "--service", "latest", "--postgres", &there, "--target", "third", "--in-place", "--yes"],
    );
    assert!(refused.err().contains("stays in its place"), "{}", refused.err());
    assert_eq!(fresh.sql("postgres", DATABASES), "authentik postgres");
}
