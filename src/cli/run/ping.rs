//! Telling a monitor that a job begins, and how it ended.
//!
//! Invariants: a monitor that is slow, gone or wrong costs a few seconds and a warning, and never changes how the job ends. Its
//! address is a secret of sorts and stands in no message; what it is told holds none.

use std::time::Duration;

use ureq::Agent;

use crate::cli::config::{Address, Ping};
use crate::cli::output::Output;

/// How long a monitor may take to answer unless the configuration says otherwise.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Longest it may be given, so that no monitor holds a backup up for long.
const TIMEOUT_MAX: Duration = Duration::from_mins(1);
/// How much it is told, in bytes.
const BODY_MAX: usize = 4096;

/// What a monitor is told.
#[derive(Clone, Copy)]
pub(super) enum Message<'a> {
    /// The job begins.
    Start,
    /// It ended well.
    Success,
    /// It did not: why, in a few words.
    Failure(&'a str),
}

/// Tells the monitor of a job, if it has one.
pub(super) fn tell(ping: Option<&Ping>, job: &str, message: Message<'_>, output: &Output) {
    let Some(ping) = ping else { return };
    let (address, what) = match message {
        Message::Start => (&ping.start, "the start"),
        Message::Success => (&ping.success, "the success"),
        Message::Failure(_) => (&ping.failure, "the failure"),
    };
    let Some(address) = address else { return };
    let timeout = ping.timeout.unwrap_or(TIMEOUT).min(TIMEOUT_MAX);
    if let Err(cause) = send(address, message, timeout) {
        output.warn(
            &format!("job {job}: the monitor could not be told of {what}: {cause}"),
            Some("check the address under `ping`, and that this computer reaches it"),
        );
    }
}

fn send(Address(address): &Address, message: Message<'_>, timeout: Duration) -> Result<(), String> {
    let agent: Agent = Agent::config_builder().timeout_global(Some(timeout)).build().into();
    let answer = match message {
        Message::Start | Message::Success => agent.get(address).call(),
        Message::Failure(words) => {
            let end = (0..=words.len().min(BODY_MAX)).rev().find(|end| words.is_char_boundary(*end));
            agent.post(address).send(words.get(..end.unwrap_or(0)).unwrap_or_default())
        }
    };
    answer.map(drop).map_err(|error| match error {
        ureq::Error::StatusCode(code) => format!("it answered {code}"),
        ureq::Error::Timeout(_) => format!("no answer within {} s", timeout.as_secs()),
        ureq::Error::HostNotFound => "there is no host of that name".to_owned(),
        ureq::Error::Io(error) => match error.kind() {
            std::io::ErrorKind::TimedOut | std::io::ErrorKind::WouldBlock => {
                format!("no answer within {} s", timeout.as_secs())
            }
            kind => kind.to_string(),
        },
        // Others may name the address.
        ureq::Error::BadUri(_) | ureq::Error::Http(_) => "the address makes no sense".to_owned(),
        ureq::Error::Tls(_) | ureq::Error::Rustls(_) => "it cannot prove who it is (TLS)".to_owned(),
        _ => "it cannot be reached".to_owned(),
    })
}
