//! `strongroom browse`: snapshots, folders, versions and files on the whole terminal.
//!
//! Invariants: nothing is written until it is asked for, and then only there. What comes from a repository reaches the
//! terminal through `report::printable`.

mod draw;
mod input;
mod keys;
mod request;
mod screen;
mod state;
mod worker;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};
use jiff::tz::TimeZone;

use super::exit::Outcome;
use super::filter::Filter;
use super::global::{Global, variable};
use super::ls::split;
use super::output::Output;
use super::signals::OnScreen;
use crate::error::{Error, ErrorKind, Result};
use crate::format::key_slot::Role;
use crate::format::node::NodeKind;
use crate::operation::restore;
use crate::report::{Finding, Reporter};
use crate::repository::Repository;
use crate::repository::reader::BlobReader;
use crate::repository::snapshot::{Snapshot, Snapshots};

use draw::{Done, Theme};
use input::{Input, Parser};
use request::{Job, Reply};
use screen::{Screen, Typed};
use state::{Effect, State};
use worker::{Notes, Worker};

/// Answers that wait to be shown.
const REPLIES_WAITING: usize = 8;
/// Answers that are taken before the screen is drawn again.
const REPLIES_AT_ONCE: usize = 64;
/// So long is an answer awaited before the screen shows that it is.
const SOON: Duration = Duration::from_millis(15);
/// Time between two looks at answers while one is awaited, and between two pictures of the spinner.
const BUSY_TICK: Duration = Duration::from_millis(40);
/// Time between two looks at signals while nothing happens.
const IDLE_TICK: Duration = Duration::from_millis(200);

/// So long is awaited what may follow an Escape.
const ESCAPE_TICK: Duration = Duration::from_millis(30);

/// Arguments of `browse`.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  strongroom browse\n  strongroom browse latest:/attachments\n  \
    strongroom browse --host server --tag nightly\n\n\
    Nothing is mounted, and nothing is written until you ask for it: r restores what is marked, w writes one\n\
    file. The key ? shows all keys. Previews and restores need a full key; a maintain key lists.")]
pub(super) struct Arguments {
    /// Snapshot to begin in: a prefix of its id, `latest`, `latest~1`; and perhaps `:` and a path in it
    #[arg(value_name = "SNAPSHOT[:PATH]")]
    snapshot: Option<String>,
    #[command(flatten)]
    filter: Filter,
}

/// Where to begin.
struct Start {
    snapshot: Arc<Snapshot>,
    place: Vec<u8>,
    is_folder: bool,
}

pub(super) fn run(global: &Global, arguments: &Arguments, output: &Output) -> Result<Outcome> {
    need_terminal(output)?;
    let filter = arguments.filter.get()?;
    let named = arguments.snapshot.as_deref().map(split).transpose()?;
    let repository = global.open(output)?;
    repository.keyring().require(Role::Maintain, "listing the files of a snapshot")?;
    let progress = output.start_progress("reading the snapshots");
    let found = repository.snapshots()?;
    let start = named.map(|(name, place)| {
        let snapshot = found.find(&filter, name)?;
        start(&repository, snapshot, place, output)
    });
    drop(progress);
    let start = start.transpose()?;
    found.report_damaged(output);
    repository.tell_vanished(&found, output);
    let state = first_state(&repository, &found, &filter);
    let notes = Notes::default();
    let theme = Theme { color: variable("NO_COLOR").is_none(), zone: TimeZone::system() };
    let (jobs, received_jobs) = bounded::<Job>(1);
    let (replies, received_replies) = bounded::<Reply>(REPLIES_WAITING);
    let worker = Worker { repository: &repository, filter: &filter, notes: &notes, replies };
    let findings = std::thread::scope(|scope| {
        let started = std::thread::Builder::new()
            .name("browse".into())
            .spawn_scoped(scope, move || worker.run(&received_jobs));
        let reading = started.map_err(|error| Error::io("cannot start a thread", error))?;
        let session = Session {
            state,
            theme,
            notes: &notes,
            on_screen: output.signals.on_screen(screen::leave),
            parser: Parser::default(),
            jobs,
            replies: received_replies,
            next: None,
            before: (0, 0),
        };
        // With the session its ends of the channels go, and so does the thread.
        let outcome = session.run(start);
        reading.join().map_err(|_| gone()).and(outcome)
    })?;
    for finding in findings {
        output.report(finding);
    }
    Ok(Outcome::Done)
}

fn need_terminal(output: &Output) -> Result<()> {
    let hint =
        "`strongroom ls SNAPSHOT` lists files, `strongroom dump` and `strongroom restore` bring them back";
    if output.json {
        return Err(Error::refused("browse is for people, and has nothing to say with --json").hint(hint));
    }
    let terminals = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    if !terminals || variable("TERM").is_none_or(|term| term == "dumb") {
        return Err(Error::refused("browse needs a terminal on standard input and output").hint(hint));
    }
    Ok(())
}

