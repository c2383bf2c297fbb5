//! A service put back by `restore --service`, with real servers: what was backed up while it was written to comes back as it
//! was at one moment, and whatever is there already is refused, or kept.

mod in_place;
mod refused;
mod struck;
mod vaultwarden;

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::Value;

use crate::servers::mysql::Mysql;
use crate::servers::postgres::Postgres;
use crate::servers::redis::Redis;
use crate::servers::ssh::Ssh;
use crate::site::{DEADLINE, Site};
use crate::support::run;

/// Accounts, and what went from one to the other: both tables tell every balance.
const ACCOUNTS: &str = "
    CREATE TABLE accounts (id INTEGER PRIMARY KEY, balance BIGINT NOT NULL, note TEXT);
    CREATE TABLE transfers (id INTEGER PRIMARY KEY, giver INTEGER NOT NULL REFERENCES accounts (id),
        taker INTEGER NOT NULL REFERENCES accounts (id), amount BIGINT NOT NULL);
";
/// Accounts whose balance is not what the transfers make of it, and what all balances come to.
const BROKEN: &str = "SELECT count(*), (SELECT sum(balance) FROM accounts) FROM accounts a WHERE balance <> 1000 \
    + coalesce((SELECT sum(amount) FROM transfers WHERE taker = a.id), 0) \
    - coalesce((SELECT sum(amount) FROM transfers WHERE giver = a.id), 0)";

/// Makes so many accounts.
fn accounts(count: u32) -> String {
    let rows: Vec<String> = (0..count).map(|id| format!("({id}, 1000, '{id:0100}')")).collect();
    format!("{ACCOUNTS} INSERT INTO accounts VALUES {};", rows.join(", "))
}

/// Transfers without end, until told to stop; does something meanwhile, once the first are done.
fn under_writes<T>(mut client: Command, count: &dyn Fn() -> u64, meanwhile: impl FnOnce() -> T) -> T {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let mut client =
            client.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("start the client");
        let mut input = client.stdin.take().expect("a pipe");
        let stop = &stop;
        scope.spawn(move || {
            for id in 0u64.. {
                let (giver, taker, amount) = (id * 7 % 1000, (id * 13 + 1) % 1000, id % 90);
                let written = writeln!(
                    input,
                    "BEGIN; UPDATE accounts SET balance = balance - {amount} WHERE id = {giver}; \
                     UPDATE accounts SET balance = balance + {amount} WHERE id = {taker}; \
                     INSERT INTO transfers VALUES ({id}, {giver}, {taker}, {amount}); COMMIT;"
                );
                if stop.load(Ordering::Relaxed) || written.is_err() {
                    break;
                }
            }
            drop(input);
            assert!(client.wait().expect("the end of the client").success());
        });
        while count() < 50 {
            thread::yield_now();
        }
        let before = count();
        let done = meanwhile();
        while count() == before {
            thread::yield_now();
        }
        stop.store(true, Ordering::Relaxed);
        done
    })
}

/// The one dump that a backup tells of.
fn dump_of(summary: &Value) -> Value {
    assert_eq!(summary["dumps"].as_array().map(Vec::len), Some(1), "{summary}");
    summary["dumps"][0].clone()
}

/// An address of a MariaDB server as an argument.
fn mysql_url(server: &Mysql, database: &str) -> String {
    format!("mysql://root@{}/{database}", server.folder().join("s").to_str().unwrap().replace('/', "%2F"))
}

