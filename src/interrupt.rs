//! The wish to stop: set once by whoever listens for signals, asked for by whoever works.
//!
//! Invariant: it is asked for at each batch, file or stretch, never at each byte, and once set it stays so.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Error, ErrorKind, Result};

/// Whether work is to stop in good order; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<Wish>);

#[derive(Debug, Default)]
struct Wish {
    stop: AtomicBool,
    /// What stops this as well.
    above: Option<Interrupt>,
}

impl Interrupt {
    /// One for a part of the work: it stops with the whole, and can be stopped alone.
    #[must_use]
    pub fn of_a_part(&self) -> Self {
        Self(Arc::new(Wish { stop: AtomicBool::new(false), above: Some(self.clone()) }))
    }

    /// Asks everybody who holds a clone to stop.
    pub fn request(&self) {
        self.0.stop.store(true, Ordering::Release);
    }

    /// Whether somebody asked.
    pub fn requested(&self) -> bool {
        self.0.stop.load(Ordering::Acquire) || self.0.above.as_ref().is_some_and(Self::requested)
    }

    /// Goes on unless somebody asked to stop.
    ///
    /// # Errors
    /// `Interrupted` where somebody did.
    pub fn check(&self) -> Result<()> {
        if self.requested() { Err(Error::new(ErrorKind::Interrupted, "interrupted")) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_share_the_wish_to_stop() {
        let interrupt = Interrupt::default();
        let other = interrupt.clone();
        assert!(other.check().is_ok() && !other.requested());
        interrupt.request();
        assert_eq!(other.check().unwrap_err().kind(), ErrorKind::Interrupted);
    }

    #[test]
    fn a_part_stops_with_the_whole_and_alone() {
        let whole = Interrupt::default();
        let (one, other) = (whole.of_a_part(), whole.of_a_part());
        one.request();
        assert!(one.clone().requested() && !other.requested() && !whole.requested());
        whole.request();
        assert!(other.requested());
    }
}
