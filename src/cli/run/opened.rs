//! A job's repository, opened with the key that each step needs.

use crate::cli::config::RepositoryTable;
use crate::cli::global::{Global, read_key_file};
use crate::cli::output::Output;
use crate::cli::password;
use crate::error::{Error, ErrorKind, Result};
use crate::format::key_slot::Role;
use crate::repository::Repository;
use crate::repository::keys::Credential;

/// Which of a repository's two keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Purpose {
    /// The one that backs up.
    Backup,
    /// The one that forgets, prunes and checks; that which backs up, where no other is named.
    Maintain,
}

/// Options for a repository of the configuration.
pub(in crate::cli) fn global_of(global: &Global, table: &RepositoryTable) -> Result<Global> {
    let path = table.path.as_deref().ok_or_else(|| {
        Error::new(ErrorKind::NoRepository, "no repository is named").hint("add `path` to its table")
    })?;
    Ok(global.at(path, table.cache_dir.as_deref()))
}

/// Opens a repository.
pub(in crate::cli) fn open(
    global: &Global,
    table: &RepositoryTable,
    purpose: Purpose,
    output: &Output,
) -> Result<Repository> {
    let global = global_of(global, table)?;
    let repository = global.open_at(&global.location()?, || credential(table, purpose, output))?;
    if purpose == Purpose::Maintain {
        let allowed = repository.keyring().require(Role::Maintain, "forgetting, pruning and checking");
        allowed.map_err(|error| error.hint("name a key of role maintain by maintain-key-file"))?;
    }
    Ok(repository)
}

/// Whether a repository has a key of its own for maintenance.
pub(in crate::cli) fn has_maintain_key(table: &RepositoryTable) -> bool {
    table.maintain_key_file.is_some()
        || table.maintain_password_file.is_some()
        || table.maintain_password_command.is_some()
        || table.maintain_password.is_some()
}

/// The one or the other.
fn pick<T>(maintain: bool, own: Option<T>, other: Option<T>) -> Option<T> {
    if maintain { own } else { other }
}

fn credential(table: &RepositoryTable, purpose: Purpose, output: &Output) -> Result<Credential> {
    let maintain = purpose == Purpose::Maintain && has_maintain_key(table);
    if let Some(path) = pick(maintain, table.maintain_key_file.as_ref(), table.key_file.as_ref()) {
        return read_key_file(path);
    }
    if let Some(path) = pick(maintain, table.maintain_password_file.as_ref(), table.password_file.as_ref()) {
        return password::from_file(path).map(Credential::Password);
    }
    if let Some(command) =
        pick(maintain, table.maintain_password_command.as_ref(), table.password_command.as_ref())
    {
        return password::from_command(command.as_ref(), output).map(Credential::Password);
    }
    let secret = pick(maintain, table.maintain_password.as_ref(), table.password.as_ref());
    let secret = secret.ok_or_else(|| {
        Error::refused("the configuration names no key").hint("add key-file to the repository's table")
    })?;
    let bytes = zeroize::Zeroizing::new(secret.0.as_bytes().to_vec());
    password::check(bytes, "the password in the configuration").map(Credential::Password)
}
