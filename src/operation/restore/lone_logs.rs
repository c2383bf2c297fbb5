//! Logs of databases that a snapshot holds as files, where the databases themselves are not restored with them: put beside
//! what is there, an old log would be played into it.
//!
//! Invariant: a log is restored with its database or beside none, and gets its name after it.

use std::collections::BTreeSet;
use std::sync::PoisonError;

use super::Context;
use super::fill::Filler;
use super::logs::{is_database, is_magic};
use super::obstacles::lose;
use super::plan::{FilePlan, Plan, Standing, each_chunk};
use super::target::Target;
use crate::error::{Error, Result};
use crate::format::blob::BlobKind;
use crate::format::node::NodeKind;
use crate::format::path;
use crate::report::printable;
use crate::repository::tree::lookup;
use crate::source::sqlite::{INDEX, companion_base};

/// What to do where a log stays out.
const TOGETHER: &str =
    "restore the database together with its log: under another folder, or here with --overwrite always";

/// Takes logs out of a plan whose databases are in the target and stay as they are.
pub(super) fn refuse(context: &Context<'_>, target: &Target, plan: &mut Plan) -> Result<()> {
    if target.was_empty() {
        return Ok(());
    }
    let mut lone: Vec<(Vec<u8>, Error)> = Vec::new();
    let files = plan.files.iter().filter(|file| file.lost.is_none() && changes(file)).map(|file| &*file.path);
    let links = plan.hard_links.iter().filter(|link| link.lost.is_none()).map(|link| &*link.path);
    for place in files.chain(links) {
        let Some(base) = companion_base(place).filter(|base| !plan.restores(base)) else { continue };
        context.interrupt.check()?;
        let is_there = target.look(base)?.is_some_and(|seen| seen.kind == Some(NodeKind::File));
        if is_there && belongs_to(context, target, place, base)? {
            lone.push((place.to_vec(), beside_another(base)));
        }
    }
    for (place, error) in lone {
        lose(plan, &place, error);
    }
    Ok(())
}

fn changes(file: &FilePlan) -> bool {
    !matches!(file.standing, Standing::Same | Standing::Equal)
}

fn beside_another(base: &[u8]) -> Error {
    let base = printable(base);
    let cause =
        format!("it is the log of {base}, which is not restored, and would be played into what is there");
    Error::refused(cause).hint(TOGETHER)
}

/// Whether what a snapshot holds under the name of a log would do something to the file that is there.
fn belongs_to(context: &Context<'_>, target: &Target, place: &[u8], base: &[u8]) -> Result<bool> {
    if place.ends_with(INDEX.as_bytes()) {
        return Ok(is_database(target, base));
    }
    let root = context.snapshot.root();
    let Some(node) = lookup(context.reader, root, &context.in_snapshot(place))? else { return Ok(true) };
    let begins_with_hole = node.holes.iter().flatten().any(|hole| hole.offset == 0 && hole.length > 0);
    if node.size < 8 || begins_with_hole {
        return Ok(false);
    }
    let mut begins = None;
    each_chunk(context.reader, &node, node.content.as_ref(), &mut |id, _| {
        let first = |plain: &[u8]| Ok(plain.first_chunk::<8>().copied());
        begins = context.reader.with_blob(BlobKind::Chunk, id, first)?;
        // The first chunk is enough.
        Err(Error::refused("that is enough"))
    })
    .ok();
    // What cannot be read may be one.
    Ok(begins.is_none_or(is_magic))
}

/// The logs among the files of a plan whose databases are written as well.
pub(super) fn of_files(plan: &Plan) -> BTreeSet<u32> {
    let is_one = |file: &FilePlan| {
        changes(file) && companion_base(&file.path).is_some_and(|base| number_of(plan, base).is_some())
    };
    let numbered = plan.files.iter().enumerate().filter(|(_, file)| is_one(file));
    numbered.filter_map(|(number, _)| u32::try_from(number).ok()).collect()
}

fn number_of(plan: &Plan, place: &[u8]) -> Option<u32> {
    let number = plan.files.binary_search_by(|file| path::compare(&file.path, place)).ok()?;
    u32::try_from(number).ok()
}

impl Filler<'_, '_> {
    /// Gives logs their names, but for those whose databases could not be restored over what is there.
    pub(super) fn finish_logs(&self) -> Result<()> {
        for number in &self.later {
            self.context.interrupt.check()?;
            let number = usize::try_from(*number).unwrap_or(usize::MAX);
            let Some(file) = self.plan.files.get(number) else { continue };
            let mut state = self.state(number)?;
            if state.ended || state.left > 0 {
                continue;
            }
            let Some(partial) = state.partial.take() else { continue };
            if let Some(base) = companion_base(&file.path).filter(|base| self.stays(base)) {
                let error = beside_another(base);
                drop(partial);
                self.give_up(&mut state, number, file, &error.chain(), error.next_step());
                continue;
            }
            let finished = self.finish(&mut state, file, *partial);
            self.survive(&mut state, number, file, finished)?;
        }
        Ok(())
    }

    /// Whether a database could not be restored, and something is in its place.
    fn stays(&self, base: &[u8]) -> bool {
        let lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        let is_lost = number_of(self.plan, base).is_some_and(|number| lost.contains(&number));
        is_lost && !matches!(self.target.look(base), Ok(None))
    }
}
