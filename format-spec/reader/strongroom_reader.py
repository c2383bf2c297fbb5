#!/usr/bin/env python3
"""A second reader of Strongroom repositories (format version 1), written from the specification alone.

It shows that the text is enough to restore a backup, shares no code with the program that writes repositories, and is
plain rather than fast. It never writes to a repository. Output goes to stdout, what was rejected to stderr. Exit codes:
0 all is well; 1 something was rejected, could not be read or could not be restored; 2 wrong usage; 12 the role of the
key does not allow the command. Numbers in comments, such as (ch. 5), are chapters of the specification.
"""
import argparse, functools, hashlib, hmac, json, os, re, stat, struct, sys, time
from pathlib import Path

import argon2.low_level
import cbor2
import zstandard
from blake3 import blake3
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

# ------------------------------------------------------------------------------------------------ limits (ch. 13, 8)

BLOB_PLAIN_MAX, PACK_MAX, INDEX_MAX, SNAPSHOT_MAX = 8_388_608, 134_217_728, 100_663_296, 16_777_216
SMALL_OBJECT_MAX, ENVELOPES_MAX, LEVEL_MAX = 1_048_576, 65_535, 12
LISTS_MAX, INLINE_CHUNKS_MAX, ATTRIBUTES_MAX, HOLES_MAX = 1_048_576, 32, 1_048_576, 4_096
KEY_SLOTS_MAX, PASSWORD_MAX, TEXT_MAX, SNAPSHOT_ITEMS_MAX = 1_024, 4_096, 4_096, 262_144
ARGON2_MEMORY_MAX_KIB, ARGON2_PASSES_MAX, ARGON2_LANES_MAX = 1_048_576, 16, 16
PATH_LENGTH_MAX, PATH_COMPONENT_MAX, PATH_DEPTH_MAX = 65_535, 1_024, 4_096
PATHS_MAX, LIST_MAX = 327_679, 4_096
NO_NAME, NONCE = bytes(32), bytes(12)
ENTRY, ENVELOPE, SEAL = 44, 1_168, 48
BLOCK = 262_144                                     # packs are read in aligned blocks of this length (ch. 11)

# ------------------------------------------------------------------------------------------------ codes and records

CODES = {
    "role": {1: "backup", 2: "maintain", 3: "full"},
    "method": {1: "password", 2: "key-file"},
    "node-kind": {0: "directory", 1: "file", 2: "symlink", 3: "fifo", 4: "socket", 5: "character-device",
                  6: "block-device"},
    "content": {0: "inline", 1: "list"},
    "database-outcome": {0: "checked", 1: "failed-check", 2: "stored-as-found", 3: "not-stored"},
    "dump-kind": {0: "command", 1: "postgres", 2: "postgres-globals", 3: "mysql", 4: "mysql-globals", 5: "redis"},
}
KINDS = {1: "chunk", 2: "list", 3: "leaf", 4: "inner"}      # kinds of blobs (ch. 5)
CLASSES = {1: "data", 2: "metadata"}
CLASS_OF_KIND = {1: 1, 2: 2, 3: 2, 4: 2}
ID_CONTEXTS = {1: "chunk ids", 2: "list ids", 3: "tree leaf ids", 4: "tree node ids"}

# Every record: its name, its form, and its fields in the order of their keys, from 0. "?" marks an optional one.
RECORDS = {}
for line in """
timestamp array: seconds i64, nanoseconds u32
extension array: code u32, value bytes
lock map: repository id, method choice method, salt bytes 32, commitment bytes 32
method-password array: memory_kib u32, passes u32, lanes u32
method-key-file array:
bundle map: role code role, write_secret bytes 32, metadata_public bytes, data_public bytes, maintain_public bytes 32, \
slot_secret bytes 32, certificate bytes 64, metadata_secret? bytes 32, maintain_secret? bytes 32, data_secret? bytes 32
config map: repository id, required_features array of text, optional_features array of text, chunker u32, \
file_chunks record chunk-sizes, dump_chunks record chunk-sizes, created record timestamp
chunk-sizes array: minimum u32, average u32, maximum u32
node map: kind code node-kind, mode u32, uid u32, gid u32, user bytes, group bytes, mtime record timestamp, \
ctime record timestamp, size u64, device u64, inode u64, links u64, link_target? bytes, device_number? u64, \
attributes? array of record attribute, content? choice content, holes? array of record hole, \
database? record database-state, extensions? array of record extension
attribute array: name bytes, value bytes
hole array: offset u64, length u64
database-state map: page_size u32, run_pages u32, fingerprint id, checked bool
content-inline array: chunks array of id
content-list array: root id, level u8
leaf-entry array: shared u32, suffix bytes, node record node
inner-node array: level u8, entries array of record inner-entry
inner-entry array: shared u32, suffix bytes, id id, nodes u64
signed-manifest map: manifest bytes, role code role, verifying_key bytes 32, certificate bytes 64, signature bytes 64
manifest map: time record timestamp, finished record timestamp, host text, job? text, tags array of text, \
paths array of bytes, root id, level u8, sequence u64, parent? id, excludes array of text, \
databases array of record database-report, service? record service-report, statistics record statistics, program text, \
extensions? array of record extension, original? record original, dumps? array of record dump-report
original map: snapshot id, writer bytes 32, sequence u64, made_from id, change code change
database-report map: place bytes, outcome code database-outcome, page_size u32, run_pages u32, pages u64, \
messages array of text
dump-report map: place bytes, kind code dump-kind, database? text, server? text, client? text, bytes u64, \
tables array of record table-rows, without_rows array of text, messages array of text
service-report map: name text, origins array of record origin, schema? text, tables array of record table-rows, \
files_proved u64, bytes_proved u64, damaged array of record damage, orphans array of bytes, deleted_meanwhile u64, \
being_uploaded u64, whole bool, release? text
origin map: setting text, value text, place bytes, host_path bytes
table-rows array: table text, rows u64
damage map: place bytes, expected u64, found? u64
statistics map: files_new u64, files_changed u64, files_unmodified u64, directories_new u64, directories_changed u64, \
directories_unmodified u64, others u64, bytes_processed u64, data_blobs u64, tree_blobs u64, data_added u64, \
data_added_packed u64, problems u64
forgotten map: snapshot id, time record timestamp, number? record used-number
used-number map: writer bytes 32, sequence u64, snapshot id, finished? record timestamp
signed map: record bytes, signature bytes 64
""".strip().splitlines():
    head, fields = line.split(":", 1)
    name, form = head.split()
    fields = [field.strip().split(" ", 1) for field in fields.split(",") if field.strip()]
    RECORDS[name] = form, [(field.rstrip("?"), kind, field.endswith("?")) for field, kind in fields]


