//! The values that an archive is made of, each read from as many pieces as it takes.
//!
//! Invariant: of a text no more is kept than [`KEPT_MAX`] bytes, however long it is.

/// Bytes of a text that are kept: enough for what is looked at, which is no longer than the name of a role.
const KEPT_MAX: usize = 64;
/// Bytes of a number, its sign aside.
const INT_BYTES: u8 = 4;
/// What a negative number may come to: a large object's id is written as one where it is above 2^31.
const NEGATIVE_MAX: u64 = 1 << 31;

/// What is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A byte.
    Byte,
    /// A number: its sign, then four bytes, the lowest first.
    Int,
    /// A text: its length as a number, -1 where there is none, then its bytes.
    Text,
    /// A place in the archive: whether there is one, then this many bytes.
    Offset(u8),
}

/// The beginning of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Text {
    kept: [u8; KEPT_MAX],
    length: u64,
}

impl Default for Text {
    fn default() -> Self {
        Self { kept: [0; KEPT_MAX], length: 0 }
    }
}

impl Text {
    /// The whole text, unless it is longer than what is kept.
    pub(super) fn as_str(&self) -> Option<&str> {
        let length = usize::try_from(self.length).ok()?;
        std::str::from_utf8(self.kept.get(..length)?).ok()
    }
}

/// What was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Byte(u8),
    Int(i64),
    Text(Option<Text>),
    Offset { state: u8, position: u64 },
}

/// A value that is being read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    kind: Kind,
    /// The first byte, once it was read: the sign, or the state of a place.
    first: Option<u8>,
    number: u64,
    number_bytes: u8,
    text: Text,
    text_bytes: u64,
    done: bool,
}

impl Field {
    /// Begins one.
    pub(super) fn new(kind: Kind) -> Self {
        let text = Text::default();
        Self { kind, first: None, number: 0, number_bytes: 0, text, text_bytes: 0, done: false }
    }

    /// Whether nothing of it was read yet.
    pub(super) fn is_untouched(&self) -> bool {
        self.first.is_none()
    }

    /// Reads from a piece and says how much of it was used; nothing where this is no such value.
    pub(super) fn take(&mut self, piece: &[u8]) -> Option<usize> {
        let mut used = 0usize;
        while !self.done {
            let rest = piece.get(used..)?;
            if self.in_text() {
                used = used.saturating_add(self.take_text(rest));
                if !self.done {
                    break;
                }
                continue;
            }
            let Some(byte) = rest.first() else { break };
            used = used.saturating_add(1);
            self.take_byte(*byte)?;
        }
        Some(used)
    }

    /// What was read, once it is whole.
    pub(super) fn value(&self) -> Option<Value> {
        if !self.done {
            return None;
        }
        Some(match self.kind {
            Kind::Byte => Value::Byte(self.first?),
            Kind::Int => Value::Int(self.signed()?),
            Kind::Text => Value::Text((self.signed()? >= 0).then_some(self.text)),
            Kind::Offset(_) => Value::Offset { state: self.first?, position: self.number },
        })
    }

    fn signed(&self) -> Option<i64> {
        let number = i64::try_from(self.number).ok()?;
        if self.first == Some(1) { number.checked_neg() } else { Some(number) }
    }

    fn width(&self) -> u8 {
        match self.kind {
            Kind::Byte => 0,
            Kind::Int | Kind::Text => INT_BYTES,
            Kind::Offset(bytes) => bytes,
        }
    }

    /// Whether a text's length is known and its bytes come.
    fn in_text(&self) -> bool {
        self.kind == Kind::Text && self.number_bytes == INT_BYTES
    }

    fn take_byte(&mut self, byte: u8) -> Option<()> {
        if self.first.is_none() {
            self.first = Some(byte);
        } else {
            let shift = u32::from(self.number_bytes).checked_mul(8)?;
            self.number |= u64::from(byte).checked_shl(shift)?;
            self.number_bytes = self.number_bytes.checked_add(1)?;
        }
        if self.number_bytes == self.width() { self.number_read() } else { Some(()) }
    }

    /// Judges the number that was read.
    fn number_read(&mut self) -> Option<()> {
        if matches!(self.kind, Kind::Int | Kind::Text) {
            let sound = match self.first {
                Some(0) => self.number < NEGATIVE_MAX,
                Some(1) => (1..=NEGATIVE_MAX).contains(&self.number),
                _ => false,
            };
            let absent = self.first == Some(1);
            if !sound || (self.kind == Kind::Text && absent && self.number != 1) {
                return None;
            }
            self.text.length = if absent { 0 } else { self.number };
        }
        self.done = self.kind != Kind::Text || self.text.length == 0;
        Some(())
    }

    fn take_text(&mut self, rest: &[u8]) -> usize {
        let left = self.text.length.saturating_sub(self.text_bytes);
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
        let from = usize::try_from(self.text_bytes).unwrap_or(usize::MAX);
        let room = self.text.kept.get_mut(from..).unwrap_or_default();
        for (kept, byte) in room.iter_mut().zip(rest.iter().take(length)) {
            *kept = *byte;
        }
        self.text_bytes = self.text_bytes.saturating_add(length as u64);
        self.done = self.text_bytes == self.text.length;
        length
    }
}
