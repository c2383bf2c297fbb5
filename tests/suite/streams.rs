//! Streams: standard input and what a command writes become one file, or no snapshot at all.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::site::{DEADLINE, Site, last, number, objects};
use crate::support::{Outcome, Rng, has_tool, long, run, run_with_input, strongroom};

/// Largest memory that a backup of a stream may take up, in KiB: packs and buffers, whatever the stream's length.
const MEMORY_MAX: u64 = 400 << 10;

/// Backs up what comes on standard input; gives the summary.
#[track_caller]
fn store(site: &Site, input: &[u8], arguments: &[&str]) -> Value {
    let mut command = site.command([&["--json", "backup", "--stdin"], arguments].concat());
    last(&objects(&run_with_input(&mut command, input, DEADLINE).expect_code(0)))
}

/// Backs up what a command writes, however that ends.
fn from_command(site: &Site, flags: &[&str], command: &[&str]) -> Outcome {
    site.run_any([&["backup", "--stdin-from-command"], flags, &["--"], command].concat())
}

fn snapshots(site: &Site) -> Vec<Value> {
    site.json(0, ["snapshots"])
}

#[test]
fn a_stream_becomes_one_file_and_comes_back() {
    let site = Site::new();
    let mut rng = Rng::new(1);
    for (size, name) in [
        (1, "one"),
        (16_384, "least"),
        (262_145, "over"),
        (8 << 20, "buffer"),
        ((8 << 20) + 1, "more"),
        (20_000_000, "many"),
    ] {
        let content = rng.bytes(size);
        let summary = store(&site, &content, &["--stdin-filename", name, "--tag", "dump", "--host", "db"]);
        assert_eq!(
            (number(&summary, "files_new"), number(&summary, "total_bytes_processed")),
            (1, size as u64)
        );
        assert_eq!(site.run(0, ["dump", "latest", name]).stdout, content, "{name}");
    }
    let listed = snapshots(&site);
    let newest = listed.last().unwrap();
    assert_eq!((&newest["paths"][0], &newest["hostname"]), (&"/many".into(), &"db".into()));
    assert_eq!(newest["tags"][0], "dump");
    let nodes = site.json(0, ["ls", "latest"]);
    assert_eq!(nodes.iter().filter(|node| node["message_type"] == "node").count(), 1);
    let node = nodes.iter().find(|node| node["path"] == "/many").expect("the file");
    assert_eq!((&node["type"], &node["permissions"]), (&"file".into(), &"0600".into()));
    // Owner and time are those of whoever ran the backup, when it did.
    let reference = fs::metadata(site.folder.write("reference", "")).unwrap();
    assert_eq!(number(node, "uid"), u64::from(std::os::unix::fs::MetadataExt::uid(&reference)));
    assert!(node["mtime"].as_str().unwrap() > "2020");
    let restored = site.restore("latest", "restored");
    assert_eq!(fs::metadata(restored.join("many")).unwrap().len(), 20_000_000);
    site.assert_sound();
}

#[test]
fn a_name_may_have_folders_and_defaults_to_stdin() {
    let site = Site::new();
    store(&site, b"x", &[]);
    assert_eq!(site.run(0, ["dump", "latest", "/stdin"]).out(), "x");
    store(&site, b"deep", &["--stdin-filename", "/dumps//db/all.sql"]);
    assert_eq!(site.run(0, ["ls", "latest"]).out(), "/dumps\n/dumps/db\n/dumps/db/all.sql\n");
    assert_eq!(fs::read(site.restore("latest", "restored").join("dumps/db/all.sql")).unwrap(), b"deep");
    let again = store(&site, b"deep", &["--stdin-filename", "dumps/db/all.sql"]);
    assert_eq!((number(&again, "dirs_unmodified"), &again["parent"].is_string()), (2, &true));
    for name in ["", "/", "..", "a/../b", "."] {
        let mut command = site.command(["backup", "--stdin", "--stdin-filename", name]);
        run_with_input(&mut command, b"x", DEADLINE).expect_code(2);
    }
}

