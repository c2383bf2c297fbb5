//! The files beside the database: attachments, Sends, settings, key, icons.
//!
//! Invariant: a file's bytes depend on the seed and on its path in the folder alone. Attachments and
//! Sends are laid out as the server's clients make them: a type byte, an IV, a MAC, ciphertext in
//! whole AES blocks; so no compressor and no deduplication finds anything in them.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::error::{Error, Result};

use super::random::Random;

/// Bytes of an encrypted file before its ciphertext: type, IV, MAC.
const FRAME: u64 = 49;

/// Bytes of an AES block.
const BLOCK: u64 = 16;

/// The length an encrypted file can have that is nearest above the one wanted.
pub(super) fn sealed_length(wanted: u64) -> u64 {
    FRAME + wanted.saturating_sub(FRAME).max(1).div_ceil(BLOCK) * BLOCK
}

/// Draws so many file lengths that come to about a total; most lie within a factor of ten.
pub(super) fn lengths(random: &mut Random, count: u64, total: u64) -> Vec<u64> {
    let mut weights = Vec::new();
    for _ in 0..count {
        let doublings = random.below(3) + random.below(3);
        // A large installation has a few very large files.
        let far_out = count > 100 && random.chance(10);
        let weight = (1 << doublings) * (1024 + random.below(1024));
        weights.push(if far_out { weight * 16 } else { weight });
    }
    let sum: u64 = weights.iter().sum();
    let share = |weight: &u64| u128::from(total) * u128::from(*weight) / u128::from(sum.max(1));
    weights.iter().map(|weight| sealed_length(u64::try_from(share(weight)).unwrap_or(0))).collect()
}

/// Writes an encrypted file of a length from [`sealed_length`] at a path below the data folder.
///
/// As in the server it grows in `tmp` and is then moved to its place, so that nobody sees half of it.
pub(super) fn write_sealed(folder: &Path, path: &str, length: u64, seed: u64) -> Result<()> {
    let mut random = Random::new(seed, path);
    let growing = folder.join("tmp").join(random.hex(16));
    let place = folder.join(path);
    for parent in [growing.parent(), place.parent()].into_iter().flatten() {
        make_folder(parent)?;
    }
    let failed = |error| Error::io(format!("cannot write {}", growing.display()), error);
    let mut file = File::create(&growing).map_err(failed)?;
    let mut rest = length;
    let mut type_byte = true;
    while rest > 0 {
        let mut bytes = random.bytes(usize::try_from(rest.min(64 * 1024)).unwrap_or(64 * 1024));
        if let (true, Some(first)) = (type_byte, bytes.first_mut()) {
            *first = 2;
            type_byte = false;
        }
        file.write_all(&bytes).map_err(failed)?;
        rest = rest.saturating_sub(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
    }
    drop(file);
    fs::rename(&growing, &place)
        .map_err(|error| Error::io(format!("cannot create {}", place.display()), error))
}

/// Removes a file below the data folder; as in the server one already gone is no failure.
pub(super) fn remove(folder: &Path, path: &str) -> Result<()> {
    let place = folder.join(path);
    match fs::remove_file(&place) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io(format!("cannot remove {}", place.display()), error))
        }
        _ => Ok(()),
    }
}

/// Writes what every data folder holds besides attachments and Sends.
pub(super) fn write_common(folder: &Path, seed: u64) -> Result<()> {
    for name in ["attachments", "sends", "icon_cache", "tmp"] {
        make_folder(&folder.join(name))?;
    }
    let mut random = Random::new(seed, "common files");
    write_new(&folder.join("config.json"), settings(&mut random).as_bytes())?;
    let key = folder.join("rsa_key.pem");
    write_new(&key, private_key(&mut random).as_bytes())?;
    // The server leaves its key readable to everybody, which a restore has to keep as it is.
    fs::set_permissions(&key, Permissions::from_mode(0o644))
        .map_err(|error| Error::io(format!("cannot set the mode of {}", key.display()), error))?;
    for domain in ["github.com", "example.org", "wikipedia.org", "mail.example.org", "bank.example.com"] {
        let mut icon = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0 \0\0\0 \x08\x06\0\0\0".to_vec();
        let length = 400 + random.length_below(2600);
        icon.extend(random.bytes(length));
        write_new(&folder.join("icon_cache").join(format!("{domain}.png")), &icon)?;
    }
    write_new(&folder.join("icon_cache/intranet.example.png.miss"), b"")
}

/// Creates a folder and those above it.
pub(super) fn make_folder(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)
        .map_err(|error| Error::io(format!("cannot create {}", folder.display()), error))
}

fn write_new(path: &Path, bytes: &[u8]) -> Result<()> {
    let opened = OpenOptions::new().write(true).create_new(true).open(path);
    opened
        .and_then(|mut file| file.write_all(bytes))
        .map_err(|error| Error::io(format!("cannot write {}", path.display()), error))
}

fn settings(random: &mut Random) -> String {
    let salt = random.base64(33);
    let hash = random.base64(33);
    format!(
        concat!(
            "{{\n  \"domain\": \"https://vault.example.org\",\n  \"sends_allowed\": true,\n",
            "  \"signups_allowed\": false,\n  \"invitations_allowed\": true,\n",
            "  \"admin_token\": \"$argon2id$v=19$m=65540,t=3,p=4${}${}\",\n",
            "  \"smtp_host\": \"mail.example.org\",\n  \"smtp_security\": \"starttls\",\n  \"smtp_port\": 587,\n",
            "  \"smtp_from\": \"vault@example.org\",\n  \"smtp_username\": \"vault\",\n",
            "  \"smtp_password\": \"{}\"\n}}"
        ),
        salt,
        hash,
        random.hex(24)
    )
}

fn private_key(random: &mut Random) -> String {
    let body = format!("MIIEpAIBAAKCAQEA{}", random.base64(1180));
    let mut text = String::from("-----BEGIN RSA PRIVATE KEY-----\n");
    for (place, character) in body.chars().enumerate() {
        if place > 0 && place % 64 == 0 {
            text.push('\n');
        }
        text.push(character);
    }
    text.push_str("\n-----END RSA PRIVATE KEY-----\n");
    text
}
