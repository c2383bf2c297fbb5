//! What keeps a server from being dumped, through the executable: no snapshot, a message with cause and remedy, and a
//! repository that is sound and takes the next backup.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::servers::mysql::Mysql;
use crate::servers::postgres::Postgres;
use crate::servers::redis::Redis;
use crate::site::{DEADLINE, Site, objects};
use crate::support::{SmallDisk, run};

/// Runs a client, and where it dumps, does what is asked for in the middle of the dump or instead of it.
const WRAP: &str = r#"#!/bin/sh
# What is to happen, the word by which a dump is known, the server's process; then the client.
what=$1 dumps=$2 server=$3
shift 3
case " $* " in *" --version "*) exec "$@" ;; *" $dumps "*) ;; *) exec "$@" ;; esac
case $what in
    nothing) exit 0 ;;
    half) "$@" | head -c 1000000; exit 0 ;;
    all-but-the-end) "$@" | head -c -30; exit 0 ;;
esac
mkfifo "$0.$$"
"$@" >"$0.$$" &
client=$!
{
    head -c 1000000
    case $what in
        killed) kill -KILL "$client" ;;
        stopped) kill -QUIT "$server" ;;
        ended) kill -KILL "$server" ;;
        hangs) kill -STOP "$server" $(ps -o pid= --ppid "$server") ;;
    esac
    cat
} <"$0.$$"
rm "$0.$$"
wait "$client"
"#;

/// A repository with one good snapshot of a server, and the ways in which the next may fail.
struct Trial {
    site: Site,
    flag: &'static str,
    url: String,
    /// The word by which a dump is known in a client's command line.
    dumps: &'static str,
    wrap: PathBuf,
}

impl Trial {
    fn new(flag: &'static str, url: String, dumps: &'static str) -> Self {
        let site = Site::new();
        let wrap = site.folder.write("wrap", WRAP);
        let trial = Self { site, flag, url, dumps, wrap };
        trial.good(1);
        trial
    }

    /// A backup that ends well, after which there are so many snapshots and all of them whole.
    #[track_caller]
    fn good(&self, snapshots: usize) {
        self.site.run(0, ["-q", "backup", self.flag, &self.url]);
        assert_eq!(self.site.json(0, ["snapshots"]).len(), snapshots);
        self.site.assert_sound();
    }

    /// A backup of the same server, or of what another address names.
    fn backup(&self, url: Option<&str>, arguments: &[&str]) -> Command {
        let mut command = self.site.command(["--json", "backup", self.flag, url.unwrap_or(&self.url)]);
        command.args(arguments);
        command
    }

    /// The same, in the middle of which something happens.
    fn wrapped(&self, what: &str, server: u32) -> Command {
        let prefix = format!("sh {} {what} {} {server}", self.wrap.display(), self.dumps);
        self.backup(None, &["--database-timeout", "5", "--prefix", &prefix])
    }

    /// Asserts that a backup fails, that its message holds the cause and what to do, and that nothing came of it.
    #[track_caller]
    fn fails(&self, mut command: Command, causes: &[&str], remedy: &str) {
        let before = self.site.count("snapshots");
        let said = objects(&run(&mut command, DEADLINE).expect_code(1));
        let error = said.last().unwrap();
        assert_eq!(error["message_type"], "exit_error", "{said:?}");
        let [message, step] = ["message", "next_step"].map(|field| error[field].as_str().unwrap_or_default());
        assert!(causes.iter().all(|cause| message.contains(cause)), "{error}");
        assert!(step.contains(remedy) && !message.contains("hunter2"), "{error}");
        assert_eq!((self.site.count("snapshots"), self.site.count("sessions")), (before, 0));
        self.site.run(0, ["-q", "check"]);
    }
}

