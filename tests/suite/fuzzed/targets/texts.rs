//! Texts that people write: paths, keys on paper and in files, patterns, command lines.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use strongroom::cli;
use strongroom::error::ErrorKind;
use strongroom::format::path;
use strongroom::id::Id;
use strongroom::repository::key_file::{key_file_text, parse_key_file};
use strongroom::repository::recovery;
use strongroom::source::files::{ExcludeOptions, Excludes};

use super::bytes::Source;
use super::{accept, decoded};

/// Paths as they are stored, and as people type them; and their order.
pub(super) fn path(bytes: &[u8]) {
    let mut source = Source(bytes);
    let (one, other) = (source.sized(), source.0);
    for text in [one, other] {
        let fine = decoded(path::validate(text)).is_some();
        match path::parse(text) {
            Ok(parsed) => {
                path::validate(&parsed).unwrap();
                assert_eq!(path::parse(&parsed).unwrap(), parsed);
                assert!(!fine || parsed == text);
                if let Some(above) = path::parent(&parsed) {
                    let mut again = above.to_vec();
                    path::push(&mut again, path::name(&parsed));
                    assert_eq!(again, parsed);
                    assert!(path::is_below(&parsed, above) && path::compare(above, &parsed).is_lt());
                }
            }
            Err(error) => assert!(!fine && error.kind() == ErrorKind::Refused),
        }
    }
    if path::fault(one).is_none() && path::fault(other).is_none() {
        let parts = |path: &[u8]| -> Vec<Vec<u8>> {
            let parts = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty());
            parts.map(<[u8]>::to_vec).collect()
        };
        let (one_parts, other_parts) = (parts(one), parts(other));
        assert_eq!(path::compare(one, other), one_parts.cmp(&other_parts));
        assert_eq!(path::compare(other, one), one_parts.cmp(&other_parts).reverse());
        assert_eq!(path::is_below(one, other), one_parts.starts_with(&other_parts));
    }
}

/// The text form of an id.
pub(super) fn id(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Some(id) = Id::from_hex(&text) {
        assert_eq!(id.to_hex(), text);
        accept();
    }
}

/// A key as four lines on paper.
pub(super) fn recovery(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let parsed = recovery::parse(&text);
    if let Ok(secret) = &parsed {
        assert!(recovery::is_recovery(&text));
        accept();
        assert_eq!(recovery::parse(&recovery::text(secret)).unwrap(), *secret);
        let written = recovery::text(secret);
        for (number, line) in (1..).zip(written.lines().skip(1)) {
            recovery::check_line(number, line).unwrap();
        }
    }
    for line in text.lines() {
        for number in 1..=recovery::LINES {
            drop(recovery::check_line(number, line));
        }
        recovery::is_heading(line);
    }
    let Err(error) = parsed else { return };
    assert!(matches!(error.kind(), ErrorKind::WrongKey | ErrorKind::Unsupported));
}

/// A key in a file.
pub(super) fn key_file(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    match parse_key_file(&text) {
        Ok(secret) => {
            accept();
            let label: String = text.chars().take(20).collect();
            assert_eq!(parse_key_file(&key_file_text(&secret, &label)).unwrap(), secret);
        }
        Err(error) => {
            assert!(matches!(error.kind(), ErrorKind::WrongKey | ErrorKind::Unsupported));
            // A key that was typed wrong is a key all the same.
            assert!(!error.chain().contains("STRONGROOM-KEY-1-"));
        }
    }
}

/// Patterns, a line each, and the path that they are held against.
pub(super) fn pattern(bytes: &[u8]) {
    let mut source = Source(bytes);
    let host = [b"/", source.sized()].concat();
    let patterns = String::from_utf8_lossy(source.0);
    let lines: Vec<&str> = patterns.lines().take(8).collect();
    let of = |patterns: &[&str]| Excludes::new(&ExcludeOptions::of_patterns(patterns.iter().copied()));
    let keep_out = |excludes: &Excludes| excludes.keep_out(Path::new(OsStr::from_bytes(&host)));
    match of(&lines) {
        Ok(excludes) => {
            accept();
            let any = keep_out(&excludes);
            // Without those that take back, what one pattern passes over all of them do.
            if !lines.iter().any(|line| line.starts_with('!')) {
                let alone = lines.iter().any(|line| keep_out(&of(&[line]).expect("each is valid alone")));
                assert_eq!(any, alone, "{lines:?}");
            }
            let patterns_any_case = lines.iter().copied().map(str::to_owned).collect();
            let any_case = ExcludeOptions { patterns_any_case, ..ExcludeOptions::default() };
            drop(Excludes::new(&any_case).map(|excludes| keep_out(&excludes)));
            // What takes back all, at the end, leaves nothing that is passed over.
            let taken_back = of(&[&lines[..], &["!/**"]].concat()).expect("all of them are valid");
            assert!(!keep_out(&taken_back), "{lines:?}");
        }
        Err(error) => assert_eq!(error.kind(), ErrorKind::Refused, "{}", error.chain()),
    }
    literal_matches_itself(&host);
}

/// A path whose signs are escaped matches itself, and not the path beside it.
fn literal_matches_itself(host: &[u8]) {
    let Ok(text) = std::str::from_utf8(host) else { return };
    let plain = text.split('/').skip(1).all(|part| !part.is_empty() && part != "." && part != "..");
    if !plain {
        return;
    }
    let signs =
        |character: char| "\\*?[]{}!".contains(character).then_some('\\').into_iter().chain([character]);
    let escaped: String = text.chars().flat_map(signs).collect();
    let excludes = Excludes::new(&ExcludeOptions::of_patterns([escaped.as_str()])).expect("it is valid");
    assert!(excludes.keep_out(Path::new(text)), "{escaped}");
    assert!(!excludes.keep_out(Path::new(&format!("{text}x"))), "{escaped}");
}

/// A command line, an argument for each line. It is read, and nothing is run.
pub(super) fn command_line(bytes: &[u8]) {
    let arguments = bytes.split(|byte| *byte == b'\n').take(30).map(OsStr::from_bytes);
    let arguments = [OsStr::new("strongroom")].into_iter().chain(arguments);
    thread_local! {
        /// Made once, for that takes longer than reading a line.
        static COMMAND: RefCell<clap::Command> = RefCell::new(cli::command());
    }
    match COMMAND.with_borrow_mut(|command| command.try_get_matches_from_mut(arguments)) {
        Ok(_) => accept(),
        // What is printed is what the person sees; rendering it must not fail either.
        Err(error) => drop(error.render().to_string()),
    }
}
