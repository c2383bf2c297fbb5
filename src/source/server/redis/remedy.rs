//! What to do about what the client says.

use super::super::remedy::{self, Remedy};
use crate::error::Error;

/// The first that fits counts.
const REMEDIES: &[Remedy] = &[
    (&["wrongpass"], "check the user and the password in the address"),
    (&["auth failed"], "check the user and the password in the address"),
    (&["noauth"], "the server wants a password: give it with the address, by the environment or a file"),
    (
        &["noperm"],
        "give the user what replicas need: ACL SETUSER USER +sync +psync +replconf +info +ping allchannels",
    ),
    (&["no such container"], "check the container's name in --prefix"),
    (&["loading"], "the server is loading its data: run again once it is done"),
    (
        &["nomasterlink"],
        "this replica has lost its master: dump the master, or run again once they are connected",
    ),
    (&["misconf"], "the server cannot save: see its log, and whether its disk is full"),
    (
        &["bgsave failed"],
        "the server cannot save: see its log, its memory (vm.overcommit_memory) and whether its disk is full",
    ),
    (
        &["max number of clients"],
        "the server has no connection left: raise maxclients, or run at another time",
    ),
    (
        &["unknown command"],
        "the server has renamed SYNC, or its provider does not offer it: save with BGSAVE and back up the file",
    ),
    (&["name or service not known"], "check the host's name in the address"),
    (&["temporary failure in name resolution"], "check the host's name in the address"),
    (&["could not connect"], "check host, port or socket, and whether the server runs and listens there"),
    (
        &["i/o error"],
        "the server went away while it was dumped, or cut the connection off (client-output-buffer-limit replica): see its log, and run again",
    ),
    (
        &["server closed the connection"],
        "the server went away, or speaks TLS (rediss://): see its log, and run again",
    ),
    (&["ssl"], "check rediss://, cacert, cert and key in the address"),
    (&["invalid option"], "redis-cli is too old for what is asked of it: install that of Redis 6 or newer"),
    (
        &["unrecognized option"],
        "redis-cli is too old for what is asked of it: install that of Redis 6 or newer",
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
        "the server or the connection hangs, or it takes longer than this to save: see its log, and run again",
    ),
];

/// What to do where nothing better is known.
const OTHERWISE: &str = "the words of the client stand above; try `redis-cli --rdb FILE` by hand";

/// Adds the next step.
pub(super) fn explain(error: Error, what: String) -> Error {
    remedy::explain(error, what, REMEDIES, OTHERWISE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn what_the_client_says_leads_to_a_next_step() {
        for (words, step) in [
            ("AUTH failed: WRONGPASS invalid username-password pair; SYNC failed: -NOAUTH", "password"),
            ("Could not connect to Redis at 127.0.0.1:1: Connection refused", "listens"),
            (
                "SYNC with master failed: -NOPERM this user has no permissions to run the 'sync' command",
                "+sync",
            ),
            ("-LOADING Redis is loading the dataset in memory", "once it is done"),
            ("something else", "--rdb FILE"),
        ] {
            let error = Error::new(ErrorKind::Io, format!("the command redis-cli failed: {words}"));
            let error = explain(error, "Redis at h cannot be dumped".to_owned());
            assert!(error.next_step().unwrap().contains(step), "{words}: {:?}", error.next_step());
        }
        assert_eq!(explain(Error::corrupt("cut").hint("again"), "it".to_owned()).next_step(), Some("again"));
    }
}
