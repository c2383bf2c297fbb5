//! Ids, derivation, seals, envelopes, signatures, key files and key slots.

use serde_json::{Value as Json, json};

use super::{Case, LABEL, flipped, forge, full_holder, hashed, join, slot};
use crate::forge::cbor::{Cbor, long_head};
use crate::forge::keys::{key_file, salted, stretch};
use crate::forge::records::{record, specification};
use crate::forge::{
    Bytes32, Forge, Holder, Signer, Slot, SlotParts, encapsulate, hash, header, hex, key_file_holder,
    seal_object, sign, stream, verifying_key,
};

pub(super) fn identifiers() -> Vec<Case> {
    let mut cases = Vec::new();
    for (kind, name) in [(1, "chunk"), (2, "list"), (3, "leaf"), (4, "inner")] {
        for plaintext in [b"".as_slice(), b"vault"] {
            let id = hex(&forge().blob_id(kind, plaintext));
            let name = format!("id of a {name} of {} bytes", plaintext.len());
            let members = json!({"kind": kind, "plaintext": hex(plaintext), "value": id});
            cases.push(Case::valid("blob-id", &name, members));
        }
    }
    let id = hex(&stream("an id", 32));
    cases.push(Case::valid("id", "text form", json!({"text": id, "value": id})));
    for (name, text) in [
        ("upper-case digits", id.to_uppercase()),
        ("one digit short", id[1..].to_owned()),
        ("one digit more", format!("{id}0")),
        ("a letter that is no digit", id.replacen(&id[..1], "g", 1)),
        ("nothing", String::new()),
    ] {
        cases.push(Case::invalid("id", name, "bad-name", json!({"text": text})));
    }
    cases
}

pub(super) fn primitives() -> Vec<Case> {
    [derivations(), seals(), stretched(), envelopes(), signatures(), key_files()]
        .into_iter()
        .flatten()
        .collect()
}

fn derivations() -> Vec<Case> {
    let (write_secret, holder, salt) =
        (forge().write_secret, full_holder(), forge().fork("salts").draw::<32>());
    let contexts = specification().table("contexts", "derivation").pairs();
    let derived = contexts.into_iter().map(|(purpose, context)| {
        let end = context.strip_prefix("strongroom 2026-11 v1 ").expect("the start of every context");
        let members = if purpose.starts_with("slot-w") || purpose.starts_with("slot-c") {
            let key = salted(&holder, &salt, end);
            json!({"secret": hex(&holder), "salt": hex(&salt), "value": hex(&key)})
        } else {
            json!({"secret": hex(&write_secret), "value": hex(&forge().derive(end))})
        };
        Case::valid("derivation", purpose, join(json!({"context": context}), members))
    });
    derived.collect()
}

fn seals() -> Vec<Case> {
    let mut forge = forge().fork("sealed objects");
    let key: Bytes32 = forge.draw();
    let mut cases = Vec::new();
    for plain in [b"".as_slice(), b"a sealed object"] {
        let bytes = seal_object(&key, &forge.draw(), b"associated", plain);
        let members = json!({"key": hex(&key), "associated": hex(b"associated"), "bytes": hex(&bytes)});
        let name = format!("{} bytes", plain.len());
        cases.push(Case::valid("sealed-object", &name, join(members.clone(), json!({"value": hex(plain)}))));
        let other = |name: &str, class: &str, change: Json| {
            Case::invalid(
                "sealed-object",
                &format!("{} bytes, {name}", plain.len()),
                class,
                join(members.clone(), change),
            )
        };
        cases.push(other("the salt altered", "does-not-open", json!({"bytes": hex(&flipped(&bytes, 0))})));
        let last = bytes.len() - 1;
        cases.push(other("the tag altered", "does-not-open", json!({"bytes": hex(&flipped(&bytes, last))})));
        cases.push(other("other associated data", "does-not-open", json!({"associated": hex(b"other")})));
        cases.push(other("another key", "does-not-open", json!({"key": hex(&[7; 32])})));
        cases.push(other("47 bytes", "truncated", json!({"bytes": hex(&bytes[..47])})));
    }
    cases
}

