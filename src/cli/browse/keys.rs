//! The keys, and what they are for.

/// A key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Char(char),
    Control(char),
    Up,
    Down,
    Left,
    Right,
    PageUp,
    PageDown,
    Home,
    End,
    Enter,
    Escape,
    Backspace,
    Delete,
}

/// What the keys do, for the help: the keys, and what they are for.
pub(super) const HELP: &[(&str, &str)] = &[
    ("Up Down  k j", "one line"),
    ("PgUp PgDn  ^B ^F", "one page"),
    ("Home End  g G", "first, last"),
    ("Enter Right  l", "open the snapshot, folder or file"),
    ("Left Backspace  h", "back to where it lies"),
    ("Esc", "stop what is being read; back"),
    ("/  n  N", "search; next, previous"),
    ("o  O", "order by name, size, time; turn it round"),
    ("s", "sum what the folders hold"),
    ("v", "the versions of it through time"),
    ("Space", "mark, or unmark"),
    ("u", "unmark all"),
    ("r", "restore the marked, or what is under the cursor"),
    ("w", "write one file to a path"),
    ("R", "read again"),
    ("^L  ^Z", "draw again; suspend"),
    ("q", "quit"),
];
