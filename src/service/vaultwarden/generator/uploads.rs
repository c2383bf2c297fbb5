//! Attachments and file Sends that come and go while the server runs.
//!
//! Invariant: row and file follow each other as in the server, in transactions of their own. An
//! attachment's row is there before its file and gone before it; a Send's file is there before its row
//! and gone before it. A backup between the two sees one without the other.

use serde_json::Value;

use crate::error::{Error, Result};

use super::activity::{Server, Work};
use super::files;
use super::rows::{Load, insert_attachment, insert_send};

impl Server {
    /// Attaches a file of about so many bytes to a cipher: row, then file. Returns its path in the folder.
    ///
    /// # Errors
    /// Missing where there is no cipher to attach anything to.
    pub fn upload_attachment(&mut self, bytes: u64) -> Result<String> {
        let length = files::sealed_length(bytes);
        let path = self.transact(|mut work| work.put_attachment(length))?;
        let path = path.ok_or_else(|| Error::missing("there is no cipher to attach a file to"))?;
        files::write_sealed(&self.folder, &path, length, self.seed)?;
        Ok(path)
    }

    /// Removes an attachment, if there is one: row, then file. Returns its path in the folder.
    pub fn delete_attachment(&mut self) -> Result<Option<String>> {
        let path = self.transact(|mut work| work.take_attachment())?;
        if let Some(path) = &path {
            files::remove(&self.folder, path)?;
        }
        Ok(path)
    }

    /// Sends a file of about so many bytes: file, then row. Returns its path in the folder.
    ///
    /// # Errors
    /// Missing where there is no user to send anything.
    pub fn upload_send(&mut self, bytes: u64) -> Result<String> {
        let size = files::sealed_length(bytes);
        let (user, uuid, id) =
            self.look(|mut work| Ok((work.pick_user()?, work.random.uuid(), work.random.hex(64))))?;
        let user = user.ok_or_else(|| Error::missing("there is no user who could send a file"))?;
        let path = format!("sends/{uuid}/{id}");
        files::write_sealed(&self.folder, &path, size, self.seed)?;
        self.transact(|mut work| {
            let load = Load::File { id: &id, size, capitals: false };
            insert_send(work.connection, work.random, &uuid, &user, load, work.now)?;
            work.touch_user(&user)
        })?;
        Ok(path)
    }

    /// Removes a file Send, if there is one: file, then row. Returns its path in the folder.
    pub fn delete_send(&mut self) -> Result<Option<String>> {
        let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
        let found: Option<(String, String)> =
            self.look(|mut work| work.pick("sends", "uuid, data", "atype = 1", read))?;
        let Some((uuid, data)) = found else { return Ok(None) };
        let id = file_id(&data)
            .ok_or_else(|| Error::corrupt(format!("the Send {uuid} does not name its file")))?;
        let path = format!("sends/{uuid}/{id}");
        files::remove(&self.folder, &path)?;
        self.transact(|mut work| work.take_send(&uuid))?;
        Ok(Some(path))
    }
}

impl Work<'_> {
    fn put_attachment(&mut self, length: u64) -> rusqlite::Result<Option<String>> {
        let Some(cipher) = self.pick("ciphers", "uuid", "true", |row| row.get::<_, String>(0))? else {
            return Ok(None);
        };
        let id = self.random.hex(20);
        insert_attachment(self.connection, self.random, &id, &cipher, length)?;
        self.touch_users_of(&cipher)?;
        Ok(Some(format!("attachments/{cipher}/{id}")))
    }
}

/// The name of a Send's file; the keys of old rows begin with capitals.
fn file_id(data: &str) -> Option<String> {
    let value: Value = serde_json::from_str(data).ok()?;
    let (_, id) = value.as_object()?.iter().find(|(key, _)| key.eq_ignore_ascii_case("id"))?;
    id.as_str().map(str::to_owned)
}
