//! What is dumped comes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use strongroom::format::snapshot::DumpKind;

use super::{options, restore, rows, take};
use crate::servers::postgres::Postgres;

#[test]
fn a_database_comes_back_with_all_that_it_held() {
    let Some(server) = Postgres::start("dumps of PostgreSQL") else { return };
    server.sql("postgres", "CREATE DATABASE \"va/ult\"; CREATE ROLE reader;");
    server.sql(
        "va/ult",
        "CREATE SCHEMA \"S x\"; CREATE TABLE users (id int PRIMARY KEY, name text, photo bytea);
        INSERT INTO users SELECT g, repeat(E'\\n\\\\.\\n', 3), '\\x0a5c2e0a' FROM generate_series(1, 1000) g;
        CREATE TABLE \"S x\".\"a'b|c\" (x text); INSERT INTO \"S x\".\"a'b|c\" VALUES (''), (NULL), ('\\N');
        CREATE TABLE bare (); INSERT INTO bare DEFAULT VALUES; INSERT INTO bare DEFAULT VALUES;
        CREATE TABLE hollow (x int); CREATE UNLOGGED TABLE loose (x int); INSERT INTO loose VALUES (1);
        CREATE TABLE parted (k int, v text) PARTITION BY LIST (k);
        CREATE TABLE part_1 PARTITION OF parted FOR VALUES IN (1);
        CREATE TABLE part_2 PARTITION OF parted FOR VALUES IN (2);
        INSERT INTO parted VALUES (1, 'a'), (1, 'b'), (2, 'c');
        CREATE TABLE parent (x int); CREATE TABLE child () INHERITS (parent);
        INSERT INTO parent VALUES (1); INSERT INTO child VALUES (2), (3);
        CREATE MATERIALIZED VIEW seen AS SELECT count(*) FROM users; CREATE VIEW plain AS SELECT 1;
        SELECT lo_from_bytea(0, 'hello'), lo_create(0); GRANT SELECT ON users TO reader;",
    );
    let mut options = options();
    options.questions = vec![
        "SELECT id, name, NULL, E'tab\\tline\\n' FROM users WHERE id < 3 ORDER BY id;".to_owned(),
        "SELECT 1 WHERE false".to_owned(),
    ];
    let taken = take(server.address("postgres", "va%2Fult"), options).unwrap();
    assert_eq!(taken.len(), 1, "a database that is named is taken alone");
    let dump = &taken[0];
    assert_eq!(dump.place, "postgres/va%2Fult.dump");
    let report = &dump.finished.report;
    assert_eq!((report.kind, report.database.as_deref()), (DumpKind::Postgres, Some("va/ult")));
    assert!(report.server.as_deref().unwrap().starts_with("PostgreSQL "));
    assert!(report.client.as_deref().unwrap().starts_with("pg_dump (PostgreSQL) "));
    assert!(report.messages.is_empty() && report.without_rows.is_empty(), "{report:?}");
    for (table, number) in [
        ("public.users", 1000),
        ("S x.a'b|c", 3),
        ("public.bare", 2),
        ("public.hollow", 0),
        ("public.loose", 1),
        ("public.part_1", 2),
        ("public.part_2", 1),
        ("public.parent", 1),
        ("public.child", 2),
    ] {
        assert_eq!(rows(dump, table), number, "{table}");
    }
    assert_eq!(report.tables.len(), 9);
    assert!(report.tables.is_sorted_by(|one, other| one.table < other.table));
    let name = Some("\n\\.\n".repeat(3));
    let last = Some("tab\tline\n".to_owned());
    let expected: Vec<_> =
        ["1", "2"].map(|id| vec![Some(id.to_owned()), name.clone(), None, last.clone()]).to_vec();
    assert_eq!(dump.finished.answers, [expected, Vec::new()]);

    restore(&server, &dump.content, "again");
    for query in [
        "SELECT md5(string_agg(u::text, '' ORDER BY id)) FROM users u",
        "SELECT count(*) FROM bare",
        "SELECT sum(k) FROM parted",
        "SELECT count(*) FROM parent",
        "SELECT string_agg(convert_from(lo_get(oid), 'UTF8'), '') FROM pg_largeobject_metadata",
    ] {
        assert_eq!(server.sql("va/ult", query), server.sql("again", query), "{query}");
    }
}

