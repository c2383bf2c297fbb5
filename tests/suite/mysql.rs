//! MariaDB as a source, over the library: what is dumped comes back whole while others write, and every failure is an
//! error that names its cause and what to do.

mod failing;
mod whole;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use strongroom::error::{Error, Result};
use strongroom::interrupt::Interrupt;
use strongroom::report::Collector;
use strongroom::source::server::address::Address;
use strongroom::source::server::mysql::Mysql as Source;
use strongroom::source::server::{Finished, Options, Server};
use strongroom::source::stream::Patience;

use crate::servers::mysql::Mysql;

/// A dump as it came.
struct Taken {
    place: String,
    content: Vec<u8>,
    finished: Finished,
}

fn options() -> Options {
    Options { silence: Some(Duration::from_mins(1)), ..Options::default() }
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
        all.push(Taken { place, content, finished: dump.finish()? });
    }
    Ok(all)
}

/// Rows of a table as the manifest tells them.
#[track_caller]
fn rows(taken: &Taken, table: &str) -> u64 {
    let tables = &taken.finished.report.tables;
    tables.iter().find(|rows| rows.table == table).unwrap_or_else(|| panic!("{table} is in {tables:?}")).rows
}

/// Puts a dump into a new database of a server.
#[track_caller]
fn restore(server: &Mysql, database: &str, content: &[u8]) {
    server.sql("", &format!("CREATE DATABASE `{database}`"));
    let mut client = server.client("mariadb");
    client.arg(format!("--database={database}"));
    let mut client = client.stdin(Stdio::piped()).spawn().expect("start the client");
    client.stdin.take().unwrap().write_all(content).expect("it reads all");
    assert!(client.wait().unwrap().success());
}

/// Clients of a server that run, by their processes: those whose arguments name its folder.
fn clients(folder: &Path) -> Vec<(u32, String)> {
    let folder = folder.to_str().unwrap();
    let mut found = Vec::new();
    for process in fs::read_dir("/proc").unwrap().flatten() {
        let Some(id) = process.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let line = fs::read(process.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains(folder) && !line.contains("mariadbd") {
            found.push((id, line));
        }
    }
    found
}

#[track_caller]
fn says(error: &Error, parts: &[&str]) {
    let said = format!("{} | {}", error.chain(), error.next_step().unwrap_or_default());
    assert!(parts.iter().all(|part| said.contains(part)), "{said}");
}
