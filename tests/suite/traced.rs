//! Programs under strace: their calls as the system saw them.

use std::collections::HashMap;
use std::fs;
use std::process::Command;

use crate::site::{DEADLINE, Site};
use crate::support::{has_tool, run, untested};

/// One call, and the lines of the trace between which it ran.
#[derive(Debug)]
pub(crate) struct Call {
    /// Its name.
    pub(crate) name: String,
    /// All that the trace says of it.
    pub(crate) text: String,
    /// The line in which it began.
    pub(crate) entered: usize,
    /// The line in which it ended.
    pub(crate) left: usize,
}

impl Call {
    /// The path of the handle that it was given first.
    pub(crate) fn handle(&self) -> &str {
        let start = self.text.find('<').map_or(self.text.len(), |at| at + 1);
        let rest = &self.text[start..];
        &rest[..rest.find('>').unwrap_or(0)]
    }

    /// The names that it was given.
    pub(crate) fn names(&self) -> Vec<&str> {
        self.text.split('"').skip(1).step_by(2).collect()
    }

    pub(crate) fn succeeded(&self) -> bool {
        self.text.rsplit_once(" = ").is_some_and(|(_, result)| !result.starts_with('-'))
    }
}

/// Takes a trace apart; what a thread began and ended in different lines becomes one call.
fn parse(trace: &str) -> Vec<Call> {
    let mut begun: HashMap<&str, (String, usize)> = HashMap::new();
    let mut calls = Vec::new();
    for (line, text) in trace.lines().enumerate() {
        let (thread, text) = text.split_once(' ').expect("each line starts with a thread");
        let text = text.trim_start();
        if text.starts_with("+++") || text.starts_with("---") {
            continue;
        }
        if let Some(start) = text.strip_suffix("<unfinished ...>") {
            begun.insert(thread, (start.trim_end().to_owned(), line));
            continue;
        }
        let (text, entered) = match text.strip_prefix("<... ") {
            Some(rest) => {
                let (start, entered) = begun.remove(thread).expect("it was begun");
                (start + rest.split_once("resumed>").expect("it goes on").1, entered)
            }
            None => (text.to_owned(), line),
        };
        let name = text.split('(').next().expect("a call").to_owned();
        calls.push(Call { name, text, entered, left: line });
    }
    calls
}

/// Whether programs can be traced here; if not, `what` is recorded as untested.
#[track_caller]
pub(crate) fn can_trace(what: &str) -> bool {
    if !has_tool("strace", what) {
        return false;
    }
    let can = Command::new("strace").args(["-o", "/dev/null", "true"]).output().unwrap().status.success();
    if !can {
        untested(&format!("{what} (may not trace a program)"));
    }
    can
}

/// Runs the program under strace, in the environment of every other test; gives those calls of it that are asked for.
#[track_caller]
pub(crate) fn traced(site: &Site, how: &[&str], calls: &str, arguments: &[&str]) -> Vec<Call> {
    let program = site.command(arguments);
    let trace = site.join("trace");
    let mut strace = Command::new("strace");
    strace.env_clear().current_dir(site.folder.path());
    strace.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    strace.args(["-f", "-y"]).args(how).args(["-e", &format!("trace={calls}"), "-o"]).arg(&trace);
    strace.arg(program.get_program()).args(program.get_args());
    run(&mut strace, DEADLINE).expect_code(0);
    parse(&fs::read_to_string(trace).unwrap())
}

#[test]
fn a_call_that_another_thread_interrupts_is_one_call() {
    let calls = parse(
        "7 fsync(9</r/a b> <unfinished ...>\n8 openat(3</r>, \"x\", O_RDONLY) = -1 ENOENT (No such file)\n\
         7 <... fsync resumed>)              = 0\n7 +++ exited with 0 +++\n",
    );
    assert_eq!(calls.len(), 2);
    assert_eq!(
        (calls[0].name.as_str(), calls[0].names(), calls[0].succeeded()),
        ("openat", vec!["x"], false)
    );
    assert_eq!(
        (calls[1].handle(), calls[1].entered, calls[1].left, calls[1].succeeded()),
        ("/r/a b", 0, 2, true)
    );
}
