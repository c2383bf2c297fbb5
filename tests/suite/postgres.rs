//! PostgreSQL as a source, over the library: what is dumped comes back whole while others write, and every failure is an
//! error that names its cause and what to do.

mod archives;
mod failing;
mod whole;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use strongroom::error::{Error, Result};
use strongroom::interrupt::Interrupt;
use strongroom::report::Collector;
use strongroom::source::server::address::Address;
use strongroom::source::server::postgres::Postgres as Source;
use strongroom::source::server::{Finished, Options, Server};
use strongroom::source::stream::Patience;

use crate::servers::postgres::Postgres;
use crate::support::run;

/// No test waits longer for a client, in seconds.
const DEADLINE: u64 = 120;

/// A dump as it came.
struct Taken {
    place: String,
    content: Vec<u8>,
    finished: Finished,
}

fn options() -> Options {
    Options { silence: Some(Duration::from_secs(60)), ..Options::default() }
}

/// Takes every dump.
fn take(address: Address, options: Options) -> Result<Vec<Taken>> {
    take_with(address, options, Interrupt::default(), &mut |_| ())
}

/// Takes every dump; after each piece something may happen, told how many bytes there are.
fn take_with(
    address: Address,
    options: Options,
    interrupt: Interrupt,
    meanwhile: &mut dyn FnMut(usize),
) -> Result<Vec<Taken>> {
    let source = Source::new(address, options)?;
    let reporter = Collector::default();
    let patience = Patience { interrupt, silence: None };
    let mut all = Vec::new();
    for mut dump in source.dumps(&patience, &reporter)? {
        let place = String::from_utf8(dump.place().to_vec()).unwrap();
        let (mut content, mut buffer) = (Vec::new(), vec![0; 64 << 10]);
        loop {
            let read = dump.fill(&mut buffer)?;
            content.extend_from_slice(&buffer[..read]);
            meanwhile(content.len());
            if read < buffer.len() {
                break;
            }
        }
        let finished = dump.finish()?;
        assert_eq!(finished.report.bytes, content.len() as u64);
        all.push(Taken { place, content, finished });
    }
    Ok(all)
}

/// An error in the words that a person gets.
fn said(error: &Error) -> String {
    format!("{} ({})", error.chain(), error.next_step().unwrap_or("no next step"))
}

/// Asserts that an error says all of this.
#[track_caller]
fn says(error: &Error, parts: &[&str]) {
    let said = said(error);
    assert!(parts.iter().all(|part| said.contains(part)), "{said}");
}

/// Puts a dump back into a new database.
#[track_caller]
fn restore(server: &Postgres, content: &[u8], database: &str) {
    server.sql("postgres", &format!("CREATE DATABASE \"{database}\" TEMPLATE template0"));
    let file = server.folder().join("restored.dump");
    fs::write(&file, content).unwrap();
    let mut command = server.client("pg_restore", database);
    run(command.arg("--exit-on-error").arg(&file), DEADLINE).expect_code(0);
}

/// Rows that a report says that a table has.
#[track_caller]
fn rows(taken: &Taken, table: &str) -> u64 {
    let tables = &taken.finished.report.tables;
    tables.iter().find(|rows| rows.table == table).unwrap_or_else(|| panic!("{table} in {tables:?}")).rows
}

/// What runs of a client of a server, by the folder that stands in its arguments.
fn processes(folder: &Path, client: &str) -> Vec<u32> {
    let listed =
        Command::new("ps").args(["-eo", "pid=,args="]).stdin(Stdio::null()).output().expect("ps runs");
    let folder = folder.to_str().unwrap();
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let processes = listed.lines().filter_map(|line| line.trim().split_once(' '));
    // Ours take one argument of parameters; the psql of a test does not.
    let ours = processes.filter(|(_, words)| {
        words.contains(client) && words.contains("--dbname=host=") && words.contains(folder)
    });
    ours.map(|(process, _)| process.parse().unwrap()).collect()
}

/// The clients that still run.
fn clients(folder: &Path) -> Vec<u32> {
    ["psql", "pg_dump"].iter().flat_map(|client| processes(folder, client)).collect()
}
