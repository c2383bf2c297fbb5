//! What to do about what the clients say when they fail.
//!
//! Invariant: the clients' own words stay in the chain of causes; here only the next step is added, and what is better known
//! than they say stays.

use crate::error::{Error, ErrorKind};

/// Words by which a failure is known, all of them in lower case, each of which must be there, and what to do about it.
pub(super) type Remedy = (&'static [&'static str], &'static str);

/// What the first remedy says that fits.
pub(super) fn find(error: &Error, remedies: &[Remedy]) -> Option<&'static str> {
    let words = error.chain().to_lowercase();
    let fits = |(needed, _): &&Remedy| needed.iter().all(|word| words.contains(word));
    remedies.iter().find(fits).map(|(_, step)| *step)
}

/// Adds the next step: that of the first remedy that fits, or what to do where nothing better is known.
pub(super) fn explain(error: Error, what: String, remedies: &[Remedy], otherwise: &'static str) -> Error {
    if error.kind() == ErrorKind::Interrupted {
        return error;
    }
    let known = find(&error, remedies);
    let has_step = error.next_step().is_some();
    // Where a client failed, its words tell more than what stands beside them for any command.
    let is_known_better = has_step && error.kind() != ErrorKind::Io;
    let error = error.context(what);
    match known {
        _ if is_known_better => error,
        Some(step) => error.hint(step),
        None if has_step => error,
        None => error.hint(otherwise),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_lead_to_a_next_step_and_what_is_known_better_stays() {
        let remedies: &[Remedy] = &[(&["no such", "door"], "knock"), (&["door"], "open it")];
        let explained = |error: Error| {
            explain(error, "it failed".to_owned(), remedies, "look").next_step().map(str::to_owned)
        };
        let io = |words: &str| Error::new(ErrorKind::Io, words.to_owned());
        assert_eq!(explained(io("No such DOOR")).as_deref(), Some("knock"));
        assert_eq!(explained(io("the door").hint("wait")).as_deref(), Some("open it"));
        assert_eq!(explained(io("a wall")).as_deref(), Some("look"));
        assert_eq!(explained(io("a wall").hint("wait")).as_deref(), Some("wait"));
        assert_eq!(explained(Error::corrupt("a door").hint("again")).as_deref(), Some("again"));
        let interrupted =
            explain(Error::new(ErrorKind::Interrupted, "interrupted"), "it".to_owned(), remedies, "look");
        assert_eq!(interrupted.chain(), "interrupted");
    }
}