fn first_state(
    repository: &Repository,
    found: &Snapshots,
    filter: &crate::repository::find::SnapshotFilter,
) -> State {
    let refusal = repository.keyring().require(Role::Full, "reading and restoring files").err();
    let home = variable("HOME").map(PathBuf::from);
    State::new(worker::choice(found, filter), refusal.map(|error| error.chain()), home)
}

fn start(repository: &Repository, snapshot: Snapshot, place: Vec<u8>, output: &Output) -> Result<Start> {
    let reader = BlobReader::with_kept_metadata(repository, output)?;
    let node = restore::find(&reader, &snapshot, &place)?;
    let is_folder = node.is_none_or(|node| node.kind == NodeKind::Directory);
    Ok(Start { snapshot: Arc::new(snapshot), place, is_folder })
}

/// One person at the screen.
struct Session<'a> {
    state: State,
    theme: Theme,
    notes: &'a Notes,
    on_screen: OnScreen,
    parser: Parser,
    jobs: Sender<Job>,
    replies: Receiver<Reply>,
    /// Work for the thread that reads, until it takes it.
    next: Option<Job>,
    /// Files and bytes that were counted before it.
    before: (u64, u64),
}

impl Session<'_> {
    /// Draws and listens until the person leaves; gives what is to be told then.
    fn run(mut self, start: Option<Start>) -> Result<Vec<Finding>> {
        let mut screen = Screen::take()?;
        if let Some(Start { snapshot, place, is_folder }) = start {
            let effect = self.state.open_at(&snapshot, &place, is_folder);
            self.apply(effect, &mut screen)?;
        }
        let outcome = self.listen(&mut screen);
        self.state.stop();
        drop(screen);
        outcome.map(|()| self.state.findings)
    }

    fn listen(&mut self, screen: &mut Screen) -> Result<()> {
        loop {
            self.take_replies()?;
            let done = self.done();
            screen.draw(&mut self.state, &self.theme, &done)?;
            let tick = if self.state.is_busy() { BUSY_TICK } else { IDLE_TICK };
            let tick = if self.parser.is_waiting() { ESCAPE_TICK } else { tick };
            let typed = screen::typed(tick)?;
            if self.on_screen.interrupt.requested() {
                return Err(Error::new(ErrorKind::Interrupted, "interrupted"));
            }
            if self.on_screen.stopped.swap(false, Ordering::AcqRel) {
                self.apply(Effect::Suspend, screen)?;
            }
            if self.on_screen.resumed.swap(false, Ordering::AcqRel) {
                screen.enter()?;
            }
            let inputs = match typed {
                Typed::Bytes(bytes) => self.parser.take(&bytes),
                Typed::Nothing => self.parser.give_up().into_iter().collect(),
                Typed::Disturbed => Vec::new(),
            };
            for input in inputs {
                match input {
                    Input::Paste(text) => self.state.paste(&text),
                    Input::Key(key) => {
                        let effect = self.state.key(key);
                        if matches!(effect, Effect::Quit) {
                            return Ok(());
                        }
                        self.apply(effect, screen)?;
                    }
                }
            }
        }
    }

    /// How far the work under way is.
    fn done(&self) -> Done {
        let progress = self.notes.progress();
        Done {
            files: progress.files().0.saturating_sub(self.before.0),
            bytes: progress.bytes().0.saturating_sub(self.before.1),
            stage: progress.stage(),
        }
    }

    fn apply(&mut self, effect: Effect, screen: &mut Screen) -> Result<()> {
        match effect {
            Effect::None | Effect::Quit => Ok(()),
            Effect::Ask(job) => {
                // What was not taken yet was asked to stop.
                self.before = (self.notes.progress().files().0, self.notes.progress().bytes().0);
                self.next = Some(job);
                self.hand_over()?;
                if let Ok(reply) = self.replies.recv_timeout(SOON) {
                    self.state.reply(reply);
                }
                Ok(())
            }
            Effect::Redraw => screen.clear(),
            Effect::Suspend => {
                screen::leave();
                OnScreen::suspend();
                self.on_screen.resumed.store(false, Ordering::Release);
                screen.enter()
            }
            Effect::Interrupt => Err(Error::new(ErrorKind::Interrupted, "interrupted")),
        }
    }

    /// Gives work to the thread that reads, if that is free; never waits for it, for it may wait for us.
    fn hand_over(&mut self) -> Result<()> {
        let Some(job) = self.next.take() else { return Ok(()) };
        match self.jobs.try_send(job) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(job)) => {
                self.next = Some(job);
                Ok(())
            }
            Err(TrySendError::Disconnected(_)) => Err(gone()),
        }
    }

    fn take_replies(&mut self) -> Result<()> {
        self.hand_over()?;
        for _ in 0..REPLIES_AT_ONCE {
            match self.replies.recv_timeout(Duration::ZERO) {
                Ok(reply) => self.state.reply(reply),
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => return Err(gone()),
            }
        }
        self.hand_over()
    }
}

fn gone() -> Error {
    Error::refused("the thread that reads the repository failed")
}
