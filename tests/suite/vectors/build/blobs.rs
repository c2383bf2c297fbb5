//! Chunks, frames, packs and index objects.

use serde_json::{Value as Json, json};

use super::super::product::shown;
use super::{Case, LABEL, flipped, forge, hashed, join};
use crate::forge::packs::{index_pack, index_plain};
use crate::forge::{Blob, Bytes32, Entry, Forge, PackParts, hash, header, hex, padme, stream};

/// Where keyed gear ends the first chunk, by the text.
fn gear_cut(bytes: &[u8], [minimum, average, maximum]: [usize; 3], table: &[u64]) -> usize {
    let mask = |bits: u32| ((1u64 << bits) - 1) << (63 - bits);
    let bits = average.ilog2();
    if bytes.len() <= minimum {
        return bytes.len();
    }
    let length = bytes.len().min(maximum);
    let even = length - length % 2;
    let mut hash = 0u64;
    for index in minimum..even {
        hash = hash.wrapping_mul(2).wrapping_add(table[usize::from(bytes[index])]);
        let mask = if index < average.min(even) { mask(bits + 2) } else { mask(bits - 2) };
        if hash & mask == 0 {
            return index;
        }
    }
    length
}

/// The ends of all chunks of a stream, whose sizes follow from what lies before a chunk.
fn gear_ends(bytes: &[u8], sizes: impl Fn(u64) -> [usize; 3], table: &[u64]) -> Vec<usize> {
    let mut ends = Vec::new();
    while ends.last() != Some(&bytes.len()) {
        let start = ends.last().copied().unwrap_or(0);
        ends.push(start + gear_cut(&bytes[start..], sizes(start as u64), table));
    }
    ends
}

/// Sizes of the chunks of a dump, by the text.
fn dump_sizes(sizes: [usize; 3], before: u64) -> [usize; 3] {
    let stretch = ((before >> 30) + 1).ilog2();
    let halvings = 3 - stretch.min(3);
    sizes.map(|size| (size >> halvings).max(64) / 2 * 2)
}

pub(super) fn chunking() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut table = vec![0; 2048];
    blake3::Hasher::new_keyed(&forge().derive("gear table")).finalize_xof().fill(&mut table);
    let numbers: Vec<u64> =
        table.chunks(8).map(|bytes| u64::from_le_bytes(bytes.try_into().unwrap())).collect();
    for (sizes, length) in [
        ([64, 256, 1024], 20_000),
        ([64, 64, 64], 1000),
        ([128, 1024, 1026], 9001),
        ([16_384, 65_536, 262_144], 2_000_000),
        ([524_288, 1_048_576, 4_194_304], 12_000_001),
    ] {
        let label = format!("{LABEL}: a stream of {length}");
        let ends = gear_ends(&stream(&label, length), |_| sizes, &numbers);
        let [minimum, average, maximum] = sizes;
        let members = json!({
            "write_secret": hex(&forge().write_secret), "minimum": minimum, "average": average, "maximum": maximum,
            "stream": label, "length": length,
            "value": {"table": hex(&hash(&table)), "ends": ends},
        });
        cases.push(Case::valid("gear", &format!("sizes {minimum}, {average}, {maximum}"), members));
    }
    let gib = 1u64 << 30;
    for (sizes, before, length) in [
        ([16_384, 65_536, 262_144], 0, 300_000),
        ([16_384, 65_536, 262_144], gib - 100_000, 300_000),
        ([16_384, 65_536, 262_144], 3 * gib - 200_000, 600_000),
        ([16_384, 65_536, 262_144], 7 * gib - 400_000, 1_200_000),
        ([16_384, 65_536, 262_144], 1024 * gib, 600_000),
        ([130, 1024, 1026], 0, 5000),
        ([130, 1024, 1026], gib, 5000),
    ] {
        let label = format!("{LABEL}: {length} bytes of a dump");
        let ends = gear_ends(&stream(&label, length), |start| dump_sizes(sizes, before + start), &numbers);
        let [minimum, average, maximum] = sizes;
        let members = json!({
            "write_secret": hex(&forge().write_secret), "minimum": minimum, "average": average, "maximum": maximum,
            "before": before, "stream": label, "length": length, "value": {"ends": ends},
        });
        let name = format!("sizes {minimum}, {average}, {maximum} behind {before}");
        cases.push(Case::valid("dump", &name, members));
    }
    for (page_size, pages, before, run) in [
        (4096, 1, None, 1),
        (512, 1, None, 8),
        (65_536, 1, None, 1),
        (4096, 262_144, None, 1),
        (4096, 262_145, None, 2),
        (4096, 524_288, Some(1), 1),
        (4096, 524_289, Some(1), 4),
        (4096, 10, Some(4), 4),
        (4096, 10, Some(3), 1),
        (4096, 10, Some(1_073_741_824), 1),
        (65_536, 4_294_967_294u64, None, 64),
    ] {
        let mut members = json!({"page_size": page_size, "pages": pages});
        let mut name = format!("{pages} pages of {page_size} bytes");
        if let Some(before) = before {
            members["before"] = before.into();
            name.push_str(&format!(", runs of {before} before"));
        }
        cases.push(Case::valid("pages", &name, join(members, json!({"value": run}))));
    }
    cases
}

