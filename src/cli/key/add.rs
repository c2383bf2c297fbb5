//! `strongroom key add`

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde_json::{Value, json};

use super::parse_label;
use super::sheet::Sheet;
use crate::cli::exit::Outcome;
use crate::cli::global::Global;
use crate::cli::output::Output;
use crate::cli::password;
use crate::cli::private_file::{NewKeyFile, PrivateFile};
use crate::crypto::kdf::Cost;
use crate::error::{Error, Result};
use crate::format::key_slot::Role;
use crate::id::Id;
use crate::operation::key;
use crate::repository::key_file::new_key_file;
use crate::repository::keys::{Credential, NewKey};
use crate::repository::{Repository, host};

/// The label of a recovery sheet that was given none.
const SHEET_LABEL: &str = "recovery sheet";

/// Arguments of `key add`.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  strongroom key add --role backup --label server --new-key-file /etc/strongroom/backup.key\n  \
    strongroom key add --recovery --recovery-html sheet.html | lp\n\n\
    A backup key adds snapshots and deduplicates, and reads nothing back. A maintain key also lists\n\
    files, prunes, checks structure, and adds and removes keys other than full ones. A full key does\n\
    everything. The key in use must be of role maintain or full, and full to add a full one.\n\n\
    A recovery sheet is a full key on paper: four lines that a person can type. It goes to standard\n\
    output and is kept nowhere. Print it, and delete what is left of it on the disk. With --json it is\n\
    not printed, for such output ends in logs: give --recovery-html then."
)]
pub(super) struct Arguments {
    /// What the key may do; a recovery sheet is always full
    #[arg(long, value_enum, required_unless_present = "recovery")]
    role: Option<RoleName>,
    /// Name of the key, for people [a recovery sheet's default: "recovery sheet"]
    #[arg(long, value_name = "TEXT", value_parser = parse_label, required_unless_present = "recovery")]
    label: Option<String>,
    /// Write a new key file
    #[arg(long, value_name = "FILE", conflicts_with = "new_password_file")]
    new_key_file: Option<PathBuf>,
    /// Use the password in the first line of this file; without it one is asked for
    #[arg(long, value_name = "FILE")]
    new_password_file: Option<PathBuf>,
    /// Print a recovery sheet: a new full key, to be kept on paper
    #[arg(long, conflicts_with_all = ["new_key_file", "new_password_file"])]
    recovery: bool,
    /// Write the recovery sheet as a page for the printer as well, with a QR code
    #[arg(long, value_name = "FILE", requires = "recovery")]
    recovery_html: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum RoleName {
    /// Add snapshots; read nothing back
    Backup,
    /// Also list files, forget, prune, check structure
    Maintain,
    /// Everything
    Full,
}

impl From<RoleName> for Role {
    fn from(name: RoleName) -> Self {
        match name {
            RoleName::Backup => Self::Backup,
            RoleName::Maintain => Self::Maintain,
            RoleName::Full => Self::Full,
        }
    }
}

pub(super) fn run(global: &Global, arguments: &Arguments, output: &Output) -> Result<Outcome> {
    let role = arguments.role.map_or(Role::Full, Role::from);
    let label = arguments.label.as_deref().unwrap_or(SHEET_LABEL);
    if arguments.recovery {
        if role != Role::Full {
            return Err(Error::refused(format!(
                "a recovery sheet is a full key, not one of role {}",
                role.name()
            ))
            .hint("leave --role out; a key file can be of any role: --new-key-file"));
        }
        return add_sheet(global, label, arguments.recovery_html.as_deref(), output);
    }
    let repository = global.open(output)?;
    repository.keyring().require(role.max(Role::Maintain), &format!("adding a {} key", role.name()))?;
    let key_file =
        arguments.new_key_file.as_deref().map(|path| NewKeyFile::create(path, label)).transpose()?;
    let password = match (&key_file, &arguments.new_password_file) {
        (Some(_), _) => None,
        (None, Some(path)) => Some(Credential::Password(password::from_file(path)?)),
        (None, None) => Some(Credential::Password(password::ask_new("password for the new key: ", output)?)),
    };
    let credential = key_file.as_ref().map(NewKeyFile::credential).or(password.as_ref());
    let credential = credential.ok_or_else(|| Error::refused("no password or key file is named"))?;
    let new = NewKey { credential, cost: Cost::DEFAULT, label, time: host::now() };
    let id = repository.add_key(role, &new)?;
    if let Some(key_file) = key_file {
        key_file.keep();
    }
    if output.json {
        output.object(&added(&id, role, label))?;
    } else {
        output.say(&format!("key {} of role {} added", id.short(), role.name()))?;
    }
    Ok(Outcome::Done)
}

fn added(id: &Id, role: Role, label: &str) -> Value {
    json!({ "message_type": "key_added", "id": id.to_hex(), "role": role.name(), "label": label })
}

fn add_sheet(global: &Global, label: &str, html: Option<&Path>, output: &Output) -> Result<Outcome> {
    if output.json && html.is_none() {
        return Err(Error::refused(
            "a recovery sheet is not printed with --json, for such output ends in logs",
        )
        .hint("add --recovery-html FILE, or leave --json out"));
    }
    let repository = global.open(output)?;
    repository.keyring().require(Role::Full, "adding a full key")?;
    let location = global.location()?;
    let mut page = html.map(|path| PrivateFile::create(path, "recovery sheet")).transpose()?;
    let credential = new_key_file()?;
    let Credential::KeyFile(secret) = &credential else {
        return Err(Error::refused("a recovery key is no password"));
    };
    let time = host::now();
    let new = NewKey { credential: &credential, cost: Cost::DEFAULT, label, time };
    let id = repository.add_key(Role::Full, &new)?;
    let location = location.canonicalize().unwrap_or(location);
    let sheet = Sheet { repository: repository.id(), location: &location, key: &id, label, time, secret };
    write(&sheet, page.as_mut(), output).map_err(|error| take_back(&repository, &id, error))?;
    if let Some(page) = page {
        page.keep();
    }
    if let (true, Some(path)) = (output.json, html) {
        let mut object = added(&id, Role::Full, label);
        if let Some(fields) = object.as_object_mut() {
            fields.insert("recovery_html".to_owned(), path.display().to_string().into());
        }
        output.object(&object)?;
    }
    Ok(Outcome::Done)
}

/// Writes the sheet wherever it is wanted.
fn write(sheet: &Sheet<'_>, page: Option<&mut PrivateFile>, output: &Output) -> Result<()> {
    if let Some(page) = page {
        page.write(&sheet.html()?)?;
    }
    if output.json {
        return Ok(());
    }
    output.line(sheet.text().trim_end())?;
    if output.reader_gone() { Err(Error::refused("nobody reads standard output")) } else { Ok(()) }
}

/// A key that nobody holds must not pass for one that somebody does.
fn take_back(repository: &Repository, id: &Id, error: Error) -> Error {
    let left = match key::withdraw(repository, id) {
        Ok(()) => "its key was taken back".to_owned(),
        Err(_) => format!("its key {} has to be removed", id.short()),
    };
    error.context(format!("the recovery sheet could not be written, and {left}"))
}
