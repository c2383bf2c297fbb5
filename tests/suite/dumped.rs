//! Database servers through the executable: a dump lies in the snapshot beside the files and comes back by the server's
//! own client; a Vaultwarden on a server is proved whole; what fails makes no snapshot.

use std::fs;

use serde_json::Value;

use crate::servers::mysql::Mysql;
use crate::servers::postgres::Postgres;
use crate::servers::redis::Redis;
use crate::servers::ssh::Ssh;
use crate::site::{DEADLINE, Site};
use crate::support::run;
use crate::traced::{can_trace, traced};

/// What of Vaultwarden's schema tells which files there are, for both kinds of server.
pub(crate) const VAULTWARDEN: &str = "
    CREATE TABLE users (uuid CHAR(36) PRIMARY KEY, email TEXT);
    CREATE TABLE ciphers (uuid CHAR(36) PRIMARY KEY, updated_at TIMESTAMP NULL);
    CREATE TABLE attachments (id VARCHAR(40) PRIMARY KEY, cipher_uuid CHAR(36), file_name TEXT, file_size BIGINT);
    CREATE TABLE sends (uuid CHAR(36) PRIMARY KEY, atype INTEGER, data TEXT, revision_date TIMESTAMP NULL);
    CREATE TABLE __diesel_schema_migrations (version VARCHAR(50) PRIMARY KEY, run_on TIMESTAMP NULL);
    INSERT INTO __diesel_schema_migrations VALUES ('20260101000000', '2026-01-01 00:00:00');
    INSERT INTO users VALUES ('u', 'a@example.org');
    INSERT INTO ciphers VALUES ('c', '2026-01-01 00:00:00');
    INSERT INTO attachments VALUES ('a1', 'c', 'n', 5), ('a2', 'c', 'n', 3);
    INSERT INTO sends VALUES ('s', 1, '{\"id\":\"f\",\"size\":2}', '2026-01-01 00:00:00');
";

/// A data folder whose settings name a database on a server.
pub(crate) fn data_folder(site: &Site, url: &str) {
    site.folder.write("data/config.json", format!("{{\"database_url\": \"{url}\"}}"));
    site.folder.write("data/rsa_key.pem", "key");
    site.folder.write("data/attachments/c/a1", "12345");
    site.folder.write("data/attachments/c/a2", "123");
    site.folder.write("data/sends/s/f", "12");
}

pub(crate) fn summary(lines: &[Value]) -> &Value {
    lines.iter().find(|line| line["message_type"] == "summary").expect("a summary")
}

/// Stores the Vaultwarden, then loses an attachment and stores it again.
fn proves_its_files(site: &Site, place: &str) {
    let lines = site.json(0, ["backup", "--vaultwarden", "data"]);
    let service = &summary(&lines)["service"];
    assert_eq!(
        (&service["whole"], &service["files_proved"]),
        (&Value::from(true), &Value::from(3)),
        "{service}"
    );
    assert_eq!(service["schema_version"], "20260101000000");
    let dump = &summary(&lines)["dumps"][0];
    assert_eq!(dump["path"], place);
    assert_eq!(site.run(0, ["dump", "latest", "/attachments/c/a1"]).stdout, b"12345");

    fs::remove_file(site.join("data/attachments/c/a1")).unwrap();
    let lost = site.run(3, ["backup", "--vaultwarden", "data"]);
    assert!(lost.err().contains("attachments/c/a1"), "{}", lost.err());
    let lines = site.json(3, ["backup", "--vaultwarden", "data"]);
    assert_eq!(summary(&lines)["service"]["whole"], false);
    site.assert_sound();
}

