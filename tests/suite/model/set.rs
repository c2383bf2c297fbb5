//! Small sets, so that a state of the model is some eighty bytes.

use std::fmt;
use std::ops::{BitAnd, BitOr, BitOrAssign, Sub, SubAssign};

/// A set of the numbers below eight.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(super) struct Set(pub(super) u8);

impl Set {
    pub(super) const EMPTY: Self = Self(0);

    pub(super) const fn of(numbers: &[u8]) -> Self {
        let (mut set, mut next) = (0, 0);
        while next < numbers.len() {
            set |= 1 << numbers[next];
            next += 1;
        }
        Self(set)
    }

    pub(super) fn contains(self, number: u8) -> bool {
        self.0 & (1 << number) != 0
    }

    pub(super) fn insert(&mut self, number: u8) {
        self.0 |= 1 << number;
    }

    pub(super) fn remove(&mut self, number: u8) {
        self.0 &= !(1 << number);
    }

    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub(super) fn covers(self, other: Self) -> bool {
        other.0 & !self.0 == 0
    }

    /// Every set of some of these numbers, of none and of all.
    pub(super) fn subsets(self) -> impl Iterator<Item = Self> {
        (0..=self.0).map(Self).filter(move |subset| self.covers(*subset))
    }

    pub(super) fn first(self) -> Option<u8> {
        (!self.is_empty()).then(|| self.0.trailing_zeros() as u8)
    }

    pub(super) fn iter(self) -> impl Iterator<Item = u8> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let next = Self(rest).first()?;
            rest &= rest - 1;
            Some(next)
        })
    }
}

impl BitOr for Set {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Set {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

impl BitAnd for Set {
    type Output = Self;
    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl Sub for Set {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

impl SubAssign for Set {
    fn sub_assign(&mut self, other: Self) {
        self.0 &= !other.0;
    }
}

impl fmt::Debug for Set {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.iter()).finish()
    }
}
