//! Many small files, in many folders and in one: everything is stored, found and restored, in bounded memory.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::benches::python;
use crate::site::{Site, each_file, last, let_times_settle, number, objects};
use crate::support::{Outcome, long, run};

/// Seconds that one command may take with all the files of the long tests on a slow and busy machine.
const DEADLINE: u64 = 1800;

/// The most memory that any command may take.
const MOST_KIB: u64 = 256 << 10;

/// Starts a program and tells the most memory that it had, which only whoever waits for it is told. It is never less
/// than what Python itself takes, from which the program starts.
const WAIT: &str = "\
import os, sys
child = os.posix_spawn(sys.argv[2], sys.argv[2:], os.environ)
_, status, usage = os.wait4(child, 0)
with open(sys.argv[1], 'w') as peak:
    peak.write(str(usage.ru_maxrss))
sys.exit(os.waitstatus_to_exitcode(status))
";

struct Scale {
    site: Site,
    python: PathBuf,
}

impl Scale {
    /// Runs the program, shows what it took, and asserts that its memory was bounded.
    #[track_caller]
    fn run<I: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = I>) -> Outcome {
        let program = self.site.command(arguments);
        let peak = self.site.join("peak");
        let mut command = Command::new(&self.python);
        command.env_clear().current_dir(self.site.folder.path());
        command.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.args(["-c", WAIT]).arg(&peak).arg(program.get_program()).args(program.get_args());
        let outcome = run(&mut command, DEADLINE).expect_code(0);
        let peak: u64 = fs::read_to_string(peak).unwrap().parse().unwrap();
        let shown: Vec<_> = program.get_args().skip(4).map(OsStr::to_string_lossy).collect();
        println!("{:32} {:>8.1} s {:>8} KiB", shown.join(" "), outcome.took.as_secs_f64(), peak);
        assert!(peak <= MOST_KIB, "{peak} KiB are more than {MOST_KIB}");
        outcome
    }

    #[track_caller]
    fn backup(&self) -> Value {
        last(&objects(&self.run(["backup", "data", "--json"])))
    }
}

fn content(path: &str) -> String {
    format!("what stands in {path}\n")
}

/// Backs `files` small files in `folders` folders up, or all of them in one.
fn many(files: usize, folders: usize) {
    let Some(python) = python("the memory that many files take") else { return };
    let scale = Scale { site: Site::new(), python };
    let site = &scale.site;
    // In the order of a listing: a folder, and all that is in it.
    let mut listed = vec!["/data".to_owned()];
    let mut paths = Vec::new();
    let mut bytes = 0;
    for folder in 0..folders {
        let folder = if folders == 1 { "data".to_owned() } else { format!("data/{folder:05}") };
        fs::create_dir_all(site.join(&folder)).unwrap();
        if folders > 1 {
            listed.push(format!("/{folder}"));
        }
        for file in 0..files / folders {
            let path = format!("{folder}/{file:06}");
            fs::write(site.join(&path), content(&path)).unwrap();
            bytes += content(&path).len() as u64;
            listed.push(format!("/{path}"));
            paths.push(path);
        }
    }
    println!("{files} files in {folders} folders");
    let_times_settle();

    let first = scale.backup();
    assert_eq!(number(&first, "files_new"), files as u64);
    assert_eq!(number(&first, "total_bytes_processed"), bytes);
    assert_eq!(number(&first, "problems"), 0);
    let second = scale.backup();
    assert_eq!(number(&second, "files_unmodified"), files as u64);
    assert_eq!([number(&second, "data_blobs"), number(&second, "tree_blobs")], [0, 0]);
    // The one that changes is found among all the others.
    let changed = &paths[files / 3];
    fs::write(site.join(changed), "changed").unwrap();
    let third = scale.backup();
    assert_eq!([number(&third, "files_changed"), number(&third, "files_unmodified")], [1, files as u64 - 1]);
    assert_eq!(number(&third, "data_blobs"), 1);

    let out = scale.run(["ls", "latest"]).out();
    assert!(out.lines().eq(listed.iter().map(String::as_str)), "every path, in order");
    for path in [&paths[0], &paths[files / 2], &paths[files - 1]] {
        assert_eq!(scale.run(["dump", "latest", path]).out(), content(path));
    }
    assert_eq!(scale.run(["dump", "latest", changed]).out(), "changed");

    scale.run(["restore", "latest", "--target", "restored"]);
    let restored = site.join("restored");
    let mut count = 0;
    each_file(&restored, &mut |_, _| count += 1);
    assert_eq!(count, files);
    for path in paths.iter().step_by(if long() { 97 } else { 7 }).filter(|path| *path != changed) {
        assert_eq!(fs::read_to_string(restored.join(Path::new(path))).unwrap(), content(path));
    }
    assert_eq!(fs::read_to_string(restored.join(changed)).unwrap(), "changed");
}

#[test]
fn many_files_in_many_folders() {
    if long() { many(200_000, 2000) } else { many(5000, 50) }
}

#[test]
fn many_files_in_one_folder() {
    many(if long() { 200_000 } else { 5000 }, 1);
}
