//! What is dumped comes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use strongroom::format::snapshot::DumpKind;

use super::{Taken, options, restore, rows, take};
use crate::servers::mysql::Mysql;

/// Tables, views and programs of many kinds, and texts that look like something else.
const SCHEMA: &str = r#"
CREATE TABLE users (id INT PRIMARY KEY, name TEXT, photo BLOB, g INT AS (id + 1));
INSERT INTO users (id, name, photo) SELECT seq, CONCAT('it''s \\ "),(" ', seq, '\n-- Dump completed\n'), X'0A5C2700FF' FROM seq_1_to_3000;
CREATE TABLE `od``d ;(` (x TEXT);
INSERT INTO `od``d ;(` VALUES (''), (NULL), ('NULL'), ('INSERT INTO `users` VALUES (1);'), ('é🔑');
CREATE TABLE hollow (x INT COMMENT 'a;b');
CREATE TABLE old (x INT) ENGINE=MyISAM;
INSERT INTO old VALUES (1), (2);
CREATE TABLE kept (x INT) WITH SYSTEM VERSIONING;
INSERT INTO kept VALUES (1), (2); DELETE FROM kept WHERE x = 1;
CREATE TABLE log (x INT); INSERT INTO log SELECT seq FROM seq_1_to_50;
CREATE VIEW seen AS SELECT id, ';*/ INSERT INTO `users` VALUES (1)' AS t FROM users;
CREATE SEQUENCE numbers;
CREATE TRIGGER tr BEFORE INSERT ON log FOR EACH ROW SET NEW.x = NEW.x;
CREATE EVENT ev ON SCHEDULE EVERY 1 DAY DO INSERT INTO log VALUES (1);
DELIMITER //
CREATE PROCEDURE p() BEGIN INSERT INTO log VALUES (1); SELECT 'a;b', "-- x", '/*'; END//
CREATE FUNCTION f() RETURNS INT DETERMINISTIC RETURN 7//
DELIMITER ;
"#;

#[test]
fn a_database_comes_back_with_all_that_it_held() {
    let Some(server) = Mysql::start("dumps of MariaDB") else { return };
    server.sql(
        "",
        "CREATE DATABASE `va/ult`; CREATE DATABASE globals; CREATE USER reader@localhost IDENTIFIED BY 'x';",
    );
    server.sql("va/ult", SCHEMA);
    let mut options = options();
    options.without_rows = vec!["log".to_owned(), "nothing".to_owned()];
    options.questions = vec![
        "SELECT id, NULL, 'NULL', 'a<b&\\'\"' FROM users WHERE id < 3 ORDER BY id;".to_owned(),
        "SELECT 1 FROM users WHERE FALSE".to_owned(),
    ];
    let taken = take(server.address("root", "va%2Fult"), options).unwrap();
    assert_eq!(taken.len(), 1, "a database that is named is taken alone");
    let dump = &taken[0];
    assert_eq!(dump.place, "mysql/va%2Fult.sql");
    let report = &dump.finished.report;
    assert_eq!((report.kind, report.database.as_deref()), (DumpKind::Mysql, Some("va/ult")));
    assert!(report.server.as_deref().unwrap().starts_with("MariaDB "));
    assert_eq!(report.bytes, dump.content.len() as u64);
    for (table, number) in [("users", 3000), ("od`d ;(", 5), ("hollow", 0), ("kept", 1)] {
        assert_eq!(rows(dump, table), number, "{table}");
    }
    assert_eq!((report.tables.len(), &report.without_rows[..]), (4, &["log".to_owned()][..]));
    let said = report.messages.join("\n");
    assert!(said.contains("no table is called nothing") && said.contains("old: their engine"), "{said}");
    let text = |text: &str| Some(text.to_owned());
    let answers = &dump.finished.answers;
    assert_eq!(answers[0][1], [text("2"), None, text("NULL"), text("a<b&'\"")]);
    assert!(answers[1].is_empty() && answers.len() == 2);
    restore(&server, "back", &dump.content);
    for table in ["users", "`od``d ;(`", "hollow", "old", "seen"] {
        let sum = |database: &str| {
            server
                .sql(database, &format!("SELECT count(*) FROM {table}; CHECKSUM TABLE {table}"))
                .replace(database, "")
        };
        assert_eq!(sum("back"), sum("va/ult"), "{table}");
    }
    assert_eq!(server.sql("back", "SELECT count(*) FROM log; SELECT * FROM kept"), "0\n2");
    assert_eq!(server.sql("back", "SELECT f(); SHOW EVENTS; SHOW TRIGGERS").lines().count(), 3);
    assert_eq!(take(server.address("root", "va%2Fult"), self::options()).unwrap()[0].content, {
        take(server.address("root", "va%2Fult"), self::options()).unwrap().remove(0).content
    });
    all_databases(&server);
}

