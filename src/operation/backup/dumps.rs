//! Dumps of servers and commands: taken before any file, one after the other, straight into the repository.
//!
//! Invariants: of a dump nothing is held but a few buffers and the list at hand. It gets a node only once its end was
//! judged: one that failed ends the backup, which makes no snapshot.

use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use rayon::prelude::{IntoParallelRefIterator, ParallelIterator};

use super::event::Change;
use super::held::{Held, Waiting};
use super::read::{Cutter, Pool, cut_stream};
use super::scan::hung_up;
use super::work::Work;
use crate::error::{Error, Result};
use crate::format::blob::BlobKind;
use crate::format::node::{Content, Node};
use crate::format::snapshot::{DumpKind, DumpReport};
use crate::id::Id;
use crate::interrupt::Interrupt;
use crate::report::{Finding, printable};
use crate::repository::cached_tree::RecordingSink;
use crate::repository::content::ContentBuilder;
use crate::repository::host;
use crate::repository::snapshot::Snapshot;
use crate::repository::writer::BlobWriter;
use crate::source::server::{Dump, Finished, Row, Server};
use crate::source::stream::{self, Patience};

/// Dumps of fewer bytes than this may shrink as they like.
const SMALL: u64 = 64 << 10;

/// How long is waited for more of a dump before it is looked whether what came before could be stored.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// What the dumps of a backup came to.
#[derive(Default)]
pub(super) struct Dumped {
    /// Their nodes, and the folders above.
    pub(super) held: Held,
    /// What the manifest says of them, in the order of their places.
    pub(super) reports: Vec<DumpReport>,
    /// What was answered to a service's questions.
    pub(super) answered: Option<Answered>,
    /// When the first dump began, in seconds since the Unix epoch.
    pub(super) began: i64,
    /// What was amiss.
    pub(super) problems: u64,
}

/// What a service's database answered in its dump's own view.
pub(super) struct Answered {
    /// Where the dump lies in the snapshot.
    pub(super) place: Vec<u8>,
    /// Tables and their rows.
    pub(super) tables: Vec<(String, u64)>,
    /// The answers, in the order of the questions.
    pub(super) answers: Vec<Vec<Row>>,
}

/// Looks a node of the previous snapshot up.
pub(super) type Before<'a> = dyn Fn(&[u8]) -> Option<Node> + 'a;

