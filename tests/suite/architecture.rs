//! The layers of `src/` as a test: who may import whom, who may talk to the outside world.
//!
//! A file imports only from a lower rank or from its own top-level folder. Exceptions stand in
//! [`EXCEPTIONS`], each with its reason; add one there only after trying to do without.

mod tokens;

use std::fs;
use std::path::{Path, PathBuf};

use tokens::{SourcePath, SourceText};

/// Every top-level module of the library, by rank.
const RANKS: [(u8, &[&str]); 5] = [
    (0, &["error", "id", "interrupt", "limits", "report"]),
    (1, &["format", "crypto", "chunker", "compress", "backend"]),
    (2, &["source", "repository"]),
    (3, &["service", "operation"]),
    (4, &["cli"]),
];

/// Imports within one rank: from, to, why.
const EXCEPTIONS: &[(&str, &str, &str)] = &[
    ("interrupt", "error", "whoever is asked to stop stops with an error"),
    ("report", "id", "whom damage hurts is told by the ids of snapshots"),
    ("crypto", "format", "key slots and envelopes are sealed here and encoded there"),
    ("operation", "service", "rank 3 has an order: an operation asks a service where its data lies"),
];

/// What only `cli/` and `main.rs` may use: print, the environment, the end of the program.
const OUTSIDE_WORLD: &[[&str; 2]] =
    &[["std", "env"], ["io", "stdout"], ["io", "stderr"], ["process", "exit"], ["process", "abort"]];
const PRINTING: &[&str] = &["print", "println", "eprint", "eprintln", "dbg"];

/// The longest `main.rs`: it hands over to `cli/`, and that is all.
const MAIN_LINES: usize = 60;

fn rank(module: &str) -> Option<u8> {
    RANKS.iter().find(|(_, modules)| modules.contains(&module)).map(|(rank, _)| *rank)
}

fn may_import(from: &str, to: &str) -> bool {
    let lower = rank(from).zip(rank(to)).is_some_and(|(from, to)| to < from);
    lower || from == to || EXCEPTIONS.iter().any(|(source, target, _)| (*source, *target) == (from, to))
}

/// The module that a file of `src/` holds: `source/files.rs` and `source/files/mod.rs` are `[source, files]`.
fn module_of(file: &str) -> Vec<&str> {
    let stem = file.strip_suffix(".rs").unwrap_or(file);
    let stem = stem.strip_suffix("/mod").unwrap_or(stem);
    stem.split('/').filter(|name| !["lib", "main"].contains(name)).collect()
}

/// What is wrong with one file, its path given relative to `src/`.
fn violations(file: &str, text: &str, is_test: bool) -> Vec<String> {
    let source = SourceText::parse(text);
    let module = module_of(file);
    let is_outer = file == "main.rs" || module.first() == Some(&"cli");
    let mut found = Vec::new();
    if !text.starts_with("//!") {
        found.push(format!("src/{file}:1: does not open with a //! line that states its purpose"));
    }
    if file == "main.rs" && text.lines().count() >= MAIN_LINES {
        found.push(format!("src/{file}: is {MAIN_LINES} lines long or longer"));
    }
    for (line, word) in source.words() {
        if word == "unsafe" {
            found.push(format!("src/{file}:{line}: unsafe code"));
        }
    }
    for call in source.macros().filter(|call| PRINTING.contains(&call.name.as_str())) {
        if !(is_outer || is_test || call.in_test) {
            found.push(format!("src/{file}:{}: {}! outside cli/", call.line, call.name));
        }
    }
    for path in source.paths() {
        let in_test = is_test || path.in_test;
        let complaint = import_complaint(&module, path)
            .or_else(|| glob_complaint(path, in_test))
            .or_else(|| (!is_outer && !in_test).then(|| world_complaint(path)).flatten());
        if let Some(complaint) = complaint {
            found.push(format!("src/{file}:{}: {}: {complaint}", path.line, path.segments.join("::")));
        }
    }
    found
}

/// The top-level module that a path leads to, where it leads through the root of the crate.
fn target<'a>(module: &[&str], path: &'a SourcePath) -> Option<&'a str> {
    let mut segments = path.segments.iter().map(String::as_str).skip_while(|name| *name == "self").peekable();
    if segments.next_if_eq(&"crate").is_none() {
        let depth = module.len() + path.inline_depth;
        let mut climbed = 0;
        while segments.next_if_eq(&"super").is_some() {
            climbed += 1;
        }
        if climbed == 0 || climbed < depth {
            return None;
        }
    }
    segments.next().or(Some("the whole crate"))
}

fn import_complaint(module: &[&str], path: &SourcePath) -> Option<String> {
    let from = module.first()?;
    let to = target(module, path)?;
    if rank(from).is_none() {
        return Some(format!("{from} has no rank; give it one in tests/suite/architecture.rs"));
    }
    if rank(to).is_none() {
        return Some(format!("{to} is no module with a rank; import from where the item is defined"));
    }
    (!may_import(from, to)).then(|| format!("{from} may not import {to}"))
}

