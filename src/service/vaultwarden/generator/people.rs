//! The people of a new database: users with their devices and folders, organizations with their
//! collections and groups, and what ties these together.
//!
//! Invariant: as in `population`, the order of the draws follows from the options alone.

use rusqlite::params;

use super::population::{Builder, EPOCH, Organization, User};
use super::rows::{DAY, SECOND, date_time, insert_device, public_key, sealed_to_public_key, signed};

impl Builder<'_> {
    pub(super) fn user(&mut self, number: u64, users: u64) -> rusqlite::Result<()> {
        let (created_at, updated_at) = self.times();
        let uuid = self.random.uuid();
        let random = &mut self.random;
        let mut statement = self.connection.prepare_cached(
            "INSERT INTO users (uuid, created_at, updated_at, email, name, password_hash, salt, password_iterations,
             password_hint, akey, private_key, public_key, totp_recover, security_stamp, equivalent_domains,
             excluded_globals, client_kdf_iter, verified_at, avatar_color)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 600000, ?8, ?9, ?10, ?11, ?12, ?13, '[]', '[]', 600000, ?2, ?14)",
        )?;
        statement.execute(params![
            uuid,
            date_time(created_at),
            date_time(updated_at),
            format!("user{number}@example.org"),
            format!("User {number}"),
            random.bytes(32),
            random.bytes(64),
            random.chance(300).then_some("the usual one"),
            random.enc_string(64),
            random.enc_string(1218),
            public_key(random),
            random.chance(400).then(|| random.hex(32)),
            random.uuid(),
            random.chance(300).then(|| format!("#{}", random.hex(6))),
        ])?;
        // Fourteen users in twenty-five of a company have a third device.
        let devices = if users >= 50 && number * 14 % 25 < 14 { 3 } else { 2 };
        for _ in 0..devices {
            let (created_at, updated_at) = self.times();
            insert_device(self.connection, &mut self.random, &uuid, created_at, updated_at)?;
            self.done.devices += 1;
        }
        let folders = self.folders(&uuid)?;
        self.second_factor(&uuid)?;
        self.users.push(User { uuid, folders });
        Ok(())
    }

    fn folders(&mut self, user: &str) -> rusqlite::Result<Vec<String>> {
        let mut folders = Vec::new();
        for _ in 0..3 {
            let (created_at, updated_at) = self.times();
            let uuid = self.random.uuid();
            let mut statement = self.connection.prepare_cached(
                "INSERT INTO folders (uuid, created_at, updated_at, user_uuid, name) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?;
            let name = self.random.enc_string(12);
            statement.execute(params![uuid, date_time(created_at), date_time(updated_at), user, name])?;
            folders.push(uuid);
        }
        Ok(folders)
    }

    fn second_factor(&mut self, user: &str) -> rusqlite::Result<()> {
        if self.random.chance(400) {
            let secret = self.random.hex(32).to_uppercase();
            let last_used = EPOCH / SECOND / 30 - signed(self.random.below(90_000));
            self.connection
                .prepare_cached(
                    "INSERT INTO twofactor (uuid, user_uuid, atype, enabled, data, last_used)
                     VALUES (?1, ?2, 0, 1, ?3, ?4)",
                )?
                .execute(params![self.random.uuid(), user, secret, last_used])?;
        }
        Ok(())
    }

    /// The first organization holds every user, each further one a few.
    pub(super) fn organization(&mut self, number: u64, users: u64) -> rusqlite::Result<()> {
        let uuid = self.random.uuid();
        let name = format!("Organization {number}");
        self.connection
            .prepare_cached(
                "INSERT INTO organizations (uuid, name, billing_email, private_key, public_key)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![
                uuid,
                name,
                format!("billing{number}@example.org"),
                self.random.enc_string(1218),
                public_key(&mut self.random),
            ])?;
        let (mut members, mut memberships) = (Vec::new(), Vec::new());
        for (place, user) in self.users.iter().enumerate() {
            if number > 0 && !self.random.chance(200) {
                continue;
            }
            let membership = self.random.uuid();
            let kind = match place {
                0 => 0,
                1 => 1,
                _ => 2,
            };
            self.connection
                .prepare_cached(
                    "INSERT INTO users_organizations (uuid, user_uuid, org_uuid, access_all, akey, status, atype)
                     VALUES (?1, ?2, ?3, ?4, ?5, 2, ?6)",
                )?
                .execute(params![
                    membership,
                    user.uuid,
                    uuid,
                    kind < 2,
                    sealed_to_public_key(&mut self.random),
                    kind,
                ])?;
            members.push(user.uuid.clone());
            memberships.push(membership);
        }
        let mut organization = Organization { uuid, members, collections: Vec::new() };
        self.collections(&mut organization, 4 + users / 5)?;
        self.groups(&organization, &memberships, users / 20)?;
        self.policies(&organization.uuid)?;
        self.organizations.push(organization);
        self.done.organizations += 1;
        Ok(())
    }

    fn collections(&mut self, organization: &mut Organization, count: u64) -> rusqlite::Result<()> {
        for _ in 0..count {
            let uuid = self.random.uuid();
            let name = self.random.enc_string(20);
            self.connection
                .prepare_cached("INSERT INTO collections (uuid, org_uuid, name) VALUES (?1, ?2, ?3)")?
                .execute(params![uuid, organization.uuid, name])?;
            organization.collections.push(uuid);
        }
        let mut statement = self.connection.prepare_cached(
            "INSERT INTO users_collections (user_uuid, collection_uuid, read_only, hide_passwords, manage)
             VALUES (?1, ?2, ?3, 0, 0)",
        )?;
        // A member reaches about three collections; a family's members reach most of theirs.
        let reached = 3000 / count.max(1);
        for member in &organization.members {
            for collection in &organization.collections {
                if self.random.chance(reached) {
                    statement.execute(params![member, collection, self.random.chance(200)])?;
                }
            }
        }
        Ok(())
    }

    fn groups(
        &mut self,
        organization: &Organization,
        memberships: &[String],
        count: u64,
    ) -> rusqlite::Result<()> {
        for number in 0..count {
            let uuid = self.random.uuid();
            let (created_at, updated_at) = self.times();
            self.connection
                .prepare_cached(
                    "INSERT INTO groups (uuid, organizations_uuid, name, access_all, creation_date, revision_date)
                     VALUES (?1, ?2, ?3, 0, ?4, ?5)",
                )?
                .execute(params![
                    uuid,
                    organization.uuid,
                    format!("Group {number}"),
                    date_time(created_at),
                    date_time(updated_at)
                ])?;
            for membership in memberships {
                if self.random.chance(60) {
                    self.connection
                        .prepare_cached(
                            "INSERT INTO groups_users (groups_uuid, users_organizations_uuid) VALUES (?1, ?2)",
                        )?
                        .execute((&uuid, membership))?;
                }
            }
            if let Some(collection) = self.random.pick(&organization.collections) {
                self.connection
                    .prepare_cached("INSERT INTO collections_groups VALUES (?1, ?2, 0, 0, 0)")?
                    .execute((collection, &uuid))?;
            }
        }
        Ok(())
    }

    fn policies(&mut self, organization: &str) -> rusqlite::Result<()> {
        for (kind, data) in [(0, "null"), (1, r#"{"minComplexity":3,"minLength":14}"#), (5, "null")] {
            self.connection
                .prepare_cached(
                    "INSERT INTO org_policies (uuid, org_uuid, atype, enabled, data) VALUES (?1, ?2, ?3, 1, ?4)",
                )?
                .execute((self.random.uuid(), organization, kind, data))?;
        }
        self.connection
            .prepare_cached("INSERT INTO organization_api_key VALUES (?1, ?2, 0, ?3, ?4)")?
            .execute((self.random.uuid(), organization, self.random.hex(30), date_time(EPOCH - 90 * DAY)))?;
        Ok(())
    }

    /// The small tables that tie people together: invitations, emergency access, single sign-on.
    pub(super) fn relations(&mut self, users: u64) -> rusqlite::Result<()> {
        for number in 0..=users / 50 {
            self.connection
                .prepare_cached("INSERT INTO invitations (email) VALUES (?1)")?
                .execute([format!("invited{number}@example.org")])?;
        }
        for pair in self.users.chunks_exact(2).take(12) {
            let [grantor, grantee] = pair else { continue };
            let at = date_time(EPOCH - signed(self.random.below(300)) * DAY);
            self.connection
                .prepare_cached(
                    "INSERT INTO emergency_access (uuid, grantor_uuid, grantee_uuid, key_encrypted, atype, status,
                     wait_time_days, updated_at, created_at) VALUES (?1, ?2, ?3, ?4, 0, 2, 7, ?5, ?5)",
                )?
                .execute((
                    self.random.uuid(),
                    &grantor.uuid,
                    &grantee.uuid,
                    sealed_to_public_key(&mut self.random),
                    at,
                ))?;
            self.connection
                .prepare_cached("INSERT INTO sso_users (user_uuid, identifier) VALUES (?1, ?2)")?
                .execute((&grantee.uuid, format!("https://login.example.org/{}", self.random.uuid())))?;
        }
        Ok(())
    }
}
