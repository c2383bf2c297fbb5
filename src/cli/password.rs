//! Where passwords come from: a file, a command, the environment, or a person at the terminal.
//!
//! Invariants: never from an argument; wiped when dropped; never shown or logged.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{IsTerminal, Read};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use zeroize::Zeroizing;

use super::global::variable;
use super::output::Output;
use crate::error::{Error, ErrorKind, Result};
use crate::limits;

/// A password's bytes.
pub(super) type Password = Zeroizing<Vec<u8>>;

/// Reads a small file that holds a secret.
pub(super) fn read_secret_file(path: &Path, limit: u64, what: &str) -> Result<Password> {
    let fail = |error| Error::io(format!("cannot read the {what} {}", path.display()), error);
    let file = File::open(path).map_err(fail)?;
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(fail)?;
    if bytes.len() as u64 > limit {
        return Err(Error::refused(format!("the {what} {} is too long", path.display()))
            .hint("check that it is the right file"));
    }
    Ok(bytes)
}

/// The first line of a file.
pub(super) fn from_file(path: &Path) -> Result<Password> {
    let text = read_secret_file(path, limits::PASSWORD_MAX as u64, "password file")?;
    first_line(&text, &format!("the password file {}", path.display()))
}

/// The first line that a shell command prints.
pub(super) fn from_command(command: &OsStr, output: &Output) -> Result<Password> {
    let output = Command::new("sh")
        .arg("-c")
        .arg(command)
        .stdin(if output.stdin_is_data() { Stdio::null() } else { Stdio::inherit() })
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| Error::io("cannot run the password command", error))?;
    let text = Zeroizing::new(output.stdout);
    if !output.status.success() {
        return Err(Error::refused(format!("the password command failed: {}", output.status))
            .hint("run it by hand: it has to print the password and end with exit code 0"));
    }
    first_line(&text, "the password command")
}

/// The password that the environment names, if any, in the variables that begin with `prefix`.
pub(super) fn from_environment(prefix: &str, output: &Output) -> Result<Option<Password>> {
    if let Some(path) = variable(&format!("{prefix}_PASSWORD_FILE")) {
        return from_file(&PathBuf::from(path)).map(Some);
    }
    if let Some(command) = variable(&format!("{prefix}_PASSWORD_COMMAND")) {
        return from_command(&command, output).map(Some);
    }
    let name = format!("{prefix}_PASSWORD");
    variable(&name).map(|password| check(Zeroizing::new(password.into_vec()), &name)).transpose()
}

/// Asks at the terminal.
pub(super) fn ask(prompt: &str, output: &Output) -> Result<Password> {
    if !std::io::stdin().is_terminal() && File::open("/dev/tty").is_err() {
        return Err(Error::refused("a password or key is needed, and there is no terminal to ask at").hint(
            "give --key-file, --password-file or --password-command, or set STRONGROOM_KEY_FILE or \
             STRONGROOM_PASSWORD_FILE",
        ));
    }
    output.pause_progress();
    let asked = output.signals.question(|| rpassword::prompt_password(prompt));
    let password = asked.map_err(|error| match error.kind() {
        std::io::ErrorKind::Interrupted => Error::new(ErrorKind::Interrupted, "interrupted"),
        _ => Error::io("cannot ask for the password", error),
    })?;
    check(Zeroizing::new(password.into_bytes()), "the password")
}

/// Asks for a new password, twice.
pub(super) fn ask_new(prompt: &str, output: &Output) -> Result<Password> {
    let first = ask(prompt, output)?;
    let second = ask("the same again: ", output)?;
    if *first == *second {
        Ok(first)
    } else {
        Err(Error::refused("the two passwords differ").hint("try again"))
    }
}

fn first_line(text: &[u8], what: &str) -> Result<Password> {
    let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    check(Zeroizing::new(line.to_vec()), what)
}

/// Refuses an empty password, and one that is far too long.
pub(super) fn check(password: Password, what: &str) -> Result<Password> {
    if password.is_empty() {
        return Err(
            Error::refused(format!("{what} is empty")).hint("the password has to stand in the first line")
        );
    }
    if password.len() > limits::PASSWORD_MAX {
        return Err(Error::refused(format!("{what} is longer than {} bytes", limits::PASSWORD_MAX))
            .hint("check that it is the right file or command, or choose a shorter password"));
    }
    Ok(password)
}
