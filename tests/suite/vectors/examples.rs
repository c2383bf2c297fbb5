//! The chapter of worked examples, written by the seeded build.

use serde_json::json;

use super::build::{self, forge, slot};
use crate::forge::cbor::Cbor;
use crate::forge::records::{Line, annotated, bytes_of, line, record, render};
use crate::forge::site::{inner, leaf};
use crate::forge::{Bytes32, Entry, Forge, PackParts, hash, hex, padme};

const HEAD: &str = "# Examples

Worked examples of every object and record, written by the same seeded build as the [vectors](vectors/README.md), which
hold all of the bytes that are cut short here. All are sealed with the secrets in `vectors/keys.json`. The columns are:
offset in decimal, bytes in hexadecimal, meaning. `..` stands for the bytes that are left out. In a record, the number
before a field's name is its key in the map.
";

/// The chapter.
pub(crate) fn chapter() -> String {
    let mut text = HEAD.to_owned();
    for section in
        [config(), slots(), blob(), pack(), index(), trees(), nodes(), snapshot(), marks(), numbers()]
    {
        text.push_str(&section);
    }
    text
}

fn section(title: &str, chapter: &str, intro: &str) -> String {
    format!("\n## {title}\n\nSee [{}]({chapter}). {intro}\n", chapter.split('#').next().unwrap_or(chapter))
}

fn example(title: &str, lines: &[Line]) -> String {
    format!("\n{title}, {} bytes:\n\n```text\n{}```\n", bytes_of(lines).len(), render(lines))
}

fn header_lines(bytes: &[u8]) -> Vec<Line> {
    vec![
        line(&bytes[..8], "magic"),
        line(&bytes[8..12], format!("kind: {:?}", String::from_utf8_lossy(&bytes[8..12]))),
        line(&bytes[12..14], "format version: 1"),
        line(&bytes[14..16], "reserved"),
    ]
}

fn sealed_lines(bytes: &[u8], what: &str) -> Vec<Line> {
    let (salt, rest) = bytes.split_at(32);
    let (ciphertext, tag) = rest.split_at(rest.len() - 16);
    vec![
        line(salt, "salt"),
        line(ciphertext, format!("ciphertext of {what}: {} bytes", ciphertext.len())),
        line(tag, "tag"),
    ]
}

/// A whole sealed object.
fn object_lines(bytes: &[u8], what: &str) -> Vec<Line> {
    [header_lines(bytes), sealed_lines(&bytes[16..], what)].concat()
}

fn record_lines(name: &str, value: &serde_json::Value) -> Vec<Line> {
    annotated(&format!("record {name}"), &record(name, value), name)
}

/// One example of many hash in their text.
fn named(bytes: &[u8]) -> String {
    format!("Its name is its hash, `{}`.", hex(&hash(bytes)))
}

fn config() -> String {
    let fields = forge().config_fields();
    let record = record("config", &fields);
    let bytes = forge().config(&record.encode());
    let length = record.encode().len();
    let mut lines = header_lines(&bytes);
    lines.push(line(&bytes[16..20], format!("record length: {length}")));
    lines.extend(annotated("record config", &record, "record"));
    lines.push(line(&bytes[20 + length..], "mac"));
    section("Config", "10-repository.md#config", "The object `config` of a new repository.")
        + &example("`config`", &lines)
}

fn slots() -> String {
    let mut forge = forge().fork("example of a key slot");
    let parts = forge.slot_parts(&slot("backup"));
    let bytes = forge.slot_bytes(&parts);
    let (lock, label) = (parts.lock.encode().len(), parts.label.encode().len() + 48);
    let mut lines = header_lines(&bytes);
    lines.push(line(&bytes[16..20], format!("lock length: {lock}")));
    lines.extend(annotated("record lock", &parts.lock, "lock"));
    lines.push(line(&bytes[20 + lock..24 + lock], format!("label length: {label}")));
    lines.extend(sealed_lines(&bytes[24 + lock..24 + lock + label], "the label"));
    lines.extend(sealed_lines(&bytes[24 + lock + label..], "the bundle"));
    let method = json!({"password": {"memory_kib": 65_536, "passes": 3, "lanes": 4}});
    let method = crate::forge::records::typed("choice method", &method);
    let text = crate::forge::keys::key_file(&build::full_holder());
    section(
        "Key slot",
        "03-cryptography.md#slots",
        &format!("A slot of role backup that a key file opens. {}", named(&bytes)),
    ) + &example("`keys/<id>`", &lines)
        + &example(
            "The lock's method where a password opens the slot",
            &annotated("choice method", &method, "method"),
        )
        + &example("Plaintext of its label", &annotated("record label", &parts.label, "label"))
        + &example("Plaintext of its bundle", &annotated("record bundle", &parts.bundle, "bundle"))
        + &format!("\nThe text of a key file, on one line:\n\n```text\n{text}```\n")
}

