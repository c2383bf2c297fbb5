//! Every failure is an error with its cause and what to do, and leaves nothing running or locked.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use strongroom::error::ErrorKind;
use strongroom::interrupt::Interrupt;
use strongroom::source::server::Options;
use strongroom::source::server::address::Address;

use super::{clients, options, rows, says, take, take_with};
use crate::servers::mysql::Mysql;

/// Waits until the server has no other session, and no client of its runs.
#[track_caller]
fn nothing_runs(server: &Mysql) {
    let deadline = Instant::now() + Duration::from_secs(20);
    let others = "SELECT count(*) FROM information_schema.PROCESSLIST WHERE USER <> 'system user' AND USER <> 'event_scheduler'";
    while server.sql("", others) != "1" || !clients(server.folder()).is_empty() {
        assert!(Instant::now() < deadline, "{:?}", clients(server.folder()));
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn whoever_may_not_is_told_why_and_what_to_grant() {
    let Some(server) = Mysql::start("rights at MariaDB") else { return };
    server.sql(
        "",
        "CREATE DATABASE vault; CREATE TABLE vault.t (id INT PRIMARY KEY); INSERT INTO vault.t VALUES (1), (2);
        CREATE VIEW vault.v AS SELECT * FROM vault.t; CREATE EVENT vault.e ON SCHEDULE EVERY 1 DAY DO SELECT 1;
        CREATE PROCEDURE vault.p() SELECT 1; CREATE USER app@localhost IDENTIFIED BY 'right';",
    );
    let grant = |rights: &str| server.sql("", &format!("GRANT {rights} ON vault.* TO app@localhost"));
    for (login, database, parts) in [
        ("app:hunter2", "vault", &["Access denied", "check the user and the password"][..]),
        ("nobody", "vault", &["Access denied", "check the user and the password"]),
        ("root", "vaultt", &["Unknown database `vaultt`", "SHOW DATABASES"]),
        ("root", "?ssl-mode=required", &["not encrypted", "turn TLS on"]),
    ] {
        let error = take(server.address(login, database), options()).err().unwrap();
        says(&error, parts);
        says(&error, &["MariaDB or MySQL at "]);
        assert!(!error.chain().contains("hunter2"));
    }
    // Each right that is lacking is named; the last is not lacking any more.
    let failing =
        |parts: &[&str]| says(&take(server.address("app:right", "vault"), options()).err().unwrap(), parts);
    grant("SELECT");
    failing(&["does not see the triggers", "GRANT SELECT, SHOW VIEW, TRIGGER"]);
    grant("TRIGGER");
    failing(&["SHOW VIEW command denied", "GRANT SHOW VIEW"]);
    grant("SHOW VIEW");
    failing(&["denied", "GRANT"]);
    grant("EVENT");
    let taken = take(server.address("app:right", "vault"), options()).unwrap();
    let said = taken[0].finished.report.messages.join("\n");
    assert!(said.contains("lacks GRANT LOCK TABLES") && said.contains("stored procedures"), "{said}");
    // A password passes a prefix unseen.
    let behind = Options { prefix: vec!["env".into()], ..options() };
    assert!(take(server.address("app:right", "vault"), behind).is_ok());
    assert_eq!(rows(&taken[0], "t"), 2, "nobody changed it, so it is compared all the same");
    grant("LOCK TABLES, EXECUTE");
    server.sql("", "GRANT SELECT ON mysql.proc TO app@localhost");
    let taken = take(server.address("app:right", ""), options()).unwrap();
    assert_eq!(taken.len(), 1);
    let said = taken[0].finished.report.messages.join("\n");
    assert!(said.starts_with("users and grants are not in this backup") && !said.contains("lock"), "{said}");
    server.sql("vault", "DROP TABLE t");
    failing(&["references invalid table", "mend the view"]);
    nothing_runs(&server);
}

#[test]
fn a_lock_that_is_not_to_be_had_is_not_waited_for() {
    let Some(server) = Mysql::start("locks at MariaDB") else { return };
    server.sql(
        "",
        "CREATE DATABASE vault; CREATE TABLE vault.busy (id INT PRIMARY KEY); CREATE TABLE vault.idle LIKE vault.busy;
        INSERT INTO vault.idle VALUES (1);",
    );
    let mut writer = server.client("mariadb");
    writer.args(["-e", "START TRANSACTION; INSERT INTO vault.busy VALUES (1); SELECT SLEEP(60)"]);
    let mut writer = writer.stdout(std::process::Stdio::null()).spawn().unwrap();
    thread::sleep(Duration::from_millis(1500));
    let taken = take(server.address("root", "vault"), options()).unwrap();
    writer.kill().unwrap();
    writer.wait().unwrap();
    let report = &taken[0].finished.report;
    assert!(report.messages[0].contains("somebody was writing to them for long"), "{:?}", report.messages);
    assert_eq!((rows(&taken[0], "busy"), rows(&taken[0], "idle")), (0, 1));
}

#[test]
fn what_ends_in_the_middle_is_an_error_and_leaves_nothing() {
    let Some(mut server) = Mysql::start("interrupted dumps of MariaDB") else { return };
    server.sql(
        "",
        "CREATE DATABASE vault; USE vault; CREATE TABLE vault.large (id INT PRIMARY KEY, x TEXT);
        INSERT INTO vault.large SELECT seq, REPEAT('x', 1000) FROM seq_1_to_30000;",
    );
    let address = server.address("root", "vault");
    let interrupt = Interrupt::default();
    let asked = interrupt.clone();
    let error = take_with(address.clone(), options(), interrupt, &mut |_| asked.request()).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Interrupted);
    nothing_runs(&server);
    let folder = server.folder().to_owned();
    let kill = &mut |_: usize| {
        for (process, _) in clients(&folder).iter().filter(|(_, line)| line.contains("mariadb-dump")) {
            drop(Command::new("kill").args(["-KILL", &process.to_string()]).status());
        }
    };
    let error = take_with(address.clone(), options(), Interrupt::default(), kill).err().unwrap();
    says(&error, &["was killed by signal 9", "ended from outside"]);
    nothing_runs(&server);
    // Nothing stayed locked.
    server.sql("", "INSERT INTO vault.large VALUES (0, '')");
    let error =
        take_with(address.clone(), options(), Interrupt::default(), &mut |_| server.down()).err().unwrap();
    says(&error, &["the database vault of MariaDB or MySQL at ", "run again"]);
    let error = take(address, options()).err().unwrap();
    says(&error, &["Can't connect", "listens"]);
}

#[test]
fn a_server_that_says_nothing_is_given_up() {
    let Some(server) = Mysql::start("silent MariaDB") else { return };
    server.sql("", "CREATE DATABASE vault; CREATE TABLE vault.t (id INT)");
    let mut holder = server.client("mariadb");
    holder.args(["-e", "LOCK TABLES vault.t WRITE; SELECT SLEEP(60)"]);
    let mut holder = holder.stdout(std::process::Stdio::null()).spawn().unwrap();
    thread::sleep(Duration::from_millis(1500));
    let options = Options { silence: Some(Duration::from_secs(4)), ..Options::default() };
    let error = take(server.address("root", "vault"), options).err().unwrap();
    says(&error, &["nothing came for 4 s", "SHOW PROCESSLIST"]);
    holder.kill().unwrap();
    holder.wait().unwrap();
    nothing_runs(&server);
}

#[test]
fn what_is_missing_here_or_behind_a_prefix_is_told() {
    let address = || Address::parse("mysql://u@127.0.0.1:1/x").unwrap();
    let error =
        take(address(), Options { prefix: vec!["/nonexistent/docker".into()], ..options() }).err().unwrap();
    says(&error, &["/nonexistent/docker"]);
    if crate::support::has_tool("mariadb", "an address of no server") {
        says(&take(address(), options()).err().unwrap(), &["Can't connect", "check host, port or socket"]);
    }
}
