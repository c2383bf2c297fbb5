//! Key slots: making them, finding the one that opens, listing them.
//!
//! Follows `format-spec/03-cryptography.md#slots`. Invariant: public keys come from an opened bundle, never
//! from the store.

use zeroize::Zeroizing;

use super::Repository;
use super::keyring::{Keyring, check_bundle};
use super::objects::associated;
use crate::backend::{Backend, Listed, ObjectKind, ObjectName};
use crate::crypto::derive::{self, Purpose};
use crate::crypto::kdf::{self, Cost};
use crate::crypto::secret::Secret;
use crate::crypto::sign::{self, SignaturePurpose};
use crate::crypto::{envelope, random, seal};
use crate::error::{Error, ErrorKind, Result};
use crate::format::header::HeaderKind;
use crate::format::key_slot::{self, Bundle, KeySlot, Label, Lock, Method, Role};
use crate::format::node::Timestamp;
use crate::id::Id;
use crate::limits;

/// What opens a slot.
pub enum Credential {
    /// A password.
    Password(Zeroizing<Vec<u8>>),
    /// The secret in a key file.
    KeyFile(Secret),
}

/// What making a key needs besides its role.
pub struct NewKey<'a> {
    /// What will open it.
    pub credential: &'a Credential,
    /// What stretching a password may cost.
    pub cost: Cost,
    /// Its label, for people.
    pub label: &'a str,
    /// Now.
    pub time: Timestamp,
}

/// A slot that a listing cannot show, and why.
pub type Unreadable = (Id, Error);

/// A slot as a listing shows it.
#[derive(Clone, Debug)]
pub struct SlotInfo {
    /// Its id.
    pub id: Id,
    /// Whether a password opens it; else a key file does.
    pub by_password: bool,
    /// Role, label and age.
    pub label: Label,
    /// Whether this is the slot in use.
    pub current: bool,
}

/// The bundle of the first key: draws every secret of a repository.
pub(crate) fn first_bundle(repository: &Id) -> Result<Bundle> {
    let metadata = envelope::generate()?;
    let data = envelope::generate()?;
    let maintain = Secret::random()?;
    let (slot_secret, certificate) = new_slot_key(repository, &maintain, Role::Full)?;
    Ok(Bundle {
        role: Role::Full,
        write_secret: random::bytes()?,
        metadata_public: metadata.public,
        data_public: data.public,
        maintain_public: sign::verifying_key(&maintain),
        slot_secret: *slot_secret.expose(),
        certificate,
        metadata_secret: Some(*metadata.secret.expose()),
        maintain_secret: Some(*maintain.expose()),
        data_secret: Some(*data.secret.expose()),
    })
}

fn new_slot_key(repository: &Id, maintain: &Secret, role: Role) -> Result<(Secret, [u8; 64])> {
    let secret = Secret::random()?;
    let public = sign::verifying_key(&secret);
    let parts: [&[u8]; 3] = [repository.as_bytes(), &[role.code()], &public];
    Ok((secret.clone(), sign::sign(maintain, SignaturePurpose::Certificate, &parts)))
}

/// Checks that the maintain key vouches for a slot key.
pub(crate) fn check_certificate(
    keyring: &Keyring,
    role: Role,
    verifying_key: &[u8; 32],
    certificate: &[u8; 64],
) -> Result<()> {
    let parts: [&[u8]; 3] = [keyring.repository().as_bytes(), &[role.code()], verifying_key];
    sign::verify(&keyring.bundle().maintain_public, SignaturePurpose::Certificate, &parts, certificate)
}

