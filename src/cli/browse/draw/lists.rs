//! The lists: snapshots, a folder, the versions of a file.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::table::{Column, Row, end_of, table};
use super::{Parts, Theme};
use crate::cli::browse::request::Known;
use crate::cli::browse::state::{Folder, Marks, Reading, Snapshots, Sort, Versions};
use crate::cli::output::{human, node};
use crate::format::node::{NodeKind, Timestamp};
use crate::operation::browse::Entry;
use crate::report::printable;

/// Lines below the versions for the snapshots that hold one.
const HOLDERS: u16 = 6;

/// A title: what it is, and where; of the place its end is seen.
pub(super) fn title(frame: &mut Frame<'_>, area: Rect, what: &str, place: &str, right: &str, theme: &Theme) {
    let width = usize::from(area.width);
    // The place matters most.
    let what = if width < 40 && !place.is_empty() { String::new() } else { format!("{what}  ") };
    let right = if width > what.len().saturating_add(right.len()).saturating_add(30) {
        format!("  {right}")
    } else {
        String::new()
    };
    let taken = what.len().saturating_add(right.len());
    let place = end_of(place, width.saturating_sub(taken));
    let line = Line::from(vec![
        Span::styled(what, theme.title()),
        Span::raw(place),
        Span::styled(right, Theme::dim()),
    ]);
    frame.render_widget(Paragraph::new(line), area);
}

pub(super) fn snapshots(frame: &mut Frame<'_>, parts: &Parts, screen: &mut Snapshots, theme: &Theme) {
    let choice = &screen.choice;
    let others = if choice.others == 0 {
        String::new()
    } else {
        format!(", {} others not shown", human::count(choice.others as u64))
    };
    let count = format!("{}{others}", human::counted(choice.known.len() as u64, "snapshot"));
    title(frame, parts.title, "strongroom", &count, "", theme);
    if choice.known.is_empty() {
        frame.render_widget(Paragraph::new(" no snapshots"), parts.body);
    }
    let columns = [
        Column::new("Time", 16, 0),
        Column::new("Id", 8, 40),
        Column::new("Host", 0, 20),
        Column::new("Job", 10, 100),
        Column::right("Size", 10, 52),
        Column::new("State", 10, 66),
        Column::new("Tags", 12, 80),
    ];
    let mut list = screen.list;
    table(frame, parts, &columns, &mut list, |number| {
        let Known { snapshot, state } = screen.at(number)?;
        let manifest = &snapshot.manifest;
        let text = |text: &str| printable(text.as_bytes());
        let is_well = state.starts_with("ok") || state.starts_with("proved");
        Some(Row {
            cells: vec![
                theme.minute(manifest.time),
                snapshot.id.short(),
                text(&manifest.host),
                manifest.job.as_deref().map(text).unwrap_or_default(),
                human::bytes(manifest.statistics.bytes_processed),
                text(state),
                text(&manifest.tags.join(",")),
            ],
            style: if is_well { Style::new() } else { theme.error() },
            mark: None,
        })
    });
    screen.list = list;
}

pub(super) fn folder(
    frame: &mut Frame<'_>,
    parts: &Parts,
    folder: &mut Folder,
    marks: &Marks,
    theme: &Theme,
) {
    let what = format!("{} {}", folder.snapshot.id.short(), theme.minute(folder.snapshot.manifest.time));
    title(frame, parts.title, &what, &format!("/{}", printable(&folder.place)), &counts(folder), theme);
    if folder.list.length() == 0 && folder.reading == Reading::Done {
        let text =
            if folder.losses.1 == 0 { " nothing in this folder" } else { " nothing left of this folder" };
        frame.render_widget(Paragraph::new(text), parts.body);
    }
    let columns = [
        Column::new("Name", 0, 0),
        Column::right("Size", 10, 34),
        Column::new("Changed", 16, 56),
        Column::new("Mode", 10, 72),
    ];
    let is_marked = marks.snapshot == Some(folder.snapshot.id);
    let mut list = folder.list;
    table(frame, parts, &columns, &mut list, |number| {
        let entry = folder.entry(number)?;
        let marked = is_marked && marks.places.contains(&folder.path_of(entry.name));
        Some(row(entry, marked, theme))
    });
    folder.list = list;
}

