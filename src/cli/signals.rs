//! SIGINT, SIGTERM and SIGHUP, and SIGTSTP where the screen is drawn upon: what each command makes of them.
//!
//! A command that must end in good order says so, and finds in its [`Interrupt`] whether it is to stop; the
//! others are ended at once, with the terminal as it was found. A signal that the parent had ignored, as `nohup`
//! does, stays ignored.
//!
//! Invariant: this is the only place that handles signals or ends the process.

use std::fs::File;
use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGTERM, SIGTSTP, SIGWINCH, SIGXFSZ};
use signal_hook::iterator::Signals as Incoming;
use signal_hook::low_level::emulate_default_handler;

use super::exit::INTERRUPTED;
use crate::interrupt::Interrupt;

/// A second signal this soon after the first is the same wish: `timeout`, for one, sends each of its twice.
const SAME_WISH: Duration = Duration::from_millis(300);

/// What becomes of signals; clones share it.
#[derive(Clone, Default)]
pub(super) struct Signals(Arc<State>);

#[derive(Default)]
struct State {
    interrupt: Interrupt,
    in_good_order: AtomicBool,
    /// How the terminal was before a question turned its echo off.
    terminal: Mutex<Option<Termios>>,
    /// What gives the terminal back, where all of it is drawn upon.
    leave: Mutex<Option<fn()>>,
}

/// What signals ask of whoever draws upon the whole terminal.
pub(super) struct OnScreen {
    /// To end in good order.
    pub(super) interrupt: Interrupt,
    /// To give the terminal back and call [`OnScreen::suspend`].
    pub(super) stopped: Arc<AtomicBool>,
    /// To draw anew: the process was stopped, and goes on.
    pub(super) resumed: Arc<AtomicBool>,
}

impl OnScreen {
    /// Stops the process until somebody lets it go on.
    pub(super) fn suspend() {
        if emulate_default_handler(SIGTSTP).is_err() {
            // Then it goes on at once.
        }
    }
}

impl Signals {
    /// Takes the process's signals over.
    pub(super) fn watch() -> Self {
        let signals = Self::default();
        let ignored = ignored();
        let wanted = [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|signal| !ignored(*signal));
        // A limit on the size of files is an error of the write that meets it, and no reason to die without a word.
        if signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false))).is_err() {
            // Then that signal does what it does to any program.
        }
        // Where the system refuses, signals do what they do to any program.
        if let Ok(mut incoming) = Incoming::new(wanted.collect::<Vec<_>>()) {
            let state = Arc::clone(&signals.0);
            let watch = move || {
                let mut first = None;
                incoming.forever().for_each(|signal| state.take(signal, &mut first));
            };
            if std::thread::Builder::new().name("signals".into()).spawn(watch).is_err() {
                // As above: the closure is gone, and with it what took the signals.
            }
        }
        signals
    }

    /// From here on the first signal only asks for an end in good order; the second ends the process.
    pub(super) fn in_good_order(&self) -> Interrupt {
        self.0.in_good_order.store(true, Ordering::Release);
        self.0.interrupt.clone()
    }

    /// The same for a command that draws upon the whole terminal, where no signal may write; `leave` gives the terminal
    /// back. SIGTSTP and SIGCONT are taken over as well.
    pub(super) fn on_screen(&self, leave: fn()) -> OnScreen {
        *self.0.leave.lock().unwrap_or_else(PoisonError::into_inner) = Some(leave);
        let ignored = ignored();
        let flag = |signal| {
            let flag = Arc::new(AtomicBool::new(false));
            if !ignored(signal) && signal_hook::flag::register(signal, Arc::clone(&flag)).is_err() {
                // Then that signal does what it does to any program.
            }
            flag
        };
        // Nobody asks for this one: taken over, it ends a wait for keys, and the window's size is looked at.
        drop(flag(SIGWINCH));
        OnScreen { interrupt: self.in_good_order(), stopped: flag(SIGTSTP), resumed: flag(SIGCONT) }
    }

    /// Asks something that turns the terminal's echo off; a signal meanwhile turns it on again.
    pub(super) fn question<T>(&self, ask: impl FnOnce() -> T) -> T {
        let terminal = File::open("/dev/tty").ok().and_then(|terminal| tcgetattr(terminal).ok());
        *self.0.terminal.lock().unwrap_or_else(PoisonError::into_inner) = terminal;
        let answer = ask();
        *self.0.terminal.lock().unwrap_or_else(PoisonError::into_inner) = None;
        answer
    }
}

impl State {
    fn take(&self, signal: i32, first: &mut Option<Instant>) {
        if !self.in_good_order.load(Ordering::Acquire) {
            self.end();
        }
        match first {
            None => {
                *first = Some(Instant::now());
                self.interrupt.request();
                let is_drawn_upon = self.leave.lock().unwrap_or_else(PoisonError::into_inner).is_some();
                let mut screen = std::io::stderr();
                if screen.is_terminal() && !is_drawn_upon {
                    writeln!(screen, "\rstopping in good order; once more to end at once").ok();
                }
            }
            // A terminal that closes sends more than one of these.
            Some(_) if signal == SIGHUP => {}
            Some(first) if first.elapsed() < SAME_WISH => {}
            Some(_) => {
                if let Some(leave) = *self.leave.lock().unwrap_or_else(PoisonError::into_inner) {
                    leave();
                }
                if emulate_default_handler(signal).is_err() {
                    self.end();
                }
            }
        }
    }

    /// Ends the process at once: there is nothing to put in order, and the main thread may wait for a person.
    fn end(&self) -> ! {
        let terminal = self.terminal.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let (Some(before), Ok(terminal)) = (terminal, File::open("/dev/tty")) {
            // Where that fails, the terminal is gone.
            tcsetattr(terminal, OptionalActions::Now, &before).ok();
        }
        writeln!(std::io::stderr(), "error: interrupted").ok();
        std::process::exit(i32::from(INTERRUPTED))
    }
}

/// Tells which signals the parent had ignored. Where the system does not say, none were.
fn ignored() -> impl Fn(i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    move |signal| {
        let bit = u32::try_from(signal).ok().and_then(|signal| signal.checked_sub(1));
        bit.and_then(|bit| mask.checked_shr(bit)).is_some_and(|mask| mask & 1 == 1)
    }
}
