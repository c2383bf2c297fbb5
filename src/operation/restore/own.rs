//! What a restore works with itself, and must not remove: the repository, the key, the cache, the program.
//!
//! Invariant: a thing is known by what it is, so that neither a link nor a second mount hides it.

use std::collections::HashMap;
use std::fs::Metadata;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::error::{Error, Result};
use crate::operation::needed::{Needed, around};
use crate::report::printable;

/// What each device and inode number stands for.
pub type Identities = HashMap<(u64, u64), &'static str>;

/// What these things are, with the symbolic links that lead to them.
pub fn identities(own: &[Needed]) -> Identities {
    let mut found = Identities::new();
    let identity = |metadata: &Metadata| (metadata.dev(), metadata.ino());
    for own in own {
        let Ok(path) = std::path::absolute(&own.path) else { continue };
        found.extend(path.metadata().map(|metadata| (identity(&metadata), own.what)));
        for step in path.ancestors() {
            let link = step.symlink_metadata().ok().filter(Metadata::is_symlink);
            found.extend(link.map(|metadata| (identity(&metadata), own.what)));
        }
    }
    found
}

/// Refuses to clean in a folder that lies in something in use.
///
/// # Errors
/// `Refused` where it does.
pub fn refuse_within(own: &[Needed], folder: &Path) -> Result<()> {
    let Some(own) = around(folder, own) else { return Ok(()) };
    let folder = printable(folder.as_os_str().as_bytes());
    Err(Error::refused(format!("{folder} lies in the {}, which this restore needs", own.what))
        .hint("name another folder, or leave --delete out"))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::source::sqlite::Scratch;

    #[test]
    fn what_is_in_use_is_known_by_any_name() {
        let scratch = Scratch::create(&std::env::temp_dir()).unwrap();
        let at = |below: &str| scratch.path().join(below);
        fs::create_dir_all(at("disk/repo/packs")).unwrap();
        symlink(at("disk"), at("link")).unwrap();
        let own = [Needed { what: "repository", path: at("link/repo") }];
        let identity = |metadata: Metadata| (metadata.dev(), metadata.ino());
        let found = identities(&own);
        for path in ["disk/repo", "link"] {
            assert!(found.contains_key(&identity(at(path).symlink_metadata().unwrap())), "{path}");
        }
        assert!(!found.contains_key(&identity(at("disk").metadata().unwrap())));
        assert!(refuse_within(&own, &at("disk/repo/packs")).is_err());
        assert!(refuse_within(&own, &at("disk/repo")).is_err());
        assert!(refuse_within(&own, &at("disk")).is_ok());
        assert!(refuse_within(&own, &at("nowhere")).is_ok());
    }
}
