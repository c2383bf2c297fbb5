//! Whether two paths lead to one repository.
//!
//! Invariant: what is compared are the folders, not their names, and not files in them: copies made of hard links share
//! those, and are repositories of their own all the same.

use std::fs::metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Whether two folders are one, or keep their packs in one: by another path, by a link, mounted twice.
pub fn is_same_store(one: &Path, other: &Path) -> bool {
    let place = |path: &Path| metadata(path).ok().map(|found| (found.dev(), found.ino()));
    let same = |one: &Path, other: &Path| place(one).is_some_and(|found| Some(found) == place(other));
    same(one, other) || same(&one.join("packs"), &other.join("packs"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::conformance::Folder;

    #[test]
    fn one_folder_is_known_by_any_path_and_a_copy_is_another() {
        let folder = Folder::new();
        let top = folder.path("");
        for below in ["one/packs", "two"] {
            std::fs::create_dir_all(top.join(below)).unwrap();
        }
        std::fs::write(top.join("one/config"), "x").unwrap();
        std::fs::hard_link(top.join("one/config"), top.join("two/config")).unwrap();
        std::os::unix::fs::symlink(top.join("one"), top.join("link")).unwrap();
        for path in ["one", "one/", "two/../one", "link"] {
            assert!(is_same_store(&top.join("one"), &top.join(path)), "{path}");
        }
        assert!(!is_same_store(&top.join("one"), &top.join("two")));
        assert!(!is_same_store(&top.join("one"), &top.join("none")));
        std::os::unix::fs::symlink(top.join("one/packs"), top.join("two/packs")).unwrap();
        assert!(is_same_store(&top.join("one"), &top.join("two")));
    }
}