/// Wraps a bundle for its holder and stores the slot. A slot that does not open is found now, not on the day it
/// is needed.
pub(crate) fn write_slot(
    backend: &dyn Backend,
    repository: &Id,
    bundle: &Bundle,
    new: &NewKey<'_>,
) -> Result<Id> {
    if new.label.len() > limits::TEXT_MAX {
        return Err(Error::refused("the label is too long"));
    }
    let salt: [u8; 32] = random::bytes()?;
    let (method, holder) = match new.credential {
        Credential::Password(password) => {
            let Cost { memory_kib, passes, lanes } = new.cost;
            (Method::Password { memory_kib, passes, lanes }, kdf::stretch(password, &salt, new.cost)?)
        }
        Credential::KeyFile(secret) => (Method::KeyFile, secret.clone()),
    };
    let commitment = *derive::salted_key(&holder, &salt, Purpose::SlotCommitment).expose();
    let lock = Lock { repository: *repository, method, salt, commitment };
    let label = Label {
        role: bundle.role,
        text: new.label.to_owned(),
        created: new.time,
        verifying_key: sign::verifying_key(&Secret::new(bundle.slot_secret)),
        certificate: bundle.certificate,
    };
    let label_key = derive::key(&Secret::new(bundle.write_secret), Purpose::SlotLabels);
    let label =
        seal::seal_object(&label_key, &label_bound(repository, &salt), &key_slot::encode_label(&label)?)?;
    let mut bytes = key_slot::encode_bound(&lock, &label)?;
    let wrap = derive::salted_key(&holder, &salt, Purpose::SlotWrap);
    let plaintext = Zeroizing::new(key_slot::encode_bundle(bundle)?);
    let sealed = seal::seal_object(&wrap, &bytes, &plaintext)?;
    bytes.extend_from_slice(&sealed);
    let id = derive::hash(&bytes);
    if open_slot(&key_slot::decode(&bytes)?, new.credential)?.as_ref() != Some(bundle) {
        return Err(Error::corrupt("the new key does not open: this machine's memory may be faulty"));
    }
    let name = ObjectName::new(ObjectKind::Key, id);
    let stored = backend.put(&name, &bytes).and_then(|()| backend.get(&name, limits::SMALL_OBJECT_MAX));
    match stored {
        Ok(stored) if stored == bytes => Ok(id),
        // What failed may be there all the same.
        Ok(_) => {
            Err(take_back(backend, &id, Error::corrupt(format!("{name} was not stored as it was given"))))
        }
        Err(error) => Err(take_back(backend, &id, error)),
    }
}

/// Deletes a slot that nobody will hold, so that it does not pass for a key later on; gives the error to tell.
pub(crate) fn take_back(backend: &dyn Backend, id: &Id, error: Error) -> Error {
    match backend.delete(&ObjectName::new(ObjectKind::Key, *id)) {
        Ok(()) => error,
        Err(_) => error
            .context(format!("key {} may be there, though nobody holds it", id.short()))
            .hint("look for it in `strongroom key list`, and remove it"),
    }
}

/// What the seal of a label binds: the slot is named by the hash of its bytes, so its salt stands for it.
fn label_bound(repository: &Id, salt: &[u8; 32]) -> Vec<u8> {
    associated(HeaderKind::Key, repository, &Id(*salt))
}

