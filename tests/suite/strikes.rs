//! The program under strace, killed or stopped at a system call of one's choice.
//!
//! strace delivers the signal as a call is entered: a killed program never makes that call, a stopped one makes it and
//! then stops. Calls are counted thread by thread, so where a count leads is read from the trace, never assumed.

use std::path::PathBuf;
use std::process::Command;

use crate::site::Site;
use crate::support::{has_tool, untested};

/// Calls that are traced beside the one that is struck, to tell what had happened before it.
const CONTEXT: &str = "renameat2,unlinkat,fsync";

/// A signal, and the call on whose entry it comes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Strike {
    /// `KILL` or `STOP`.
    pub(crate) signal: &'static str,
    /// Name of the call.
    pub(crate) call: &'static str,
    /// Which of a thread's calls of that name, from one.
    pub(crate) when: usize,
}

/// Whether programs can be traced here; if not, `what` is recorded as untested.
#[track_caller]
pub(crate) fn can_strike(what: &str) -> bool {
    if !has_tool("strace", what) {
        return false;
    }
    let may = Command::new("strace").args(["-o", "/dev/null", "true"]).output().unwrap().status.success();
    if !may {
        untested(&format!("{what} (may not trace a program)"));
    }
    may
}

/// The program to be struck. Only calls on handles of the folders and files in `watched` count, or all where it is
/// empty. The trace goes to the file `trace` beside the repository.
pub(crate) fn struck(site: &Site, program: &Command, watched: &[PathBuf], strikes: &[Strike]) -> Command {
    let mut command = Command::new("strace");
    command.env_clear().current_dir(site.folder.path());
    command.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mut traced = CONTEXT.to_owned();
    for strike in strikes.iter().filter(|strike| !CONTEXT.split(',').any(|call| call == strike.call)) {
        traced = format!("{traced},{}", strike.call);
    }
    command.args(["-f", "-y", "-s", "0", "-e", &format!("trace={traced}"), "-o"]).arg(site.join("trace"));
    for strike in strikes {
        let Strike { signal, call, when } = strike;
        command.args(["-e", &format!("inject={call}:signal={signal}:when={when}")]);
    }
    for path in watched {
        command.arg("-P").arg(path);
    }
    command.arg(program.get_program()).args(program.get_args());
    command
}

/// The folders of a repository in which objects of a kind lie.
pub(crate) fn folders(site: &Site, kind: &str) -> Vec<PathBuf> {
    let top = site.join("repo").join(kind);
    if kind == "packs" {
        (0..=255).map(|number| top.join(format!("{number:02x}"))).collect()
    } else {
        vec![top]
    }
}

/// A call on something in the repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    /// Its name.
    pub(crate) name: String,
    /// The folder of the repository: `packs`, `index` and so on.
    pub(crate) kind: String,
    /// Whether it concerns a temporary file itself.
    pub(crate) temporary: bool,
    /// Whether it came back.
    pub(crate) returned: bool,
}

/// The calls in a trace that concern the repository, in the order in which they began.
pub(crate) fn calls(trace: &str) -> Vec<Call> {
    let mut calls: Vec<Call> = Vec::new();
    for line in trace.lines() {
        let Some((_, text)) = line.split_once(' ') else { continue };
        let text = text.trim_start();
        if let Some(rest) = text.strip_prefix("<... ") {
            let name = rest.split(' ').next().unwrap_or_default();
            let open = calls.iter_mut().rev().find(|call| call.name == name && !call.returned);
            if let Some(call) = open {
                call.returned = !rest.contains("= ?");
            }
            continue;
        }
        let (Some((name, _)), Some((_, below))) = (text.split_once('('), text.split_once("/repo/")) else {
            continue;
        };
        let kind = below.split(['/', '>']).next().unwrap_or_default().to_owned();
        let about = if name == "renameat2" { "" } else { text };
        calls.push(Call {
            name: name.to_owned(),
            kind,
            temporary: about.contains(".tmp-"),
            returned: !text.contains("= ?") && !text.contains("<unfinished"),
        });
    }
    calls
}

/// Where a strike hit: the call that did not come back, and what had come before it.
pub(crate) fn hit(trace: &str, strike: Strike) -> Option<(Vec<Call>, Call)> {
    let calls = calls(trace);
    let at = calls.iter().rposition(|call| call.name == strike.call && !call.returned)?;
    let (before, rest) = calls.split_at(at);
    Some((before.to_vec(), rest[0].clone()))
}

#[test]
fn a_trace_tells_where_it_was_struck() {
    let trace = "7 write(6</x/repo/packs/1f/.tmp-0a>, \"\"..., 3) = 3\n\
                 7 renameat2(6</x/repo/packs/1f>, \".tmp-0a\", 6</x/repo/packs/1f>, \"1f00\", 1 <unfinished ...>\n\
                 8 unlinkat(5</x/repo/gc>, \"00\", 0 <unfinished ...>\n\
                 7 <... renameat2 resumed>) = 0\n8 <... unlinkat resumed>) = ?\n7 +++ killed by SIGKILL +++\n";
    let strike = |call| Strike { signal: "KILL", call, when: 1 };
    let (before, call) = hit(trace, strike("unlinkat")).unwrap();
    assert_eq!((call.kind.as_str(), call.temporary), ("gc", false));
    assert_eq!(before.iter().map(|call| call.name.as_str()).collect::<Vec<_>>(), ["write", "renameat2"]);
    assert!(before[0].temporary && before[1].returned && !before[1].temporary);
    assert_eq!(hit(trace, strike("renameat2")), None);
}
