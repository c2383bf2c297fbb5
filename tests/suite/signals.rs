//! Real signals at many moments: work ends in good order, exit code 130, and what was stored serves the next run.

use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::site::{DEADLINE, Site, assert_same, each_file, number, see};
use crate::support::{Outcome, Rng, has_tool, long, run, strongroom, untested};

/// Longer than two signals may lie apart and still count as one.
const APART: Duration = Duration::from_millis(700);

/// The signals that end a program in good order, without those that whoever started the tests had ignored.
fn signals() -> Vec<Signal> {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).expect("a mask of signals");
    let mask = u64::from_str_radix(mask.trim(), 16).unwrap();
    let all = [Signal::TERM, Signal::INT, Signal::HUP];
    let heard: Vec<Signal> =
        all.into_iter().filter(|signal| mask >> (signal.as_raw() - 1) & 1 == 0).collect();
    assert!(heard.contains(&Signal::TERM));
    if heard.len() < all.len() {
        untested("SIGINT and SIGHUP (whoever started the tests had them ignored)");
    }
    heard
}

/// Sends a signal, unless the program has ended: its number may be somebody else's by then.
fn send(child: &mut Child, signal: Signal) {
    if child.try_wait().unwrap().is_some() {
        return;
    }
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, signal).expect("send a signal");
}

/// Starts the program with what it says kept.
fn start(command: &mut Command) -> Child {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Waits for the end, however that comes, but not for ever.
#[track_caller]
fn finish(mut child: Child) -> (ExitStatus, Outcome) {
    let started = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if started.elapsed().as_secs() > DEADLINE {
            child.kill().unwrap();
            panic!("it did not end");
        }
        thread::sleep(Duration::from_millis(2));
    }
    let output = child.wait_with_output().unwrap();
    let (code, took) = (output.status.code(), started.elapsed());
    (output.status, Outcome { code, stdout: output.stdout, stderr: output.stderr, took })
}