class Reject(Exception):
    """An object, or what it says, is damaged or breaks a rule."""


class RoleError(Exception):
    """The key's role does not hold what the command needs."""


def need(condition, reason):
    if not condition:
        raise Reject(reason)


CBOR_TYPES = {"u8": int, "u16": int, "u32": int, "u64": int, "i64": int, "bool": bool, "text": str, "bytes": bytes,
              "id": bytes, "array": list, "code": int, "choice": list, "map": dict}
RANGES = {"u8": (0, 1 << 8), "u16": (0, 1 << 16), "u32": (0, 1 << 32), "u64": (0, 1 << 64),
          "i64": (-(1 << 63), 1 << 63)}


def convert(kind, value):
    """Compares a decoded CBOR value with a type of the tables (ch. 0); records become dictionaries by field name."""
    word, _, rest = kind.partition(" ")
    form, fields = RECORDS[rest] if word == "record" else (word, None)
    need(type(value) is CBOR_TYPES[form], f"{kind} expected, {type(value).__name__} found")
    if word in RANGES:
        need(RANGES[word][0] <= value < RANGES[word][1], f"{value} is no {kind}")
    elif word == "id" or word == "bytes" and rest:
        need(len(value) == int(rest or 32), f"{kind} expected, {len(value)} bytes found")
    elif word == "array":
        return [convert(rest.removeprefix("of "), item) for item in value]
    elif word == "code":
        need(value in CODES[rest], f"{value} is no code of {rest}")
        return CODES[rest][value]
    elif word == "choice":
        need(len(value) == 2, f"{kind} of {len(value)} items")
        code = convert("code " + rest, value[0])
        return code, convert(f"record {rest}-{code}", value[1])
    elif word == "record":
        if form == "array":
            need(len(value) == len(fields), f"record {rest} has {len(fields)} fields, {len(value)} found")
            value = dict(enumerate(value))
        need(all(type(key) is int and 0 <= key < len(fields) for key in value), f"record {rest} has an unknown key")
        record = {}
        for key, (field, field_kind, optional) in enumerate(fields):
            need(optional or key in value, f"record {rest} lacks {field}")
            if key in value:
                record[field] = convert(field_kind, value[key])
        need(rest != "timestamp" or record["nanoseconds"] < 1_000_000_000, "a timestamp has too many nanoseconds")
        return record
    return value


def no_tag(*_):
    raise ValueError("a tag")


NO_TAGS = dict.fromkeys((*range(2_000), 43_000, 55_799), no_tag)     # all that cbor2 would give a meaning to


def items(data):
    """How many items an encoding has: heads are counted, without building what they announce."""
    count = at = 0
    while at < len(data):
        major, argument, at = data[at] >> 5, data[at] & 31, at + 1
        if argument >= 24:
            need(argument < 28, "an item's head is not possible")
            length = 1 << argument - 24
            argument, at = int.from_bytes(data[at:at + length], "big"), at + length
        at, count = at + (argument if major in (2, 3) else 0), count + 1
    return count


def decode(kind, data):
    """Decodes one record that fills `data`, in deterministic encoding."""
    try:
        value = cbor2.loads(data, max_depth=8, allow_indefinite=False, allow_duplicate_keys=False,
                            semantic_decoders=NO_TAGS)
        result = convert(kind, value)
        canonical = cbor2.dumps(value, canonical=True) == data
    except Reject:
        raise
    except Exception as error:                      # whatever the decoder makes of hostile bytes
        raise Reject(f"{kind} is not valid CBOR: {error}") from None
    need(canonical, f"{kind} is not in deterministic encoding, or bytes follow it")
    return result


def escaped(data):
    """Bytes as printable ASCII; a backslash and all else as backslash, x and two hexadecimal digits."""
    return "".join(chr(byte) if 0x20 <= byte < 0x7F and byte != 0x5C else f"\\x{byte:02x}" for byte in data)


def to_json(kind, value):
    """For output: ids and bytes of fixed length in hexadecimal, other bytes escaped, codes by name."""
    word, _, rest = kind.partition(" ")
    if word == "id" or word == "bytes" and rest:
        return value.hex()
    if word == "bytes":
        return escaped(value)
    if word == "array":
        return [to_json(rest.removeprefix("of "), item) for item in value]
    if word == "choice":
        return {value[0]: to_json(f"record {rest}-{value[0]}", value[1])}
    if word == "record":
        return {field: to_json(kind, value[field]) for field, kind, _ in RECORDS[rest][1] if field in value}
    return value