#[test]
fn what_ends_a_dump_of_postgres_makes_no_snapshot() {
    let Some(mut server) = Postgres::start("failures of PostgreSQL through the executable") else { return };
    server.sql(
        "postgres",
        "CREATE TABLE large AS SELECT g, repeat(md5(g::text), 30) AS t FROM generate_series(1, 12000) g;
        CREATE ROLE reader LOGIN PASSWORD 'right';",
    );
    let trial = Trial::new("--postgres", server.url("postgres", "postgres"), "pg_dump");
    let place = ["PostgreSQL at ", "the database postgres of "];

    let hba = server.folder().join("data/pg_hba.conf");
    let rules = fs::read_to_string(&hba).unwrap();
    fs::write(&hba, format!("local all reader scram-sha-256\n{rules}")).unwrap();
    server.sql("postgres", "SELECT pg_reload_conf()");
    let reader = server.url("reader", "postgres");
    let with = |password: &str| {
        let mut command = trial.backup(Some(&reader), &[]);
        command.env("PGPASSWORD", password);
        command
    };
    trial.fails(with("hunter2"), &[place[0], "password authentication failed"], "check the user's name");
    trial.fails(with("right"), &[place[1], "permission denied for table large"], "GRANT SELECT");
    let absent = server.url("postgres", "absent");
    trial.fails(trial.backup(Some(&absent), &[]), &[place[0], "\"absent\" does not exist"], "\\l lists");

    let old = trial.site.folder.write(
        "old",
        "[ \"$1 $2\" != 'pg_dump --version' ] || exec echo 'pg_dump (PostgreSQL) 9.6.24'\nexec \"$@\"\n",
    );
    let old = trial.backup(None, &["--prefix", &format!("sh {}", old.display())]);
    trial.fails(old, &["pg_dump here is 9.6.24"], "install postgresql-client");

    let process = server.process();
    for what in ["nothing", "half", "all-but-the-end"] {
        trial.fails(
            trial.wrapped(what, process),
            &[place[1], "the archive is not whole"],
            "run the backup again",
        );
    }
    trial.fails(trial.wrapped("killed", process), &[place[1], "exit code 137"], "ended from outside");
    let hung = trial.wrapped("hangs", process);
    trial.fails(hung, &[place[1], "nothing came for 5 s"], "pg_stat_activity");
    wake(process);
    trial.fails(trial.wrapped("stopped", process), &[place[1], "connection"], "run again");
    server.down();
    trial.fails(trial.backup(None, &[]), &[place[0]], "whether the server runs");
    server.up();
    trial.good(2);
}

#[test]
fn what_ends_a_dump_of_mariadb_makes_no_snapshot() {
    let Some(mut server) = Mysql::start("failures of MariaDB through the executable") else { return };
    server.sql(
        "",
        "CREATE DATABASE vault; USE vault; CREATE TABLE open (x INT); CREATE TABLE large (id INT PRIMARY KEY, t TEXT);
        INSERT INTO large SELECT seq, REPEAT(MD5(seq), 30) FROM seq_1_to_12000;
        CREATE USER reader@localhost IDENTIFIED BY 'right';
        GRANT TRIGGER, SHOW VIEW, EVENT, LOCK TABLES ON vault.* TO reader@localhost; GRANT SELECT ON vault.open TO reader@localhost;",
    );
    let trial = Trial::new("--mysql", server.url("root", "vault"), "mariadb-dump");
    let place = ["MariaDB or MySQL at ", "the database vault of "];
    let reader = server.url("reader", "vault");
    let with = |password: &str| {
        let mut command = trial.backup(Some(&reader), &[]);
        command.env("MYSQL_PWD", password);
        command
    };
    trial.fails(with("hunter2"), &[place[0], "Access denied"], "check the user and the password");
    trial.fails(with("right"), &[place[1], "denied", "large"], "GRANT SELECT");
    let absent = server.url("root", "absent");
    trial.fails(trial.backup(Some(&absent), &[]), &[place[0], "Unknown database `absent`"], "SHOW DATABASES");

    let old = trial.site.folder.write(
        "clients/mariadb-dump",
        "#!/bin/sh\n[ \"$*\" = --version ] && exec echo 'mariadb-dump  Ver 10.13 Distrib 5.5.68-MariaDB, for Linux'\nexit 9\n",
    );
    run(Command::new("chmod").arg("+x").arg(&old), DEADLINE).expect_code(0);
    let mut command = trial.backup(None, &[]);
    let searched = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(trial.site.join("clients")).chain(std::env::split_paths(&searched));
    command.env("PATH", std::env::join_paths(folders).unwrap());
    trial.fails(
        command,
        &["the dump program here is of MariaDB 5.5.68", "too old"],
        "install MariaDB's clients",
    );

    let process = server.process();
    for what in ["nothing", "half", "all-but-the-end"] {
        trial.fails(
            trial.wrapped(what, process),
            &[place[1], "its last line is not that of a dump that was completed"],
            "run the backup again",
        );
    }
    trial.fails(trial.wrapped("killed", process), &[place[1], "exit code 137"], "ended from outside");
    trial.fails(trial.wrapped("hangs", process), &[place[1], "nothing came for 5 s"], "SHOW PROCESSLIST");
    wake(process);
    trial.fails(trial.wrapped("ended", process), &[place[1], "Lost connection"], "run again");
    server.down();
    trial.fails(trial.backup(None, &[]), &[place[0], "Can't connect"], "listens");
    server.up();
    trial.good(2);
}