fn stretched() -> Vec<Case> {
    let salt: Bytes32 = forge().fork("argon2id").draw();
    let one = |password: &str, cost: [u32; 3]| {
        let [memory, passes, lanes] = cost;
        let name = format!("{password:?}, {memory} KiB, {passes} passes, {lanes} lanes");
        let value = hex(&stretch(password, &salt, cost));
        let members = json!({
            "password": password, "salt": hex(&salt), "memory_kib": memory, "passes": passes, "lanes": lanes,
            "value": value,
        });
        Case::valid("argon2id", &name, members)
    };
    vec![one("", [8, 1, 1]), one("correct horse", [64, 3, 4]), one("pässwörd", [256, 2, 1])]
}

fn envelopes() -> Vec<Case> {
    let mut forge = forge().fork("envelopes");
    let mut cases = Vec::new();
    for (class, name) in [(1, "data"), (2, "metadata")] {
        let (secret, public) = forge.classes[class - 1].clone();
        let info = forge.envelope_info(class as u8);
        let (content_key, drawn): (Bytes32, [u8; 64]) = (forge.draw(), forge.draw());
        let bytes = encapsulate(&public, &info, &content_key, &drawn);
        let members = json!({"secret": hex(&secret), "info": hex(&info), "bytes": hex(&bytes)});
        let value = json!({"encapsulation_draws": hex(&drawn), "value": hex(&content_key)});
        cases.push(Case::valid("envelope", name, join(members.clone(), value)));
        if class == 1 {
            let other = |name: &str, change: Json| {
                Case::invalid("envelope", name, "does-not-open", join(members.clone(), change))
            };
            cases.push(other("for the other class", json!({"info": hex(&forge.envelope_info(2))})));
            cases.push(other("with the other class's key", json!({"secret": hex(&forge.classes[1].0)})));
            cases.push(other("encapsulated key altered", json!({"bytes": hex(&flipped(&bytes, 1100))})));
            cases.push(other("tag altered", json!({"bytes": hex(&flipped(&bytes, 1167))})));
        }
    }
    cases
}

/// The order of Ed25519's group, little-endian.
const ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

fn signatures() -> Vec<Case> {
    let mut forge = forge().fork("signatures");
    let (secret, id): (Bytes32, Bytes32) = (forge.draw(), forge.draw());
    let key = verifying_key(&secret);
    let mut cases = Vec::new();
    for (purpose, context) in specification().table("contexts", "signatures").pairs() {
        let parts: Vec<Vec<u8>> = match purpose {
            "certificate" => vec![forge.repository.to_vec(), vec![1], id.to_vec()],
            "gc" => vec![forge.repository.to_vec(), vec![0; 32], b"record".to_vec()],
            _ => vec![forge.repository.to_vec(), id.to_vec(), b"record".to_vec()],
        };
        let refs: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        let bytes = sign(&Signer { secret: &secret, context }, &refs);
        let parts: Vec<String> = parts.iter().map(|part| hex(part)).collect();
        let members = json!({"context": context, "parts": parts, "key": hex(&key), "bytes": hex(&bytes)});
        let signed = join(members.clone(), json!({"secret": hex(&secret), "value": true}));
        cases.push(Case::valid("signature", purpose, signed));
        if purpose != "manifest" {
            continue;
        }
        let other = |name: &str, change: Json| {
            Case::invalid("signature", name, "bad-signature", join(members.clone(), change))
        };
        let mut raised = bytes;
        let mut carry = 0;
        for (byte, order) in raised[32..].iter_mut().zip(ORDER) {
            let sum = u16::from(*byte) + u16::from(order) + carry;
            (*byte, carry) = (sum as u8, sum >> 8);
        }
        cases.push(other("of another purpose", json!({"context": "strongroom v1 forgotten mark"})));
        cases.push(other("second half not below the order", json!({"bytes": hex(&raised)})));
        cases.push(other("first half altered", json!({"bytes": hex(&flipped(&bytes, 0))})));
        cases.push(other("a part altered", json!({"parts": [parts[0], parts[1], hex(b"recore")]})));
        // With the neutral element as key and first half, and a second half of zeros, the equation holds for
        // every message.
        let mut neutral = [0; 32];
        neutral[0] = 1;
        let nothing = [neutral, [0; 32]].concat();
        cases.push(other("a key of small order", json!({"key": hex(&neutral), "bytes": hex(&nothing)})));
        // The same point, its coordinate written with the field's prime added.
        let mut long = [0xff; 32];
        (long[0], long[31]) = (0xee, 0x7f);
        cases.push(other("a key that is not canonical", json!({"key": hex(&long), "bytes": hex(&nothing)})));
        let small = [neutral.as_slice(), &bytes[32..]].concat();
        cases.push(other("a first half of small order", json!({"bytes": hex(&small)})));
    }
    cases
}