const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// A zstd frame whose blocks each repeat one byte: as short as a frame can be, and it grows to anything.
fn zstd_repeating(byte: u8, blocks: &[u32], announced: Option<u32>) -> Vec<u8> {
    let mut frame = MAGIC.to_vec();
    match announced {
        // One segment, content size of four bytes.
        Some(size) => {
            frame.push(0b1010_0000);
            frame.extend(size.to_le_bytes());
        }
        // No content size; a window of 128 KiB.
        None => frame.extend([0, 7 << 3]),
    }
    for (number, length) in blocks.iter().enumerate() {
        let last = u32::from(number + 1 == blocks.len());
        frame.extend(&(last | 1 << 1 | length << 3).to_le_bytes()[..3]);
        frame.push(byte);
    }
    frame
}

fn frame_members(forge: &mut Forge, kind: u8, id: &Bytes32, plain_length: u32, content: &[u8]) -> Json {
    let frame = forge.frame(kind, id, plain_length, content);
    let (content_key, envelope) = forge.content_key(crate::forge::packs::class_of(kind));
    json!({
        "kind": kind, "blob": hex(id), "plain_length": plain_length, "content_key": hex(&content_key),
        "envelope": hex(&envelope), "bytes": hex(&frame),
    })
}

pub(super) fn frames() -> Vec<Case> {
    let forge = &mut forge().fork("frames");
    let mut cases = Vec::new();
    let text = b"a piece of a file".to_vec();
    let many = vec![b'x'; 200_000];
    let with = |encoding: u8, payload: &[u8]| [&[encoding], payload].concat();
    let announced = zstd_repeating(b'x', &[100_000, 100_000], Some(200_000));
    let silent = zstd_repeating(b'x', &[131_072, 68_928], None);
    for (name, kind, plain, content) in [
        ("raw chunk", 1, &text, with(0, &text)),
        ("raw list", 2, &text, with(0, &text)),
        ("raw leaf", 3, &text, with(0, &text)),
        ("raw inner node", 4, &text, with(0, &text)),
        ("nothing, raw", 1, &Vec::new(), with(0, &[])),
        ("zstd, content size announced", 1, &many, with(1, &announced)),
        ("zstd, no content size", 1, &many, with(1, &silent)),
    ] {
        let id = forge.blob_id(kind, plain);
        let members = frame_members(forge, kind, &id, plain.len() as u32, &content);
        let value = json!({"length": plain.len(), "plaintext": shown(plain)});
        cases.push(Case::valid("frame", name, join(members, json!({"value": value}))));
    }
    cases.extend(bad_frames(forge, &many, &announced));
    cases
}

