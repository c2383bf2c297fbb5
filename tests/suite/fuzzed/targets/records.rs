//! The decoders of plain bytes: what decodes encodes to the same bytes again.

use strongroom::error::ErrorKind;
use strongroom::format::header::{HEADER_LEN, HeaderKind};
use strongroom::format::key_slot::Method;
use strongroom::format::list::List;
use strongroom::format::marks::Signed;
use strongroom::format::node::Node;
use strongroom::format::{cbor, config, index, key_slot, list, marks, pack, snapshot, tree};
use strongroom::id::Id;
use strongroom::limits;
use strongroom::service::vaultwarden;

use super::bytes::Source;
use super::cutting::check_cuts;
use super::{accept, decoded};

pub(super) fn header(bytes: &[u8]) {
    let mut source = Source(bytes);
    let kind = HeaderKind::ALL[usize::from(source.u8()) % HeaderKind::ALL.len()];
    if let Some(rest) = decoded(strongroom::format::header::strip(kind, source.0)) {
        assert_eq!([&strongroom::format::header::header(kind), rest].concat(), source.0);
    }
}

pub(super) fn config(bytes: &[u8]) {
    let Some((config, covered, mac)) = decoded(config::decode(bytes)) else { return };
    assert_eq!(config::encode(&config).unwrap(), covered);
    assert_eq!([covered, &mac].concat(), bytes);
    for sizes in [config.file_chunks, config.dump_chunks] {
        let [minimum, average, maximum] =
            [sizes.minimum, sizes.average, sizes.maximum].map(|size| usize::try_from(size).unwrap());
        check_cuts(minimum, average, maximum, b"a key", &bytes.repeat(8));
    }
}

pub(super) fn key_slot(bytes: &[u8]) {
    let Some(slot) = decoded(key_slot::decode(bytes)) else { return };
    assert_eq!(key_slot::encode_bound(&slot.lock, slot.sealed_label).unwrap(), slot.bound);
    assert_eq!([slot.bound, slot.sealed_bundle].concat(), bytes);
    if let Method::Password { memory_kib, passes, lanes } = slot.lock.method {
        assert!(memory_kib <= limits::ARGON2_MEMORY_MAX_KIB && memory_kib / 8 >= lanes);
        assert!(passes <= limits::ARGON2_PASSES_MAX && lanes <= limits::ARGON2_LANES_MAX);
    }
}

pub(super) fn key_label(bytes: &[u8]) {
    if let Some(label) = decoded(key_slot::decode_label(bytes)) {
        assert_eq!(key_slot::encode_label(&label).unwrap(), bytes);
        assert!(label.text.len() <= limits::TEXT_MAX);
    }
}

pub(super) fn key_bundle(bytes: &[u8]) {
    if let Some(bundle) = decoded(key_slot::decode_bundle(bytes)) {
        assert_eq!(key_slot::encode_bundle(&bundle).unwrap(), bytes);
        assert!(bundle.data_secret.is_none() || bundle.maintain_secret.is_some());
    }
}

pub(super) fn pack_table(bytes: &[u8]) {
    let Some(table) = decoded(pack::decode_table(bytes)) else { return };
    let padding = bytes.len() - pack::table_length(&table);
    assert_eq!(pack::encode_table(&table, padding).unwrap(), bytes);
    let frames: u64 = table.entries.iter().map(|entry| u64::from(entry.stored_length)).sum();
    let end = HEADER_LEN as u64 + frames;
    let offsets = pack::frame_offsets(&table.entries, end).unwrap();
    let ends = offsets.iter().zip(&table.entries).map(|(at, entry)| at + u64::from(entry.stored_length));
    assert!(ends.eq(offsets.iter().copied().skip(1).chain([end]).take(table.entries.len())));
    assert!(pack::frame_offsets(&table.entries, end + 1).is_err());
    for entry in &table.entries {
        assert!(usize::from(entry.envelope) < table.envelopes.len());
        assert!(usize::try_from(entry.plain_length).unwrap() <= limits::BLOB_PLAIN_MAX);
        assert_eq!(entry.kind.class(), table.class);
    }
}

pub(super) fn pack_trailer(bytes: &[u8]) {
    let mut source = Source(bytes);
    let size = source.u64();
    if let Some((offset, length)) = decoded(pack::table_place(size, source.0)) {
        assert_eq!(u32::try_from(length).unwrap().to_le_bytes(), source.0);
        assert!(offset >= HEADER_LEN as u64 && size <= limits::PACK_MAX);
        assert_eq!(offset + length + pack::TRAILER_LEN as u64, size);
    }
}

pub(super) fn index(bytes: &[u8]) {
    let Some(object) = decoded(index::decode(bytes)) else { return };
    // How many zeros follow is not looked at, so that the writer's choice of padding may change.
    let again = index::encode(&object).unwrap();
    let common = again.len().min(bytes.len());
    assert_eq!(again[..common], bytes[..common]);
    assert!(again[common..].iter().chain(&bytes[common..]).all(|byte| *byte == 0));
    assert_eq!(index::decode(&again).unwrap(), object);
    for pack in &object.packs {
        assert!(pack.size <= limits::PACK_MAX);
        assert!(pack.entries.iter().all(|entry| usize::from(entry.envelope) < object.envelopes.len()));
    }
}

