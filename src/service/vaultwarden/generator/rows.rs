//! The rows of the larger tables: what stands in them, and how they are put in.
//!
//! Invariant: texts have the lengths and the alphabet of the server's own, so that a generated
//! database compresses and cuts as a real one does; a row's content depends on its random stream
//! alone. Times are nanoseconds since 1970 until they are written.

use jiff::Timestamp;
use rusqlite::{Connection, params};

use super::random::{Random, push_base64};

/// A second in the unit of every time here.
pub(super) const SECOND: i64 = 1_000_000_000;

/// A day in the unit of every time here.
pub(super) const DAY: i64 = 86_400 * SECOND;

/// The head of an RSA public key of 2,048 bits, up to its modulus.
const PUBLIC_KEY_HEAD: &str = "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA";

/// A number as SQLite stores it.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A time as Diesel writes it, always with nine decimals so that rewritten rows keep their length.
pub(super) fn date_time(nanoseconds: i64) -> String {
    let time = Timestamp::from_nanosecond(i128::from(nanoseconds)).unwrap_or(Timestamp::UNIX_EPOCH);
    time.strftime("%Y-%m-%d %H:%M:%S%.9f").to_string()
}

/// An RSA public key in base64: 392 characters.
pub(super) fn public_key(random: &mut Random) -> String {
    let mut text = String::from(PUBLIC_KEY_HEAD);
    let mut modulus = random.bytes(256);
    modulus.extend([2, 3, 1, 0, 1]);
    push_base64(&mut text, &modulus);
    text
}

/// A key sealed to an RSA public key: 346 characters.
pub(super) fn sealed_to_public_key(random: &mut Random) -> String {
    format!("4.{}", random.base64(256))
}

/// Whose a cipher or a Send is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Owner<'name> {
    User(&'name str),
    Organization(&'name str),
}

impl<'name> Owner<'name> {
    fn columns(self) -> (Option<&'name str>, Option<&'name str>) {
        match self {
            Self::User(user) => (Some(user), None),
            Self::Organization(organization) => (None, Some(organization)),
        }
    }
}

/// What a cipher's row holds besides names and times.
#[derive(Clone, Debug)]
pub(super) struct Cipher {
    kind: i64,
    name: String,
    notes: Option<String>,
    fields: Option<String>,
    data: String,
    password_history: Option<String>,
    key: Option<String>,
}

impl Cipher {
    /// Draws a cipher: four in five are logins.
    pub(super) fn draw(random: &mut Random, now: i64) -> Self {
        let kind = match random.below(100) {
            0..=79 => 1,
            80..=89 => 2,
            90..=93 => 3,
            94..=97 => 4,
            _ => 5,
        };
        let notes_length = if kind == 2 { 1000 } else { 160 };
        let has_notes = kind == 2 || random.chance(180);
        let notes = has_notes.then(|| text_of(random, notes_length));
        let fields = random.chance(120).then(|| custom_fields(random));
        let password_history = (kind == 1 && random.chance(200)).then(|| password_history(random, now));
        let key = random.chance(400).then(|| random.enc_string(64));
        Self {
            kind,
            name: cipher_name(random),
            notes,
            fields,
            data: cipher_data(random, kind),
            password_history,
            key,
        }
    }

    /// Inserts it as a new row.
    pub(super) fn insert(
        &self,
        connection: &Connection,
        uuid: &str,
        owner: Owner<'_>,
        created_at: i64,
        updated_at: i64,
    ) -> rusqlite::Result<()> {
        let (user, organization) = owner.columns();
        let mut statement = connection.prepare_cached(
            "INSERT INTO ciphers (uuid, created_at, updated_at, user_uuid, organization_uuid, atype, name, notes,
             fields, data, password_history, deleted_at, reprompt, key)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, NULL, 0, ?12)",
        )?;
        statement.execute(params![
            uuid,
            date_time(created_at),
            date_time(updated_at),
            user,
            organization,
            self.kind,
            self.name,
            self.notes,
            self.fields,
            self.data,
            self.password_history,
            self.key,
        ])?;
        Ok(())
    }
}

