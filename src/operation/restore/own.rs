//! What a restore works with itself, and must neither remove nor replace: the repository, the key, the cache, the program.
//!
//! Invariant: a thing is known by what it is, so that neither a link nor a second mount hides it.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::Metadata;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::operation::needed::{Needed, around};
use crate::report::printable;

/// What each device and inode number stands for.
pub type Identities = HashMap<(u64, u64), &'static str>;

/// Most links that are followed on the way to one thing: as many as the system does.
const LINKS_MAX: usize = 40;

/// What these things are, with the symbolic links that lead to them.
pub fn identities(own: &[Needed]) -> Identities {
    let mut found = Identities::new();
    for own in own {
        let Ok(path) = std::path::absolute(&own.path) else { continue };
        found.extend(path.metadata().map(|metadata| (identity(&metadata), own.what)));
        found.extend(links_on_the_way(&path).into_iter().map(|link| (link, own.what)));
    }
    found
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// Every symbolic link that the system follows to reach a path, those in the targets of links included.
fn links_on_the_way(path: &Path) -> Vec<(u64, u64)> {
    let mut links = Vec::new();
    let mut here = PathBuf::new();
    let mut rest: Vec<OsString> = path.components().rev().map(|part| part.as_os_str().to_owned()).collect();
    while let Some(name) = rest.pop() {
        if name == ".." {
            here.pop();
            continue;
        }
        // An absolute target begins anew.
        here.push(name);
        let link = here.symlink_metadata().ok().filter(Metadata::is_symlink);
        let Some((link, target)) = link.and_then(|link| Some((link, here.read_link().ok()?))) else {
            continue;
        };
        if links.len() == LINKS_MAX {
            break;
        }
        links.push(identity(&link));
        here.pop();
        rest.extend(target.components().rev().map(|part| part.as_os_str().to_owned()));
    }
    links
}

/// Refuses to change what is there in a folder that lies in something in use.
///
/// # Errors
/// `Refused` where it does.
pub fn refuse_within(own: &[Needed], folder: &Path) -> Result<()> {
    let Some(own) = around(folder, own) else { return Ok(()) };
    let folder = printable(folder.as_os_str().as_bytes());
    Err(Error::refused(format!("{folder} lies in the {}, which this restore needs", own.what))
        .hint("name another folder"))
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
        fs::create_dir(at("links")).unwrap();
        symlink("../disk", at("links/second")).unwrap();
        symlink("links/./second", at("first")).unwrap();
        symlink("loop", at("loop")).unwrap();
        let own = ["link/repo", "first/repo", "loop/repo"];
        let own = own.map(|path| Needed { what: "repository", path: at(path) });
        let identity = |metadata: Metadata| (metadata.dev(), metadata.ino());
        let found = identities(&own);
        for path in ["disk/repo", "link", "first", "links/second"] {
            assert!(found.contains_key(&identity(at(path).symlink_metadata().unwrap())), "{path}");
        }
        assert!(!found.contains_key(&identity(at("disk").metadata().unwrap())));
        assert!(refuse_within(&own, &at("disk/repo/packs")).is_err());
        assert!(refuse_within(&own, &at("disk/repo")).is_err());
        assert!(refuse_within(&own, &at("disk")).is_ok());
        assert!(refuse_within(&own, &at("nowhere")).is_ok());
    }
}
