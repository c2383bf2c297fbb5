//! `config`, sessions, marks and gc records.

use serde_json::{Value as Json, json};

use super::{Case, flipped, forge, join};
use crate::forge::cbor::{Cbor, long_head};
use crate::forge::records::record;
use crate::forge::{Bytes32, Forge, hash, hex};

pub(super) fn configs() -> Vec<Case> {
    let forge = forge();
    let plain = forge.config_fields();
    let sizes = |minimum: u32, average: u32, maximum: u32| json!({"minimum": minimum, "average": average, "maximum": maximum});
    let mut cases = Vec::new();
    for (name, fields) in [
        ("as a new repository has it", plain.clone()),
        ("optional features", join(plain.clone(), json!({"optional_features": ["colour", "scent"]}))),
        ("the least sizes", join(plain.clone(), json!({"dump_chunks": sizes(64, 64, 64)}))),
        ("the greatest chunks", join(plain.clone(), json!({"file_chunks": sizes(64, 8 << 20, 8 << 20)}))),
    ] {
        let members =
            json!({"bytes": hex(&forge.config(&record("config", &fields).encode())), "value": fields});
        cases.push(Case::valid("config", name, members));
    }
    let mut bad = |name: &str, class: &str, bytes: &[u8]| {
        cases.push(Case::invalid("config", name, class, json!({"bytes": hex(bytes)})));
    };
    let with = |change: Json| forge.config(&record("config", &join(plain.clone(), change)).encode());
    bad("a required feature", "unknown-feature", &with(json!({"required_features": ["parity"]})));
    bad("another chunker", "unknown-feature", &with(json!({"chunker": 2})));
    bad("chunker 0", "unknown-feature", &with(json!({"chunker": 0})));
    for (name, sizes) in [
        ("odd sizes", sizes(65, 128, 256)),
        ("a minimum below 64", sizes(62, 128, 256)),
        ("a minimum above the average", sizes(256, 128, 512)),
        ("an average above the maximum", sizes(64, 512, 256)),
        ("an average that is no power of two", sizes(64, 130, 256)),
        ("chunks above the limit", sizes(64, 128, (8 << 20) + 2)),
    ] {
        bad(name, "out-of-range", &with(json!({"file_chunks": sizes})));
        let name = format!("{name}, for dumps");
        bad(&name, "out-of-range", &with(json!({"dump_chunks": sizes})));
    }
    bad(
        "made at an impossible time",
        "out-of-range",
        &with(json!({"created": {"seconds": 0, "nanoseconds": u32::MAX}})),
    );
    let altered = |change: &dyn Fn(&mut Cbor)| {
        let mut record = record("config", &plain);
        change(&mut record);
        forge.config(&record.encode())
    };
    bad("an unknown key", "unknown-key", &altered(&|record| record.entries().push((7, Cbor::Bool(true)))));
    bad("no chunker", "malformed", &altered(&|record| drop(record.entries().remove(3))));
    bad("keys out of order", "not-canonical", &altered(&|record| record.entries().swap(1, 2)));
    bad(
        "a chunker in a long form",
        "not-canonical",
        &altered(&|record| *record.at(3) = Cbor::Raw(long_head(0, 1))),
    );
    let bytes = with(json!({}));
    let last = bytes.len() - 1;
    bad("a MAC altered", "wrong-mac", &flipped(&bytes, last));
    bad("a time altered", "wrong-mac", &flipped(&bytes, last - 33));
    bad("a byte behind the MAC", "trailing", &[bytes.clone(), vec![0]].concat());
    bad("cut short", "truncated", &bytes[..last]);
    bad("ends in its header", "truncated", &bytes[..12]);
    bad("a record longer than the object", "truncated", &[&bytes[..16], &[0xff; 4], &bytes[20..]].concat());
    bad("another magic", "bad-magic", &flipped(&bytes, 7));
    bad("the header of a key slot", "wrong-kind", &[b"strongrmkeys", &bytes[12..]].concat());
    bad("format version 2", "unknown-version", &[&bytes[..12], &[2], &bytes[13..]].concat());
    bad("format version 65,535", "unknown-version", &[&bytes[..12], &[0xff, 0xff], &bytes[14..]].concat());
    bad("a reserved byte of the header", "reserved", &flipped(&bytes, 14));
    cases
}

/// The kinds of marks: what, header, purpose, whether signed under which context, whether its hash names it.
type Kind = (&'static str, &'static [u8; 4], &'static str, Option<&'static str>, bool);
const KINDS: [Kind; 4] = [
    ("session", b"sess", "sessions", None, false),
    ("abandoned", b"aban", "abandoned marks", None, false),
    ("forgotten", b"forg", "forgotten marks", Some("strongroom v1 forgotten mark"), false),
    ("gc", b"gcol", "gc records", Some("strongroom v1 gc record"), true),
];

