//! The keys that a slot gives, ready for use, and what they do not allow.

use crate::crypto::derive::{self, Purpose};
use crate::crypto::envelope;
use crate::crypto::secret::Secret;
use crate::crypto::sign::{self, SignaturePurpose};
use crate::error::{Error, ErrorKind, Result};
use crate::format::blob::{BlobKind, Class};
use crate::format::key_slot::{Bundle, Role};
use crate::id::Id;

/// Refuses a bundle that would harm whoever used it: snapshots signed with a key that is not certified are rejected
/// by every reader, and what is sealed to a public key that no secret key fits is never read again.
pub(crate) fn check_bundle(repository: &Id, bundle: &Bundle) -> Result<()> {
    let slot = sign::verifying_key(&Secret::new(bundle.slot_secret));
    let parts: [&[u8]; 3] = [repository.as_bytes(), &[bundle.role.code()], &slot];
    sign::verify(&bundle.maintain_public, SignaturePurpose::Certificate, &parts, &bundle.certificate)
        .map_err(|error| error.context("a key slot is not certified by its maintain key"))?;
    let mut fits = bundle
        .maintain_secret
        .is_none_or(|key| sign::verifying_key(&Secret::new(key)) == bundle.maintain_public);
    for (secret, public) in
        [(bundle.metadata_secret, &bundle.metadata_public), (bundle.data_secret, &bundle.data_public)]
    {
        if let Some(secret) = secret {
            fits &= envelope::public_key(&Secret::new(secret))? == *public;
        }
    }
    if fits { Ok(()) } else { Err(Error::corrupt("key bundle: its secret keys do not fit its public keys")) }
}

/// An opened key slot.
pub struct Keyring {
    repository: Id,
    slot: Id,
    bundle: Bundle,
    write_secret: Secret,
    chunk_ids: Secret,
    list_ids: Secret,
    leaf_ids: Secret,
    inner_ids: Secret,
}

impl Keyring {
    /// Takes an opened bundle.
    pub(crate) fn new(repository: Id, slot: Id, bundle: Bundle) -> Self {
        let write_secret = Secret::new(bundle.write_secret);
        Self {
            repository,
            slot,
            chunk_ids: derive::key(&write_secret, Purpose::ChunkIds),
            list_ids: derive::key(&write_secret, Purpose::ListIds),
            leaf_ids: derive::key(&write_secret, Purpose::LeafIds),
            inner_ids: derive::key(&write_secret, Purpose::InnerIds),
            write_secret,
            bundle,
        }
    }

    /// The repository they belong to.
    pub fn repository(&self) -> &Id {
        &self.repository
    }

    /// The slot they came from.
    pub fn slot(&self) -> &Id {
        &self.slot
    }

    /// What they allow.
    pub fn role(&self) -> Role {
        self.bundle.role
    }

    /// The bundle itself.
    pub(crate) fn bundle(&self) -> &Bundle {
        &self.bundle
    }

    /// The key for a purpose, derived from the write secret.
    pub fn key(&self, purpose: Purpose) -> Secret {
        derive::key(&self.write_secret, purpose)
    }

    /// The id of a blob.
    pub fn blob_id(&self, kind: BlobKind, plain: &[u8]) -> Id {
        let key = match kind {
            BlobKind::Chunk => &self.chunk_ids,
            BlobKind::List => &self.list_ids,
            BlobKind::Leaf => &self.leaf_ids,
            BlobKind::Inner => &self.inner_ids,
        };
        derive::keyed_hash(key, plain)
    }

    /// The public key of a class.
    pub(crate) fn public_key(&self, class: Class) -> &[u8] {
        match class {
            Class::Data => &self.bundle.data_public,
            Class::Metadata => &self.bundle.metadata_public,
        }
    }

    /// Whether blobs of a class can be opened.
    pub fn opens(&self, class: Class) -> bool {
        self.secret_bytes(class).is_some()
    }

    /// The secret key of a class.
    ///
    /// # Errors
    /// `RoleNotAllowed` where this slot was not given it.
    pub(crate) fn secret_key(&self, class: Class) -> Result<Secret> {
        self.secret_bytes(class).map(Secret::new).ok_or_else(|| match class {
            Class::Data => self.refuse(Role::Full, "reading the contents of files"),
            Class::Metadata => self.refuse(Role::Maintain, "listing the files of a snapshot"),
        })
    }

    fn secret_bytes(&self, class: Class) -> Option<[u8; 32]> {
        match class {
            Class::Data => self.bundle.data_secret,
            Class::Metadata => self.bundle.metadata_secret,
        }
    }

    /// The maintain key's secret half.
    pub(crate) fn maintain_secret(&self, action: &str) -> Result<Secret> {
        self.bundle.maintain_secret.map(Secret::new).ok_or_else(|| self.refuse(Role::Maintain, action))
    }

    /// Refuses an action that needs a higher role.
    pub fn require(&self, role: Role, action: &str) -> Result<()> {
        if self.role() >= role { Ok(()) } else { Err(self.refuse(role, action)) }
    }

    fn refuse(&self, role: Role, action: &str) -> Error {
        Error::new(
            ErrorKind::RoleNotAllowed,
            format!(
                "{action} needs a key of role {}; this key's role is {}",
                needed(role),
                self.role().name()
            ),
        )
        .hint(format!("give a {} key by --key-file, or its password", needed(role)))
    }
}

fn needed(role: Role) -> &'static str {
    match role {
        Role::Backup => "backup",
        Role::Maintain => "maintain or full",
        Role::Full => "full",
    }
}
