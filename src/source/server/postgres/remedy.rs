//! What to do about what the clients say when they fail.
//!
//! Invariant: the clients' own words stay in the chain of causes; here only the next step is added.

use super::super::remedy::{self, Remedy};
use crate::error::{Error, ErrorKind};

/// The first that fits counts.
const REMEDIES: &[Remedy] = &[
    (&["password authentication failed"], "check the user's name and the password, for instance with psql"),
    (
        &["no password supplied"],
        "the server wants a password: give it as PGPASSWORD, in ~/.pgpass (PGPASSFILE), or as Strongroom's --help says",
    ),
    (
        &["no pg_hba.conf entry"],
        "add a line for this user, database and host to the server's pg_hba.conf and reload it, or try ?sslmode=require",
    ),
    (
        &["authentication failed for user"],
        "run as that user of the system, or name a host and log in with a password: postgresql://USER@localhost/DATABASE",
    ),
    (&["no such container"], "name a container that runs: `docker ps` lists them"),
    (
        &["executable file not found"],
        "the container has no PostgreSQL clients: name the server's own container, or leave the prefix out",
    ),
    (&["role", "does not exist"], "log in as a role that the server has: psql's \\du lists them"),
    (
        &["database", "does not exist"],
        "psql's \\l lists the databases of the server; upper and lower case differ",
    ),
    (&["is not currently accepting connections"], "name the databases to dump, this one left out"),
    (&["permission denied for database"], "as a superuser: GRANT CONNECT ON DATABASE NAME TO USER"),
    (
        &["permission denied"],
        "as a superuser: GRANT pg_read_all_data TO USER (PostgreSQL 14 and newer), or GRANT SELECT on what is named, or dump as its owner",
    ),
    (&["row-level security"], "dump as the table's owner, a superuser or a role with BYPASSRLS"),
    (&["row security"], "dump as the table's owner, a superuser or a role with BYPASSRLS"),
    (&["could not translate host name"], "check the host's name in the address"),
    (&["connection refused"], "check host and port, and whether the server runs and listens there"),
    (&["is the server running"], "check host and port, and whether the server runs and listens there"),
    (&["timeout expired"], "check host and port, firewalls in between, and whether the server answers"),
    (&["timed out"], "check host and port, firewalls in between, and whether the server answers"),
    (&["no route to host"], "check host and port, firewalls in between, and whether the server answers"),
    (
        &["too many clients"],
        "the server has no connection left: raise max_connections, or run at another time",
    ),
    (
        &["remaining connection slots"],
        "the server has no connection left: raise max_connections, or run at another time",
    ),
    (
        &["statement timeout", "lock table"],
        "somebody holds a lock on the table, such as a migration or VACUUM FULL: run again once that is done",
    ),
    (
        &["lock timeout"],
        "somebody holds a lock on the table, such as a migration or VACUUM FULL: run again once that is done",
    ),
    (
        &["could not obtain lock"],
        "somebody holds a lock on the table, such as a migration or VACUUM FULL: run again once that is done",
    ),
    (
        &["conflict with recovery"],
        "a standby cancels long reads: set hot_standby_feedback = on there, or raise max_standby_streaming_delay, or dump the primary",
    ),
    (&["starting up"], "the server is starting: run again once it accepts connections"),
    (&["shutting down"], "the server was stopped while it was dumped: run again once it is up"),
    (
        &["terminating connection"],
        "the server was stopped while it was dumped, or somebody ended the connection: run again",
    ),
    (
        &["server closed the connection"],
        "the server went away while it was dumped: see its log, and run again",
    ),
    (
        &["invalid connection option"],
        "check the parameters behind the question mark of the address: they are libpq's",
    ),
    (&["certificate"], "check sslmode, sslrootcert, sslcert and sslkey in the address"),
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
        "the server or the connection hangs, or somebody holds a lock on a table: see pg_stat_activity on the server, and run again",
    ),
];

/// The same where a database is to be made, filled or renamed; these count first.
const FILLING: &[Remedy] = &[
    (
        &["permission denied to create database"],
        "as a superuser: ALTER ROLE USER CREATEDB; or make the database there (createdb NAME) and name it",
    ),
    (&["permission denied to create role"], "log in as a superuser, or leave --with-roles out"),
    (&["permission denied"], "log in as the database's owner, or as a superuser"),
    (&["must be owner"], "log in as the database's owner, or as a superuser"),
    (&["must be superuser"], "log in as a superuser"),
    (
        &["no space left"],
        "free some space on the server's disk, and run the same command again: nothing of it is in the database",
    ),
    (
        &["unrecognized configuration parameter"],
        "pg_restore is newer than the server: run the one of the server's version, such as that in its container, with \
         --prefix 'docker exec -i NAME'",
    ),
    (
        &["unsupported version"],
        "pg_restore is too old for this dump: run a newer one, such as that in the server's container, with --prefix \
         'docker exec -i NAME'",
    ),
    (&["extension", "is not available"], "install that extension on the server first"),
    (
        &["encoding", "locale"],
        "make an empty database by hand, in an encoding that fits the server's locale, and name it",
    ),
    (
        &["server closed the connection"],
        "the server went away: see its log, and run the same command again; nothing of it is in the database",
    ),
    (
        &["terminating connection"],
        "the server was stopped, or somebody ended the connection: run the same command again; nothing of it is in the \
         database",
    ),
];

/// What to do where nothing better is known.
const OTHERWISE: &str = "the words of the client stand above; try the same connection with psql";

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
            ("FATAL:  password authentication failed for user \"vault\"", "password"),
            ("FATAL:  Peer authentication failed for user \"postgres\"", "localhost"),
            ("FATAL:  database \"x\" does not exist", "\\l"),
            ("FATAL:  role \"x\" does not exist", "\\du"),
            ("ERROR:  permission denied for table secrets", "pg_read_all_data"),
            ("Connection refused; Is the server running on that host", "listens"),
            ("the command pg_dump was killed by signal 9", "want of memory"),
            ("the command docker failed with exit code 137", "want of memory"),
            ("something else", "psql"),
        ] {
            let error = Error::new(ErrorKind::Io, format!("the command psql failed: {words}"));
            let error = explain(error, "PostgreSQL at h cannot be dumped".to_owned());
            assert!(error.next_step().unwrap().contains(step), "{words}: {:?}", error.next_step());
            assert!(error.chain().contains(words));
        }
        let error = explain(Error::corrupt("cut").hint("again"), "it".to_owned());
        assert_eq!(error.next_step(), Some("again"));
        let error = explain(Error::new(ErrorKind::Interrupted, "interrupted"), "it".to_owned());
        assert_eq!(error.chain(), "interrupted");
    }
}
