//! How the clients reach the server: what the address says, as options of theirs; a password by the environment.
//!
//! Invariants: no argument bears a secret, and each value stands behind `--name=`. A parameter that no client has is
//! refused, rather than passed over.

use std::ffi::OsString;

use super::version::Family;
use crate::error::{Error, Result};
use crate::report::printable;
use crate::source::server::address::Address;
use crate::source::server::client::Client;

/// Schemes of an address.
const SCHEMES: [&str; 2] = ["mysql", "mariadb"];
/// Parameters that both kinds of client call by the same name.
const FILES: [&str; 7] =
    ["ssl-ca", "ssl-capath", "ssl-cert", "ssl-key", "ssl-cipher", "ssl-crl", "tls-version"];

/// How far the connection is to be encrypted, as MySQL's clients name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Encryption {
    Disabled,
    Preferred,
    Required,
    VerifyCa,
    VerifyIdentity,
}

/// A way to a server.
pub(super) struct Connection {
    address: Address,
    socket: Option<String>,
    encryption: Option<Encryption>,
    files: Vec<(String, String)>,
}

impl Connection {
    /// Takes an address that is one of a MariaDB or MySQL server.
    pub(super) fn new(mut address: Address) -> Result<Self> {
        if !SCHEMES.contains(&address.scheme.as_str()) {
            return Err(Error::refused("this is no address of a MariaDB or MySQL server")
                .hint("give it as mysql://USER@HOST:PORT/DATABASE"));
        }
        let (mut socket, mut encryption, mut files) = (None, None, Vec::new());
        if address.host.as_ref().is_some_and(|host| host.starts_with('/')) {
            socket = address.host.take();
        }
        for (name, value) in std::mem::take(&mut address.parameters) {
            // The same parameter is written in many ways: `ssl_mode`, `sslMode`, `ssl-mode`.
            match plain(&name).as_str() {
                "socket" | "unixsocket" => socket = Some(value),
                "sslmode" | "ssl" => encryption = Some(encryption_of(&value)?),
                "sslverifyservercert" => {
                    let verified = matches!(plain(&value).as_str(), "" | "1" | "true" | "yes" | "on");
                    encryption =
                        Some(if verified { Encryption::VerifyIdentity } else { Encryption::Required });
                }
                other => {
                    let known = FILES.iter().find(|known| plain(known) == other);
                    let known = known.ok_or_else(|| unknown(&name))?;
                    files.push(((*known).to_owned(), value));
                }
            }
        }
        Ok(Self { address, socket, encryption, files })
    }

    /// The database that the address names.
    pub(super) fn database(&self) -> Option<&str> {
        self.address.database.as_deref()
    }

    /// Where the server is, as it may be shown.
    pub(super) fn shown(&self) -> String {
        match &self.socket {
            Some(socket) => printable(socket.as_bytes()),
            None => self.address.shown(),
        }
    }

    /// Whether a connection without encryption is none.
    pub(super) fn must_be_encrypted(&self) -> bool {
        self.encryption >= Some(Encryption::Required)
    }

    /// A call of a client.
    pub(super) fn client(&self, program: &str, family: Family) -> Client {
        let mut client = Client::new(program);
        client.arguments = self.arguments(family);
        client.password = self.address.password.clone().map(|password| ("MYSQL_PWD", password));
        client
    }

    fn arguments(&self, family: Family) -> Vec<OsString> {
        let mut arguments = Vec::new();
        let mut option = |name: &str, value: &str| arguments.push(format!("--{name}={value}"));
        if let Some(socket) = &self.socket {
            option("protocol", "socket");
            option("socket", socket);
        } else if let Some(host) = &self.address.host {
            option("host", host);
            // Without it `localhost` is a socket to the clients, whatever the port.
            option("protocol", "tcp");
        }
        if let Some(port) = self.address.port {
            option("port", &port.to_string());
        }
        if let Some(user) = &self.address.user {
            option("user", user);
        }
        self.files.iter().for_each(|(name, value)| option(name, value));
        arguments.extend(
            self.encryption
                .into_iter()
                .flat_map(|wanted| words(wanted, family))
                .map(|word| (*word).to_owned()),
        );
        arguments.into_iter().map(OsString::from).collect()
    }
}