#[test]
fn all_databases_are_taken_and_the_roles_where_none_is_named() {
    let Some(server) = Postgres::start("dumps of all databases of PostgreSQL") else { return };
    server.sql("postgres", "CREATE ROLE vault LOGIN PASSWORD 'hunter2'; GRANT pg_read_all_data TO vault; CREATE ROLE plain LOGIN;");
    let places = |user| {
        let taken = take(server.address(user, ""), options()).unwrap();
        taken.iter().map(|dump| dump.place.clone()).collect::<Vec<_>>()
    };
    assert_eq!(places("postgres"), ["postgres/globals.sql"]);
    server.sql("postgres", "CREATE DATABASE b; CREATE DATABASE a; CREATE DATABASE t IS_TEMPLATE true; CREATE DATABASE c ALLOW_CONNECTIONS false;");
    assert_eq!(places("vault"), ["postgres/a.dump", "postgres/b.dump", "postgres/globals.sql"]);
    let globals = take(server.address("plain", ""), options()).unwrap().pop().unwrap();
    let text = String::from_utf8_lossy(&globals.content);
    assert!(text.contains("CREATE ROLE vault") && !text.contains("SCRAM-SHA-256"));
    assert!(globals.finished.report.messages[0].contains("without their passwords"));
    server.sql("postgres", "CREATE TABLE mine (x int)");
    let taken = take(server.address("vault", ""), options()).unwrap();
    assert_eq!(taken.len(), 4);
    assert_eq!(taken[2].place, "postgres/postgres.dump");
    // Who may read all data may read these as well.
    let globals = &taken[3].finished.report;
    assert_eq!((globals.kind, globals.messages.len()), (DumpKind::PostgresGlobals, 0));
    assert!(String::from_utf8_lossy(&taken[3].content).contains("SCRAM-SHA-256"));

    // Named ones alone, in the order in which they were named.
    let mut options = options();
    options.databases = vec!["b".to_owned(), "a".to_owned()];
    let taken = take(server.address("vault", "postgres"), options).unwrap();
    assert_eq!(
        taken.iter().map(|dump| &*dump.place).collect::<Vec<_>>(),
        ["postgres/b.dump", "postgres/a.dump"]
    );
}

#[test]
fn a_dump_is_of_one_moment_while_others_write() {
    let Some(server) = Postgres::start("dumps of PostgreSQL under writes") else { return };
    server.sql("postgres", "CREATE DATABASE bank;");
    server.sql(
        "bank",
        "CREATE TABLE here (id int PRIMARY KEY, coins int, ballast text);
        CREATE TABLE there (id int PRIMARY KEY, coins int); CREATE TABLE log (id serial, amount int);
        INSERT INTO here SELECT g, 100, repeat('x', 1000) FROM generate_series(1, 5000) g;
        INSERT INTO there SELECT g, 100 FROM generate_series(1, 5000) g;",
    );
    let ended = Arc::new(AtomicBool::new(false));
    let done = Arc::clone(&ended);
    let mut writer = server.client("psql", "bank");
    let transfers = thread::spawn(move || {
        use std::io::Write;
        let mut psql = writer.args(["-X", "-q"]).stdin(std::process::Stdio::piped()).spawn().unwrap();
        let mut input = psql.stdin.take().unwrap();
        let mut written = 0u64;
        while !done.load(Ordering::Relaxed) {
            let id = written % 5000 + 1;
            let told = writeln!(
                input,
                "BEGIN; UPDATE here SET coins = coins - 7 WHERE id = {id}; INSERT INTO log (amount) VALUES (7); \
                UPDATE there SET coins = coins + 7 WHERE id = {id}; COMMIT;"
            );
            told.unwrap();
            written += 1;
        }
        drop(input);
        psql.wait().unwrap();
        written
    });
    let dumps: Vec<_> =
        (0..3).map(|_| take(server.address("postgres", "bank"), options()).unwrap()).collect();
    ended.store(true, Ordering::Relaxed);
    let written = transfers.join().unwrap();
    assert!(written > 0);
    for (number, taken) in dumps.iter().enumerate() {
        let name = format!("again{number}");
        restore(&server, &taken[0].content, &name);
        assert_eq!(
            server.sql(&name, "SELECT (SELECT sum(coins) FROM here) + (SELECT sum(coins) FROM there)"),
            "1000000"
        );
        assert_eq!(
            server.sql(
                &name,
                "SELECT sum(coins) - 500000 - (SELECT coalesce(sum(amount), 0) FROM log) FROM there"
            ),
            "0"
        );
        assert_eq!(server.sql(&name, "SELECT count(*) FROM log"), rows(&taken[0], "public.log").to_string());
    }
}

