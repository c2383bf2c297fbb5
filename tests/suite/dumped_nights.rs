//! Night after night while others write, through the executable: each dump comes back by the server's own client on another
//! server, its rows are those that the manifest names, and what belongs together is of one moment.
//!
//! The writers move coins between accounts. The sum never changes, and each transfer leaves a line behind and is counted.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::servers::mysql::Mysql;
use crate::servers::postgres::Postgres;
use crate::servers::redis::Redis;
use crate::site::{DEADLINE, Site};
use crate::support::run_with_input;

/// Accounts, with a hundred coins each.
const ACCOUNTS: u64 = 500;
/// How often a night is tried: on a machine that is busy enough, a writer's transaction may take longer than MariaDB's
/// lock is waited for, and then not all rows can be counted.
const NIGHTS: usize = 3;
const TRIES: usize = 12;

/// The tables, for both kinds of SQL; the ballast is what makes a dump take its time.
const TABLES: &str = "
    CREATE TABLE accounts (id INT PRIMARY KEY, coins BIGINT NOT NULL, ballast TEXT);
    CREATE TABLE transfers (number BIGINT PRIMARY KEY, giver INT NOT NULL, taker INT NOT NULL, coins BIGINT NOT NULL);
    CREATE TABLE counter (transfers BIGINT NOT NULL);
    INSERT INTO counter VALUES (0);
";
/// Coins that there should be and are not, transfers that were not counted, and coins that no transfer explains.
const AMISS: &str = "SELECT (SELECT sum(coins) FROM accounts) - 50000;
    SELECT (SELECT count(*) FROM transfers) - (SELECT transfers FROM counter);
    SELECT count(*) FROM accounts a WHERE coins <> 100
    + (SELECT coalesce(sum(coins), 0) FROM transfers t WHERE taker = a.id)
    - (SELECT coalesce(sum(coins), 0) FROM transfers t WHERE giver = a.id);";

