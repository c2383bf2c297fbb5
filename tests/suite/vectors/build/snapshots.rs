//! Snapshots: signed manifests.

use serde_json::{Value as Json, json};

use super::{Case, flipped, forge, join, slot};
use crate::forge::cbor::{Cbor, long_head};
use crate::forge::records::record;
use crate::forge::{Bytes32, Forge, hash, hex};

/// A manifest with every optional field and a value in every list.
pub(crate) fn full_manifest(forge: &Forge) -> Json {
    let report = |place: &str, outcome: &str, messages: &[&str]| {
        json!({
            "place": hex(place.as_bytes()), "outcome": outcome, "page_size": 4096, "run_pages": 1, "pages": 120,
            "messages": messages,
        })
    };
    let service = json!({
        "name": "vaultwarden",
        "origins": [
            {"setting": "DATA_FOLDER", "value": "", "place": "", "host_path": hex(b"/srv/vault")},
            {"setting": "ATTACHMENTS_FOLDER", "value": "/mnt/attachments", "place": hex(b"attachments"),
             "host_path": hex(b"/mnt/attachments")},
        ],
        "schema": "20250109172300",
        "tables": [{"table": "ciphers", "rows": 812}, {"table": "users", "rows": 9}],
        "files_proved": 31, "bytes_proved": 1_234_567,
        "damaged": [
            {"place": hex(b"attachments/1/2"), "expected": 10},
            {"place": hex(b"attachments/3/4"), "expected": 10, "found": 9},
        ],
        "orphans": [hex(b"sends/5/6")],
        "deleted_meanwhile": 1, "being_uploaded": 2, "whole": false, "release": "1.34.3",
    });
    join(
        forge.manifest_fields(&[6; 32], 2, 41),
        json!({
            "job": "nightly",
            "parent": hex(&[5; 32]),
            "databases": [
                report("db.sqlite3", "checked", &[]),
                report("other.db", "failed-check", &["row 7 missing from index"]),
                report("third.db", "stored-as-found", &["file is not a database"]),
                report("z.db", "not-stored", &["database is locked"]),
            ],
            "service": service,
            "extensions": [{"code": 70_000, "value": "00ff"}],
            "original": {
                "snapshot": hex(&[7; 32]), "writer": hex(&[8; 32]), "sequence": 40, "made_from": hex(&[9; 32]),
                "change": "repaired",
            },
            "dumps": [
                {
                    "place": hex(b"postgres/globals.sql"), "kind": "postgres-globals", "server": "PostgreSQL 15.18",
                    "client": "pg_dumpall (PostgreSQL) 15.18", "bytes": 912, "tables": [], "without_rows": [],
                    "messages": ["without the roles' passwords"],
                },
                {
                    "place": hex(b"postgres/vault.dump"), "kind": "postgres", "database": "vault",
                    "server": "PostgreSQL 15.18", "client": "pg_dump (PostgreSQL) 15.18", "bytes": 7_654_321,
                    "tables": [{"table": "public.ciphers", "rows": 812}], "without_rows": ["public.event"],
                    "messages": [],
                },
            ],
        }),
    )
}

fn members(id: &Bytes32, bytes: &[u8]) -> Json {
    json!({"id": hex(id), "bytes": hex(bytes)})
}

pub(super) fn snapshots() -> Vec<Case> {
    let forge = &mut forge().fork("snapshots");
    let mut cases = Vec::new();
    let plain = forge.manifest_fields(&[6; 32], 0, 1);
    let empty =
        join(plain.clone(), json!({"tags": [], "paths": [], "excludes": [], "host": "", "program": ""}));
    for (name, role, manifest) in [
        ("by a backup key", "backup", plain.clone()),
        ("by a full key", "full", plain.clone()),
        ("with every field", "maintain", full_manifest(forge)),
        ("with empty lists and texts", "backup", empty),
    ] {
        let id = forge.draw();
        let slot = slot(role);
        let bytes = forge.snapshot(&id, &record("manifest", &manifest).encode(), &slot);
        let value = json!({"writer": hex(&slot.verifying_key()), "role": role, "manifest": manifest});
        cases.push(Case::valid("snapshot", name, join(members(&id, &bytes), json!({"value": value}))));
    }
    cases.extend(hostile_manifests(forge, &plain));
    cases.extend(hostile_signatures(forge, &plain));
    cases.extend(damaged(forge, &plain));
    cases
}