#[test]
fn a_stream_shares_its_chunks_with_the_night_before() {
    let site = Site::new();
    let mut content = Rng::new(2).bytes(12_000_000);
    store(&site, &content, &[]);
    let same = store(&site, &content, &[]);
    // The lists, the tree and nothing else.
    assert_eq!((number(&same, "data_blobs"), number(&same, "files_changed")), (0, 1));
    for at in [1_000_000, 6_000_000, 11_000_000] {
        content.splice(at..at, *b"a row that was inserted");
    }
    let changed = store(&site, &content, &[]);
    // Fine chunks: with those for files each insertion would cost a megabyte and more.
    assert!((3..=9).contains(&number(&changed, "data_blobs")), "{changed}");
    assert!(number(&changed, "data_added") < 400_000, "{changed}");
    assert_eq!(site.run(0, ["dump", "latest", "stdin"]).stdout, content);
    // Another name is another file, and the chunks are the same.
    let other = store(&site, &content, &["--stdin-filename", "other"]);
    assert_eq!((number(&other, "data_blobs"), number(&other, "files_new")), (0, 1));
    let mut dry = site.command(["--json", "backup", "-n", "--stdin"]);
    let before = site.objects();
    let dry =
        last(&objects(&run_with_input(&mut dry, &Rng::new(3).bytes(3_000_000), DEADLINE).expect_code(0)));
    assert!(number(&dry, "data_added") >= 3_000_000 && dry["snapshot_id"].is_null(), "{dry}");
    assert_eq!(site.objects(), before);
}

#[test]
fn a_command_is_run_as_it_stands() {
    let site = Site::new();
    let ran = from_command(&site, &[], &["printf", "%s|", "$HOME", "a  b", "*", "-q"]).expect_code(0);
    assert!(ran.out().contains("saved"), "{}", ran.out());
    assert_eq!(site.run(0, ["dump", "latest", "stdin"]).out(), "$HOME|a  b|*|-q|");
    // Its words reach us, and its standard input is empty.
    let script = "cat; echo 'a notice' >&2; pwd; test -z \"$(cat)\" && echo nothing";
    let ran = from_command(&site, &["--stdin-filename", "s"], &["sh", "-c", script]).expect_code(0);
    assert_eq!(ran.err(), "a notice\n");
    let stored = site.run(0, ["dump", "latest", "s"]).out();
    assert_eq!(stored, format!("{}\nnothing\n", site.folder.path().display()));
    // It may close its output long before it ends, and then its end counts.
    from_command(&site, &[], &["sh", "-c", "echo early; exec >&-; sleep 0.3; exit 4"]).expect_code(1);
    from_command(&site, &[], &["sh", "-c", "echo early; exec >&-; sleep 0.3"]).expect_code(0);
}

#[test]
fn a_command_that_fails_makes_no_snapshot_and_its_chunks_are_reused() {
    let site = Site::new();
    let bulk = site.folder.write("bulk", Rng::new(4).bytes(9_000_000));
    let bulk = bulk.to_str().unwrap();
    let plain = site.folder.write("plain", "no program");
    let cases: [(&[&str], &str); 8] = [
        (&["sh", "-c", "cat \"$1\"; exit 7", "sh", bulk], "sh failed with exit code 7"),
        (&["sh", "-c", "cat \"$1\"; kill -9 $$", "sh", bulk], "sh was killed by signal 9"),
        (&["sh", "-c", "kill -15 $$"], "sh was killed by signal 15"),
        (&["false"], "false failed with exit code 1"),
        (&["no-such-program"], "cannot start the command no-such-program: No such file"),
        (&[plain.to_str().unwrap()], "Permission denied"),
        (&["true"], "not one byte"),
        (&["sh", "-c", "exit 3", "password-hunter2"], "sh failed with exit code 3"),
    ];
    for (command, said) in cases {
        let outcome = from_command(&site, &[], command).expect_code(1);
        assert!(outcome.err().contains(said), "{command:?}: {}", outcome.err());
        assert!(outcome.err().contains("no snapshot was made"), "{}", outcome.err());
        assert!(!outcome.err().contains("hunter2") && outcome.stdout.is_empty(), "{}", outcome.err());
        let arguments = [&["--json", "backup", "--stdin-from-command", "--"], command].concat();
        let object = objects(&site.run(1, arguments)).pop().unwrap();
        assert_eq!(object["message_type"], "exit_error");
        assert!(object["message"].as_str().unwrap().contains(said), "{object}");
    }
    assert_eq!((site.count("snapshots"), site.count("sessions")), (0, 0));
    assert!(site.count("index") > 0, "what was stored is published");
    let outcome = site.run(0, ["--json", "backup", "--stdin-from-command", "--", "cat", bulk]);
    let summary = last(&objects(&outcome));
    assert_eq!((number(&summary, "data_blobs"), number(&summary, "files_new")), (0, 1), "{summary}");
    assert_eq!(site.run(0, ["dump", "latest", "stdin"]).stdout, fs::read(bulk).unwrap());
    site.assert_sound();
}