/// The record that an object of this kind holds.
const RECORDS: [(&str, &str); 4] =
    [("session", "session"), ("abandoned", "abandoned"), ("forgotten", "forgotten"), ("gc", "condemned")];

pub(crate) fn record_name(what: &str) -> &'static str {
    RECORDS.iter().find(|(known, _)| *known == what).expect("a kind").1
}

/// The record of a kind as a writer makes it, for this id.
pub(crate) fn fields(what: &str, id: &Bytes32) -> Json {
    let time = json!({"seconds": 1_794_000_200, "nanoseconds": 3});
    match what {
        "session" => json!({
            "host": "server", "host_id": hex(&[4; 32]), "started": time, "process": 4711, "program": "0.1.0",
        }),
        "abandoned" => json!({"host": "server", "time": time}),
        "forgotten" => json!({"snapshot": hex(id), "time": time}),
        _ => json!({"packs": [hex(&[1; 32]), hex(&[2; 32]), hex(&[0xff; 32])], "time": time}),
    }
}

/// The plaintext of an object of this kind: the record, signed where it has to be.
pub(crate) fn plaintext(forge: &Forge, what: &str, id: &Bytes32, record: &[u8]) -> Vec<u8> {
    let (_, _, _, context, by_hash) = KINDS.iter().find(|(known, ..)| *known == what).expect("a kind");
    let name = if *by_hash { [0; 32] } else { *id };
    context.map_or_else(|| record.to_vec(), |context| forge.signed(context, &name, record))
}

/// A whole object with this plaintext, and its id.
pub(crate) fn object(forge: &mut Forge, what: &str, id: &Bytes32, plain: &[u8]) -> (Bytes32, Vec<u8>) {
    let (_, kind, purpose, _, by_hash) = KINDS.iter().find(|(known, ..)| *known == what).expect("a kind");
    let bytes = forge.object(kind, purpose, &if *by_hash { [0; 32] } else { *id }, plain);
    (if *by_hash { hash(&bytes) } else { *id }, bytes)
}

fn members((id, bytes): &(Bytes32, Vec<u8>)) -> Json {
    json!({"id": hex(id), "bytes": hex(bytes)})
}

pub(super) fn marks() -> Vec<Case> {
    let forge = &mut forge().fork("marks");
    let mut cases = Vec::new();
    for (what, ..) in KINDS {
        let id = forge.draw();
        let value = fields(what, &id);
        let plain = plaintext(forge, what, &id, &record(record_name(what), &value).encode());
        let object = object(forge, what, &id, &plain);
        cases.push(Case::valid(what, "as it is written", join(members(&object), json!({"value": value}))));
        cases.extend(hostile(forge, what));
        cases.extend(damaged(forge, what, &object));
    }
    let empty = json!({"packs": [], "time": {"seconds": 0, "nanoseconds": 0}});
    let plain = plaintext(forge, "gc", &[0; 32], &record("condemned", &empty).encode());
    let object = object(forge, "gc", &[0; 32], &plain);
    let id = forge.draw();
    let number = json!({"writer": hex(&[5; 32]), "sequence": 12, "snapshot": hex(&[6; 32])});
    let numbered = json!({"snapshot": hex(&id), "time": {"seconds": 0, "nanoseconds": 0}, "number": number});
    let plain = plaintext(forge, "forgotten", &id, &record("forgotten", &numbered).encode());
    let members_of = members(&self::object(forge, "forgotten", &id, &plain));
    cases.push(Case::valid("forgotten", "with a number", join(members_of, json!({"value": numbered}))));
    cases.push(Case::valid("gc", "no packs", join(members(&object), json!({"value": empty}))));
    cases.extend(hostile_signed(forge));
    cases
}

