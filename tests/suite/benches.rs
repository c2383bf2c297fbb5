//! The benchmark scripts work: their own tests pass, and both measure a little data with the executable under
//! test. How long anything took is not looked at.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Outcome, TempFolder, has_tool, run, untested};

/// Longest that one script may take on its little data.
const DEADLINE: u64 = 240;

/// A Python that is new enough for the scripts; without one they are recorded as untested.
pub(crate) fn python(what: &str) -> Option<PathBuf> {
    if !has_tool("python3", what) {
        return None;
    }
    // What the search path leads to can be a shell script that chooses one; the scripts run without that shell.
    let asked = "import sys; print(sys.executable); sys.exit(sys.version_info < (3, 11))";
    let answer = Command::new("python3").args(["-c", asked]).output().expect("start Python");
    if answer.status.success() {
        return Some(String::from_utf8(answer.stdout).expect("a path").trim_end().into());
    }
    untested(&format!("{what} (python3 is older than 3.11)"));
    None
}

/// Where a program lies.
fn tool(name: &str) -> PathBuf {
    env::split_paths(&env::var_os("PATH").expect("a search path"))
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
        .unwrap_or_else(|| panic!("{name} is part of every system that the scripts run on"))
}

/// Runs Python in the folder of the benchmarks, with a search path that leads to nothing but what the scripts
/// always need: no other backup program is found.
fn script<A: Into<OsString>>(place: &TempFolder, python: &Path, arguments: Vec<A>) -> Outcome {
    let tools = place.join("tools");
    fs::create_dir(&tools).expect("make a folder for tools");
    for name in ["find", "cat", "cmp", "strace"] {
        symlink(tool(name), tools.join(name)).expect("link a tool");
    }
    script_with(place, python, arguments, tools.as_os_str())
}

/// The same with a search path.
fn script_with<A: Into<OsString>>(
    place: &TempFolder,
    python: &Path,
    arguments: Vec<A>,
    tools: &OsStr,
) -> Outcome {
    let mut command = Command::new(python);
    command.arg("-B").args(arguments.into_iter().map(Into::into));
    command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("benches"));
    command.env_clear().env("PATH", tools).env("TMPDIR", place.path());
    run(&mut command, DEADLINE)
}

/// Arguments that every run here shares: the executable under test, a work folder, nothing installed.
fn shared(place: &TempFolder, script: &str) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = vec![script.into(), "--no-install".into(), "--strongroom".into()];
    arguments.push(env!("CARGO_BIN_EXE_strongroom").into());
    arguments.extend(["--work".into(), place.join("work").into_os_string()]);
    arguments
}

#[track_caller]
fn assert_holds(text: &str, expected: &[&str]) {
    for expected in expected {
        assert!(text.contains(expected), "no {expected:?} in\n{text}");
    }
}

#[test]
fn the_scripts_pass_their_own_tests() {
    let Some(python) = python("the benchmark scripts") else { return };
    let place = TempFolder::new();
    let outcome = script(&place, &python, vec!["-m", "unittest", "measuring.tests"]).expect_code(0);
    assert_holds(&outcome.err(), &["\nOK\n"]);
}

#[test]
fn the_comparison_measures_strongroom_alone_and_names_what_is_missing() {
    let Some(python) = python("the benchmark scripts") else { return };
    let place = TempFolder::new();
    for number in 0..30 {
        place.write(format!("sources/{number}/lib.rs"), format!("pub const NUMBER: u8 = {number};\n"));
    }
    let mut arguments = shared(&place, "side_by_side.py");
    arguments.extend(["--only", "sources", "--rounds", "2", "--source-files", "50"].map(Into::into));
    arguments.extend(["--sources".into(), place.join("sources").into_os_string()]);
    arguments.extend(["--tools".into(), place.join("nothing").into_os_string()]);
    let outcome = script(&place, &python, arguments).expect_code(0);
    assert_holds(&outcome.err(), &["what Strongroom restored equals what was backed up"]);
    let expected = [
        "; restic is missing: it is not measured; rustic is missing: it is not measured\n",
        "- The registry has 30 files; they were copied 2 times",
        "| step | measure | Strongroom | target |\n",
        "\n| first backup | wall, s | ",
        "\n| restore | wall, s | ",
        "\n| check, all data read | peak anonymous memory, MiB | ",
        " ≤ 0.4 × restic: not measured |\n",
    ];
    assert_holds(&outcome.out(), &expected);
    assert!(!place.join("work").exists(), "the work folder is removed");
}

