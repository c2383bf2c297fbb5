//! Taking keys away and putting others in their place, so that no step leaves a repository without a full key.
//!
//! Follows `format-spec/03-cryptography.md#replacing`. Invariants: a new slot is stored, and read back, before the old
//! one goes; whoever removes a full key looks again afterwards and puts it back where none is left.

use crate::backend::{ObjectKind, ObjectName};
use crate::crypto::kdf::Cost;
use crate::error::{Error, ErrorKind, Result};
use crate::format::key_slot::Role;
use crate::format::node::Timestamp;
use crate::id::Id;
use crate::limits;
use crate::repository::Repository;
use crate::repository::keys::{Credential, NewKey, SlotInfo, take_back, write_slot};

/// Fewest digits of an id that name a key.
const PREFIX_MIN: usize = 4;

/// Which key is to be removed, and how.
#[derive(Clone, Copy, Debug)]
pub struct RemoveOptions<'a> {
    /// The first digits of its id.
    pub name: &'a str,
    /// Whether it may be the key in use.
    pub in_use: bool,
    /// Whether to look only.
    pub dry_run: bool,
}

/// A key that was removed.
#[derive(Clone, Debug)]
pub struct Removed {
    /// Its id.
    pub id: Id,
    /// What was known of it; nothing where its slot could not be read.
    pub info: Option<SlotInfo>,
    /// Slots that hold the same key, as a change of its password leaves them where it is interrupted.
    pub twins: Vec<Id>,
}

/// A key whose password or key file was changed.
#[derive(Debug)]
pub struct Changed {
    /// The slot it has from now on.
    pub id: Id,
    /// The slot it had.
    pub replaced: Id,
    /// Why that slot is still there, where it could not be removed.
    pub left: Option<Error>,
}

/// Removes a key: its slot, and nothing else. Whoever kept a copy of that slot still opens copies of the repository.
///
/// # Errors
/// `RoleNotAllowed` where the key at hand may not; `Refused` where it is the last one of role full, or the one in use
/// and that was not asked for; `Busy` where somebody else removed the only other full key meanwhile.
pub fn remove(repository: &Repository, options: &RemoveOptions<'_>) -> Result<Removed> {
    repository.keyring().require(Role::Maintain, "removing a key")?;
    let (mut slots, damaged) = repository.list_keys()?;
    let id = find(&slots, &damaged, options.name)?;
    let info = slots.iter().find(|slot| slot.id == id).cloned();
    permit(repository, info.as_ref())?;
    if let Some((_, error)) = damaged.iter().find(|(slot, _)| *slot == id) {
        refuse_unread(&id, error)?;
    }
    if id == *repository.keyring().slot() && !options.in_use {
        return Err(Error::refused(format!("{} is the key in use", id.short()))
            .hint("use another key to remove it, or add --in-use if that is meant"));
    }
    // One that cannot be read may be anything.
    let may_be_full = info.as_ref().is_none_or(|info| info.label.role == Role::Full);
    if may_be_full && !slots.iter().any(|slot| slot.id != id && slot.label.role == Role::Full) {
        let why =
            format!("{} is the last key of role full: without it nobody could ever restore", id.short());
        return Err(Error::refused(why)
            .hint("add another full key first: `strongroom key add --recovery`, or `--role full`"));
    }
    if !options.dry_run {
        slots = delete(repository, &id, may_be_full && info.is_some())?;
    }
    let is_twin = |slot: &&SlotInfo| {
        let key = info.as_ref().map(|info| info.label.verifying_key);
        slot.id != id && Some(slot.label.verifying_key) == key
    };
    let twins = slots.iter().filter(is_twin).map(|slot| slot.id).collect();
    Ok(Removed { id, info, twins })
}

/// What cannot be had may be whole, and somebody's only key. One that was read and does not open is of no use to anybody.
fn refuse_unread(id: &Id, error: &Error) -> Result<()> {
    match error.kind() {
        ErrorKind::Corrupt | ErrorKind::Unsupported | ErrorKind::Missing | ErrorKind::Refused => Ok(()),
        kind => {
            let again = Error::new(kind, error.chain())
                .context(format!("key {} is not removed, for what cannot be read may be whole", id.short()));
            Err(match error.next_step() {
                Some(step) => again.hint(step.to_owned()),
                None => again,
            })
        }
    }
}

