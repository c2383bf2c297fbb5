//! The terminal while it is ours: taken, given back whatever happens, and taken again.
//!
//! Invariant: after `leave`, a panic, a signal that ends the program or the end of this value, the terminal is as it was
//! found.

use std::io::{Stdout, Write, stdin, stdout};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::event::{DisableBracketedPaste, EnableBracketedPaste};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;

use super::draw::{self, Done, Theme};
use super::state::State;
use crate::error::{Error, ErrorKind, Result};

/// Whether the terminal is ours now.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// The terminal, drawn upon as a whole.
pub(super) struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
}

fn failed(error: std::io::Error) -> Error {
    Error::io("cannot draw on the terminal", error)
}

impl Screen {
    /// Takes the terminal.
    pub(super) fn take() -> Result<Self> {
        leave_on_panic();
        let terminal = Terminal::new(CrosstermBackend::new(stdout())).map_err(failed)?;
        let mut screen = Self { terminal };
        screen.enter()?;
        Ok(screen)
    }

    /// Takes it again after it was given back, whoever changed it meanwhile.
    pub(super) fn enter(&mut self) -> Result<()> {
        TAKEN.store(true, Ordering::Release);
        // Without a terminal that knows how it was before, nothing is remembered of it.
        disable_raw_mode().map_err(failed)?;
        enable_raw_mode().map_err(failed)?;
        execute!(stdout(), EnterAlternateScreen, EnableBracketedPaste, Hide).map_err(failed)?;
        self.terminal.clear().map_err(failed)
    }

    /// Draws all of it again at the next drawing.
    pub(super) fn clear(&mut self) -> Result<()> {
        self.terminal.clear().map_err(failed)
    }

    pub(super) fn draw(&mut self, state: &mut State, theme: &Theme, done: &Done) -> Result<()> {
        self.terminal.draw(|frame| draw::all(frame, state, theme, done)).map(|_| ()).map_err(failed)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        leave();
    }
}

/// What came of waiting for keys.
pub(super) enum Typed {
    /// Something was typed.
    Bytes(Vec<u8>),
    /// A signal came, such as that of a window that changed.
    Disturbed,
    /// The time is over.
    Nothing,
}

/// Waits until something is typed, a signal comes or the time is over.
///
/// # Errors
/// `Interrupted` where the terminal is gone.
pub(super) fn typed(time: Duration) -> Result<Typed> {
    let gone = || Error::new(ErrorKind::Interrupted, "the terminal is gone");
    let timeout = Timespec::try_from(time).unwrap_or_default();
    let keys = stdin();
    let mut watched = [PollFd::new(&keys, PollFlags::IN)];
    match rustix::event::poll(&mut watched, Some(&timeout)) {
        Ok(0) => return Ok(Typed::Nothing),
        Ok(_) => {}
        Err(Errno::INTR) => return Ok(Typed::Disturbed),
        Err(errno) => return Err(Error::io("cannot wait for keys", errno)),
    }
    if !watched.first().is_some_and(|watched| watched.revents().contains(PollFlags::IN)) {
        return Err(gone());
    }
    let mut bytes = vec![0; 4096];
    match rustix::io::read(&keys, &mut bytes) {
        Ok(0) | Err(Errno::IO) => Err(gone()),
        Ok(length) => {
            bytes.truncate(length);
            Ok(Typed::Bytes(bytes))
        }
        Err(Errno::INTR | Errno::AGAIN) => Ok(Typed::Disturbed),
        Err(errno) => Err(Error::io("cannot read the keys", errno)),
    }
}

/// Gives the terminal back, if it is ours. May be called from any thread, and where nothing else can be done.
pub(super) fn leave() {
    if !TAKEN.swap(false, Ordering::AcqRel) {
        return;
    }
    // Each is tried, whatever became of the others: the terminal may be gone.
    execute!(stdout(), Show, DisableBracketedPaste, LeaveAlternateScreen).ok();
    disable_raw_mode().ok();
    stdout().flush().ok();
}

/// A panic gives the terminal back before it says anything.
fn leave_on_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            leave();
            before(panic);
        }));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_gives_the_terminal_back_before_it_says_anything() {
        static GIVEN_BACK: AtomicBool = AtomicBool::new(false);
        let before = std::panic::take_hook();
        // What says something comes after what gives the terminal back.
        std::panic::set_hook(Box::new(move |panic| {
            if std::thread::current().name() == Some("one that panics") {
                GIVEN_BACK.store(!TAKEN.load(Ordering::Acquire), Ordering::Release);
            } else {
                before(panic);
            }
        }));
        leave_on_panic();
        TAKEN.store(true, Ordering::Release);
        let thread = std::thread::Builder::new().name("one that panics".into());
        assert!(thread.spawn(|| panic!("on purpose")).unwrap().join().is_err());
        assert!(GIVEN_BACK.load(Ordering::Acquire));
    }
}
