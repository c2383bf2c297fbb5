//! What an answer changes on the screen.

use super::{Dialog, List, Reading, Screen, State};
use crate::cli::browse::request::{Answer, Failure, Reply};
use crate::cli::output::human;
use crate::error::ErrorKind;
use crate::operation::restore::Summary;
use crate::report::{Finding, printable};

/// So many findings are kept.
const FINDINGS_MAX: usize = 1000;

impl State {
    /// Takes an answer; one to a question that is no longer asked is passed over.
    pub(in crate::cli::browse) fn reply(&mut self, reply: Reply) {
        if self.pending.as_ref().is_none_or(|pending| pending.number != reply.number) {
            return;
        }
        let ends = !matches!(reply.answer, Answer::Page(_) | Answer::Sums(_) | Answer::Counted(_));
        if ends {
            self.pending = None;
            self.so_far.clear();
        }
        let works = matches!(self.dialog, Dialog::Work { .. });
        match reply.answer {
            Answer::Restored(summary) => self.report_restored(summary, &reply.findings),
            Answer::Saved(bytes) => {
                self.report("Written", vec![format!("{} written", human::bytes(bytes))], &reply.findings);
            }
            Answer::Failed(failure) if works => self.report_failure(failure, &reply.findings),
            answer => {
                self.note(reply.findings);
                self.show(answer);
            }
        }
    }

    fn show(&mut self, answer: Answer) {
        match (answer, self.screens.last_mut()) {
            (Answer::Failed(failure), screen) => {
                if let Some(Screen::Folder(folder)) = screen
                    && folder.reading == Reading::Running
                {
                    folder.reading = Reading::Stopped;
                }
                self.fail(failure);
            }
            (Answer::Snapshots(choice), _) => {
                let count = choice.known.len() as u64;
                self.snapshots.replace(choice);
                self.tell(human::counted(count, "snapshot"));
            }
            (Answer::Page(page), Some(Screen::Folder(folder))) => folder.add(page),
            (Answer::Listed(found), Some(Screen::Folder(folder))) => folder.done(found),
            (Answer::Sums(sums), Some(Screen::Folder(folder))) => folder.add_sums(sums),
            (Answer::Counted(summed), _) => {
                self.so_far =
                    format!("{}, {}", human::counted(summed.files, "file"), human::bytes(summed.bytes));
            }
            (Answer::Summed(summed), Some(Screen::Folder(folder))) => {
                folder.sums_done(summed);
                if summed.losses > 0 {
                    self.complain("part of this folder is lost, and not in the sums");
                }
            }
            (Answer::Preview(node, bytes), Some(Screen::Preview(preview))) => preview.take(*node, &bytes),
            (Answer::Versions(found), Some(Screen::Versions(versions))) => versions.take(found),
            _ => {}
        }
    }

    fn fail(&mut self, failure: Failure) {
        if failure.kind == ErrorKind::Interrupted {
            return;
        }
        let next_step = failure.next_step.map(|step| format!(" ({step})")).unwrap_or_default();
        self.complain(format!("{}{next_step}", failure.text));
    }

    /// Shows the last of what was found, and keeps all of it for later.
    fn note(&mut self, findings: Vec<Finding>) {
        if let Some(last) = findings.last() {
            self.complain(line(last));
        }
        let room = FINDINGS_MAX.saturating_sub(self.findings.len());
        self.findings.extend(findings.into_iter().take(room));
    }

    fn report_restored(&mut self, summary: Summary, findings: &[Finding]) {
        let mut lines = vec![format!(
            "{}, {}, {} restored",
            human::counted(summary.files, "file"),
            human::counted(summary.directories, "folder"),
            human::bytes(summary.bytes)
        )];
        if summary.others > 0 {
            lines.push(format!("{} links and devices restored", human::count(summary.others)));
        }
        if summary.problems > 0 {
            lines.push(human::counted(summary.problems, "problem"));
        }
        self.report("Restored", lines, findings);
    }

    fn report_failure(&mut self, failure: Failure, findings: &[Finding]) {
        let mut lines = if failure.kind == ErrorKind::Interrupted {
            vec!["stopped; each file that is there is whole".to_owned()]
        } else {
            vec![failure.text]
        };
        lines.extend(failure.next_step);
        self.report("Not done", lines, findings);
    }

    fn report(&mut self, title: &'static str, mut lines: Vec<String>, findings: &[Finding]) {
        lines.extend(findings.iter().map(line));
        let list = List::of(lines.len());
        self.dialog = Dialog::Report { title, lines, list };
    }
}

/// A finding in a line.
fn line(finding: &Finding) -> String {
    let subject = if finding.subject.is_empty() { String::new() } else { format!("{}: ", finding.subject) };
    printable(format!("{subject}{}", finding.cause).as_bytes())
}
