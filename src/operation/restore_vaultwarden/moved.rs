//! Parts that settings had moved: back where they point inside the data folder, and named where they point elsewhere.
//!
//! A snapshot has every part at its plain place. Invariant: nothing leaves the folder that is restored into, whatever
//! the manifest says.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::folder::show;
use crate::error::{Error, Result};
use crate::format::path;
use crate::format::snapshot::{Origin, ServiceReport};
use crate::service::vaultwarden::{ENVIRONMENT_PLACE, Key, SECOND_ENVIRONMENT_PLACE, SETTINGS_FILE};

/// A part that did not lie at its plain place when it was backed up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MovedPart {
    /// What had moved it: a setting's name, or words.
    pub setting: String,
    /// Its place in the snapshot.
    pub place: Vec<u8>,
    /// Where it lay on the host that was backed up.
    pub was_at: Vec<u8>,
    /// Where it is now, relative to the data folder.
    pub now_at: Vec<u8>,
    /// Whether that is where its setting says.
    pub in_place: bool,
}

/// Where a settings file goes that lay outside of the data folder, if that has one of its own.
const OUTER_ENVIRONMENT: &str = ".env.outside";

impl MovedPart {
    /// It is left at its plain place.
    fn stay(&mut self) {
        self.now_at.clone_from(&self.place);
        self.in_place = false;
    }

    /// Whether it is where its setting says, so that nobody need do anything.
    pub fn is_in_place(&self) -> bool {
        self.in_place
    }
}

/// The parts that had been moved, with where they belong in the data folder.
pub(super) fn parts(report: Option<&ServiceReport>) -> Vec<MovedPart> {
    let Some(report) = report else { return Vec::new() };
    let data_folder = report.origins.iter().find(|origin| origin.setting == Key::DataFolder.name());
    let top = data_folder.map(|origin| origin.host_path.as_slice()).unwrap_or_default();
    let moved = report.origins.iter().filter(|origin| !origin.place.is_empty());
    let mut parts: Vec<MovedPart> = moved
        .map(|origin| {
            let inside = inside(origin, top);
            MovedPart {
                setting: origin.setting.clone(),
                place: origin.place.clone(),
                was_at: origin.host_path.clone(),
                in_place: inside.is_some(),
                now_at: inside.unwrap_or_else(|| origin.place.clone()),
            }
        })
        .collect();
    make_room_for_own_settings(&mut parts);
    parts
}

/// The data folder's own settings file goes back to its name, and one from outside, which had that in the snapshot,
/// makes room for it first.
fn make_room_for_own_settings(parts: &mut [MovedPart]) {
    let is_back = |part: &MovedPart| part.in_place && part.now_at == ENVIRONMENT_PLACE.as_bytes();
    if !parts.iter().any(is_back) {
        return;
    }
    let outer = |part: &&mut MovedPart| !part.in_place && part.place == ENVIRONMENT_PLACE.as_bytes();
    if let Some(outer) = parts.iter_mut().find(outer) {
        outer.now_at = OUTER_ENVIRONMENT.as_bytes().to_vec();
    }
    parts.sort_by_key(|part| part.place != ENVIRONMENT_PLACE.as_bytes());
}

/// Where in the data folder a setting points, if it does.
fn inside(origin: &Origin, top: &[u8]) -> Option<Vec<u8>> {
    let own_settings = origin.setting == SETTINGS_FILE && origin.place == SECOND_ENVIRONMENT_PLACE.as_bytes();
    let is_setting = own_settings || Key::ALL.iter().any(|key| key.name() == origin.setting);
    let rest = origin.host_path.strip_prefix(top).filter(|_| is_setting && !top.is_empty())?;
    let place = rest.strip_prefix(b"/")?.to_vec();
    (!place.is_empty() && path::fault(&place).is_none()).then_some(place)
}

/// Moves them there within a restored folder; where something is in the way, they stay at their plain places.
pub(super) fn put_back(folder: &Path, parts: &mut [MovedPart]) -> Result<()> {
    for part in parts {
        let (from, to) = (below(folder, &part.place), below(folder, &part.now_at));
        if from == to {
            continue;
        }
        let aside = folder.join(".strongroom-moving");
        let failed = |error| Error::io(format!("cannot move {} to {}", show(&from), show(&to)), error);
        // Parts lie at the top; nothing leads there through a link.
        let at_top = path::fault(&part.place).is_none() && !part.place.contains(&b'/');
        if !at_top || from.symlink_metadata().is_err() {
            part.stay();
            continue;
        }
        // Out of the way first: it may go into a folder of its own name.
        fs::rename(&from, &aside).map_err(failed)?;
        if make_way(folder, &part.now_at).map_err(failed)? {
            fs::rename(&aside, &to).map_err(failed)?;
        } else {
            fs::rename(&aside, &from).map_err(failed)?;
            part.stay();
        }
    }
    Ok(())
}