fn hostile_manifests(forge: &mut Forge, plain: &Json) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut bad = |name: &str, class: &str, change: &dyn Fn(&mut Cbor)| {
        let mut manifest = record("manifest", plain);
        change(&mut manifest);
        let id = forge.draw();
        let bytes = forge.snapshot(&id, &manifest.encode(), &slot("backup"));
        cases.push(Case::invalid("snapshot", name, class, members(&id, &bytes)));
    };
    let late = || record("timestamp", &json!({"seconds": 0, "nanoseconds": 1_000_000_000}));
    let text = |length: usize| Cbor::Text("x".repeat(length));
    let tags = |tags: &[&str]| Cbor::Array(tags.iter().map(|tag| Cbor::Text((*tag).to_owned())).collect());
    bad("begun at an impossible time", "out-of-range", &|manifest| *manifest.at(0) = late());
    bad("finished at an impossible time", "out-of-range", &|manifest| *manifest.at(1) = late());
    bad("tags out of order", "out-of-order", &|manifest| *manifest.at(4) = tags(&["b", "a"]));
    bad("one tag twice", "out-of-order", &|manifest| *manifest.at(4) = tags(&["a", "a"]));
    bad("level 13", "over-limit", &|manifest| *manifest.at(7) = Cbor::Unsigned(13));
    bad("a host of 4,097 bytes", "over-limit", &|manifest| *manifest.at(2) = text(4097));
    bad("a job of 4,097 bytes", "over-limit", &|manifest| manifest.entries().insert(3, (3, text(4097))));
    bad("a tag of 4,097 bytes", "over-limit", &|manifest| *manifest.at(4) = Cbor::Array(vec![text(4097)]));
    bad("a program of 4,097 bytes", "over-limit", &|manifest| *manifest.at(14) = text(4097));
    bad("an unknown key", "unknown-key", &|manifest| manifest.entries().push((18, Cbor::Bool(true))));
    bad("no root", "malformed", &|manifest| drop(manifest.entries().remove(5)));
    bad("a root of 31 bytes", "malformed", &|manifest| *manifest.at(6) = Cbor::Bytes(vec![6; 31]));
    bad("a host that is not UTF-8", "malformed", &|manifest| *manifest.at(2) = Cbor::Raw(vec![0x61, 0xff]));
    bad("paths as text", "malformed", &|manifest| *manifest.at(5) = Cbor::Array(vec![text(3)]));
    bad("a level of 9 bits", "malformed", &|manifest| *manifest.at(7) = Cbor::Unsigned(256));
    bad("keys out of order", "not-canonical", &|manifest| manifest.entries().swap(0, 1));
    bad("a sequence in a long form", "not-canonical", &|manifest| {
        *manifest.at(8) = Cbor::Raw(long_head(0, 1))
    });
    bad("a byte behind the manifest", "not-canonical", &|manifest| {
        *manifest = Cbor::Raw([manifest.encode(), vec![0]].concat());
    });
    bad("cut short", "truncated", &|manifest| {
        let bytes = manifest.encode();
        *manifest = Cbor::Raw(bytes[..bytes.len() - 1].to_vec());
    });
    bad("an outcome that does not exist", "unknown-code", &|manifest| {
        let report = json!({"place": "61", "outcome": "checked", "page_size": 0, "run_pages": 0, "pages": 0, "messages": []});
        let mut report = record("database-report", &report);
        *report.at(1) = Cbor::Unsigned(4);
        *manifest.at(11) = Cbor::Array(vec![report]);
    });
    cases
}

fn hostile_signatures(forge: &mut Forge, plain: &Json) -> Vec<Case> {
    let manifest = record("manifest", plain).encode();
    let slot = slot("backup");
    let mut cases = Vec::new();
    let mut bad = |name: &str, class: &str, change: &dyn Fn(&Forge, &Bytes32, &mut Cbor)| {
        let id = forge.draw();
        let mut signed = record("signed-manifest", &forge.signed_manifest_fields(&id, &manifest, &slot));
        change(forge, &id, &mut signed);
        let bytes = forge.object(b"snap", "snapshots", &id, &signed.encode());
        cases.push(Case::invalid("snapshot", name, class, members(&id, &bytes)));
    };
    let stranger = crate::forge::Slot { secret: [77; 32], ..slot.clone() };
    bad("signed for another id", "bad-signature", &|forge, _, signed| {
        *signed = record("signed-manifest", &forge.signed_manifest_fields(&[1; 32], &manifest, &slot));
    });
    bad("the manifest altered", "bad-signature", &|_, _, signed| {
        *signed.at(0) = Cbor::Bytes(flipped(&manifest, manifest.len() - 1));
    });
    bad("a role that its certificate does not name", "bad-signature", &|_, _, signed| {
        *signed.at(1) = Cbor::Unsigned(3);
    });
    bad("a role that does not exist", "unknown-code", &|_, _, signed| *signed.at(1) = Cbor::Unsigned(0));
    bad("a slot key that nobody certified", "bad-signature", &|forge, id, signed| {
        let mut fields = forge.signed_manifest_fields(id, &manifest, &stranger);
        fields["certificate"] = hex(&forge.certificate(1, &slot.verifying_key())).into();
        *signed = record("signed-manifest", &fields);
    });
    bad("a signature of zeros", "bad-signature", &|_, _, signed| *signed.at(4) = Cbor::Bytes(vec![0; 64]));
    bad("a signature of 63 bytes", "malformed", &|_, _, signed| *signed.at(4) = Cbor::Bytes(vec![0; 63]));
    bad("an unknown key beside the signature", "unknown-key", &|_, _, signed| {
        signed.entries().push((5, Cbor::Bool(false)));
    });
    bad("no certificate", "malformed", &|_, _, signed| drop(signed.entries().remove(3)));
    bad("a byte behind the signed manifest", "not-canonical", &|_, _, signed| {
        *signed = Cbor::Raw([signed.encode(), vec![0]].concat());
    });
    cases
}

fn damaged(forge: &mut Forge, plain: &Json) -> Vec<Case> {
    let id = forge.draw();
    let bytes = forge.snapshot(&id, &record("manifest", plain).encode(), &slot("backup"));
    let mut cases = Vec::new();
    for (name, class, id, bytes) in [
        ("under another id", "does-not-open", hash(b"another"), bytes.clone()),
        ("altered", "does-not-open", id, flipped(&bytes, 60)),
        ("ends in its header", "truncated", id, bytes[..10].to_vec()),
        ("ends in its salt", "truncated", id, bytes[..40].to_vec()),
        ("another magic", "bad-magic", id, flipped(&bytes, 3)),
        ("the header of a session", "wrong-kind", id, [b"strongrmsess", &bytes[12..]].concat()),
        ("format version 2", "unknown-version", id, [&bytes[..12], &[2], &bytes[13..]].concat()),
        ("a reserved byte of the header", "reserved", id, flipped(&bytes, 15)),
    ] {
        cases.push(Case::invalid("snapshot", name, class, members(&id, &bytes)));
    }
    cases
}
