//! The one error type of the library: what went wrong, of which class, and what to do next.
//!
//! Invariant: a message describes its own layer and never repeats its source; the command line
//! prints the chain once. No message holds a secret.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::io;

/// What a caller may want to tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// There is no repository at the place named.
    NoRepository,
    /// No key slot opens with the password or key file given.
    WrongKey,
    /// The key is right, and its role does not allow this.
    RoleNotAllowed,
    /// An object, a blob or a path is not there.
    Missing,
    /// Bytes are not what they must be: damaged, truncated, forged or swapped.
    Corrupt,
    /// Written by a newer version, or with a feature unknown to this one.
    Unsupported,
    /// The request makes no sense or would do harm, and nothing was done.
    Refused,
    /// Something else holds what is needed.
    Busy,
    /// The store or the disk is full.
    NoSpace,
    /// The operating system does not permit it.
    Denied,
    /// This backup session was given up by somebody else before it could commit.
    Abandoned,
    /// Somebody asked for the work to stop, and it stopped in good order.
    Interrupted,
    /// The store answers, and does not give this one object, as where its disk has a bad sector.
    Unread,
    /// Any other failure of the system below.
    Io,
}

/// The library's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error: class, message, perhaps a next step, perhaps a cause.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    message: Cow<'static, str>,
    hint: Option<Cow<'static, str>>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// Makes an error of a class with a message.
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Inner { kind, message: message.into(), hint: None, source: None }))
    }

    /// Shorthand for [`ErrorKind::Corrupt`].
    pub fn corrupt(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Corrupt, message)
    }

    /// Shorthand for [`ErrorKind::Missing`].
    pub fn missing(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Missing, message)
    }

    /// Shorthand for [`ErrorKind::Refused`].
    pub fn refused(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Refused, message)
    }

    /// Wraps an error of the operating system, its class derived from its kind.
    pub fn io(message: impl Into<Cow<'static, str>>, source: impl Into<io::Error>) -> Self {
        let source = source.into();
        let kind = match source.kind() {
            io::ErrorKind::NotFound => ErrorKind::Missing,
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => ErrorKind::Denied,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::NoSpace,
            io::ErrorKind::WouldBlock | io::ErrorKind::ResourceBusy => ErrorKind::Busy,
            _ => ErrorKind::Io,
        };
        Self::new(kind, message).caused_by(source)
    }

    /// Adds what the reader can do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// The same error, of another class.
    #[must_use]
    pub fn of_kind(mut self, kind: ErrorKind) -> Self {
        self.0.kind = kind;
        self
    }

    /// Adds the cause.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Wraps this error in a message of the layer above, keeping class and hint.
    #[must_use]
    pub fn context(self, message: impl Into<Cow<'static, str>>) -> Self {
        let mut outer = Self::new(self.kind(), message);
        outer.0.hint.clone_from(&self.0.hint);
        outer.caused_by(self)
    }

    /// The class.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The next step, where one is known.
    pub fn next_step(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// Message and causes in one line, each separated by a colon.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut source = self.source();
        while let Some(cause) = source {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            source = cause.source();
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}: {}", self.0.kind, self.chain())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_ref().map(|source| &**source as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_names_each_layer_once() {
        let cause = io::Error::from(io::ErrorKind::StorageFull);
        let error =
            Error::io("cannot write the pack", cause).hint("free some space").context("backup failed");
        assert_eq!(error.kind(), ErrorKind::NoSpace);
        assert_eq!(error.chain(), "backup failed: cannot write the pack: no storage space");
        assert_eq!(error.next_step(), Some("free some space"));
    }
}
