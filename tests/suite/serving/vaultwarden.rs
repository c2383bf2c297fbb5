//! A Vaultwarden whose database is on a server: one command backs it up, one restores it elsewhere, and proves it.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::mysql_url;
use crate::dumped::{VAULTWARDEN, data_folder};
use crate::servers::mysql::Mysql;
use crate::servers::postgres::Postgres;
use crate::site::{Site, last};

/// Restores with these arguments into `restored`, which must not be there.
fn comes_back(site: &Site, server: &[&str]) {
    fs::remove_dir_all(site.join("data")).unwrap();
    let arguments = [&["restore", "--service", "latest", "--target", "restored"], server].concat();
    let summary = last(&site.json(0, &arguments));
    let proof = &summary["proof"];
    assert_eq!((&proof["files_proved"], &proof["users"]), (&3.into(), &1.into()), "{summary}");
    assert_eq!((&proof["schema_version"], &summary["problems"]), (&"20260101000000".into(), &0.into()));
    assert_eq!(proof["compared_with_backup"], true);
    let next = summary["next_steps"].to_string();
    assert!(next.contains("DATABASE_URL") && next.contains("20260101000000"), "{next}");
    assert_eq!(fs::read(site.join("restored/attachments/c/a1")).unwrap(), b"12345");
    assert_eq!(fs::read(site.join("restored/sends/s/f")).unwrap(), b"12");
    assert!(site.join("restored/config.json").is_file());
    let key = site.join("restored/rsa_key.pem").metadata().unwrap();
    assert_eq!(key.permissions().mode() & 0o7777, 0o600);
    let dumps = ["restored/postgres", "restored/mysql"];
    assert!(dumps.iter().all(|folder| !site.join(folder).exists()), "the dump is no file of the service");
}

#[test]
fn on_postgres_it_comes_back_elsewhere() {
    let what = "a Vaultwarden on PostgreSQL restored elsewhere";
    let (Some(server), Some(elsewhere)) = (Postgres::start(what), Postgres::start(what)) else { return };
    server.sql("postgres", "CREATE DATABASE vault");
    server.sql("vault", VAULTWARDEN);
    let site = Site::new();
    data_folder(&site, &format!("postgresql://postgres:unused@/vault?host={}", server.folder().display()));
    site.backup(["--vaultwarden", "data"]);
    drop(server);
    comes_back(&site, &["--postgres", &elsewhere.url("postgres", "")]);
    assert_eq!(elsewhere.sql("vault", "SELECT count(*) FROM attachments"), "2");
}

#[test]
fn on_mariadb_it_comes_back_elsewhere() {
    let what = "a Vaultwarden on MariaDB restored elsewhere";
    let (Some(server), Some(elsewhere)) = (Mysql::start(what), Mysql::start(what)) else { return };
    server.sql("", "CREATE DATABASE vault");
    server.sql("vault", VAULTWARDEN);
    let site = Site::new();
    data_folder(&site, &mysql_url(&server, "vault"));
    // Its Sends lie elsewhere.
    fs::rename(site.join("data/sends"), site.join("moved")).unwrap();
    let settings = format!(
        "{{\"database_url\": \"{}\", \"sends_folder\": \"{}\"}}",
        mysql_url(&server, "vault"),
        site.join("moved").display()
    );
    fs::write(site.join("data/config.json"), settings).unwrap();
    site.backup(["--vaultwarden", "data"]);
    drop(server);
    let url = mysql_url(&elsewhere, "again");
    let dry =
        site.run(0, ["restore", "--service", "latest", "--target", "new", "--mysql", &url, "--dry-run"]);
    let moved = format!("mv new/sends {}", site.join("moved").display());
    assert!(dry.out().contains(&moved), "{}", dry.out());
    comes_back(&site, &["--mysql", &url]);
    assert_eq!(elsewhere.sql("again", "SELECT count(*) FROM attachments"), "2");
}