#[test]
fn a_postgres_database_lies_beside_the_files_and_comes_back() {
    let Some(server) = Postgres::start("backups of PostgreSQL through the executable") else { return };
    server.sql("postgres", "CREATE DATABASE vault");
    server.sql(
        "vault",
        "CREATE TABLE items AS SELECT n, repeat(md5(n::text), 9) AS t FROM generate_series(1, 5000) AS n",
    );
    let site = Site::new();
    site.folder.write("data/file", "kept");
    let url = format!("postgresql://postgres@/vault?host={}", server.folder().display());
    let lines = site.json(0, ["backup", "data", "--postgres", &url]);
    let dump = &summary(&lines)["dumps"][0];
    assert_eq!(
        (&dump["path"], &dump["rows"]["public.items"]),
        (&"/postgres/vault.dump".into(), &5000.into())
    );
    let listed = site.run(0, ["ls", "latest"]);
    assert!(
        listed.out().contains("/data/file") && listed.out().contains("/postgres/vault.dump"),
        "{}",
        listed.out()
    );

    // As a person would, without us.
    let content = site.run(0, ["dump", "latest", "/postgres/vault.dump"]).stdout;
    let file = server.folder().join("back.dump");
    fs::write(&file, content).unwrap();
    server.sql("postgres", "CREATE DATABASE back");
    let mut restore = server.client("pg_restore", "back");
    run(restore.arg("--exit-on-error").arg(&file), DEADLINE).expect_code(0);
    assert_eq!(server.sql("back", "SELECT count(*) FROM items").trim(), "5000");

    // The second night shares what did not change, and a dump that shrank is told.
    server.sql("vault", "UPDATE items SET t = 'changed' WHERE n = 7");
    let lines = site.json(0, ["backup", "data", "--postgres", &url]);
    let added = summary(&lines)["data_added"].as_u64().unwrap();
    assert!(added < dump["size"].as_u64().unwrap() / 2, "{added}");
    server.sql("vault", "DELETE FROM items WHERE n > 10");
    let shrunk = site.run(3, ["backup", "data", "--postgres", &url]);
    assert!(shrunk.err().contains("--accept-smaller-dump"), "{}", shrunk.err());
    // Told until somebody says that it is right.
    site.run(3, ["backup", "data", "--postgres", &url]);
    site.run(0, ["backup", "data", "--postgres", &url, "--accept-smaller-dump"]);
    site.run(0, ["backup", "data", "--postgres", &url]);
    site.assert_sound();
}

#[test]
fn what_cannot_be_dumped_makes_no_snapshot() {
    let Some(server) = Postgres::start("failing backups of PostgreSQL through the executable") else {
        return;
    };
    let site = Site::new();
    let url = |rest: &str| format!("postgresql://postgres@/{rest}host={}", server.folder().display());
    let refused = site.run(1, ["backup", "--postgres", "postgresql://postgres:hunter2@localhost/vault"]);
    assert!(refused.err().contains("PGPASSWORD") && !refused.err().contains("hunter2"), "{}", refused.err());
    let missing = site.run(1, ["backup", "--postgres", &url("nothing?")]);
    assert!(missing.err().contains("does not exist"), "{}", missing.err());
    let absent = site.run(1, ["backup", "--postgres", "postgresql://postgres@/vault?host=/nowhere"]);
    assert!(absent.err().contains("/nowhere"), "{}", absent.err());
    let prefixed = site.run(1, ["backup", "--postgres", &url("postgres?"), "--prefix", "false"]);
    assert!(prefixed.err().contains("false"), "{}", prefixed.err());
    site.run(0, ["backup", "--postgres", &url("postgres?"), "--prefix", "env"]);
    assert_eq!(site.json(0, ["snapshots"]).len(), 1);
    site.assert_sound();
}

#[test]
fn between_a_server_and_the_repository_there_are_pipes_alone() {
    let what = "what the dump of a server writes";
    if !can_trace(what) {
        return;
    }
    let (Some(postgres), Some(mysql)) = (Postgres::start(what), Mysql::start(what)) else { return };
    let Some(redis) = Redis::start(what, &[], None) else { return };
    postgres.sql("postgres", "CREATE TABLE t AS SELECT n, md5(n::text) FROM generate_series(1, 100000) AS n");
    mysql.sql(
        "",
        "CREATE DATABASE d; USE d; CREATE TABLE t AS SELECT seq, MD5(seq) AS x FROM seq_1_to_100000",
    );
    redis.ask(&["eval", "for n = 1, 30000 do redis.call('set', n, string.rep(n, 20)) end", "0"]);
    for (flag, url) in [
        ("--postgres", postgres.url("postgres", "postgres")),
        ("--mysql", mysql.url("root", "d")),
        ("--redis", redis.url("")),
    ] {
        let site = Site::new();
        let calls = traced(
            &site,
            &[],
            "open,openat,openat2,creat,memfd_create,rename,renameat,renameat2,link,linkat",
            &["backup", flag, &url],
        );
        let ours = [site.join("repo"), site.join("home/.cache/strongroom")];
        let mut stored = 0;
        for call in calls.iter().filter(|call| call.succeeded()) {
            assert_ne!(call.name, "memfd_create", "{}", call.text);
            let writes =
                ["O_WRONLY", "O_RDWR", "O_CREAT", "O_TMPFILE"].iter().any(|word| call.text.contains(word));
            if call.name.starts_with("open") && !writes {
                continue;
            }
            // Where it lies: behind the arrow of an opened file, or below the folder that was open before.
            let path = call.text.rsplit_once('<').map_or(call.text.as_str(), |(_, path)| path);
            assert!(
                path.starts_with("/dev/")
                    || ours.iter().any(|folder| call.text.contains(folder.to_str().unwrap())),
                "{}",
                call.text
            );
            stored += usize::from(call.text.contains("/packs"));
        }
        assert!(stored > 0, "the trace saw no pack");
        assert_eq!(fs::read_dir(site.join("tmp")).unwrap().count(), 0);
    }
}

