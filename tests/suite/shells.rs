//! What shells and readers of manuals get: completions, manual pages, and a help text for every command.

use std::fs;
use std::process::Command;

use crate::site::DEADLINE;
use crate::support::{TempFolder, has_tool, run, run_with_input, strongroom};

fn said(folder: &TempFolder, words: &[&str]) -> String {
    run(strongroom(folder).args(words), DEADLINE).expect_code(0).out()
}

/// The commands listed in a help text.
fn listed(help: &str) -> Vec<String> {
    let lines =
        help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    // A name stands two columns in; what a name is for may go on below it.
    let names = lines.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    names.filter_map(|line| line.split_whitespace().next().map(str::to_owned)).collect()
}

/// Every command and what stands below it, as words.
fn commands(folder: &TempFolder) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    let mut open = vec![Vec::new()];
    while let Some(command) = open.pop() {
        let mut words: Vec<&str> = command.iter().map(String::as_str).collect();
        words.push("--help");
        for name in listed(&said(folder, &words)) {
            open.push([command.as_slice(), &[name]].concat());
        }
        found.push(command);
    }
    found
}

#[test]
fn every_command_has_an_example_and_the_exit_codes() {
    let folder = TempFolder::new();
    let commands = commands(&folder);
    for known in [&["backup"][..], &["key", "add"], &["completions"], &["man"], &["version"]] {
        assert!(commands.iter().any(|command| command == known), "{known:?} is not listed");
    }
    for command in commands {
        let words: Vec<&str> = command.iter().map(String::as_str).collect();
        let help = said(&folder, &[&words, &["--help"][..]].concat());
        assert!(help.contains("\nExample"), "{words:?} has no example:\n{help}");
        let example = format!("  strongroom {}", words.join(" "));
        let own = help.lines().any(|line| line.starts_with(&example) || line.contains("| strongroom "));
        assert!(own, "{words:?} shows others' examples:\n{help}");
        let codes = help.split("Exit codes:").nth(1).unwrap_or_default();
        for code in [
            " 0 done",
            " 1 failed",
            " 2 usage",
            " 3 done but",
            "10 no repo",
            "11 busy",
            "12 wrong",
            "130 int",
        ] {
            assert!(codes.contains(code), "{words:?} does not explain {code}:\n{help}");
        }
        // The short form is short.
        let short = said(&folder, &[&words, &["-h"][..]].concat());
        assert!(!short.contains("Exit codes:") && short.contains("\nExample"), "{words:?}:\n{short}");
    }
}

#[test]
fn completions_are_scripts_that_their_shells_take() {
    let folder = TempFolder::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = said(&folder, &["completions", shell]);
        for word in ["restore", "stdin-from-command", "completions", "password-file"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
        // Elvish and PowerShell check nothing without running it.
        if ["bash", "zsh", "fish"].contains(&shell)
            && has_tool(shell, &format!("the completions for {shell}"))
        {
            let outcome =
                run_with_input(Command::new(shell).arg("-n"), script.as_bytes(), DEADLINE).expect_code(0);
            assert!(outcome.err().is_empty(), "{shell}: {}", outcome.err());
        }
    }
    run(strongroom(&folder).args(["completions", "tcsh"]), DEADLINE).expect_code(2);
    let full = run(
        Command::new("sh")
            .args(["-c", "\"$1\" completions bash >/dev/full", "sh"])
            .arg(env!("CARGO_BIN_EXE_strongroom")),
        DEADLINE,
    );
    assert!(full.expect_code(1).err().contains("No space left"));
}

#[test]
fn bash_completes_commands_and_options() {
    if !has_tool("bash", "completing in bash") {
        return;
    }
    let folder = TempFolder::new();
    folder.write("strongroom.bash", said(&folder, &["completions", "bash"]));
    for (words, wanted) in [
        ("strongroom back", "backup"),
        ("strongroom backup --stdin-from", "--stdin-from-command"),
        ("strongroom key a", "add"),
        ("strongroom completions z", "zsh"),
    ] {
        let script = format!(
            "set -u; . ./strongroom.bash; COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); COMPREPLY=();\n\
             _strongroom strongroom \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD - 1]}}\"; echo \"${{COMPREPLY[@]}}\""
        );
        let mut bash = Command::new("bash");
        bash.args(["--norc", "-c", &script]).current_dir(folder.path());
        let outcome = run(&mut bash, DEADLINE).expect_code(0);
        assert_eq!(outcome.out().trim(), wanted, "{words}: {}", outcome.err());
    }
}

#[test]
fn every_command_has_a_manual_page() {
    let folder = TempFolder::new();
    said(&folder, &["man", "--out-dir", "new/man1"]);
    let mut pages: Vec<String> = fs::read_dir(folder.join("new/man1"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    pages.sort();
    let name = |command: &Vec<String>| {
        format!("{}.1", [&["strongroom".to_owned()], command.as_slice()].concat().join("-"))
    };
    let mut expected: Vec<String> = commands(&folder).iter().map(name).collect();
    expected.sort();
    assert_eq!(pages, expected);
    let reader = has_tool("man", "how manual pages look");
    for page in pages {
        let path = folder.join("new/man1").join(&page);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains("130 interrupted") && text.contains("Example"), "{page}");
        let words: Vec<&str> = page.trim_end_matches(".1").split('-').skip(1).collect();
        assert_eq!(said(&folder, &[&["man"], words.as_slice()].concat()), text, "{page}");
        if reader {
            let mut man = Command::new("man");
            man.args(["--warnings", "-E", "UTF-8", "-l", "-Tutf8"]).arg(&path);
            man.env("LC_ALL", "C.UTF-8").env("MANWIDTH", "80");
            let outcome = run(&mut man, DEADLINE).expect_code(0);
            assert!(outcome.err().is_empty(), "{page}: {}", outcome.err());
            // What can be copied into a shell stands as it is, however narrow the page.
            let examples = text.lines().filter(|line| line.starts_with("  strongroom"));
            for example in examples.map(|line| line.replace("\\-", "-").replace("\\*(Aq", "'")) {
                assert!(outcome.out().contains(&example), "{page}: {example}\n{}", outcome.out());
            }
        }
    }
    let outcome = run(strongroom(&folder).args(["man", "no-such-command"]), DEADLINE).expect_code(1);
    assert!(outcome.err().contains("no-such-command") && outcome.err().contains("--help"));
    folder.write("a file", "");
    run(strongroom(&folder).args(["man", "--out-dir", "a file"]), DEADLINE).expect_code(1);
}
