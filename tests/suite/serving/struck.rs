//! Ended in the middle, by who asked for it, by a signal that cannot be caught, or by the server's own end: what was there is
//! as it was, and the next run succeeds.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::mysql_url;
use crate::servers::mysql::Mysql;
use crate::servers::postgres::{Postgres, signal_to};
use crate::site::{DEADLINE, Site};
use crate::support::{Rng, SmallDisk, has_tool, run};

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

    let outcome = run(&mut restore(), DEADLINE).expect_code(0);
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
    run(&mut restore(&url("big")), DEADLINE).expect_code(0);
    assert_eq!(server.sql("big", "SELECT count(*) FROM t"), "200000");
}

#[test]
fn rows_that_did_not_come_are_missed() {
    let what = "restores of PostgreSQL that lose a row";
    let Some(server) = Postgres::start(what) else { return };
    if !has_tool("pg_restore", what) {
        return;
    }
    server.sql("postgres", "CREATE DATABASE one");
    server.sql("one", "CREATE TABLE t AS SELECT n FROM generate_series(1, 10) AS n");
    let site = Site::new();
    site.backup(["--postgres", &server.url("postgres", "one")]);
    server.sql("one", "DELETE FROM t WHERE n > 3");
    // A pg_restore after which a row is gone.
    let real = Command::new("sh").args(["-c", "command -v pg_restore"]).output().unwrap().stdout;
    let lossy = format!(
        "#!/bin/sh\n{} \"$@\" || exit\ntest \"$1\" = --version || psql -q \"$1\" -c 'DELETE FROM t WHERE n = 7'\n",
        String::from_utf8(real).unwrap().trim()
    );
    let lossy = site.folder.write("bin/pg_restore", lossy);
    fs::set_permissions(lossy, Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", site.join("bin").display(), std::env::var("PATH").unwrap());
    let restore = |code, arguments: &[&str]| {
        let mut command =
            site.command([&["restore", "--service", "latest", "--postgres"], arguments].concat());
        let outcome = run(command.env("PATH", &path), DEADLINE).expect_code(code);
        assert!(
            outcome.err().contains("table public.t has 9 rows, and had 10 in the dump"),
            "{}",
            outcome.err()
        );
    };
    restore(3, &[&server.url("postgres", "new")]);
    assert_eq!(server.sql("new", "SELECT count(*) FROM t"), "9");
    restore(1, &[&server.url("postgres", "one"), "--in-place", "--yes"]);
    assert_eq!(server.sql("one", "SELECT count(*) FROM t"), "3");
    let databases = "SELECT count(*) FROM pg_database WHERE NOT datistemplate";
    assert_eq!(server.sql("postgres", databases), "3");
}

#[test]
fn a_full_disk_takes_no_database_away() {
    let what = "restores of a service onto a full disk";
    let Some(server) = Postgres::start(what) else { return };
    server.sql("postgres", "CREATE DATABASE one");
    server.sql("one", "CREATE TABLE t AS SELECT n FROM generate_series(1, 10) AS n");
    let site = Site::new();
    site.folder.write("data/large", Rng::new(5).bytes(3 << 20));
    let url = server.url("postgres", "one");
    site.backup(["data", "--postgres", &url]);
    server.sql("one", "DELETE FROM t WHERE n > 3");
    fs::create_dir(site.join("small")).unwrap();
    let Some(_disk) = SmallDisk::mount(&site.join("small"), 1 << 20, what) else { return };
    let databases =
        "SELECT string_agg(datname, ' ' ORDER BY datname) FROM pg_database WHERE NOT datistemplate";
    for rest in [&["--in-place", "--yes"][..], &[]] {
        let url = if rest.is_empty() { server.url("postgres", "new") } else { url.clone() };
        fs::remove_dir_all(site.join("small/new")).ok();
        let arguments = ["restore", "--service", "latest", "--postgres", &url, "--target", "small/new"];
        let full = site.run(1, [&arguments[..], rest].concat());
        assert!(full.err().contains("run the same command again"), "{}", full.err());
        assert_eq!(server.sql("postgres", databases), "one postgres");
        assert_eq!(server.sql("one", "SELECT count(*) FROM t"), "3");
    }
}
