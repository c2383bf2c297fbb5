//! Classes of failure, and how the program says each of them.

use strongroom::error::{Error, ErrorKind};

/// How the program tells a failure of a class: which kind of error, and words of its messages. Several classes
/// share one message where the program finds them by one rule.
const CLASSES: &[(&str, ErrorKind, &[&str])] = {
    use ErrorKind::{Corrupt, Unsupported, WrongKey};
    const DETERMINISTIC: &str = "its encoding is not the deterministic one";
    const LENGTHS: &str = "names a blob of a length that is not possible";
    const NODE: &str = "a node's fields are out of range or do not fit its kind";
    const MANIFEST: &str = "snapshot manifest: a field is out of range";
    &[
        (
            "truncated",
            Corrupt,
            &[
                "it ends too early",
                "it ends within its header",
                "it is too short",
                "end of input",
                "announces more",
            ],
        ),
        ("trailing", Corrupt, &["bytes too many"]),
        ("bad-magic", Corrupt, &["does not start as a Strongroom object does"]),
        ("wrong-kind", Corrupt, &["another kind of object lies under this name"]),
        ("unknown-version", Unsupported, &["format version"]),
        ("unknown-feature", Unsupported, &["requires the feature", "names chunker"]),
        ("reserved", Corrupt, &["a reserved field is not zero"]),
        ("not-canonical", Corrupt, &[DETERMINISTIC, "unexpected type"]),
        ("unknown-key", Corrupt, &[DETERMINISTIC]),
        (
            "malformed",
            Corrupt,
            &[
                DETERMINISTIC,
                "unexpected type",
                "missing value",
                "invalid utf-8",
                "an id has 32 bytes",
                "array length",
                "slice",
                "overflow",
                "out of range",
            ],
        ),
        (
            "unknown-code",
            Corrupt,
            &[DETERMINISTIC, "unknown enum variant", "does not exist", "encoding or length is not possible"],
        ),
        (
            "over-limit",
            Corrupt,
            &[
                LENGTHS,
                NODE,
                MANIFEST,
                "Argon2id parameters are out of range",
                "text is too long",
                "announces more envelopes",
                "a pack is too small for what it holds",
                "no entries, or too many",
                "an impossible number of holes",
                "the paths of a blob are too long",
                "is too high",
            ],
        ),
        (
            "out-of-range",
            Corrupt,
            &[
                LENGTHS,
                NODE,
                MANIFEST,
                "a time has as many nanoseconds",
                "names an envelope that it does not have",
                "its trailer points outside",
                "no entries, or too many",
                "it has no children",
                "chunk sizes are not usable",
                "holes lie outside its file",
                "an impossible number of holes",
                "attributes are out of order or too many",
            ],
        ),
        (
            "out-of-order",
            Corrupt,
            &["do not rise", MANIFEST, "not apart from each other", "attributes are out of order"],
        ),
        (
            "does-not-fit",
            Corrupt,
            &[
                NODE,
                "its keys do not fit its role",
                "of another class than its pack's",
                "do not fit together",
                "a pack is too small for what it holds",
                "names another snapshot",
            ],
        ),
        (
            "wrong-length",
            Corrupt,
            &["encoding or length is not possible", "is not of its length", "a chunk is empty"],
        ),
        (
            "wrong-hash",
            Corrupt,
            &[
                "its bytes are not the ones its name says",
                "not the ones its id names",
                "not the ones that its table was made for",
            ],
        ),
        ("wrong-mac", Corrupt, &["its MAC does not fit"]),
        ("wrong-key", Corrupt, &["the commitment is to another key"]),
        ("wrong-repository", Corrupt, &["it belongs to another repository"]),
        ("does-not-open", Corrupt, &["it does not open", "a content key does not open"]),
        ("bad-signature", Corrupt, &["a signature is not valid"]),
        ("bad-path", Corrupt, &["not a path of a snapshot"]),
        ("bad-sharing", Corrupt, &["shares more than there is", "not shortened as far as it can be"]),
        ("wrong-count", Corrupt, &["as many nodes as its parent says", "as long as the list above it says"]),
        ("no-folder", Corrupt, &["lies in no folder that comes before it"]),
        ("wrong-level", Corrupt, &["not of the level that its parent says"]),
        ("wrong-start", Corrupt, &["does not start where its parent says"]),
        (
            "bad-compression",
            Corrupt,
            &["not one zstd frame", "its compressed form is damaged", "length is not the one its seal names"],
        ),
        ("bad-name", Corrupt, &["not the text form of an id"]),
        ("bad-key-file", WrongKey, &["this is not a Strongroom key file"]),
    ]
};

/// The names of all classes.
pub(crate) fn names() -> Vec<&'static str> {
    CLASSES.iter().map(|(name, ..)| *name).collect()
}

/// Says why an error is not one of a class, or nothing if it is.
pub(crate) fn differs(class: &str, error: &Error) -> Option<String> {
    let Some((_, kind, words)) = CLASSES.iter().find(|(name, ..)| *name == class) else {
        return Some(format!("there is no class {class}"));
    };
    let chain = error.chain();
    if error.kind() == *kind && words.iter().any(|words| chain.contains(words)) {
        return None;
    }
    Some(format!("{:?} ({chain}) is not {class}", error.kind()))
}
