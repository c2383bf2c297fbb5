//! `strongroom key passwd` and `strongroom key remove`

use std::path::PathBuf;

use serde_json::json;

use super::list::opens_with;
use crate::cli::exit::Outcome;
use crate::cli::global::Global;
use crate::cli::output::Output;
use crate::cli::password;
use crate::cli::private_file::NewKeyFile;
use crate::crypto::kdf::Cost;
use crate::error::{Error, Result};
use crate::id::Id;
use crate::operation::key::{self, RemoveOptions};
use crate::report::{Finding, Reporter, printable};
use crate::repository::host;
use crate::repository::keys::{Credential, SlotInfo};

/// Arguments of `key passwd`.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  strongroom key passwd --new-password-file new.txt\n  \
    strongroom key passwd --key-file old.key --new-key-file new.key\n\n\
    The new one is stored and read back before the old one goes; where that is interrupted, both work.\n\
    Role, label and signing key stay, so the next backup goes on from the last one. Secrets of the\n\
    repository do not change: whoever kept a copy of the old key slot still opens it, and every copy of\n\
    the repository, with the old password.")]
pub(super) struct PasswdArguments {
    /// Use the password in the first line of this file; without it one is asked for, twice
    #[arg(long, value_name = "FILE")]
    new_password_file: Option<PathBuf>,
    /// Write a new key file, which opens the key from now on
    #[arg(long, value_name = "FILE", conflicts_with = "new_password_file")]
    new_key_file: Option<PathBuf>,
    /// Change nothing; tell what would be changed
    #[arg(short = 'n', long)]
    dry_run: bool,
}

/// Arguments of `key remove`.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  strongroom key list\n  strongroom key remove 3f9a0c12\n\n\
    The key in use must be of role maintain or full, and full to remove a full one. The last full key\n\
    cannot be removed.\n\n\
    Removing a key deletes its slot from this repository, and nothing else. Secrets of the repository do\n\
    not change. Whoever held the key and kept a copy of the slot, or of what it opened, still opens every\n\
    copy of the repository he can get at. After a theft, change who may read the store, and make a new\n\
    repository.")]
pub(super) struct RemoveArguments {
    /// First digits of the key's id
    #[arg(value_name = "ID")]
    id: String,
    /// Remove it even if it is the key in use
    #[arg(long)]
    in_use: bool,
    /// Remove nothing; tell what would be removed
    #[arg(short = 'n', long)]
    dry_run: bool,
}

pub(super) fn passwd(global: &Global, arguments: &PasswdArguments, output: &Output) -> Result<Outcome> {
    let repository = global.open(output)?;
    let old = repository.slot_info(repository.keyring().slot())?;
    if arguments.new_key_file.is_none() && arguments.new_password_file.is_none() && !old.by_password {
        return Err(Error::refused(format!("{} opens with a key file, not with a password", old.id.short()))
            .hint("name a new one by --new-key-file, or a password to use instead by --new-password-file"));
    }
    if arguments.dry_run {
        tell_changed(&old, None, arguments, output)?;
        return Ok(Outcome::Done);
    }
    let key_file = arguments.new_key_file.as_deref();
    let key_file = key_file.map(|path| NewKeyFile::create(path, &old.label.text)).transpose()?;
    let password = match (&key_file, &arguments.new_password_file) {
        (Some(_), _) => None,
        (None, Some(path)) => Some(Credential::Password(password::from_file(path)?)),
        (None, None) => Some(Credential::Password(password::ask_new("new password: ", output)?)),
    };
    let credential = key_file.as_ref().map(NewKeyFile::credential).or(password.as_ref());
    let credential = credential.ok_or_else(|| Error::refused("no password or key file is named"))?;
    // A few writes that belong together: whoever asks to stop waits for them.
    drop(output.signals.in_good_order());
    let changed = key::change(&repository, credential, Cost::DEFAULT, host::now())?;
    if let Some(key_file) = key_file {
        key_file.keep();
    }
    tell_changed(&old, Some(&changed.id), arguments, output)?;
    let Some(left) = changed.left else {
        output.say("what opened it before, a printed sheet included, opens nothing any more")?;
        return Ok(Outcome::Done);
    };
    let old = old.id.short();
    let still = format!("the old password or key file opens as well: {}", left.chain());
    let mut finding = Finding::problem(format!("key {old}"), still);
    finding.hint = Some(format!("remove it where the store allows that: `strongroom key remove {old}`"));
    output.report(finding);
    Ok(Outcome::Incomplete)
}

/// Says what became of a key, or what would.
fn tell_changed(
    old: &SlotInfo,
    new: Option<&Id>,
    arguments: &PasswdArguments,
    output: &Output,
) -> Result<()> {
    let opens_with = opens_with(arguments.new_key_file.is_none());
    if output.json {
        return output.object(&json!({
            "message_type": "key_changed",
            "id": new.map(Id::to_hex),
            "replaces": old.id.to_hex(),
            "role": old.label.role.name(),
            "label": old.label.text,
            "opens_with": opens_with,
            "dry_run": arguments.dry_run,
        }));
    }
    let before = old.id.short();
    output.say(&match new {
        Some(id) => format!("key {} opens with the new {opens_with}; it was {before}", id.short()),
        None => format!("key {before} would open with a new {opens_with}"),
    })
}

pub(super) fn remove(global: &Global, arguments: &RemoveArguments, output: &Output) -> Result<Outcome> {
    let repository = global.open(output)?;
    let options = RemoveOptions { name: &arguments.id, in_use: arguments.in_use, dry_run: arguments.dry_run };
    drop(output.signals.in_good_order());
    let removed = key::remove(&repository, &options)?;
    let label = removed.info.as_ref().map(|info| &info.label);
    if output.json {
        output.object(&json!({
            "message_type": "key_removed",
            "id": removed.id.to_hex(),
            "role": label.map(|label| label.role.name()),
            "label": label.map(|label| label.text.as_str()),
            "dry_run": arguments.dry_run,
        }))?;
    } else {
        let known = label.map_or(String::new(), |label| {
            format!(" of role {} ({})", label.role.name(), printable(label.text.as_bytes()))
        });
        let done = if arguments.dry_run { "would be removed" } else { "removed" };
        output.say(&format!("key {}{known} {done}", removed.id.short()))?;
        if !arguments.dry_run {
            output.say(
                "it opens this repository no more. Secrets did not change: whoever kept a copy of its slot opens copies",
            )?;
        }
    }
    for twin in &removed.twins {
        output.warn(
            &format!(
                "the same key also has the slot {}: a change of its password was interrupted, or runs",
                twin.short()
            ),
            Some("remove that one too, if the key is to go"),
        );
    }
    Ok(Outcome::Done)
}
