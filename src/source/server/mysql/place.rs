//! Where dumps lie in a snapshot.
//!
//! Invariant: two databases of a server never share a place, nor one with the users, and no name of a database leads out
//! of the folder.

use crate::source::server::file_name::{escape, file_name};

/// The folder of all dumps of a server.
pub(super) const FOLDER: &str = "mysql";
/// Users, and what they may.
pub(super) const GLOBALS: &str = "mysql/globals.sql";

/// The place of a database. What no file's name should hold is written as `%` and two digits: `/`, `%`, control
/// characters, and a dot in front; and the first letter of a database that is called as the file of the users is.
pub(super) fn of_database(name: &str) -> Vec<u8> {
    let mut file = file_name(name);
    if name == "globals" {
        file.clear();
        escape('g', &mut file);
        file.push_str("lobals");
    }
    format!("{FOLDER}/{file}.sql").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_a_file_of_its_own() {
        for (name, place) in [
            ("vaultwarden", "mysql/vaultwarden.sql"),
            ("a b", "mysql/a b.sql"),
            ("../x", "mysql/%2E.%2Fx.sql"),
            ("a%2Fb", "mysql/a%252Fb.sql"),
            ("globals", "mysql/%67lobals.sql"),
            ("é\n", "mysql/é%0A.sql"),
        ] {
            assert_eq!(String::from_utf8(of_database(name)).unwrap(), place);
        }
    }
}
