//! A store that does wrong at one call: the N-th, in one of the ways in which stores do wrong.
//!
//! Invariant: whatever it answers, an object in it is whole or not there. That is what every backend promises; all else
//! it may get wrong here.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use strongroom::backend::{Backend, Listed, MemoryBackend, ObjectKind, ObjectName};
use strongroom::error::{Error, ErrorKind, Result};
use strongroom::repository::Repository;

use super::Call;
use super::small::{Small, Who};

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Fault {
    /// The call fails and nothing happened; a PUT that was cut short looks the same, for nothing gets its name by it.
    Fails,
    /// The call does its work, and times out.
    AnswerLost,
    /// A read gives half of what was asked for.
    Short,
    /// A read gives nothing, and calls that everything.
    Nothing,
    /// A read does not find what is there.
    Absent,
    /// The call is not permitted.
    Denied,
    /// From now on nothing may be changed.
    ReadOnly,
    /// From now on there is no room.
    Full,
    /// From now on nobody answers.
    Down,
    /// The call does its work, and from then on nobody answers.
    DownAfter,
    /// A listing shows one entry twice.
    Twice(usize),
    /// A listing lacks one entry.
    Without(usize),
    /// A listing shows nothing.
    Empty,
}

impl Fault {
    /// All that a call can suffer; `entries` is how many a listing shows.
    pub(crate) fn of(call: &Call, entries: usize) -> Vec<Self> {
        let mut faults = vec![Self::Fails, Self::Denied, Self::Down];
        match call {
            Call::Put(_) => faults.extend([Self::AnswerLost, Self::DownAfter, Self::ReadOnly, Self::Full]),
            Call::Delete(_) => faults.extend([Self::AnswerLost, Self::DownAfter, Self::ReadOnly]),
            Call::Get(_) | Call::Range(_) => faults.extend([Self::Short, Self::Nothing, Self::Absent]),
            Call::Size(_) => faults.push(Self::Absent),
            Call::List(_) if entries > 0 => {
                faults.push(Self::Empty);
                faults.extend((0..entries).flat_map(|entry| [Self::Twice(entry), Self::Without(entry)]));
            }
            Call::List(_) => {}
        }
        faults
    }

    /// Its name, for a table.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Fails => "fails",
            Self::AnswerLost => "answer lost",
            Self::Short => "half of it",
            Self::Nothing => "nothing of it",
            Self::Absent => "not found",
            Self::Denied => "denied",
            Self::ReadOnly => "read-only",
            Self::Full => "no room",
            Self::Down => "down before",
            Self::DownAfter => "down after",
            Self::Twice(_) => "entry twice",
            Self::Without(_) => "entry missing",
            Self::Empty => "list empty",
        }
    }
}

/// What went through, and where it goes wrong.
#[derive(Default)]
struct State {
    /// Whether a repository is being opened: what a key slot says is not what is tested here.
    opening: bool,
    calls: Vec<(Call, usize)>,
    plan: Option<(usize, Fault)>,
    hit: bool,
}

/// The store.
pub(crate) struct FaultStore {
    memory: MemoryBackend,
    state: Mutex<State>,
}

impl FaultStore {
    /// Goes wrong at a call, counted from zero; without a plan at none.
    pub(crate) fn new(memory: MemoryBackend, plan: Option<(usize, Fault)>) -> Self {
        Self { memory, state: Mutex::new(State { plan, ..State::default() }) }
    }

    /// Opens the repository in it. That goes well, and does not count.
    pub(crate) fn open(self: &Arc<Self>, who: Who) -> Repository {
        self.lock().opening = true;
        let repository = Small::open(Arc::clone(self) as Arc<dyn Backend>, who);
        self.lock().opening = false;
        repository
    }

    /// The calls so far, and how many entries each listing had.
    pub(crate) fn calls(&self) -> Vec<(Call, usize)> {
        self.lock().calls.clone()
    }

