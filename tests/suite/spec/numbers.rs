//! Codes, constants, contexts and fixed layouts: the tables against the program's own numbers and bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use strongroom::chunker::{dump, gear, page};
use strongroom::crypto::derive::Purpose;
use strongroom::crypto::sign::SignaturePurpose;
use strongroom::crypto::{envelope, seal, secret};
use strongroom::format::blob::{self, BlobKind, Class};
use strongroom::format::header::{self, HeaderKind};
use strongroom::format::index::{self, IndexObject, IndexedPack};
use strongroom::format::key_slot::Role;
use strongroom::format::list::{self, ListEntry};
use strongroom::format::pack::{self, Entry};
use strongroom::format::{config, path, tree};
use strongroom::id::Id;
use strongroom::repository::{DUMP_CHUNKS, FILE_CHUNKS, packer};

use super::tables::{self, Table};
use super::{ENUMERATIONS, Specification, read, source};

#[test]
fn codes_are_those_of_the_program() {
    let specification = Specification::read();
    for (name, file, container) in ENUMERATIONS {
        let items = source::items(&read(Path::new("src/format").join(file)), container)
            .unwrap_or_else(|why| panic!("{file}: {why}"));
        specification
            .expect_codes(name, items.iter().map(|(code, name, _)| (code.to_string(), source::kebab(name))));
    }
    let kebab = |value: &dyn std::fmt::Debug| source::kebab(&format!("{value:?}"));
    let kinds =
        HeaderKind::ALL.map(|kind| (String::from_utf8(kind.code().to_vec()).expect("letters"), kebab(&kind)));
    specification.expect_codes("header-kind", kinds);
    let classes: BTreeMap<&str, Class> =
        BTreeMap::from([("data", Class::Data), ("metadata", Class::Metadata)]);
    specification
        .expect_codes("blob-kind", BlobKind::ALL.map(|kind| (kind.code().to_string(), kebab(&kind))));
    for (row, kind) in specification.table("codes", "blob-kind").rows.iter().zip(BlobKind::ALL) {
        assert_eq!(classes[row[2].as_str()], kind.class());
    }
    let in_use = |code: &u8| Class::from_code(*code).is_some();
    let found = (0..=u8::MAX).filter(in_use).filter_map(|code| Some((code, Class::from_code(code)?)));
    specification.expect_codes("class", found.map(|(code, class)| (code.to_string(), kebab(&class))));
    let encodings = [(blob::ENCODING_RAW, "raw"), (blob::ENCODING_ZSTD, "zstd")];
    specification.expect_codes("encoding", encodings.map(|(code, name)| (code.to_string(), name.to_owned())));
    specification
        .expect_codes("chunker", [(config::CHUNKER_KEYED_GEAR.to_string(), "keyed-gear".to_owned())]);
    let roles = [Role::Backup, Role::Maintain, Role::Full];
    specification.expect_codes("role", roles.map(|role| (role.code().to_string(), role.name().to_owned())));
    let tested = ["blob-kind", "chunker", "class", "encoding", "header-kind"];
    let tested = ENUMERATIONS.iter().map(|(name, ..)| *name).chain(tested).collect::<BTreeSet<_>>();
    assert_eq!(specification.names("codes"), tested);
}

#[test]
fn contexts_are_those_of_the_program() {
    let specification = Specification::read();
    let derivation: Vec<_> = Purpose::ALL
        .iter()
        .map(|purpose| (source::kebab(&format!("{purpose:?}")), purpose.context()))
        .collect();
    let signatures: Vec<_> = SignaturePurpose::ALL
        .iter()
        .map(|purpose| (source::kebab(&format!("{purpose:?}")), purpose.context()))
        .collect();
    for (name, expected) in [("derivation", derivation), ("signatures", signatures)] {
        let expected: Vec<_> =
            expected.iter().map(|(purpose, context)| (purpose.as_str(), *context)).collect();
        assert_eq!(specification.table("contexts", name).pairs(), expected);
    }
    assert_eq!(specification.names("contexts"), BTreeSet::from(["derivation", "signatures"]));
    assert!(read("src/repository/blob.rs").contains("b\"strongroom v1 content key\""));
    assert_eq!(
        specification.field("envelope-info", "context", &[0; 59]).len(),
        b"strongroom v1 content key".len()
    );
}

