//! What is refused, and that nothing is changed by it.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::mysql_url;
use crate::servers::mysql::Mysql;
use crate::servers::postgres::Postgres;
use crate::site::{DEADLINE, Site};
use crate::support::run;

#[test]
fn a_database_that_holds_something_is_refused() {
    let what = "refused restores of PostgreSQL";
    let Some(server) = Postgres::start(what) else { return };
    server.sql("postgres", "CREATE DATABASE one");
    server.sql("postgres", "CREATE DATABASE two");
    server.sql("one", "CREATE TABLE t AS SELECT n FROM generate_series(1, 10) AS n");
    let site = Site::new();
    site.folder.write("file", "");
    let other = site.backup(["file"]);
    site.backup(["--postgres", &server.url("postgres", "")]);
    server.sql("one", "DELETE FROM t WHERE n > 3");

    let restore = |code, rest: &[&str]| {
        let arguments = [&["restore", "--service", "latest"], rest].concat();
        site.run(code, arguments)
    };
    let (any, one) = (server.url("postgres", ""), server.url("postgres", "one"));
    let refused = restore(1, &["--postgres", &one, "--database", "one"]);
    assert!(
        refused.err().contains("the database one of PostgreSQL at") && refused.err().contains("--in-place")
    );
    assert!(restore(1, &["--postgres", &one]).err().contains("--database NAME"));
    assert!(
        restore(1, &["--postgres", &one, "--database", "three"])
            .err()
            .contains("no dump of a database three")
    );
    assert!(restore(1, &["--mysql", "mysql://localhost/x"]).err().contains("holds no such dump"));
    assert!(restore(1, &[]).err().contains("--postgres URL"));
    assert!(restore(1, &["--redis-folder", "."]).err().contains("no dump of Redis"));
    let url = "postgresql://postgres:hunter2@localhost/x";
    let refused = restore(1, &["--postgres", url]);
    assert!(refused.err().contains("PGPASSWORD") && !refused.err().contains("hunter2"), "{}", refused.err());
    assert_eq!(server.sql("one", "SELECT count(*) FROM t"), "3");

    // One without a dump of a server.
    let id = other["snapshot_id"].as_str().unwrap();
    let refused = site.run(1, ["restore", "--service", id, "--target", "somewhere"]);
    assert!(refused.err().contains("holds no dump of a server") && refused.err().contains("--vaultwarden"));

    // One of them is refused: the other is not made either.
    server.sql("postgres", "DROP DATABASE two");
    restore(1, &["--postgres", &any]);
    let databases =
        "SELECT string_agg(datname, ' ' ORDER BY datname) FROM pg_database WHERE NOT datistemplate";
    assert_eq!(server.sql("postgres", databases), "one postgres");
    restore(0, &["--postgres", &any, "--database", "two"]);
    assert_eq!(server.sql("postgres", databases), "one postgres two");

    // A view alone is something, too, and so is a folder with a file in it.
    server.sql("two", "CREATE VIEW v AS SELECT 1 AS n");
    assert!(
        restore(1, &["--postgres", &server.url("postgres", "two"), "--database", "one"])
            .err()
            .contains("is not empty")
    );
    site.folder.write("full/file", "");
    let refused =
        restore(1, &["--postgres", &server.url("postgres", "new"), "--database", "one", "--target", "full"]);
    assert!(refused.err().contains("full is not empty"), "{}", refused.err());
    assert_eq!(server.sql("postgres", databases), "one postgres two");
}

#[test]
fn who_may_not_log_in_and_a_client_that_is_too_old_change_nothing() {
    let what = "restores of PostgreSQL by who may not";
    let Some(server) = Postgres::start(what) else { return };
    server.sql("postgres", "CREATE ROLE keeper LOGIN PASSWORD 'right'; CREATE DATABASE bank");
    server.sql("bank", "CREATE TABLE t AS SELECT n FROM generate_series(1, 10) AS n");
    let site = Site::new();
    site.backup(["--postgres", &server.url("postgres", "bank")]);
    let hba = server.folder().join("data/pg_hba.conf");
    let rules = fs::read_to_string(&hba).unwrap();
    fs::write(&hba, format!("local all keeper scram-sha-256\n{rules}")).unwrap();
    server.sql("postgres", "SELECT pg_reload_conf()");

    let url = server.url("keeper", "new");
    for (password, words) in [("hunter2", "password authentication failed"), ("right", "CREATEDB")] {
        let mut command = site.command(["restore", "--service", "latest", "--postgres", &url]);
        let outcome = run(command.env("PGPASSWORD", password), DEADLINE).expect_code(1);
        assert!(outcome.err().contains(words), "{}", outcome.err());
        assert!(!outcome.err().contains("hunter2"));
    }

    // A pg_restore of an older PostgreSQL.
    let fake = site.folder.write("old/pg_restore", "#!/bin/sh\necho 'pg_restore (PostgreSQL) 9.6.1'\n");
    fs::set_permissions(&fake, fs::Permissions::from_mode(0o755)).unwrap();
    let mut command =
        site.command(["restore", "--service", "latest", "--postgres", &server.url("postgres", "new")]);
    let path = format!("{}:{}", site.join("old").display(), std::env::var("PATH").unwrap());
    let outcome = run(command.env("PATH", path), DEADLINE).expect_code(1);
    assert!(outcome.err().contains("too old to restore into it"), "{}", outcome.err());
    let databases =
        "SELECT string_agg(datname, ' ' ORDER BY datname) FROM pg_database WHERE NOT datistemplate";
    assert_eq!(server.sql("postgres", databases), "bank postgres");
}

#[test]
fn a_database_of_mariadb_that_holds_something_is_refused() {
    let what = "refused restores of MariaDB";
    let Some(server) = Mysql::start(what) else { return };
    server
        .sql("", "CREATE DATABASE one; CREATE USER weak@localhost; GRANT SELECT ON one.* TO weak@localhost");
    server.sql("one", "CREATE TABLE t (n INTEGER); INSERT INTO t VALUES (1), (2)");
    let site = Site::new();
    site.backup(["--mysql", &mysql_url(&server, "one")]);
    server.sql("one", "DELETE FROM t");
    let restore = |code, url: &str| site.run(code, ["restore", "--service", "latest", "--mysql", url]).err();
    assert!(restore(1, &mysql_url(&server, "one")).contains("is not empty"));
    assert_eq!(server.sql("one", "SELECT count(*) FROM t"), "0");
    let weak = mysql_url(&server, "two").replace("root@", "weak@");
    assert!(restore(1, &weak).contains("GRANT ALL"));
    assert!(!server.sql("", "SHOW DATABASES").contains("two"));
}