fn glob_complaint(path: &SourcePath, in_test: bool) -> Option<String> {
    let (last, before) = path.segments.split_last()?;
    let from_above = in_test && before.iter().all(|name| name == "super");
    let prelude = before.last().is_some_and(|name| name == "prelude") && before[0] != "crate";
    (last == "*" && !from_above && !prelude).then(|| "glob import; name what is used".to_owned())
}

fn world_complaint(path: &SourcePath) -> Option<String> {
    let bare = path.segments.len() > 1 && path.segments[0] == "env";
    let listed = path.segments.windows(2).any(|pair| OUTSIDE_WORLD.iter().any(|banned| pair == banned));
    (bare || listed).then(|| "only cli/ prints, reads the environment or exits".to_owned())
}

/// Every Rust file below a folder, as sorted paths relative to it.
fn rust_files(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.expect("read the folder").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path.strip_prefix(root).expect("it lies below").to_owned());
            }
        }
    }
    found.sort();
    found
}

/// The files that hold nothing but tests: `#[cfg(test)] mod name;` in another file says so.
fn test_files(file: &str, text: &str) -> Vec<String> {
    let module = module_of(file).join("/");
    let place = if module.is_empty() { module } else { format!("{module}/") };
    let names = SourceText::parse(text).test_modules().to_vec();
    names.iter().flat_map(|name| [format!("{place}{name}.rs"), format!("{place}{name}/mod.rs")]).collect()
}

#[test]
fn every_file_keeps_to_its_layer() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files: Vec<(String, String)> = rust_files(&root)
        .iter()
        .map(|path| {
            let text = fs::read_to_string(root.join(path)).expect("source is UTF-8");
            (path.to_str().expect("file names are UTF-8").to_owned(), text)
        })
        .collect();
    assert!(files.iter().any(|(file, _)| file == "lib.rs"), "src/ was found");
    let tests: Vec<String> = files.iter().flat_map(|(file, text)| test_files(file, text)).collect();
    // What lies in the folder of a test module is a test as the module itself.
    let folders: Vec<&str> = tests.iter().filter_map(|file| file.strip_suffix("mod.rs")).collect();
    let is_test =
        |file: &String| tests.contains(file) || folders.iter().any(|folder| file.starts_with(folder));
    let found: Vec<String> =
        files.iter().flat_map(|(file, text)| violations(file, text, is_test(file))).collect();
    assert!(found.is_empty(), "{} violations:\n{}", found.len(), found.join("\n"));
}

#[test]
fn every_theme_of_the_suite_is_declared() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite");
    let main = fs::read_to_string(root.join("main.rs")).expect("read the suite");
    for file in rust_files(&root).iter().filter(|file| file.components().count() == 1) {
        let name = file.file_stem().and_then(|name| name.to_str()).expect("file names are UTF-8");
        let declared = main.lines().any(|line| line.trim() == format!("mod {name};"));
        assert!(
            declared || name == "main",
            "tests/suite/{name}.rs is never run: main.rs does not declare it"
        );
    }
}

/// Lines that must be caught, each with the file it stands in and a word of the complaint.
const WRONG: &[(&str, &str, &str)] = &[
    ("id.rs", "use crate::error::Error;", "id may not import error"),
    ("backend/local.rs", "use crate::crypto::seal;", "backend may not import crypto"),
    ("format/pack.rs", "use crate::crypto::Seal;", "format may not import crypto"),
    ("source/files.rs", "use crate::repository::Packer;", "source may not import repository"),
    ("source/files.rs", "use crate::{error::Error, repository::{tree, index}};", "may not import repository"),
    ("source/files.rs", "use crate::{\n    error::Error,\n    cli,\n};", "may not import cli"),
    ("repository/tree.rs", "pub(crate) use crate::operation::check;", "may not import operation"),
    ("service/vaultwarden.rs", "use crate::operation::backup;", "service may not import operation"),
    ("operation/backup.rs", "fn f() { crate::cli::output::show(1) }", "may not import cli"),
    ("operation/prune/plan.rs", "use super::super::super::cli::run;", "may not import cli"),
    ("format/mod.rs", "use super::repository::tree;", "format may not import repository"),
    ("format/node.rs", "mod inner { use super::super::super::crypto::Key; }", "may not import crypto"),
    ("format/node.rs", "#[cfg(test)]\nmod tests { use crate::crypto::Key; }", "may not import crypto"),
    ("source/files.rs", "macro_rules! m { () => { $crate::cli::run() } }", "may not import cli"),
    ("toolbox.rs", "use crate::id::Id;", "toolbox has no rank"),
    ("cli/mod.rs", "use crate::Result;", "no module with a rank"),
    ("cli/mod.rs", "use crate as everything;", "the whole crate is no module"),
    ("cli/mod.rs", "use crate::*;", "no module with a rank"),
    ("cli/mod.rs", "use crate::error::*;", "glob import"),
    ("cli/mod.rs", "use crate::{error::{Error, *}};", "glob import"),
    ("cli/mod.rs", "use super::prelude::{self, *}; use std::collections::*;", "glob import"),
    ("error.rs", "use super::*;", "no module with a rank"),
    ("crypto/seal.rs", "use super::*;", "glob import"),
    ("backend/retry.rs", "fn f() { println!(\"retrying\"); }", "println! outside cli/"),
    ("backend/retry.rs", "fn f() { std::eprintln ! (\"retrying\"); }", "eprintln! outside cli/"),
    ("backend/local.rs", "fn f() { let home = std::env::var(\"HOME\"); }", "only cli/"),
    ("backend/local.rs", "use std::{env, fs};", "only cli/"),
    ("backend/local.rs", "fn f() { ::std::env::temp_dir(); }", "only cli/"),
    ("operation/demo.rs", "fn f() { env::temp_dir(); }", "only cli/"),
    ("operation/demo.rs", "use std::process::{self, exit};", "only cli/"),
    ("operation/demo.rs", "fn f() -> ! { process::exit(1) }", "only cli/"),
    ("operation/demo.rs", "fn f() { let out = io::stdout(); }", "only cli/"),
    ("operation/demo.rs", "#[cfg(test)]\nfn t() {}\nfn f() { process::exit(1) }", "only cli/"),
    ("id.rs", "fn f() { let a = 'a'; /* \" */ unsafe { g() } }", "unsafe code"),
];