#[test]
fn limits_and_constants_are_those_of_the_program() {
    let specification = Specification::read();
    let numbers = |table: &Table| -> Vec<(String, u64)> {
        let row = |(name, value): (&str, &str)| (name.to_owned(), tables::number(value).expect("a number"));
        table.pairs().into_iter().map(row).collect()
    };
    let limits = source::constants(&read("src/limits.rs")).expect("limits.rs can be read");
    assert_eq!(numbers(specification.table("limits", "")), limits);
    let sizes = |name: &str, sizes: config::ChunkSizes| {
        let parts = [("minimum", sizes.minimum), ("average", sizes.average), ("maximum", sizes.maximum)];
        parts.map(|(part, size)| (format!("{name}.{part}"), u64::from(size)))
    };
    let named =
        |list: &[(&str, u64)]| list.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
    let expected: [(&str, Vec<(String, u64)>); 8] = [
        ("chunk-sizes", [sizes("FILE_CHUNKS", FILE_CHUNKS), sizes("DUMP_CHUNKS", DUMP_CHUNKS)].concat()),
        (
            "dumps",
            named(&[
                ("DUMP_STEPS", dump::DUMP_STEPS.into()),
                ("DUMP_STRETCH", dump::DUMP_STRETCH),
                ("DUMP_FINEST", dump::DUMP_FINEST as u64),
            ]),
        ),
        ("gear", named(&[("NORMALIZATION", gear::NORMALIZATION.into())])),
        (
            "list",
            named(&[
                ("LIST_MIN", list::LIST_MIN as u64),
                ("LIST_MAX", list::LIST_MAX as u64),
                ("LIST_DIVISOR", list::LIST_DIVISOR.into()),
            ]),
        ),
        ("pack", named(&[("PACK_TARGET", packer::PACK_TARGET as u64)])),
        (
            "pages",
            named(&[
                ("RUN_MIN_BYTES", page::RUN_MIN_BYTES),
                ("RUNS_AT_FIRST", page::RUNS_AT_FIRST),
                ("RUNS_MAX", page::RUNS_MAX),
                ("RUN_MAX_BYTES", page::RUN_MAX_BYTES),
            ]),
        ),
        (
            "path",
            named(&[
                ("MAX_LENGTH", path::MAX_LENGTH as u64),
                ("MAX_COMPONENT", path::MAX_COMPONENT as u64),
                ("MAX_DEPTH", path::MAX_DEPTH as u64),
            ]),
        ),
        (
            "tree",
            named(&[
                ("TREE_MIN", tree::TREE_MIN),
                ("TREE_AVERAGE", tree::TREE_AVERAGE),
                ("TREE_MAX", tree::TREE_MAX),
                ("PATHS_MAX", tree::PATHS_MAX),
                ("INNER_WEIGHT", tree::INNER_WEIGHT),
            ]),
        ),
    ];
    let tested: BTreeSet<&str> = expected.iter().map(|(name, _)| *name).collect();
    assert_eq!(specification.names("constants"), tested);
    for (name, values) in expected {
        assert_eq!(numbers(specification.table("constants", name)), values, "constants {name}");
    }
}

#[test]
fn layouts_have_the_lengths_of_the_program() {
    let specification = Specification::read();
    let lengths = [
        ("blob-associated", blob::ASSOCIATED_LEN),
        ("blob-key-input", 1 + 32),
        ("envelope", pack::ENVELOPE_LEN),
        ("envelope", envelope::ENVELOPE_LEN),
        ("header", header::HEADER_LEN),
        ("index-head", index::INDEX_HEAD_LEN),
        ("index-pack", index::PACK_RECORD_LEN),
        ("list-entry", list::LIST_ENTRY_LEN),
        ("object-associated", header::HEADER_LEN + 32 + 32),
        ("pack-entry", pack::ENTRY_LEN),
        ("pack-table-head", pack::TABLE_HEAD_LEN),
        ("pack-trailer", pack::TRAILER_PLAIN_LEN),
    ];
    for (name, length) in lengths {
        assert_eq!(specification.total(name), length, "{name}");
    }
    let last = |layout: &str| {
        let rows = &specification.table("layout", layout).rows;
        rows[rows.len() - 1][1].clone()
    };
    assert_eq!(last("frame"), blob::TAG_LEN.to_string());
    assert_eq!(last("config"), config::MAC_LEN.to_string());
    assert_eq!(last("pack"), pack::TRAILER_LEN.to_string());
    assert_eq!(last("sealed-object"), seal::TAG_LEN.to_string());
    assert_eq!(specification.table("layout", "sealed-object").rows[0][1], seal::SALT_LEN.to_string());
    assert_eq!(blob::FRAME_OVERHEAD, 17);
    assert_eq!(pack::TRAILER_LEN, specification.total("pack-trailer") + seal::OBJECT_OVERHEAD);
    assert_eq!(envelope::ENCAPSULATED_LEN + secret::SECRET_LEN, 1152);
    assert_eq!(envelope::PUBLIC_LEN, 1216);
    let tables = [("pack-table", pack::TABLE_HEAD_LEN, pack::ENTRY_LEN), ("index", index::INDEX_HEAD_LEN, 0)];
    for (name, head, entry) in tables {
        let rows = &specification.table("layout", name).rows;
        assert_eq!(rows[0][1], head.to_string());
        assert_eq!(rows[1][1], format!("{} times envelopes", pack::ENVELOPE_LEN));
        assert!(entry == 0 || rows[2][1] == format!("{entry} times entries"));
    }
}