fn hostile(forge: &mut Forge, what: &str) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut bad = |name: &str, class: &str, change: &dyn Fn(&mut Cbor)| {
        let id = forge.draw();
        let mut record = record(record_name(what), &fields(what, &id));
        change(&mut record);
        let plain = plaintext(forge, what, &id, &record.encode());
        let object = object(forge, what, &id, &plain);
        cases.push(Case::invalid(what, name, class, members(&object)));
    };
    let late = || record("timestamp", &json!({"seconds": 0, "nanoseconds": 1_000_000_000}));
    let time = if what == "session" { 2 } else { 1 };
    bad("an impossible time", "out-of-range", &|record| *record.at(time) = late());
    bad("an unknown key", "unknown-key", &|record| record.entries().push((9, Cbor::Bool(true))));
    bad("a missing key", "malformed", &|record| drop(record.entries().remove(0)));
    bad("keys out of order", "not-canonical", &|record| record.entries().swap(0, 1));
    bad("a byte behind the record", "not-canonical", &|record| {
        *record = Cbor::Raw([record.encode(), vec![0]].concat());
    });
    bad("a number where a time belongs", "malformed", &|record| *record.at(time) = Cbor::Unsigned(1));
    let long = || Cbor::Text("x".repeat(4097));
    match what {
        "session" => {
            bad("a host of 4,097 bytes", "over-limit", &|record| *record.at(0) = long());
            bad("a program of 4,097 bytes", "over-limit", &|record| *record.at(4) = long());
            bad("a host's id of 16 bytes", "malformed", &|record| *record.at(1) = Cbor::Bytes(vec![1; 16]));
        }
        "abandoned" => bad("a host of 4,097 bytes", "over-limit", &|record| *record.at(0) = long()),
        "forgotten" => bad("another snapshot than its name", "does-not-fit", &|record| {
            *record.at(0) = Cbor::Bytes(vec![3; 32]);
        }),
        _ => {
            let packs =
                |ids: &[u8]| Cbor::Array(ids.iter().map(|byte| Cbor::Bytes(vec![*byte; 32])).collect());
            bad("packs that fall", "out-of-order", &|record| *record.at(0) = packs(&[2, 1]));
            bad("one pack twice", "out-of-order", &|record| *record.at(0) = packs(&[1, 1]));
            bad("a pack's id of 31 bytes", "malformed", &|record| {
                *record.at(0) = Cbor::Array(vec![Cbor::Bytes(vec![1; 31])]);
            });
        }
    }
    cases
}

fn damaged(forge: &mut Forge, what: &str, (id, bytes): &(Bytes32, Vec<u8>)) -> Vec<Case> {
    let by_hash = what == "gc";
    let renamed = |bytes: Vec<u8>| (if by_hash { hash(&bytes) } else { *id }, bytes);
    let other_name = if by_hash { "wrong-hash" } else { "does-not-open" };
    let other = if what == "session" { b"strongrmaban" } else { b"strongrmsess" };
    let mut cases = Vec::new();
    for (name, class, object) in [
        ("under another name", other_name, (hash(b"another"), bytes.clone())),
        ("altered", "does-not-open", renamed(flipped(bytes, bytes.len() - 1))),
        ("ends in its header", "truncated", renamed(bytes[..15].to_vec())),
        ("ends in its salt", "truncated", renamed(bytes[..47].to_vec())),
        ("another magic", "bad-magic", renamed(flipped(bytes, 0))),
        ("the header of another kind", "wrong-kind", renamed([other, &bytes[12..]].concat())),
        ("format version 2", "unknown-version", renamed([&bytes[..12], &[2], &bytes[13..]].concat())),
        ("a reserved byte of the header", "reserved", renamed(flipped(bytes, 14))),
    ] {
        cases.push(Case::invalid(what, name, class, members(&object)));
    }
    let empty = object(forge, what, id, &[]);
    cases.push(Case::invalid(what, "nothing sealed", "truncated", members(&empty)));
    cases
}

fn hostile_signed(forge: &mut Forge) -> Vec<Case> {
    let mut cases = Vec::new();
    for (what, other) in [("forgotten", "strongroom v1 gc record"), ("gc", "strongroom v1 forgotten mark")] {
        let id: Bytes32 = forge.draw();
        let name = if what == "gc" { [0; 32] } else { id };
        let encoded = record(record_name(what), &fields(what, &id)).encode();
        let signed = plaintext(forge, what, &id, &encoded);
        let slot = super::slot("maintain");
        let mut stranger = forge.fork("a slot key");
        stranger.maintain_secret = slot.secret;
        for (case, class, plain) in [
            ("signed for the other purpose", "bad-signature", forge.signed(other, &name, &encoded)),
            ("signed by a slot key", "bad-signature", plaintext(&stranger, what, &id, &encoded)),
            ("signed for another name", "bad-signature", {
                let context = KINDS.iter().find(|(known, ..)| *known == what).unwrap().3.unwrap();
                forge.signed(context, &[9; 32], &encoded)
            }),
            ("not signed", "malformed", encoded.clone()),
            ("a byte behind the signature", "not-canonical", [signed.clone(), vec![0]].concat()),
        ] {
            let object = object(forge, what, &id, &plain);
            cases.push(Case::invalid(what, case, class, members(&object)));
        }
    }
    cases
}
