//! What to do about what the clients say.

use super::super::remedy::{self, Remedy};
use crate::error::{Error, ErrorKind};

/// The first that fits counts.
const REMEDIES: &[Remedy] = &[
    (
        &["error 1045"],
        "check the user and the password, and from which hosts the user may connect (SELECT user, host FROM mysql.user)",
    ),
    (
        &["access denied for user", "using password"],
        "check the user and the password, and from which hosts the user may connect (SELECT user, host FROM mysql.user)",
    ),
    (
        &["1698"],
        "this user logs in by the system's own user: run as that user through the socket, or make a user with a password for backups",
    ),
    (&["no such container"], "check the container's name in --prefix"),
    (
        &["unknown database"],
        "check the database's name in the address; SHOW DATABASES names those that the user may see",
    ),
    (
        &["show create procedure"],
        "as an administrator: GRANT SELECT ON mysql.proc TO USER (MariaDB), or GRANT SHOW_ROUTINE ON *.* TO USER (MySQL)",
    ),
    (
        &["show create function"],
        "as an administrator: GRANT SELECT ON mysql.proc TO USER (MariaDB), or GRANT SHOW_ROUTINE ON *.* TO USER (MySQL)",
    ),
    (&["show view command denied"], "as an administrator: GRANT SHOW VIEW ON DATABASE.* TO USER"),
    (&["show events"], "as an administrator: GRANT EVENT ON DATABASE.* TO USER"),
    (&["trigger command denied"], "as an administrator: GRANT TRIGGER ON DATABASE.* TO USER"),
    (
        &["references invalid table"],
        "a view is broken, and the client stops there: mend the view, or drop it (DROP VIEW)",
    ),
    (
        &["definer", "does not exist"],
        "the user who made a view is gone, and the client stops there: make the view anew with ALTER DEFINER=... VIEW",
    ),
    (
        &["command denied"],
        "as an administrator: GRANT SELECT, SHOW VIEW, TRIGGER, EVENT, LOCK TABLES ON DATABASE.* TO USER",
    ),
    (
        &["access denied"],
        "as an administrator: GRANT SELECT, SHOW VIEW, TRIGGER, EVENT, LOCK TABLES ON DATABASE.* TO USER",
    ),
    (&["unknown mysql server host"], "check the host's name in the address"),
    (&["unknown server host"], "check the host's name in the address"),
    (&["can't connect"], "check host, port or socket, and whether the server runs and listens there"),
    (
        &["plugin", "cannot be loaded"],
        "the client lacks the way in which this user logs in: install the clients of the server's own kind, or run those in its container with --prefix 'docker exec -i NAME'",
    ),
    (&["ssl connection error"], "check ssl-mode, ssl-ca, ssl-cert and ssl-key in the address"),
    (&["tls/ssl error"], "check ssl-mode, ssl-ca, ssl-cert and ssl-key in the address"),
    (&["is marked as crashed"], "a table is damaged: repair it (REPAIR TABLE), and keep older snapshots"),
    (
        &["table definition has changed"],
        "a table was changed while it was dumped: run again once that is done",
    ),
    (
        &["doesn't exist in engine"],
        "a table is damaged, for its file is gone: restore it, and keep older snapshots",
    ),
    (
        &["doesn't exist"],
        "a table went away while it was dumped, or the server has lost its file: run again, and if that does not help look into the server's log",
    ),
    (
        &["lock wait timeout"],
        "somebody holds a lock on a table, such as a migration: run again once that is done",
    ),
    (
        &["too many connections"],
        "the server has no connection left: raise max_connections, or run at another time",
    ),
    (
        &["max_allowed_packet"],
        "a row is longer than the client takes: set max-allowed-packet=1G for [mysqldump] in an option file",
    ),
    (
        &["server has gone away"],
        "the server was stopped while it was dumped, or ended the connection: see its log, and run again",
    ),
    (
        &["lost connection"],
        "the server was stopped while it was dumped, or ended the connection: see its log, and run again",
    ),
    (&["shutdown in progress"], "the server was stopped while it was dumped: run again once it is up"),
    (&["connection was killed"], "somebody ended the connection on the server: run again"),
    (
        &["unknown option"],
        "the client is too old for what is asked of it: install MariaDB's 10.3 or MySQL's 5.7 or newer",
    ),
    (
        &["unknown variable"],
        "an option file sets something that the client does not know, or it is too old: install MariaDB's 10.3 or MySQL's 5.7 or newer",
    ),
    (
        &["was killed by signal"],
        "the client was ended from outside, perhaps for want of memory: see the system's log, and run again",
    ),
    (
        // What a shell or a container makes of the same.
        &["failed with exit code 137"],
        "the client was ended from outside, perhaps for want of memory: see the system's log, and run again",
    ),
    (
        &["nothing came for"],
        "the server or the connection hangs, or somebody holds a lock on a table: see SHOW PROCESSLIST on the server, and run again",
    ),
];