/// Waits until something is so, but not for ever.
#[track_caller]
fn until(what: &str, mut so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !so() {
        assert!(started.elapsed().as_secs() < DEADLINE, "never: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Files whose names begin with a dot below a folder: what is written aside.
fn aside(folder: &Path) -> usize {
    let mut found = 0;
    each_file(folder, &mut |path, _| {
        found += usize::from(path.file_name().unwrap().as_bytes().starts_with(b"."))
    });
    found
}

/// Asserts that nothing temporary is left: no session, no lock, nothing written aside, no copy of a database.
#[track_caller]
fn assert_tidy(site: &Site) {
    assert_eq!(site.count("sessions"), 0, "a session is left");
    assert_eq!(aside(&site.join("repo")), 0, "something written aside is left");
    assert_eq!(fs::read_dir(site.join("tmp")).unwrap().count(), 0, "a temporary copy is left");
    let cache = site.join("home/.cache/strongroom");
    for repository in fs::read_dir(cache).into_iter().flatten() {
        let locks = repository.unwrap().path().join("sessions");
        assert_eq!(fs::read_dir(locks).into_iter().flatten().count(), 0, "a lock is left");
    }
}

/// When to send a signal.
#[derive(Clone, Copy, Debug)]
enum Moment {
    After(u64),
    Bytes(u64),
    Appears(&'static str),
}

fn moment(rng: &mut Rng, total: u64) -> Moment {
    match rng.below(8) {
        0 => Moment::After(rng.below(20_000)),
        1 => Moment::After(rng.below(200_000)),
        2 => Moment::After(rng.below(2_000_000)),
        3 => Moment::Appears("sessions"),
        4 => Moment::Appears("index"),
        5 => Moment::Appears("snapshots"),
        _ => Moment::Bytes(rng.below(total)),
    }
}

fn wait_for(site: &Site, child: &mut Child, moment: Moment, before: (u64, usize)) {
    let started = Instant::now();
    loop {
        let now = match moment {
            Moment::After(microseconds) => started.elapsed() >= Duration::from_micros(microseconds),
            Moment::Bytes(bytes) => packs(site) >= before.0 + bytes,
            Moment::Appears(kind) => entries(&site.join("repo").join(kind)) > before.1,
        };
        if now || child.try_wait().unwrap().is_some() || started.elapsed().as_secs() > DEADLINE {
            return;
        }
        thread::sleep(Duration::from_micros(200));
    }
}

fn entries(folder: &Path) -> usize {
    fs::read_dir(folder).map_or(0, Iterator::count)
}

/// Bytes of the packs, while others come and go.
fn packs(site: &Site) -> u64 {
    let folders = fs::read_dir(site.join("repo/packs")).into_iter().flatten().flatten();
    let files = folders.flat_map(|folder| fs::read_dir(folder.path()).into_iter().flatten().flatten());
    files.filter_map(|file| file.metadata().ok()).map(|metadata| metadata.len()).sum()
}

/// Data with large and small files and a database; gives its size in bytes.
fn fill(site: &Site, rng: &mut Rng) -> u64 {
    for (number, size) in [30 << 20, 1 << 20, 40 << 20, 9 << 20, 2000].into_iter().enumerate() {
        site.folder.write(format!("data/file-{number}"), rng.bytes(size));
    }
    for number in 0..300u32 {
        site.folder.write(format!("data/many/file-{number}"), number.to_le_bytes().repeat(500));
    }
    let database = rusqlite::Connection::open(site.join("data/app.sqlite3")).unwrap();
    database.execute_batch("CREATE TABLE rows (content BLOB)").unwrap();
    let transaction = database.unchecked_transaction().unwrap();
    for _ in 0..200 {
        transaction.execute("INSERT INTO rows VALUES (?)", [rng.bytes(50_000)]).unwrap();
    }
    transaction.commit().unwrap();
    90 << 20
}

#[test]
fn an_interrupted_backup_ends_in_good_order_at_any_moment() {
    let heard = signals();
    let mut rng = Rng::new(1);
    let whole = Site::new();
    let total = fill(&whole, &mut Rng::new(9));
    whole.backup(["data"]);
    let once = whole.pack_bytes();
    drop(whole);
    let wanted = if long() { 400 } else { 16 };
    let (mut ended, mut early, mut done) = (0, 0, 0);
    while ended < wanted {
        let site = Site::new();
        fill(&site, &mut Rng::new(9));
        for _ in 0..6 {
            let moment = moment(&mut rng, total);
            let signal = *rng.pick(&heard);
            let kind = if let Moment::Appears(kind) = moment { kind } else { "sessions" };
            let before = (packs(&site), entries(&site.join("repo").join(kind)));
            let snapshots = site.count("snapshots");
            let mut child = start(&mut site.command(["-q", "backup", "data"]));
            wait_for(&site, &mut child, moment, before);
            send(&mut child, signal);
            let (status, outcome) = finish(child);
            println!("{moment:?} {signal:?}: {status}, {}", outcome.err().trim());
            match status.code() {
                Some(130) => {
                    ended += 1;
                    assert!(outcome.err().contains("interrupted"), "{}", outcome.err());
                    assert_eq!(outcome.err().lines().count(), 1, "{}", outcome.err());
                    assert_eq!(site.count("snapshots"), snapshots);
                }
                // Too late: the snapshot was as good as made, and then it is made.
                Some(code) => {
                    done += 1;
                    assert_eq!((code, site.count("snapshots")), (0, snapshots + 1), "{}", outcome.err());
                }
                // So early that nobody listened yet, and nothing was begun.
                None => {
                    early += 1;
                    assert_eq!(status.signal(), Some(signal.as_raw()));
                    assert_eq!((packs(&site), site.count("snapshots")), (before.0, snapshots));
                }
            }
            assert_tidy(&site);
            let check = site.run(0, ["check"]);
            assert!(!check.err().contains("in no index"), "{}", check.err());
        }
        site.backup(["data"]);
        let stored = site.pack_bytes();
        assert!(stored < once + once / 20 + (1 << 20), "{stored} bytes of packs instead of {once}");
        site.assert_sound();
        assert_eq!(site.count("abandoned"), 0, "nothing had to be given up");
        let (mut expected, mut actual) =
            (see(&site.join("data")), see(&site.restore("latest", "restored").join("data")));
        // A database comes back as its copy: page by page the same here, for nobody writes.
        for seen in [&mut expected, &mut actual] {
            seen.remove(&b"app.sqlite3"[..]).expect("the database");
        }
        assert_same(&expected, &actual);
    }
    println!("{ended} interrupted, {early} before it listened, {done} when it was done");
}

#[test]
fn what_an_interrupted_backup_stored_is_reused() {
    for signal in signals() {
        let site = Site::new();
        site.folder.write("data/large", Rng::new(2).bytes(300 << 20));
        let mut child = start(&mut site.command(["--json", "backup", "data"]));
        until("packs are stored", || packs(&site) > 34 << 20);
        send(&mut child, signal);
        let (_, outcome) = finish(child);
        let outcome = outcome.expect_code(130);
        let text = outcome.out();
        let told: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        assert_eq!((&told["message_type"], number(&told, "code")), (&"exit_error".into(), 130));
        assert!(
            told["message"].as_str().unwrap().contains("MiB of new data stored so far are kept"),
            "{told}"
        );
        assert_tidy(&site);
        let kept = packs(&site);
        // Nothing but the check's own findings: the packs are named, and no snapshot is there.
        site.run(0, ["check", "--read-data"]);
        let summary = site.backup(["data"]);
        let added = number(&summary, "data_added");
        assert!(added + (kept - kept / 50) < (300 << 20) + (12 << 20), "{added} added, {kept} were kept");
        assert!(added < 270 << 20, "{added}");
        assert_eq!(number(&summary, "files_new"), 1);
        site.assert_sound();
    }
}

#[test]
fn a_stream_that_gives_nothing_is_left_at_once() {
    for signal in signals() {
        let site = Site::new();
        let mut command = site.command(["backup", "--stdin"]);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut pipe = child.stdin.take().unwrap();
        pipe.write_all(&Rng::new(3).bytes(1_000_000)).unwrap();
        until("it has begun", || site.count("sessions") > 0);
        send(&mut child, signal);
        // The pipe stays open all the while.
        let (_, outcome) = finish(child);
        assert!(outcome.expect_code(130).err().contains("interrupted"));
        drop(pipe);
        assert_tidy(&site);
        assert_eq!(site.count("snapshots"), 0);
    }
}

fn alive(pid: &str) -> bool {
    // One that has ended and is waited for by nobody does not live.
    let status = fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    status
        .rsplit(')')
        .next()
        .and_then(|rest| rest.split_whitespace().next())
        .is_some_and(|state| state != "Z")
}

#[test]
fn a_command_ends_with_the_backup_that_started_it() {
    let heard = signals();
    let own_group = fs::File::open("/dev/tty").is_err();
    if !own_group {
        untested("what a command started ends with it (there is a terminal)");
    }
    // The command itself, and what it started.
    for (script, grandchild) in [
        ("echo $$ > pid; exec sleep 600", false),
        ("sleep 600 & echo $! > pid; wait", true),
        ("echo some; echo $$ > pid; while :; do echo more; sleep 0.01; done", false),
    ] {
        if grandchild && !own_group {
            continue;
        }
        for signal in &heard {
            let site = Site::new();
            let mut child =
                start(&mut site.command(["backup", "--stdin-from-command", "--", "sh", "-c", script]));
            until("the command has begun", || {
                fs::read_to_string(site.join("pid")).is_ok_and(|pid| pid.ends_with('\n'))
            });
            let pid = fs::read_to_string(site.join("pid")).unwrap();
            assert!(alive(&pid));
            send(&mut child, *signal);
            let (_, outcome) = finish(child);
            assert!(outcome.expect_code(130).err().contains("interrupted"));
            until("the command has ended", || !alive(&pid));
            assert_tidy(&site);
        }
    }
    // One that is hit by the same Ctrl-C is not to blame.
    let site = Site::new();
    let script = "kill -TERM $PPID; kill -TERM $$";
    let child = start(&mut site.command(["backup", "--stdin-from-command", "--", "sh", "-c", script]));
    let (_, outcome) = finish(child);
    assert!(!outcome.err().contains("killed by signal"), "{}", outcome.err());
    outcome.expect_code(130);
}

/// A command that does not mind being asked to end, says when it was asked, and is gone after a while.
const STUBBORN: &str =
    "trap 'echo x > asked' TERM INT HUP; echo x > begun; for i in $(seq 100); do sleep 0.1; done";

#[test]
fn a_second_signal_ends_at_once() {
    for signal in [Signal::TERM, Signal::INT] {
        if !signals().contains(&signal) {
            continue;
        }
        let site = Site::new();
        let mut child =
            start(&mut site.command(["backup", "--stdin-from-command", "--", "sh", "-c", STUBBORN]));
        until("the command has begun", || site.join("begun").exists());
        send(&mut child, Signal::TERM);
        until("the command was asked to end", || site.join("asked").exists());
        thread::sleep(APART);
        send(&mut child, signal);
        let (status, outcome) = finish(child);
        assert_eq!(status.signal(), Some(signal.as_raw()), "{status}: {}", outcome.err());
        // As after any other death: the next run goes on.
        site.folder.write("data/file", "x");
        site.backup(["data"]);
        site.assert_sound();
    }
}

#[test]
fn signals_in_quick_succession_are_one() {
    let site = Site::new();
    let script = "echo x > begun; exec sleep 600";
    let mut child = start(&mut site.command(["backup", "--stdin-from-command", "--", "sh", "-c", script]));
    until("the command has begun", || site.join("begun").exists());
    // `timeout` sends its signal to the process and to its group, and a closing terminal does so too.
    for signal in [Signal::TERM, Signal::TERM, Signal::TERM] {
        send(&mut child, signal);
    }
    let (_, outcome) = finish(child);
    outcome.expect_code(130);
    assert_tidy(&site);
    if has_tool("timeout", "a backup below timeout") {
        let template = site.command(["-q", "backup", "--stdin-from-command", "--", "sleep", "600"]);
        let mut command = Command::new("timeout");
        command.args(["--preserve-status", "1"]).arg(template.get_program()).args(template.get_args());
        command.current_dir(site.folder.path()).env_clear();
        command.envs(template.get_envs().filter_map(|(name, value)| Some((name, value?))));
        run(&mut command, DEADLINE).expect_code(130);
        assert_tidy(&site);
    }
}

#[test]
fn a_signal_that_was_ignored_stays_ignored() {
    let site = Site::new();
    let words =
        ["-q", "backup", "--stdin-from-command", "--", "sh", "-c", "echo x > begun; sleep 1; echo done"];
    let template = site.command(words);
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' HUP INT; exec \"$@\"", "sh"]);
    command.arg(template.get_program()).args(template.get_args()).current_dir(site.folder.path()).env_clear();
    command.envs(template.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mut child = start(&mut command);
    until("the command has begun", || site.join("begun").exists());
    for signal in [Signal::HUP, Signal::INT] {
        send(&mut child, signal);
    }
    let (_, outcome) = finish(child);
    outcome.expect_code(0);
    assert_eq!(site.run(0, ["dump", "latest", "stdin"]).out(), "done\n");
}

#[test]
fn a_wait_for_a_locked_database_can_be_interrupted() {
    let site = Site::new();
    fs::create_dir(site.join("data")).unwrap();
    let database = rusqlite::Connection::open(site.join("data/app.sqlite3")).unwrap();
    database
        .execute_batch("CREATE TABLE rows (content); BEGIN EXCLUSIVE; INSERT INTO rows VALUES (1)")
        .unwrap();
    let mut child = start(&mut site.command(["backup", "--lock-timeout", "3600", "data"]));
    until("a copy was begun", || entries(&site.join("tmp")) > 0);
    send(&mut child, Signal::TERM);
    let (_, outcome) = finish(child);
    let said = outcome.expect_code(130).err();
    assert!(said.contains("interrupted") && !said.contains("problem"), "{said}");
    assert_tidy(&site);
    assert_eq!(site.count("snapshots"), 0);
}

#[test]
fn an_interrupted_restore_leaves_whole_files_and_nothing_else() {
    let heard = signals();
    let mut rng = Rng::new(4);
    let site = Site::new();
    for number in 0..16 {
        site.folder.write(format!("data/file-{number}"), rng.bytes(6 << 20));
    }
    site.backup(["data"]);
    let expected = see(&site.join("data"));
    let target = site.join("target");
    let mut interrupted = 0;
    for round in 0..16 {
        let mut child = start(&mut site.command(["restore", "latest:data", "--target", "target"]));
        if round % 2 == 0 {
            thread::sleep(Duration::from_micros(rng.below(400_000)));
        } else {
            let wanted = rng.below(16) as usize;
            let started = Instant::now();
            while entries(&target) < wanted && started.elapsed().as_millis() < 3000 {
                thread::sleep(Duration::from_micros(200));
            }
        }
        send(&mut child, *rng.pick(&heard));
        let (status, outcome) = finish(child);
        println!("{status}: {}", outcome.err().trim());
        assert!([Some(0), Some(130), None].contains(&status.code()), "{status}: {}", outcome.err());
        if status.code() == Some(130) {
            interrupted += 1;
            assert!(outcome.err().contains("interrupted"), "{}", outcome.err());
            assert!(!outcome.err().contains("problem"), "{}", outcome.err());
        }
        if target.exists() {
            each_file(&target, &mut |path, metadata| {
                let seen = expected.get(path.file_name().unwrap().as_bytes());
                let seen = seen.unwrap_or_else(|| panic!("{} is left", path.display()));
                assert_eq!(metadata.len(), seen.size);
                assert_eq!(blake3::hash(&fs::read(path).unwrap()).as_bytes(), seen.content.as_slice());
            });
            fs::remove_dir_all(&target).unwrap();
        }
    }
    println!("{interrupted} of 16 interrupted");
    assert!(interrupted > 0);
    assert_same(&expected, &see(&site.restore("latest:data", "again")));
}

#[test]
fn a_check_and_a_dump_can_be_interrupted() {
    let mut rng = Rng::new(5);
    let site = Site::new();
    site.folder.write("data/large", rng.bytes(120 << 20));
    site.backup(["data"]);
    let mut interrupted = 0;
    for _ in 0..8 {
        let mut child = start(&mut site.command(["--json", "check", "--read-data"]));
        thread::sleep(Duration::from_micros(rng.below(500_000)));
        send(&mut child, Signal::TERM);
        let (status, outcome) = finish(child);
        println!("{status}: {} {}", outcome.out().trim(), outcome.err().trim());
        assert!([Some(0), Some(130), None].contains(&status.code()), "{status}: {}", outcome.err());
        interrupted += usize::from(status.code() == Some(130));
        assert!(!outcome.out().contains("problem\""), "{}", outcome.out());
    }
    assert!(interrupted > 0);
    // Nobody reads what it writes, and it ends all the same.
    let mut child = start(&mut site.command(["dump", "latest", "data/large"]));
    let mut pipe = child.stdout.take().unwrap();
    std::io::Read::read_exact(&mut pipe, &mut [0]).unwrap();
    send(&mut child, Signal::TERM);
    let (_, outcome) = finish(child);
    assert_eq!(outcome.expect_code(130).err(), "error: interrupted\n");
    drop(pipe);
}

#[test]
fn an_interrupted_demo_cleans_up() {
    let mut rng = Rng::new(6);
    let site = Site::new();
    let mut interrupted = 0;
    for round in 0..6 {
        let mut child = start(strongroom(&site.folder).args(["demo", "--size", "family"]));
        if round > 0 {
            until("its folder is there", || entries(&site.join("tmp")) > 0);
            thread::sleep(Duration::from_micros(rng.below(1_500_000)));
        }
        send(&mut child, Signal::TERM);
        let (status, outcome) = finish(child);
        println!("{status}: {}", outcome.err().trim());
        assert!([Some(0), Some(130), None].contains(&status.code()), "{status}: {}", outcome.err());
        interrupted += usize::from(status.code() == Some(130));
        assert_eq!(entries(&site.join("tmp")), 0, "the demo's folder is left: {}", outcome.err());
    }
    assert!(interrupted > 0);
}

/// Runs a shell script at a terminal of its own, `"$0"` being the program, and types `typed` after a while.
fn at_terminal(site: &Site, script: &str, typed: &[u8]) -> Outcome {
    site.folder.write("script.sh", script);
    let template = strongroom(&site.folder);
    let mut command = Command::new("script");
    command.args([
        "-qec",
        &format!("sh script.sh '{}'", template.get_program().to_str().unwrap()),
        "/dev/null",
    ]);
    command.current_dir(site.folder.path()).env_clear();
    command.envs(template.get_envs().filter_map(|(name, value)| Some((name, value?)))).env("TERM", "xterm");
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut terminal = child.stdin.take().unwrap();
    until("it asks", || site.join("asking").exists());
    // The question itself comes a moment after: it cannot be seen from here.
    thread::sleep(APART * 2);
    terminal.write_all(typed).unwrap();
    let (_, outcome) = finish(child);
    drop(terminal);
    outcome
}

#[test]
fn the_terminal_echoes_again_after_an_interrupted_question() {
    if !has_tool("script", "questions at a terminal") || !has_tool("stty", "questions at a terminal") {
        return;
    }
    let heard = signals();
    let site = Site::new();
    let ask = |before: &str| {
        format!(
            "{before}\necho x > asking\nsh -c 'echo $$ > pid; exec \"$0\" -r repo snapshots' \"$1\"\n\
             echo \"code $?\"\nstty -a | grep -ow -e '-*echo' -e '-*icanon' -e '-*isig'\n"
        )
    };
    let normal = ["code 130", "isig", "icanon", "echo"];
    let lines = |outcome: &Outcome| -> Vec<String> {
        outcome.out().lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect()
    };
    // Typed, and sent from elsewhere.
    let mut ways = vec![(String::new(), &b"\x03"[..])];
    for (signal, name) in [(Signal::TERM, "TERM"), (Signal::INT, "INT"), (Signal::HUP, "HUP")] {
        if heard.contains(&signal) {
            ways.push((format!("(sleep 1; kill -{name} \"$(cat pid)\") &"), b""));
        }
    }
    for (before, typed) in ways {
        drop(fs::remove_file(site.join("asking")));
        let outcome = at_terminal(&site, &ask(&before), typed);
        let lines = lines(&outcome);
        assert!(lines.iter().any(|line| line.contains("password")), "it did not ask: {lines:?}");
        assert!(lines.ends_with(&normal.map(str::to_owned)), "{before} {typed:?}: {lines:?}");
    }
}
