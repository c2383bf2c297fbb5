//! The beginning of a file.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;
use ratatui::widgets::Paragraph;

use super::lists::title;
use super::{Parts, Theme};
use crate::cli::browse::state::{Look, Preview};
use crate::cli::output::{human, node};
use crate::format::node::Node;
use crate::report::printable;

pub(super) fn preview(frame: &mut Frame<'_>, parts: &Parts, screen: &mut Preview, theme: &Theme) {
    let what = format!("{} {}", screen.snapshot.id.short(), theme.minute(screen.snapshot.manifest.time));
    title(frame, parts.title, &what, &format!("/{}", printable(&screen.place)), "", theme);
    let about = match &screen.shown {
        None => String::new(),
        Some(shown) => about(&shown.node, shown.look, shown.bytes, theme),
    };
    frame.render_widget(Paragraph::new(Line::styled(about, Theme::dim())), parts.columns);
    let mut list = screen.list;
    for (number, y) in list.scrolled(usize::from(parts.body.height)).zip(parts.body.y..) {
        let Some(line) = screen.line(number) else { continue };
        let area = Rect { y, height: 1, ..parts.body }.intersection(frame.area());
        let seen: String =
            line.chars().skip(screen.column).take(usize::from(area.width).saturating_mul(2)).collect();
        frame.render_widget(Paragraph::new(seen), area);
    }
    screen.list = list;
}

/// What it is, in a line.
fn about(shown: &Node, look: Look, read: usize, theme: &Theme) -> String {
    let name = |name: &[u8], number: u32| if name.is_empty() { number.to_string() } else { printable(name) };
    let kind = match look {
        Look::Text => "text",
        Look::Binary => "binary",
        Look::Database => "SQLite database",
        Look::NoFile => "no file",
    };
    let checked = match &shown.database {
        Some(state) if state.checked => ", checked",
        Some(_) => ", failed its check",
        None => "",
    };
    let part = if (read as u64) < shown.size && look != Look::NoFile {
        format!("the first {} of {}", human::bytes(read as u64), human::bytes(shown.size))
    } else {
        human::bytes(shown.size)
    };
    let target = shown.link_target.as_deref().map(|target| format!(", leads to {}", printable(target)));
    format!(
        "{kind}{checked}, {part}, {}, {} {}:{}{}",
        theme.minute(shown.mtime),
        node::mode(shown.kind, shown.mode),
        name(&shown.user, shown.uid),
        name(&shown.group, shown.gid),
        target.unwrap_or_default()
    )
}