fn blob() -> String {
    let mut forge = forge().fork("example of a blob");
    let plain = b"a piece of a file";
    let blob = forge.blob(1, plain);
    let (content_key, envelope) = forge.content_key(1);
    let input = [line([1], "kind: 1 (chunk)"), line(blob.id, "blob")];
    let associated = [
        line([1, 0], "format version: 1"),
        line(forge.repository, "repository"),
        line([1], "class: 1 (data)"),
        line([1], "kind: 1 (chunk)"),
        line(blob.id, "blob"),
        line((plain.len() as u32).to_le_bytes(), format!("plain length: {}", plain.len())),
    ];
    let sealed = [line([0], "encoding: 0 (raw)"), line(plain, "payload: \"a piece of a file\"")];
    let frame = [line(&blob.frame[..18], "ciphertext"), line(&blob.frame[18..], "tag")];
    let envelope = [
        line(&envelope[..1120], "encapsulated key"),
        line(&envelope[1120..1152], "sealed content key"),
        line(&envelope[1152..], "tag"),
    ];
    let info = [
        line(b"strongroom v1 content key".as_slice(), "context"),
        line([0], "end of context"),
        line(forge.repository, "repository"),
        line([1], "class: 1 (data)"),
    ];
    let intro = format!(
        "The chunk `a piece of a file`, stored raw under the content key `{}`. Its id is `{}`.",
        hex(&content_key),
        hex(&blob.id)
    );
    section("Blob", "05-blob.md", &intro)
        + &example("Envelope of the content key", &envelope)
        + &example("Info of the envelope", &info)
        + &example("Input of the blob's key", &input)
        + &example("Associated data", &associated)
        + &example("What is sealed", &sealed)
        + &example("Frame", &frame)
}

fn entry_lines(entry: &Entry) -> Vec<Line> {
    vec![
        line(entry.id, "blob"),
        line([entry.kind], format!("kind: {}", entry.kind)),
        line([0], "reserved"),
        line(entry.envelope.to_le_bytes(), format!("envelope: {}", entry.envelope)),
        line(entry.stored_length.to_le_bytes(), format!("stored length: {}", entry.stored_length)),
        line(entry.plain_length.to_le_bytes(), format!("plain length: {}", entry.plain_length)),
    ]
}

/// A pack of two chunks.
fn sample_pack(forge: &mut Forge) -> (PackParts, Vec<u8>) {
    let chunks = build::two_chunks(forge);
    let parts = PackParts::new(1, vec![forge.content_key(1).1], &chunks);
    let bytes = forge.pack_bytes(&parts);
    (parts, bytes)
}

fn pack() -> String {
    let mut forge = forge().fork("example of a pack");
    let (parts, bytes) = sample_pack(&mut forge);
    let table = parts.table();
    let frames = parts.frames.len();
    let first = parts.entries[0].stored_length as usize;
    let mut lines = header_lines(&bytes);
    lines.push(line(&bytes[16..16 + first], format!("first frame, raw: {first} bytes")));
    lines
        .push(line(&bytes[16 + first..frames], format!("second frame, zstd: {} bytes", frames - 16 - first)));
    lines.extend(sealed_lines(&bytes[frames..frames + 48 + table.len()], "the table"));
    lines.extend(sealed_lines(&bytes[frames + 48 + table.len()..], "the trailer"));
    let mut plain = vec![
        line(&table[..1], "class: 1 (data)"),
        line(&table[1..4], "reserved"),
        line(&table[4..6], "envelopes: 1"),
        line(&table[6..8], "reserved"),
        line(&table[8..12], "entries: 2"),
        line(&table[12..44], "frames hash"),
        line(&table[44..44 + 1168], "envelope 0: 1168 bytes"),
    ];
    parts.entries.iter().for_each(|entry| plain.extend(entry_lines(entry)));
    plain.push(line(parts.padding.clone(), format!("padding: {} bytes", parts.padding.len())));
    let trailer = (table.len() as u32 + 48).to_le_bytes();
    let intro = format!(
        "Two chunks: `a piece of a file`, raw, and 200,000 letters `x`, compressed. {}",
        named(&bytes)
    );
    section("Pack", "06-pack.md", &intro)
        + &example("`packs/<2 digits>/<id>`", &lines)
        + &example("Plaintext of the table", &plain)
        + &example(
            "Plaintext of the trailer",
            &[line(trailer, format!("table length: {}", table.len() + 48))],
        )
}

