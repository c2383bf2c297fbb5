//! The tables of Vaultwarden on SQLite, as its migrations leave them.
//!
//! Columns stand in the order in which migrations added them, for that order decides how a row lies
//! in its page. Invariant: primary keys and unique constraints make the only indexes; no table is
//! WITHOUT ROWID; foreign keys are declared as the server declares them.

use rusqlite::Connection;

/// Creates every table in an empty database and notes the migrations as run at a time.
pub(super) fn create(connection: &Connection, run_on: &str) -> rusqlite::Result<()> {
    connection.execute_batch(TABLES)?;
    let mut insert =
        connection.prepare("INSERT INTO __diesel_schema_migrations (version, run_on) VALUES (?1, ?2)")?;
    for version in MIGRATIONS {
        insert.execute((version, run_on))?;
    }
    Ok(())
}

const TABLES: &str = "
CREATE TABLE __diesel_schema_migrations (version VARCHAR(50) PRIMARY KEY NOT NULL,
  run_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP);
CREATE TABLE users (uuid TEXT NOT NULL PRIMARY KEY, created_at DATETIME NOT NULL, updated_at DATETIME NOT NULL,
  email TEXT NOT NULL UNIQUE, name TEXT NOT NULL, password_hash BLOB NOT NULL, salt BLOB NOT NULL,
  password_iterations INTEGER NOT NULL, password_hint TEXT, akey TEXT NOT NULL, private_key TEXT, public_key TEXT,
  totp_secret TEXT, totp_recover TEXT, security_stamp TEXT NOT NULL, equivalent_domains TEXT NOT NULL,
  excluded_globals TEXT NOT NULL, client_kdf_type INTEGER NOT NULL DEFAULT 0,
  client_kdf_iter INTEGER NOT NULL DEFAULT 100000, verified_at DATETIME DEFAULT NULL,
  last_verifying_at DATETIME DEFAULT NULL, login_verify_count INTEGER NOT NULL DEFAULT 0,
  email_new TEXT DEFAULT NULL, email_new_token TEXT DEFAULT NULL, enabled BOOLEAN NOT NULL DEFAULT 1,
  stamp_exception TEXT DEFAULT NULL, api_key TEXT, avatar_color TEXT, client_kdf_memory INTEGER DEFAULT NULL,
  client_kdf_parallelism INTEGER DEFAULT NULL, external_id TEXT);
CREATE TABLE folders (uuid TEXT NOT NULL PRIMARY KEY, created_at DATETIME NOT NULL, updated_at DATETIME NOT NULL,
  user_uuid TEXT NOT NULL REFERENCES users (uuid), name TEXT NOT NULL);
CREATE TABLE organizations (uuid TEXT NOT NULL PRIMARY KEY, name TEXT NOT NULL, billing_email TEXT NOT NULL,
  private_key TEXT, public_key TEXT);
CREATE TABLE collections (uuid TEXT NOT NULL PRIMARY KEY, org_uuid TEXT NOT NULL REFERENCES organizations (uuid),
  name TEXT NOT NULL, external_id TEXT);
CREATE TABLE users_collections (user_uuid TEXT NOT NULL REFERENCES users (uuid),
  collection_uuid TEXT NOT NULL REFERENCES collections (uuid), read_only BOOLEAN NOT NULL DEFAULT 0,
  hide_passwords BOOLEAN NOT NULL DEFAULT 0, manage BOOLEAN NOT NULL DEFAULT FALSE,
  PRIMARY KEY (user_uuid, collection_uuid));
CREATE TABLE users_organizations (uuid TEXT NOT NULL PRIMARY KEY, user_uuid TEXT NOT NULL REFERENCES users (uuid),
  org_uuid TEXT NOT NULL REFERENCES organizations (uuid), access_all BOOLEAN NOT NULL, akey TEXT NOT NULL,
  status INTEGER NOT NULL, atype INTEGER NOT NULL, reset_password_key TEXT, external_id TEXT,
  invited_by_email TEXT DEFAULT NULL, UNIQUE (user_uuid, org_uuid));