# ------------------------------------------------------------------------------------------------ cryptography (ch. 3)

def derive(material, purpose):
    return blake3(material, derive_key_context=f"strongroom 2026-11 v1 {purpose}").digest()


def keyed_hash(key, data):
    return blake3(data, key=key).digest()


def header(kind):
    return b"strongrm" + kind + struct.pack("<HH", 1, 0)


def check_header(data, kind):
    need(len(data) >= 16 and data[:8] == b"strongrm", "no header")
    need(data[8:12] == kind, f"the header is of kind {escaped(data[8:12])}, not {kind.decode()}")
    version, reserved = struct.unpack_from("<HH", data, 12)
    need(version == 1, f"format version {version} is not known to this reader")
    need(reserved == 0, "reserved bytes of the header are not zero")


def unseal(purpose_key, sealed, associated, what):
    """Opens a sealed object: salt, ciphertext and tag."""
    need(len(sealed) >= SEAL, f"{what}: shorter than a seal")
    try:
        return ChaCha20Poly1305(keyed_hash(purpose_key, sealed[:32])).decrypt(NONCE, sealed[32:], associated)
    except InvalidTag:
        raise Reject(f"{what} does not open") from None


FIELD = (1 << 255) - 19
SMALL_ORDER = {0, 1, FIELD - 1} | {int.from_bytes(bytes.fromhex(y), "little") for y in (      # y of the eight points
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a")}


def verify(public, signature, context, *parts):
    """Ed25519, strictly: what OpenSSL checks, and that neither point is of small order nor encoded in another way."""
    for point in (public, signature[:32]):
        y = int.from_bytes(point, "little") & (1 << 255) - 1
        need(y < FIELD and y not in SMALL_ORDER, f"{context}: signature or key with a point that is not allowed")
    try:
        message = f"strongroom v1 {context}".encode() + b"\0" + b"".join(parts)
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        raise Reject(f"the signature of the {context} does not verify") from None


def ed25519_public(secret):
    return Ed25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()


def xwing_halves(seed):
    """X-Wing expands its seed with SHAKE-256 to ML-KEM's seed and X25519's secret key."""
    expanded = hashlib.shake_256(seed).digest(96)
    return MLKEM768PrivateKey.from_seed_bytes(expanded[:64]), X25519PrivateKey.from_private_bytes(expanded[64:])


def xwing_public(seed):
    return b"".join(half.public_key().public_bytes_raw() for half in xwing_halves(seed))


SUITE = hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.CHACHA20_POLY1305)

# ------------------------------------------------------------------------------------------------ blobs, packs, index


def decompress(payload, length):
    """One zstd frame without dictionary, of just `length` bytes, whatever the frame announces (ch. 5)."""
    try:
        need(payload[:4] == b"\x28\xb5\x2f\xfd", "no zstd frame")
        frame = zstandard.get_frame_parameters(payload)
        need(frame.content_size in (zstandard.CONTENTSIZE_UNKNOWN, length), "the zstd frame announces another length")
        need(frame.dict_id == 0, "the zstd frame needs a dictionary")
        need(frame.window_size <= 128 << 20, "the zstd frame has too large a window")
        plain = zstandard.ZstdDecompressor().decompress(payload, max_output_size=length, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise Reject(f"the zstd frame is damaged: {error}") from None
    need(len(plain) == length, "the zstd frame gives another length")
    return plain


def read_entries(data, pack_class, envelopes):
    """Entries of a pack, as (kind, id, offset, stored, plain, envelope), and where the last frame ends (ch. 6)."""
    entries, offset = [], 16
    for blob, kind, reserved, envelope, stored, plain in struct.iter_unpack("<32sBBHII", data):
        need(kind in KINDS and CLASS_OF_KIND[kind] == pack_class, "an entry of an unknown kind or another class")
        need(reserved == 0, "a reserved byte is not zero")
        need(envelope < len(envelopes), "an entry names an envelope that is not there")
        need(plain <= BLOB_PLAIN_MAX and 17 <= stored <= plain + 17, "an entry with a length that is not allowed")
        entries.append((kind, blob, offset, stored, plain, envelopes[envelope]))
        offset += stored
    return entries, offset


def check_node(path, node):
    """The rules for one node (ch. 8)."""
    need(node["mode"] <= 0o7777, "a mode above 0o7777")
    need(path or node["kind"] == "directory", "the root is no folder")
    need(("device" in node["kind"]) == ("device_number" in node), "a device without number, or a number without device")
    if node["kind"] == "file":
        need("content" in node, "a file without content")
        form, content = node["content"]
        if form == "inline":
            need(len(content["chunks"]) <= INLINE_CHUNKS_MAX, "too many inline chunks")
        else:
            need(content["level"] <= LEVEL_MAX, "a list of too high a level")
    else:
        need(not node.keys() & {"content", "holes", "database"} and node["size"] == 0, "file data in what is no file")
    need((node["kind"] == "symlink") == ("link_target" in node), "a link without target, or a target without link")
    if "holes" in node:
        need(1 <= len(node["holes"]) <= HOLES_MAX, "no holes, or too many")
        end = -1
        for hole in node["holes"]:
            need(hole["length"] > 0 and hole["offset"] > end, "a hole that is empty, overlaps or touches")
            end = hole["offset"] + hole["length"]
            need(end <= node["size"], "a hole that ends behind the file")
    if "attributes" in node:
        names = [attribute["name"] for attribute in node["attributes"]]
        need(names and all(a < b for a, b in zip(names, names[1:])), "no attributes, or names that do not rise")
        total = sum(len(attribute["name"]) + len(attribute["value"]) for attribute in node["attributes"])
        need(total <= ATTRIBUTES_MAX, "too many bytes of attributes")


def check_path(path):
    need(len(path) <= PATH_LENGTH_MAX, "a path that is too long")
    components = path.split(b"/") if path else []
    need(len(components) <= PATH_DEPTH_MAX, "a path that is too deep")
    for part in components:
        need(part not in (b"", b".", b"..") and b"\0" not in part and len(part) <= PATH_COMPONENT_MAX,
             f"a path that is not allowed: {escaped(path)}")


def order(path):
    """A key that sorts paths by component: `/` ranks below every other byte, and no path has a zero byte."""
    return path.replace(b"/", b"\0")


def expand_paths(entries):
    """The full paths of the entries of a leaf or inner node, checked (ch. 8)."""
    paths, before, total = [], None, 0
    for entry in entries:
        shared, suffix = entry["shared"], entry["suffix"]
        need(shared <= len(before or b""), "a path shares more than the one before has")
        total += shared + len(suffix)
        need(total <= PATHS_MAX, "the paths of a blob are too long in all")
        path = (before or b"")[:shared] + suffix
        check_path(path)
        if before is not None:
            need(not (suffix and shared < len(before) and before[shared] == suffix[0]), "a path that could share more")
            need(order(path) > order(before), "paths do not rise")
        paths.append(path)
        before = path
    return paths


def stretches(node):
    """Where the data of a file lies: (offset, length) of what is between its holes."""
    at = 0
    for hole in node.get("holes", []):
        if hole["offset"] > at:
            yield at, hole["offset"] - at
        at = hole["offset"] + hole["length"]
    if node["size"] > at:
        yield at, node["size"] - at


# ------------------------------------------------------------------------------------------------ the repository

# place: kind in the header, limit in bytes, purpose of the seal, whether the id is the hash of the object (ch. 3, 10)
PLACES = {
    "index": (b"indx", INDEX_MAX, "index", True),
    "snapshots": (b"snap", SNAPSHOT_MAX, "snapshots", False),
    "forgotten": (b"forg", SMALL_OBJECT_MAX, "forgotten marks", False),
}


class Repository:
    def __init__(self, path):
        self.path = Path(path)
        self.rejected = 0                           # how many things were reported
        self.index_names, self.places = None, {}    # where blobs lie, by kind and id
        self.read_block = functools.lru_cache(maxsize=64)(self.read_block)
        self.content_key = functools.lru_cache(maxsize=4096)(self.content_key)

    def report(self, what, reason):
        self.rejected += 1
        print(f"rejected: {what}: {reason}", file=sys.stderr)

    # ---- objects as files

    def list(self, place):
        """Ids of the objects at a place. Whatever else lies there is passed over."""
        folder = self.path / place
        names = [entry.name for entry in os.scandir(folder) if entry.is_file()] if folder.is_dir() else []
        return sorted(bytes.fromhex(name) for name in names if re.fullmatch("[0-9a-f]{64}", name))

    def read(self, place, limit):
        with open(self.path / place, "rb") as file:
            need(os.fstat(file.fileno()).st_size <= limit, f"more than {limit} bytes")
            return file.read(limit + 1)

    def pack_path(self, pack):
        return self.path / "packs" / pack.hex()[:2] / pack.hex()

    def read_block(self, pack, number):
        with open(self.pack_path(pack), "rb") as file:
            file.seek(number * BLOCK)
            return file.read(BLOCK)

    def associated(self, kind, name):
        return header(kind) + self.id + name

    def open_object(self, place, id):
        """The plaintext of an index object, snapshot or forgotten mark."""
        kind, limit, purpose, hashed = PLACES[place]
        data = self.read(f"{place}/{id.hex()}", limit)
        need(not hashed or blake3(data).digest() == id, "its hash is not its name")
        check_header(data, kind)
        return unseal(derive(self.secret, purpose), data[16:], self.associated(kind, NO_NAME if hashed else id), "it")

    # ---- config and key slots

    def open(self, password=None, key=None):
        """Opens the first key slot that fits, then checks `config` (ch. 3, 10)."""
        config = self.read("config", SMALL_OBJECT_MAX)
        try:
            check_header(config, b"conf")
            need(len(config) >= 52, "too short")
            length = struct.unpack_from("<I", config, 16)[0]
            need(length == len(config) - 52, "its lengths do not fit")
            record = decode("record config", config[20:20 + length])
            self.id = record["repository"]
            self.open_slot(password, key)
            mac = keyed_hash(derive(self.secret, "config mac"), config[:-32])
            need(hmac.compare_digest(mac, config[-32:]), "its MAC does not fit")
            for feature in record["required_features"]:
                raise Reject(f"required feature {feature!r} is not known to this reader")
            need(record["chunker"] == 1, f"chunker {record['chunker']} is not known to this reader")
            for sizes in record["file_chunks"], record["dump_chunks"]:
                low, average, high = sizes["minimum"], sizes["average"], sizes["maximum"]
                need(64 <= low <= average <= high <= BLOB_PLAIN_MAX and average & (average - 1) == 0
                     and (low | average | high) % 2 == 0, "chunk sizes that are not allowed")
        except Reject as error:
            raise Reject(f"config: {error}") from None

    def read_slot(self, id):
        """The parts of a slot: its bytes, its lock, and where its sealed bundle starts."""
        data = self.read(f"keys/{id.hex()}", SMALL_OBJECT_MAX)
        need(blake3(data).digest() == id, "its hash is not its name")
        check_header(data, b"keys")
        parts, at = [], 16
        for _ in range(2):
            need(len(data) - at >= 4, "its lengths lead outside it")
            length = struct.unpack_from("<I", data, at)[0]
            need(length <= len(data) - at - 4, "its lengths lead outside it")
            parts.append(data[at + 4:at + 4 + length])
            at += 4 + length
        lock = decode("record lock", parts[0])
        method, cost = lock["method"]
        if method == "password":
            need(8 * cost["lanes"] <= cost["memory_kib"] <= ARGON2_MEMORY_MAX_KIB
                 and 1 <= cost["passes"] <= ARGON2_PASSES_MAX and 1 <= cost["lanes"] <= ARGON2_LANES_MAX,
                 "Argon2id parameters out of range")
        return data, lock, at

    def open_slot(self, password, key):
        unusable, slots = [], self.list("keys")
        looked_at = []
        for id in slots[:KEY_SLOTS_MAX]:
            try:
                slot = self.read_slot(id)
                cost = slot[1]["method"][1]
                looked_at.append((cost.get("memory_kib", 0) * cost.get("passes", 0), id, slot))
            except (Reject, OSError) as error:
                unusable.append(f"keys/{id.hex()}: {error}")
        for _, id, (data, lock, bundle_at) in sorted(looked_at, key=lambda slot: slot[:2]):
            try:
                method, cost = lock["method"]
                need(lock["repository"] == self.id, "it belongs to another repository")
                if method != ("password" if key is None else "key-file"):
                    continue
                holder_key = key
                if method == "password":
                    holder_key = argon2.low_level.hash_secret_raw(
                        password, lock["salt"], time_cost=cost["passes"], memory_cost=cost["memory_kib"],
                        parallelism=cost["lanes"], hash_len=32, type=argon2.Type.ID, version=0x13)
                commitment = derive(holder_key + lock["salt"], "slot commitment")
                if not hmac.compare_digest(commitment, lock["commitment"]):
                    continue
                wrap_key = derive(holder_key + lock["salt"], "slot wrap")
                self.use(decode("record bundle", unseal(wrap_key, data[bundle_at:], data[:bundle_at], "its bundle")))
                return
            except (Reject, OSError, MemoryError, argon2.exceptions.Argon2Error) as error:
                unusable.append(f"keys/{id.hex()}: {error}")
        unusable += [f"keys/{id.hex()}: not looked at" for id in slots[KEY_SLOTS_MAX:]]
        summary = f"no key slot opens with this password or key file; {len(unusable)} of {len(slots)} could not be used"
        raise Reject("; ".join([summary, *unusable]))

    def use(self, bundle):
        need(len(bundle["metadata_public"]) == len(bundle["data_public"]) == 1216, "a public key of another length")
        optional = ["metadata_secret", "maintain_secret", "data_secret"]
        count = {"backup": 0, "maintain": 2, "full": 3}[bundle["role"]]
        need([field for field in optional if field in bundle] == optional[:count],
             "its bundle does not hold just the secret keys of its role")
        self.role, self.secret, self.maintain_public = bundle["role"], bundle["write_secret"], bundle["maintain_public"]
        self.verify_certificate(self.role, ed25519_public(bundle["slot_secret"]), bundle["certificate"])
        for name in CLASSES.values():
            need(name + "_secret" not in bundle or xwing_public(bundle[name + "_secret"]) == bundle[name + "_public"],
                 f"its secret key of class {name} does not fit the public one")
        need("maintain_secret" not in bundle or self.maintain_public == ed25519_public(bundle["maintain_secret"]),
             "its secret maintain key does not fit the public one")
        self.id_keys = {kind: derive(self.secret, context) for kind, context in ID_CONTEXTS.items()}
        self.class_keys = {code: hpke.MLKEM768X25519PrivateKey(*xwing_halves(bundle[name + "_secret"]))
                           for code, name in CLASSES.items() if name + "_secret" in bundle}

    def require(self, *classes):
        for code in classes:
            if code not in self.class_keys:
                raise RoleError(f"the key has role {self.role}, which cannot open {CLASSES[code]}; "
                                f"this needs role {'maintain or full' if code == 2 else 'full'}")

    def verify_certificate(self, role, public, certificate):
        code = next(code for code, name in CODES["role"].items() if name == role)
        verify(self.maintain_public, certificate, "slot certificate", self.id, bytes([code]), public)

    # ---- snapshots (ch. 9) and marks (ch. 11)

    def snapshot(self, id):
        signed = decode("record signed-manifest", self.open_object("snapshots", id))
        self.verify_certificate(signed["role"], signed["verifying_key"], signed["certificate"])
        verify(signed["verifying_key"], signed["signature"], "snapshot manifest", self.id, id, signed["manifest"])
        need(items(signed["manifest"]) <= SNAPSHOT_ITEMS_MAX, "a manifest of too many items")
        manifest = decode("record manifest", signed["manifest"])
        tags = [tag.encode() for tag in manifest["tags"]]
        need(all(a < b for a, b in zip(tags, tags[1:])), "tags do not rise")
        need(manifest["level"] <= LEVEL_MAX, "a tree of too high a level")
        texts = [manifest["host"], manifest.get("job", ""), manifest["program"], *manifest["tags"]]
        need(all(len(text.encode()) <= TEXT_MAX for text in texts), "a text that is too long")
        return manifest

    def forgotten(self, id):
        signed = decode("record signed", self.open_object("forgotten", id))
        verify(self.maintain_public, signed["signature"], "forgotten mark", self.id, id, signed["record"])
        need(decode("record forgotten", signed["record"])["snapshot"] == id, "it names another snapshot")

    def each(self, place, read):
        """Reads all objects of a place. What is rejected is reported and passed over, what vanished only the latter."""
        found = {}
        for id in self.list(place):
            try:
                found[id] = read(id)
            except FileNotFoundError:
                if place == "forgotten":            # these are never deleted
                    raise
            except Reject as error:
                self.report(f"{place}/{id.hex()}", error)
        return found

    def snapshots(self):
        found = self.each("snapshots", self.snapshot)
        forgotten = self.each("forgotten", self.forgotten)
        return {id: manifest for id, manifest in found.items() if id not in forgotten}

    def find_snapshot(self, prefix):
        need(re.fullmatch("[0-9a-f]{4,64}", prefix), "a snapshot is named by 4 to 64 lower-case hexadecimal digits")
        found = [(id, manifest) for id, manifest in self.snapshots().items() if id.hex().startswith(prefix)]
        need(found, f"there is no snapshot {prefix}")
        need(len(found) == 1, f"{prefix} fits more than one snapshot")
        return found[0]

    # ---- the index (ch. 7, 11)

    def load_index(self):
        """Reads the whole index anew. False if the list of index objects is the one that was read before."""
        for _ in range(10):
            names = self.list("index")
            if names == self.index_names:
                return False
            self.places = {}
            try:
                for id in names:
                    self.load_index_object(id)
            except FileNotFoundError:
                continue                            # something was moved meanwhile
            self.index_names = names
            return True
        raise Reject("index objects keep vanishing")

    def load_index_object(self, id):
        try:
            packs = self.parse_index(self.open_object("index", id))
        except Reject as error:
            return self.report(f"index/{id.hex()}", error)
        for pack, entries in packs:
            for kind, blob, *place in entries:
                self.places.setdefault((kind, blob), []).append((pack, *place))

    def parse_index(self, plain):
        need(len(plain) >= 8, "shorter than its head")
        envelope_count, pack_count = struct.unpack_from("<II", plain)
        at, packs = 8 + ENVELOPE * envelope_count, []
        need(envelope_count <= ENVELOPES_MAX and at <= len(plain), "more envelopes than are allowed or there")
        envelopes = [plain[start:start + ENVELOPE] for start in range(8, at, ENVELOPE)]
        for _ in range(pack_count):
            need(len(plain) - at >= 48, "more packs than the object holds")
            pack, size, pack_class, reserved, count = struct.unpack_from("<32sQB3sI", plain, at)
            need(pack_class in CLASSES, "a class that is not listed")
            need(not any(reserved), "a reserved byte is not zero")
            start, at = at + 48, at + 48 + ENTRY * count
            need(at <= len(plain), "more entries than the object holds")
            entries, end = read_entries(plain[start:at], pack_class, envelopes)
            need(end <= size <= PACK_MAX, "a pack of a size that is not allowed")
            packs.append((pack, entries))
        need(not any(plain[at:]), "padding that is not zero")
        return packs

    # ---- blobs (ch. 5)

    def content_key(self, envelope, class_code):
        info = b"strongroom v1 content key\0" + self.id + bytes([class_code])
        try:
            key = SUITE.decrypt(envelope, self.class_keys[class_code], info)
        except (InvalidTag, ValueError):
            raise Reject("its envelope does not open") from None
        need(len(key) == 32, "its envelope holds no key")
        return key

    def open_frame(self, frame, kind, blob, plain_length, envelope):
        code = CLASS_OF_KIND[kind]
        key = keyed_hash(self.content_key(envelope, code), bytes([kind]) + blob)
        associated = struct.pack("<H32sBB32sI", 1, self.id, code, kind, blob, plain_length)
        try:
            opened = ChaCha20Poly1305(key).decrypt(NONCE, frame, associated)
        except InvalidTag:
            raise Reject("its frame does not open") from None
        encoding, payload = opened[0], opened[1:]
        need(encoding in (0, 1), f"encoding {encoding} is not known")
        plain = payload if encoding == 0 else decompress(payload, plain_length)
        need(len(plain) == plain_length, "it is of another length")
        need(keyed_hash(self.id_keys[kind], plain) == blob, "its plaintext has another id")
        return plain

    def blob(self, kind, blob):
        """The plaintext of a blob: every place is tried, then the index is read anew while it changes (ch. 11)."""
        while True:
            reasons = []
            for pack, offset, stored, plain, envelope in self.places.get((kind, blob), []):
                try:
                    first, last = offset // BLOCK, (offset + stored - 1) // BLOCK
                    blocks = b"".join(self.read_block(pack, number) for number in range(first, last + 1))
                    frame = blocks[offset - first * BLOCK:][:stored]
                    need(len(frame) == stored, "the pack is cut short")
                    return self.open_frame(frame, kind, blob, plain, envelope)
                except (Reject, OSError) as error:
                    reasons.append(f"in pack {pack.hex()}: {error}")
            if not self.load_index():
                raise Reject(f"{KINDS[kind]} {blob.hex()}: {'; '.join(reasons) or 'no index object names it'}")

    # ---- trees and lists (ch. 8)

    def walk(self, manifest):
        """All (path, node) of a tree in order."""
        before, folders = None, []                  # the path before; the folders that the walk is in
        if self.index_names is None:                # after the snapshot was read: what it needs is in the index by now
            self.load_index()

        def visit(blob, level, first=None, nodes=None):
            nonlocal before
            try:
                plain = self.blob(4 if level else 3, blob)
                value = decode("record inner-node" if level else "array of record leaf-entry", plain)
                entries = value["entries"] if level else value
                need(not level or value["level"] == level, "its level is not the one that its parent says")
                paths = expand_paths(entries)
                need(paths or not level and first is None, "it is empty")
                need(first is None or paths[0] == first, "it does not start with the path that its parent names")
                found = sum(entry["nodes"] for entry in entries) if level else len(entries)
                need(nodes is None or nodes == found, "it has not as many nodes as its parent says")
                need(level or not paths or before is None or order(before) < order(paths[0]), "paths do not rise")
                for path, entry in zip(paths, entries) if not level else ():
                    check_node(path, entry["node"])
                    while folders and not path.startswith(folders[-1] + b"/"):
                        folders.pop()
                    above = path.rpartition(b"/")[0]
                    need(not above or folders[-1:] == [above], f"{escaped(path)} lies in no folder")
                    if path and entry["node"]["kind"] == "directory":
                        folders.append(path)
            except Reject as error:
                raise Reject(f"tree blob {blob.hex()} of level {level}: {error}") from None
            if level == 0:
                before = paths[-1] if paths else None
                yield from ((path, entry["node"]) for path, entry in zip(paths, entries))
            for path, entry in zip(paths, entries) if level else ():
                yield from visit(entry["id"], level - 1, path, entry["nodes"])

        yield from visit(manifest["root"], manifest["level"])

    def chunks(self, node):
        """The plaintexts of a file's chunks in order."""
        form, content = node["content"]
        lists = 0

        def chunk(id):
            plain = self.blob(1, id)
            need(plain, f"chunk {id.hex()} is empty")
            return plain

        def visit(blob, level, length=None):
            nonlocal lists
            lists, found = lists + 1, 0
            need(lists <= LISTS_MAX, "too many lists")
            plain = self.blob(2, blob)
            width = 40 if level else 32
            need(plain and plain[0] == level, f"list {blob.hex()}: its level is not the one that its parent says")
            need(1 <= (len(plain) - 1) // width <= LIST_MAX and (len(plain) - 1) % width == 0,
                 f"list {blob.hex()}: no entries, too many, or bytes left over")
            for at in range(1, len(plain), width):
                if level:
                    below = int.from_bytes(plain[at + 32:at + 40], "little")
                    yield from visit(plain[at:at + 32], level - 1, below)
                else:
                    data = chunk(plain[at:at + 32])
                    below = len(data)
                    yield data
                found += below
            need(length in (None, found), f"list {blob.hex()} is not as long as the list above says")

        yield from map(chunk, content["chunks"]) if form == "inline" else visit(content["root"], content["level"])

    def data(self, node):
        """The data of a file as pieces (offset, bytes), which fill the stretches between its holes exactly."""
        rooms = stretches(node)
        at, room = next(rooms, (0, 0))
        for data in self.chunks(node):
            while data:
                need(room, "its data is longer than its size")
                piece, data = data[:room], data[room:]
                yield at, piece
                at, room = at + len(piece), room - len(piece)
                if not room:
                    at, room = next(rooms, (0, 0))
        need(not room, "its data is shorter than its size")


# ------------------------------------------------------------------------------------------------ commands


def when(timestamp):
    try:
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(timestamp["seconds"]))
    except (OverflowError, ValueError, OSError):
        return f"{timestamp['seconds']}s"


def print_snapshots(repository, as_json):
    found = repository.snapshots()
    for id, manifest in sorted(found.items(), key=lambda item: (*item[1]["time"].values(), item[0])):
        if as_json:
            print(json.dumps({"id": id.hex(), **to_json("record manifest", manifest)}))
        else:
            texts = [escaped(text.encode()) for text in (manifest["host"], *manifest["tags"])]
            print(id.hex(), when(manifest["time"]), *texts, *map(escaped, manifest["paths"]))


def print_tree(repository, snapshot, as_json):
    repository.require(2)
    for path, node in repository.walk(repository.find_snapshot(snapshot)[1]):
        if as_json:
            print(json.dumps({"path": escaped(path), **to_json("record node", node)}))
        else:
            print(node["kind"], f"{node['mode']:04o}", node["size"], escaped(path) or "/")


class Extractor:
    """Writes the tree of a snapshot into a folder. No link below that folder is ever followed (ch. 8)."""

    def __init__(self, repository, target):
        self.repository, self.links, self.folders = repository, {}, []
        os.makedirs(target, exist_ok=True)
        need(not os.listdir(target), f"{target} is not empty")
        self.target = os.open(target, os.O_RDONLY | os.O_DIRECTORY)
        self.parent = b"", os.dup(self.target)

    def open_parent(self, path):
        """A descriptor of the folder above `path`, and the last component."""
        above, _, name = path.rpartition(b"/")
        if self.parent[0] != above:
            folder = os.dup(self.target)
            for part in above.split(b"/") if above else ():
                below = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
                os.close(folder)
                folder = below
            os.close(self.parent[1])
            self.parent = above, folder
        return self.parent[1], name

    def run(self, manifest):
        report = self.repository.report
        try:
            for path, node in self.repository.walk(manifest):
                try:
                    self.restore(path, node)
                except (Reject, OSError, ValueError, OverflowError) as error:
                    report(escaped(path), error)
        except Reject as error:
            report("snapshot", error)
        for path, node in reversed(self.folders):
            try:
                parent, name = self.open_parent(path) if path else (self.target, b".")
                self.set_attributes(parent, name, path, node)
            except OSError as error:
                report(escaped(path), error)

    def restore(self, path, node):
        kind = node["kind"]
        if path == b"":
            return self.folders.append((path, node))
        parent, name = self.open_parent(path)
        if kind == "directory":
            os.mkdir(name, 0o700, dir_fd=parent)
            return self.folders.append((path, node))
        inode = (node["device"], node["inode"], kind)
        if node["links"] > 1 and inode in self.links:
            first, first_name = self.open_parent(self.links[inode])
            source = os.dup(first)                  # opening the other folder closes this one
            try:
                parent, name = self.open_parent(path)
                return os.link(first_name, name, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)
            finally:
                os.close(source)
        if kind == "file":
            self.write_file(parent, name, node)
        elif kind == "symlink":
            os.symlink(node["link_target"], name, dir_fd=parent)
        else:
            types = {"fifo": stat.S_IFIFO, "socket": stat.S_IFSOCK, "character-device": stat.S_IFCHR,
                     "block-device": stat.S_IFBLK}
            number = node.get("device_number", 0)
            os.mknod(name, types[kind] | 0o600, os.makedev(number >> 32, number & 0xFFFF_FFFF), dir_fd=parent)
        if node["links"] > 1:
            self.links[inode] = path
        self.set_attributes(parent, name, path, node)

    def write_file(self, parent, name, node):
        file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=parent)
        try:
            os.ftruncate(file, node["size"])        # all hole at first
            for offset, piece in self.repository.data(node):
                while piece:
                    written = os.pwrite(file, piece, offset)
                    piece, offset = piece[written:], offset + written
        except BaseException:
            os.unlink(name, dir_fd=parent)          # a damaged file is reported and not left behind
            raise
        finally:
            os.close(file)

    def set_attributes(self, parent, name, path, node):
        """Owner, extended attributes, mode and time, in that order. What the system refuses is only told."""
        def attempt(what, function, *arguments, **options):
            try:
                function(*arguments, **options)
            except (OSError, ValueError, OverflowError) as error:
                print(f"warning: {escaped(path)}: {what} not restored: {error}", file=sys.stderr)

        if os.geteuid() == 0:
            attempt("owner", os.chown, name, node["uid"], node["gid"], dir_fd=parent, follow_symlinks=False)
        for attribute in node.get("attributes", ()):
            place = b"/proc/self/fd/%d/%s" % (parent, name)
            name_of_it = attribute["name"]
            attempt(f"attribute {escaped(name_of_it)}", os.setxattr, place, name_of_it, attribute["value"],
                    follow_symlinks=False)
        if node["kind"] != "symlink":
            found = os.stat(name, dir_fd=parent, follow_symlinks=False)
            owned = (found.st_uid, found.st_gid) == (node["uid"], node["gid"])      # else no set-id bits
            attempt("mode", os.chmod, name, node["mode"] & (0o7777 if owned else 0o1777), dir_fd=parent)
        changed = node["mtime"]["seconds"] * 1_000_000_000 + node["mtime"]["nanoseconds"]
        attempt("time", os.utime, name, ns=(changed, changed), dir_fd=parent, follow_symlinks=False)