/// The same where a database is to be made, filled or renamed; these count first.
const FILLING: &[Remedy] = &[
    (
        &["error 1044"],
        "as an administrator: GRANT ALL ON DATABASE.* TO USER; or make the database there, and name it",
    ),
    (
        &["error 1227"],
        "views, triggers and routines of other users are made by administrators only: log in as one (GRANT SUPER, or SET \
         USER)",
    ),
    (&["command denied"], "as an administrator: GRANT ALL ON DATABASE.* TO USER"),
    (
        &["unknown collation"],
        "the server does not know how the dump sorts its texts: restore into a server of the kind and the version that \
         was dumped",
    ),
    (
        &["table is full"],
        "free some space on the server's disk, and run the same command again with an empty database",
    ),
    (
        &["no space left"],
        "free some space on the server's disk, and run the same command again with an empty database",
    ),
    (
        &["max_allowed_packet"],
        "a row is longer than the server takes: SET GLOBAL max_allowed_packet = 1073741824 there, and run again with an \
         empty database",
    ),
    (
        &["server has gone away"],
        "the server was stopped, or takes no statement as long as one of the dump (max_allowed_packet): see its log, and \
         run again with an empty database",
    ),
    (
        &["lost connection"],
        "the server was stopped: see its log, and run the same command again with an empty database",
    ),
];

/// What to do where nothing better is known.
const OTHERWISE: &str = "the words of the client stand above; try the same connection with mariadb or mysql";

/// Adds the next step where a database is to be made, filled or renamed.
pub(super) fn explain_fill(error: Error, what: String) -> Error {
    match remedy::find(&error, FILLING) {
        Some(step) if error.kind() == ErrorKind::Io => error.context(what).hint(step),
        _ => explain(error, what),
    }
}

/// Adds the next step.
pub(super) fn explain(error: Error, what: String) -> Error {
    remedy::explain(error, what, REMEDIES, OTHERWISE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_clients_say_leads_to_a_next_step() {
        for (words, step) in [
            ("ERROR 1045 (28000): Access denied for user 'a'@'localhost' (using password: YES)", "password"),
            ("ERROR 1049 (42000): Unknown database 'x'", "SHOW DATABASES"),
            ("ERROR 2002 (HY000): Can't connect to local server through socket '/x' (2)", "listens"),
            (
                "mariadb-dump: Got error: 1142: \"SELECT command denied to user 'a'@'b' for table `x`.`y`\"",
                "GRANT SELECT",
            ),
            ("Couldn't execute 'SHOW FIELDS FROM `v`': View 'a.v' references invalid table(s)", "DROP VIEW"),
            (
                "Error 2013: Lost connection to server during query when dumping table `t` at row: 0",
                "stopped",
            ),
            ("something else", "mariadb or mysql"),
        ] {
            let error = Error::new(ErrorKind::Io, format!("the command mariadb-dump failed: {words}"));
            let error = explain(error, "MariaDB at h cannot be dumped".to_owned());
            assert!(error.next_step().unwrap().contains(step), "{words}: {:?}", error.next_step());
            assert!(error.chain().contains(words));
        }
        assert_eq!(explain(Error::corrupt("cut").hint("again"), "it".to_owned()).next_step(), Some("again"));
        let error = explain(Error::new(ErrorKind::Interrupted, "interrupted"), "it".to_owned());
        assert_eq!(error.chain(), "interrupted");
    }
}
