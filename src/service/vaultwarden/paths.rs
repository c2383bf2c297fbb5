//! From the paths of Vaultwarden's settings, which are those of its container, to paths of this host.
//!
//! The longest prefix decides, among the data folder's own names and the mappings given by the user; so a
//! volume mounted inside `/data` can be mapped too. A path that no prefix fits is taken as it is where it
//! exists here.
//!
//! Invariant: only names are compared; nothing is read but whether a path exists.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use crate::report::printable;

/// The data folder's name where no setting gives another.
const DEFAULT_DATA_FOLDER: &str = "data";

/// Which path of the container is which path of this host.
pub(super) struct PathMap {
    /// Container's path as components below its root, and the host's path.
    entries: Vec<(Vec<Vec<u8>>, PathBuf)>,
    /// Name of the data folder in settings that are not given.
    data_folder: String,
    /// Folders that a relative path may start from, when it is not one of the container.
    beside: Vec<PathBuf>,
}

impl PathMap {
    /// Makes a map. `configured` is the DATA_FOLDER setting, `beside` where the server may have been started.
    pub(super) fn new(
        data_folder: &Path,
        configured: Option<&str>,
        path_map: &[(String, PathBuf)],
        beside: Vec<PathBuf>,
    ) -> Self {
        let name = configured.unwrap_or(DEFAULT_DATA_FOLDER).to_owned();
        // The data folder stands first: it is the folder that the user gave for exactly this name.
        let mut entries = vec![(components(Path::new(&name)), data_folder.to_path_buf())];
        entries.extend(path_map.iter().map(|(from, to)| (components(Path::new(from)), to.clone())));
        Self { entries, data_folder: name, beside }
    }

    /// The value that a setting has when it is not given: a name in the data folder.
    pub(super) fn default_value(&self, name: &str) -> String {
        format!("{}/{name}", self.data_folder.trim_end_matches('/'))
    }

    /// The host's path of a setting's value; nothing if it cannot be told.
    pub(super) fn host(&self, value: &str) -> Option<PathBuf> {
        if value.is_empty() || value.contains('\0') {
            return None;
        }
        self.host_of_path(Path::new(value))
    }

    /// As [`Self::host`], for a path that need not be text.
    pub(super) fn host_of_path(&self, path: &Path) -> Option<PathBuf> {
        let wanted = components(path);
        let mut best: Option<(usize, PathBuf)> = None;
        for (from, to) in &self.entries {
            let Some(rest) = wanted.strip_prefix(from.as_slice()) else { continue };
            if best.as_ref().is_none_or(|(length, _)| from.len() > *length) {
                let mut host = to.clone();
                host.extend(rest.iter().map(|part| OsStr::from_bytes(part)));
                best = Some((from.len(), host));
            }
        }
        if let Some((_, host)) = best {
            return Some(host);
        }
        if path.is_absolute() {
            return path.exists().then(|| path.to_path_buf());
        }
        self.beside.iter().map(|folder| folder.join(path)).find(|candidate| candidate.exists())
    }
}

/// A path for a person.
pub(super) fn show(path: &Path) -> String {
    printable(path.as_os_str().as_bytes())
}

/// The components of a path below the root. A container starts its server in the root, so a relative path
/// means the same as an absolute one.
fn components(path: &Path) -> Vec<Vec<u8>> {
    let mut parts = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(part) => parts.push(part.as_bytes().to_vec()),
            Component::ParentDir => {
                parts.pop();
            }
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(map: &PathMap, value: &str) -> Option<String> {
        map.host(value).map(|path| path.to_string_lossy().into_owned())
    }

    #[test]
    fn the_data_folder_has_its_container_names() {
        let map = PathMap::new(Path::new("/srv/vw"), None, &[], Vec::new());
        assert_eq!(host(&map, "/data").as_deref(), Some("/srv/vw"));
        assert_eq!(host(&map, "data/attachments/").as_deref(), Some("/srv/vw/attachments"));
        assert_eq!(host(&map, "./data/x").as_deref(), Some("/srv/vw/x"));
        assert_eq!(host(&map, "/data//a/./b").as_deref(), Some("/srv/vw/a/b"));
        assert_eq!(host(&map, "/database/x"), None);
        assert_eq!(host(&map, "/data/../nowhere-at-all/x"), None);
        assert_eq!(host(&map, ""), None);
        assert_eq!(host(&map, "/data/\0"), None);
        assert_eq!(map.default_value("sends"), "data/sends");
    }

    #[test]
    fn a_configured_data_folder_takes_the_default_ones_place() {
        let map = PathMap::new(Path::new("/srv/vw"), Some("/var/lib/vaultwarden/"), &[], Vec::new());
        assert_eq!(host(&map, "/var/lib/vaultwarden/x").as_deref(), Some("/srv/vw/x"));
        assert_eq!(host(&map, "/data-that-is-not-here/x"), None);
        assert_eq!(map.default_value("sends"), "/var/lib/vaultwarden/sends");
    }

    #[test]
    fn the_longest_prefix_decides() {
        let given =
            [("/data/attachments".to_owned(), "/mnt/a".into()), ("/files".to_owned(), "/mnt/f".into())];
        let map = PathMap::new(Path::new("/srv/vw"), None, &given, Vec::new());
        assert_eq!(host(&map, "data/attachments/x").as_deref(), Some("/mnt/a/x"));
        assert_eq!(host(&map, "/data/sends").as_deref(), Some("/srv/vw/sends"));
        assert_eq!(host(&map, "/files/sends").as_deref(), Some("/mnt/f/sends"));
    }

    #[test]
    fn what_exists_here_is_taken_as_it_is() {
        let map = PathMap::new(Path::new("/srv/vw"), None, &[], vec!["/".into()]);
        assert_eq!(host(&map, "/proc/self").as_deref(), Some("/proc/self"));
        assert_eq!(host(&map, "proc/self").as_deref(), Some("/proc/self"));
        assert_eq!(host(&map, "/no/such/path"), None);
    }
}
