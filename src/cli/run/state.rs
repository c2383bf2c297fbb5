//! What this computer remembers of each job: how its last run ended; and the lock that keeps two runs of one apart.
//!
//! Both lie beside the cache, in `jobs/<hash of the configuration's path>/`. There is no secret in it: names, times, counts.
//! Losing it costs no more than the knowledge.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind as IoKind, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};

/// Longest state that is read, in bytes.
const STATE_MAX: u64 = 64 << 10;
/// How many digits of the hash name the folder.
const DIGITS: usize = 16;
/// How often a lock is asked for, and the pause between.
const ATTEMPTS: u32 = 10;
const PAUSE: Duration = Duration::from_millis(20);

/// How the last run of a job ended. Times are seconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(in crate::cli) struct State {
    /// The job.
    pub(in crate::cli) job: String,
    /// When the last run began.
    pub(in crate::cli) started: i64,
    /// How long it took, in seconds.
    pub(in crate::cli) duration: f64,
    /// Its exit code.
    pub(in crate::cli) exit_code: u8,
    /// When a run last ended with exit code 0.
    pub(in crate::cli) succeeded: Option<i64>,
    /// Bytes that its backup added to the store.
    pub(in crate::cli) bytes_added: u64,
    /// Problems found.
    pub(in crate::cli) problems: u64,
    /// The snapshot that it made.
    pub(in crate::cli) snapshot: Option<String>,
}

/// Where the state of a configuration's jobs lies.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Place(PathBuf);

/// A job that runs; free again when this is dropped.
#[derive(Debug)]
pub(in crate::cli) struct Lock(#[expect(dead_code, reason = "it is held, not used")] File);

impl Place {
    /// Below the folder of all caches, for the configuration at this path.
    pub(in crate::cli) fn of(caches: &Path, config: &Path) -> Self {
        let hash = blake3::hash(config.as_os_str().as_bytes()).to_hex();
        let name = hash.as_str().get(..DIGITS).unwrap_or(hash.as_str());
        Self(caches.join("jobs").join(name))
    }

    fn file(&self, job: &str, extension: &str) -> PathBuf {
        self.0.join(format!("{job}.{extension}"))
    }

    fn make(&self) -> Result<()> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&self.0);
        made.map_err(|error| Error::io(format!("cannot make the folder {}", self.0.display()), error))
    }

    /// Takes the lock of a job.
    ///
    /// # Errors
    /// `Busy` where it runs already; others where there can be no lock.
    pub(in crate::cli) fn lock(&self, job: &str) -> Result<Lock> {
        self.make()?;
        let path = self.file(job, "lock");
        let fail = |error| Error::io(format!("cannot open {}", path.display()), error);
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = file.map_err(fail)?;
        match patiently(&file) {
            Ok(()) => Ok(Lock(file)),
            Err(rustix::io::Errno::WOULDBLOCK) => {
                Err(Error::new(ErrorKind::Busy, format!("job {job} runs already, and goes on"))
                    .hint("wait for its end; `strongroom status` tells how it went"))
            }
            Err(errno) => Err(Error::io(format!("cannot lock {}", path.display()), errno)),
        }
    }

    /// Whether a job runs now.
    pub(in crate::cli) fn runs(&self, job: &str) -> bool {
        File::open(self.file(job, "lock"))
            .is_ok_and(|file| flock(&file, FlockOperation::NonBlockingLockShared).is_err())
    }

    /// How a job's last run ended, if that is known.
    pub(in crate::cli) fn read(&self, job: &str) -> Option<State> {
        use std::io::Read;
        let mut text = Vec::new();
        File::open(self.file(job, "json")).ok()?.take(STATE_MAX).read_to_end(&mut text).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// Keeps how it ended.
    pub(in crate::cli) fn keep(&self, state: &State) -> Result<()> {
        self.make()?;
        let text = serde_json::to_vec_pretty(state)
            .map_err(|error| Error::refused("the state cannot be written as JSON").caused_by(error))?;
        replace(&self.file(&state.job, "json"), &text, 0o600)
    }
}

/// Takes a lock. Whoever looks whether the job runs holds it for a moment.
fn patiently(file: &File) -> rustix::io::Result<()> {
    for _ in 0..ATTEMPTS {
        match flock(file, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) => std::thread::sleep(PAUSE),
            other => return other,
        }
    }
    flock(file, FlockOperation::NonBlockingLockExclusive)
}

/// Writes a file beside the one of this name, and puts it in its place: whoever reads sees the old one or the new.
pub(in crate::cli) fn replace(path: &Path, text: &[u8], mode: u32) -> Result<()> {
    let fail = |error| Error::io(format!("cannot write {}", path.display()), error);
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}.new", std::process::id()));
    let new = path.with_file_name(name);
    // Left over by one that was killed and had the same number.
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != IoKind::NotFound => return Err(fail(error)),
        _ => {}
    }
    let written =
        OpenOptions::new().write(true).create_new(true).mode(mode).open(&new).and_then(|mut file| {
            rustix::fs::fchmod(&file, rustix::fs::Mode::from_raw_mode(mode))?;
            file.write_all(text)?;
            file.sync_all()
        });
    written.and_then(|()| std::fs::rename(&new, path)).map_err(|error| {
        std::fs::remove_file(&new).ok();
        fail(error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::sqlite::Scratch;

    #[test]
    fn one_run_at_a_time_and_how_it_ended_is_kept() {
        let folder = Scratch::create(&std::env::temp_dir()).unwrap();
        let place = Place::of(folder.path(), Path::new("/etc/x.toml"));
        let lock = place.lock("nightly").unwrap();
        assert_eq!(place.lock("nightly").unwrap_err().kind(), ErrorKind::Busy);
        assert!(place.runs("nightly") && !place.runs("other"));
        drop(lock);
        assert!(!place.runs("nightly") && place.lock("nightly").is_ok());
        assert_eq!(place.read("nightly"), None);
        let state = State { job: "nightly".into(), exit_code: 3, succeeded: Some(7), ..State::default() };
        place.keep(&state).unwrap();
        assert_eq!(place.read("nightly"), Some(state));
    }
}
