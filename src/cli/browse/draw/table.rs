//! Lines in columns, as many as there is room for.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::{Parts, Theme};
use crate::cli::browse::state::List;

/// A column. One of no width takes what the others leave.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    pub(super) title: &'static str,
    pub(super) width: u16,
    pub(super) right: bool,
    /// The narrowest screen that shows it.
    pub(super) from: u16,
}

impl Column {
    pub(super) const fn new(title: &'static str, width: u16, from: u16) -> Self {
        Self { title, width, right: false, from }
    }

    pub(super) const fn right(title: &'static str, width: u16, from: u16) -> Self {
        Self { title, width, right: true, from }
    }
}

/// One line: a cell for each column, how it looks, and what stands before it.
pub(super) struct Row {
    pub(super) cells: Vec<String>,
    pub(super) style: Style,
    pub(super) mark: Option<(char, Style)>,
}

/// Draws a table, with the cursor on the list's position.
pub(super) fn table(
    frame: &mut Frame<'_>,
    parts: &Parts,
    columns: &[Column],
    list: &mut List,
    row: impl Fn(usize) -> Option<Row>,
) {
    let widths = widths(columns, parts.body.width);
    let titles = columns.iter().map(|column| column.title.to_owned()).collect::<Vec<_>>();
    let titles = joined(columns, &widths, &titles);
    frame.render_widget(Paragraph::new(Line::styled(format!(" {titles}"), Theme::dim())), parts.columns);
    let seen = list.seen(usize::from(parts.body.height));
    for (number, y) in seen.zip(parts.body.y..) {
        let Some(row) = row(number) else { continue };
        let (mark, mark_style) = row.mark.unwrap_or((' ', row.style));
        let mut line = Line::from(vec![
            Span::styled(mark.to_string(), mark_style),
            Span::styled(joined(columns, &widths, &row.cells), row.style),
        ]);
        if number == list.position() {
            line = line.patch_style(Theme::cursor());
        }
        let area = Rect { y, height: 1, ..parts.body }.intersection(frame.area());
        frame.render_widget(Paragraph::new(line), area);
    }
}

/// The widths of the columns; none for those that are not shown.
fn widths(columns: &[Column], width: u16) -> Vec<Option<usize>> {
    let is_shown = |column: &Column| column.from <= width;
    let fixed = columns
        .iter()
        .filter(|column| is_shown(column))
        .fold(1usize, |sum, column| sum.saturating_add(usize::from(column.width)).saturating_add(2));
    let rest = usize::from(width).saturating_sub(fixed.saturating_sub(2));
    columns
        .iter()
        .map(|column| {
            is_shown(column).then(|| if column.width == 0 { rest } else { usize::from(column.width) })
        })
        .collect()
}

fn joined(columns: &[Column], widths: &[Option<usize>], cells: &[String]) -> String {
    let cells = columns.iter().zip(widths).zip(cells);
    let cells = cells.filter_map(|((column, width), cell)| width.map(|width| fit(cell, width, column.right)));
    cells.collect::<Vec<_>>().join("  ")
}

/// A text in so many columns, cut or filled up.
fn fit(text: &str, width: usize, right: bool) -> String {
    let text = beginning_of(text, width);
    let gap = " ".repeat(width.saturating_sub(Span::raw(text.as_str()).width()));
    if right { format!("{gap}{text}") } else { format!("{text}{gap}") }
}

/// A text's beginning, with a sign where it goes on.
pub(super) fn beginning_of(text: &str, width: usize) -> String {
    if Span::raw(text).width() <= width {
        return text.to_owned();
    }
    let mut cut = String::new();
    let mut used = 0usize;
    for letter in text.chars() {
        used = used.saturating_add(width_of(letter));
        if used >= width {
            break;
        }
        cut.push(letter);
    }
    if width > 0 {
        cut.push('…');
    }
    cut
}

/// A text's end, with a sign where it began before.
pub(super) fn end_of(text: &str, width: usize) -> String {
    if Span::raw(text).width() <= width {
        return text.to_owned();
    }
    let mut cut = Vec::new();
    let mut used = 0usize;
    for letter in text.chars().rev() {
        used = used.saturating_add(width_of(letter));
        if used >= width {
            break;
        }
        cut.push(letter);
    }
    cut.extend((width > 0).then_some('…'));
    cut.into_iter().rev().collect()
}

fn width_of(letter: char) -> usize {
    Span::raw(letter.encode_utf8(&mut [0; 4]) as &str).width()
}