/// Lines that must not be.
const RIGHT: &[(&str, &str)] = &[
    ("lib.rs", "pub mod error;\npub mod cli;"),
    ("main.rs", "use strongroom::cli;\nfn main() { std::process::exit(cli::main(std::env::args_os())) }"),
    ("crypto/slot.rs", "use crate::format::key::Slot;\nuse crate::id::Id;\nuse super::seal::Key;"),
    ("repository/packer.rs", "use crate::{backend::Backend, crypto, format::pack::Header};"),
    (
        "operation/prune/plan.rs",
        "use super::super::check::Plan;\nuse crate::service;\nuse crate::source::Entry;",
    ),
    ("source/mod.rs", "pub(crate) mod files;\npub(in crate::source) fn f<'a>() -> impl Sized + use<'a> {}"),
    ("cli/output.rs", "use std::env;\nfn f() { println!(\"{}\", env::args().count()); }"),
    ("chunker/gear.rs", "use rayon::prelude::*;\nconst VERSION: &str = env!(\"CARGO_PKG_VERSION\");"),
    (
        "chunker/gear.rs",
        "#[cfg(test)]\nmod tests {\n use super::*;\n fn t() { println!(\"{:?}\", std::env::args()); }\n}",
    ),
    ("id.rs", "// use crate::cli;\n/* unsafe /* crate::* */ println!() */\n/// `crate::cli::run`"),
    (
        "id.rs",
        "const A: &str = \"use crate::cli; \\\" unsafe\";\nconst B: &str = r#\"crate::cli \" unsafe\"#;",
    ),
    (
        "id.rs",
        "const C: [char; 3] = ['\"', '\\'', '{'];\nfn f<'a>(text: &'a str) {}\nconst D: &[u8] = b\"unsafe\";",
    ),
    ("id.rs", "#![allow(unsafe_code)]\nfn print() {}\nfn r#unsafe() {}\nenum Kind { Print }"),
];

#[test]
fn wrong_lines_are_caught() {
    for (file, code, complaint) in WRONG {
        let found = violations(file, &format!("//! Purpose.\n{code}\n"), false);
        assert!(found.iter().any(|line| line.contains(complaint)), "{file}: {code}: found only {found:?}");
    }
    let long = format!("//! Purpose.\n{}", "//\n".repeat(MAIN_LINES));
    assert!(!violations("main.rs", &long, false).is_empty());
    assert!(!violations("id.rs", "use std::fmt;\n", false).is_empty(), "no purpose stated");
}

#[test]
fn right_lines_are_left_alone() {
    for (file, code) in RIGHT {
        let found = violations(file, &format!("//! Purpose.\n{code}\n"), false);
        assert!(found.is_empty(), "{file}: {code}: {found:?}");
    }
}

#[test]
fn a_file_that_holds_tests_is_known_by_its_declaration() {
    let text = "#[cfg(test)]\nmod tests;\nmod plan;";
    assert_eq!(test_files("operation/prune/mod.rs", text)[0], "operation/prune/tests.rs");
    assert_eq!(test_files("compress.rs", text)[0], "compress/tests.rs");
    let found = violations("compress/tests.rs", "//! Tests.\nfn t() { println!(\"x\"); }", true);
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn ranks_and_exceptions_agree() {
    for (from, to, reason) in EXCEPTIONS {
        assert!(rank(from).is_some() && rank(from) == rank(to), "{from} to {to} is no exception");
        assert!(!reason.is_empty() && !may_import(to, from), "{from} and {to} may not import each other");
    }
}
