//! Where a server is: the URL that a person gives, such as `postgresql://user@host:5432/database?sslmode=require`.
//!
//! Invariants: no message shows any part of a URL that may hold a password. What reaches a client's arguments is never
//! taken for an option: it stands behind `--name=`.

use std::fmt;

use zeroize::Zeroizing;

use crate::error::{Error, Result};

/// An address, taken apart and with its escapes resolved.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    /// What stands before `://`, in lower case.
    pub scheme: String,
    /// Who is to log in.
    pub user: Option<String>,
    /// The password in the URL. A URL on the command line must have none.
    pub password: Option<Zeroizing<String>>,
    /// Host name or address, without brackets; a folder where it begins with `/`.
    pub host: Option<String>,
    /// Port.
    pub port: Option<u16>,
    /// What stands behind the host's slash.
    pub database: Option<String>,
    /// What stands behind the question mark, in its order.
    pub parameters: Vec<(String, String)>,
}

impl Address {
    /// Takes a URL apart.
    ///
    /// # Errors
    /// Where it is none. The message shows nothing of it.
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        let (scheme, rest) = text.split_once("://").ok_or_else(|| malformed("it has no `://`"))?;
        let scheme_is_sound =
            scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
        if scheme.is_empty() || !scheme_is_sound {
            return Err(malformed("what stands before `://` is no scheme"));
        }
        // What is taken for the host there would be a part of the password, and be shown.
        if rest.split_once(['/', '?', '#']).is_some_and(|(_, behind)| behind.contains('@')) {
            return Err(malformed("an `@` stands behind the first `/`, `?` or `#`, which ends the host"));
        }
        let rest = rest.split_once('#').map_or(rest, |(rest, _)| rest);
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        // A password with an `@` that was not escaped is common enough: the last one counts.
        let (login, place) = authority.rsplit_once('@').map_or((None, authority), |(l, p)| (Some(l), p));
        let (user, password) = match login.map(|login| login.split_once(':').unwrap_or((login, ""))) {
            None => (None, None),
            Some((user, password)) => (non_empty(resolve(user)?), non_empty(resolve(password)?)),
        };
        let (host, port) = host_and_port(place)?;
        let parameters = query.split('&').filter(|part| !part.is_empty()).map(|part| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            Ok((resolve(name)?, resolve(value)?))
        });
        Ok(Self {
            scheme: scheme.to_ascii_lowercase(),
            user,
            password: password.map(Zeroizing::new),
            host,
            port,
            database: non_empty(resolve(path)?),
            parameters: parameters.collect::<Result<_>>()?,
        })
    }

    /// The value of a parameter; of several, the last.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Whether a password stands in it.
    pub fn has_password(&self) -> bool {
        self.password.is_some() || self.parameter("password").is_some()
    }

    /// Where the server is, as it may be shown: neither user nor password.
    pub fn shown(&self) -> String {
        let host = self.host.as_deref().unwrap_or("localhost");
        let host = crate::report::printable(host.as_bytes());
        match self.port {
            Some(port) => format!("{host}:{port}"),
            None => host,
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Address({}://{})", self.scheme, self.shown())
    }
}

fn malformed(why: &str) -> Error {
    Error::refused(format!("this is no address of a server: {why}"))
        .hint("give it as postgresql://USER@HOST:PORT/DATABASE, mysql://..., or redis://...; what is special in a URL is written as %40 (@), %3A (:), %2F (/), %23 (#), %3F (?)")
}

fn host_and_port(place: &str) -> Result<(Option<String>, Option<u16>)> {
    let (host, port) = match place.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']').ok_or_else(|| malformed("a `[` has no `]`"))?;
            let port = rest.strip_prefix(':');
            if port.is_none() && !rest.is_empty() {
                return Err(malformed("something stands between `]` and the port"));
            }
            (host, port)
        }
        None => place.split_once(':').map_or((place, None), |(host, port)| (host, Some(port))),
    };
    let port = match port.filter(|port| !port.is_empty()) {
        None => None,
        Some(text) => Some(text.parse().map_err(|_| malformed("its port is no number from 0 to 65535"))?),
    };
    Ok((non_empty(resolve(host)?), port))
}

fn non_empty(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

/// Resolves `%40` and its kin.
fn resolve(text: &str) -> Result<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|byte| char::from(byte).to_digit(16));
        let value = digit().zip(digit()).and_then(|(high, low)| u8::try_from((high << 4) | low).ok());
        bytes.push(value.ok_or_else(|| malformed("a `%` is not followed by two hexadecimal digits"))?);
    }
    let text = String::from_utf8(bytes).map_err(|_| malformed("its escapes are not UTF-8"))?;
    if text.contains(['\0', '\n', '\r']) {
        return Err(malformed("it holds a line break or a NUL"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_apart() {
        let address = Address::parse(
            "PostgreSQL://vault:p%40ss%3A%2F@db.example:5433/vault%20warden?sslmode=require&x=%2Fy&x=z",
        )
        .unwrap();
        assert_eq!(address.scheme, "postgresql");
        assert_eq!(address.user.as_deref(), Some("vault"));
        assert_eq!(address.password.as_deref().map(String::as_str), Some("p@ss:/"));
        assert_eq!(address.host.as_deref(), Some("db.example"));
        assert_eq!(address.port, Some(5433));
        assert_eq!(address.database.as_deref(), Some("vault warden"));
        assert_eq!(address.parameter("sslmode"), Some("require"));
        assert_eq!(address.parameter("x"), Some("z"));
        assert_eq!(address.shown(), "db.example:5433");
        assert!(!format!("{address:?}").contains("p@ss"));
    }

    #[test]
    fn what_is_left_out_is_nothing() {
        let address = Address::parse("mysql://").unwrap();
        assert!(address.user.is_none() && address.host.is_none() && address.database.is_none());
        let address = Address::parse("postgres:///vault?host=/run/postgresql").unwrap();
        assert_eq!((address.host.as_deref(), address.database.as_deref()), (None, Some("vault")));
        let address = Address::parse("redis://%2Frun%2Fredis.sock/0").unwrap();
        assert_eq!(address.host.as_deref(), Some("/run/redis.sock"));
        let address = Address::parse("mysql://root@[::1]:3307").unwrap();
        assert_eq!((address.host.as_deref(), address.port), (Some("::1"), Some(3307)));
    }

    #[test]
    fn what_is_no_address_is_refused_unseen() {
        for text in [
            "",
            "hunter2",
            "postgresql:hunter2",
            "://hunter2",
            "a b://hunter2",
            "postgresql://u:hunter2@[::1/x",
            "postgresql://u:hunter2@h:port/x",
            "postgresql://u:hunter2@h:70000/x",
            "postgresql://u:hunter2%4@h/x",
            "postgresql://u:hunter2%zz@h/x",
            "postgresql://u:hunter2%ff@h/x",
            "postgresql://u:hunter2%0a@h/x",
            "postgresql://u:hunter2@[::1]x/y",
            "postgresql://hunter2:12/ss@host/db",
            "postgresql://hunter2:12#ss@host/db",
            "postgresql://hunter2:12?ss@host/db",
            "postgresql://hunter2@x:12/ss@host/db",
        ] {
            let error = Address::parse(text).unwrap_err();
            let shown = format!("{} {}", error.chain(), error.next_step().unwrap());
            assert!(!shown.contains("hunter2"), "{shown}");
        }
    }
}