/// Makes the folders above a place, with owner and mode of the top; whether there is nothing in the way.
fn make_way(folder: &Path, place: &[u8]) -> std::io::Result<bool> {
    use std::os::unix::fs::{MetadataExt, lchown};
    let top = fs::symlink_metadata(folder)?;
    let mut at = folder.to_path_buf();
    for name in path::parent(place).unwrap_or_default().split(|byte| *byte == b'/') {
        if name.is_empty() {
            continue;
        }
        at.push(OsStr::from_bytes(name));
        match at.symlink_metadata() {
            Ok(found) if found.is_dir() => {}
            Ok(_) => return Ok(false),
            Err(_) => {
                fs::create_dir(&at)?;
                if rustix::process::geteuid().is_root() {
                    lchown(&at, Some(top.uid()), Some(top.gid()))?;
                }
                fs::set_permissions(&at, top.permissions())?;
            }
        }
    }
    Ok(below(folder, place).symlink_metadata().is_err())
}

fn below(folder: &Path, place: &[u8]) -> std::path::PathBuf {
    folder.join(OsStr::from_bytes(place))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(origins: &[(&str, &str, &str)]) -> ServiceReport {
        let origin = |(setting, place, host): &(&str, &str, &str)| Origin {
            setting: (*setting).into(),
            value: String::new(),
            place: place.as_bytes().to_vec(),
            host_path: host.as_bytes().to_vec(),
        };
        ServiceReport {
            name: "vaultwarden".into(),
            origins: origins.iter().map(origin).collect(),
            schema: None,
            tables: Vec::new(),
            files_proved: 0,
            bytes_proved: 0,
            damaged: Vec::new(),
            orphans: Vec::new(),
            deleted_meanwhile: 0,
            being_uploaded: 0,
            whole: true,
            release: None,
        }
    }

    #[test]
    fn only_settings_that_point_inside_move_anything() {
        for (setting, host, expected) in [
            ("ATTACHMENTS_FOLDER", "/srv/vw/files", "files"),
            ("ATTACHMENTS_FOLDER", "/srv/vw/attachments/real", "attachments/real"),
            ("ATTACHMENTS_FOLDER", "/mnt/files", "attachments"),
            ("ATTACHMENTS_FOLDER", "/srv/vw2/files", "attachments"),
            ("ATTACHMENTS_FOLDER", "/srv/vw/../../etc", "attachments"),
            ("ATTACHMENTS_FOLDER", "/srv/vw", "attachments"),
            ("symbolic link", "/srv/vw/files", "attachments"),
        ] {
            let report = report(&[("DATA_FOLDER", "", "/srv/vw"), (setting, "attachments", host)]);
            let parts = parts(Some(&report));
            assert_eq!(parts.len(), 1);
            assert_eq!(parts[0].now_at, expected.as_bytes(), "{setting} {host}");
        }
    }

    #[test]
    fn two_settings_files_get_names_of_their_own() {
        let own = ("settings file", ".env.data-folder", "/srv/vw/.env");
        let outer = ("settings file", ".env", "/srv/.env");
        let top = ("DATA_FOLDER", "", "/srv/vw");
        let found = |origins: &[(&str, &str, &str)]| -> Vec<(String, bool)> {
            let parts = parts(Some(&report(origins)));
            let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
            parts.into_iter().map(|part| (text(part.now_at), part.in_place)).collect()
        };
        let expected = [(".env.outside".to_owned(), false), (".env".to_owned(), true)];
        assert_eq!(found(&[top, outer, own]), expected);
        assert_eq!(found(&[top, own, outer]), expected);
        assert_eq!(found(&[top, outer]), [(".env".to_owned(), false)]);
        let linked = ("settings file", ".env.data-folder", "/etc/vault.env");
        assert_eq!(found(&[top, outer, linked])[1], (".env.data-folder".to_owned(), false));
    }

    #[test]
    fn parts_go_back_and_never_over_anything() {
        let scratch = crate::source::sqlite::Scratch::create(&std::env::temp_dir()).unwrap();
        let folder = scratch.path().join("data");
        fs::create_dir_all(folder.join("attachments")).unwrap();
        fs::write(folder.join("attachments/a"), "1").unwrap();
        fs::write(folder.join("db.sqlite3"), "2").unwrap();
        fs::write(folder.join("taken"), "3").unwrap();
        let part = |place: &str, now_at: &str| MovedPart {
            setting: String::new(),
            place: place.into(),
            was_at: Vec::new(),
            now_at: now_at.into(),
            in_place: true,
        };
        let mut parts = [
            part("attachments", "attachments/real"),
            part("db.sqlite3", "taken"),
            part("sends", "elsewhere"),
        ];
        put_back(&folder, &mut parts).unwrap();
        assert_eq!(fs::read(folder.join("attachments/real/a")).unwrap(), b"1");
        assert_eq!(fs::read(folder.join("db.sqlite3")).unwrap(), b"2");
        assert_eq!(parts.iter().map(MovedPart::is_in_place).collect::<Vec<_>>(), [true, false, false]);
    }
}