/// A cipher's name: mostly one or two AES blocks.
pub(super) fn cipher_name(random: &mut Random) -> String {
    text_of(random, 32)
}

/// A cipher's data in JSON, by its type.
pub(super) fn cipher_data(random: &mut Random, kind: i64) -> String {
    match kind {
        1 => login(random),
        2 => r#"{"type":0}"#.to_owned(),
        3 => {
            let mut of = |length| random.enc_string(length);
            format!(
                r#"{{"brand":"{}","cardholderName":"{}","code":"{}","expMonth":"{}","expYear":"{}","number":"{}"}}"#,
                of(4),
                of(20),
                of(3),
                of(2),
                of(4),
                of(16)
            )
        }
        4 => {
            let mut of = |length| random.enc_string(length);
            format!(
                concat!(
                    r#"{{"address1":"{}","address2":null,"address3":null,"city":"{}","company":null,"country":"{}","#,
                    r#""email":"{}","firstName":"{}","lastName":"{}","licenseNumber":null,"middleName":null,"#,
                    r#""passportNumber":null,"phone":"{}","postalCode":"{}","ssn":null,"state":null,"title":"{}","#,
                    r#""username":"{}"}}"#
                ),
                of(24),
                of(12),
                of(8),
                of(24),
                of(8),
                of(10),
                of(14),
                of(5),
                of(2),
                of(12)
            )
        }
        _ => {
            let mut of = |length| random.enc_string(length);
            format!(
                r#"{{"keyFingerprint":"{}","privateKey":"{}","publicKey":"{}"}}"#,
                of(50),
                of(410),
                of(100)
            )
        }
    }
}

fn login(random: &mut Random) -> String {
    let one_time_password =
        if random.chance(120) { format!("\"{}\"", random.enc_string(40)) } else { "null".to_owned() };
    let password = text_of(random, 30);
    let username = text_of(random, 32);
    let addresses = 1 + u64::from(random.chance(150));
    let mut first = String::new();
    let mut listed = Vec::new();
    for _ in 0..addresses {
        let address = text_of(random, 56);
        let checksum = random.enc_string(44);
        listed.push(format!(r#"{{"match":null,"uri":"{address}","uriChecksum":"{checksum}"}}"#));
        if first.is_empty() {
            first = address;
        }
    }
    format!(
        concat!(
            r#"{{"autofillOnPageLoad":null,"fido2Credentials":null,"password":"{}","passwordRevisionDate":null,"#,
            r#""totp":{},"uri":"{}","uris":[{}],"username":"{}"}}"#
        ),
        password,
        one_time_password,
        first,
        listed.join(","),
        username
    )
}

fn custom_fields(random: &mut Random) -> String {
    let count = 1 + random.below(3);
    let fields: Vec<String> = (0..count)
        .map(|_| {
            let (name, value) = (random.enc_string(10), text_of(random, 40));
            format!(r#"{{"linkedId":null,"name":"{name}","type":0,"value":"{value}"}}"#)
        })
        .collect();
    format!("[{}]", fields.join(","))
}

fn password_history(random: &mut Random, now: i64) -> String {
    let count = 1 + random.below(2);
    let entries: Vec<String> = (0..count)
        .map(|_| {
            let date = date_time(now - signed(random.below(400)) * DAY);
            let date = date.get(..23).unwrap_or_default().replace(' ', "T");
            format!(r#"{{"lastUsedDate":"{date}Z","password":"{}"}}"#, text_of(random, 30))
        })
        .collect();
    format!("[{}]", entries.join(","))
}

/// An EncString of a text with at most so many bytes.
fn text_of(random: &mut Random, longest: usize) -> String {
    let length = random.length_below(longest);
    random.enc_string(length)
}

/// Inserts a device that has logged in.
pub(super) fn insert_device(
    connection: &Connection,
    random: &mut Random,
    user: &str,
    created_at: i64,
    updated_at: i64,
) -> rusqlite::Result<()> {
    let kinds = [("chrome", 9), ("firefox", 10), ("android", 0), ("ios", 1), ("windows", 6), ("linux", 8)];
    let (name, kind) = random.pick(&kinds).copied().unwrap_or(("chrome", 9));
    let remembered = random.chance(200).then(|| random.base64(180));
    let mut statement = connection.prepare_cached(
        "INSERT INTO devices (uuid, created_at, updated_at, user_uuid, name, atype, push_token, refresh_token,
         twofactor_remember, push_uuid) VALUES (?1, ?2, ?3, ?4, ?5, ?6, NULL, ?7, ?8, ?9)",
    )?;
    statement.execute(params![
        random.uuid(),
        date_time(created_at),
        date_time(updated_at),
        user,
        name,
        kind,
        refresh_token(random),
        remembered,
        random.uuid(),
    ])?;
    Ok(())
}

/// A refresh token: 64 bytes in the base64 of addresses, 88 characters.
pub(super) fn refresh_token(random: &mut Random) -> String {
    random.base64(64).replace('+', "-").replace('/', "_")
}

/// What an event is about.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Event<'name> {
    pub kind: i64,
    pub user: Option<&'name str>,
    pub organization: Option<&'name str>,
    pub cipher: Option<&'name str>,
    pub acting_user: Option<&'name str>,
}

/// Inserts an event.
pub(super) fn insert_event(
    connection: &Connection,
    random: &mut Random,
    event: &Event<'_>,
    at: i64,
) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO event (uuid, event_type, user_uuid, org_uuid, cipher_uuid, act_user_uuid, device_type,
         ip_address, event_date) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?;
    statement.execute(params![
        random.uuid(),
        event.kind,
        event.user,
        event.organization,
        event.cipher,
        event.acting_user,
        signed(random.below(12)),
        random.address(),
        date_time(at),
    ])?;
    Ok(())
}

/// Puts in an attachment's row, as the server does before it writes the file.
pub(super) fn insert_attachment(
    connection: &Connection,
    random: &mut Random,
    id: &str,
    cipher: &str,
    file_size: u64,
) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(
        "REPLACE INTO attachments (id, cipher_uuid, file_name, file_size, akey) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    let file_name = text_of(random, 40);
    statement.execute(params![id, cipher, file_name, signed(file_size), random.enc_string(64)])?;
    Ok(())
}

/// What a Send carries.
#[derive(Clone, Copy, Debug)]
pub(super) enum Load<'name> {
    Text,
    File {
        id: &'name str,
        size: u64,
        /// Written by an old server, whose keys begin with capitals.
        capitals: bool,
    },
}

