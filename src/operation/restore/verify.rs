//! Reading again what was restored, and comparing it with the ids of its chunks.
//!
//! Invariant: what is read comes from the disk, as far as the system can be asked for that.

use std::collections::HashSet;

use rayon::prelude::{IntoParallelRefIterator, ParallelIterator};
use rustix::fs::Advice;

use super::compare::{is_right, is_zero};
use super::plan::{Plan, Standing, each_chunk};
use super::target::Target;
use super::{Context, relative};
use crate::error::{Error, Result};
use crate::format::blob::BlobKind;
use crate::format::node::{Node, NodeKind};
use crate::report::{Finding, printable};

/// Files that are read at once.
const BATCH: usize = 256;

/// What verifying came to.
#[derive(Default)]
pub(super) struct Verified {
    pub(super) files: u64,
    pub(super) bytes: u64,
    pub(super) problems: u64,
}

/// Reads every file of a plan but those that are lost. Those that a comparison read in this restore are right
/// already.
pub(super) fn verify(
    context: &Context<'_>,
    target: &Target,
    plan: &Plan,
    lost: &HashSet<&[u8]>,
) -> Result<Verified> {
    let mut verified = Verified::default();
    let mut files = plan.files.iter().peekable();
    let mut walk = context.walk();
    let mut batch = Vec::with_capacity(BATCH);
    context.reporter.progress().set_stage("verifying");
    // What cannot be read of the tree was reported already.
    while let Some(step) = walk.next(&mut |_| ())? {
        let Some(place) = relative(&step.path, &context.request.place, context.top) else { continue };
        // The walk meets the files of the plan in their order.
        let Some(file) = files.next_if(|file| *file.path == *place) else { continue };
        if step.node.kind != NodeKind::File || lost.contains(place.as_slice()) {
            continue;
        }
        if file.standing == Standing::Equal {
            verified.files = verified.files.saturating_add(1);
            verified.bytes = verified.bytes.saturating_add(file.lean.size);
            continue;
        }
        batch.push((place, step.node));
        if batch.len() == BATCH {
            verify_batch(context, target, &batch, &mut verified)?;
            batch.clear();
        }
    }
    verify_batch(context, target, &batch, &mut verified)?;
    context.reporter.progress().set_stage("");
    Ok(verified)
}

fn verify_batch(
    context: &Context<'_>,
    target: &Target,
    batch: &[(Vec<u8>, Node)],
    verified: &mut Verified,
) -> Result<()> {
    let outcomes: Vec<Result<()>> = batch
        .par_iter()
        .map(|(place, node)| {
            context.interrupt.check()?;
            Ok(one(context, target, place, node))
        })
        .collect::<Result<_>>()?;
    for ((place, node), outcome) in batch.iter().zip(outcomes) {
        match outcome {
            Ok(()) => {
                verified.files = verified.files.saturating_add(1);
                verified.bytes = verified.bytes.saturating_add(node.size);
            }
            Err(error) => {
                verified.problems = verified.problems.saturating_add(1);
                let finding =
                    Finding::problem(printable(place), format!("is not as it was stored: {}", error.chain()));
                let hint = "something changed it, or the disk is bad: restore it again, and look at the system's log";
                context.reporter.report(finding.with_hint(hint));
            }
        }
    }
    Ok(())
}

/// Asserts that a file is what a node says, byte by byte.
pub(super) fn one(context: &Context<'_>, target: &Target, place: &[u8], node: &Node) -> Result<()> {
    let Some((file, seen)) = target.open_existing(place)? else {
        return Err(Error::missing("it cannot be opened"));
    };
    // What was written is on the disk by now; where the system keeps a copy all the same, that is read.
    rustix::fs::fadvise(&file, 0, None, Advice::DontNeed).ok();
    if seen.size != node.size {
        return Err(Error::corrupt(format!("it has {} bytes instead of {}", seen.size, node.size)));
    }
    let keyring = context.reader.repository().keyring();
    let holes = node.holes.as_deref().unwrap_or_default();
    let index = context.reader.index()?;
    each_chunk(context.reader, node, node.content.as_ref(), &mut |id, offset| {
        context.interrupt.check()?;
        let length = match index.plain_length(BlobKind::Chunk, id) {
            Ok(Some(length)) => u64::from(length),
            _ => context.reader.with_blob(BlobKind::Chunk, id, |plain| Ok(plain.len() as u64))?,
        };
        if is_right(keyring, &file, holes, offset, length, id) {
            return Ok(length);
        }
        Err(Error::corrupt(format!("the {length} bytes from {offset} on are not those of the snapshot")))
    })?;
    match holes.iter().find(|hole| !is_zero(&file, hole).unwrap_or(false)) {
        Some(hole) => Err(Error::corrupt(format!("there is no hole from {} on", hole.offset))),
        None => Ok(()),
    }
}
