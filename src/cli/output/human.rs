//! Sizes, counts, durations and times as a person reads them.

use std::time::Duration;

use jiff::tz::TimeZone;

use crate::format::node::Timestamp;

/// A size, such as `1.46 GiB`.
pub(crate) fn bytes(bytes: u64) -> String {
    indicatif::HumanBytes(bytes).to_string()
}

/// A count, such as `1,498`.
pub(crate) fn count(count: u64) -> String {
    indicatif::HumanCount(count).to_string()
}

/// A count and its noun, the plural formed by an s.
pub(crate) fn counted(number: u64, noun: &str) -> String {
    format!("{} {noun}{}", count(number), if number == 1 { "" } else { "s" })
}

/// A duration, such as `0.42 s` or `3 min 5 s`.
pub(crate) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..10 => format!("{:.2} s", duration.as_secs_f64()),
        10..60 => format!("{:.1} s", duration.as_secs_f64()),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// A point in time where the reader lives, such as `2026-11-21 03:15:00`.
pub(crate) fn local(time: Timestamp) -> String {
    match instant(time) {
        Some(instant) => instant.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string(),
        None => format!("{} s", time.seconds),
    }
}

/// A point in time in a zone, to the minute.
pub(crate) fn minute(time: Timestamp, zone: &TimeZone) -> String {
    match instant(time) {
        Some(instant) => instant.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M").to_string(),
        None => format!("{} s", time.seconds),
    }
}

/// A point in time as RFC 3339 has it, in UTC.
pub(crate) fn utc(time: Timestamp) -> String {
    instant(time).map_or_else(|| time.seconds.to_string(), |instant| instant.to_string())
}

fn instant(time: Timestamp) -> Option<jiff::Timestamp> {
    jiff::Timestamp::new(time.seconds, i32::try_from(time.nanoseconds).ok()?).ok()
}

/// A table: columns padded to their widest cell, the last one open.
pub(crate) fn table(rows: &[Vec<String>]) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    rows.iter()
        .map(|row| {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        })
        .collect()
}

/// The same on so many columns: the last column's text goes on below itself, unless less than `narrowest` columns are
/// left for it.
pub(crate) fn wrapped_table(rows: &[Vec<String>], columns: usize, narrowest: usize) -> Vec<String> {
    let indent = rows.iter().filter_map(|row| row.split_last()).map(|(_, cells)| cells.len()).max().map_or(
        0,
        |cells| {
            let width = |cell: usize| {
                rows.iter()
                    .filter_map(|row| row.get(cell))
                    .map(|text| text.chars().count())
                    .max()
                    .unwrap_or(0)
            };
            (0..cells).fold(0usize, |sum, cell| sum.saturating_add(width(cell)).saturating_add(2))
        },
    );
    let room = columns.saturating_sub(indent);
    if room < narrowest {
        return table(rows);
    }
    let mut wrapped: Vec<Vec<String>> = Vec::new();
    for row in rows {
        let Some((last, cells)) = row.split_last() else { continue };
        for (number, part) in wrap(last, room).into_iter().enumerate() {
            let mut line = if number == 0 { cells.to_vec() } else { vec![String::new(); cells.len()] };
            line.push(part);
            wrapped.push(line);
        }
    }
    table(&wrapped)
}

/// A text in lines of so many characters, broken between words where there are some.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    // What stands between commas stays together where it fits.
    let pieces = text.split_inclusive(", ").map(|piece| piece.trim_end_matches(' '));
    let words = pieces.flat_map(|piece| {
        let whole = piece.chars().count() <= width && text.contains(", ");
        if whole { vec![piece] } else { piece.split(' ').collect() }
    });
    for word in words {
        let Some(line) = lines.last_mut() else { break };
        let together = line.chars().count().saturating_add(1).saturating_add(word.chars().count());
        if line.is_empty() {
            line.push_str(word);
        } else if together <= width {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_tables_read_well() {
        assert_eq!(duration(Duration::from_millis(420)), "0.42 s");
        assert_eq!(duration(Duration::from_secs(185)), "3 min 5 s");
        assert_eq!(duration(Duration::from_mins(121)), "2 h 1 min");
        assert_eq!(counted(1, "file"), "1 file");
        assert_eq!(counted(1498, "file"), "1,498 files");
        assert_eq!(utc(Timestamp { seconds: 0, nanoseconds: 0 }), "1970-01-01T00:00:00Z");
        let rows = [vec!["a".to_owned(), "b".to_owned()], vec!["long".to_owned(), "c".to_owned()]];
        assert_eq!(table(&rows), ["a     b", "long  c"]);
        let rows =
            [vec!["a".to_owned(), "one two three".to_owned()], vec!["long".to_owned(), "c".to_owned()]];
        assert_eq!(wrapped_table(&rows, 13, 5), ["a     one two", "      three", "long  c"]);
        assert_eq!(
            wrapped_table(&[vec!["a".to_owned(), "one, two three".to_owned()]], 13, 5),
            ["a  one,", "   two three"]
        );
        assert_eq!(wrapped_table(&rows, 10, 5), ["a     one two three", "long  c"]);
    }
}
