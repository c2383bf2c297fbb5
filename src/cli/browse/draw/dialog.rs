//! What lies over a screen.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::Line;
use ratatui::widgets::{Block, Clear, Paragraph, Wrap};

use super::table::end_of;
use super::{Done, Theme, spinner, typed};
use crate::cli::browse::keys::HELP;
use crate::cli::browse::state::{Dialog, List, Purpose, State};
use crate::cli::output::human;
use crate::report::printable;

/// Widest that a dialog is.
const WIDTH_MAX: u16 = 76;

pub(super) fn draw(frame: &mut Frame<'_>, state: &mut State, theme: &Theme, done: &Done) {
    match &mut state.dialog {
        Dialog::None => {}
        Dialog::Help(list) => {
            let line = |(keys, text): &(&str, &str)| format!("{keys:<20}{text}");
            let lines: Vec<String> = HELP.iter().map(line).collect();
            listed(frame, "Keys", &lines, list, theme);
        }
        Dialog::Path { purpose, edit } => {
            let (title, what, text) = match purpose {
                Purpose::Restore { places, .. } => {
                    let what = if let [place] = places.as_slice() {
                        format!("/{}", printable(place))
                    } else {
                        human::counted(places.len() as u64, "marked place")
                    };
                    ("Restore", what, "into this new or empty folder:")
                }
                Purpose::Save { place, .. } => {
                    ("Write", format!("/{}", printable(place)), "to this new file:")
                }
            };
            let inner = framed(frame, title, 5, theme);
            let what = end_of(&what, usize::from(inner.width));
            frame.render_widget(Paragraph::new(what), row(inner, 0));
            frame.render_widget(Paragraph::new(text), row(inner, 1));
            let (before, after) = edit.parts();
            // Where there are few lines, what is typed is seen.
            let line = 2.min(inner.height.saturating_sub(1));
            typed(frame, row(inner, line), "> ", before, after, Style::new());
            let keys = Line::styled("Enter goes on, Esc does nothing", Theme::dim());
            frame.render_widget(Paragraph::new(keys), row(inner, 4));
        }
        Dialog::Sure { text, .. } => {
            let inner = framed(frame, "Sure?", 5, theme);
            let question = Rect { height: inner.height.saturating_sub(1), ..inner };
            frame.render_widget(Paragraph::new(text.as_str()).wrap(Wrap { trim: false }), question);
            let keys = row(inner, inner.height.saturating_sub(1));
            frame.render_widget(Paragraph::new("y yes   n no"), keys);
        }
        Dialog::Work { verb, stopping } => {
            let inner = framed(frame, "At work", 3, theme);
            frame.render_widget(
                Paragraph::new(format!("{} {verb} {}", spinner(), in_words(done))),
                row(inner, 0),
            );
            let text = if *stopping { "stopping" } else { "Esc stops it: what is there by then is whole" };
            frame.render_widget(Paragraph::new(Line::styled(text, Theme::dim())), row(inner, 2));
        }
        Dialog::Report { title, lines, list } => listed(frame, title, lines, list, theme),
    }
}

/// How far the work is.
fn in_words(done: &Done) -> String {
    let files =
        if done.files > 0 { format!("{}, ", human::counted(done.files, "file")) } else { String::new() };
    let stage = if done.stage.is_empty() { String::new() } else { format!(" ({})", done.stage) };
    format!("{files}{}{stage}", human::bytes(done.bytes))
}

/// One line of an area.
fn row(area: Rect, number: u16) -> Rect {
    Rect { y: area.y.saturating_add(number), height: 1, ..area }.intersection(area)
}

fn listed(frame: &mut Frame<'_>, title: &str, lines: &[String], list: &mut List, theme: &Theme) {
    let height = u16::try_from(lines.len()).unwrap_or(u16::MAX);
    let inner = framed(frame, title, height, theme);
    let width = usize::from(inner.width);
    // A line that is too long goes on below; so many of them are few.
    let lines: Vec<String> = lines.iter().flat_map(|line| cut(line, width)).collect();
    list.set_length(lines.len());
    let seen = list.scrolled(usize::from(inner.height));
    let seen = lines.get(seen).unwrap_or_default();
    frame.render_widget(
        Paragraph::new(seen.iter().map(|line| Line::from(line.as_str())).collect::<Vec<_>>()),
        inner,
    );
}

/// A line in pieces of so many characters.
fn cut(line: &str, width: usize) -> Vec<String> {
    let letters: Vec<char> = line.chars().collect();
    if letters.is_empty() {
        return vec![String::new()];
    }
    letters.chunks(width.max(1)).map(|part| part.iter().collect()).collect()
}

/// An empty frame in the middle, with room for so many lines; gives that room.
fn framed(frame: &mut Frame<'_>, title: &str, lines: u16, theme: &Theme) -> Rect {
    let area = frame.area();
    let width = area.width.min(WIDTH_MAX);
    let height = lines.saturating_add(2).min(area.height);
    let place = Rect {
        x: area.x.saturating_add(area.width.saturating_sub(width) / 2),
        y: area.y.saturating_add(area.height.saturating_sub(height) / 2),
        width,
        height,
    };
    frame.render_widget(Clear, place);
    let block = Block::bordered().title(format!(" {title} ")).title_style(theme.title());
    let inner = block.inner(place);
    frame.render_widget(block, place);
    let padded = Rect { x: inner.x.saturating_add(1), width: inner.width.saturating_sub(2), ..inner };
    padded.intersection(inner)
}