/// Finds the slot that a credential opens.
///
/// # Errors
/// `WrongKey` where every slot was read and none opens; what kept a slot from being read, where one was not.
pub(crate) fn open_any(backend: &dyn Backend, repository: &Id, credential: &Credential) -> Result<Keyring> {
    let listed = backend.list(ObjectKind::Key)?;
    let beyond = listed.len().saturating_sub(limits::KEY_SLOTS_MAX);
    let looked_at = listed.into_iter().take(limits::KEY_SLOTS_MAX);
    let mut slots: Vec<(Id, Result<HeldSlot>)> =
        looked_at.map(|Listed { id, .. }| (id, read_lock(backend, &id))).collect();
    // Whoever may write to the store can add slots that take minutes each: they come last.
    slots.sort_by_cached_key(|(_, read)| read.as_ref().map_or(0, |(lock, _)| price(lock)));
    let (all, mut unreadable, mut foreign, mut failure) = (slots.len(), 0usize, 0usize, None);
    for (id, read) in slots {
        foreign = foreign
            .saturating_add(usize::from(read.as_ref().is_ok_and(|(lock, _)| lock.repository != *repository)));
        // One slot that is damaged, or beyond this machine's memory, is no reason not to try the others.
        match read.and_then(|(_, bytes)| try_slot(backend, repository, &id, bytes, credential)) {
            Ok(Some(bundle)) => return Ok(Keyring::new(*repository, id, bundle)),
            Ok(None) => {}
            Err(error) => match error.kind() {
                ErrorKind::Missing | ErrorKind::Corrupt | ErrorKind::Unsupported => {
                    unreadable = unreadable.saturating_add(1);
                }
                _ => failure = Some(error.context(format!("keys/{id} cannot be tried"))),
            },
        }
    }
    if let Some(failure) = failure {
        return Err(failure);
    }
    let what = match credential {
        Credential::Password(_) => "no key of this repository opens with this password",
        Credential::KeyFile(_) => "no key of this repository opens with this key file",
    };
    let error = Error::new(ErrorKind::WrongKey, what);
    Err(match (all, unreadable) {
        (0, _) => {
            error.hint("there is no key slot at all: bring the folder `keys` back from a copy of the repository")
        }
        _ if foreign > 0 && foreign.saturating_add(unreadable) >= all => error.hint(
            "`config` names another repository than every key slot does, and may be damaged itself: bring `config` and `keys` back from one copy",
        ),
        _ if beyond > 0 => error.hint(TOO_MANY_SLOTS),
        (_, 0) => error.hint("check that key and repository belong together"),
        (_, 1) => error.hint("1 key slot cannot be used, and may be the one you need"),
        _ => error.hint(format!("{unreadable} key slots cannot be used; the one you need may be among them")),
    })
}

/// What to do where somebody filled the folder of the keys.
const TOO_MANY_SLOTS: &str = "only the first 1,024 files of the folder `keys` are looked at, and there are more: move \
                              away those that are newer than your last key, and try again";

/// Longest slot that is held while the others are looked at, in bytes: a longer one is read again, and many of them fill
/// no memory.
const SLOT_HELD_MAX: usize = 16 << 10;

/// What a slot says of how it opens, and its bytes; none where it is too long to be held.
type HeldSlot = (Lock, Vec<u8>);

/// Looks at a slot.
fn read_lock(backend: &dyn Backend, id: &Id) -> Result<HeldSlot> {
    let bytes = read_slot(backend, id)?;
    let lock = key_slot::decode(&bytes)?.lock;
    Ok((lock, if bytes.len() > SLOT_HELD_MAX { Vec::new() } else { bytes }))
}

/// What trying a slot costs.
fn price(lock: &Lock) -> u64 {
    match lock.method {
        Method::Password { memory_kib, passes, .. } => {
            u64::from(memory_kib).saturating_mul(u64::from(passes))
        }
        Method::KeyFile => 0,
    }
}

fn try_slot(
    backend: &dyn Backend,
    repository: &Id,
    id: &Id,
    held: Vec<u8>,
    credential: &Credential,
) -> Result<Option<Bundle>> {
    let bytes = if held.is_empty() { read_slot(backend, id)? } else { held };
    let slot = key_slot::decode(&bytes)?;
    if slot.lock.repository != *repository {
        return Ok(None);
    }
    let bundle = open_slot(&slot, credential)?;
    bundle.as_ref().map_or(Ok(()), |bundle| check_bundle(repository, bundle))?;
    Ok(bundle)
}

fn read_slot(backend: &dyn Backend, id: &Id) -> Result<Vec<u8>> {
    let bytes = backend.get(&ObjectName::new(ObjectKind::Key, *id), limits::SMALL_OBJECT_MAX)?;
    if derive::hash(&bytes) == *id {
        Ok(bytes)
    } else {
        Err(Error::corrupt(format!("keys/{id}: its bytes are not the ones its name says")))
    }
}