fn bad_frames(forge: &mut Forge, many: &[u8], announced: &[u8]) -> Vec<Case> {
    let text = b"a piece of a file".as_slice();
    let text_id = forge.blob_id(1, text);
    let many_id = forge.blob_id(1, many);
    let size = many.len() as u32;
    let skippable = [0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 7];
    let bomb = zstd_repeating(b'x', &[131_072; 2000], None);
    let liar = zstd_repeating(b'x', &[131_072; 40], Some(u32::MAX));
    let dictionary = [&MAGIC[..], &[0b1010_0001], &size.to_le_bytes(), &[1], &announced[9..]].concat();
    let mut dictionary_first = dictionary;
    // The dictionary's id stands before the content size.
    dictionary_first[5] = 1;
    dictionary_first[6..10].copy_from_slice(&size.to_le_bytes());
    let zstd = |payload: &[u8]| [&[1], payload].concat();
    let mut cases = Vec::new();
    let mut bad = |name: &str, class: &str, id: &Bytes32, length: u32, content: Vec<u8>, change: Json| {
        let members = join(frame_members(forge, 1, id, length, &content), change);
        cases.push(Case::invalid("frame", name, class, members));
    };
    let raw = [&[0], text].concat();
    bad("an encoding that does not exist", "unknown-code", &text_id, 17, [&[2], text].concat(), json!({}));
    bad("raw, shorter than said", "wrong-length", &text_id, 18, raw.clone(), json!({}));
    bad("an id that is not its own", "wrong-hash", &[4; 32], 17, raw.clone(), json!({}));
    bad("an id of another kind", "does-not-open", &text_id, 17, raw.clone(), json!({"kind": 2}));
    bad("another plain length", "does-not-open", &text_id, 17, raw.clone(), json!({"plain_length": 18}));
    bad("another blob", "does-not-open", &text_id, 17, raw, json!({"blob": hex(&[4; 32])}));
    bad(
        "two zstd frames",
        "bad-compression",
        &many_id,
        size,
        zstd(&[announced, announced].concat()),
        json!({}),
    );
    bad(
        "a byte behind zstd",
        "bad-compression",
        &many_id,
        size,
        zstd(&[announced, &[0]].concat()),
        json!({}),
    );
    let short = &announced[..announced.len() - 1];
    bad("zstd cut short", "bad-compression", &many_id, size, zstd(short), json!({}));
    bad(
        "a skippable frame first",
        "bad-compression",
        &many_id,
        size,
        zstd(&[&skippable[..], announced].concat()),
        json!({}),
    );
    bad("a skippable frame alone", "bad-compression", &many_id, size, zstd(&skippable), json!({}));
    bad("a dictionary", "bad-compression", &many_id, size, zstd(&dictionary_first), json!({}));
    bad(
        "zstd gives less",
        "bad-compression",
        &many_id,
        size,
        zstd(&zstd_repeating(b'x', &[131_072], None)),
        json!({}),
    );
    bad(
        "zstd gives 262 MB where 8 MiB were said",
        "bad-compression",
        &many_id,
        8 << 20,
        zstd(&bomb),
        json!({}),
    );
    bad("zstd announces 4 GiB", "bad-compression", &many_id, size, zstd(&liar), json!({}));
    bad("nothing where zstd should be", "bad-compression", &text_id, 17, vec![1], json!({}));
    let members = frame_members(forge, 1, &text_id, 17, &[&[0], text].concat());
    let frame = crate::forge::from_hex(members["bytes"].as_str().unwrap());
    for (name, at) in [("ciphertext altered", 0), ("tag altered", frame.len() - 1)] {
        let change = json!({"bytes": hex(&flipped(&frame, at))});
        cases.push(Case::invalid("frame", name, "does-not-open", join(members.clone(), change)));
    }
    let change = json!({"envelope": hex(&forge.envelope(2, &[1; 32]))});
    cases.push(Case::invalid(
        "frame",
        "an envelope of the other class",
        "does-not-open",
        join(members, change),
    ));
    cases
}

/// Two chunks: one raw, one compressed.
pub(crate) fn two_chunks(forge: &mut Forge) -> Vec<Blob> {
    let first = forge.blob(1, b"a piece of a file");
    let plain = vec![b'x'; 200_000];
    let id = forge.blob_id(1, &plain);
    let content = [vec![1], zstd_repeating(b'x', &[100_000, 100_000], Some(200_000))].concat();
    let frame = forge.frame(1, &id, 200_000, &content);
    vec![first, Blob { kind: 1, id, plain_length: 200_000, frame }]
}