#[test]
fn a_vaultwarden_on_postgres_is_proved_whole() {
    let Some(server) = Postgres::start("a Vaultwarden on PostgreSQL") else { return };
    server.sql("postgres", "CREATE DATABASE vault");
    server.sql("vault", VAULTWARDEN);
    let site = Site::new();
    data_folder(&site, &format!("postgresql://postgres:unused@/vault?host={}", server.folder().display()));
    proves_its_files(&site, "/postgres/vault.dump");
}

#[test]
fn a_vaultwarden_on_mariadb_is_proved_whole() {
    let Some(server) = Mysql::start("a Vaultwarden on MariaDB") else { return };
    server.sql("", "CREATE DATABASE vault");
    server.sql("vault", VAULTWARDEN);
    let socket = server.folder().join("s").to_str().unwrap().replace('/', "%2F");
    let site = Site::new();
    data_folder(&site, &format!("mysql://root@{socket}/vault"));
    proves_its_files(&site, "/mysql/vault.sql");
}

#[test]
fn clients_run_on_another_host_and_get_their_passwords_there() {
    let what = "clients behind ssh";
    let (Some(server), Some(ssh)) = (Postgres::start(what), Ssh::start(what)) else { return };
    server.sql("postgres", "CREATE DATABASE \"it's here\"");
    server.sql("it's here", "CREATE TABLE t AS SELECT n FROM generate_series(1, 100) AS n");
    let site = Site::new();
    let url = format!("postgresql://postgres@/it's%20here?host={}", server.folder().display());
    let mut command = site.command(["backup", "--postgres", &url, "--prefix", &ssh.prefix()]);
    command.env("PGPASSWORD", "hunter2 $HOME 'quoted'");
    run(&mut command, DEADLINE).expect_code(0);
    assert!(site.run(0, ["ls", "latest"]).out().contains("/postgres/it's here.dump"));

    // With a password that counts.
    server.sql("postgres", "CREATE ROLE keeper LOGIN SUPERUSER PASSWORD 'hunter2 $HOME \"x\"'");
    let hba = server.folder().join("data/pg_hba.conf");
    let rules = fs::read_to_string(&hba).unwrap();
    fs::write(&hba, format!("local all keeper scram-sha-256\n{rules}")).unwrap();
    server.sql("postgres", "SELECT pg_reload_conf()");
    let url = url.replace("postgres@", "keeper@");
    let arguments = ["backup", "--postgres", &url, "--prefix", &ssh.prefix()];
    for (password, code) in [("hunter2 $HOME \"x\"", 0), ("hunter3", 1)] {
        let mut command = site.command(arguments);
        command.env("PGPASSWORD", password);
        let outcome = run(&mut command, DEADLINE).expect_code(code);
        assert!(!outcome.err().contains("hunter"), "{}", outcome.err());
    }
    let mut gone =
        site.command(["backup", "--postgres", &url, "--prefix", "ssh -o BatchMode=yes no-such-host.invalid"]);
    let outcome = run(&mut gone, DEADLINE).expect_code(1);
    assert!(outcome.err().contains("no-such-host"), "{}", outcome.err());
    assert_eq!(site.json(0, ["snapshots"]).len(), 2);
    site.assert_sound();
}