/// Who may add a key of a role may remove one; what cannot be read may be anybody's, and of a newer version.
fn permit(repository: &Repository, slot: Option<&SlotInfo>) -> Result<()> {
    let Some(slot) = slot else {
        return repository.keyring().require(Role::Full, "removing a key that cannot be read");
    };
    let role = slot.label.role;
    repository.keyring().require(role.max(Role::Maintain), &format!("removing a {} key", role.name()))
}

/// The slot whose id starts with these digits.
fn find(slots: &[SlotInfo], damaged: &[(Id, Error)], name: &str) -> Result<Id> {
    let wanted = name.to_ascii_lowercase();
    if wanted.len() < PREFIX_MIN || !wanted.chars().all(|digit| digit.is_ascii_hexdigit()) {
        return Err(Error::refused(format!("{name:?} names no key"))
            .hint(format!("give at least {PREFIX_MIN} digits of an id that `strongroom key list` shows")));
    }
    let ids = slots.iter().map(|slot| slot.id).chain(damaged.iter().map(|(id, _)| *id));
    let mut matches = ids.filter(|id| id.to_hex().starts_with(&wanted));
    match (matches.next(), matches.next()) {
        (Some(id), None) => Ok(id),
        (Some(_), Some(_)) => {
            Err(Error::refused(format!("{name} names several keys")).hint("give more digits of the id"))
        }
        (None, _) => {
            Err(Error::missing(format!("there is no key {name}")).hint("`strongroom key list` lists them"))
        }
    }
}

/// Deletes a slot, **then** looks: of two that remove the last two full keys at once, at least one sees it.
fn delete(repository: &Repository, id: &Id, was_full: bool) -> Result<Vec<SlotInfo>> {
    let backend = repository.backend();
    let name = ObjectName::new(ObjectKind::Key, *id);
    let kept = was_full.then(|| backend.get(&name, limits::SMALL_OBJECT_MAX)).transpose()?;
    backend.delete(&name)?;
    let looked = repository.list_keys().map(|(slots, _)| slots);
    let Some(bytes) = kept else { return looked };
    let trouble = match looked {
        Ok(slots) if slots.iter().any(|slot| slot.label.role == Role::Full) => return Ok(slots),
        Ok(_) => {
            Error::new(ErrorKind::Busy, "somebody else removed the only other full key at the same time")
        }
        Err(error) => error.context("the keys that are left cannot be listed"),
    };
    Err(match backend.put(&name, &bytes) {
        Ok(()) => trouble
            .context(format!("key {} was put back, and not removed", id.short()))
            .hint("see `strongroom key list`, and try again"),
        Err(error) => error
            .context(format!("key {} is gone and cannot be put back; no full key may be left", id.short()))
            .hint("bring keys/ back from a copy of the repository before anything else"),
    })
}

/// Puts the bundle of the key in use under another password or key file: writes the new slot, then removes the old.
/// Its signing key stays, and with it its snapshots' sequence and parents.
///
/// # Errors
/// Where nothing changed, or where a new slot stays that nobody holds, which the error then names. That the old slot could not be removed is in the result.
pub fn change(
    repository: &Repository,
    credential: &Credential,
    cost: Cost,
    time: Timestamp,
) -> Result<Changed> {
    let backend = repository.backend();
    let replaced = *repository.keyring().slot();
    let text = repository.slot_info(&replaced)?.label.text;
    let new = NewKey { credential, cost, label: &text, time };
    let id = write_slot(backend.as_ref(), repository.id(), repository.keyring().bundle(), &new)?;
    // Written first, looked after: somebody who takes this key away meanwhile must not find it back.
    let listed = repository
        .list_ids(ObjectKind::Key)
        .map_err(|error| take_back(backend.as_ref(), &id, error.context("the keys cannot be listed")))?;
    if !listed.contains(&replaced) {
        let gone = format!("key {} was removed by somebody else meanwhile", replaced.short());
        let error = Error::missing(gone).hint("it is not changed; ask whoever holds a full key");
        return Err(take_back(backend.as_ref(), &id, error));
    }
    let left = backend.delete(&ObjectName::new(ObjectKind::Key, replaced)).err();
    Ok(Changed { id, replaced, left })
}

/// Takes back a key that was just added and that nobody will hold.
pub fn withdraw(repository: &Repository, id: &Id) -> Result<()> {
    repository.backend().delete(&ObjectName::new(ObjectKind::Key, *id))
}