#[test]
fn what_ends_a_dump_of_redis_makes_no_snapshot() {
    let settings = ["--enable-debug-command", "yes", "--rdbcompression", "no"];
    let Some(mut server) = Redis::start("failures of Redis through the executable", &settings, None) else {
        return;
    };
    server.ask(&["debug", "populate", "60000", "key", "200"]);
    server.ask(&["acl", "setuser", "weak", "on", ">right", "+@all", "-sync", "-psync", "-replconf"]);
    let trial = Trial::new("--redis", server.url(""), "--rdb");
    let place = "Redis at ";
    let weak = server.url("weak");
    let with = |password: &str| {
        let mut command = trial.backup(Some(&weak), &[]);
        command.env("REDISCLI_AUTH", password);
        command
    };
    trial.fails(with("hunter2"), &[place, "WRONGPASS"], "check the user and the password");
    trial.fails(with("right"), &[place, "NOPERM"], "+sync");
    let process = server.process();
    for what in ["nothing", "half", "all-but-the-end"] {
        let cut = trial.wrapped(what, process);
        trial.fails(cut, &[place, "the RDB file is cut"], "run the backup again");
    }
    trial.fails(trial.wrapped("killed", process), &[place, "exit code 137"], "ended from outside");
    trial.fails(trial.wrapped("hangs", process), &[place, "nothing came for 5 s"], "hangs");
    wake(process);
    trial.good(2);
    trial.fails(trial.wrapped("ended", process), &[place], "run again");
    server.down();
    trial.fails(trial.backup(None, &[]), &[place, "Could not connect"], "listens");
}

/// Lets a server that was stopped go on, and all that it started.
fn wake(server: u32) {
    let script = "kill -CONT \"$1\" $(ps -o pid= --ppid \"$1\")";
    run(Command::new("sh").args(["-c", script, "sh", &server.to_string()]), DEADLINE).expect_code(0);
}

/// Rows that come to some 90 MB in a dump and hardly compress: more than two packs.
const NOISE: u64 = 30_000;

#[test]
fn a_disk_that_is_full_in_the_middle_of_a_dump_of_postgres_harms_nothing() {
    let Some(server) = Postgres::start("a full disk under a dump of PostgreSQL") else { return };
    server.sql(
        "postgres",
        &format!(
            "CREATE TABLE large (id int PRIMARY KEY, t text);
            INSERT INTO large SELECT g, (SELECT string_agg(encode(sha512((g || '.' || h)::bytea), 'base64'), '')
            FROM generate_series(1, 34) h) FROM generate_series(1, {NOISE}) g;"
        ),
    );
    full_disk("--postgres", &server.url("postgres", "postgres"), "a full disk under a dump of PostgreSQL");
}

#[test]
fn a_disk_that_is_full_in_the_middle_of_a_dump_of_mariadb_harms_nothing() {
    let Some(server) = Mysql::start("a full disk under a dump of MariaDB") else { return };
    let hashes =
        (1..=34).map(|number| format!("SHA2(CONCAT(seq, '.{number}'), 512)")).collect::<Vec<_>>().join(", ");
    server.sql(
        "",
        &format!(
            "CREATE DATABASE vault; USE vault; CREATE TABLE large (id INT PRIMARY KEY, t TEXT);
            INSERT INTO large SELECT seq, REPLACE(TO_BASE64(UNHEX(CONCAT({hashes}))), '\\n', '') FROM seq_1_to_{NOISE};",
        ),
    );
    full_disk("--mysql", &server.url("root", "vault"), "a full disk under a dump of MariaDB");
}

/// A dump for which the repository has no room, until it has.
#[track_caller]
fn full_disk(flag: &str, url: &str, what: &str) {
    let site = Site::new();
    let held = site.join("held");
    fs::rename(site.join("repo"), &held).unwrap();
    fs::create_dir(site.join("repo")).unwrap();
    let Some(disk) = SmallDisk::mount(&site.join("repo"), 48 << 20, what) else { return };
    run(Command::new("cp").arg("-a").arg(held.join(".")).arg(site.join("repo")), DEADLINE).expect_code(0);
    site.folder.write("data/file", "kept");
    site.run(0, ["-q", "backup", "data"]);
    let mut command = site.command(["--json", "backup", flag, url]);
    let said = objects(&run(&mut command, DEADLINE).expect_code(1));
    let error: &Value = said.last().unwrap();
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("No space left on device") && message.contains("repo"), "{error}");
    assert!(error["next_step"].as_str().unwrap().contains("free some space"), "{error}");
    assert_eq!(site.json(0, ["snapshots"]).len(), 1);
    assert_eq!(site.count("sessions"), 0);
    site.assert_sound();

    disk.resize(400 << 20);
    let lines = site.json(0, ["backup", flag, url]);
    let dump = &lines.last().unwrap()["dumps"][0];
    assert!(dump["size"].as_u64().unwrap() > 80 << 20, "{dump}");
    let rows = dump["rows"].as_object().unwrap();
    assert_eq!(rows.values().map(|rows| rows.as_u64().unwrap()).collect::<Vec<_>>(), [NOISE]);
    assert_eq!(site.json(0, ["snapshots"]).len(), 2);
    site.assert_sound();
}