/// A client that is told to move coins again and again.
struct Writer {
    stop: Arc<AtomicBool>,
    written: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Writer {
    fn start(mut client: Command, transfer: impl Fn(u64, u64, u64) -> String + Send + 'static) -> Self {
        let (stop, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (asked, done) = (Arc::clone(&stop), Arc::clone(&written));
        let thread = thread::spawn(move || {
            let mut client =
                client.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("start the writer");
            let mut input = client.stdin.take().expect("a pipe");
            let mut number = 0;
            while !asked.load(Ordering::Relaxed) {
                number += 1;
                let (giver, taker) = (number * 7 % ACCOUNTS, number * 11 % ACCOUNTS);
                input.write_all(transfer(number, giver, taker).as_bytes()).expect("it reads");
                done.store(number, Ordering::Relaxed);
            }
            drop(input);
            assert!(client.wait().expect("the writer's end").success());
        });
        Self { stop, written, thread }
    }

    /// Waits until more was written.
    fn goes_on(&self) {
        let before = self.written.load(Ordering::Relaxed);
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.written.load(Ordering::Relaxed) < before + 50 {
            assert!(Instant::now() < deadline && !self.thread.is_finished(), "nobody writes");
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the writer ends well");
    }
}

/// Backs a server up while the writer writes, until there are three nights that can be told apart and are `good`.
fn nights(site: &Site, writer: &Writer, flag: &str, url: &str, good: impl Fn(&Value) -> bool) -> Vec<Value> {
    let mut found = 0;
    for _ in 0..TRIES {
        writer.goes_on();
        let summary = site.backup([flag, url]);
        found += usize::from(good(&summary["dumps"][0]));
        if found == NIGHTS {
            break;
        }
    }
    assert_eq!(found, NIGHTS);
    let listed = site.json(0, ["snapshots"]);
    listed.into_iter().filter(|snapshot| good(&snapshot["dumps"][0])).collect()
}

/// What a snapshot holds of a server, by the path that its manifest names.
fn content(site: &Site, snapshot: &Value) -> Vec<u8> {
    let [id, path] = [&snapshot["id"], &snapshot["dumps"][0]["path"]].map(|value| value.as_str().unwrap());
    let content = site.run(0, ["dump", id, path]).stdout;
    assert_eq!(snapshot["dumps"][0]["size"], content.len());
    content
}

/// Asserts that a database that came back is that of one moment, with the rows that the manifest names; gives how many
/// transfers there were until then.
#[track_caller]
fn holds(snapshot: &Value, schema: &str, sql: impl Fn(&str) -> String) -> u64 {
    assert_eq!(sql(AMISS), "0\n0\n0");
    let rows = snapshot["dumps"][0]["rows"].as_object().unwrap();
    assert_eq!(rows.len(), 3, "{snapshot}");
    for table in ["accounts", "transfers", "counter"] {
        let count: u64 = sql(&format!("SELECT count(*) FROM {table};")).parse().unwrap();
        assert_eq!(rows[&format!("{schema}{table}")], count, "{table}");
    }
    sql("SELECT transfers FROM counter;").parse().unwrap()
}

/// Asserts that time went on from night to night.
#[track_caller]
fn rise(transfers: &[u64]) {
    assert_eq!(transfers.len(), NIGHTS);
    assert!(transfers[0] > 0 && transfers.is_sorted_by(|one, other| one < other), "{transfers:?}");
}

#[test]
fn nights_of_postgres_under_writes_come_back_on_another_server() {
    let what = "nights of PostgreSQL under writes";
    let Some(server) = Postgres::start(what) else { return };
    server.sql("postgres", "CREATE DATABASE bank");
    let fill = format!(
        "INSERT INTO accounts SELECT g - 1, 100, repeat(md5(g::text), 300) FROM generate_series(1, {ACCOUNTS}) g;"
    );
    server.sql("bank", &format!("{TABLES}{fill}"));
    let mut client = server.client("psql", "bank");
    client.args(["-X", "-q", "-v", "ON_ERROR_STOP=1"]);
    let writer = Writer::start(client, move_coins);
    let site = Site::new();
    let snapshots = nights(&site, &writer, "--postgres", &server.url("postgres", "bank"), |_| true);
    writer.stop();

    let fresh = Postgres::start(what).unwrap();
    let mut transfers = Vec::new();
    for (number, snapshot) in snapshots.iter().enumerate() {
        let name = format!("bank{number}");
        fresh.sql("postgres", &format!("CREATE DATABASE {name}"));
        let mut restore = fresh.client("pg_restore", &name);
        run_with_input(restore.arg("--exit-on-error"), &content(&site, snapshot), DEADLINE).expect_code(0);
        transfers.push(holds(snapshot, "public.", |question| fresh.sql(&name, question)));
    }
    rise(&transfers);
    site.assert_sound();
}

#[test]
fn nights_of_mariadb_under_writes_come_back_on_another_server() {
    let what = "nights of MariaDB under writes";
    let Some(server) = Mysql::start(what) else { return };
    let fill =
        format!("INSERT INTO accounts SELECT seq - 1, 100, REPEAT(MD5(seq), 300) FROM seq_1_to_{ACCOUNTS};");
    server.sql("", &format!("CREATE DATABASE bank; USE bank; {TABLES}{fill}"));
    let mut client = server.client("mariadb");
    client.args(["--batch", "--database=bank"]);
    let writer = Writer::start(client, move_coins);
    let site = Site::new();
    // A night in which the lock was not to be had is whole as well, but not every table could be counted.
    let counted = |dump: &Value| dump["rows"].as_object().unwrap().len() == 3;
    let snapshots = nights(&site, &writer, "--mysql", &server.url("root", "bank"), counted);
    writer.stop();

    let fresh = Mysql::start(what).unwrap();
    let mut transfers = Vec::new();
    for (number, snapshot) in snapshots.iter().enumerate() {
        let name = format!("bank{number}");
        fresh.sql("", &format!("CREATE DATABASE {name}"));
        let mut client = fresh.client("mariadb");
        client.arg(format!("--database={name}"));
        run_with_input(&mut client, &content(&site, snapshot), DEADLINE).expect_code(0);
        transfers.push(holds(snapshot, "", |question| fresh.sql(&name, question)));
    }
    rise(&transfers);
    site.assert_sound();
}

/// One transfer in SQL.
fn move_coins(number: u64, giver: u64, taker: u64) -> String {
    let coins = number % 5 + 1;
    format!(
        "START TRANSACTION; UPDATE accounts SET coins = coins - {coins} WHERE id = {giver};
        UPDATE accounts SET coins = coins + {coins} WHERE id = {taker};
        INSERT INTO transfers VALUES ({number}, {giver}, {taker}, {coins});
        UPDATE counter SET transfers = transfers + 1; COMMIT;\n"
    )
}

#[test]
fn nights_of_redis_under_writes_come_back_on_another_server() {
    let what = "nights of Redis under writes";
    let Some(server) = Redis::start(what, &["--enable-debug-command", "yes"], None) else { return };
    server.ask(&["debug", "populate", "20000", "ballast", "500"]);
    let fill = format!(
        "for id = 0, {ACCOUNTS} - 1 do redis.call('hset', 'accounts', id, 100) end redis.call('set', 'counter', 0)"
    );
    server.ask(&["eval", &fill, "0"]);
    let script = "redis.call('hincrby', KEYS[1], ARGV[1], -3) redis.call('hincrby', KEYS[1], ARGV[2], 3) \
        redis.call('rpush', KEYS[2], ARGV[1] .. ' ' .. ARGV[2]) redis.call('incr', KEYS[3])";
    let digest = server.ask(&["script", "load", script]).trim().to_owned();
    let writer = Writer::start(server.client(), move |_, giver, taker| {
        format!("EVALSHA {digest} 3 accounts transfers counter {giver} {taker}\n")
    });
    let site = Site::new();
    let snapshots = nights(&site, &writer, "--redis", &server.url(""), |_| true);
    writer.stop();

    let mut transfers = Vec::new();
    for snapshot in &snapshots {
        let fresh = Redis::start(what, &[], Some(&content(&site, snapshot))).unwrap();
        let sum = "local sum = 0 for _, coins in ipairs(redis.call('hvals', 'accounts')) do sum = sum + coins end return sum";
        assert_eq!(fresh.ask(&["eval", sum, "0"]).trim(), (ACCOUNTS * 100).to_string());
        let ask = |words: &[&str]| fresh.ask(words).trim().parse::<u64>().unwrap();
        assert_eq!(ask(&["llen", "transfers"]), ask(&["get", "counter"]));
        // All keys were there throughout.
        assert_eq!(ask(&["dbsize"]), 20_003);
        let said = snapshot["dumps"][0]["messages"].to_string();
        assert!(said.contains("20003 keys before the dump and 20003 after it"), "{said}");
        transfers.push(ask(&["get", "counter"]));
    }
    rise(&transfers);
    site.assert_sound();
}