/// An entry as the vectors state it.
fn entry_value(entry: &Entry) -> Json {
    json!({
        "blob": hex(&entry.id), "kind": entry.kind, "envelope": entry.envelope,
        "stored_length": entry.stored_length, "plain_length": entry.plain_length,
    })
}

fn pack_value(parts: &PackParts, size: usize) -> Json {
    json!({
        "class": parts.class,
        "size": size,
        "envelopes": parts.envelopes.iter().map(|envelope| hex(&hash(envelope))).collect::<Vec<_>>(),
        "entries": parts.entries.iter().map(entry_value).collect::<Vec<_>>(),
    })
}

pub(super) fn packs() -> Vec<Case> {
    let forge = &mut forge().fork("packs");
    let mut cases = Vec::new();
    let chunks = two_chunks(forge);
    let metadata = vec![forge.blob(3, &[0x80]), forge.blob(2, &[&[0], [7; 32].as_slice()].concat())];
    let envelopes = [1, 2].map(|class| vec![forge.content_key(class).1]);
    let spare = forge.envelope(1, &[8; 32]);
    for (name, parts) in [
        ("two chunks", PackParts::new(1, envelopes[0].clone(), &chunks)),
        ("a leaf and a list", PackParts::new(2, envelopes[1].clone(), &metadata)),
        ("two envelopes", {
            let mut parts = PackParts::new(1, vec![spare, envelopes[0][0].clone()], &chunks);
            parts.entries.iter_mut().for_each(|entry| entry.envelope = 1);
            parts
        }),
        (
            "without padding",
            PackParts { padding: Vec::new(), ..PackParts::new(1, envelopes[0].clone(), &chunks) },
        ),
    ] {
        let bytes = forge.pack_bytes(&parts);
        let value = json!({"value": pack_value(&parts, bytes.len())});
        cases.push(Case::valid("pack", name, join(hashed(&bytes), value)));
    }
    cases.extend(hostile_packs(forge, &PackParts::new(1, envelopes[0].clone(), &chunks)));
    cases.extend(damaged_packs(forge, &PackParts::new(1, envelopes[0].clone(), &chunks)));
    for length in [0usize, 1, 2, 3, 7, 8, 9, 63, 64, 65, 1000, 1_000_000, 33_554_432, 33_554_433, 134_217_727]
    {
        let members = json!({"length": length, "value": padme(length)});
        cases.push(Case::valid("padding", &format!("{length} bytes"), members));
    }
    cases
}