def extract(repository, snapshot, target):
    repository.require(2, 1)
    Extractor(repository, target).run(repository.find_snapshot(snapshot)[1])


def read_key_file(path):
    text = Path(path).read_bytes()
    for line in map(bytes.strip, text.split(b"\n")):
        if line.startswith(b"STRONGROOM-KEY-1-"):
            match = re.fullmatch(b"STRONGROOM-KEY-1-([0-9a-f]{64})-([0-9a-f]{8})", line)
            need(match, "key file: its line is damaged")
            key = bytes.fromhex(match[1].decode())
            need(blake3(key).hexdigest()[:8].encode() == match[2], "key file: its last digits do not fit")
            return key
    raise Reject("key file: it holds no key")


def read_password(path):
    password = Path(path).read_bytes().split(b"\n")[0].removesuffix(b"\r")
    need(1 <= len(password) <= PASSWORD_MAX, "the password is empty or too long")
    return password


def main():
    parser = argparse.ArgumentParser(description="Reads a Strongroom repository.")
    parser.add_argument("repository")
    key = parser.add_mutually_exclusive_group(required=True)
    key.add_argument("--password-file")
    key.add_argument("--key-file")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, arguments in {"snapshots": "", "ls": "snapshot", "extract": "snapshot target"}.items():
        command = commands.add_parser(name)
        for argument in arguments.split():
            command.add_argument(argument)
        if name in ("snapshots", "ls"):
            command.add_argument("--json", action="store_true", help="one JSON object a line")
    options = parser.parse_args()
    repository = Repository(options.repository)
    try:
        if options.key_file:
            repository.open(key=read_key_file(options.key_file))
        else:
            repository.open(password=read_password(options.password_file))
        match options.command:
            case "snapshots": print_snapshots(repository, options.json)
            case "ls": print_tree(repository, options.snapshot, options.json)
            case "extract": extract(repository, options.snapshot, options.target)
    except RoleError as error:
        print(f"not allowed: {error}", file=sys.stderr)
        return 12
    except (Reject, OSError) as error:
        repository.report(options.repository, error)
    return 1 if repository.rejected else 0


if __name__ == "__main__":
    sys.exit(main())
