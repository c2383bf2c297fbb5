//! What this program itself needs the next time: a repository, its keys, its cache. None of it may go with a folder that
//! is replaced.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::report::printable;
use crate::source::files;

/// A file or folder that this program needs again.
#[derive(Clone, Debug)]
pub struct Needed {
    /// What it is, such as `key file`.
    pub what: &'static str,
    /// Where it is, as it was named.
    pub path: PathBuf,
}

/// Refuses to go on where anything needed lies in a folder that is to be replaced, or the folder in it. The folder is
/// named by its path free of links.
///
/// # Errors
/// `Refused`.
pub fn refuse_needed_inside(folder: &Path, needed: &[Needed]) -> Result<()> {
    let show = |path: &Path| printable(path.as_os_str().as_bytes());
    let inside =
        needed.iter().find(|needed| places(&needed.path).iter().any(|place| place.starts_with(folder)));
    let (what, message) = if let Some(Needed { what, path }) = inside {
        (what, format!("the {what} {} lies in {}, which is to be replaced", show(path), show(folder)))
    } else if let Some(Needed { what, path }) = around(folder, needed) {
        (what, format!("{} lies in the {what} {}", show(folder), show(path)))
    } else {
        return Ok(());
    };
    let hint = format!("move the {what} elsewhere first, and name it there: its files may be copied");
    Err(Error::refused(message).hint(hint))
}

/// Which of these a folder is, or lies in.
pub fn around<'n>(folder: &Path, needed: &'n [Needed]) -> Option<&'n Needed> {
    // One that is not there yet lies where its name says.
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    needed.iter().find(|needed| needed.path.canonicalize().is_ok_and(|place| folder.starts_with(place)))
}

/// Where something is, and where a link that leads to it is.
fn places(path: &Path) -> Vec<PathBuf> {
    let named = files::absolute(path).ok();
    let link = named
        .as_deref()
        .and_then(|named| Some(named.parent()?.canonicalize().ok()?.join(named.file_name()?)));
    path.canonicalize().ok().into_iter().chain(link).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::source::sqlite::Scratch;

    #[test]
    fn what_is_needed_is_found_by_any_name() {
        let scratch = Scratch::create(&std::env::temp_dir()).unwrap();
        let top = scratch.path().canonicalize().unwrap();
        let data = top.join("data");
        std::fs::create_dir_all(data.join("inner")).unwrap();
        std::fs::write(data.join("inner/key"), "").unwrap();
        std::fs::write(top.join("key"), "").unwrap();
        std::os::unix::fs::symlink(data.join("inner/key"), top.join("link-in")).unwrap();
        std::os::unix::fs::symlink(top.join("key"), data.join("link-out")).unwrap();
        let refused = |path: PathBuf| {
            let outcome = refuse_needed_inside(&data, &[Needed { what: "key file", path }]);
            outcome.is_err_and(|error| error.kind() == ErrorKind::Refused)
        };
        for path in
            [data.join("inner/key"), data.join("inner/../inner"), top.join("link-in"), data.join("link-out")]
        {
            assert!(refused(path.clone()), "{path:?}");
        }
        assert!(refused(top.clone()), "the folder lies in it");
        for path in [top.join("key"), top.join("data2"), top.join("none/key")] {
            assert!(!refused(path.clone()), "{path:?}");
        }
    }
}
