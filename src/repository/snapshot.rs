//! Snapshots: reading their manifests, checking who wrote them, telling which count.
//!
//! Follows `format-spec/09-snapshot.md`.

use std::collections::{BTreeSet, HashSet};

use super::kept::Kept;
use super::keys::check_certificate;
use super::memory::Vanished;
use super::tree::Root;
use super::unread::is_passed_over;
use super::{Repository, host};
use crate::backend::{ObjectKind, ObjectName};
use crate::crypto::secret::Secret;
use crate::crypto::sign::{self, SignaturePurpose};
use crate::error::{Error, ErrorKind, Result};
use crate::format::cbor;
use crate::format::key_slot::Role;
use crate::format::marks::{Forgotten, Signed, UsedNumber};
use crate::format::snapshot::{self as format, Manifest, Original, SignedManifest};
use crate::id::Id;

/// A committed snapshot whose signatures hold.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Its id.
    pub id: Id,
    /// What it says.
    pub manifest: Manifest,
    /// The public key of the slot that wrote it.
    pub writer: [u8; 32],
    /// That slot's role.
    pub writer_role: Role,
}

/// The backup that a snapshot stands for: its own, or the one it was made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    /// The snapshot that the backup itself wrote.
    pub snapshot: Id,
    /// The public key of the slot that wrote that one.
    pub writer: [u8; 32],
    /// That one's sequence number.
    pub sequence: u64,
}

impl Snapshot {
    /// Its tree's top.
    pub fn root(&self) -> Root {
        Root { id: self.manifest.root, level: self.manifest.level }
    }

    /// What it was made from. A key of role backup is not believed about that: it could else speak for another
    /// host.
    pub fn original(&self) -> Option<&Original> {
        self.manifest.original.as_ref().filter(|_| self.writer_role >= Role::Maintain)
    }

    /// The backup that it stands for.
    pub fn origin(&self) -> Origin {
        match self.original() {
            Some(original) => {
                Origin { snapshot: original.snapshot, writer: original.writer, sequence: original.sequence }
            }
            None => Origin { snapshot: self.id, writer: self.writer, sequence: self.manifest.sequence },
        }
    }

    /// The number to be kept in the mark that forgets it. Whoever knows that it was in order adds when it was finished.
    pub fn used_number(&self) -> UsedNumber {
        let Origin { snapshot, writer, sequence } = self.origin();
        UsedNumber { writer, sequence, snapshot, finished: None }
    }
}

/// The snapshots of a repository.
#[derive(Debug, Default)]
pub struct Snapshots {
    /// Those that can be read and are not forgotten, oldest first.
    pub snapshots: Vec<Snapshot>,
    /// Those that are forgotten and not yet gone.
    pub forgotten: Vec<Snapshot>,
    /// Snapshots, and marks of forgetting, that cannot be read, and why.
    pub damaged: Vec<(ObjectKind, Id, Error)>,
    /// The marks of forgetting that verify.
    pub marks: Vec<Forgotten>,
    /// Those that this computer saw before and that are gone without a mark.
    pub vanished: Vec<Vanished>,
    /// Those that were not there when this computer looked, though they say that they were finished long before.
    pub unseen: BTreeSet<Id>,
}

impl Snapshots {
    /// Refuses what must not go by a part of what there is: where a snapshot or a mark is there and cannot be had.
    ///
    /// # Errors
    /// `Unread`, with what can be done.
    pub(crate) fn require_all_read(&self, refused: &str) -> Result<()> {
        let unread = self.damaged.iter().find(|(_, _, error)| error.kind() == ErrorKind::Unread);
        unread.map_or(Ok(()), |(kind, id, error)| {
            let unknown = match kind {
                ObjectKind::Forgotten => format!("whether snapshot {} is forgotten", id.short()),
                _ => format!("what snapshot {} needs", id.short()),
            };
            let again = Error::new(error.kind(), error.chain());
            let again = again.context(format!("{refused}, for {unknown} cannot be known"));
            Err(again.hint(error.next_step().unwrap_or_default().to_owned()))
        })
    }