fn key_files() -> Vec<Case> {
    let key = full_holder();
    let (text, value) = (key_file(&key), hex(&key));
    let valid =
        |name: &str, text: String| Case::valid("key-file", name, json!({"text": text, "value": value}));
    let bad =
        |name: &str, class: &str, text: String| Case::invalid("key-file", name, class, json!({"text": text}));
    vec![
        valid("one line", text.clone()),
        valid("with a comment and spaces", format!("# comment\n\n  {}  \nmore\n", text.trim_end())),
        valid("without an end of line", text.trim_end().to_owned()),
        bad(
            "a digit altered",
            "bad-key-file",
            text.replacen(&value[..2], if &value[..2] == "00" { "01" } else { "00" }, 1),
        ),
        bad("upper-case digits", "bad-key-file", text.replace(&value, &value.to_uppercase())),
        bad("too few digits", "bad-key-file", text.replace(&value, &value[2..])),
        bad("without check digits", "bad-key-file", format!("STRONGROOM-KEY-1-{value}\n")),
        bad("without a key", "bad-key-file", "# comment\n".to_owned()),
    ]
}

/// A slot's bytes as a vector, with what opens it.
fn slot_case(name: &str, class: Option<&str>, holder: &Holder, members: Json) -> Case {
    let holder = match holder {
        Holder::Password(password, _) => json!({"password": password}),
        Holder::KeyFile(key) => json!({"key_file": hex(key)}),
    };
    let members = join(holder, members);
    match class {
        None => Case::valid("key-slot", name, members),
        Some(class) => Case::invalid("key-slot", name, class, members),
    }
}

pub(super) fn slots() -> Vec<Case> {
    let mut forge = forge().fork("key slots");
    let mut cases = Vec::new();
    let password = Holder::Password("the password".to_owned(), [64, 3, 4]);
    for (name, slot) in [
        ("full, key file", slot("full")),
        ("full, password", Slot { holder: password, ..slot("full") }),
        ("maintain, key file", slot("maintain")),
        ("backup, key file", slot("backup")),
    ] {
        let parts = forge.slot_parts(&slot);
        let bytes = forge.slot_bytes(&parts);
        let members = join(hashed(&bytes), json!({"value": parts.values}));
        cases.push(slot_case(name, None, &slot.holder, members));
    }
    cases.extend(damaged_slots(&mut forge));
    cases.extend(hostile_locks(&mut forge));
    cases.extend(hostile_bundles(&mut forge));
    cases.extend(hostile_labels(&mut forge));
    cases
}

