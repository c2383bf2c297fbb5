//! What lies in the folders of a repository and is no object of it.

use rustix::io::Errno;

use super::listing::{entries, size_at};
use super::{LocalBackend, open_folder};
use crate::backend::ObjectKind;
use crate::error::Result;
use crate::id::Id;

/// So many are named; a folder of other things may hold any number.
const NAMED_MAX: usize = 10_000;

/// What was found that is no object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Strangers {
    /// Paths below the top, as bytes.
    pub names: Vec<Vec<u8>>,
    /// Files that a writer began and that is at work or was killed.
    pub begun: u64,
    /// Whether there are more than were named.
    pub more: bool,
}

impl LocalBackend {
    /// Everything that listings leave out.
    ///
    /// # Errors
    /// Whatever keeps a folder from being read.
    pub fn strangers(&self) -> Result<Strangers> {
        let mut found = Strangers::default();
        self.collect_strangers(&mut found).map_err(|errno| {
            crate::error::Error::io(format!("cannot list what is in {}", self.location), errno)
        })?;
        found.names.sort_unstable();
        Ok(found)
    }

    fn collect_strangers(&self, found: &mut Strangers) -> Result<(), Errno> {
        let folders: Vec<&str> =
            ObjectKind::ALL.iter().map(|kind| kind.folder()).filter(|name| !name.is_empty()).collect();
        for name in entries(&self.root)? {
            if name != b"config" && !folders.iter().any(|folder| folder.as_bytes() == name) {
                found.add("", &name);
            }
        }
        for folder in folders {
            let handle = match open_folder(&self.root, folder) {
                Ok(handle) => handle,
                Err(Errno::NOENT) => continue,
                Err(errno) => return Err(errno),
            };
            if folder != ObjectKind::Pack.folder() {
                found.add_from(&handle, folder, "")?;
                continue;
            }
            for name in entries(&handle)? {
                let digits = std::str::from_utf8(&name).ok().filter(|text| is_two_digits(text));
                match digits.map(|digits| (digits, open_folder(&handle, digits))) {
                    Some((digits, Ok(inner))) => {
                        found.add_from(&inner, &format!("{folder}/{digits}"), digits)?;
                    }
                    Some((_, Err(Errno::NOENT))) => {}
                    Some((_, Err(Errno::NOTDIR | Errno::LOOP))) | None => found.add(folder, &name),
                    Some((_, Err(errno))) => return Err(errno),
                }
            }
        }
        Ok(())
    }
}

impl Strangers {
    fn add_from(&mut self, folder: &rustix::fd::OwnedFd, path: &str, digits: &str) -> Result<(), Errno> {
        for name in entries(folder)? {
            let text = std::str::from_utf8(&name).unwrap_or_default();
            let is_object = text.starts_with(digits) && Id::from_hex(text).is_some();
            let is_file = size_at(folder, &name)?.is_some();
            // What is listed again and is no file is something else; the rest was deleted meanwhile.
            if !is_object || !is_file && entries(folder)?.contains(&name) {
                self.add(path, &name);
            }
        }
        Ok(())
    }

    fn add(&mut self, folder: &str, name: &[u8]) {
        if name.starts_with(b".tmp-") {
            self.begun = self.begun.saturating_add(1);
        } else if self.names.len() < NAMED_MAX {
            let slash: &[u8] = if folder.is_empty() { b"" } else { b"/" };
            self.names.push([folder.as_bytes(), slash, name].concat());
        } else {
            self.more = true;
        }
    }
}

fn is_two_digits(text: &str) -> bool {
    text.len() == 2 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}
