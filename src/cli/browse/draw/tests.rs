//! Screens as they are seen, of every size, with and without colour.

use jiff::tz::TimeZone;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::{Buffer, Cell};
use ratatui::style::Color;

use super::super::keys::Key;
use super::super::state::State;
use super::super::state::tests::{Answers, begun, repository, type_keys, walk};
use super::{Done, Theme, all};

fn drawn(state: &mut State, width: u16, height: u16, color: bool) -> Buffer {
    let theme = Theme { color, zone: TimeZone::UTC };
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| all(frame, state, &theme, &Done::default())).unwrap();
    terminal.backend().buffer().clone()
}

fn lines(buffer: &Buffer) -> Vec<String> {
    let width = usize::from(buffer.area.width);
    let cells: Vec<&str> = buffer.content().iter().map(Cell::symbol).collect();
    cells.chunks(width.max(1)).map(|line| line.concat().trim_end().to_owned()).collect()
}

fn seen(state: &mut State, width: u16, height: u16) -> String {
    lines(&drawn(state, width, height, false)).join("\n")
}

/// Every screen and everything that lies over one, each after these keys.
fn each_screen(mut look: impl FnMut(&str, &mut State)) {
    let repository = repository();
    let into_docs = [Key::Enter, Key::Down, Key::Enter];
    let rest: [(&str, &[Key]); 9] = [
        ("folder", &[]),
        ("marks", &[Key::Char(' ')]),
        ("hostile", &[Key::Enter]),
        ("text", &[Key::End, Key::Enter]),
        ("versions", &[Key::End, Key::Char('v')]),
        ("help", &[Key::Char('?')]),
        ("path", &[Key::Char('r'), Key::Char('x')]),
        ("sure", &[Key::Char('r'), Key::Char('x'), Key::Enter]),
        ("report", &[Key::Char('r'), Key::Char('x'), Key::Enter, Key::Char('y')]),
    ];
    walk(&repository, |answers: Answers<'_>| {
        look("snapshots", &mut begun(&repository));
        for (name, keys) in rest {
            let mut state = begun(&repository);
            type_keys(&mut state, answers, &into_docs);
            type_keys(&mut state, answers, keys);
            look(name, &mut state);
        }
    });
}

#[test]
fn every_screen_says_what_it_is() {
    each_screen(|name, state| {
        let text = seen(state, 80, 24);
        let expected: &[&str] = match name {
            "snapshots" => {
                &["strongroom  3 snapshots", "Time", "Host", "server", "2026-09-23 14:13", "q quit"]
            }
            "folder" => &["/docs", "deep/", "text", "-rw-r-----", "Space mark"],
            "marks" => &["*", "1 marked"],
            "hostile" => &["hostile", "text, 7 B, 2023-11-14 22:13, -rw-r----- vault:vault"],
            "text" => &["new     text", "with \\u{1b}[2J two lines"],
            "versions" => &["versions  /docs/text", "2 versions", "this version is in"],
            "help" => &[" Keys ", "search; next, previous"],
            "path" => &["into this new or empty folder:", "2Jexe", "> x"],
            "sure" => &["Restore /docs/", "into the new or empty folder x?", "y yes"],
            "report" => &["Restored", "2 files, 0 folders"],
            other => panic!("{other}"),
        };
        for part in expected {
            assert!(text.contains(part), "{name}: {part:?} is not in\n{text}");
        }
    });
}

#[test]
fn every_size_will_do() {
    each_screen(|_, state| {
        for (width, height) in
            [(80, 24), (0, 0), (1, 1), (2, 2), (3, 3), (20, 5), (5, 20), (20, 1), (1, 20), (200, 60), (40, 8)]
        {
            drawn(state, width, height, true);
        }
    });
}

#[test]
fn a_small_window_shows_where_one_is() {
    let repository = repository();
    walk(&repository, |answers| {
        let mut state = begun(&repository);
        type_keys(&mut state, answers, &[Key::Enter, Key::End, Key::Enter, Key::End]);
        let text = seen(&mut state, 20, 5);
        assert!(text.contains("299") && text.contains("/many"), "{text}");
    });
}

#[test]
fn what_a_name_would_do_to_a_terminal_is_shown_and_not_done() {
    each_screen(|name, state| {
        let buffer = drawn(state, 100, 24, true);
        for cell in buffer.content() {
            let strange = |letter: char| letter.is_control() || letter == '\u{202e}';
            assert!(!cell.symbol().contains(strange), "{name}: {:?}", cell.symbol());
        }
        if ["folder", "hostile"].contains(&name) {
            let text = lines(&buffer).join("\n");
            assert!(text.contains("\\u{1b}[31mred\\u{7}\\u{202e}gnp.\\u{9b}2Jexe"), "{name}:\n{text}");
        }
    });
}

#[test]
fn colors_are_those_of_every_terminal_or_none() {
    let plain = [Color::Reset, Color::Cyan, Color::Yellow, Color::Red];
    let mut colored = 0;
    each_screen(|name, state| {
        for cell in drawn(state, 80, 24, true).content() {
            assert!(plain.contains(&cell.fg) && cell.bg == Color::Reset, "{name}: {cell:?}");
            colored += usize::from(cell.fg != Color::Reset);
        }
        for cell in drawn(state, 80, 24, false).content() {
            assert_eq!((cell.fg, cell.bg), (Color::Reset, Color::Reset), "{name}");
        }
    });
    assert!(colored > 100);
}