/// Puts in a Send's row.
pub(super) fn insert_send(
    connection: &Connection,
    random: &mut Random,
    uuid: &str,
    user: &str,
    load: Load<'_>,
    created_at: i64,
) -> rusqlite::Result<()> {
    let (kind, data) = match load {
        Load::Text => (0, format!(r#"{{"hidden":false,"text":"{}"}}"#, text_of(random, 300))),
        Load::File { id, size, capitals } => {
            let (name, words) = (text_of(random, 40), size_in_words(size));
            let data = if capitals {
                format!(r#"{{"FileName":"{name}","Id":"{id}","Size":{size},"SizeName":"{words}"}}"#)
            } else {
                format!(r#"{{"fileName":"{name}","id":"{id}","size":{size},"sizeName":"{words}"}}"#)
            };
            (1, data)
        }
    };
    let created = date_time(created_at);
    let mut statement = connection.prepare_cached(
        "REPLACE INTO sends (uuid, user_uuid, name, atype, data, akey, access_count, creation_date, revision_date,
         deletion_date, disabled, hide_email) VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, ?7, ?7, ?8, 0, 0)",
    )?;
    statement.execute(params![
        uuid,
        user,
        text_of(random, 32),
        kind,
        data,
        random.enc_string(16),
        created,
        date_time(created_at + 7 * DAY),
    ])?;
    Ok(())
}

/// A size as the server words it: "1.46 KB".
fn size_in_words(size: u64) -> String {
    let (unit, name) = match size {
        0..1024 => (1, "bytes"),
        1024..1_048_576 => (1024, "KB"),
        _ => (1_048_576, "MB"),
    };
    format!("{}.{:02} {name}", size / unit, size % unit * 100 / unit)
}