fn index() -> String {
    let mut forge = forge().fork("example of a pack");
    let (parts, pack) = sample_pack(&mut forge);
    let packs = [(hash(&pack), pack.len() as u64, 1, parts.entries.clone())];
    let plain = crate::forge::packs::index_plain(&parts.envelopes, &packs);
    let bytes = forge.index(&plain);
    let mut lines = vec![
        line(&plain[..4], "envelopes: 1"),
        line(&plain[4..8], "packs: 1"),
        line(&plain[8..8 + 1168], "envelope 0: 1168 bytes"),
        line(hash(&pack), "pack"),
        line((pack.len() as u64).to_le_bytes(), format!("size: {}", pack.len())),
        line([1], "class: 1 (data)"),
        line([0; 3], "reserved"),
        line(2u32.to_le_bytes(), "entries: 2"),
    ];
    parts.entries.iter().for_each(|entry| lines.extend(entry_lines(entry)));
    let padding = plain.len() - bytes_of(&lines).len();
    lines.push(line(vec![0; padding], format!("padding: {padding} bytes")));
    assert_eq!(bytes_of(&lines), plain);
    section("Index object", "07-index.md", &format!("It names the pack above. {}", named(&bytes)))
        + &example("`index/<id>`", &object_lines(&bytes, "the index"))
        + &example("Its plaintext", &lines)
}

fn trees() -> String {
    let nodes = build::node_kinds();
    let kind = |name: &str| nodes.iter().find(|(known, _)| *known == name).expect("a node").1.clone();
    let entries = [(b"srv".to_vec(), kind("folder")), (b"srv/data".to_vec(), kind("empty file"))];
    let leaf = leaf(&entries);
    let id = forge().blob_id(3, &leaf.encode());
    let children = [(b"srv".to_vec(), id, 2), (b"srv/else".to_vec(), [7; 32], 40)];
    let inner = inner(1, &children);
    let list = [line([0], "level: 0"), line([1; 32], "chunk"), line([2; 32], "chunk")];
    let above = [
        line([1], "level: 1"),
        line([3; 32], "list"),
        line(65_536u64.to_le_bytes(), "bytes: 65536"),
        line([4; 32], "list"),
        line(100u64.to_le_bytes(), "bytes: 100"),
    ];
    section("Tree", "08-tree.md#leaves", &format!("A leaf of two nodes; its id is `{}`.", hex(&id)))
        + &example("Leaf", &annotated("array of record leaf-entry", &leaf, "leaf"))
        + &example("Inner node above it", &annotated("record inner-node", &inner, "inner node"))
        + &example("List of chunks", &list)
        + &example("List of lists", &above)
}

fn nodes() -> String {
    let mut text = section(
        "Nodes",
        "08-tree.md#node",
        "The first in full, of the others what follows `links`, but for their first line.",
    );
    for (name, value) in build::node_kinds() {
        let lines = record_lines("node", &value);
        if name == "folder" {
            text.push_str(&example("Folder", &lines));
            continue;
        }
        let from = lines.iter().position(|line| line.label.starts_with("11 links")).expect("links");
        let kept = lines[from..].to_vec();
        let mut title = name.to_owned();
        title[..1].make_ascii_uppercase();
        text.push_str(&example(&format!("{title}, kind {}, from `links` on", value["kind"]), &kept));
    }
    text
}