#[test]
fn layouts_place_fields_where_the_program_does() {
    let specification = Specification::read();
    let expect = |layout: &str, bytes: &[u8], fields: &[(&str, &[u8])]| {
        for (name, value) in fields {
            assert_eq!(&specification.field(layout, name, bytes), value, "{layout}: {name}");
        }
    };
    let header = header::header(HeaderKind::Pack);
    let version: &[u8] = &[1, 0];
    expect("header", &header, &[("magic", b"strongrm"), ("kind", b"pack"), ("format version", version)]);

    let (id, repository) = (Id([0x11; 32]), Id([0x22; 32]));
    let bound = blob::associated_data(&repository, BlobKind::List, &id, 0x0403_0201);
    let fields: [(&str, &[u8]); 6] = [
        ("format version", version),
        ("repository", &repository.0),
        ("class", &[2]),
        ("kind", &[2]),
        ("blob", &id.0),
        ("plain length", &[1, 2, 3, 4]),
    ];
    expect("blob-associated", &bound, &fields);

    let entry = Entry {
        id,
        kind: BlobKind::Inner,
        envelope: 0,
        stored_length: 0x0403_0201,
        plain_length: 0x0807_0605,
    };
    let second = Entry { envelope: 0x0a09, ..entry };
    let table = pack::Table {
        class: Class::Metadata,
        frames_hash: Id([0x44; 32]),
        envelopes: vec![[0x33; pack::ENVELOPE_LEN]; 3],
        entries: vec![entry, second],
    };
    let bytes = pack::encode_table(&table, 5).expect("a table");
    let fields: [(&str, &[u8]); 4] =
        [("class", &[2]), ("envelopes", &[3, 0]), ("entries", &[2, 0, 0, 0]), ("frames hash", &[0x44; 32])];
    expect("pack-table-head", &bytes, &fields);
    let entries = pack::TABLE_HEAD_LEN + 3 * pack::ENVELOPE_LEN;
    let fields: [(&str, &[u8]); 5] = [
        ("blob", &id.0),
        ("kind", &[4]),
        ("envelope", &[9, 10]),
        ("stored length", &[1, 2, 3, 4]),
        ("plain length", &[5, 6, 7, 8]),
    ];
    expect("pack-entry", &bytes[entries + pack::ENTRY_LEN..], &fields);
    assert_eq!(bytes.len(), entries + 2 * pack::ENTRY_LEN + 5);

    let packs = vec![IndexedPack { id, size: 0x0201, class: Class::Data, entries: vec![entry] }];
    let object = IndexObject { envelopes: table.envelopes, packs };
    let bytes = index::encode(&object).expect("an index");
    expect("index-head", &bytes, &[("envelopes", &[3, 0, 0, 0]), ("packs", &[1, 0, 0, 0])]);
    let start = index::INDEX_HEAD_LEN + 3 * pack::ENVELOPE_LEN;
    let fields: [(&str, &[u8]); 4] =
        [("pack", &id.0), ("size", &[1, 2, 0, 0, 0, 0, 0, 0]), ("class", &[1]), ("entries", &[1, 0, 0, 0])];
    expect("index-pack", &bytes[start..], &fields);
    let (bare, padding) = bytes.split_at(start + index::PACK_RECORD_LEN + pack::ENTRY_LEN);
    let around = (header::HEADER_LEN + seal::OBJECT_OVERHEAD) as u64;
    assert_eq!(bytes.len() as u64 + around, pack::padded_length(bare.len() as u64 + around));
    assert!(!padding.is_empty() && padding.iter().all(|byte| *byte == 0));

    let bytes = list::encode_lists(1, &[ListEntry { id, bytes: 0x0201 }]);
    expect("list-entry", &bytes[1..], &[("list", &id.0), ("bytes", &[1, 2, 0, 0, 0, 0, 0, 0])]);
}