#[test]
fn postgres_comes_back_as_it_was_at_one_moment() {
    let what = "restores of PostgreSQL under writes";
    let (Some(server), Some(fresh)) = (Postgres::start(what), Postgres::start(what)) else { return };
    server.sql("postgres", "CREATE ROLE vault LOGIN; CREATE ROLE reader; CREATE DATABASE bank OWNER vault");
    let client = |user: &str| {
        let mut client = server.client("psql", "bank");
        client.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-U", user]);
        client
    };
    server.sql("bank", &format!("SET ROLE vault; {}", accounts(1000)));
    server.sql(
        "bank",
        "GRANT SELECT ON accounts TO reader; CREATE VIEW rich AS SELECT id FROM accounts; \
        CREATE TABLE \"It's\" (n INTEGER); INSERT INTO \"It's\" VALUES (1), (2)",
    );
    let site = Site::new();
    let url = server.url("postgres", "bank");
    let count = || server.sql("bank", "SELECT count(*) FROM transfers").parse().unwrap();
    let backup = under_writes(client("vault"), &count, || site.backup(["--postgres", &url]));
    let rows = &dump_of(&backup)["rows"];

    // The roles are there: everything belongs to whom it did.
    fresh.sql("postgres", "CREATE ROLE vault LOGIN; CREATE ROLE reader");
    let arguments = ["restore", "--service", "latest", "--postgres", &fresh.url("postgres", "bank")];
    let summary = crate::site::last(&site.json(0, arguments));
    let restored = &summary["databases"][0];
    assert_eq!((&restored["created"], &restored["tables"]), (&true.into(), &3.into()), "{summary}");
    for table in ["accounts", "transfers", "It's"] {
        let counted = fresh.sql("bank", &format!("SELECT count(*) FROM \"{table}\""));
        assert_eq!(rows[format!("public.{table}")].to_string(), counted, "{table}");
    }
    assert!(rows["public.transfers"].as_u64().unwrap() >= 50);
    assert_eq!(fresh.sql("bank", BROKEN), "0|1000000");
    let owners = "SELECT string_agg(DISTINCT tableowner, ' ') FROM pg_tables WHERE schemaname = 'public'";
    assert_eq!(fresh.sql("bank", owners), "postgres vault");
    let owner = "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'bank'";
    assert_eq!(fresh.sql("bank", owner), "vault");
    assert_eq!(fresh.sql("bank", "SELECT has_table_privilege('reader', 'accounts', 'SELECT')"), "t");

    // Without a role that has rights, and without one that owns something.
    fresh.sql("bank", "REVOKE ALL ON accounts FROM reader; DROP ROLE reader");
    let said =
        site.run(0, ["restore", "--service", "latest", "--postgres", &fresh.url("postgres", "second")]);
    assert!(said.err().contains("reader") && said.err().contains("createuser"), "{}", said.err());
    assert_eq!(fresh.sql("second", owners), "postgres vault");
    let bare = Postgres::start(what).unwrap();
    let said = site.run(0, ["restore", "--service", "latest", "--postgres", &bare.url("postgres", "bank")]);
    assert!(said.err().contains("has no role vault"), "{}", said.err());
    assert_eq!(bare.sql("bank", owners), "postgres");
    assert_eq!(bare.sql("bank", BROKEN), "0|1000000");

    // An empty database that is there is filled as it is, and each gets its own name where the address names none.
    bare.sql("postgres", "DROP DATABASE bank; CREATE DATABASE bank");
    let summary = crate::site::last(
        &site.json(0, ["restore", "--service", "latest", "--postgres", &bare.url("postgres", "")]),
    );
    assert_eq!(summary["databases"][0]["created"], false);
    assert_eq!(bare.sql("bank", BROKEN), "0|1000000");
}

#[test]
fn clients_on_another_host_get_password_and_dump() {
    let what = "restores behind ssh";
    let (Some(server), Some(ssh)) = (Postgres::start(what), Ssh::start(what)) else { return };
    server
        .sql("postgres", "CREATE ROLE keeper LOGIN SUPERUSER PASSWORD 'hunter2 $HOME'; CREATE DATABASE bank");
    server.sql("bank", &accounts(5000));
    let site = Site::new();
    site.backup(["--postgres", &server.url("postgres", "bank")]);
    let hba = server.folder().join("data/pg_hba.conf");
    let rules = std::fs::read_to_string(&hba).unwrap();
    std::fs::write(&hba, format!("local all keeper scram-sha-256\n{rules}")).unwrap();
    server.sql("postgres", "SELECT pg_reload_conf()");
    let url = server.url("keeper", "back");
    let mut command =
        site.command(["restore", "--service", "latest", "--postgres", &url, "--prefix", &ssh.prefix()]);
    run(command.env("PGPASSWORD", "hunter2 $HOME"), DEADLINE).expect_code(0);
    assert_eq!(server.sql("back", BROKEN), "0|5000000");
}

#[test]
fn a_server_comes_back_with_its_roles() {
    let what = "restores of PostgreSQL with roles";
    let (Some(server), Some(fresh)) = (Postgres::start(what), Postgres::start(what)) else { return };
    server.sql(
        "postgres",
        "CREATE ROLE \"the vault\" LOGIN PASSWORD 'secret'; CREATE ROLE reader; GRANT reader TO \"the vault\"; \
         ALTER ROLE postgres PASSWORD 'theirs'; CREATE ROLE known LOGIN PASSWORD 'theirs'",
    );
    server.sql("postgres", "CREATE DATABASE bank OWNER \"the vault\"");
    server
        .sql("bank", "SET ROLE \"the vault\"; CREATE TABLE t AS SELECT 1 AS n; GRANT SELECT ON t TO reader");
    let site = Site::new();
    site.backup(["--postgres", &server.url("postgres", "")]);
    let password = |server: &Postgres, role: &str| {
        server.sql("postgres", &format!("SELECT rolpassword FROM pg_authid WHERE rolname = '{role}'"))
    };
    fresh.sql("postgres", "CREATE ROLE known LOGIN PASSWORD 'ours'");
    let own = password(&fresh, "known");
    let url = fresh.url("postgres", "");
    let arguments = ["restore", "--service", "latest", "--postgres", &url, "--with-roles"];
    let dry = site.run(0, [&arguments[..], &["--dry-run"]].concat());
    assert!(dry.out().contains("Make the roles reader, the vault"), "{}", dry.out());
    assert_eq!(password(&fresh, "the vault"), "");

    let summary = crate::site::last(&site.json(0, arguments));
    assert_eq!(summary["roles_made"].to_string(), "[\"reader\",\"the vault\"]");
    assert_eq!(password(&fresh, "the vault"), password(&server, "the vault"));
    assert_eq!((password(&fresh, "known"), password(&fresh, "postgres")), (own, String::new()));
    assert_eq!(fresh.sql("bank", "SET ROLE \"the vault\"; SET ROLE reader; SELECT n FROM t"), "1");
    assert_eq!(fresh.sql("bank", "SELECT tableowner FROM pg_tables WHERE tablename = 't'"), "the vault");
    let named =
        site.run(2, ["restore", "--service", "latest", "--mysql", "mysql://localhost/x", "--with-roles"]);
    assert!(named.err().contains("--postgres"), "{}", named.err());
}