    /// Whether it went wrong yet.
    pub(crate) fn hit(&self) -> bool {
        self.lock().hit
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of a call and says what it suffers.
    fn suffers(&self, call: Call) -> Option<Fault> {
        let entries = match call {
            Call::List(kind) => self.memory.list(kind).map_or(0, |listed| listed.len()),
            _ => 0,
        };
        let mut state = self.lock();
        if state.opening {
            return None;
        }
        let number = state.calls.len();
        state.calls.push((call, entries));
        let (at, fault) = state.plan?;
        if number == at {
            state.hit = true;
            return Some(fault);
        }
        match fault {
            Fault::Down | Fault::DownAfter if number > at => Some(Fault::Down),
            Fault::ReadOnly | Fault::Full if number > at => Some(fault),
            _ => None,
        }
    }

    fn change(&self, call: Call, work: impl FnOnce() -> Result<()>) -> Result<()> {
        match self.suffers(call) {
            Some(fault @ (Fault::Fails | Fault::Down)) => Err(failed(fault)),
            Some(fault @ (Fault::Denied | Fault::ReadOnly)) => Err(failed(fault)),
            Some(Fault::Full) if matches!(call, Call::Put(_)) => Err(failed(Fault::Full)),
            Some(fault @ (Fault::AnswerLost | Fault::DownAfter)) => {
                work()?;
                Err(failed(fault))
            }
            _ => work(),
        }
    }

    fn read(&self, call: Call, name: &ObjectName, work: impl FnOnce() -> Result<Vec<u8>>) -> Result<Vec<u8>> {
        match self.suffers(call) {
            Some(fault @ (Fault::Fails | Fault::Down | Fault::Denied)) => Err(failed(fault)),
            Some(Fault::Absent) => Err(Error::missing(format!("{name} is not in the repository"))),
            Some(Fault::Nothing) => work().map(|_| Vec::new()),
            Some(Fault::Short) => work().map(|mut bytes| {
                bytes.truncate(bytes.len() / 2);
                bytes
            }),
            _ => work(),
        }
    }
}

fn failed(fault: Fault) -> Error {
    let kind = match fault {
        Fault::Denied | Fault::ReadOnly => ErrorKind::Denied,
        Fault::Full => ErrorKind::NoSpace,
        _ => ErrorKind::Io,
    };
    Error::new(kind, format!("the store did wrong: {}", fault.name()))
}

impl Backend for FaultStore {
    fn put(&self, name: &ObjectName, bytes: &[u8]) -> Result<()> {
        self.change(Call::Put(*name), || self.memory.put(name, bytes))
    }

    fn get(&self, name: &ObjectName, limit: u64) -> Result<Vec<u8>> {
        self.read(Call::Get(*name), name, || self.memory.get(name, limit))
    }

    fn get_range(&self, name: &ObjectName, offset: u64, length: u64) -> Result<Vec<u8>> {
        self.read(Call::Range(*name), name, || self.memory.get_range(name, offset, length))
    }

    fn size(&self, name: &ObjectName) -> Result<u64> {
        match self.suffers(Call::Size(*name)) {
            Some(fault @ (Fault::Fails | Fault::Down | Fault::Denied)) => Err(failed(fault)),
            Some(Fault::Absent) => Err(Error::missing(format!("{name} is not in the repository"))),
            _ => self.memory.size(name),
        }
    }

    fn list(&self, kind: ObjectKind) -> Result<Vec<Listed>> {
        let fault = self.suffers(Call::List(kind));
        let mut listed = self.memory.list(kind)?;
        match fault {
            Some(fault @ (Fault::Fails | Fault::Down | Fault::Denied)) => return Err(failed(fault)),
            Some(Fault::Empty) => listed.clear(),
            Some(Fault::Without(entry)) if entry < listed.len() => drop(listed.remove(entry)),
            Some(Fault::Twice(entry)) if entry < listed.len() => listed.insert(entry, listed[entry]),
            _ => {}
        }
        Ok(listed)
    }

    fn delete(&self, name: &ObjectName) -> Result<()> {
        self.change(Call::Delete(*name), || self.memory.delete(name))
    }

    fn location(&self) -> String {
        "a store that does wrong".into()
    }
}

impl fmt::Debug for FaultStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("FaultStore")
    }
}
