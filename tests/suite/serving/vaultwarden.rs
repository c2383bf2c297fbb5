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
    site.backup(["--vaultwarden", "data"]);
    drop(server);
    comes_back(&site, &["--mysql", &mysql_url(&elsewhere, "again")]);
    assert_eq!(elsewhere.sql("again", "SELECT count(*) FROM attachments"), "2");
}