#[test]
fn mariadb_comes_back_as_it_was_at_one_moment() {
    let what = "restores of MariaDB under writes";
    let (Some(server), Some(fresh)) = (Mysql::start(what), Mysql::start(what)) else { return };
    server.sql("", "CREATE DATABASE `the bank`");
    server.sql("the bank", &accounts(1000));
    server.sql(
        "the bank",
        "CREATE VIEW rich AS SELECT id FROM accounts; \
        CREATE TRIGGER t BEFORE DELETE ON accounts FOR EACH ROW SIGNAL SQLSTATE '45000'; \
        CREATE PROCEDURE p() SELECT 1; CREATE TABLE odd (b LONGBLOB, t TEXT); \
        INSERT INTO odd VALUES (X'00FF0A0D5C27', 'a\\r\\n\\\\! date'), (NULL, 'é😀')",
    );
    let site = Site::new();
    let count = || server.sql("the bank", "SELECT count(*) FROM transfers").parse().unwrap();
    let mut client = server.client("mariadb");
    client.args(["--batch", "--database=the bank"]);
    let url = mysql_url(&server, "the%20bank");
    let backup = under_writes(client, &count, || site.backup(["--mysql", &url]));
    let rows = &dump_of(&backup)["rows"];

    let arguments = ["restore", "--service", "latest", "--mysql", &mysql_url(&fresh, "new")];
    let summary = crate::site::last(&site.json(0, arguments));
    assert_eq!(summary["databases"][0]["tables"], 3, "{summary}");
    for table in ["accounts", "transfers", "odd"] {
        assert_eq!(
            rows[table].to_string(),
            fresh.sql("new", &format!("SELECT count(*) FROM {table}")),
            "{table}"
        );
    }
    assert_eq!(fresh.sql("new", BROKEN), "0\t1000000");
    let odd = "SELECT HEX(b), HEX(t) FROM odd ORDER BY b IS NULL";
    assert_eq!(fresh.sql("new", odd), server.sql("the bank", odd));
    assert_eq!(fresh.sql("new", "CALL p(); SELECT count(*) FROM rich"), "1\n1000");
    let dry =
        site.run(0, ["restore", "--service", "latest", "--mysql", &mysql_url(&fresh, "third"), "--dry-run"]);
    assert!(
        dry.out().contains("| mariadb ") && dry.out().contains("CREATE DATABASE `third`"),
        "{}",
        dry.out()
    );
    assert!(!fresh.sql("", "SHOW DATABASES").contains("third"));
}

#[test]
fn redis_comes_back_with_every_key() {
    let debug = ["--enable-debug-command", "yes"];
    let Some(mut server) = Redis::start("restores of Redis", &debug, None) else { return };
    server.ask(&["debug", "populate", "3000", "key", "100"]);
    let digest = server.ask(&["debug", "digest"]);
    let site = Site::new();
    let url = server.url("");
    site.backup(["--redis", &url]);
    let arguments = ["restore", "--service", "latest", "--redis-folder", "redis", "--redis", &url];
    std::fs::create_dir(site.join("redis")).unwrap();
    let running = site.run(11, arguments);
    assert!(
        running.err().contains("is in use by") && running.err().contains("stop the server"),
        "{}",
        running.err()
    );
    server.down();
    let said = site.run(0, arguments);
    assert!(said.out().contains("appendonly"), "{}", said.out());
    let file = site.join("redis/dump.rdb");
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o7777, 0o600);
    let content = std::fs::read(&file).unwrap();
    let again = Redis::start("restores of Redis", &debug, Some(&content)).unwrap();
    assert_eq!((again.ask(&["debug", "digest"]), again.ask(&["dbsize"])), (digest, "3000\n".to_owned()));

    // What is there is kept: the log too, which the server would load first.
    site.folder.write("redis/appendonlydir/x", "log");
    let refused = site.run(1, arguments);
    assert!(refused.err().contains("dump.rdb and appendonlydir"), "{}", refused.err());
    let unasked = site.run(1, [&arguments[..], &["--in-place"]].concat());
    assert!(unasked.err().contains("--yes"), "{}", unasked.err());
    site.run(0, [&arguments[..], &["--in-place", "--yes"]].concat());
    let mut names: Vec<String> = std::fs::read_dir(site.join("redis"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names.len(), 3, "{names:?}");
    assert!(names[0].starts_with("appendonlydir.before-restore-") && names[1] == "dump.rdb", "{names:?}");
    assert_eq!(std::fs::read(&file).unwrap(), content);
}
