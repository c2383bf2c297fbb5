//! Command lines that make no sense.

use super::transcript::Transcript;

#[test]
fn words_that_are_no_commands_or_options() {
    let mut told = Transcript::bare();
    for arguments in [
        &["bakcup"][..],
        &["frobnicate"],
        &["snapshots", "--jsno"],
        &["restore", "latest", "--traget", "out"],
        &["restore"],
        &["snapshots", "extra"],
        &["key"],
        &["key", "lst"],
        &["repair", "idnex"],
        &["-r"],
        &["backup", "--stdin", "data"],
        &["init", "--new-key-fiel", "x"],
    ] {
        told.tell("A slip of the finger.", arguments);
    }
    told.tell("Nothing at all.", &[]);
    told.hold("usage");
}

#[test]
fn values_that_make_no_sense() {
    let mut told = Transcript::new();
    for arguments in [
        &["backup", "data", "--time", "yesterday"][..],
        &["backup", "data", "--time", "2026-13-45 25:61:00"],
        &["backup", "data", "--exclude-larger-than", "big"],
        &["backup", "data", "--exclude-larger-than", "-5"],
        &["backup", "data", "--exclude-larger-than", "99999999999999999999G"],
        &["backup", "data", "--exclude", "["],
        &["backup", "data", "--exclude", "a{b"],
        &["backup", "data", "--tag", ""],
        &["backup", "data", "--host", ""],
        &["backup", "--stdin", "--stdin-filename", "../up"],
        &["backup", "--stdin", "--stdin-timeout", "0"],
        &["backup", "--stdin", "--stdin-timeout", "soon"],
        &["forget", "--keep-daily", "many"],
        &["forget", "--keep-daily", "-5"],
        &["forget", "--keep-within", "5 parsecs"],
        &["forget", "--keep-within", ""],
        &["forget", "--keep-last", "1", "--time-zone", "Mars/Olympus"],
        &["forget"],
        &["prune", "--max-unused", "150%"],
        &["prune", "--max-unused", "some"],
        &["prune", "--max-repack-size", "x"],
        &["rewrite", "--exclude", "["],
        &["rewrite"],
        &["tag"],
        &["tag", "--add", ""],
        &["key", "add", "--role", "king", "--label", "x", "--new-key-file", "x.key"],
        &["key", "add", "--role", "backup", "--new-key-file", "full.key"],
        &["key", "remove", "zzzz"],
        &["key", "remove", "0123abcd"],
        &["completions", "tcsh"],
        &["--json", "backup", "data", "--time", "yesterday"],
    ] {
        told.tell("That makes no sense.", arguments);
    }
    told.hold("values");
}