fn damaged_slots(forge: &mut Forge) -> Vec<Case> {
    let slot = slot("backup");
    let parts = forge.slot_parts(&slot);
    let bytes = forge.slot_bytes(&parts);
    let bad =
        |name: &str, class: &str, bytes: Vec<u8>| slot_case(name, Some(class), &slot.holder, hashed(&bytes));
    let named = join(hashed(&bytes), json!({"id": hex(&hash(b"another"))}));
    let replaced = |at: usize, with: &[u8]| [&bytes[..at], with, &bytes[at + with.len()..]].concat();
    let label_at = 20 + parts.lock.encode().len();
    let wrong = Holder::KeyFile(key_file_holder(LABEL, "nobody"));
    vec![
        slot_case("under another name", Some("wrong-hash"), &slot.holder, named),
        slot_case("with another key", Some("wrong-key"), &wrong, hashed(&bytes)),
        bad("ends in its header", "truncated", bytes[..15].to_vec()),
        bad("ends in its lock", "truncated", bytes[..40].to_vec()),
        bad("ends in its label", "truncated", bytes[..label_at + 20].to_vec()),
        bad("a lock longer than the slot", "truncated", replaced(16, &[0xff; 4])),
        bad("a label longer than the slot", "truncated", replaced(label_at, &[0xff; 4])),
        bad("another magic", "bad-magic", replaced(0, b"S")),
        bad("the header of a pack", "wrong-kind", replaced(8, b"pack")),
        bad("format version 2", "unknown-version", replaced(12, &[2])),
        bad("a reserved byte of the header", "reserved", replaced(14, &[1])),
        bad("its bundle altered", "does-not-open", flipped(&bytes, bytes.len() - 1)),
        bad("no bundle", "truncated", bytes[..label_at + 4 + 48 + parts.label.encode().len()].to_vec()),
    ]
}

fn hostile_locks(forge: &mut Forge) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut bad = |name: &str, class: &str, slot: &Slot, change: &dyn Fn(&mut SlotParts)| {
        let mut parts = forge.slot_parts(slot);
        change(&mut parts);
        let bytes = forge.slot_bytes(&parts);
        cases.push(slot_case(name, Some(class), &slot.holder, hashed(&bytes)));
    };
    let by_password = Slot { holder: Holder::Password("password".to_owned(), [64, 1, 1]), ..slot("backup") };
    for (name, cost) in [
        ("more memory than allowed", [1_048_577, 1, 1]),
        ("absurd memory", [u32::MAX, 1, 1]),
        ("less memory than its lanes need", [15, 1, 2]),
        ("no passes", [64, 0, 1]),
        ("too many passes", [64, 17, 1]),
        ("no lanes", [64, 1, 0]),
        ("too many lanes", [136, 1, 17]),
    ] {
        bad(name, "over-limit", &by_password, &|parts| {
            let [memory, passes, lanes] = cost.map(|number| Cbor::Unsigned(number.into()));
            parts.lock.at(1).items()[1] = Cbor::Array(vec![memory, passes, lanes]);
        });
    }
    let by_file = slot("backup");
    bad("an unknown method", "unknown-code", &by_file, &|parts| {
        *parts.lock.at(1) = Cbor::Array(vec![Cbor::Unsigned(3), Cbor::Array(Vec::new())]);
    });
    bad("an unknown key in its lock", "unknown-key", &by_file, &|parts| {
        parts.lock.entries().push((4, Cbor::Bool(true)));
    });
    bad("a lock without a salt", "malformed", &by_file, &|parts| drop(parts.lock.entries().remove(2)));
    bad("a salt of 31 bytes", "malformed", &by_file, &|parts| *parts.lock.at(2) = Cbor::Bytes(vec![1; 31]));
    bad("keys of its lock out of order", "not-canonical", &by_file, &|parts| parts.lock.entries().swap(0, 3));
    bad("a method in a long form", "not-canonical", &by_file, &|parts| {
        parts.lock.at(1).items()[0] = Cbor::Raw(long_head(0, 2));
    });
    bad("bytes behind its lock", "not-canonical", &by_file, &|parts| {
        parts.lock = Cbor::Raw([parts.lock.encode(), vec![0]].concat());
    });
    bad("of another repository", "wrong-repository", &by_file, &|parts| {
        *parts.lock.at(0) = Cbor::Bytes(vec![9; 32]);
    });
    bad("a commitment to another key", "wrong-key", &by_file, &|parts| {
        *parts.lock.at(3) = Cbor::Bytes(vec![9; 32]);
    });
    cases
}