/// How each kind of client is told.
fn words(encryption: Encryption, family: Family) -> &'static [&'static str] {
    match (family, encryption) {
        (Family::MySql, Encryption::Disabled) => &["--ssl-mode=DISABLED"],
        (Family::MySql, Encryption::Preferred) => &["--ssl-mode=PREFERRED"],
        (Family::MySql, Encryption::Required) => &["--ssl-mode=REQUIRED"],
        (Family::MySql, Encryption::VerifyCa) => &["--ssl-mode=VERIFY_CA"],
        (Family::MySql, Encryption::VerifyIdentity) => &["--ssl-mode=VERIFY_IDENTITY"],
        (Family::MariaDb, Encryption::Disabled) => &["--skip-ssl"],
        (Family::MariaDb, Encryption::Preferred | Encryption::Required) => {
            &["--ssl", "--skip-ssl-verify-server-cert"]
        }
        (Family::MariaDb, Encryption::VerifyCa | Encryption::VerifyIdentity) => {
            &["--ssl", "--ssl-verify-server-cert"]
        }
    }
}

fn encryption_of(value: &str) -> Result<Encryption> {
    Ok(match plain(value).as_str() {
        "disabled" | "false" | "0" => Encryption::Disabled,
        "preferred" => Encryption::Preferred,
        "required" | "true" | "1" | "" => Encryption::Required,
        "verifyca" => Encryption::VerifyCa,
        "verifyidentity" | "verifyfull" => Encryption::VerifyIdentity,
        _ => {
            return Err(Error::refused("the address has an ssl-mode that is none")
                .hint("it is disabled, preferred, required, verify-ca or verify-identity"));
        }
    })
}

fn plain(name: &str) -> String {
    name.chars().filter(|sign| !matches!(sign, '-' | '_')).map(|sign| sign.to_ascii_lowercase()).collect()
}

fn unknown(name: &str) -> Error {
    // What is no name may be a piece of a password with a question mark in it.
    let is_name =
        name.len() <= 30 && name.bytes().all(|byte| byte.is_ascii_alphabetic() || b"-_".contains(&byte));
    let what = if is_name { format!(" `{name}`") } else { String::new() };
    Error::refused(format!("the address has a parameter{what} that is unknown here")).hint(
        "known are socket, ssl-mode, ssl-ca, ssl-capath, ssl-cert, ssl-key, ssl-cipher, ssl-crl, tls-version and \
         ssl-verify-server-cert; a question mark in a password is written as %3F",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(url: &str) -> Result<Connection> {
        Connection::new(Address::parse(url).unwrap())
    }

    fn arguments(url: &str, family: Family) -> Vec<String> {
        let client = connection(url).unwrap().client("mariadb", family);
        client.arguments.into_iter().map(|word| word.into_string().unwrap()).collect()
    }

    #[test]
    fn an_address_becomes_options() {
        let url = "mysql://vault:hunter2@db:3307/vault?ssl_mode=required&ssl_ca=/ca.pem";
        assert_eq!(
            arguments(url, Family::MariaDb),
            [
                "--host=db",
                "--protocol=tcp",
                "--port=3307",
                "--user=vault",
                "--ssl-ca=/ca.pem",
                "--ssl",
                "--skip-ssl-verify-server-cert"
            ]
        );
        assert!(arguments(url, Family::MySql).contains(&"--ssl-mode=REQUIRED".to_owned()));
        assert!(connection(url).unwrap().must_be_encrypted());
        let client = connection(url).unwrap().client("mariadb", Family::MariaDb);
        assert_eq!(client.password.unwrap().1.as_str(), "hunter2");
        for url in ["mariadb://%2Frun%2Fs", "mysql://localhost?socket=/run/s"] {
            assert_eq!(arguments(url, Family::MySql), ["--protocol=socket", "--socket=/run/s"]);
            assert_eq!(connection(url).unwrap().shown(), "/run/s");
        }
        assert!(arguments("mysql://", Family::MySql).is_empty());
        assert!(!connection("mysql://h?ssl-mode=PREFERRED").unwrap().must_be_encrypted());
        assert!(
            arguments("mysql://h?sslMode=VERIFY_CA", Family::MariaDb)
                .contains(&"--ssl-verify-server-cert".to_owned())
        );
    }

    #[test]
    fn what_is_no_address_of_such_a_server_is_refused() {
        for url in [
            "postgresql://h/x",
            "mysql://h/x?sslmode=hunter2",
            "mysql://h/x?charset=utf8",
            "mysql://h/x?hunter2&y",
        ] {
            let error = connection(url).err().unwrap();
            let shown = format!("{} {}", error.chain(), error.next_step().unwrap());
            assert!(!shown.contains("hunter2"), "{shown}");
        }
    }
}
