//! Drawing the state: a title, the lines of a screen, a line for messages and keys, and what lies above.
//!
//! Invariants: nothing of a repository is drawn that did not go through `report::printable`. Nothing here fails on a
//! screen of any size.

mod dialog;
mod lists;
mod table;
mod text;

#[cfg(test)]
mod tests;

use jiff::tz::TimeZone;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::state::{Dialog, Screen, State};
use crate::cli::output::human;
use crate::format::node::Timestamp;
use crate::report::printable;

/// How things look: in the terminal's own sixteen colours, or without any.
#[derive(Clone, Debug)]
pub(super) struct Theme {
    pub(super) color: bool,
    pub(super) zone: TimeZone,
}

impl Theme {
    fn colored(&self, color: Color) -> Style {
        if self.color { Style::new().fg(color) } else { Style::new() }
    }

    fn title(&self) -> Style {
        self.colored(Color::Cyan).add_modifier(Modifier::BOLD)
    }

    fn folder(&self) -> Style {
        self.colored(Color::Cyan)
    }

    fn marked(&self) -> Style {
        self.colored(Color::Yellow).add_modifier(Modifier::BOLD)
    }

    fn error(&self) -> Style {
        self.colored(Color::Red).add_modifier(Modifier::BOLD)
    }

    fn dim() -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    fn cursor() -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    fn minute(&self, time: Timestamp) -> String {
        human::minute(time, &self.zone)
    }
}

/// The parts of a screen, from above; each may be of no height.
struct Parts {
    title: Rect,
    columns: Rect,
    body: Rect,
    message: Rect,
    keys: Rect,
}

impl Parts {
    /// Where there are few lines, the body has them.
    fn of(area: Rect) -> Self {
        let mut left = area;
        let mut top = |height: u16| {
            let height = height.min(left.height);
            let part = Rect { height, ..left };
            left =
                Rect { y: left.y.saturating_add(height), height: left.height.saturating_sub(height), ..left };
            part
        };
        let title = top(u16::from(area.height >= 2));
        let columns = top(u16::from(area.height >= 6));
        let below = u16::from(area.height >= 3).saturating_add(u16::from(area.height >= 8));
        let body = top(area
            .height
            .saturating_sub(title.height)
            .saturating_sub(columns.height)
            .saturating_sub(below));
        let message = top(u16::from(area.height >= 3));
        let keys = top(1);
        Self { title, columns, body, message, keys }
    }
}

/// How far a restore is.
#[derive(Clone, Debug, Default)]
pub(super) struct Done {
    pub(super) files: u64,
    pub(super) bytes: u64,
    pub(super) stage: String,
}

/// Draws everything.
pub(super) fn all(frame: &mut Frame<'_>, state: &mut State, theme: &Theme, done: &Done) {
    let parts = Parts::of(frame.area());
    match state.screens.last_mut() {
        None => lists::snapshots(frame, &parts, &mut state.snapshots, theme),
        Some(Screen::Folder(folder)) => lists::folder(frame, &parts, folder, &state.marks, theme),
        Some(Screen::Versions(versions)) => lists::versions(frame, &parts, versions, theme),
        Some(Screen::Preview(preview)) => text::preview(frame, &parts, preview, theme),
    }
    message(frame, parts.message, state, theme);
    keys(frame, parts.keys, state);
    dialog::draw(frame, state, theme, done);
}

fn message(frame: &mut Frame<'_>, area: Rect, state: &State, theme: &Theme) {
    if let Some(search) = &state.search {
        let (before, after) = search.edit.parts();
        let failed = if search.failed { theme.error() } else { Style::new() };
        typed(frame, area, "/", before, after, failed);
        return;
    }
    let line = match (&state.message, state.is_busy()) {
        (Some(message), _) => {
            let style = if message.is_error { theme.error() } else { Style::new() };
            Line::styled(message.text.clone(), style)
        }
        (None, true) => {
            let so_far = if state.so_far.is_empty() { "reading" } else { &state.so_far };
            Line::from(format!("{} {so_far}, Esc stops", spinner()))
        }
        (None, false) => standing(state, theme),
    };
    frame.render_widget(Paragraph::new(line), area);
}

/// What is to be known all the time: marks, and what is lost.
fn standing(state: &State, theme: &Theme) -> Line<'static> {
    let mut spans = Vec::new();
    if let Some(Screen::Folder(folder)) = state.screens.last() {
        if let Some(loss) = folder.losses.0.first() {
            let count = human::counted(folder.losses.1, "part");
            spans.push(Span::styled(
                format!("{count} of this folder cannot be read: {loss}  "),
                theme.error(),
            ));
        }
        if folder.more {
            spans.push(Span::styled("there are more entries than these  ", theme.error()));
        }
    }
    if state.screens.is_empty()
        && let Some((id, why)) = state.snapshots.choice.damaged.first()
    {
        let count = human::counted(state.snapshots.choice.damaged.len() as u64, "object");
        let why = printable(why.as_bytes());
        spans.push(Span::styled(format!("{count} cannot be read: {}: {why}  ", id.short()), theme.error()));
    }
    if !state.marks.places.is_empty() {
        let count = state.marks.places.len() as u64;
        spans.push(Span::styled(format!("{} marked", human::count(count)), theme.marked()));
    }
    Line::from(spans)
}

/// The keys that matter here, as many as there is room for.
fn keys(frame: &mut Frame<'_>, area: Rect, state: &State) {
    let words: &[&str] = match (&state.dialog, state.screens.last()) {
        (Dialog::None, _) if state.search.is_some() => &["Enter go on", "Esc back"],
        (Dialog::None, None) => &["Enter open", "/ search", "r restore", "? help", "q quit"],
        (Dialog::None, Some(Screen::Folder(_))) => &[
            "Enter open",
            "Space mark",
            "r restore",
            "w write",
            "v versions",
            "/ search",
            "? help",
            "q quit",
        ],
        (Dialog::None, Some(Screen::Versions(_))) => {
            &["Enter look", "r restore", "w write", "Left back", "? help", "q quit"]
        }
        (Dialog::None, Some(Screen::Preview(_))) => {
            &["Left back", "w write", "v versions", "/ search", "? help", "q quit"]
        }
        _ => &[],
    };
    let mut line = String::new();
    for word in words {
        let gap = if line.is_empty() { 0 } else { 2 };
        if line.len().saturating_add(gap).saturating_add(word.len()) > usize::from(area.width) {
            break;
        }
        line.extend(std::iter::repeat_n(' ', gap));
        line.push_str(word);
    }
    frame.render_widget(Paragraph::new(Line::styled(line, Theme::dim())), area);
}

/// A line that is being typed, with its cursor; its end is what is seen where it is too long.
fn typed(frame: &mut Frame<'_>, area: Rect, label: &str, before: &str, after: &str, style: Style) {
    let room = usize::from(area.width).saturating_sub(label.len().saturating_add(1));
    let shown = table::end_of(before, room);
    let column = label.len().saturating_add(Span::raw(shown.as_str()).width());
    let line = Line::from(vec![
        Span::styled(label.to_owned(), Theme::dim()),
        Span::styled(shown, style),
        Span::styled(after.to_owned(), style),
    ]);
    frame.render_widget(Paragraph::new(line), area);
    let column = u16::try_from(column).unwrap_or(u16::MAX);
    if area.height > 0 && column < area.width {
        frame.set_cursor_position((area.x.saturating_add(column), area.y));
    }
}

/// A sign of life, by the clock.
fn spinner() -> char {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    match now.as_millis() / 120 % 4 {
        0 => '|',
        1 => '/',
        2 => '-',
        _ => '\\',
    }
}
