//! What shows that a folder is a data folder, and which names in it are ours.

use std::ffi::OsStr;
use std::path::Path;

use super::finder::DATABASE_PLACE;

/// The beginning of the name of a folder in which a restore keeps what was there before it, inside a data folder.
pub const ASIDE: &str = ".before-restore-";

/// The folder in which a restore gathers what it is about to put in place.
pub const RESTORING: &str = ".strongroom-restoring";

/// In there, the note of a restore whose steps have begun, or are about to.
pub const RESTORING_NOTE: &str = "state";

/// Parts that nobody else names like this.
const TELLING: [&str; 5] = [DATABASE_PLACE, "rsa_key.pem", "rsa_key.der", "icon_cache", "config.json"];

/// Parts that are Vaultwarden's where they lie together.
const TOGETHER: [&str; 2] = ["attachments", "sends"];

/// Whether a folder that holds these names is a data folder, as far as names can tell.
pub fn looks_like_one<N: AsRef<OsStr>>(names: &[N]) -> bool {
    let has = |wanted: &&str| names.iter().any(|name| name.as_ref() == *wanted);
    TELLING.iter().any(has) || TOGETHER.iter().all(has)
}

/// Whether a restore into a folder was stopped where it may hold parts of two states.
pub fn is_half_restored(data_folder: &Path) -> bool {
    data_folder.join(RESTORING).join(RESTORING_NOTE).symlink_metadata().is_ok()
}

/// Whether a name in a data folder is that of something a restore made, and none of Vaultwarden's.
pub fn is_ours(name: &[u8]) -> bool {
    name.starts_with(ASIDE.as_bytes()) || name == RESTORING.as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_folder_is_known_by_its_parts() {
        for (names, expected) in [
            (&["db.sqlite3"][..], true),
            (&["rsa_key.pem", "x"], true),
            (&["attachments", "sends"], true),
            (&["attachments"], false),
            (&["bin", "etc", "home"], false),
            (&[], false),
        ] {
            assert_eq!(looks_like_one(names), expected, "{names:?}");
        }
        assert!(is_ours(b".before-restore-2026-11-21T190500Z") && is_ours(b".strongroom-restoring"));
        assert!(!is_ours(b".env") && !is_ours(b"db.sqlite3"));
    }
}
