//! The archives that `pg_dump` makes, read as a whole, cut and bent.

use std::collections::BTreeMap;
use std::process::Command;

use strongroom::error::{ErrorKind, Result};
use strongroom::source::server::postgres::archive::{Archive, Reading};

use super::DEADLINE;
use crate::servers::postgres::Postgres;
use crate::support::run;

fn read(bytes: &[u8]) -> Result<Reading> {
    let mut archive = Archive::default();
    archive.feed(bytes)?;
    archive.finish()
}

/// A small database with rows, an empty table and large objects, and `pg_dump`'s call for it.
fn server(what: &str) -> Option<(Postgres, impl Fn(&[&str]) -> Command)> {
    let server = Postgres::start(what)?;
    server.sql(
        "postgres",
        "CREATE TABLE users (id int, name text); INSERT INTO users VALUES (1, 'a'), (2, E'\\\\.\\n'), (3, NULL);
        CREATE TABLE hollow (x int); SELECT lo_from_bytea(0, 'hello'), lo_create(0);",
    );
    let client = server.client("pg_dump", "postgres");
    let words: Vec<_> = client.get_args().map(ToOwned::to_owned).collect();
    let call = move |more: &[&str]| {
        let mut call = Command::new("pg_dump");
        call.args(&words).arg("-Fc").args(more);
        call
    };
    Some((server, call))
}

/// What the archive must hold.
fn expected(server: &Postgres) -> Reading {
    let id =
        |table: &str| server.sql("postgres", &format!("SELECT '{table}'::regclass::oid")).parse().unwrap();
    Reading { tables: BTreeMap::from([(id("users"), 3), (id("hollow"), 0)]), large_objects: 2 }
}

#[test]
fn what_pg_dump_writes_is_read_whether_into_a_pipe_or_a_file() {
    let Some((server, call)) = server("archives of pg_dump") else { return };
    let expected = expected(&server);
    let piped = run(&mut call(&["-Z0"]), DEADLINE).expect_code(0).stdout;
    assert_eq!(read(&piped).unwrap(), expected);
    let file = server.folder().join("a.dump");
    run(&mut call(&["-Z0", "-f", file.to_str().unwrap()]), DEADLINE).expect_code(0);
    assert_eq!(read(&std::fs::read(file).unwrap()).unwrap(), expected);
    let packed = run(&mut call(&["-Z6"]), DEADLINE).expect_code(0).stdout;
    assert!(read(&packed).unwrap_err().chain().contains("compressed"));
    let plain = run(&mut call(&["-Fp"]), DEADLINE).expect_code(0).stdout;
    assert_eq!(read(&plain).unwrap_err().kind(), ErrorKind::Corrupt);
}

#[test]
fn one_that_is_cut_anywhere_is_refused() {
    let Some((_server, call)) = server("archives of pg_dump, cut") else { return };
    let whole = run(&mut call(&["-Z0"]), DEADLINE).expect_code(0).stdout;
    for cut in 0..whole.len() {
        assert_eq!(read(&whole[..cut]).unwrap_err().kind(), ErrorKind::Corrupt, "cut at {cut}");
    }
}

#[test]
fn one_that_is_bent_is_refused_or_read_alike_or_differs_from_what_the_server_counts() {
    let Some((server, call)) = server("archives of pg_dump, bent") else { return };
    let whole = run(&mut call(&["-Z0"]), DEADLINE).expect_code(0).stdout;
    let expected = expected(&server);
    let mut outcomes = [0, 0, 0];
    for at in 0..whole.len() {
        let mut bent = whole.clone();
        bent[at] ^= 0xff;
        match read(&bent) {
            Err(error) => {
                assert!(matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported), "{error:?}");
                outcomes[0] += 1;
            }
            Ok(reading) if reading == expected => outcomes[1] += 1,
            Ok(_) => outcomes[2] += 1,
        }
    }
    // Most bytes are statements, which an archive does not protect; most others are lengths.
    assert!(outcomes[0] > 500 && outcomes[2] < 20, "{outcomes:?}");
}
