//! A second repository, from which something is taken: where it is, and what opens it.
//!
//! Invariants: it is opened with what is named for it, by a flag or in variables of its own, and with nothing that was
//! named for the other. A flag wins over a variable, a key file over a password.

use std::path::{Path, PathBuf};

use clap::Args;

use super::global::{Global, read_key_file, variable};
use super::output::Output;
use super::password;
use crate::error::{Error, ErrorKind, Result};
use crate::repository::Repository;
use crate::repository::keys::Credential;

/// What opens the other repository.
#[derive(Args, Debug)]
#[expect(clippy::struct_field_names, reason = "clap makes the flags of them")]
pub(super) struct OtherKey {
    /// File with the other repository's password in its first line [environment: STRONGROOM_FROM_PASSWORD_FILE]
    #[arg(long, value_name = "FILE", help_heading = "The other repository")]
    from_password_file: Option<PathBuf>,
    /// Shell command that prints its password [environment: STRONGROOM_FROM_PASSWORD_COMMAND]
    #[arg(long, value_name = "COMMAND", help_heading = "The other repository")]
    from_password_command: Option<String>,
    /// Its key file, or a file with the text of a recovery sheet [environment: STRONGROOM_FROM_KEY_FILE]
    #[arg(long, value_name = "FILE", help_heading = "The other repository")]
    from_key_file: Option<PathBuf>,
}

/// Where the other repository is: as named by a flag, or in the environment.
pub(super) fn location(named: Option<&PathBuf>, flag: &str) -> Result<PathBuf> {
    named.cloned().or_else(|| variable("STRONGROOM_FROM_REPOSITORY").map(PathBuf::from)).ok_or_else(|| {
        Error::new(ErrorKind::NoRepository, "no repository to take from is named")
            .hint(format!("give its folder by {flag}, or in STRONGROOM_FROM_REPOSITORY"))
    })
}

impl OtherKey {
    /// What was named for it, if anything was.
    pub(super) fn named(&self, output: &Output) -> Result<Option<Credential>> {
        if let Some(path) = &self.from_key_file {
            return read_key_file(path).map(Some);
        }
        if let Some(path) = &self.from_password_file {
            return password::from_file(path).map(Credential::Password).map(Some);
        }
        if let Some(command) = &self.from_password_command {
            return password::from_command(command.as_ref(), output).map(Credential::Password).map(Some);
        }
        if let Some(path) = variable("STRONGROOM_FROM_KEY_FILE") {
            return read_key_file(&PathBuf::from(path)).map(Some);
        }
        Ok(password::from_environment("STRONGROOM_FROM", output)?.map(Credential::Password))
    }

    /// Opens it; asks for its password where nothing was named.
    pub(super) fn open(&self, global: &Global, folder: &Path, output: &Output) -> Result<Repository> {
        let credential = || match self.named(output)? {
            Some(credential) => Ok(credential),
            None => password::ask("password of the other repository: ", output).map(Credential::Password),
        };
        global
            .open_at(folder, credential)
            .map_err(|error| error.context(format!("cannot open the other repository {}", folder.display())))
    }
}