#[test]
fn the_scale_script_measures_every_shape() {
    let Some(python) = python("the benchmark scripts") else { return };
    let place = TempFolder::new();
    let mut arguments = shared(&place, "scale.py");
    let small = [
        "--files",
        "60",
        "--folders",
        "7",
        "--large-bytes",
        "9000000",
        "--dense-bytes",
        "900000",
        "--pieces",
        "9",
    ];
    arguments.extend(small.map(Into::into));
    let outcome = script(&place, &python, arguments).expect_code(0);
    let report = outcome.out();
    let expected = [
        "\n## 60 small files in 7 folders\n",
        "\n## 60 small files in one folder\n",
        "\n## One file of 0.01 GB with holes\n",
        "\n| `ls` of everything | Strongroom | ",
        "\n| `dump` of one file | Strongroom | ",
    ];
    assert_holds(&report, &expected);
    assert_eq!(report.matches("what was restored equals what was backed up").count(), 3, "{report}");
}

#[test]
fn a_script_that_cannot_start_says_why_in_one_message() {
    let Some(python) = python("the benchmark scripts") else { return };
    let place = TempFolder::new();
    place.write("work/mine", "not the script's");
    let outcome = script(&place, &python, shared(&place, "scale.py")).expect_code(1);
    let said = outcome.err();
    assert!(said.starts_with("scale.py: ") && said.contains("is not empty; remove it"), "{said}");
    assert_eq!(fs::read_to_string(place.join("work/mine")).expect("read it"), "not the script's");
}

#[test]
fn the_script_for_one_file_counts_what_is_read() {
    let Some(python) = python("the benchmark scripts") else { return };
    if !has_tool("strace", "the benchmark of one file") {
        return;
    }
    let place = TempFolder::new();
    let mut arguments = shared(&place, "one_file.py");
    let small = ["--files", "60", "--folders", "7", "--snapshots", "3", "--changed", "5", "--rounds", "1"];
    arguments.extend(small.map(Into::into));
    let outcome = script(&place, &python, arguments).expect_code(0);
    let report = outcome.out();
    assert_holds(
        &report,
        &[
            "\n| nothing cached | Strongroom | ",
            "\n| with the cache that the backups left | Strongroom | 3 | 4 | 3 | ",
        ],
    );
}

#[test]
fn the_script_for_dumps_measures_every_server() {
    let what = "the benchmark of dumps";
    let Some(python) = python(what) else { return };
    if !["psql", "mariadb", "mariadb-install-db"].iter().all(|tool| has_tool(tool, what)) {
        return;
    }
    let place = TempFolder::new();
    // The servers run as somebody else, who has to get to his folder.
    fs::set_permissions(place.path(), Permissions::from_mode(0o711)).expect("open the folder");
    let mut arguments = shared(&place, "dumps.py");
    arguments.extend(["--rows", "400", "--rounds", "1", "--change-rows", "0.02"].map(Into::into));
    // The servers' own programs need much of what a system has.
    let searched = env::var_os("PATH").expect("a search path");
    let report = script_with(&place, &python, arguments, &searched).expect_code(0).out();
    let expected = [
        "\n## PostgreSQL ",
        "\n## MariaDB ",
        "; 8 rows changed and 1 were added.\n",
        "\n| Strongroom | ",
        "\n- Strongroom's first night held at most ",
    ];
    assert_holds(&report, &expected);
    assert!(!place.join("work").exists(), "the work folder is removed");
}