pub(super) fn leaf(bytes: &[u8]) {
    let Some(entries) = decoded(tree::decode_leaf(bytes)) else { return };
    assert_eq!(tree::encode_leaf(&entries).unwrap(), bytes);
    let paths: usize = entries.iter().map(|entry| entry.path.len()).sum();
    assert!(paths as u64 <= tree::PATHS_MAX);
    for entry in &entries {
        tree::validate_entry(&entry.path, &entry.node).unwrap();
    }
}

pub(super) fn inner(bytes: &[u8]) {
    let mut source = Source(bytes);
    let level = source.u8();
    if let Some(entries) = decoded(tree::decode_inner(source.0, level)) {
        assert_eq!(tree::encode_inner(level, &entries).unwrap(), source.0);
        assert!(!entries.is_empty() && (1..=limits::LEVEL_MAX).contains(&level));
    }
}

pub(super) fn list(bytes: &[u8]) {
    let mut source = Source(bytes);
    let level = source.u8();
    match decoded(list::decode(source.0, level)) {
        Some(List::Chunks(ids)) => {
            assert_eq!(list::encode_chunks(&ids), source.0);
            assert!((1..=list::LIST_MAX).contains(&ids.len()));
        }
        Some(List::Lists { level, entries }) => {
            assert_eq!(list::encode_lists(level, &entries), source.0);
            assert!((1..=list::LIST_MAX).contains(&entries.len()) && level <= limits::LEVEL_MAX);
        }
        None => {}
    }
}

/// A node alone, as the one entry of a leaf.
pub(super) fn node(bytes: &[u8]) {
    let start = [0x81, 0x83, 0x00, 0x41, b'a'];
    let leaf = [&start, bytes].concat();
    let Some(entries) = decoded(tree::decode_leaf(&leaf)) else { return };
    let [entry] = entries.as_slice() else { panic!("one entry became {}", entries.len()) };
    assert_eq!(cbor::encode(&entry.node).unwrap(), bytes);
    let again: Node = cbor::decode(bytes, "node").unwrap();
    assert_eq!(again, entry.node);
}

pub(super) fn manifest(bytes: &[u8]) {
    if let Some(manifest) = decoded(snapshot::decode(bytes)) {
        assert_eq!(snapshot::encode(&manifest).unwrap(), bytes);
        assert!(manifest.host.len() <= limits::TEXT_MAX && manifest.level <= limits::LEVEL_MAX);
    }
}

pub(super) fn signed_manifest(bytes: &[u8]) {
    if let Some(signed) = decoded(snapshot::decode_signed(bytes)) {
        assert_eq!(snapshot::encode_signed(&signed).unwrap(), bytes);
    }
}

pub(super) fn session(bytes: &[u8]) {
    if let Some(session) = decoded(marks::decode_session(bytes)) {
        assert_eq!(marks::encode_session(&session).unwrap(), bytes);
        assert!(session.host.len().max(session.program.len()) <= limits::TEXT_MAX);
    }
}

pub(super) fn abandoned(bytes: &[u8]) {
    if let Some(mark) = decoded(marks::decode_abandoned(bytes)) {
        assert_eq!(marks::encode_abandoned(&mark).unwrap(), bytes);
        assert!(mark.host.len() <= limits::TEXT_MAX);
    }
}

pub(super) fn forgotten(bytes: &[u8]) {
    let mut source = Source(bytes);
    let snapshot = Id(source.array());
    if let Some(mark) = decoded(marks::decode_forgotten(source.0, &snapshot)) {
        assert_eq!(cbor::encode(&mark).unwrap(), source.0);
        assert_eq!(mark.snapshot, snapshot);
    }
}

pub(super) fn condemned(bytes: &[u8]) {
    if let Some(record) = decoded(marks::decode_condemned(bytes)) {
        assert_eq!(marks::encode_condemned(&record).unwrap(), bytes);
        assert!(record.packs.is_sorted_by(|one, other| one < other));
    }
}

pub(super) fn signed_record(bytes: &[u8]) {
    if let Some(signed) = decoded(cbor::decode::<Signed>(bytes, "signed record")) {
        assert_eq!(cbor::encode(&signed).unwrap(), bytes);
    }
}

/// What the local cache remembers of a database.
pub(super) fn remembered(bytes: &[u8]) {
    let mut source = Source(bytes);
    let fingerprint = Id(source.array());
    match vaultwarden::recall(source.0, &fingerprint) {
        Ok(Some(contents)) => {
            let again = vaultwarden::remember(fingerprint, &contents).unwrap().expect("nothing odd");
            assert_eq!(again, source.0);
            accept();
        }
        Ok(None) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt, "{}", error.chain()),
    }
}
