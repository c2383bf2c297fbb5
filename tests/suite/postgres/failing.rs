//! Every failure is an error with its cause and what to do, and leaves nothing running.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::thread;
use std::time::{Duration, Instant};

use strongroom::error::ErrorKind;
use strongroom::interrupt::Interrupt;
use strongroom::source::server::Options;
use strongroom::source::server::address::Address;

use super::{clients, options, processes, says, take, take_with};
use crate::servers::postgres::{Postgres, signal_to};
use crate::support::TempFolder;

/// Rows enough that a dump takes a while.
const LARGE: &str = "CREATE TABLE large (id int PRIMARY KEY, filler text);
    INSERT INTO large SELECT g, repeat(md5(g::text), 40) FROM generate_series(1, 50000) g;";

/// Waits until the server has no other session, and no client of its runs.
#[track_caller]
fn nothing_runs(server: &Postgres) {
    let deadline = Instant::now() + Duration::from_secs(60);
    let others = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
    while server.sql("postgres", others) != "0" || !clients(server.folder()).is_empty() {
        assert!(Instant::now() < deadline, "{:?}", clients(server.folder()));
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn whoever_may_not_log_in_is_told_why() {
    let Some(server) = Postgres::start("logins at PostgreSQL") else { return };
    server.sql("postgres", "SET password_encryption = 'md5'; CREATE ROLE vault LOGIN PASSWORD 'right';");
    let rules = "local all postgres trust\nlocal all stranger reject\nlocal all vault md5\n";
    fs::write(server.folder().join("data/pg_hba.conf"), rules).unwrap();
    server.sql("postgres", "SELECT pg_reload_conf()");
    thread::sleep(Duration::from_millis(500));
    assert!(take(server.address("vault:right", "postgres"), options()).is_ok());
    for (user, database, parts) in [
        ("vault:wrong", "postgres", &["password authentication failed", "check the user's name"][..]),
        ("vault", "postgres", &["no password supplied", "PGPASSWORD"]),
        ("guest", "postgres", &["no pg_hba.conf entry", "add a line"]),
        ("postgres", "vaultt", &["database \"vaultt\" does not exist", "\\l lists"]),
        ("postgres", "postgres?sslmode=nonsense", &["sslmode"]),
        ("postgres", "postgres?nonsense=1", &["invalid connection option \"nonsense\"", "libpq"]),
    ] {
        let error = take(server.address(user, database), options()).err().unwrap();
        says(&error, parts);
        says(&error, &["PostgreSQL at "]);
        assert!(!error.chain().contains("wrong"));
    }
    nothing_runs(&server);
}

#[test]
fn a_server_that_is_not_there_is_said_to_be_away() {
    let folder = TempFolder::new();
    let host = folder.path().to_str().unwrap().replace('/', "%2F");
    let address = |text: &str| Address::parse(text).unwrap();
    if !crate::support::has_tool("pg_dump", "a PostgreSQL server that is not there") {
        return;
    }
    let error = take(address(&format!("postgresql://u@{host}/d")), options()).err().unwrap();
    says(&error, &["No such file or directory", "whether the server runs"]);
    let error = take(address("postgresql://u@127.0.0.1:1/d"), options()).err().unwrap();
    says(&error, &["Connection refused", "whether the server runs"]);
    // One that accepts and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let started = Instant::now();
    let options = Options { silence: Some(Duration::from_secs(2)), ..Options::default() };
    let error = take(address(&format!("postgresql://u@127.0.0.1:{port}/d")), options).err().unwrap();
    assert!(
        error.chain().contains("timeout expired") || error.chain().contains("nothing came for 2 s"),
        "{error:?}"
    );
    assert!(error.next_step().is_some() && started.elapsed() < Duration::from_secs(60));
}

#[test]
fn clients_that_are_missing_or_too_old_are_named() {
    let Some(server) = Postgres::start("clients of PostgreSQL that are too old") else { return };
    let folder = TempFolder::new();
    let script = |text: &str| {
        let path = folder.write("clients", format!("#!/bin/sh\n{text}\nexec \"$@\"\n"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Options { prefix: vec![path.into()], ..options() }
    };
    let old = script("[ \"$1 $2\" != 'pg_dump --version' ] || exec echo 'pg_dump (PostgreSQL) 9.6.24'");
    let error = take(server.address("postgres", "postgres"), old).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    says(
        &error,
        &[
            "this server is PostgreSQL 1",
            "pg_dump here is 9.6.24",
            "install postgresql-client-1",
            "docker exec -i NAME",
        ],
    );
    let none = script("echo 'Error: No such container: db' >&2; exit 1");
    let error = take(server.address("postgres", "postgres"), none).err().unwrap();
    says(&error, &["No such container: db", "docker ps"]);
    let none = Options { prefix: vec![folder.join("nothing").into()], ..options() };
    let error = take(server.address("postgres", "postgres"), none).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Missing);
    nothing_runs(&server);
}

#[test]
fn a_table_that_may_not_be_read_is_named() {
    let Some(server) = Postgres::start("tables of PostgreSQL that may not be read") else { return };
    server.sql(
        "postgres",
        "CREATE ROLE vault LOGIN; CREATE TABLE open_to_all (x int); GRANT SELECT ON open_to_all TO vault;
        CREATE TABLE secrets (x int); CREATE DATABASE closed; REVOKE CONNECT ON DATABASE closed FROM public;",
    );
    let error = take(server.address("vault", "postgres"), options()).err().unwrap();
    says(&error, &["permission denied for table secrets", "GRANT pg_read_all_data TO USER", "GRANT SELECT"]);
    let error = take(server.address("vault", "closed"), options()).err().unwrap();
    says(&error, &["permission denied for database", "closed", "GRANT CONNECT"]);
    let error = take(server.address("vault", ""), options()).err().unwrap();
    says(&error, &["permission denied for database closed", "GRANT CONNECT"]);
    server.sql(
        "postgres",
        "GRANT pg_read_all_data TO vault; ALTER TABLE secrets ENABLE ROW LEVEL SECURITY;
        INSERT INTO secrets VALUES (1);",
    );
    let error = take(server.address("vault", "postgres"), options()).err().unwrap();
    says(&error, &["row-level security", "secrets", "BYPASSRLS"]);
    nothing_runs(&server);
}

#[test]
fn limits_of_time_of_the_server_do_not_end_a_dump() {
    let limits = ["statement_timeout=200", "idle_in_transaction_session_timeout=200", "lock_timeout=200"];
    let Some(server) = Postgres::start_with("limits of time of PostgreSQL", &limits) else { return };
    server.sql(
        "postgres",
        "SET statement_timeout = 0; CREATE TABLE users (x int); INSERT INTO users VALUES (1)",
    );
    let mut options = options();
    options.questions = vec!["SELECT pg_sleep(0.6)".to_owned()];
    let mut waited = false;
    let taken = take_with(server.address("postgres", "postgres"), options, Interrupt::default(), &mut |_| {
        if !std::mem::replace(&mut waited, true) {
            thread::sleep(Duration::from_secs(1));
        }
    });
    assert_eq!(super::rows(&taken.unwrap()[0], "public.users"), 1);
}

#[test]
fn a_server_that_stops_or_hangs_ends_the_dump() {
    let Some(mut server) = Postgres::start("a PostgreSQL server that stops") else { return };
    server.sql("postgres", LARGE);
    let address = server.address("postgres", "postgres");
    let mut stopped = false;
    let error = take_with(address.clone(), options(), Interrupt::default(), &mut |bytes| {
        if bytes > 1 << 20 && !std::mem::replace(&mut stopped, true) {
            server.down();
        }
    });
    let error = error.err().unwrap();
    says(&error, &["pg_dump", "run again"]);
    server.up();
    nothing_runs(&server);

    // Every process of it hangs: it answers nobody, and closes nothing.
    let short = Options { silence: Some(Duration::from_secs(10)), ..Options::default() };
    let mut hung = false;
    let started = Instant::now();
    let backends = || {
        server.sql("postgres", "SELECT pid FROM pg_stat_activity WHERE application_name IN ('pg_dump', 'psql', 'strongroom') AND pid <> pg_backend_pid()")
    };
    let mut asleep = Vec::new();
    let error = take_with(address, short, Interrupt::default(), &mut |bytes| {
        if bytes > 1 << 20 && !std::mem::replace(&mut hung, true) {
            asleep = backends().lines().map(|pid| pid.parse().unwrap()).collect::<Vec<u32>>();
            asleep.iter().for_each(|pid| signal_to(*pid, "STOP"));
        }
    });
    asleep.iter().for_each(|pid| signal_to(*pid, "CONT"));
    assert!(!asleep.is_empty() && started.elapsed() < Duration::from_secs(90));
    says(&error.err().unwrap(), &["nothing came for 10 s", "hangs"]);
    nothing_runs(&server);
}

#[test]
fn a_lock_that_somebody_holds_is_told_of() {
    let Some(server) = Postgres::start("locks of PostgreSQL") else { return };
    server.sql("postgres", "CREATE TABLE users (x int)");
    let mut holder = server.client("psql", "postgres");
    let mut holder =
        holder.args(["-X", "-q", "-c", "BEGIN; LOCK TABLE users; SELECT pg_sleep(60)"]).spawn().unwrap();
    let held = "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted";
    while server.sql("postgres", held) == "0" {
        thread::sleep(Duration::from_millis(20));
    }
    let short = Options { silence: Some(Duration::from_secs(10)), ..Options::default() };
    let error = take(server.address("postgres", "postgres"), short).err().unwrap();
    holder.kill().unwrap();
    holder.wait().unwrap();
    says(&error, &["users", "VACUUM FULL"]);
    server.sql("postgres", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep%' AND pid <> pg_backend_pid()");
    nothing_runs(&server);
}

#[test]
fn a_client_that_is_killed_is_no_end_of_a_dump() {
    let Some(server) = Postgres::start("clients of PostgreSQL that are killed") else { return };
    server.sql("postgres", LARGE);
    for (client, parts) in
        [("pg_dump", ["pg_dump", "killed by signal 9"]), ("psql", ["psql", "killed by signal 9"])]
    {
        let mut killed = false;
        let taken = take_with(
            server.address("postgres", "postgres"),
            options(),
            Interrupt::default(),
            &mut |bytes| {
                if bytes > 1 << 20 && !std::mem::replace(&mut killed, true) {
                    let processes = processes(server.folder(), client);
                    assert!(!processes.is_empty(), "{client} runs");
                    processes.into_iter().for_each(|process| signal_to(process, "KILL"));
                }
            },
        );
        let error = taken.err().unwrap();
        says(&error, &parts);
        nothing_runs(&server);
    }
}

#[test]
fn an_interruption_ends_a_dump_and_its_clients() {
    let Some(server) = Postgres::start("dumps of PostgreSQL that are interrupted") else { return };
    server.sql("postgres", LARGE);
    let interrupt = Interrupt::default();
    let wish = interrupt.clone();
    let taken = take_with(server.address("postgres", "postgres"), options(), interrupt, &mut |bytes| {
        if bytes > 1 << 20 {
            wish.request();
        }
    });
    assert_eq!(taken.err().unwrap().kind(), ErrorKind::Interrupted);
    nothing_runs(&server);
}

#[test]
fn a_table_that_is_emptied_behind_the_view_is_not_counted_and_named() {
    let Some(server) = Postgres::start("tables of PostgreSQL that change behind a dump") else { return };
    server.sql(
        "postgres",
        "CREATE TABLE users (x int); INSERT INTO users VALUES (1), (2); CREATE TABLE kept (x int);",
    );
    // pg_dump comes late: meanwhile a table is emptied, which no view of the data survives.
    let folder = TempFolder::new();
    let empty = format!(
        "psql -X -q -h '{}' -p 5432 -U postgres -c 'TRUNCATE users' postgres",
        server.folder().display()
    );
    let script = format!("#!/bin/sh\ncase \"$*\" in *--snapshot=*) {empty} ;; esac\nexec \"$@\"\n");
    let path = folder.write("prefix", script);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let taken =
        take(server.address("postgres", "postgres"), Options { prefix: vec![path.into()], ..options() })
            .unwrap();
    let report = &taken[0].finished.report;
    assert!(
        report.tables.is_empty() || report.tables.iter().all(|rows| rows.table != "public.users"),
        "{report:?}"
    );
    assert!(report.messages.iter().any(|message| message.contains("public.users")), "{report:?}");
}

#[test]
fn a_dump_whose_rows_are_not_those_of_the_server_is_an_error() {
    let Some(server) = Postgres::start("dumps of PostgreSQL that lack rows") else { return };
    server.sql(
        "postgres",
        "CREATE TABLE users (x int); INSERT INTO users VALUES (1), (2); CREATE TABLE more (x int);",
    );
    let folder = TempFolder::new();
    let prefix = |change: &str| {
        let script = format!("#!/bin/sh\ncase \"$*\" in *--snapshot=*) {change} ;; esac\nexec \"$@\"\n");
        let path = folder.write("prefix", script);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Options { prefix: vec![path.into()], ..options() }
    };
    let address = || server.address("postgres", "postgres");
    let error = take(address(), prefix("exec \"$@\" --exclude-table=more")).err().unwrap();
    says(&error, &["the dump lacks the rows of public.more"]);
    let error = take(address(), prefix("exec \"$@\" --exclude-table-data=users")).err().unwrap();
    says(&error, &["the dump lacks the rows of public.users"]);
    let error = take(address(), prefix("\"$@\" | head -c 1500; exit 0")).err().unwrap();
    says(&error, &["the archive is not whole"]);
    let error = take(address(), prefix("exit 0")).err().unwrap();
    says(&error, &["the archive is not whole"]);
    // One of another view of the data, which has a row more.
    let insert = format!(
        "psql -X -q -h '{}' -p 5432 -U postgres -c 'INSERT INTO users VALUES (3)' postgres
        for word; do shift; case \"$word\" in --snapshot=*) ;; *) set -- \"$@\" \"$word\" ;; esac; done",
        server.folder().display()
    );
    let error = take(address(), prefix(&insert)).err().unwrap();
    says(
        &error,
        &["the dump holds 3 rows of public.users", "the server counts 2 in the same view", "pg_amcheck"],
    );
    nothing_runs(&server);
}
