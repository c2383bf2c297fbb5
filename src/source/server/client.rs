//! Running a server's client, here or where a prefix leads: into a container, or onto another host.
//!
//! Invariants: a password stands in no argument, neither here nor there. Here it goes by the environment. Behind a
//! prefix it is the first line of the standard input, which a shell there takes into the client's environment.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use zeroize::Zeroizing;

use super::Options;
use super::target::Content;
use crate::error::Result;
use crate::report::printable;
use crate::source::command::{CommandLine, Manner, Running};
use crate::source::stream::Patience;

/// A client's call.
pub struct Client {
    /// The program's name or path.
    pub program: OsString,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// The variable of its environment that holds the password, and the password.
    pub password: Option<(&'static str, Zeroizing<String>)>,
    /// Other variables of its environment: never a secret, for behind a prefix they stand in arguments.
    pub environment: Vec<(&'static str, String)>,
}

impl Client {
    /// A call without a password.
    pub fn new(program: impl Into<OsString>) -> Self {
        Self { program: program.into(), arguments: Vec::new(), password: None, environment: Vec::new() }
    }

    /// Starts it. Its standard input is open: see [`Running::tell`] and [`Running::told_all`].
    ///
    /// # Errors
    /// Where it cannot be started.
    pub fn start(&self, options: &Options, patience: &Patience) -> Result<Running> {
        self.start_as(Manner::Guided, options, patience)
    }

    /// Runs it to its end with so much on its standard input.
    ///
    /// # Errors
    /// Where it fails, or whoever writes does: then it is ended before the end of its input, so that it does not take a
    /// part for the whole.
    pub fn feed(&self, options: &Options, patience: &Patience, content: &Content<'_>) -> Result<()> {
        let mut running = self.start_as(Manner::Fed, options, patience)?;
        let mut feed = running.feed()?;
        match content(&mut feed) {
            Ok(()) => {
                drop(feed);
                running.finish()
            }
            Err(error) if feed.refused() => {
                drop(feed);
                Err(running.finish().err().unwrap_or(error))
            }
            Err(error) => {
                drop(running);
                patience.interrupt.check()?;
                Err(error)
            }
        }
    }

    /// The call as a person types it: without a password, which the client then asks for or finds elsewhere.
    pub fn by_hand(&self, options: &Options) -> String {
        let words = options.prefix.iter().chain([&self.program]).chain(&self.arguments);
        words.map(|word| plain_or_quoted(word)).collect::<Vec<_>>().join(" ")
    }

    fn start_as(&self, manner: Manner, options: &Options, patience: &Patience) -> Result<Running> {
        let mut line = self.command_line(&options.prefix);
        line.manner = manner;
        line.hidden.clone_from(&options.hidden);
        let mut running = line.start(patience)?;
        if let Some((_, password)) = self.password.as_ref().filter(|_| !options.prefix.is_empty()) {
            // Where it ended already, its end tells why.
            running.tell(&Zeroizing::new([password.as_bytes(), b"\n"].concat())).ok();
        }
        Ok(running)
    }

    fn command_line(&self, prefix: &[OsString]) -> CommandLine {
        let mut line = CommandLine { own_group: true, manner: Manner::Guided, ..CommandLine::default() };
        let Some((program, words)) = prefix.split_first() else {
            line.program.clone_from(&self.program);
            line.arguments.clone_from(&self.arguments);
            let plain = self.environment.iter().map(|(name, value)| (*name, Zeroizing::new(value.clone())));
            let all = plain.chain(self.password.clone());
            line.environment = all.map(|(name, value)| (OsString::from(name), value)).collect();
            return line;
        };
        line.program.clone_from(program);
        line.arguments = words.to_vec();
        let remote = self.remote_words();
        if is_ssh(program) {
            line.arguments.extend(remote.iter().map(|word| quoted(word)));
        } else {
            line.arguments.extend(remote);
        }
        line
    }

    /// What stands behind the prefix.
    fn remote_words(&self) -> Vec<OsString> {
        let mut words = Vec::new();
        if let Some((variable, _)) = &self.password {
            let script = format!("IFS= read -r {variable} && export {variable} && exec \"$@\"");
            words.extend(["sh", "-c", &script, "sh"].map(OsString::from));
        }
        if !self.environment.is_empty() {
            words.push("env".into());
            words.extend(self.environment.iter().map(|(name, value)| format!("{name}={value}").into()));
        }
        words.push(self.program.clone());
        words.extend(self.arguments.iter().cloned());
        words
    }
}

/// `ssh` joins the words it is given and leaves them to a shell on the other host.
fn is_ssh(program: &OsStr) -> bool {
    Path::new(program).file_name() == Some(OsStr::new("ssh"))
}

/// A word as a person may type it: quoted where a shell would take it for something else, and no more of it than that.
fn plain_or_quoted(word: &OsStr) -> String {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_./=:@%+,".contains(byte);
    let text = printable(word.as_bytes());
    let (option, value) = match text.split_once('=') {
        Some((option, value)) if option.starts_with("--") => (format!("{option}="), value),
        _ => (String::new(), text.as_str()),
    };
    let value = if !value.is_empty() && value.as_bytes().iter().all(is_plain) {
        value.to_owned()
    } else if value.contains('\'') && !value.contains(['"', '$', '`', '\\', '!']) {
        format!("\"{value}\"")
    } else {
        quoted(OsStr::new(value)).to_string_lossy().into_owned()
    };
    option + &value
}

/// A word as a shell takes it for what it is.
fn quoted(word: &OsStr) -> OsString {
    let mut text = vec![b'\''];
    for byte in word.as_bytes() {
        match byte {
            b'\'' => text.extend_from_slice(b"'\\''"),
            byte => text.push(*byte),
        }
    }
    text.push(b'\'');
    OsString::from_vec(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client() -> Client {
        Client {
            arguments: vec!["--dbname=it's".into()],
            password: Some(("PGPASSWORD", Zeroizing::new("hunter2 $x'".to_owned()))),
            environment: vec![("PGSSLMODE", "require".to_owned())],
            ..Client::new("pg_dump")
        }
    }

    #[test]
    fn what_a_person_types_is_quoted_and_without_the_password() {
        let mut client = client();
        client.arguments =
            ["--dbname=host='h' dbname='v'", "-c", "it's \"x\"", "plain"].map(OsString::from).to_vec();
        let options = Options { prefix: vec!["docker".into(), "exec".into()], ..Options::default() };
        assert_eq!(
            client.by_hand(&options),
            "docker exec pg_dump --dbname=\"host='h' dbname='v'\" -c 'it'\\''s \"x\"' plain"
        );
    }

    #[test]
    fn here_a_password_goes_by_the_environment() {
        let line = client().command_line(&[]);
        assert_eq!(line.program, "pg_dump");
        assert_eq!(line.arguments, ["--dbname=it's"]);
        assert_eq!(line.environment[1].1.as_str(), "hunter2 $x'");
    }

    #[test]
    fn behind_a_prefix_no_argument_holds_it() {
        for prefix in [vec!["docker", "exec", "-i", "db"], vec!["/usr/bin/ssh", "host"]] {
            let prefix: Vec<OsString> = prefix.into_iter().map(OsString::from).collect();
            let line = client().command_line(&prefix);
            assert!(line.environment.is_empty());
            let words: Vec<_> = line.arguments.iter().map(|word| word.to_string_lossy()).collect();
            assert!(!words.iter().any(|word| word.contains("hunter2")), "{words:?}");
        }
    }

    #[test]
    fn a_shell_behind_a_prefix_hands_on_the_password_and_every_word() {
        // `ssh` is played by what it does: joining words and leaving them to a shell.
        let script: &[&str] = &["sh", "-c", "exec sh -c \"$*\"", "sh"];
        for (prefix, quote) in [(&["env"][..], false), (script, true)] {
            let prefix: Vec<OsString> = prefix.iter().map(OsString::from).collect();
            let mut client = client();
            client.program = "sh".into();
            client.arguments =
                ["-c", "printf '%s|%s|%s' \"$PGPASSWORD\" \"$PGSSLMODE\" \"$1\"; cat", "sh", "it's *"]
                    .map(OsString::from)
                    .to_vec();
            let mut line = client.command_line(&prefix);
            if quote {
                let from = prefix.len() - 1;
                for word in &mut line.arguments[from..] {
                    *word = quoted(word);
                }
            }
            let mut running = line.start(&Patience::default()).unwrap();
            running.tell(b"hunter2 $x'\nmore").unwrap();
            running.told_all();
            let mut buffer = [0; 100];
            let read = running.fill(&mut buffer).unwrap();
            running.finish().unwrap();
            assert_eq!(String::from_utf8_lossy(&buffer[..read]), "hunter2 $x'|require|it's *more");
        }
    }
}