fn snapshot() -> String {
    let mut forge = forge().fork("example of a snapshot");
    let id: Bytes32 = forge.draw();
    let fields = build::full_manifest(&forge);
    let manifest = record("manifest", &fields).encode();
    let slot = slot("backup");
    let signed = forge.signed_manifest_fields(&id, &manifest, &slot);
    let bytes = forge.snapshot(&id, &manifest, &slot);
    let message = [
        line(b"strongroom v1 snapshot manifest".as_slice(), "context"),
        line([0], "end of context"),
        line(forge.repository, "repository"),
        line(id, "snapshot's id"),
        line(manifest, "encoded manifest"),
    ];
    section("Snapshot", "09-snapshot.md", &format!("Its id is `{}`.", hex(&id)))
        + &example("`snapshots/<id>`", &object_lines(&bytes, "the signed manifest"))
        + &example("Its plaintext", &record_lines("signed-manifest", &signed))
        + &example("The message that is signed", &message)
        + &example("Manifest", &record_lines("manifest", &fields))
}

fn marks() -> String {
    let mut forge = forge().fork("examples of marks");
    let mut text = section(
        "Sessions, marks and gc records",
        "11-ordering.md",
        "A forgotten mark and a gc record are signed.",
    );
    for (what, title) in [
        ("session", "Session"),
        ("abandoned", "Abandoned mark"),
        ("forgotten", "Forgotten mark"),
        ("gc", "Gc record"),
    ] {
        let id: Bytes32 = forge.draw();
        let value = build::mark_fields(what, &id);
        let name = build::mark_record(what);
        let encoded = record(name, &value);
        let plain = build::mark_plaintext(&forge, what, &id, &encoded.encode());
        let (_, bytes) = build::mark_object(&mut forge, what, &id, &plain);
        text.push_str(&example(&format!("{title}: the object"), &object_lines(&bytes, "the record")));
        if plain != encoded.encode() {
            let signature = Cbor::Bytes(plain[plain.len() - 64..].to_vec());
            let signed = Cbor::Map(vec![(0, Cbor::Bytes(encoded.encode())), (1, signature)]);
            assert_eq!(signed.encode(), plain);
            text.push_str(&example(
                &format!("{title}: its plaintext"),
                &annotated("record signed", &signed, "signed"),
            ));
        }
        text.push_str(&example(
            &format!("{title}: the record"),
            &annotated(&format!("record {name}"), &encoded, name),
        ));
    }
    text
}

fn numbers() -> String {
    let mut text = section(
        "Cuts and lengths",
        "04-chunking.md",
        "The first entries of the gear table of the write secret above, and where it cuts the first bytes of BLAKE3's \
         extendable output over a label.",
    );
    let mut table = vec![0; 2048];
    blake3::Hasher::new_keyed(&forge().derive("gear table")).finalize_xof().fill(&mut table);
    let lines: Vec<Line> = table
        .chunks(8)
        .take(3)
        .enumerate()
        .map(|(number, bytes)| {
            let value = u64::from_le_bytes(bytes.try_into().unwrap());
            line(bytes, format!("G[{number}] = 0x{value:016x}"))
        })
        .collect();
    text.push_str(&example("Gear table, beginning", &lines));
    for vector in build::chunking_vectors().iter().filter(|vector| vector["what"] == "gear").take(2) {
        let ends: Vec<String> =
            vector["value"]["ends"].as_array().unwrap().iter().take(8).map(ToString::to_string).collect();
        text.push_str(&format!(
            "\n{} bytes of the stream `{}`, cut with {}: the first chunks end at {}.\n",
            vector["length"],
            vector["stream"].as_str().unwrap(),
            vector["name"].as_str().unwrap(),
            ends.join(", ")
        ));
    }
    text.push_str("\nPages in each run of a database met for the first time:\n\n| bytes in a page | pages | pages in a run |\n|---|---|---|\n");
    let vectors = build::chunking_vectors();
    for vector in vectors.iter().filter(|one| one["what"] == "pages" && one.get("before").is_none()) {
        text.push_str(&format!("| {} | {} | {} |\n", vector["page_size"], vector["pages"], vector["value"]));
    }
    text.push_str("\nPadmé lengths, see [padding](06-pack.md#padding):\n\n| length | padded |\n|---|---|\n");
    for length in [9usize, 1000, 1_000_000, 33_554_433] {
        text.push_str(&format!("| {length} | {} |\n", padme(length)));
    }
    text
}