CREATE TABLE ciphers (uuid TEXT NOT NULL PRIMARY KEY, created_at DATETIME NOT NULL, updated_at DATETIME NOT NULL,
  user_uuid TEXT REFERENCES users (uuid), organization_uuid TEXT REFERENCES organizations (uuid),
  atype INTEGER NOT NULL, name TEXT NOT NULL, notes TEXT, fields TEXT, data TEXT NOT NULL, password_history TEXT,
  deleted_at DATETIME, reprompt INTEGER, \"key\" TEXT);
CREATE TABLE folders_ciphers (cipher_uuid TEXT NOT NULL REFERENCES ciphers (uuid),
  folder_uuid TEXT NOT NULL REFERENCES folders (uuid), PRIMARY KEY (cipher_uuid, folder_uuid));
CREATE TABLE ciphers_collections (cipher_uuid TEXT NOT NULL REFERENCES ciphers (uuid),
  collection_uuid TEXT NOT NULL REFERENCES collections (uuid), PRIMARY KEY (cipher_uuid, collection_uuid));
CREATE TABLE attachments (id TEXT NOT NULL PRIMARY KEY, cipher_uuid TEXT NOT NULL REFERENCES ciphers (uuid),
  file_name TEXT NOT NULL, file_size INTEGER NOT NULL, akey TEXT);
CREATE TABLE twofactor (uuid TEXT NOT NULL PRIMARY KEY, user_uuid TEXT NOT NULL REFERENCES users (uuid),
  atype INTEGER NOT NULL, enabled BOOLEAN NOT NULL, data TEXT NOT NULL, last_used INTEGER NOT NULL DEFAULT 0,
  UNIQUE (user_uuid, atype));
CREATE TABLE invitations (email TEXT NOT NULL PRIMARY KEY);
CREATE TABLE org_policies (uuid TEXT NOT NULL PRIMARY KEY, org_uuid TEXT NOT NULL REFERENCES organizations (uuid),
  atype INTEGER NOT NULL, enabled BOOLEAN NOT NULL, data TEXT NOT NULL, UNIQUE (org_uuid, atype));
CREATE TABLE favorites (user_uuid TEXT NOT NULL REFERENCES users (uuid),
  cipher_uuid TEXT NOT NULL REFERENCES ciphers (uuid), PRIMARY KEY (user_uuid, cipher_uuid));
CREATE TABLE sends (uuid TEXT NOT NULL PRIMARY KEY, user_uuid TEXT REFERENCES users (uuid),
  organization_uuid TEXT REFERENCES organizations (uuid), name TEXT NOT NULL, notes TEXT, atype INTEGER NOT NULL,
  data TEXT NOT NULL, akey TEXT NOT NULL, password_hash BLOB, password_salt BLOB, password_iter INTEGER,
  max_access_count INTEGER, access_count INTEGER NOT NULL, creation_date DATETIME NOT NULL,
  revision_date DATETIME NOT NULL, expiration_date DATETIME, deletion_date DATETIME NOT NULL,
  disabled BOOLEAN NOT NULL, hide_email BOOLEAN);
CREATE TABLE emergency_access (uuid TEXT NOT NULL PRIMARY KEY, grantor_uuid TEXT REFERENCES users (uuid),
  grantee_uuid TEXT REFERENCES users (uuid), email TEXT, key_encrypted TEXT, atype INTEGER NOT NULL,
  status INTEGER NOT NULL, wait_time_days INTEGER NOT NULL, recovery_initiated_at DATETIME,
  last_notification_at DATETIME, updated_at DATETIME NOT NULL, created_at DATETIME NOT NULL);
CREATE TABLE twofactor_incomplete (user_uuid TEXT NOT NULL REFERENCES users (uuid), device_uuid TEXT NOT NULL,
  device_name TEXT NOT NULL, login_time DATETIME NOT NULL, ip_address TEXT NOT NULL,
  device_type INTEGER NOT NULL DEFAULT 14, PRIMARY KEY (user_uuid, device_uuid));
CREATE TABLE devices (uuid TEXT NOT NULL, created_at DATETIME NOT NULL, updated_at DATETIME NOT NULL,
  user_uuid TEXT NOT NULL, name TEXT NOT NULL, atype INTEGER NOT NULL, push_token TEXT,
  refresh_token TEXT NOT NULL, twofactor_remember TEXT, push_uuid TEXT, PRIMARY KEY (uuid, user_uuid),
  FOREIGN KEY (user_uuid) REFERENCES users (uuid));
CREATE TABLE groups (uuid TEXT NOT NULL PRIMARY KEY, organizations_uuid TEXT NOT NULL REFERENCES organizations (uuid),
  name TEXT NOT NULL, access_all BOOLEAN NOT NULL, external_id TEXT NULL, creation_date TIMESTAMP NOT NULL,
  revision_date TIMESTAMP NOT NULL);
CREATE TABLE groups_users (groups_uuid TEXT NOT NULL REFERENCES groups (uuid),
  users_organizations_uuid TEXT NOT NULL REFERENCES users_organizations (uuid),
  UNIQUE (groups_uuid, users_organizations_uuid));
CREATE TABLE collections_groups (collections_uuid TEXT NOT NULL REFERENCES collections (uuid),
  groups_uuid TEXT NOT NULL REFERENCES groups (uuid), read_only BOOLEAN NOT NULL, hide_passwords BOOLEAN NOT NULL,
  manage BOOLEAN NOT NULL DEFAULT FALSE, UNIQUE (collections_uuid, groups_uuid));
CREATE TABLE event (uuid TEXT NOT NULL PRIMARY KEY, event_type INTEGER NOT NULL, user_uuid TEXT, org_uuid TEXT,
  cipher_uuid TEXT, collection_uuid TEXT, group_uuid TEXT, org_user_uuid TEXT, act_user_uuid TEXT,
  device_type INTEGER, ip_address TEXT, event_date DATETIME NOT NULL, policy_uuid TEXT, provider_uuid TEXT,
  provider_user_uuid TEXT, provider_org_uuid TEXT, UNIQUE (uuid));
CREATE TABLE organization_api_key (uuid TEXT NOT NULL, org_uuid TEXT NOT NULL, atype INTEGER NOT NULL,
  api_key TEXT NOT NULL, revision_date DATETIME NOT NULL, PRIMARY KEY (uuid, org_uuid),
  FOREIGN KEY (org_uuid) REFERENCES organizations (uuid));
CREATE TABLE auth_requests (uuid TEXT NOT NULL PRIMARY KEY, user_uuid TEXT NOT NULL, organization_uuid TEXT,
  request_device_identifier TEXT NOT NULL, device_type INTEGER NOT NULL, request_ip TEXT NOT NULL,
  response_device_id TEXT, access_code TEXT NOT NULL, public_key TEXT NOT NULL, enc_key TEXT,
  master_password_hash TEXT, approved BOOLEAN, creation_date DATETIME NOT NULL, response_date DATETIME,
  authentication_date DATETIME, FOREIGN KEY (user_uuid) REFERENCES users (uuid),
  FOREIGN KEY (organization_uuid) REFERENCES organizations (uuid));
CREATE TABLE sso_users (user_uuid TEXT NOT NULL PRIMARY KEY, identifier TEXT NOT NULL UNIQUE,
  FOREIGN KEY (user_uuid) REFERENCES users (uuid) ON UPDATE CASCADE ON DELETE CASCADE);
CREATE TABLE twofactor_duo_ctx (state TEXT NOT NULL, user_email TEXT NOT NULL, nonce TEXT NOT NULL,
  exp INTEGER NOT NULL, PRIMARY KEY (state));
CREATE TABLE sso_auth (state TEXT NOT NULL PRIMARY KEY, client_challenge TEXT NOT NULL, nonce TEXT NOT NULL,
  redirect_uri TEXT NOT NULL, code_response TEXT, auth_response TEXT,
  created_at DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP, updated_at DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP,
  binding_hash TEXT);
CREATE TABLE archives (user_uuid TEXT NOT NULL REFERENCES users (uuid), cipher_uuid TEXT NOT NULL REFERENCES ciphers (uuid),
  archived_at DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP, PRIMARY KEY (user_uuid, cipher_uuid));
";

/// Diesel's names: the digits before the first underscore of each migration's folder.
const MIGRATIONS: [&str; 55] = [
    "20180114171611",
    "20180217205753",
    "20180427155151",
    "20180508161616",
    "20180525232323",
    "20180601112529",
    "20180711181453",
    "20180827172114",
    "20180910111213",
    "20180919144557",
    "20181127152651",
    "20190526216651",
    "20191010083032",
    "20191117011009",
    "20200313205045",
    "20200409235005",
    "20200701214531",
    "20200802025025",
    "20201130224000",
    "20201209173101",
    "20210311190243",
    "20210315163412",
    "20210430233251",
    "20210511205202",
    "20210701203140",
    "20210830193501",
    "20211024164321",
    "20220117234911",
    "20220302210038",
    "20220727110000",
    "20221018170602",
    "20230106151600",
    "20230111205851",
    "20230131222222",
    "20230218125735",
    "20230602200424",
    "20230617200424",
    "20230628133700",
    "20230901170620",
    "20230902212336",
    "20230910133000",
    "20230914133000",
    "20231021221242",
    "20240112210182",
    "20240214140000",
    "20240214170000",
    "20240226170000",
    "20240306170000",
    "20240313",
    "20240605131359",
    "20240904091351",
    "20250109172300",
    "20250820120000",
    "20260309005927add",
    "20260425120000",
];
