//! `config` and key slots.

use argon2::{Algorithm, Argon2, Params, Version};
use serde_json::{Value as Json, json};

use super::cbor::Cbor;
use super::records::{code, record};
use super::seal::{Signer, seal_object, sign, verifying_key};
use super::{Bytes32, Forge, header, hex};

/// What opens a slot.
#[derive(Clone, Debug)]
pub(crate) enum Holder {
    /// The password, and Argon2id's memory in KiB, passes and lanes.
    Password(String, [u32; 3]),
    /// The 32 bytes of a key file.
    KeyFile(Bytes32),
}

/// A slot that is to be made.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    pub(crate) role: &'static str,
    pub(crate) holder: Holder,
    pub(crate) label: String,
    /// Secret half of its slot key.
    pub(crate) secret: Bytes32,
}

/// The parts of a slot, each of which may be altered before it is sealed.
#[derive(Clone)]
pub(crate) struct SlotParts {
    pub(crate) lock: Cbor,
    pub(crate) label: Cbor,
    pub(crate) bundle: Cbor,
    /// The same as JSON.
    pub(crate) values: Json,
    pub(crate) salt: Bytes32,
    pub(crate) holder_key: Bytes32,
}

/// What Argon2id makes of a password.
pub(crate) fn stretch(password: &str, salt: &Bytes32, [memory, passes, lanes]: [u32; 3]) -> Bytes32 {
    let mut key = [0; 32];
    let params = Params::new(memory, passes, lanes, Some(32)).expect("parameters");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(password.as_bytes(), salt, &mut key)
        .expect("it stretches");
    key
}

pub(crate) fn salted(holder_key: &Bytes32, salt: &Bytes32, purpose: &str) -> Bytes32 {
    let material = [holder_key.as_slice(), salt].concat();
    blake3::derive_key(&format!("strongroom 2026-11 v1 {purpose}"), &material)
}

/// The text of a key file.
pub(crate) fn key_file(key: &Bytes32) -> String {
    format!("STRONGROOM-KEY-1-{}-{}\n", hex(key), &hex(&super::hash(key))[..8])
}

impl Slot {
    /// Public half of its slot key.
    pub(crate) fn verifying_key(&self) -> Bytes32 {
        verifying_key(&self.secret)
    }
}

impl Forge {
    /// The fields of `config` as a new repository has them.
    pub(crate) fn config_fields(&self) -> Json {
        json!({
            "repository": hex(&self.repository),
            "required_features": [],
            "optional_features": [],
            "chunker": 1,
            "file_chunks": {"minimum": 524_288, "average": 1_048_576, "maximum": 4_194_304},
            "dump_chunks": {"minimum": 16_384, "average": 65_536, "maximum": 262_144},
            "created": {"seconds": 1_794_000_000, "nanoseconds": 0},
        })
    }

    /// `config` with this record.
    pub(crate) fn config(&self, record: &[u8]) -> Vec<u8> {
        let length = (record.len() as u32).to_le_bytes();
        let covered = [header(b"conf"), length.to_vec(), record.to_vec()].concat();
        let mac = *blake3::keyed_hash(&self.derive("config mac"), &covered).as_bytes();
        [covered, mac.to_vec()].concat()
    }

    /// The maintain key's signature for a slot key of this role.
    pub(crate) fn certificate(&self, role: u8, verifying_key: &Bytes32) -> [u8; 64] {
        let signer = Signer { secret: &self.maintain_secret, context: "strongroom v1 slot certificate" };
        sign(&signer, &[&self.repository, &[role], verifying_key])
    }

    /// The parts of a slot as its role wants them.
    pub(crate) fn slot_parts(&mut self, slot: &Slot) -> SlotParts {
        let salt: Bytes32 = self.draw();
        let (method, holder_key) = match &slot.holder {
            Holder::Password(password, cost) => {
                let [memory, passes, lanes] = *cost;
                let fields = json!({"memory_kib": memory, "passes": passes, "lanes": lanes});
                (json!({"password": fields}), stretch(password, &salt, *cost))
            }
            Holder::KeyFile(key) => (json!({"key-file": {}}), *key),
        };
        let role = code("role", slot.role) as u8;
        let verifying_key = slot.verifying_key();
        let certificate = hex(&self.certificate(role, &verifying_key));
        let lock = json!({
            "repository": hex(&self.repository),
            "method": method,
            "salt": hex(&salt),
            "commitment": hex(&salted(&holder_key, &salt, "slot commitment")),
        });
        let label = json!({
            "role": slot.role,
            "text": slot.label,
            "created": {"seconds": 1_794_000_060, "nanoseconds": 500},
            "verifying_key": hex(&verifying_key),
            "certificate": certificate,
        });
        let mut bundle = json!({
            "role": slot.role,
            "write_secret": hex(&self.write_secret),
            "metadata_public": hex(&self.classes[1].1),
            "data_public": hex(&self.classes[0].1),
            "maintain_public": hex(&super::verifying_key(&self.maintain_secret)),
            "slot_secret": hex(&slot.secret),
            "certificate": certificate,
        });
        if role >= 2 {
            bundle["metadata_secret"] = hex(&self.classes[1].0).into();
            bundle["maintain_secret"] = hex(&self.maintain_secret).into();
        }
        if role == 3 {
            bundle["data_secret"] = hex(&self.classes[0].0).into();
        }
        SlotParts {
            lock: record("lock", &lock),
            label: record("label", &label),
            bundle: record("bundle", &bundle),
            values: json!({"lock": lock, "label": label, "bundle": bundle}),
            salt,
            holder_key,
        }
    }

    /// Seals the parts of a slot.
    pub(crate) fn slot_bytes(&mut self, parts: &SlotParts) -> Vec<u8> {
        let counted = |bytes: Vec<u8>| [(bytes.len() as u32).to_le_bytes().to_vec(), bytes].concat();
        let associated = self.bound(b"keys", &parts.salt);
        let label = self.seal("slot labels", &associated, &parts.label.encode());
        let bound = [header(b"keys"), counted(parts.lock.encode()), counted(label)].concat();
        let wrap = salted(&parts.holder_key, &parts.salt, "slot wrap");
        let bundle = seal_object(&wrap, &self.draw(), &bound, &parts.bundle.encode());
        [bound, bundle].concat()
    }

    /// Makes a slot and stores it.
    pub(crate) fn add_slot(&mut self, slot: &Slot) -> Bytes32 {
        let parts = self.slot_parts(slot);
        let bytes = self.slot_bytes(&parts);
        self.put_hashed("keys", bytes)
    }

    /// Stores `config`.
    pub(crate) fn add_config(&mut self) {
        let config = self.config(&record("config", &self.config_fields()).encode());
        self.objects.insert("config".to_owned(), config);
    }
}