fn hostile_packs(forge: &mut Forge, sound: &PackParts) -> Vec<Case> {
    type Change<'a> = &'a dyn Fn(&mut PackParts);
    let frames = sound.frames.len() as i64;
    let changes: [(&str, &str, Change<'_>); 20] = [
        ("a class that does not exist", "unknown-code", &|parts| parts.class = 3),
        ("of the other class than its blobs", "does-not-fit", &|parts| parts.class = 2),
        ("a reserved byte of the head", "reserved", &|parts| parts.reserved[0] = 1),
        ("the last reserved byte of the head", "reserved", &|parts| parts.reserved[4] = 1),
        ("a reserved byte of an entry", "reserved", &|parts| parts.entries[1].reserved = 1),
        ("padding that is not zero", "reserved", &|parts| *parts.padding.last_mut().unwrap() = 1),
        ("a kind that does not exist", "unknown-code", &|parts| parts.entries[0].kind = 5),
        ("a kind of the other class", "does-not-fit", &|parts| parts.entries[0].kind = 2),
        ("an envelope that is not there", "out-of-range", &|parts| parts.entries[0].envelope = 1),
        ("more envelopes than it holds", "truncated", &|parts| parts.announced.0 = 2),
        ("65,535 envelopes announced", "truncated", &|parts| parts.announced.0 = u16::MAX),
        ("more entries than it holds", "truncated", &|parts| parts.announced.1 = u32::MAX),
        ("fewer entries than frames", "reserved", &|parts| parts.announced.1 = 1),
        ("a plain length above the limit", "over-limit", &|parts| {
            parts.entries[0].plain_length = (8 << 20) + 1
        }),
        ("a stored length of 16", "out-of-range", &|parts| parts.entries[0].stored_length = 16),
        ("a stored length above its plain length", "out-of-range", &|parts| {
            parts.entries[0].stored_length = 35
        }),
        ("frames shorter than their room", "does-not-fit", &|parts| parts.entries[1].stored_length -= 1),
        ("another frames hash", "wrong-hash", &|parts| parts.frames_hash[0] ^= 1),
        ("a trailer that leads into a frame", "does-not-open", &|parts| parts.table_length_error = 1),
        ("a table of no length", "truncated", &|parts| {
            parts.table_length_error = -(48 + parts.table().len() as i64);
        }),
    ];
    let mut cases = Vec::new();
    for (name, class, change) in changes {
        let mut parts = sound.clone();
        change(&mut parts);
        cases.push(Case::invalid("pack", name, class, hashed(&forge.pack_bytes(&parts))));
    }
    for (name, error) in [("into the header", frames - 15), ("outside", i64::from(u32::MAX) - 100_000)] {
        let parts = PackParts { table_length_error: error, ..sound.clone() };
        let name = format!("a trailer that leads {name}");
        cases.push(Case::invalid("pack", &name, "out-of-range", hashed(&forge.pack_bytes(&parts))));
    }
    cases
}

fn damaged_packs(forge: &mut Forge, sound: &PackParts) -> Vec<Case> {
    let bytes = forge.pack_bytes(sound);
    let frames = sound.frames.len();
    let bad = |name: &str, class: &str, members: Json| Case::invalid("pack", name, class, members);
    let replaced = |at: usize, with: &[u8]| hashed(&[&bytes[..at], with, &bytes[at + with.len()..]].concat());
    let mut moved = sound.clone();
    moved.frames[16] ^= 1;
    let forged = forge.pack_bytes(&moved);
    vec![
        bad("under another name", "wrong-hash", join(hashed(&bytes), json!({"id": hex(&hash(b"another"))}))),
        bad("another magic", "bad-magic", replaced(0, b"S")),
        bad("the header of an index object", "wrong-kind", replaced(8, b"indx")),
        bad("format version 2", "unknown-version", replaced(12, &[2])),
        bad("a reserved byte of the header", "reserved", replaced(14, &[1])),
        bad("a header and nothing else", "truncated", hashed(&header(b"pack"))),
        bad("nothing", "truncated", hashed(&[])),
        bad("without its last byte", "does-not-open", hashed(&bytes[..bytes.len() - 1])),
        bad("a trailer altered", "does-not-open", hashed(&flipped(&bytes, bytes.len() - 20))),
        bad("a table altered", "does-not-open", hashed(&flipped(&bytes, frames + 40))),
        bad("a frame altered before it was sealed in", "wrong-hash", hashed(&forged)),
        bad("a frame altered", "wrong-hash", hashed(&flipped(&bytes, 20))),
    ]
}

pub(super) fn indexes() -> Vec<Case> {
    let forge = &mut forge().fork("indexes");
    let chunks: Vec<Entry> = two_chunks(forge).iter().map(Entry::of).collect();
    let mut leaf = Entry::of(&forge.blob(3, &[0x80]));
    leaf.envelope = 1;
    let (data, metadata) = (forge.content_key(1).1, forge.content_key(2).1);
    let size = 16 + chunks.iter().map(|entry| u64::from(entry.stored_length)).sum::<u64>();
    let packs = [([1; 32], size + 1400, 1, chunks.clone()), ([2; 32], 9999, 2, vec![leaf.clone()])];
    let mut cases = Vec::new();
    for (name, envelopes, packs) in [
        ("two packs", vec![data.clone(), metadata], packs.to_vec()),
        ("nothing", Vec::new(), Vec::new()),
        ("a pack as short as its frames", vec![data.clone()], vec![([1; 32], size, 1, chunks.clone())]),
        ("a pack without entries", Vec::new(), vec![([1; 32], 16, 2, Vec::new())]),
    ] {
        let bytes = forge.index(&index_plain(&envelopes, &packs));
        let value = json!({
            "envelopes": envelopes.iter().map(|envelope| hex(&hash(envelope))).collect::<Vec<_>>(),
            "packs": packs.iter().map(|(id, size, class, entries)| json!({
                "pack": hex(id), "size": size, "class": class,
                "entries": entries.iter().map(entry_value).collect::<Vec<_>>(),
            })).collect::<Vec<_>>(),
        });
        cases.push(Case::valid("index", name, join(hashed(&bytes), json!({"value": value}))));
    }
    let head = |envelopes: u32, packs: u32| [envelopes.to_le_bytes(), packs.to_le_bytes()].concat();
    let one = |size: u64, class: u8, entries: &[Entry]| {
        index_plain(std::slice::from_ref(&data), &[([1; 32], size, class, entries.to_vec())])
    };
    let altered = |change: &dyn Fn(&mut Entry)| {
        let mut entries = chunks.clone();
        change(&mut entries[0]);
        one(1 << 20, 1, &entries)
    };
    let put = |mut plain: Vec<u8>, at: usize, byte: u8| {
        plain[at] = byte;
        plain
    };
    // Behind the head and one envelope: the pack's record, then its entries.
    let record = 8 + 1168;
    let cut = |packs: u32, rest: Vec<u8>| [head(0, packs), rest].concat();
    for (name, class, plain) in [
        ("ends in its head", "truncated", vec![0; 7]),
        ("more envelopes than it holds", "truncated", head(1, 0)),
        ("4,294,967,295 envelopes announced", "over-limit", head(u32::MAX, 0)),
        ("more packs than it holds", "truncated", cut(2, index_pack(&[1; 32], 16, 1, 0))),
        ("4,294,967,295 packs announced", "truncated", head(0, u32::MAX)),
        ("more entries than it holds", "truncated", cut(1, index_pack(&[1; 32], 16, 1, 1))),
        ("4,294,967,295 entries announced", "truncated", cut(1, index_pack(&[1; 32], 16, 1, u32::MAX))),
        ("a class that does not exist", "unknown-code", one(1 << 20, 3, &[])),
        ("a reserved byte of a pack's record", "reserved", put(one(1 << 20, 1, &chunks), record + 41, 1)),
        ("padding that is not zero", "reserved", put(one(1 << 20, 1, &chunks), record + 48 + 88, 1)),
        ("a reserved byte of an entry", "reserved", altered(&|entry| entry.reserved = 1)),
        ("a kind that does not exist", "unknown-code", altered(&|entry| entry.kind = 0)),
        ("a kind of the other class", "does-not-fit", altered(&|entry| entry.kind = 3)),
        ("an envelope that is not there", "out-of-range", altered(&|entry| entry.envelope = 1)),
        (
            "a plain length above the limit",
            "over-limit",
            altered(&|entry| entry.plain_length = (8 << 20) + 1),
        ),
        ("a stored length of 16", "out-of-range", altered(&|entry| entry.stored_length = 16)),
        (
            "a stored length above its plain length",
            "out-of-range",
            altered(&|entry| entry.stored_length = 35),
        ),
        ("a pack above the limit", "over-limit", one((128 << 20) + 1, 1, &chunks)),
        ("a pack shorter than its frames", "does-not-fit", one(size - 1, 1, &chunks)),
    ] {
        cases.push(Case::invalid("index", name, class, hashed(&forge.index(&plain))));
    }
    let bytes = forge.index(&one(1 << 20, 1, &chunks));
    let named = join(hashed(&bytes), json!({"id": hex(&hash(b"another"))}));
    cases.push(Case::invalid("index", "under another name", "wrong-hash", named));
    for (name, class, bytes) in [
        ("ends in its salt", "truncated", bytes[..30].to_vec()),
        ("altered", "does-not-open", flipped(&bytes, 100)),
        ("another magic", "bad-magic", flipped(&bytes, 0)),
        ("the header of a pack", "wrong-kind", [b"strongrmpack", &bytes[12..]].concat()),
        ("format version 2", "unknown-version", put(bytes.clone(), 12, 2)),
        ("a reserved byte of the header", "reserved", put(bytes.clone(), 15, 1)),
    ] {
        cases.push(Case::invalid("index", name, class, hashed(&bytes)));
    }
    cases
}
