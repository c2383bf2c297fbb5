//! Redis as a source, over the library: what is dumped is the RDB file, to the byte, and every failure is an error that
//! names its cause and what to do.

use std::time::Duration;

use strongroom::error::{Error, Result};
use strongroom::format::snapshot::DumpKind;
use strongroom::interrupt::Interrupt;
use strongroom::report::Collector;
use strongroom::source::server::address::Address;
use strongroom::source::server::redis::Redis as Source;
use strongroom::source::server::{Finished, Options, Server};
use strongroom::source::stream::Patience;

use crate::servers::redis::Redis;

/// Takes the dump; after each piece something may happen.
fn take_with(address: Address, meanwhile: &mut dyn FnMut(usize)) -> Result<(Vec<u8>, Finished)> {
    let options = Options { silence: Some(Duration::from_mins(1)), ..Options::default() };
    let source = Source::new(address, options)?;
    let reporter = Collector::default();
    let patience = Patience { interrupt: Interrupt::default(), silence: None };
    let mut dump = source.dumps(&patience, &reporter)?.pop().unwrap();
    assert_eq!(dump.place(), b"redis/dump.rdb");
    let (mut content, mut buffer) = (Vec::new(), vec![0; 10_000]);
    loop {
        let read = dump.fill(&mut buffer)?;
        content.extend_from_slice(&buffer[..read]);
        meanwhile(content.len());
        if read < buffer.len() {
            return Ok((content, dump.finish()?));
        }
    }
}

fn take(address: Address) -> Result<(Vec<u8>, Finished)> {
    take_with(address, &mut |_| ())
}

#[track_caller]
fn says(error: &Error, parts: &[&str]) {
    let said = format!("{} | {}", error.chain(), error.next_step().unwrap_or_default());
    assert!(parts.iter().all(|part| said.contains(part)), "{said}");
}

/// Keys of every kind.
fn fill(server: &Redis, keys: u32) {
    server.ask(&["debug", "populate", &keys.to_string(), "key", "200"]);
    let script = "redis.call('rpush', 'l', 'a', 'b'); redis.call('hset', 'h', 'f', 'v'); redis.call('sadd', 's', '1', 'x'); \
        redis.call('zadd', 'z', 1.5, 'm'); redis.call('xadd', 'st', '*', 'f', 'v'); redis.call('setex', 'e', 1000, 'v'); \
        redis.call('select', 3); redis.call('set', 'other', string.rep('\\255', 100)); return 1";
    server.ask(&["eval", script, "0"]);
}

#[test]
fn all_keys_come_back_whichever_way_the_server_sends_them() {
    for way in [
        &["--repl-diskless-sync", "yes"][..],
        &["--repl-diskless-sync", "no"],
        &["--repl-diskless-sync", "yes", "--rdbchecksum", "no"],
    ] {
        let settings = [way, &["--enable-debug-command", "yes"]].concat();
        let Some(server) = Redis::start("dumps of Redis", &settings, None) else { return };
        fill(&server, 5000);
        let (content, finished) = take(server.address("")).unwrap();
        let report = finished.report;
        assert_eq!((report.kind, report.bytes), (DumpKind::Redis, content.len() as u64));
        assert!(report.server.unwrap().starts_with("Redis ") && report.client.unwrap().contains("redis-cli"));
        assert!(
            report.messages[0].contains("5007 keys before the dump and 5007 after"),
            "{:?}",
            report.messages
        );
        assert_eq!(report.messages.iter().any(|line| line.contains("no checksums")), way.len() == 4);
        let again =
            Redis::start("dumps of Redis", &["--enable-debug-command", "yes"], Some(&content)).unwrap();
        assert_eq!(again.ask(&["debug", "digest"]), server.ask(&["debug", "digest"]));
        assert_eq!(again.ask(&["dbsize"]).trim(), "5006");
    }
}

#[test]
fn what_keeps_it_from_being_whole_is_told() {
    let Some(mut server) = Redis::start("failing dumps of Redis", &["--enable-debug-command", "yes"], None)
    else {
        return;
    };
    fill(&server, 200_000);
    server.ask(&["acl", "setuser", "weak", "on", ">right", "+@all", "-sync", "-psync", "-replconf"]);
    server.ask(&["acl", "setuser", "full", "on", ">right", "~*", "&*", "+@all"]);
    assert!(take(server.address("full:right")).is_ok());
    for (login, parts) in [
        ("full:hunter2", &["WRONGPASS", "check the user and the password"][..]),
        ("weak:right", &["NOPERM", "+sync"]),
    ] {
        let error = take(server.address(login)).unwrap_err();
        says(&error, parts);
        says(&error, &["Redis at "]);
        assert!(!error.chain().contains("hunter2"));
    }
    server.ask(&["config", "set", "requirepass", "x"]);
    says(&take(server.address("")).unwrap_err(), &["NOAUTH", "give it with the address"]);
    let address = server.address("full:right");
    let stopped = take_with(address.clone(), &mut |_| server.down()).unwrap_err();
    says(&stopped, &["Redis at ", "run again"]);
    says(&take(address).unwrap_err(), &["Could not connect", "listens"]);
}
