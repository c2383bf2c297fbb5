//! The text of key files, which a program reads as it is and a person may type.
//!
//! Follows `format-spec/03-cryptography.md#key-files`.

use zeroize::Zeroizing;

use super::keys::Credential;
use super::recovery;
use crate::crypto::derive;
use crate::crypto::random;
use crate::crypto::secret::{SECRET_LEN, Secret};
use crate::error::{Error, ErrorKind, Result};
use crate::id::Id;

/// First characters of the line in a key file that holds the key.
const KEY_FILE_PREFIX: &str = "STRONGROOM-KEY-1-";
/// Hexadecimal digits of the checksum at the line's end.
const CHECKSUM_DIGITS: usize = 8;

/// A credential with a new random key file secret.
pub fn new_key_file() -> Result<Credential> {
    Ok(Credential::KeyFile(Secret::new(random::bytes::<SECRET_LEN>()?)))
}

/// The text of a new key file for a secret.
pub fn key_file_text(secret: &Secret, label: &str) -> Zeroizing<String> {
    let digits = Zeroizing::new(Id(*secret.expose()).to_hex());
    let checksum: String = derive::hash(secret.expose()).to_hex().chars().take(CHECKSUM_DIGITS).collect();
    let label: String = label.chars().filter(|character| !character.is_control()).collect();
    Zeroizing::new(format!(
        "# Strongroom key file ({label}). Whoever reads this holds the key: keep it secret, keep a copy elsewhere.\n\
         {KEY_FILE_PREFIX}{}-{checksum}\n",
        *digits
    ))
}

/// Reads the secret from the text of a key file, or from a recovery text.
pub fn parse_key_file(text: &str) -> Result<Secret> {
    let bad = |why: &str| {
        Error::new(ErrorKind::WrongKey, format!("this is not a Strongroom key file: {why}")).hint(
            "a key file has a line that starts with STRONGROOM-KEY-1-, or the four lines of a recovery sheet",
        )
    };
    let line = text.lines().map(str::trim).find_map(|line| line.strip_prefix(KEY_FILE_PREFIX));
    let Some(line) = line else {
        return if recovery::is_recovery(text) {
            recovery::parse(text)
        } else {
            Err(bad("it has no line with a key"))
        };
    };
    let (digits, checksum) = line.split_once('-').ok_or_else(|| bad("its key has no checksum"))?;
    let secret =
        Id::from_hex(digits).map(|id| Secret::new(id.0)).ok_or_else(|| bad("its key is malformed"))?;
    let expected: String = derive::hash(secret.expose()).to_hex().chars().take(CHECKSUM_DIGITS).collect();
    if expected != checksum {
        return Err(bad("its checksum does not fit, so a character is wrong"));
    }
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_is_read_back_and_a_typing_mistake_is_found() {
        let secret = Secret::new([9; 32]);
        let text = key_file_text(&secret, "server\nnight");
        assert_eq!(text.lines().count(), 2);
        assert_eq!(parse_key_file(&text).unwrap(), secret);
        assert!(parse_key_file(&text.replacen("09", "08", 1)).is_err());
        assert!(parse_key_file("").is_err());
        // What a recovery sheet holds will do as well.
        assert_eq!(
            parse_key_file(&format!("For the safe.\n\n{}", *recovery::text(&secret))).unwrap(),
            secret
        );
    }
}
