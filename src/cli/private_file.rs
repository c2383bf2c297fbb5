//! A file for a secret, or for what somebody wants of a backup: new, its owner's alone, and gone again unless it is kept.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::repository::key_file::{key_file_text, new_key_file};
use crate::repository::keys::Credential;

/// A file that was made for its owner alone; it goes away again unless it is kept.
pub(super) struct PrivateFile {
    path: PathBuf,
    file: File,
    what: &'static str,
    kept: bool,
}

impl PrivateFile {
    /// Makes the file, empty.
    pub(super) fn create(path: &Path, what: &'static str) -> Result<Self> {
        let file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(|error| {
                if error.kind() == std::io::ErrorKind::AlreadyExists {
                    Error::refused(format!("{} is there already", path.display()))
                        .hint(format!("a {what} is never overwritten: name another"))
                } else {
                    Error::io(format!("cannot write the {what} {}", path.display()), error)
                }
            })?;
        Ok(Self { path: path.to_owned(), file, what, kept: false })
    }

    /// Writes what it is to hold, durably.
    pub(super) fn write(&mut self, text: &str) -> Result<()> {
        self.file.write_all(text.as_bytes()).map_err(|error| self.failed(error))?;
        self.sync()
    }

    /// The file itself, to be written piece by piece.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    fn failed(&self, error: std::io::Error) -> Error {
        Error::io(format!("cannot write the {} {}", self.what, self.path.display()), error)
    }

    /// Makes what was written durable.
    pub(super) fn sync(&self) -> Result<()> {
        let fail = |error| self.failed(error);
        self.file.sync_all().map_err(fail)?;
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(fail)
    }

    /// The file stays.
    pub(super) fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for PrivateFile {
    fn drop(&mut self) {
        if !self.kept && std::fs::remove_file(&self.path).is_err() {
            // It opens nothing; there is no harm in it.
        }
    }
}

/// A key file that is written before the key is added, so that no key is added that nobody holds.
pub(super) struct NewKeyFile {
    file: PrivateFile,
    credential: Credential,
}

impl NewKeyFile {
    pub(super) fn create(path: &Path, label: &str) -> Result<Self> {
        let credential = new_key_file()?;
        let Credential::KeyFile(secret) = &credential else {
            return Err(Error::refused("a key file holds no password"));
        };
        let mut file = PrivateFile::create(path, "key file")?;
        file.write(&key_file_text(secret, label))?;
        Ok(Self { file, credential })
    }

    pub(super) fn credential(&self) -> &Credential {
        &self.credential
    }

    /// The key was added: the file stays.
    pub(super) fn keep(self) {
        self.file.keep();
    }
}
