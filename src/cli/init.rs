//! `strongroom init`

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::json;

use super::exit::Outcome;
use super::global::Global;
use super::key::parse_label;
use super::output::Output;
use super::private_file::NewKeyFile;
use crate::backend::{Backend, LocalBackend};
use crate::crypto::kdf::Cost;
use crate::error::Result;
use crate::repository::keys::NewKey;
use crate::repository::{Repository, host};

/// Arguments of `init`.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  strongroom init -r /srv/backup/vault --new-key-file ~/strongroom-full.key\n\n\
    Without --new-key-file the first key is a password: asked for, or taken from --password-file,\n\
    --password-command or the environment. Whoever loses every full key loses every backup: keep\n\
    the key, or the password, in two places outside the machine that is backed up."
)]
pub(super) struct Arguments {
    /// Write a new key file of role full, instead of using a password
    #[arg(long, value_name = "FILE")]
    new_key_file: Option<PathBuf>,
    /// Name of the first key, for people
    #[arg(long, value_name = "TEXT", default_value = "first key", value_parser = parse_label)]
    label: String,
}

pub(super) fn run(global: &Global, arguments: &Arguments, output: &Output) -> Result<Outcome> {
    let location = global.location()?;
    // Before a password is asked for: is the place any good?
    let backend: Arc<dyn Backend> = Arc::new(LocalBackend::create(&location)?);
    let key_file = arguments
        .new_key_file
        .as_deref()
        .map(|path| NewKeyFile::create(path, &arguments.label))
        .transpose()?;
    let password = if key_file.is_none() { Some(global.new_password(output)?) } else { None };
    let credential = key_file.as_ref().map(NewKeyFile::credential).or(password.as_ref());
    let credential =
        credential.ok_or_else(|| crate::error::Error::refused("no password or key file is named"))?;
    let new = NewKey { credential, cost: Cost::DEFAULT, label: &arguments.label, time: host::now() };
    let repository = Repository::create(backend, &new)?;
    if let Some(key_file) = key_file {
        key_file.keep();
    }
    let id = repository.id().to_hex();
    if output.json {
        let key = repository.keyring().slot().to_hex();
        let location = location.display().to_string();
        output.object(
            &json!({"message_type": "initialized", "id": id, "repository": location, "key_id": key}),
        )?;
        return Ok(Outcome::Done);
    }
    output.say(&format!("repository {} made at {}", repository.id().short(), location.display()))?;
    match &arguments.new_key_file {
        Some(path) => output.say(&format!(
            "its full key is in {}: whoever has it reads everything, and without it nobody reads anything.\n\
             Keep a copy away from this machine. For a server that is backed up, make a key that cannot read:\n  \
             strongroom -r {} --key-file {} key add --role backup --label server --new-key-file FILE",
            path.display(),
            location.display(),
            path.display()
        ))?,
        None => output.say("without its password nobody reads anything: keep it in two places, none of them in here")?,
    }
    Ok(Outcome::Done)
}
