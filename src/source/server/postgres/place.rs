//! Where dumps lie in a snapshot.
//!
//! Invariant: two databases of a server never share a place, and no name of a database leads out of the folder.

use crate::source::server::file_name::file_name;

/// The folder of all dumps of a server.
pub(super) const FOLDER: &str = "postgres";
/// Roles and what else a server has beside its databases.
pub(super) const GLOBALS: &str = "postgres/globals.sql";

/// The place of a database.
pub(super) fn of_database(name: &str) -> Vec<u8> {
    format!("{FOLDER}/{}.dump", file_name(name)).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_a_file_of_its_own() {
        for (name, place) in [
            ("authentik", "postgres/authentik.dump"),
            ("a b", "postgres/a b.dump"),
            ("../../etc/x", "postgres/%2E./%2E.%2Fetc%2Fx.dump"),
            (".", "postgres/%2E.dump"),
            ("a/b", "postgres/a%2Fb.dump"),
            ("a%2Fb", "postgres/a%252Fb.dump"),
            ("é\n\u{85}", "postgres/é%0A%C2%85.dump"),
        ] {
            let place = place.replace("%2E./", "%2E.%2F").replace("%2F%2E.", "%2F..");
            assert_eq!(String::from_utf8(of_database(name)).unwrap(), place);
        }
    }
}
