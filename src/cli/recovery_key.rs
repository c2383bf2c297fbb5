//! Typing a recovery key: line by line at a terminal, each checked at once; whole where standard input is no terminal.
//!
//! Invariant: what is typed is shown, as on the paper it is read from, and goes nowhere else.

use std::fs::{File, OpenOptions};
use std::io::{IsTerminal, Read, Write};

use zeroize::Zeroizing;

use super::output::Output;
use crate::error::{Error, Result};
use crate::repository::key_file::parse_key_file;
use crate::repository::keys::Credential;
use crate::repository::recovery;

/// Longest text that is read, in bytes; no line of a terminal is longer.
const TEXT_MAX: usize = 4 << 10;

/// Reads a recovery key from whoever is there.
pub(super) fn read(output: &Output) -> Result<Credential> {
    if std::io::stdin().is_terminal() {
        let terminal = OpenOptions::new().read(true).write(true).open("/dev/tty");
        let mut terminal = terminal.map_err(|error| Error::io("cannot ask at the terminal", error))?;
        output.pause_progress();
        return type_in(&mut terminal).map(Credential::KeyFile);
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(TEXT_MAX));
    let limit = TEXT_MAX as u64;
    std::io::stdin()
        .lock()
        .take(limit)
        .read_to_end(&mut bytes)
        .map_err(|error| Error::io("cannot read the recovery key from standard input", error))?;
    let text = Zeroizing::new(String::from_utf8_lossy(&bytes).into_owned());
    parse_key_file(&text)
        .map(Credential::KeyFile)
        .map_err(|error| error.context("cannot use what came on standard input"))
}

/// Asks for each line until it fits.
fn type_in(terminal: &mut File) -> Result<crate::crypto::secret::Secret> {
    let fail = |error| Error::io("cannot ask at the terminal", error);
    writeln!(terminal, "Type the {} lines of the recovery key. What you type is shown.", recovery::LINES)
        .map_err(fail)?;
    let mut text = Zeroizing::new(String::with_capacity(TEXT_MAX));
    for number in 1..=recovery::LINES {
        loop {
            write!(terminal, "line {number}: ").and_then(|()| terminal.flush()).map_err(fail)?;
            let line = read_line(terminal)?;
            if recovery::is_heading(&line) {
                continue;
            }
            match recovery::check_line(number, &line) {
                Ok(()) => {
                    let typed = line.rsplit(':').next().unwrap_or_default().trim();
                    text.extend([&number.to_string(), ":", typed, "\n"]);
                    break;
                }
                Err(error) => writeln!(terminal, "{error}. Type line {number} again.").map_err(fail)?,
            }
        }
    }
    recovery::parse(&text)
}

/// One line; a terminal gives one at a time.
fn read_line(terminal: &mut File) -> Result<Zeroizing<String>> {
    let mut bytes = Zeroizing::new([0; TEXT_MAX]);
    let count = terminal
        .read(bytes.as_mut_slice())
        .map_err(|error| Error::io("cannot read what is typed at the terminal", error))?;
    if count == 0 {
        return Err(Error::refused("the recovery key was not typed to its end"));
    }
    let line = bytes.get(..count).unwrap_or_default();
    Ok(Zeroizing::new(String::from_utf8_lossy(line).into_owned()))
}
