//! What takes the place of something: only of the same service, that is not newer and not in use; and the old is kept.

use std::process::Stdio;

use super::{BROKEN, accounts, mysql_url};
use crate::dumped::VAULTWARDEN;
use crate::servers::mysql::Mysql;
use crate::servers::postgres::Postgres;
use crate::site::{Site, last};

const DATABASES: &str =
    "SELECT string_agg(datname, ' ' ORDER BY datname) FROM pg_database WHERE NOT datistemplate";

#[test]
fn postgres_keeps_what_gave_way() {
    let Some(server) = Postgres::start("restores of PostgreSQL in place") else { return };
    server.sql("postgres", "CREATE ROLE vault LOGIN");
    server.sql("postgres", "CREATE DATABASE bank OWNER vault LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0");
    server.sql("bank", &format!("SET ROLE vault; {}", accounts(1000)));
    let site = Site::new();
    let url = server.url("postgres", "bank");
    site.backup(["--postgres", &url]);
    server.sql("bank", "UPDATE accounts SET balance = 5; DELETE FROM accounts WHERE id > 10");
    let arguments = ["restore", "--service", "latest", "--postgres", &url, "--in-place", "--yes"];

    // Somebody uses it.
    let mut user = server.client("psql", "bank");
    let mut user = user.arg("-q").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let connected = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'bank'";
    while server.sql("postgres", connected) == "0" {
        std::thread::yield_now();
    }
    let busy = site.run(11, arguments);
    assert!(
        busy.err().contains("psql as postgres (1)") && busy.err().contains("stop the service"),
        "{}",
        busy.err()
    );
    drop(user.stdin.take());
    user.wait().unwrap();
    let unasked = site.run(1, &arguments[..6]);
    assert!(unasked.err().contains("--yes"), "{}", unasked.err());
    let dry = site.run(0, [&arguments[..], &["--dry-run"]].concat());
    assert!(dry.out().contains("RENAME TO") && dry.out().contains("pg_restore --dbname="), "{}", dry.out());
    assert_eq!(server.sql("postgres", DATABASES), "bank postgres");
    assert_eq!(server.sql("bank", "SELECT count(*), sum(balance) FROM accounts"), "11|55");

    // What a database that takes its place would not have is told.
    server.sql("postgres", "ALTER DATABASE bank SET work_mem = '1MB'");
    let dry = site.run(0, [&arguments[..], &["--dry-run"]].concat());
    assert!(dry.err().contains("has settings or grants of its own"), "{}", dry.err());
    server.sql("postgres", "ALTER DATABASE bank RESET work_mem");

    let summary = last(&site.json(0, arguments));
    let aside = summary["databases"][0]["previous"].as_str().unwrap();
    assert!(aside.starts_with("bank_before_"), "{aside}");
    assert_eq!(server.sql("bank", BROKEN), "0|1000000");
    assert_eq!(server.sql(aside, "SELECT count(*), sum(balance) FROM accounts"), "11|55");
    assert_eq!(server.sql("postgres", DATABASES), format!("bank {aside} postgres"));
    let owner = "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'bank'";
    assert_eq!(server.sql("bank", owner), "vault");
}

#[test]
fn postgres_of_another_service_or_a_newer_schema_stays() {
    let Some(server) = Postgres::start("refused restores of PostgreSQL in place") else { return };
    server.sql("postgres", "CREATE DATABASE vault");
    server.sql("vault", VAULTWARDEN);
    let site = Site::new();
    let url = server.url("postgres", "vault");
    site.backup(["--postgres", &url]);
    let in_place = |code, url: &str| {
        site.run(code, ["restore", "--service", "latest", "--postgres", url, "--in-place", "--yes"]).err()
    };
    // More steps than the dump, and as many, of which one is unknown to it.
    server.sql("vault", "INSERT INTO __diesel_schema_migrations VALUES ('20270101000000', now())");
    let refused = in_place(1, &url);
    assert!(refused.contains("newer than that of the dump") && refused.contains("2 steps"), "{refused}");
    server.sql("vault", "DELETE FROM __diesel_schema_migrations WHERE version < '2027'");
    let refused = in_place(1, &url);
    assert!(refused.contains("20270101000000, which the dump has not"), "{refused}");
    assert_eq!(server.sql("postgres", DATABASES), "postgres vault");
    server.sql("vault", "UPDATE __diesel_schema_migrations SET version = '20260101000000'");
    server.sql("vault", "DELETE FROM sends");
    in_place(0, &url);
    assert_eq!(server.sql("vault", "SELECT count(*) FROM sends"), "1");

    server.sql("postgres", "CREATE DATABASE other");
    server.sql(
        "other",
        "CREATE TABLE users (n INTEGER); CREATE TABLE a (n INTEGER); CREATE TABLE b (n INTEGER)",
    );
    let refused = in_place(1, &server.url("postgres", "other"));
    assert!(refused.contains("is of another service: of its 3 tables the dump has 1"), "{refused}");
    assert_eq!(server.sql("other", "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"), "3");
}