#[test]
fn an_empty_stream_is_refused_unless_it_is_wanted() {
    let site = Site::new();
    let outcome = run_with_input(&mut site.command(["backup", "--stdin"]), b"", DEADLINE).expect_code(1);
    assert!(outcome.err().contains("not one byte") && outcome.err().contains("--stdin-allow-empty"));
    from_command(&site, &[], &["true"]).expect_code(1);
    assert_eq!(site.count("snapshots"), 0);
    from_command(&site, &["--stdin-allow-empty"], &["true"]).expect_code(0);
    assert!(site.run(0, ["dump", "latest", "stdin"]).stdout.is_empty());
    // That flag forgives no failure.
    from_command(&site, &["--stdin-allow-empty"], &["false"]).expect_code(1);
    assert_eq!(site.count("snapshots"), 1);
    site.assert_sound();
}

#[test]
fn what_cannot_be_read_makes_no_snapshot() {
    let site = Site::new();
    let mut folder = site.command(["backup", "--stdin"]);
    folder.stdin(fs::File::open("/").unwrap()).stdout(Stdio::null());
    let outcome = folder.output().unwrap();
    let said = String::from_utf8_lossy(&outcome.stderr).into_owned();
    assert_eq!(outcome.status.code(), Some(1), "{said}");
    assert!(said.contains("standard input: cannot be read: Is a directory"), "{said}");
    // Somebody who writes nothing and does not hang up.
    let mut silent =
        site.command(["backup", "--stdin", "--stdin-timeout", "1"]).stdin(Stdio::piped()).spawn().unwrap();
    let held = silent.stdin.take();
    assert_eq!(silent.wait().unwrap().code(), Some(1));
    drop(held);
    let outcome = from_command(&site, &["--stdin-timeout", "1"], &["sh", "-c", "echo some; exec sleep 600"]);
    assert!(
        outcome.err().contains("the output of the command sh: nothing came for 1 s"),
        "{}",
        outcome.err()
    );
    outcome.expect_code(1);
    let outcome =
        from_command(&site, &["--stdin-timeout", "1"], &["sh", "-c", "echo x; exec >&-; sleep 600"]);
    outcome.expect_code(1);
    assert_eq!((site.count("snapshots"), site.count("sessions")), (0, 0));
    // Who is slow and not silent is waited for.
    let slow = "for i in 1 2 3 4 5; do echo $i; sleep 0.5; done";
    from_command(&site, &["--stdin-timeout", "2"], &["sh", "-c", slow]).expect_code(0);
    assert_eq!(site.run(0, ["dump", "latest", "stdin"]).out(), "1\n2\n3\n4\n5\n");
}