fn counts(folder: &Folder) -> String {
    let sort = match folder.sort {
        Sort::Name => None,
        Sort::Size => Some("by size".to_owned()),
        Sort::Time => Some("by time".to_owned()),
    };
    let parts = [
        Some(human::count(folder.list.length() as u64)),
        folder.summed.map(|summed| human::bytes(summed.bytes)),
        sort,
        folder.reversed.then(|| "turned".to_owned()),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn row(entry: Entry<'_>, marked: bool, theme: &Theme) -> Row {
    let sign = match entry.kind {
        NodeKind::Directory => "/",
        NodeKind::Symlink => "@",
        NodeKind::Fifo => "|",
        NodeKind::Socket => "=",
        NodeKind::File | NodeKind::CharacterDevice | NodeKind::BlockDevice => "",
    };
    let style = if marked {
        theme.marked()
    } else if entry.kind == NodeKind::Directory {
        theme.folder()
    } else {
        Style::new()
    };
    // Nothing is known of a folder that was lost but that something lies in it.
    let is_known = entry.mtime != Timestamp::default() || entry.mode != 0;
    Row {
        cells: vec![
            format!("{}{sign}", printable(entry.name)),
            entry.bytes.map(human::bytes).unwrap_or_default(),
            if is_known { theme.minute(entry.mtime) } else { "lost".to_owned() },
            node::mode(entry.kind, entry.mode),
        ],
        style,
        mark: marked.then(|| ('*', theme.marked())),
    }
}

pub(super) fn versions(frame: &mut Frame<'_>, parts: &Parts, screen: &mut Versions, theme: &Theme) {
    let place = format!("/{}", printable(&screen.place));
    title(frame, parts.title, "versions", &place, &totals(screen), theme);
    let below = if parts.body.height >= HOLDERS.saturating_mul(2) { HOLDERS } else { 0 };
    let height = parts.body.height.saturating_sub(below);
    let body = Rect { height, ..parts.body };
    let columns = [
        Column::new("Changed", 16, 0),
        Column::right("Size", 10, 30),
        Column::right("Snapshots", 9, 42),
        Column::new("Newest in", 0, 54),
        Column::new("Mode", 10, 90),
    ];
    let mut list = screen.list;
    let parts = Parts { body, ..*parts };
    table(frame, &parts, &columns, &mut list, |number| {
        let version = screen.version(number)?;
        let holders = screen.holders(version);
        let newest = holders.first()?;
        let is_file = version.node.kind == NodeKind::File;
        Some(Row {
            cells: vec![
                theme.minute(version.node.mtime),
                if is_file { human::bytes(version.node.size) } else { String::new() },
                human::count(holders.len() as u64),
                format!("{} {}", newest.id.short(), theme.minute(newest.manifest.time)),
                node::mode(version.node.kind, version.node.mode),
            ],
            style: Style::new(),
            mark: None,
        })
    });
    screen.list = list;
    holders(frame, Rect { y: body.y.saturating_add(height), height: below, ..body }, screen, theme);
}

fn totals(screen: &Versions) -> String {
    let Some(found) = &screen.found else { return String::new() };
    let (absent, unreadable) = (found.absent.len() as u64, found.unreadable.len() as u64);
    let parts = [
        Some(human::counted(found.versions.len() as u64, "version")),
        (absent > 0).then(|| format!("not in {}", human::counted(absent, "snapshot"))),
        (unreadable > 0).then(|| format!("{} unreadable", human::count(unreadable))),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// The snapshots that hold the version under the cursor.
fn holders(frame: &mut Frame<'_>, area: Rect, screen: &Versions, theme: &Theme) {
    let Some((version, _)) = screen.selected() else { return };
    let holders = screen.holders(version);
    let room = usize::from(area.height).saturating_sub(1);
    let mut lines = vec![Line::styled(" this version is in", Theme::dim())];
    let shown = if holders.len() > room { room.saturating_sub(1) } else { room };
    for snapshot in holders.iter().take(shown) {
        let tags = printable(snapshot.manifest.tags.join(",").as_bytes());
        let (id, time) = (snapshot.id.short(), theme.minute(snapshot.manifest.time));
        lines.push(Line::from(format!("   {id}  {time}  {tags}")));
    }
    let more = holders.len().saturating_sub(shown);
    if more > 0 {
        lines.push(Line::from(format!("   and {} older", human::count(more as u64))));
    }
    frame.render_widget(Paragraph::new(lines), area);
}