#[test]
fn mariadb_keeps_what_gave_way() {
    let Some(server) = Mysql::start("restores of MariaDB in place") else { return };
    server.sql("", "CREATE DATABASE bank CHARACTER SET utf8mb4 COLLATE utf8mb4_bin");
    server.sql("bank", &accounts(1000));
    let site = Site::new();
    let url = mysql_url(&server, "bank");
    site.backup(["--mysql", &url]);
    server.sql("bank", "UPDATE accounts SET balance = 5; CREATE TABLE later (n INTEGER)");
    let arguments = ["restore", "--service", "latest", "--mysql", &url, "--in-place", "--yes"];

    let mut user = server.client("mariadb");
    let mut user = user.arg("--database=bank").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    while server.sql("", "SELECT count(*) FROM information_schema.PROCESSLIST WHERE DB = 'bank'") == "0" {
        std::thread::yield_now();
    }
    let busy = site.run(11, arguments);
    assert!(busy.err().contains("root (1)"), "{}", busy.err());
    drop(user.stdin.take());
    user.wait().unwrap();

    // What cannot be moved in one statement is refused, with what to do.
    server.sql("bank", "CREATE VIEW rich AS SELECT id FROM accounts");
    let refused = site.run(1, arguments);
    assert!(
        refused.err().contains("has views (1)") && refused.err().contains("without --in-place"),
        "{}",
        refused.err()
    );
    server.sql("bank", "DROP VIEW rich");

    let summary = last(&site.json(0, arguments));
    let aside = summary["databases"][0]["previous"].as_str().unwrap();
    assert_eq!(server.sql("bank", BROKEN), "0\t1000000");
    assert_eq!(server.sql(aside, "SELECT count(*), sum(balance) FROM accounts"), "1000\t5000");
    assert_eq!(server.sql(aside, "SHOW TABLES"), "accounts\nlater\ntransfers");
    assert!(!server.sql("", "SHOW DATABASES").contains("restored"));
    let collation =
        "SELECT DEFAULT_COLLATION_NAME FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = 'bank'";
    assert_eq!(server.sql("", collation), "utf8mb4_bin");
    // What refers to another table refers to the one beside it.
    let refers = "SELECT DISTINCT CONCAT(TABLE_SCHEMA, ' ', REFERENCED_TABLE_SCHEMA) FROM \
        information_schema.KEY_COLUMN_USAGE WHERE REFERENCED_TABLE_SCHEMA IS NOT NULL AND TABLE_SCHEMA LIKE 'bank%' ORDER BY 1";
    assert_eq!(server.sql("", refers), format!("bank bank\n{aside} {aside}"));
}

#[test]
fn mariadb_of_another_service_or_a_newer_schema_stays() {
    let Some(server) = Mysql::start("refused restores of MariaDB in place") else { return };
    server.sql("", "CREATE DATABASE vault; CREATE DATABASE other");
    server.sql("vault", VAULTWARDEN);
    server.sql("other", "CREATE TABLE a (n INTEGER); CREATE TABLE b (n INTEGER)");
    let site = Site::new();
    site.backup(["--mysql", &mysql_url(&server, "vault")]);
    let in_place = |code, database: &str| {
        let url = mysql_url(&server, database);
        site.run(code, ["restore", "--service", "latest", "--mysql", &url, "--in-place", "--yes"]).err()
    };
    server.sql("vault", "UPDATE __diesel_schema_migrations SET version = '20270101000000'");
    let refused = in_place(1, "vault");
    assert!(refused.contains("20270101000000, which the dump has not"), "{refused}");
    assert!(in_place(1, "other").contains("is of another service"));
    assert!(!server.sql("", "SHOW DATABASES").contains("restored"));
    assert_eq!(server.sql("vault", "SELECT version FROM __diesel_schema_migrations"), "20270101000000");
    assert_eq!(server.sql("other", "SHOW TABLES"), "a\nb");
}
