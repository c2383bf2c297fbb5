//! How the clients reach the server: libpq's own parameters, as one argument; a password by the environment.
//!
//! Invariant: no argument bears a secret. A parameter that is one and has no other way to libpq is refused.

use std::ffi::OsString;
use std::time::Duration;

use zeroize::Zeroizing;

use crate::error::{Error, Result};
use crate::source::server::address::Address;
use crate::source::server::client::Client;

/// Schemes of an address.
const SCHEMES: [&str; 2] = ["postgresql", "postgres"];
/// Parameters that are secrets and that libpq takes from nowhere but a connection's parameters or a service file.
const SECRETS: [&str; 4] = ["sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key"];
/// What libpq takes for the same as 2: fewer are too few for it.
const CONNECT_SECONDS_MIN: u64 = 2;

/// A way to a server.
pub(super) struct Connection {
    address: Address,
    password: Option<Zeroizing<String>>,
    /// Seconds after which a host that does not answer is given up, where the user limits silence.
    connect_seconds: Option<u64>,
}

impl Connection {
    /// Takes an address that is one of a PostgreSQL server.
    pub(super) fn new(mut address: Address, silence: Option<Duration>) -> Result<Self> {
        if !SCHEMES.contains(&address.scheme.as_str()) {
            return Err(Error::refused("this is no address of a PostgreSQL server")
                .hint("give it as postgresql://USER@HOST:PORT/DATABASE"));
        }
        let mut password = address.password.take();
        for (name, value) in std::mem::take(&mut address.parameters) {
            match name.as_str() {
                "password" => password = Some(Zeroizing::new(value)),
                // As libpq reads a URL of Java's.
                "ssl" if value == "true" => {
                    address.parameters.push(("sslmode".to_owned(), "require".to_owned()));
                }
                "dbname" => address.database = Some(value),
                name if SECRETS.contains(&name) => return Err(secret(name)),
                name if !is_name(name) => {
                    return Err(Error::refused("the address has a parameter whose name is none")
                        .hint("parameters are those of libpq: ?sslmode=require&connect_timeout=10"));
                }
                _ => address.parameters.push((name, value)),
            }
        }
        let connect_seconds = silence.map(|limit| limit.as_secs().max(CONNECT_SECONDS_MIN));
        Ok(Self { address, password, connect_seconds })
    }

    /// The database that the address names.
    pub(super) fn database(&self) -> Option<&str> {
        self.address.database.as_deref()
    }

    /// Where the server is, as it may be shown.
    pub(super) fn shown(&self) -> String {
        match self.address.parameter("host").or(self.address.parameter("hostaddr")) {
            Some(host) => Address { host: Some(host.to_owned()), ..self.address.clone() }.shown(),
            None => self.address.shown(),
        }
    }

    /// A call of a client that connects to a database.
    pub(super) fn client(&self, program: &str, database: &str) -> Client {
        let mut client = Client::new(program);
        client.arguments = vec![
            OsString::from(format!("--dbname={}", self.parameters(database))),
            OsString::from("--no-password"),
        ];
        client.password = self.password.clone().map(|password| ("PGPASSWORD", password));
        client.environment = vec![("LC_ALL", "C".to_owned())];
        // Weaker than the address and a service file, as libpq ranks it.
        let limit = self.connect_seconds.map(|seconds| ("PGCONNECT_TIMEOUT", seconds.to_string()));
        client.environment.extend(limit);
        client
    }

    /// Everything but the password, as libpq reads it.
    fn parameters(&self, database: &str) -> String {
        let port = self.address.port.map(|port| port.to_string());
        let own = [
            ("host", self.address.host.as_deref()),
            ("port", port.as_deref()),
            ("user", self.address.user.as_deref()),
        ];
        let own = own.into_iter().filter_map(|(name, value)| value.map(|value| (name, value)));
        let more = self.address.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let last = [("fallback_application_name", "strongroom"), ("dbname", database)];
        let all = own.chain(more).chain(last).map(|(name, value)| format!("{name}={}", quoted(value)));
        all.collect::<Vec<_>>().join(" ")
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn secret(name: &str) -> Error {
    Error::refused(format!(
        "the address holds a secret, {name}, which would stand in the arguments of a program"
    ))
    .hint(
        "put it into a service file that only you can read, and name that by PGSERVICEFILE and ?service=NAME",
    )
}

fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "\\'"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn connection(text: &str) -> Result<Connection> {
        Connection::new(Address::parse(text).unwrap(), None)
    }

    #[test]
    fn parameters_reach_libpq_as_they_are_and_the_password_does_not_stand_among_them() {
        let made = connection("postgres://it%27s:hunter2@db:5433/a%5Cb%20c?sslmode=require&x_y=%27&ssl=true")
            .unwrap();
        let client = made.client("psql", made.database().unwrap());
        let all = "--dbname=host='db' port='5433' user='it\\'s' sslmode='require' x_y='\\'' sslmode='require' \
            fallback_application_name='strongroom' dbname='a\\\\b c'";
        assert_eq!(client.arguments, [all, "--no-password"]);
        assert_eq!(client.password.unwrap().1.as_str(), "hunter2");
        assert_eq!(made.shown(), "db:5433");
    }

    #[test]
    fn a_password_among_the_parameters_is_kept_from_the_arguments() {
        let made = connection("postgresql:///?password=hunter2&dbname=vault&host=/run/pg").unwrap();
        let client = made.client("psql", made.database().unwrap());
        assert!(!format!("{:?}", client.arguments).contains("hunter2"));
        assert_eq!(client.password.unwrap().1.as_str(), "hunter2");
        assert_eq!((made.database(), made.shown().as_str()), (Some("vault"), "/run/pg"));
    }

    #[test]
    fn what_would_show_a_secret_or_is_no_parameter_is_refused() {
        for text in [
            "mysql://h/d",
            "postgres://h/d?sslpassword=hunter2",
            "postgres://h/d?a%20b=hunter2",
            "postgres://h/?=hunter2",
        ] {
            let error = connection(text).err().unwrap();
            assert_eq!(error.kind(), ErrorKind::Refused);
            assert!(!format!("{} {:?}", error.chain(), error.next_step()).contains("hunter2"));
        }
    }

    #[test]
    fn a_host_that_says_nothing_is_given_up() {
        let seconds = |silence| {
            let made = Connection::new(Address::parse("postgres://h/d").unwrap(), silence).unwrap();
            made.connect_seconds
        };
        assert_eq!(seconds(None), None);
        assert_eq!(seconds(Some(Duration::from_secs(7))), Some(7));
        assert_eq!(seconds(Some(Duration::from_millis(5))), Some(2));
    }
}