impl Work<'_> {
    /// Takes the dumps of all servers.
    pub(super) fn dump(
        &self,
        writer: &BlobWriter<'_>,
        sink: &RecordingSink<'_>,
        before: &Before<'_>,
        earlier: &[&Snapshot],
    ) -> Result<Dumped> {
        let mut dumped = Dumped { began: host::now().seconds, ..Dumped::default() };
        // Where nothing more can be stored, whoever waits for the next byte of a dump is to stop too.
        let halt = self.options.interrupt.of_a_part();
        let patience = Patience { interrupt: halt.clone(), silence: None };
        for server in &self.options.servers {
            self.reporter.progress().set_stage(format!("asking {}", server.name()));
            let dumps = match server.dumps(&patience, self.reporter) {
                Err(error) if server.dispensable() && self.options.interrupt.check().is_ok() => {
                    dumped.problems = dumped.problems.saturating_add(1);
                    self.reporter.report(missed(&**server, &error));
                    continue;
                }
                dumps => dumps?,
            };
            for dump in dumps {
                self.take(dump, &halt, (writer, sink), before, &mut dumped)?;
            }
        }
        self.reporter.progress().set_stage("");
        dumped.reports.sort_by(|one, other| one.place.cmp(&other.place));
        for report in &dumped.reports {
            if let Some(finding) = self.shrunk(report, earlier) {
                dumped.problems = dumped.problems.saturating_add(1);
                self.reporter.report(finding);
            }
        }
        Ok(dumped)
    }

    /// Asks the server of the service's database about the present: the first that answers.
    pub(super) fn ask(&self, question: &str) -> Result<Vec<Row>> {
        let patience = Patience { interrupt: self.options.interrupt.clone(), silence: None };
        let server = self.options.servers.first();
        let server = server.ok_or_else(|| Error::refused("no server is known that could be asked"))?;
        server.ask(question, &patience)
    }

    fn take(
        &self,
        mut dump: Box<dyn Dump + '_>,
        halt: &Interrupt,
        (writer, sink): (&BlobWriter<'_>, &RecordingSink<'_>),
        before: &Before<'_>,
        dumped: &mut Dumped,
    ) -> Result<()> {
        let place = dump.place().to_vec();
        self.reporter.progress().set_stage(format!("dumping /{}", printable(&place)));
        let mut node = stream::node(host::now());
        let (content, size) = self.store(&mut *dump, halt, writer, sink)?;
        let Finished { mut report, answers } = dump.finish()?;
        report.bytes = size;
        (node.content, node.size) = (Some(content), size);
        for end in place.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(end, _)| end) {
            let folder = place.get(..end).unwrap_or_default().to_vec();
            dumped.held.insert(waiting(folder, stream::folder_node(), before))?;
        }
        dumped.held.insert(waiting(place.clone(), node, before))?;
        if !answers.is_empty() {
            let tables = report.tables.iter().map(|table| (table.table.clone(), table.rows)).collect();
            dumped.answered = Some(Answered { place, tables, answers });
        }
        dumped.reports.push(report);
        Ok(())
    }

    /// Reads a dump to its end; gives its content and its length.
    fn store(
        &self,
        dump: &mut dyn Dump,
        halt: &Interrupt,
        writer: &BlobWriter<'_>,
        sink: &RecordingSink<'_>,
    ) -> Result<(Content, u64)> {
        let chunker = self.repository.dump_chunker();
        let pool = Pool::new();
        let returns = pool.returns();
        let (out, batches) = bounded(1);
        std::thread::scope(|scope| {
            let read = scope.spawn(move || cut(dump, &Cutter::Dump(&chunker), &pool, &out));
            let stored = self.store_batches(&batches, &returns, writer, sink);
            // The reader notices that nobody listens any more: also while it waits for a command that says nothing.
            if stored.is_err() {
                halt.request();
            }
            drop(batches);
            let size = read.join().map_err(|_| Error::refused("the reading thread failed"))?;
            let builder = stored?;
            let size = size?;
            Ok((builder.finish(sink)?, size))
        })
    }

    fn store_batches(
        &self,
        batches: &Receiver<(Vec<u8>, Vec<usize>)>,
        returns: &Sender<Vec<u8>>,
        writer: &BlobWriter<'_>,
        sink: &RecordingSink<'_>,
    ) -> Result<ContentBuilder> {
        let mut builder = ContentBuilder::default();
        loop {
            let (bytes, cuts) = match batches.recv_timeout(LOOK_INTERVAL) {
                Ok(batch) => batch,
                Err(RecvTimeoutError::Disconnected) => return Ok(builder),
                Err(RecvTimeoutError::Timeout) => {
                    writer.check()?;
                    continue;
                }
            };
            self.options.interrupt.check()?;
            let starts = std::iter::once(&0).chain(&cuts);
            let chunks: Vec<&[u8]> =
                starts.zip(&cuts).map(|(start, end)| bytes.get(*start..*end).unwrap_or_default()).collect();
            let ids: Vec<Id> = chunks
                .par_iter()
                .map(|chunk| {
                    let id = writer.store_blob(BlobKind::Chunk, chunk)?;
                    self.reporter.progress().add_bytes(chunk.len() as u64);
                    Ok(id)
                })
                .collect::<Result<_>>()?;
            ids.iter()
                .zip(&chunks)
                .try_for_each(|(id, chunk)| builder.push(sink, *id, chunk.len() as u64))?;
            // The reader may be gone already; then nobody needs the buffer.
            returns.send(bytes).ok();
        }
    }

    /// A database's dump of less than half of what it was the last time that all was well: something may have been
    /// emptied, and nobody may have noticed. What any other command writes may be of any length.
    fn shrunk(&self, report: &DumpReport, earlier: &[&Snapshot]) -> Option<Finding> {
        if self.options.accept_smaller_dumps || report.kind == DumpKind::Command {
            return None;
        }
        let good = earlier.iter().find_map(|snapshot| {
            let dumps =
                snapshot.manifest.dumps.as_ref().filter(|_| snapshot.manifest.statistics.problems == 0)?;
            dumps.iter().find(|dump| dump.place == report.place)
        })?;
        (good.bytes >= SMALL && report.bytes < good.bytes / 2).then(|| {
            let cause = format!(
                "this dump has {} bytes, and the last one that was in order had {}",
                report.bytes, good.bytes
            );
            Finding::problem(format!("/{}", printable(&report.place)), cause)
                .with_hint("look what is gone; if that is right, say --accept-smaller-dump once")
        })
    }
}

/// What is told of a server that the backup goes on without.
fn missed(server: &dyn Server, error: &Error) -> Finding {
    let finding = Finding::problem(server.name(), format!("{}; it is not in this backup", error.chain()));
    match error.next_step() {
        Some(hint) => finding.with_hint(hint),
        None => finding,
    }
}

fn waiting(path: Vec<u8>, node: Node, before: &Before<'_>) -> Waiting {
    let change = match before(&path) {
        None => Change::New,
        Some(before) if before == node => Change::Unmodified,
        Some(_) => Change::Compare,
    };
    Waiting { path, node, change }
}

/// Reads and cuts to the end; gives the length.
fn cut(
    dump: &mut dyn Dump,
    cutter: &Cutter<'_>,
    pool: &Pool,
    out: &Sender<(Vec<u8>, Vec<usize>)>,
) -> Result<u64> {
    let mut size = 0u64;
    let mut fill = |buffer: &mut [u8], filled: &mut usize| {
        let room = buffer.get_mut(*filled..).unwrap_or_default();
        let wanted = room.len();
        let read = dump.fill(room)?;
        size = size.saturating_add(read as u64);
        *filled = filled.saturating_add(read);
        Ok(read < wanted)
    };
    let failed = cut_stream(&mut fill, pool.buffer(u64::MAX), cutter, pool, &mut |bytes, cuts| {
        out.send((bytes, cuts)).map_err(|_| hung_up())
    })?;
    failed.map_or(Ok(size), Err)
}