#[test]
fn rows_are_left_out_where_that_is_asked_and_the_report_names_their_tables() {
    let Some(server) = Postgres::start("dumps of PostgreSQL without rows") else { return };
    server.sql(
        "postgres",
        "CREATE TABLE queue_a (x int); CREATE TABLE \"Queue\" (x int); CREATE TABLE kept (x int);
        CREATE SCHEMA s; CREATE TABLE s.tasks (x int);
        INSERT INTO queue_a VALUES (1); INSERT INTO kept VALUES (1), (2); INSERT INTO s.tasks VALUES (1);",
    );
    let mut options = options();
    options.without_rows =
        vec!["Queue_*".to_owned(), "s.tasks".to_owned(), "\"Queue\"".to_owned(), "tasks".to_owned()];
    let taken = take(server.address("postgres", "postgres"), options).unwrap();
    let report = &taken[0].finished.report;
    assert_eq!(report.without_rows, ["public.Queue", "public.queue_a", "s.tasks"]);
    assert_eq!((report.tables.len(), rows(&taken[0], "public.kept")), (1, 2));
    assert!(
        report.messages.len() == 1
            && report.messages[0].ends_with("left out")
            && report.messages[0].contains("tasks"),
        "{report:?}"
    );
    restore(&server, &taken[0].content, "again");
    assert_eq!(server.sql("again", "SELECT count(*) FROM queue_a"), "0");
}

#[test]
fn a_standby_is_dumped_as_well() {
    let Some(server) = Postgres::start("dumps of a standby of PostgreSQL") else { return };
    server.sql("postgres", "CREATE TABLE users (x int); INSERT INTO users SELECT generate_series(1, 50)");
    let standby = server.standby();
    let taken = take(standby.address("postgres", "postgres"), options()).unwrap();
    assert_eq!(rows(&taken[0], "public.users"), 50);
    restore(&server, &taken[0].content, "again");
    assert_eq!(server.sql("again", "SELECT count(*) FROM users"), "50");
}

#[test]
fn clients_may_run_behind_a_prefix_and_the_password_stands_in_no_argument() {
    let Some(server) = Postgres::start("dumps of PostgreSQL behind a prefix") else { return };
    server.sql("postgres", "CREATE TABLE users (x int)");
    let mut options = options();
    let log = server.folder().join("arguments");
    let script = format!("echo \"$@\" >>'{}'; exec \"$@\"", log.display());
    options.prefix = ["sh", "-c", &script, "sh"].map(Into::into).to_vec();
    let address = server.address("postgres:hunter2", "postgres");
    assert_eq!(take(address, options).unwrap().len(), 1);
    let arguments = std::fs::read_to_string(log).unwrap();
    assert!(arguments.contains("pg_dump") && arguments.contains("psql") && !arguments.contains("hunter2"));
}

#[test]
fn the_rows_of_an_extension_are_those_that_its_users_added() {
    let Some(server) = Postgres::start("dumps of PostgreSQL with extensions") else { return };
    // As an extension says that its table is its users' to fill: pg_dump takes the rows that fit a condition.
    server.sql(
        "postgres",
        "CREATE TABLE settings (x int); INSERT INTO settings SELECT generate_series(1, 9);
        CREATE TABLE own (x int); CREATE TABLE theirs (x int);
        ALTER EXTENSION plpgsql ADD TABLE settings; ALTER EXTENSION plpgsql ADD TABLE theirs;
        UPDATE pg_extension SET extconfig = ARRAY['settings'::regclass::oid], extcondition = ARRAY['WHERE x > 5']
        WHERE extname = 'plpgsql'",
    );
    let taken = take(server.address("postgres", "postgres"), options()).unwrap();
    assert_eq!((rows(&taken[0], "public.settings"), rows(&taken[0], "public.own")), (4, 0));
    assert_eq!(taken[0].finished.report.tables.len(), 2);
}