    /// Snapshots of which nobody can say whether they are forgotten: each has a mark that cannot be had.
    pub(crate) fn perhaps_forgotten(&self) -> HashSet<Id> {
        let unread = |(kind, _, error): &&(ObjectKind, Id, Error)| {
            *kind == ObjectKind::Forgotten && error.kind() == ErrorKind::Unread
        };
        self.damaged.iter().filter(unread).map(|(_, id, _)| *id).collect()
    }

    /// Why a snapshot or a mark is passed over, and what that means for the snapshot.
    pub(crate) fn cause(&self, kind: ObjectKind, id: &Id, error: &Error) -> String {
        let perhaps = kind == ObjectKind::Forgotten
            && error.kind() == ErrorKind::Unread
            && self.snapshots.iter().any(|snapshot| snapshot.id == *id);
        let perhaps = if perhaps { "; its snapshot is shown, and perhaps forgotten" } else { "" };
        format!("{}{perhaps}", error.chain())
    }
}

impl Repository {
    /// Reads all snapshots. A mark of forgetting that does not verify, or that alone cannot be had, forgets nothing.
    ///
    /// # Errors
    /// Where the store cannot be listed or does not answer; what is damaged, or not to be had, is in the result.
    pub fn snapshots(&self) -> Result<Snapshots> {
        self.snapshots_listed(|| self.list_ids(ObjectKind::Snapshot))
    }

    /// The same for a command that gives something back: a manifest that this computer has read before is taken from
    /// its cache, and a copy in the store that is damaged meanwhile goes unnoticed.
    pub fn snapshots_to_read(&self) -> Result<Snapshots> {
        self.read_listed(|| self.list_ids(ObjectKind::Snapshot), self.kept().as_ref())
    }

    /// Reads the snapshots that a listing shows.
    pub(crate) fn snapshots_listed(&self, list: impl FnOnce() -> Result<Vec<Id>>) -> Result<Snapshots> {
        self.read_listed(list, None)
    }

    fn read_listed(&self, list: impl FnOnce() -> Result<Vec<Id>>, kept: Option<&Kept>) -> Result<Snapshots> {
        // What was seen is looked at first: what another command sees meanwhile is not missed here.
        let seen = self.seen();
        let began = host::now();
        let mut found = Snapshots::default();
        let ids = list()?;
        found.marks = self.forgotten(&mut found.damaged)?;
        let forgotten: HashSet<Id> = found.marks.iter().map(|mark| mark.snapshot).collect();
        found.vanished = seen.vanished(&ids, &forgotten);
        for id in ids {
            let name = ObjectName::new(ObjectKind::Snapshot, id);
            match self.read_listed_object(&name, || self.read_manifest(&id, kept)) {
                Ok(snapshot) if forgotten.contains(&id) => found.forgotten.push(snapshot),
                Ok(snapshot) => found.snapshots.push(snapshot),
                // Somebody deleted it between listing and reading.
                Err(error) if error.kind() == ErrorKind::Missing => {}
                Err(_) if forgotten.contains(&id) => {}
                Err(error) if is_passed_over(&error) => found.damaged.push((ObjectKind::Snapshot, id, error)),
                Err(error) => return Err(error),
            }
        }
        // What was made from another snapshot has its time, and comes after it.
        found.snapshots.sort_by_cached_key(|snapshot| {
            let manifest = &snapshot.manifest;
            let made = snapshot.original().map(|_| manifest.sequence);
            (manifest.time, made, snapshot.id)
        });
        found.unseen = self.unseen(&seen, &found.snapshots, began);
        self.remember(&found, &forgotten, began);
        Ok(found)
    }

    /// Reads one snapshot and checks its signatures.
    pub fn read_snapshot(&self, id: &Id) -> Result<Snapshot> {
        self.read_manifest(id, None)
    }