#[test]
fn a_terminal_is_no_stream() {
    if !has_tool("script", "the program at a terminal") {
        return;
    }
    let site = Site::new();
    let template = site.command(["backup", "--stdin"]);
    let words: Vec<_> = template.get_args().map(|word| word.to_str().unwrap()).collect();
    let line = format!("'{}' {}", template.get_program().to_str().unwrap(), words.join(" "));
    let mut command = Command::new("script");
    command.args(["-qec", &line, "/dev/null"]).current_dir(site.folder.path()).env_clear();
    command.envs(template.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let outcome = run(&mut command, DEADLINE).expect_code(1);
    assert!(outcome.out().contains("standard input is a terminal"), "{}", outcome.out());
}

#[test]
fn a_password_command_does_not_eat_the_stream() {
    let site = Site::new();
    let mut init = strongroom(&site.folder);
    init.args(["-q", "-r", "other", "init", "--password-command", "echo secret"]);
    run(&mut init, DEADLINE).expect_code(0);
    let mut backup = strongroom(&site.folder);
    backup.args(["-q", "-r", "other", "--password-command", "cat; echo secret", "backup", "--stdin"]);
    run_with_input(&mut backup, b"the stream", DEADLINE).expect_code(0);
    let mut dump = strongroom(&site.folder);
    dump.args(["-r", "other", "--password-command", "echo secret", "dump", "latest", "stdin"]);
    assert_eq!(run(&mut dump, DEADLINE).expect_code(0).out(), "the stream");
}

#[test]
fn a_wrong_use_of_streams_is_exit_code_2() {
    let site = Site::new();
    let wrong: [&[&str]; 9] = [
        &["--stdin", "."],
        &["--stdin", "--vaultwarden", "x"],
        &["--stdin", "--stdin-from-command", "--", "true"],
        &["--stdin-from-command"],
        &["--stdin-from-command", "--vaultwarden", "x"],
        &["--stdin-filename", "x", "."],
        &["--stdin-allow-empty", "."],
        &["--stdin-timeout", "5", "."],
        &["--stdin", "--stdin-timeout", "0"],
    ];
    for arguments in wrong {
        let outcome = site.run(2, [&["backup"], arguments].concat());
        assert!(outcome.err().contains("Usage:") || outcome.err().contains("--help"), "{}", outcome.err());
    }
    assert_eq!(site.count("snapshots"), 0);
}

/// The most memory that a process took up so far, in KiB.
fn peak(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[test]
fn a_long_stream_takes_up_little_memory() {
    let site = Site::new();
    let megabytes: u64 = if long() { 16_000 } else { 2_000 };
    let zeros = format!("head -c {megabytes}M /dev/zero");
    // Noise that repeats after 700 MB would not be new; this does not repeat.
    let noise = format!("head -c {}M /dev/urandom", megabytes / 5);
    for script in [&zeros, &noise] {
        let mut command =
            site.command(["--json", "backup", "--stdin-from-command", "--", "sh", "-c", script]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
        let mut most = 0;
        while child.try_wait().unwrap().is_none() {
            most = peak(child.id()).unwrap_or(0).max(most);
            thread::sleep(Duration::from_millis(20));
        }
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        println!("{script}: {} MiB", most >> 10);
        assert!(most > 0 && most < MEMORY_MAX, "{script}: {most} KiB");
        let text = String::from_utf8(output.stdout).unwrap();
        let summary: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        if script == &zeros {
            assert_eq!(number(&summary, "total_bytes_processed"), megabytes << 20);
            // The same chunk again and again, but longer in each stretch of the stream, and one at the end.
            let stretches = ((megabytes >> 10) + 1).ilog2().min(3) as u64 + 1;
            let blobs = number(&summary, "data_blobs");
            assert!(blobs == stretches || blobs == stretches + 1, "{summary}");
        }
    }
    assert_eq!(fs::read_dir(site.join("tmp")).unwrap().count(), 0, "no temporary copy");
    site.run(0, ["-q", "check"]);
}

#[test]
fn a_slow_writer_is_read_to_its_end() {
    let site = Site::new();
    let mut child = site.command(["-q", "backup", "--stdin"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut pipe = child.stdin.take().unwrap();
    let mut rng = Rng::new(5);
    let mut sent = Vec::new();
    for _ in 0..60 {
        let size = rng.below(100_000) as usize;
        let part = rng.bytes(size);
        pipe.write_all(&part).unwrap();
        sent.extend(part);
        thread::sleep(Duration::from_millis(rng.below(20)));
    }
    drop(pipe);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(site.run(0, ["dump", "latest", "stdin"]).stdout, sent);
}

#[test]
fn a_store_that_fails_is_told_while_the_command_is_silent() {
    let site = Site::new();
    // A file where the folder was: nobody can store a pack below it.
    let script = "mv repo/packs repo/away; : > repo/packs; head -c 90000000 /dev/urandom; exec sleep 600";
    let outcome = from_command(&site, &[], &["sh", "-c", script]).expect_code(1);
    assert!(outcome.err().contains("a pack cannot be stored"), "{}", outcome.err());
}
