//! The proof that the uploaded files that rows name are in the snapshot.
//!
//! The database is dumped first and the server goes on working. authentik writes a file before the row that names it, so a file
//! that is missing was deleted meanwhile, with its row changed, or it is damage.
//!
//! Invariant: a missing file is excused only by the live database, which no longer names it. Where that cannot be asked, the
//! dump's word holds.

use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::contents::{Contents, Named};
use crate::error::Result;
use crate::report::{Finding, printable};
use crate::source::server::Row;
use crate::source::server::postgres::{identifier, literal};

/// The most findings of one kind; the lists of an [`Outcome`] hold all.
const FINDINGS_MAX: usize = 100;

/// Asks one question of the live database.
pub type Ask<'a> = dyn Fn(&str) -> Result<Vec<Row>> + 'a;

/// Compares the files of a snapshot with what rows name.
#[derive(Debug)]
pub struct Proof {
    named: Vec<Named>,
    /// Folders of uploaded files, as places of the snapshot.
    folders: Vec<Vec<u8>>,
    /// Each place where a named file may lie, and its size once it was seen.
    found: HashMap<Vec<u8>, Option<u64>>,
}

/// What the comparison found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Files that rows name and that are in the snapshot.
    pub proved: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Damage: places of files that rows name and that are not there, sorted.
    pub missing: Vec<Vec<u8>>,
    /// Files that no row names any more.
    pub deleted_meanwhile: u64,
    /// What to tell.
    pub findings: Vec<Finding>,
}

/// Folders in which uploaded files may lie on this host, as places of a snapshot.
pub fn places(media: &[PathBuf]) -> Vec<Vec<u8>> {
    let place = |folder: &PathBuf| {
        let folder = folder.canonicalize().unwrap_or_else(|_| folder.clone());
        let bytes = folder.as_os_str().as_bytes();
        bytes.strip_prefix(b"/").unwrap_or(bytes).to_vec()
    };
    media.iter().map(place).collect()
}

impl Proof {
    /// Starts with what the database names. `folders` are the places in which uploaded files may lie.
    pub fn new(contents: &Contents, folders: Vec<Vec<u8>>) -> Self {
        let named: Vec<Named> = contents.named.iter().cloned().collect();
        let places = named.iter().flat_map(|named| folders.iter().map(|folder| place(folder, &named.file)));
        let found = places.map(|place| (place, None)).collect();
        Self { named, folders, found }
    }

    /// Whether any row names a file.
    pub fn expects_files(&self) -> bool {
        !self.named.is_empty()
    }

    /// Where named files may lie.
    pub fn places(&self) -> Vec<Vec<u8>> {
        self.found.keys().cloned().collect()
    }

    /// Takes note of a regular file of the snapshot. They may come in any order.
    pub fn observe(&mut self, place: &[u8], size: u64) {
        if let Some(found) = self.found.get_mut(place) {
            *found = Some(size);
        }
    }

    /// Compares, and asks the live database about what is missing.
    pub fn finish(self, ask: &Ask<'_>) -> Outcome {
        let mut outcome = Outcome::default();
        let mut seen: HashMap<&str, bool> = HashMap::new();
        let mut asking = true;
        for named in &self.named {
            let places = || self.folders.iter().map(|folder| place(folder, &named.file));
            if let Some(size) = places().find_map(|place| self.found.get(&place).copied().flatten()) {
                if seen.insert(&named.file, true).is_none() {
                    outcome.proved = outcome.proved.saturating_add(1);
                    outcome.bytes = outcome.bytes.saturating_add(size);
                }
                continue;
            }
            match if asking { still_named(named, ask) } else { Ok(true) } {
                Ok(false) => {
                    outcome.deleted_meanwhile = outcome.deleted_meanwhile.saturating_add(1);
                    continue;
                }
                Ok(true) => {}
                Err(error) => {
                    asking = false;
                    let cause =
                        format!("cannot be asked again about files that are missing: {}", error.chain());
                    outcome.findings.push(Finding::warning("authentik's database", cause));
                }
            }
            let expected = places().next().unwrap_or_else(|| named.file.clone().into_bytes());
            if seen.insert(&named.file, false).is_none() {
                outcome.missing.push(expected.clone());
            }
            if outcome.findings.len() < FINDINGS_MAX {
                let cause = format!("is missing, and {}.{} names it", named.table, named.column);
                let hint = "bring the file back from an older snapshot, or choose another one in authentik";
                let subject = format!("/{}", printable(&expected));
                outcome.findings.push(Finding::problem(subject, cause).with_hint(hint));
            }
        }
        outcome.missing.sort();
        outcome
    }
}

fn place(folder: &[u8], file: &str) -> Vec<u8> {
    [folder, b"/", file.as_bytes()].concat()
}

/// Whether a row still names a file.
fn still_named(named: &Named, ask: &Ask<'_>) -> Result<bool> {
    let Named { schema, table, column, value, .. } = named;
    let question = format!(
        "SELECT 1 FROM {}.{} WHERE {} = {} LIMIT 1",
        identifier(schema),
        identifier(table),
        identifier(column),
        literal(value)
    );
    Ok(!ask(&question)?.is_empty())
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::error::Error;

    fn contents(values: &[&str]) -> Contents {
        let named = values.iter().map(|value| Named {
            schema: "public".to_owned(),
            table: "authentik_core_application".to_owned(),
            column: "meta_icon".to_owned(),
            value: (*value).to_owned(),
            file: format!("public/{value}"),
        });
        Contents { named: named.collect(), ..Contents::default() }
    }

    fn proof(values: &[&str]) -> Proof {
        let folders = places(&[PathBuf::from("/no/data/media"), PathBuf::from("/no/media")]);
        Proof::new(&contents(values), folders)
    }

    #[test]
    fn a_named_file_is_there_or_damage_or_named_no_more() {
        let mut proof = proof(&["a.png", "b.png", "it's.png", "old.png"]);
        proof.observe(b"no/data/media/public/a.png", 5);
        proof.observe(b"no/media/public/b.png", 7);
        proof.observe(b"no/media/public/stranger.png", 9);
        let asked = RefCell::new(Vec::new());
        let ask = |question: &str| {
            asked.borrow_mut().push(question.to_owned());
            Ok(if question.contains("old.png") { Vec::new() } else { vec![vec![Some("1".to_owned())]] })
        };
        let outcome = proof.finish(&ask);
        assert_eq!((outcome.proved, outcome.bytes, outcome.deleted_meanwhile), (2, 12, 1));
        assert_eq!(outcome.missing, [b"no/data/media/public/it's.png"]);
        assert_eq!(outcome.findings.len(), 1);
        assert!(asked.borrow()[0].ends_with("WHERE \"meta_icon\" = E'it\\'s.png' LIMIT 1"), "{asked:?}");
    }

    #[test]
    fn where_nobody_can_be_asked_the_dump_holds() {
        let outcome = proof(&["a", "b"]).finish(&|_| Err(Error::refused("gone")));
        assert_eq!(outcome.missing.len(), 2);
        assert_eq!(outcome.findings.len(), 3, "the trouble with asking is told once");
    }
}