fn hostile_bundles(forge: &mut Forge) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut bad = |name: &str, class: &str, role: &'static str, change: &dyn Fn(&mut Cbor)| {
        let slot = slot(role);
        let mut parts = forge.slot_parts(&slot);
        change(&mut parts.bundle);
        let bytes = forge.slot_bytes(&parts);
        cases.push(slot_case(name, Some(class), &slot.holder, hashed(&bytes)));
    };
    let secret = || Cbor::Bytes(vec![3; 32]);
    bad("a full bundle without a data key", "does-not-fit", "full", &|bundle| drop(bundle.entries().pop()));
    bad("a maintain bundle with a data key", "does-not-fit", "maintain", &|bundle| {
        bundle.entries().push((9, secret()));
    });
    bad("a backup bundle with a metadata key", "does-not-fit", "backup", &|bundle| {
        bundle.entries().push((7, secret()));
    });
    bad("a role that does not exist", "unknown-code", "backup", &|bundle| *bundle.at(0) = Cbor::Unsigned(4));
    bad("a public key of 1,215 bytes", "wrong-length", "backup", &|bundle| {
        *bundle.at(2) = Cbor::Bytes(vec![1; 1215]);
    });
    bad("an unknown key in its bundle", "unknown-key", "full", &|bundle| {
        bundle.entries().push((10, secret()));
    });
    bad("a bundle without a write secret", "malformed", "backup", &|bundle| drop(bundle.entries().remove(1)));
    bad("a bundle with one key twice", "not-canonical", "backup", &|bundle| {
        let again = bundle.entries()[0].clone();
        bundle.entries().insert(1, again);
    });
    cases
}

fn hostile_labels(forge: &mut Forge) -> Vec<Case> {
    let mut cases = Vec::new();
    let slot = slot("backup");
    let mut bad = |name: &str, class: &str, change: &dyn Fn(&mut Cbor)| {
        let mut parts = forge.slot_parts(&slot);
        change(&mut parts.label);
        let members = join(hashed(&forge.slot_bytes(&parts)), json!({"opens": true}));
        cases.push(slot_case(name, Some(class), &slot.holder, members));
    };
    bad("a label of 4,097 bytes", "over-limit", &|label| *label.at(1) = Cbor::Text("x".repeat(4097)));
    bad("a label with another role", "bad-signature", &|label| *label.at(0) = Cbor::Unsigned(3));
    bad("a label with another certificate", "bad-signature", &|label| {
        *label.at(4) = Cbor::Bytes(vec![1; 64])
    });
    bad("a label without a text", "malformed", &|label| drop(label.entries().remove(1)));
    bad("a label made at an impossible time", "out-of-range", &|label| {
        *label.at(2) = record("timestamp", &json!({"seconds": 0, "nanoseconds": 1_000_000_000}));
    });
    let parts = forge.slot_parts(&slot);
    let lock = parts.lock.encode();
    let label = seal_object(&[5; 32], &[6; 32], b"", &parts.label.encode());
    let counted = |bytes: Vec<u8>| [(bytes.len() as u32).to_le_bytes().to_vec(), bytes].concat();
    let bound = [header(b"keys"), counted(lock), counted(label)].concat();
    let wrap = salted(&parts.holder_key, &parts.salt, "slot wrap");
    let bytes = [bound.clone(), seal_object(&wrap, &[7; 32], &bound, &parts.bundle.encode())].concat();
    let members = join(hashed(&bytes), json!({"opens": true}));
    cases.push(slot_case("a label sealed with another key", Some("does-not-open"), &slot.holder, members));
    cases
}