fn open_slot(slot: &KeySlot<'_>, credential: &Credential) -> Result<Option<Bundle>> {
    let holder = match (&slot.lock.method, credential) {
        (Method::Password { memory_kib, passes, lanes }, Credential::Password(password)) => {
            let cost = Cost { memory_kib: *memory_kib, passes: *passes, lanes: *lanes };
            kdf::stretch(password, &slot.lock.salt, cost)?
        }
        (Method::KeyFile, Credential::KeyFile(secret)) => secret.clone(),
        _ => return Ok(None),
    };
    let commitment = derive::salted_key(&holder, &slot.lock.salt, Purpose::SlotCommitment);
    if !derive::equal(commitment.expose(), &slot.lock.commitment) {
        return Ok(None);
    }
    let wrap = derive::salted_key(&holder, &slot.lock.salt, Purpose::SlotWrap);
    let plaintext = Zeroizing::new(seal::open_object(&wrap, slot.bound, slot.sealed_bundle)?);
    key_slot::decode_bundle(&plaintext).map(Some)
}

impl Repository {
    /// Adds a key.
    ///
    /// # Errors
    /// `RoleNotAllowed` where the key at hand may not give that role.
    pub fn add_key(&self, role: Role, new: &NewKey<'_>) -> Result<Id> {
        let action = "adding a key";
        if role == Role::Full {
            self.keyring.require(Role::Full, "adding a full key")?;
        }
        let maintain = self.keyring.maintain_secret(action)?;
        let mine = self.keyring.bundle();
        let (slot_secret, certificate) = new_slot_key(self.id(), &maintain, role)?;
        let bundle = Bundle {
            role,
            write_secret: mine.write_secret,
            metadata_public: mine.metadata_public.clone(),
            data_public: mine.data_public.clone(),
            maintain_public: mine.maintain_public,
            slot_secret: *slot_secret.expose(),
            certificate,
            metadata_secret: mine.metadata_secret.filter(|_| role >= Role::Maintain),
            maintain_secret: mine.maintain_secret.filter(|_| role >= Role::Maintain),
            data_secret: mine.data_secret.filter(|_| role >= Role::Full),
        };
        write_slot(self.backend.as_ref(), self.id(), &bundle, new)
    }

    /// Every key slot that can be read, and what is wrong with those that cannot.
    pub fn list_keys(&self) -> Result<(Vec<SlotInfo>, Vec<Unreadable>)> {
        let mut slots = Vec::new();
        let mut damaged = Vec::new();
        let mut ids = self.list_ids(ObjectKind::Key)?;
        // The one in use is shown wherever it stands.
        let own = *self.keyring.slot();
        ids.sort_by_key(|id| *id != own);
        for (number, id) in ids.into_iter().enumerate() {
            if number >= limits::KEY_SLOTS_MAX {
                damaged
                    .push((id, Error::refused(format!("keys/{id} is one of too many")).hint(TOO_MANY_SLOTS)));
                continue;
            }
            match self.read_listed_object(&ObjectName::new(ObjectKind::Key, id), || self.slot_info(&id)) {
                Ok(info) => slots.push(info),
                Err(error) => damaged.push((id, error.context(format!("keys/{id} cannot be read")))),
            }
        }
        slots.sort_by(|one, other| one.label.created.cmp(&other.label.created).then(one.id.cmp(&other.id)));
        Ok((slots, damaged))
    }

    /// What a listing shows of one slot.
    pub(crate) fn slot_info(&self, id: &Id) -> Result<SlotInfo> {
        let bytes = read_slot(self.backend.as_ref(), id)?;
        let slot = key_slot::decode(&bytes)?;
        let bound = label_bound(self.id(), &slot.lock.salt);
        let label = seal::open_object(&self.keyring.key(Purpose::SlotLabels), &bound, slot.sealed_label)?;
        let label = key_slot::decode_label(&label)?;
        check_certificate(&self.keyring, label.role, &label.verifying_key, &label.certificate)?;
        Ok(SlotInfo {
            id: *id,
            by_password: matches!(slot.lock.method, Method::Password { .. }),
            current: id == self.keyring.slot(),
            label,
        })
    }
}
