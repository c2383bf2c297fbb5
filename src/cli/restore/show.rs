//! What a restore did, or would do, as lines and as objects.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::cli::output::{Output, human};
use crate::id::Id;
use crate::operation::restore::{Action, Event, Summary};
use crate::report::printable;

/// The end of a restore.
pub(super) struct Ended<'a> {
    pub(super) summary: &'a Summary,
    pub(super) snapshot: &'a Id,
    pub(super) target: &'a Path,
    pub(super) dry_run: bool,
    pub(super) in_place: bool,
    pub(super) took: Duration,
}

fn word(action: Action) -> &'static str {
    match action {
        Action::Restored => "restored",
        Action::Updated => "updated",
        Action::Mended => "mended",
        Action::Unchanged => "unchanged",
        Action::Kept => "kept",
        Action::Deleted => "deleted",
    }
}

/// One thing, on a line of its own.
pub(super) fn event(output: &Output, event: &Event<'_>) {
    let (action, path) = (word(event.action), printable(event.path));
    let slash = if event.is_folder { "/" } else { "" };
    let written = if output.json {
        output.object(&json!({
            "message_type": "verbose_status",
            "action": action,
            "item": format!("/{path}"),
            "size": event.size,
        }))
    } else {
        let size = if event.size > 0 { human::bytes(event.size) } else { String::new() };
        output.say(&format!("{action:<9} {size:>11}  {path}{slash}"))
    };
    if written.is_err() {
        // Whoever read is gone; the exit code still tells.
    }
}

impl Ended<'_> {
    /// The summary with restic's names.
    pub(super) fn object(&self) -> Value {
        let Summary { files, directories, others, bytes, problems, .. } = *self.summary;
        let summary = self.summary;
        json!({
            "message_type": "summary",
            "dry_run": self.dry_run,
            "snapshot_id": self.snapshot.to_hex(),
            "target": self.target.display().to_string(),
            "seconds_elapsed": self.took.as_secs(),
            "total_files": summary.total_files,
            "files_restored": files,
            "files_skipped": summary.files_unchanged.saturating_add(summary.kept),
            "files_unchanged": summary.files_unchanged,
            "files_mended": summary.mended,
            "kept": summary.kept,
            "files_deleted": summary.files_deleted.saturating_add(summary.directories_deleted),
            "dirs_restored": directories,
            "others_restored": others,
            "total_bytes": summary.total_bytes,
            "bytes_restored": bytes,
            "bytes_skipped": summary.bytes_unchanged.saturating_add(summary.bytes_kept),
            "bytes_fetched": summary.bytes_fetched,
            "bytes_deleted": summary.bytes_deleted,
            "files_verified": summary.files_verified,
            "bytes_verified": summary.bytes_verified,
            "problems": problems,
            "total_duration": self.took.as_secs_f64(),
        })
    }

    /// The summary in words.
    pub(super) fn lines(&self) -> Vec<String> {
        let summary = self.summary;
        let (done, deleted) =
            if self.dry_run { ("would restore", "would delete") } else { ("restored", "deleted") };
        let mut lines = vec![format!(
            "{done} {}, {}{} ({}) from snapshot {} to {} in {}",
            human::counted(summary.files, "file"),
            human::counted(summary.directories, "folder"),
            if summary.others > 0 {
                format!(", {} links and devices", human::count(summary.others))
            } else {
                String::new()
            },
            human::bytes(summary.bytes),
            self.snapshot.short(),
            printable(self.target.as_os_str().as_bytes()),
            human::duration(self.took)
        )];
        if summary.files_unchanged > 0 {
            let (files, bytes) = (summary.files_unchanged, summary.bytes_unchanged);
            let mended = if summary.mended > 0 {
                format!("; of {} only the metadata differed", human::counted(summary.mended, "file"))
            } else {
                String::new()
            };
            lines.push(format!(
                "unchanged: {} ({}){mended}",
                human::counted(files, "file"),
                human::bytes(bytes)
            ));
        }
        if summary.kept > 0 {
            lines.push(format!("kept, not compared: {}", human::count(summary.kept)));
        }
        if self.in_place && summary.files > 0 {
            let read = if self.dry_run { "to be read" } else { "read" };
            lines.push(format!("{read} from the repository: {}", human::bytes(summary.bytes_fetched)));
        }
        if summary.files_deleted > 0 || summary.directories_deleted > 0 {
            lines.push(format!(
                "{deleted} {}, {} ({})",
                human::counted(summary.files_deleted, "file"),
                human::counted(summary.directories_deleted, "folder"),
                human::bytes(summary.bytes_deleted)
            ));
        }
        if summary.leftovers > 0 {
            lines.push(format!(
                "removed {} that an interrupted restore had left unfinished",
                human::counted(summary.leftovers, "file")
            ));
        }
        if summary.files_verified > 0 {
            lines.push(format!(
                "read again and found right: {} ({})",
                human::counted(summary.files_verified, "file"),
                human::bytes(summary.bytes_verified)
            ));
        }
        if self.dry_run {
            lines.push("dry run: nothing was changed".to_owned());
        }
        if summary.problems > 0 {
            lines.push(format!("{}: see above; exit code 3", human::counted(summary.problems, "problem")));
        }
        lines
    }
}
