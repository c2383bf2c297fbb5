//! A recovery sheet as text: what a person needs to get everything back with nothing but this paper.

use std::path::Path;

use zeroize::Zeroizing;

use super::html;
use crate::cli::output::human;
use crate::cli::output::paragraph::{filled, quoted};
use crate::crypto::secret::Secret;
use crate::error::Result;
use crate::format::node::Timestamp;
use crate::id::Id;
use crate::report::printable;
use crate::repository::recovery;

/// Room for the sheet, so that it is not moved while it grows and leaves no copy of the key behind.
const ROOM: usize = 16 << 10;

/// How to use a sheet, a paragraph each.
const USE: [&str; 3] = [
    "On any machine with strongroom and the repository, or a copy of it:",
    "It asks for the four lines, checks each at once, and says which one to type again. Capital or small\n\
     letters and blanks do not matter. The letters I, L, O and U do not occur: a stroke is the digit 1, a ring\n\
     the digit 0.",
    "Or type the four lines, each with its number and colon, into a file, give it by `--key-file FILE`, and\n\
     delete it afterwards.",
];

/// What to keep in mind, an item each.
const MIND: [&str; 4] = [
    "Keep it offline, on paper, where fire and thieves find no other copy; two places are better.",
    "Never keep the only copy in the vault that is backed up: when you need it, the vault is gone.",
    "Delete the file it was printed from, and what the terminal still shows.",
    "Try it: the command above, with `snapshots` in place of `restore ...`.",
];

/// What stands on a recovery sheet.
pub(super) struct Sheet<'a> {
    /// The repository's id.
    pub(super) repository: &'a Id,
    /// Where it lies.
    pub(super) location: &'a Path,
    /// The key's id.
    pub(super) key: &'a Id,
    /// Its label.
    pub(super) label: &'a str,
    /// When it was made.
    pub(super) time: Timestamp,
    /// The key itself.
    pub(super) secret: &'a Secret,
}

impl Sheet<'_> {
    /// Names and values of what is no secret.
    pub(super) fn facts(&self) -> [(&'static str, String); 5] {
        let whole_seconds = Timestamp { nanoseconds: 0, ..self.time };
        [
            ("Repository", printable(self.location.as_os_str().as_encoded_bytes())),
            ("Its id", self.repository.to_hex()),
            ("Key", format!("{}, role full", self.key.short())),
            ("Label", printable(self.label.as_bytes())),
            ("Made", human::utc(whole_seconds)),
        ]
    }

    /// The command that gets everything back.
    pub(super) fn command(&self) -> String {
        format!(
            "strongroom -r {} \\\n    --recovery-key restore latest --target restored",
            quoted(&printable(self.location.as_os_str().as_encoded_bytes()))
        )
    }

    /// What to do with the sheet when somebody saw it or lost it.
    pub(super) fn end(&self) -> String {
        format!(
            "Lost, or seen by a stranger? With another full key, `strongroom key remove {}` keeps it from\n\
             opening this repository. It still opens copies that were made before.",
            self.key.short()
        )
    }

    /// The paragraphs on use, and the items to keep in mind.
    pub(super) fn words() -> ([&'static str; 3], [&'static str; 4]) {
        (USE, MIND)
    }

    /// The sheet as text, at most 80 columns wide where the place of the repository allows.
    pub(super) fn text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(ROOM));
        let [before, asks, file] = USE;
        text.push_str(
            "STRONGROOM RECOVERY SHEET\n\nWhoever has this sheet reads every backup in the repository.\n\n",
        );
        for (name, value) in self.facts() {
            text.extend(["  ", &format!("{name:<12}"), &value, "\n"]);
        }
        text.push_str("\nTHE KEY\n\n");
        for line in recovery::text(self.secret).lines() {
            text.extend(["  ", line, "\n"]);
        }
        text.extend([
            "\nTO GET EVERYTHING BACK\n\n",
            before,
            "\n\n  ",
            &self.command().replace('\n', "\n  "),
            "\n\n",
        ]);
        for paragraph in [asks, file] {
            text.extend([&filled(paragraph, ""), "\n"]);
        }
        text.push_str("KEEP IN MIND\n\n");
        for item in MIND {
            text.push_str(&filled(item, "- "));
        }
        text.push_str(&filled(&self.end(), "- "));
        text
    }

    /// The sheet as a page for the printer.
    pub(super) fn html(&self) -> Result<Zeroizing<String>> {
        html::page(self, ROOM << 4)
    }
}