#[test]
fn in_place_folder_and_database_are_kept() {
    let Some(server) = Postgres::start("a Vaultwarden on PostgreSQL restored in place") else { return };
    server.sql("postgres", "CREATE DATABASE vault");
    server.sql("vault", VAULTWARDEN);
    let site = Site::new();
    data_folder(&site, &format!("postgresql://postgres:unused@/vault?host={}", server.folder().display()));
    fs::set_permissions(site.join("data"), fs::Permissions::from_mode(0o750)).unwrap();
    site.backup(["--vaultwarden", "data"]);
    fs::remove_file(site.join("data/attachments/c/a1")).unwrap();
    server.sql("vault", "DELETE FROM sends");
    let url = server.url("postgres", "vault");
    let arguments = ["restore", "--service", "latest", "--target", "data", "--postgres", &url, "--in-place"];

    // Whatever fails, both stay: here a folder of something else, and one that is not proved.
    site.folder.write("other/file", "");
    let mut other = arguments;
    other[4] = "other";
    assert!(site.run(1, other).err().contains("nothing in other is of this service"));
    let names = || {
        let mut names: Vec<String> = fs::read_dir(site.folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.starts_with("data"))
            .collect();
        names.sort();
        names
    };

    // Somebody at a terminal is asked, and says no.
    if crate::support::has_tool("script", "a restore of a service that asks") {
        for (answer, code) in [("n", 1), ("y", 0)] {
            let template = site.command([""; 0]);
            let program = template.get_program().to_str().unwrap();
            let line = format!("'{program}' -r repo --key-file full.key {}", arguments.join(" "));
            let mut command = std::process::Command::new("sh");
            command.args(["-c", "echo \"$1\" | script -qec \"$2\" /dev/null", "sh", answer, &line]);
            command.current_dir(site.folder.path()).env_clear();
            command.envs(template.get_envs().filter_map(|(name, value)| Some((name, value?))));
            let outcome = crate::support::run(&mut command, crate::site::DEADLINE).expect_code(code);
            assert!(outcome.out().contains("[y/N]"), "{}", outcome.out());
            assert_eq!(names().len(), if answer == "n" { 1 } else { 2 }, "{:?}", names());
        }
    } else {
        site.run(0, [&arguments[..], &["--yes"]].concat());
    }
    let [data, before] = <[String; 2]>::try_from(names()).unwrap();
    assert!(data == "data" && before.starts_with("data.before-restore-"), "{before}");
    assert_eq!(fs::read(site.join("data/attachments/c/a1")).unwrap(), b"12345");
    assert!(!site.join(&before).join("attachments/c/a1").exists());
    assert_eq!(site.join("data").metadata().unwrap().permissions().mode() & 0o7777, 0o750);
    assert_eq!(server.sql("vault", "SELECT count(*) FROM sends"), "1");
    let kept = server.sql("postgres", "SELECT datname FROM pg_database WHERE datname LIKE 'vault_before_%'");
    assert_eq!(server.sql(&kept, "SELECT count(*) FROM sends"), "0");
}

#[test]
fn what_is_not_whole_takes_no_place() {
    let Some(server) = Postgres::start("a Vaultwarden on PostgreSQL that is not whole") else { return };
    server.sql("postgres", "CREATE DATABASE vault");
    server.sql("vault", VAULTWARDEN);
    let site = Site::new();
    data_folder(&site, &format!("postgresql://postgres:unused@/vault?host={}", server.folder().display()));
    fs::remove_file(site.join("data/attachments/c/a1")).unwrap();
    site.run(3, ["backup", "--vaultwarden", "data"]);
    server.sql("vault", "DELETE FROM sends");
    let url = server.url("postgres", "vault");
    let arguments =
        ["restore", "--service", "latest", "--target", "data", "--postgres", &url, "--in-place", "--yes"];
    let refused = site.run(1, arguments);
    assert!(refused.err().contains("what is there stays in its place"), "{}", refused.err());
    assert!(refused.err().contains("attachments/c/a1"), "{}", refused.err());
    let databases = "SELECT count(*) FROM pg_database WHERE NOT datistemplate";
    assert_eq!(server.sql("postgres", databases), "2");
    assert_eq!(server.sql("vault", "SELECT count(*) FROM sends"), "0");
    let beside = fs::read_dir(site.folder.path()).unwrap().flatten();
    let beside = beside.filter(|entry| entry.file_name().to_string_lossy().starts_with("data"));
    assert_eq!(beside.count(), 1);

    // Elsewhere it comes back as it was, and says what it lacks.
    let url = server.url("postgres", "elsewhere");
    let said = site.run(3, ["restore", "--service", "latest", "--target", "restored", "--postgres", &url]);
    assert!(said.err().contains("as it was at the backup"), "{}", said.err());
    assert_eq!(server.sql("elsewhere", "SELECT count(*) FROM sends"), "1");
}
