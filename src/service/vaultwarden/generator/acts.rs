//! What the people of an installation do to its database, each in the statements the server uses.
//!
//! Invariant: what the server saves with REPLACE INTO (devices, ciphers, Sends, attachments) moves to
//! the end of its table under a new rowid here too; users are changed in place. Where the server needs
//! several commits for one request, here they are one.

use rusqlite::{OptionalExtension as _, params};

use super::activity::Work;
use super::rows::{
    Cipher, Event, Load, Owner, SECOND, cipher_data, cipher_name, date_time, insert_event, insert_send,
    public_key, refresh_token,
};

impl Work<'_> {
    /// Does one thing, the frequent ones more often.
    pub(super) fn act(&mut self) -> rusqlite::Result<()> {
        match self.random.below(100) {
            0..=34 => self.refresh_token(),
            35..=49 => self.log_in(),
            50..=74 => self.edit_cipher(),
            75..=82 => self.create_cipher(),
            83..=86 => self.move_to_trash(),
            87..=90 => self.toggle_favorite(),
            91..=94 => self.request_authentication(),
            95..=97 => self.create_text_send(),
            _ => self.access_send(),
        }
    }

    /// Users active on one day, and the number of ciphers.
    pub(super) fn begin_day(&mut self) -> rusqlite::Result<(Vec<String>, u64)> {
        // The hourly and nightly jobs clean up first.
        self.purge()?;
        let mut statement = self.connection.prepare_cached("SELECT uuid FROM users ORDER BY rowid")?;
        let users: Vec<String> =
            statement.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
        let active = users.into_iter().filter(|_| self.random.chance(700)).collect();
        let ciphers: i64 = self.connection.query_row("SELECT count(*) FROM ciphers", [], |row| row.get(0))?;
        Ok((active, u64::try_from(ciphers).unwrap_or(0)))
    }

    /// A user's visits on one day: one to five token refreshes per device, and events if these are kept.
    pub(super) fn visit(&mut self, user: &str) -> rusqlite::Result<()> {
        let mut statement =
            self.connection.prepare_cached("SELECT uuid FROM devices WHERE user_uuid = ?1")?;
        let devices: Vec<String> =
            statement.query_map([user], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
        for device in devices {
            for _ in 0..=self.random.below(5) {
                self.save_device(&device)?;
            }
        }
        self.use_second_factor(user)?;
        self.log_login(user)?;
        for _ in 0..self.random.below(18) {
            self.log_cipher_event(user)?;
        }
        Ok(())
    }

    /// The server saves a device twice when a client renews its access token.
    fn refresh_token(&mut self) -> rusqlite::Result<()> {
        if let Some(device) = self.pick("devices", "uuid", "true", |row| row.get::<_, String>(0))? {
            self.save_device(&device)?;
            self.save_device(&device)?;
        }
        Ok(())
    }

    fn save_device(&mut self, device: &str) -> rusqlite::Result<()> {
        // Most refreshes keep the token and change only the time.
        let token = self.random.chance(100).then(|| refresh_token(self.random));
        self.connection
            .prepare_cached(
                "REPLACE INTO devices (uuid, created_at, updated_at, user_uuid, name, atype, push_token,
                 refresh_token, twofactor_remember, push_uuid)
                 SELECT uuid, created_at, ?2, user_uuid, name, atype, push_token, coalesce(?3, refresh_token),
                 twofactor_remember, push_uuid FROM devices WHERE uuid = ?1",
            )?
            .execute(params![device, date_time(self.now), token])?;
        Ok(())
    }

    fn log_in(&mut self) -> rusqlite::Result<()> {
        let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
        let found: Option<(String, String, String)> =
            self.pick("devices", "uuid, user_uuid, name", "true", read)?;
        let Some((device, user, name)) = found else { return Ok(()) };
        self.connection
            .prepare_cached("REPLACE INTO twofactor_incomplete VALUES (?1, ?2, ?3, ?4, ?5, 9)")?
            .execute((&user, &device, name, date_time(self.now), self.random.address()))?;
        self.use_second_factor(&user)?;
        self.connection
            .prepare_cached("DELETE FROM twofactor_incomplete WHERE user_uuid = ?1 AND device_uuid = ?2")?
            .execute((&user, &device))?;
        self.save_device(&device)?;
        self.log_login(&user)
    }

    fn use_second_factor(&mut self, user: &str) -> rusqlite::Result<()> {
        self.connection
            .prepare_cached("UPDATE twofactor SET last_used = ?2 WHERE user_uuid = ?1 AND atype = 0")?
            .execute((user, self.now / SECOND / 30))?;
        Ok(())
    }

    /// A login makes one event, and one more for each organization its user is in.
    fn log_login(&mut self, user: &str) -> rusqlite::Result<()> {
        if !self.logs_events {
            return Ok(());
        }
        let mut statement = self
            .connection
            .prepare_cached("SELECT org_uuid FROM users_organizations WHERE user_uuid = ?1")?;
        let memberships: Vec<String> =
            statement.query_map([user], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
        let personal = Event { kind: 1000, user: Some(user), acting_user: Some(user), ..Event::default() };
        insert_event(self.connection, self.random, &personal, self.now)?;
        for organization in &memberships {
            let event = Event { organization: Some(organization), ..personal };
            insert_event(self.connection, self.random, &event, self.now)?;
        }
        Ok(())
    }

    /// Somebody looked at a shared cipher, which the server logs where it logs anything.
    fn log_cipher_event(&mut self, user: &str) -> rusqlite::Result<()> {
        if !self.logs_events {
            return Ok(());
        }
        let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
        let found: Option<(String, String)> =
            self.pick("ciphers", "uuid, organization_uuid", "organization_uuid IS NOT NULL", read)?;
        let Some((cipher, organization)) = found else { return Ok(()) };
        let event = Event {
            kind: 1107,
            user: None,
            organization: Some(&organization),
            cipher: Some(&cipher),
            acting_user: Some(user),
        };
        insert_event(self.connection, self.random, &event, self.now)
    }

    /// Changes a cipher's name and data and tells everybody who can see it.
    pub(super) fn edit_cipher(&mut self) -> rusqlite::Result<()> {
        let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
        let found: Option<(String, i64)> = self.pick("ciphers", "uuid, atype", "true", read)?;
        let Some((cipher, kind)) = found else { return Ok(()) };
        let (name, data) = (cipher_name(self.random), cipher_data(self.random, kind));
        self.replace_cipher(&cipher, Some(&name), Some(&data), None)?;
        self.touch_users_of(&cipher)
    }

    fn replace_cipher(
        &mut self,
        cipher: &str,
        name: Option<&str>,
        data: Option<&str>,
        deleted_at: Option<&str>,
    ) -> rusqlite::Result<()> {
        self.connection
            .prepare_cached(
                "REPLACE INTO ciphers (uuid, created_at, updated_at, user_uuid, organization_uuid, atype, name, notes,
                 fields, data, password_history, deleted_at, reprompt, key)
                 SELECT uuid, created_at, ?2, user_uuid, organization_uuid, atype, coalesce(?3, name), notes, fields,
                 coalesce(?4, data), password_history, coalesce(?5, deleted_at), reprompt, key
                 FROM ciphers WHERE uuid = ?1",
            )?
            .execute(params![cipher, date_time(self.now), name, data, deleted_at])?;
        Ok(())
    }

    /// Raises the revision of the owner, or of every member who reaches the cipher by collection or group.
    pub(super) fn touch_users_of(&mut self, cipher: &str) -> rusqlite::Result<()> {
        self.connection
            .prepare_cached(
                "UPDATE users SET updated_at = ?2 WHERE uuid IN (
                   SELECT user_uuid FROM ciphers WHERE uuid = ?1
                   UNION SELECT users_collections.user_uuid FROM ciphers_collections
                     JOIN users_collections USING (collection_uuid) WHERE cipher_uuid = ?1
                   UNION SELECT users_organizations.user_uuid FROM ciphers_collections
                     JOIN collections_groups ON collections_uuid = collection_uuid
                     JOIN groups_users USING (groups_uuid)
                     JOIN users_organizations ON users_organizations.uuid = users_organizations_uuid
                     WHERE cipher_uuid = ?1
                   UNION SELECT users_organizations.user_uuid FROM ciphers
                     JOIN users_organizations ON org_uuid = organization_uuid AND access_all
                     WHERE ciphers.uuid = ?1)",
            )?
            .execute((cipher, date_time(self.now)))?;
        Ok(())
    }

    fn create_cipher(&mut self) -> rusqlite::Result<()> {
        let cipher = Cipher::draw(self.random, self.now);
        let uuid = self.random.uuid();
        let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
        let shared: Option<(String, String)> = self.pick("collections", "uuid, org_uuid", "true", read)?;
        match shared {
            Some((collection, organization)) if self.random.chance(450) => {
                let owner = Owner::Organization(&organization);
                cipher.insert(self.connection, &uuid, owner, self.now, self.now)?;
                self.connection
                    .prepare_cached("INSERT INTO ciphers_collections VALUES (?1, ?2)")?
                    .execute((&uuid, collection))?;
            }
            _ => {
                let Some(user) = self.pick_user()? else { return Ok(()) };
                cipher.insert(self.connection, &uuid, Owner::User(&user), self.now, self.now)?;
            }
        }
        self.touch_users_of(&uuid)
    }

    fn move_to_trash(&mut self) -> rusqlite::Result<()> {
        let found = self.pick("ciphers", "uuid", "deleted_at IS NULL", |row| row.get::<_, String>(0))?;
        let Some(cipher) = found else { return Ok(()) };
        self.replace_cipher(&cipher, None, None, Some(&date_time(self.now)))?;
        self.touch_users_of(&cipher)
    }

    fn toggle_favorite(&mut self) -> rusqlite::Result<()> {
        let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
        let found: Option<(String, String)> =
            self.pick("ciphers", "uuid, user_uuid", "user_uuid IS NOT NULL", read)?;
        let Some((cipher, user)) = found else { return Ok(()) };
        let removed = self
            .connection
            .prepare_cached("DELETE FROM favorites WHERE user_uuid = ?1 AND cipher_uuid = ?2")?
            .execute((&user, &cipher))?;
        if removed == 0 {
            self.connection
                .prepare_cached("INSERT INTO favorites VALUES (?1, ?2)")?
                .execute((&user, &cipher))?;
        }
        self.touch_users_of(&cipher)
    }

    /// A device asks another for leave to log in; requests older than 15 minutes go.
    fn request_authentication(&mut self) -> rusqlite::Result<()> {
        let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
        let found: Option<(String, String)> = self.pick("devices", "uuid, user_uuid", "true", read)?;
        let Some((device, user)) = found else { return Ok(()) };
        self.connection
            .prepare_cached(
                "REPLACE INTO auth_requests (uuid, user_uuid, request_device_identifier, device_type, request_ip,
                 access_code, public_key, creation_date) VALUES (?1, ?2, ?3, 9, ?4, ?5, ?6, ?7)",
            )?
            .execute(params![
                self.random.uuid(),
                user,
                device,
                self.random.address(),
                self.random.base64(32),
                public_key(self.random),
                date_time(self.now),
            ])?;
        self.purge()
    }

    fn purge(&mut self) -> rusqlite::Result<()> {
        self.connection
            .prepare_cached("DELETE FROM auth_requests WHERE creation_date < ?1")?
            .execute([date_time(self.now - 900 * SECOND)])?;
        Ok(())
    }

    fn create_text_send(&mut self) -> rusqlite::Result<()> {
        let Some(user) = self.pick_user()? else { return Ok(()) };
        let uuid = self.random.uuid();
        insert_send(self.connection, self.random, &uuid, &user, Load::Text, self.now)?;
        self.touch_user(&user)
    }

    fn access_send(&mut self) -> rusqlite::Result<()> {
        if let Some(send) = self.pick("sends", "uuid", "true", |row| row.get::<_, String>(0))? {
            self.connection
                .prepare_cached(
                    "REPLACE INTO sends (uuid, user_uuid, organization_uuid, name, notes, atype, data, akey,
                     password_hash, password_salt, password_iter, max_access_count, access_count, creation_date,
                     revision_date, expiration_date, deletion_date, disabled, hide_email)
                     SELECT uuid, user_uuid, organization_uuid, name, notes, atype, data, akey, password_hash,
                     password_salt, password_iter, max_access_count, access_count + 1, creation_date, ?2,
                     expiration_date, deletion_date, disabled, hide_email FROM sends WHERE uuid = ?1",
                )?
                .execute((send, date_time(self.now)))?;
        }
        Ok(())
    }

    pub(super) fn pick_user(&mut self) -> rusqlite::Result<Option<String>> {
        self.pick("users", "uuid", "true", |row| row.get(0))
    }

    pub(super) fn touch_user(&mut self, user: &str) -> rusqlite::Result<()> {
        self.connection
            .prepare_cached("UPDATE users SET updated_at = ?2 WHERE uuid = ?1")?
            .execute((user, date_time(self.now)))?;
        Ok(())
    }

    /// Gives a cipher a new name of the same length, in place, so that one page changes and no other.
    pub(super) fn rename_in_place(&mut self) -> rusqlite::Result<()> {
        let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
        let found: Option<(i64, String)> = self.pick("ciphers", "rowid, name", "true", read)?;
        let Some((row, name)) = found else { return Ok(()) };
        self.connection
            .prepare_cached("UPDATE ciphers SET name = ?2 WHERE rowid = ?1")?
            .execute((row, self.random.enc_string_like(&name)))?;
        Ok(())
    }

    /// Deletes the row of an attachment and returns the path of its file.
    pub(super) fn take_attachment(&mut self) -> rusqlite::Result<Option<String>> {
        let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
        let found: Option<(String, String)> = self.pick("attachments", "id, cipher_uuid", "true", read)?;
        let Some((id, cipher)) = found else { return Ok(None) };
        self.connection.prepare_cached("DELETE FROM attachments WHERE id = ?1")?.execute([&id])?;
        self.touch_users_of(&cipher)?;
        Ok(Some(format!("attachments/{cipher}/{id}")))
    }

    /// Deletes the row of a Send, where it still is.
    pub(super) fn take_send(&mut self, send: &str) -> rusqlite::Result<()> {
        let user: Option<Option<String>> = self
            .connection
            .prepare_cached("DELETE FROM sends WHERE uuid = ?1 RETURNING user_uuid")?
            .query_row([send], |row| row.get(0))
            .optional()?;
        match user.flatten() {
            Some(user) => self.touch_user(&user),
            None => Ok(()),
        }
    }
}