/// Without a name all databases are taken, and the users.
fn all_databases(server: &Mysql) {
    let taken = take(server.address("root", ""), options()).unwrap();
    let places: Vec<&str> = taken.iter().map(|dump| dump.place.as_str()).collect();
    assert_eq!(places, ["mysql/back.sql", "mysql/%67lobals.sql", "mysql/va%2Fult.sql", "mysql/globals.sql"]);
    let users = taken.last().unwrap();
    assert_eq!(users.finished.report.kind, DumpKind::MysqlGlobals);
    let text = String::from_utf8_lossy(&users.content);
    assert!(text.contains("CREATE USER `reader`@`localhost`"), "{text}");
}

#[test]
fn what_belongs_together_comes_back_together_while_others_write() {
    let Some(server) = Mysql::start("dumps of MariaDB under writes") else { return };
    let server = Arc::new(server);
    server.sql("", "CREATE DATABASE bank");
    server.sql(
        "bank",
        "CREATE TABLE a (id INT PRIMARY KEY AUTO_INCREMENT, x TEXT); CREATE TABLE b LIKE a;
        INSERT INTO a SELECT seq, REPEAT('x', 500) FROM seq_1_to_5000; INSERT INTO b SELECT * FROM a;",
    );
    let (stop, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let writers: Vec<_> = (0..2)
        .map(|_| {
            let (server, stop, written) = (Arc::clone(&server), Arc::clone(&stop), Arc::clone(&written));
            thread::spawn(move || {
                let pair = "START TRANSACTION; INSERT INTO a (x) VALUES ('n'); INSERT INTO b (x) VALUES ('n'); COMMIT;\n";
                let mut longest = Duration::ZERO;
                while !stop.load(Ordering::Relaxed) {
                    let since = Instant::now();
                    server.sql("bank", &pair.repeat(20));
                    longest = longest.max(since.elapsed());
                    written.fetch_add(20, Ordering::Relaxed);
                }
                longest
            })
        })
        .collect();
    let mut dumps = Vec::new();
    // On a machine that is busy enough, a writer's transaction may take longer than the lock is waited for.
    for _ in 0..12 {
        let before = written.load(Ordering::Relaxed);
        while written.load(Ordering::Relaxed) == before {
            thread::sleep(Duration::from_millis(5));
        }
        dumps.push(take(server.address("root", "bank"), options()).unwrap().remove(0));
        if exact(&dumps).len() == 3 {
            break;
        }
    }
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        let longest = writer.join().unwrap();
        assert!(longest < Duration::from_secs(20), "a writer waited for {longest:?}");
    }
    for (number, dump) in dumps.iter().enumerate() {
        let name = format!("back{number}");
        restore(&server, &name, &dump.content);
        let counts = server.sql(&name, "SELECT count(*) FROM a; SELECT count(*) FROM b");
        let counts: Vec<u64> = counts.lines().map(|line| line.parse().unwrap()).collect();
        assert!(counts[0] == counts[1] && counts[0] > 5000, "{counts:?}");
        let known = dump.finished.report.tables.iter().all(|table| table.rows == counts[0]);
        assert!(known, "{:?}", dump.finished.report);
    }
    let exact = exact(&dumps);
    assert_eq!(exact.len(), 3, "{:?}", dumps[0].finished.report.messages);
    assert!(exact.iter().all(|dump| rows(dump, "a") == rows(dump, "b")));
}

/// Those whose rows were all counted in their own view of the data.
fn exact(dumps: &[Taken]) -> Vec<&Taken> {
    dumps.iter().filter(|dump| dump.finished.report.messages.is_empty()).collect()
}
