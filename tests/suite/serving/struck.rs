//! Ended in the middle, by who asked for it, by a signal that cannot be caught, or by the server's own end: what was there is
//! as it was, and the next run succeeds.

use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::mysql_url;
use crate::servers::mysql::Mysql;
use crate::servers::postgres::{Postgres, signal_to};
use crate::site::{DEADLINE, Site};

/// Starts the program, and waits until something is so.
fn started(mut command: Command, until: &dyn Fn() -> bool) -> Child {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let since = Instant::now();
    while !until() {
        assert!(child.try_wait().unwrap().is_none(), "it ended before it could be struck");
        assert!(since.elapsed().as_secs() < DEADLINE);
        thread::sleep(Duration::from_millis(2));
    }
    child
}

/// Waits until something is so.
fn wait_for(so: &dyn Fn() -> bool) {
    let since = Instant::now();
    while !so() {
        assert!(since.elapsed().as_secs() < DEADLINE, "it never came to that");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn postgres_is_as_it_was() {
    let Some(mut server) = Postgres::start("struck restores of PostgreSQL") else { return };
    server.sql("postgres", "CREATE DATABASE big");
    server.sql(
        "big",
        "CREATE TABLE t AS SELECT n, repeat(md5(n::text), 20) AS t FROM generate_series(1, 200000) AS n",
    );
    let site = Site::new();
    let url = server.url("postgres", "big");
    site.backup(["--postgres", &url]);
    server.sql("big", "DELETE FROM t WHERE n > 7");
    let restore =
        || site.command(["restore", "--service", "latest", "--postgres", &url, "--in-place", "--yes"]);
    let databases = "SELECT count(*) FROM pg_database WHERE NOT datistemplate";
    let filling = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'COPY public.t (%FROM stdin%'";
    let is_filled = |server: &Postgres| server.sql("postgres", filling) != "0";

    let mut child = started(restore(), &|| is_filled(&server));
    signal_to(child.id(), "INT");
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(server.sql("postgres", databases), "2", "what was made is removed");
    assert_eq!(server.sql("big", "SELECT count(*) FROM t"), "7");

    let mut child = started(restore(), &|| is_filled(&server));
    child.kill().unwrap();
    child.wait().unwrap();
    wait_for(&|| !is_filled(&server));
    assert_eq!(server.sql("big", "SELECT count(*) FROM t"), "7");
    let made = server.sql("postgres", "SELECT datname FROM pg_database WHERE datname LIKE 'big_restored_%'");
    assert_eq!(server.sql(&made, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"), "0");
    server.sql("postgres", &format!("DROP DATABASE {made}"));

    let mut child = started(restore(), &|| is_filled(&server));
    server.down();
    assert_eq!(child.wait().unwrap().code(), Some(1));
    server.up();
    assert_eq!(server.sql("big", "SELECT count(*) FROM t"), "7");

    let outcome = crate::support::run(&mut restore(), DEADLINE).expect_code(0);
    assert!(outcome.out().contains("kept as big_before_"), "{}", outcome.out());
    assert_eq!(server.sql("big", "SELECT count(*) FROM t"), "200000");
}

#[test]
fn mariadb_is_as_it_was() {
    let Some(server) = Mysql::start("struck restores of MariaDB") else { return };
    server.sql("", "CREATE DATABASE big");
    server.sql("big", "CREATE TABLE t AS SELECT seq AS n, REPEAT(MD5(seq), 20) AS t FROM seq_1_to_200000");
    let site = Site::new();
    site.backup(["--mysql", &mysql_url(&server, "big")]);
    server.sql("big", "DELETE FROM t WHERE n > 7");
    let url = |database: &str| mysql_url(&server, database);
    let restore =
        |url: &str| site.command(["restore", "--service", "latest", "--mysql", url, "--in-place", "--yes"]);
    let is_filled = || {
        let filling = "SELECT count(*) FROM information_schema.PROCESSLIST WHERE INFO LIKE 'INSERT INTO%'";
        server.sql("", filling) != "0"
    };
    let mut child = started(restore(&url("big")), &is_filled);
    signal_to(child.id(), "INT");
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(!server.sql("", "SHOW DATABASES").contains("restored"), "what was made is removed");
    assert_eq!(server.sql("big", "SELECT count(*) FROM t"), "7");

    // Into an empty database that was there: it may hold a part, which the next run sees.
    server.sql("", "CREATE DATABASE empty");
    let mut child = started(restore(&url("empty")), &is_filled);
    child.kill().unwrap();
    child.wait().unwrap();
    wait_for(&|| !is_filled());
    let again = site.run(1, ["restore", "--service", "latest", "--mysql", &url("empty")]);
    assert!(again.err().contains("is not empty"), "{}", again.err());
    crate::support::run(&mut restore(&url("big")), DEADLINE).expect_code(0);
    assert_eq!(server.sql("big", "SELECT count(*) FROM t"), "200000");
}