    fn read_manifest(&self, id: &Id, kept: Option<&Kept>) -> Result<Snapshot> {
        let signed = format::decode_signed(&self.get_kept_object(kept, ObjectKind::Snapshot, id)?)?;
        let checked =
            check_certificate(&self.keyring, signed.role, &signed.verifying_key, &signed.certificate)
                .and_then(|()| {
                    let parts: [&[u8]; 3] = [self.id().as_bytes(), id.as_bytes(), &signed.manifest];
                    sign::verify(&signed.verifying_key, SignaturePurpose::Manifest, &parts, &signed.signature)
                });
        checked.map_err(|error| {
            error.context(format!("snapshots/{id} was not written by a key of this repository"))
        })?;
        let manifest = format::decode(&signed.manifest)?;
        Ok(Snapshot { id: *id, manifest, writer: signed.verifying_key, writer_role: signed.role })
    }

    /// Signs and stores a manifest.
    pub(crate) fn put_snapshot(&self, id: &Id, manifest: &Manifest) -> Result<u64> {
        let manifest = format::encode(manifest)?;
        let bundle = self.keyring.bundle();
        let secret = Secret::new(bundle.slot_secret);
        let parts: [&[u8]; 3] = [self.id().as_bytes(), id.as_bytes(), &manifest];
        let signature = sign::sign(&secret, SignaturePurpose::Manifest, &parts);
        let signed = SignedManifest {
            role: bundle.role,
            verifying_key: sign::verifying_key(&secret),
            certificate: bundle.certificate,
            signature,
            manifest,
        };
        self.put_named(ObjectKind::Snapshot, id, &format::encode_signed(&signed)?)
    }

    /// The public key that signs this key's manifests.
    pub fn own_writer(&self) -> [u8; 32] {
        sign::verifying_key(&Secret::new(self.keyring.bundle().slot_secret))
    }

    /// The marks of forgetting that verify.
    pub(crate) fn forgotten(&self, damaged: &mut Vec<(ObjectKind, Id, Error)>) -> Result<Vec<Forgotten>> {
        let mut forgotten = Vec::new();
        for id in self.list_ids(ObjectKind::Forgotten)? {
            let name = ObjectName::new(ObjectKind::Forgotten, id);
            match self.read_listed_object(&name, || self.read_forgotten(&id)) {
                Ok(mark) => forgotten.push(mark),
                Err(error) if is_passed_over(&error) => damaged.push((ObjectKind::Forgotten, id, error)),
                Err(error) => return Err(error),
            }
        }
        Ok(forgotten)
    }

    /// Reads the bytes of a record that the maintain key signed.
    pub(crate) fn read_signed(
        &self,
        kind: ObjectKind,
        id: &Id,
        purpose: SignaturePurpose,
    ) -> Result<Vec<u8>> {
        let plaintext = self.get_object(kind, id)?;
        let signed: Signed = cbor::decode(&plaintext, "signed record")?;
        let bound = if kind == ObjectKind::Gc { Id::default() } else { *id };
        let parts: [&[u8]; 3] = [self.id().as_bytes(), bound.as_bytes(), &signed.record];
        sign::verify(&self.keyring.bundle().maintain_public, purpose, &parts, &signed.signature).map_err(
            |error| error.context(format!("{}/{id} was not signed by the maintain key", kind.folder())),
        )?;
        Ok(signed.record)
    }

    /// Encodes a record and signs it with the maintain key.
    pub(crate) fn sign_record<T: minicbor::Encode<()>>(
        &self,
        bound: &Id,
        purpose: SignaturePurpose,
        record: &T,
        action: &str,
    ) -> Result<Vec<u8>> {
        let record = cbor::encode(record)?;
        let secret = self.keyring.maintain_secret(action)?;
        let parts: [&[u8]; 3] = [self.id().as_bytes(), bound.as_bytes(), &record];
        let signature = sign::sign(&secret, purpose, &parts);
        cbor::encode(&Signed { record, signature })
    }
}
