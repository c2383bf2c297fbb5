//! How the client reaches the server: what the address says, as options of its; a password by the environment.
//!
//! Invariants: no argument bears a secret. The client takes what stands behind an option of its that wants a value for
//! that value, whatever it looks like. A parameter that it does not have is refused.

use std::ffi::OsString;

use crate::error::{Error, Result};
use crate::report::printable;
use crate::source::server::address::Address;
use crate::source::server::client::Client;

/// Parameters that name a file or a host, and the client's options for them.
const PARAMETERS: [(&str, &str); 5] = [
    ("cacert", "--cacert"),
    ("cacertdir", "--cacertdir"),
    ("cert", "--cert"),
    ("key", "--key"),
    ("sni", "--sni"),
];

/// A way to a server.
pub(super) struct Connection {
    address: Address,
    socket: Option<String>,
    /// What the client is told of encryption.
    encryption: Vec<String>,
}

impl Connection {
    /// Takes an address that is one of a Redis server.
    pub(super) fn new(mut address: Address) -> Result<Self> {
        let encrypted = match address.scheme.as_str() {
            "redis" | "valkey" => false,
            "rediss" | "valkeys" => true,
            _ => {
                return Err(Error::refused("this is no address of a Redis server").hint(
                    "give it as redis://USER@HOST:PORT, rediss:// with TLS, or redis://?socket=/run/redis.sock",
                ));
            }
        };
        if address.database.as_ref().is_some_and(|name| name.parse::<u32>().is_err()) {
            return Err(Error::refused("the address names a database that is no number")
                .hint("leave it out: all databases of a Redis server are dumped at once"));
        }
        let mut socket = address.host.take_if(|host| host.starts_with('/'));
        let mut encryption = if encrypted { vec!["--tls".to_owned()] } else { Vec::new() };
        for (name, value) in std::mem::take(&mut address.parameters) {
            let known = PARAMETERS.iter().find(|(known, _)| *known == name).filter(|_| encrypted);
            match (name.as_str(), known) {
                (_, Some((_, option))) => encryption.extend([(*option).to_owned(), value]),
                ("socket", _) => socket = Some(value),
                ("insecure", _) if encrypted => encryption.push("--insecure".to_owned()),
                _ => {
                    return Err(Error::refused("the address has a parameter that is unknown here").hint(
                        "known are socket, and with rediss:// also cacert, cacertdir, cert, key, sni and insecure; a \
                         question mark in a password is written as %3F",
                    ));
                }
            }
        }
        Ok(Self { address, socket, encryption })
    }

    /// Where the server is, as it may be shown.
    pub(super) fn shown(&self) -> String {
        match &self.socket {
            Some(socket) => printable(socket.as_bytes()),
            None => self.address.shown(),
        }
    }

    /// Whether the address names one of the databases.
    pub(super) fn names_database(&self) -> bool {
        self.address.database.is_some()
    }

    /// A call of a client.
    pub(super) fn client(&self, program: &str) -> Client {
        let mut client = Client::new(program);
        let mut arguments: Vec<String> = Vec::new();
        match (&self.socket, &self.address.host) {
            (Some(socket), _) => arguments.extend(["-s".to_owned(), socket.clone()]),
            (None, Some(host)) => arguments.extend(["-h".to_owned(), host.clone()]),
            (None, None) => {}
        }
        if let Some(port) = self.address.port {
            arguments.extend(["-p".to_owned(), port.to_string()]);
        }
        if let Some(user) = &self.address.user {
            arguments.extend(["--user".to_owned(), user.clone()]);
        }
        arguments.extend(self.encryption.iter().cloned());
        client.arguments = arguments.into_iter().map(OsString::from).collect();
        client.password = self.address.password.clone().map(|password| ("REDISCLI_AUTH", password));
        client
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(url: &str) -> Result<Connection> {
        Connection::new(Address::parse(url).unwrap())
    }

    #[test]
    fn an_address_becomes_options() {
        for (url, expected) in [
            ("redis://", ""),
            ("redis://h:6380/0", "-h h -p 6380"),
            ("redis://joe:hunter2@h", "-h h --user joe"),
            ("redis://:hunter2@h", "-h h"),
            ("rediss://h?cacert=/ca.pem", "-h h --tls --cacert /ca.pem"),
            ("redis://%2Frun%2Fs", "-s /run/s"),
            ("redis://?socket=/run/s", "-s /run/s"),
        ] {
            let client = connection(url).unwrap().client("redis-cli");
            let words: Vec<String> =
                client.arguments.into_iter().map(|word| word.into_string().unwrap()).collect();
            assert_eq!(words.join(" "), expected, "{url}");
            assert_eq!(client.password.is_some(), url.contains("hunter2"));
        }
    }

    #[test]
    fn what_is_no_address_of_such_a_server_is_refused() {
        for url in ["mysql://h", "redis://h/hunter2", "redis://h?hunter2", "redis://h?cacert=/x"] {
            let error = connection(url).err().unwrap();
            let shown = format!("{} {}", error.chain(), error.next_step().unwrap());
            assert!(!shown.contains("hunter2"), "{shown}");
        }
    }
}
