//! One view of the data for the dump and for those who count its rows. A server of this kind lends its view to nobody:
//! so all tables are locked against changes for the moment in which both transactions begin.
//!
//! Invariants: writers wait no longer than [`LOCKED_MAX`], and whoever waits for the lock gives up sooner. Whatever
//! happens, the lock ends with its session, and that with this.

use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::session::{self, Session};
use super::tables::Table;
use crate::error::Result;

/// Longest that writers are held up.
const LOCKED_MAX: Duration = Duration::from_secs(5);
/// Seconds after which the lock is not waited for: whoever comes to write meanwhile waits behind it.
const WAIT_SECONDS: u32 = 2;

/// A lock on all tables of a database.
pub(super) struct Lock {
    release: Option<Sender<()>>,
    holder: Option<JoinHandle<bool>>,
}

impl Lock {
    /// Takes it in a session of its own, which ends with it.
    ///
    /// # Errors
    /// Where the server does not give it, in time.
    pub(super) fn take(mut session: Session, database: &str, tables: &[Table]) -> Result<Self> {
        let database = session::name(database);
        let names: Vec<String> = tables
            .iter()
            .filter(|table| !table.elsewhere)
            .map(|table| format!("{database}.{} READ", session::name(&table.name)))
            .collect();
        if !names.is_empty() {
            session.ask(&format!(
                "SET SESSION lock_wait_timeout = {WAIT_SECONDS};\nLOCK TABLES {}",
                names.join(", ")
            ))?;
        }
        let (release, released) = channel::<()>();
        let holder = std::thread::spawn(move || {
            let in_time = released.recv_timeout(LOCKED_MAX).is_ok();
            // The end of the session is the end of the lock, whatever is said of it.
            session.close().ok();
            in_time
        });
        Ok(Self { release: Some(release), holder: Some(holder) })
    }

    /// Ends it; tells whether it held until now.
    pub(super) fn release(mut self) -> bool {
        self.release.take().is_some_and(|release| release.send(()).is_ok())
            && self.holder.take().is_some_and(|holder| holder.join().unwrap_or(false))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.release = None;
        if let Some(holder) = self.holder.take() {
            holder.join().ok();
        }
    }
}

/// Opens a view of the data in a session. Limits of time that the server has for statements, and for sessions that say
/// nothing while a dump passes, are not for backups.
pub(super) fn open(session: &mut Session) -> Result<()> {
    session.ask(
        "/*M!100100 SET SESSION max_statement_time = 0 */;\n/*!50708 SET SESSION max_execution_time = 0 */;\n\
         /*M!100300 SET SESSION idle_transaction_timeout = 0 */;\n\
         /*M!100300 SET SESSION idle_readonly_transaction_timeout = 0 */;\nSET SESSION wait_timeout = 2147483;\n\
         SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ;\n\
         START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
    )?;
    Ok(())
}
