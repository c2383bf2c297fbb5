//! What Prometheus reads through node_exporter: a text file that is whole at any time.

use std::fmt::Write;
use std::path::Path;

use super::Row;
use crate::cli::run::state::replace;
use crate::error::Result;

/// One family of numbers: its name, what it is, and its value in a row.
type Family = (&'static str, &'static str, fn(&Row) -> Option<f64>);

const FAMILIES: [Family; 10] = [
    ("last_run_timestamp_seconds", "When the job ran last.", |row| {
        row.state.as_ref().map(|state| whole(state.started))
    }),
    ("last_run_duration_seconds", "How long that took.", |row| {
        row.state.as_ref().map(|state| state.duration)
    }),
    ("last_run_exit_code", "How that ended.", |row| {
        row.state.as_ref().map(|state| f64::from(state.exit_code))
    }),
    ("last_run_problems", "Problems found then.", |row| {
        row.state.as_ref().map(|state| count(state.problems))
    }),
    ("last_run_added_bytes", "Bytes added to the store then.", |row| {
        row.state.as_ref().map(|state| count(state.bytes_added))
    }),
    ("last_success_timestamp_seconds", "When the job last ended with exit code 0.", |row| {
        row.state.as_ref().and_then(|state| state.succeeded).map(whole)
    }),
    ("last_snapshot_timestamp_seconds", "Time of the last snapshot.", |row| {
        row.last.as_ref().map(|last| whole(last.time))
    }),
    ("last_snapshot_problems", "Problems of the last snapshot.", |row| {
        row.last.as_ref().map(|last| count(last.problems))
    }),
    ("last_good_snapshot_timestamp_seconds", "Time of the last snapshot whose checks passed.", |row| {
        row.good.as_ref().map(|good| whole(good.time))
    }),
    ("snapshots", "Snapshots that there are.", |row| row.snapshots.map(count)),
];

#[expect(
    clippy::cast_precision_loss,
    reason = "Prometheus knows no other numbers, and these are far smaller than 2^53"
)]
fn whole(number: i64) -> f64 {
    number as f64
}

#[expect(
    clippy::cast_precision_loss,
    reason = "Prometheus knows no other numbers, and a part in 2^53 is not missed"
)]
fn count(number: u64) -> f64 {
    number as f64
}

/// Writes the file, for everybody to read.
pub(super) fn write(path: &Path, rows: &[Row]) -> Result<()> {
    replace(path, text(rows).as_bytes(), 0o644)
}

fn text(rows: &[Row]) -> String {
    let mut text = String::new();
    for (name, help, value) in FAMILIES {
        let mut lines = String::new();
        for row in rows {
            if let Some(value) = value(row) {
                // Writing to a text does not fail.
                writeln!(lines, "strongroom_{name}{{{}}} {value}", labels(row)).ok();
            }
        }
        if !lines.is_empty() {
            writeln!(text, "# HELP strongroom_{name} {help}\n# TYPE strongroom_{name} gauge").ok();
            text.push_str(&lines);
        }
    }
    text
}

fn labels(row: &Row) -> String {
    let mut labels = vec![format!("job=\"{}\"", escaped(row.job.as_deref().unwrap_or_default()))];
    labels.push(format!("host=\"{}\"", escaped(&row.host)));
    labels.extend(row.paths.as_ref().map(|paths| format!("paths=\"{}\"", escaped(&paths.join(" ")))));
    labels.join(",")
}

/// A label's value as the text format has it.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::run::state::State;

    #[test]
    fn labels_are_escaped_and_what_is_not_known_is_left_out() {
        let state = State { started: 5, exit_code: 3, duration: 1.5, ..State::default() };
        let row =
            Row { job: Some("a\"b\\c\nd".into()), host: "h".into(), state: Some(state), ..Row::default() };
        let text = text(&[row]);
        assert!(
            text.contains("strongroom_last_run_duration_seconds{job=\"a\\\"b\\\\c\\nd\",host=\"h\"} 1.5\n"),
            "{text}"
        );
        assert!(text.contains("strongroom_last_run_exit_code{") && !text.contains("last_success"), "{text}");
    }
}
