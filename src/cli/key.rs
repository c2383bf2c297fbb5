//! `strongroom key add` and `strongroom key list`

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::{Subcommand, ValueEnum};
use serde_json::json;

use super::exit::Outcome;
use super::global::Global;
use super::output::{Output, human};
use super::password;
use crate::crypto::kdf::Cost;
use crate::error::{Error, Result};
use crate::format::key_slot::Role;
use crate::report::{Finding, Reporter};
use crate::repository::host;
use crate::repository::keys::{Credential, NewKey, key_file_text, new_key_file};

/// Arguments of `key`.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  strongroom key add --role backup --label server --new-key-file /etc/strongroom/backup.key\n  \
    strongroom key list"
)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Add a key
    Add(Add),
    /// List the keys
    List(List),
}

#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  strongroom key add --role backup --label server --new-key-file /etc/strongroom/backup.key\n\n\
    A backup key adds snapshots and deduplicates, and reads nothing back. A maintain key also lists\n\
    files, prunes and checks structure. A full key does everything. The key in use must be of role\n\
    maintain or full, and full to add a full one."
)]
struct Add {
    /// What the key may do
    #[arg(long, value_enum)]
    role: RoleName,
    /// Name of the key, for people
    #[arg(long, value_name = "TEXT", value_parser = parse_label)]
    label: String,
    /// Write a new key file
    #[arg(long, value_name = "FILE", conflicts_with = "new_password_file")]
    new_key_file: Option<PathBuf>,
    /// Use the password in the first line of this file; without it one is asked for
    #[arg(long, value_name = "FILE")]
    new_password_file: Option<PathBuf>,
}

#[derive(clap::Args)]
#[command(after_help = "Example:\n  strongroom key list --json")]
struct List {}

/// A label that a key slot can hold.
pub(super) fn parse_label(text: &str) -> std::result::Result<String, String> {
    if text.is_empty() || text.len() > 255 {
        return Err("a label has 1 to 255 characters".to_owned());
    }
    Ok(text.to_owned())
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

/// A key file that is written before the key is added, so that no key is added that nobody holds; it goes away
/// again unless it is kept.
pub(super) struct NewKeyFile {
    path: Option<PathBuf>,
    credential: Credential,
}

impl NewKeyFile {
    pub(super) fn create(path: &Path, label: &str) -> Result<Self> {
        let credential = new_key_file()?;
        let Credential::KeyFile(secret) = &credential else {
            return Err(Error::refused("a key file holds no password"));
        };
        let fail = |error| Error::io(format!("cannot write the key file {}", path.display()), error);
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(|error| {
                if error.kind() == std::io::ErrorKind::AlreadyExists {
                    Error::refused(format!("{} is there already", path.display()))
                        .hint("a key file is never overwritten: name another")
                } else {
                    fail(error)
                }
            })?;
        let text = key_file_text(secret, label);
        let made = Self { path: Some(path.to_owned()), credential };
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(fail)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(fail)?;
        Ok(made)
    }

    pub(super) fn credential(&self) -> &Credential {
        &self.credential
    }

    /// The key was added: the file stays.
    pub(super) fn keep(mut self) {
        self.path = None;
    }
}

impl Drop for NewKeyFile {
    fn drop(&mut self) {
        if let Some(path) = &self.path
            && std::fs::remove_file(path).is_err()
        {
            // It opens nothing; there is no harm in it.
        }
    }
}

pub(super) fn run(global: &Global, arguments: &Arguments, output: &Output) -> Result<Outcome> {
    match &arguments.command {
        Command::Add(arguments) => add(global, arguments, output),
        Command::List(List {}) => list(global, output),
    }
}

fn add(global: &Global, arguments: &Add, output: &Output) -> Result<Outcome> {
    let role = Role::from(arguments.role);
    let repository = global.open(output)?;
    repository.keyring().require(role.max(Role::Maintain), &format!("adding a {} key", role.name()))?;
    let key_file = arguments
        .new_key_file
        .as_deref()
        .map(|path| NewKeyFile::create(path, &arguments.label))
        .transpose()?;
    let password = match (&key_file, &arguments.new_password_file) {
        (Some(_), _) => None,
        (None, Some(path)) => Some(Credential::Password(password::from_file(path)?)),
        (None, None) => Some(Credential::Password(password::ask_new("password for the new key: ", output)?)),
    };
    let credential = key_file.as_ref().map(NewKeyFile::credential).or(password.as_ref());
    let credential = credential.ok_or_else(|| Error::refused("no password or key file is named"))?;
    let new = NewKey { credential, cost: Cost::DEFAULT, label: &arguments.label, time: host::now() };
    let id = repository.add_key(role, &new)?;
    if let Some(key_file) = key_file {
        key_file.keep();
    }
    if output.json {
        let object = json!({
            "message_type": "key_added", "id": id.to_hex(), "role": role.name(), "label": arguments.label,
        });
        output.object(&object)?;
    } else {
        output.say(&format!("key {} of role {} added", id.short(), role.name()))?;
    }
    Ok(Outcome::Done)
}

fn list(global: &Global, output: &Output) -> Result<Outcome> {
    let repository = global.open(output)?;
    let (slots, damaged) = repository.list_keys()?;
    let mut rows = vec![["Id", "Role", "Opens with", "Made", "Label"].map(str::to_owned).to_vec()];
    for slot in &slots {
        let opens_with = if slot.by_password { "password" } else { "key file" };
        if output.json {
            output.object(&json!({
                "message_type": "key",
                "id": slot.id.to_hex(),
                "short_id": slot.id.short(),
                "role": slot.label.role.name(),
                "opens_with": opens_with,
                "created": human::utc(slot.label.created),
                "label": slot.label.text,
                "current": slot.current,
            }))?;
            continue;
        }
        rows.push(vec![
            format!("{}{}", slot.id.short(), if slot.current { "*" } else { "" }),
            slot.label.role.name().to_owned(),
            opens_with.to_owned(),
            human::local(slot.label.created),
            crate::report::printable(slot.label.text.as_bytes()),
        ]);
    }
    if !output.json {
        human::table(&rows).iter().try_for_each(|line| output.line(line))?;
        output.say("(* in use)")?;
    }
    for error in &damaged {
        output.report(Finding::problem("a key", error.chain()));
    }
    Ok(Outcome::of(damaged.len() as u64))
}
