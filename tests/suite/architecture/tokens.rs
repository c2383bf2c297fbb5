//! Rust source as words, and from these its paths, its macro calls and its test modules.
//!
//! This is no parser: it knows comments, literals, brackets, `use` trees and `mod`, which is enough to see who
//! names whom. Paths that macros put together go unseen.

/// What one source file says.
#[derive(Debug, Default)]
pub(super) struct SourceText {
    words: Vec<Word>,
    paths: Vec<SourcePath>,
    macros: Vec<MacroCall>,
    test_modules: Vec<String>,
}

/// A path such as `crate::format::node`, also one of several that a `use` tree names.
#[derive(Debug)]
pub(super) struct SourcePath {
    pub(super) segments: Vec<String>,
    pub(super) line: usize,
    /// Whether it stands in an item under `#[cfg(test)]`.
    pub(super) in_test: bool,
    /// How many `mod name { ... }` of this file it stands in.
    pub(super) inline_depth: usize,
}

/// A call such as `println!(...)`.
#[derive(Debug)]
pub(super) struct MacroCall {
    pub(super) name: String,
    pub(super) line: usize,
    pub(super) in_test: bool,
}

#[derive(Clone, Debug)]
struct Word {
    text: String,
    line: usize,
}

impl Word {
    fn is_name(&self) -> bool {
        self.text.bytes().next().is_some_and(is_name_byte)
    }
}

impl SourceText {
    /// Reads a source file.
    pub(super) fn parse(text: &str) -> Self {
        let mut source = Self { words: words(text), ..Self::default() };
        source.walk();
        source
    }

    /// Every word of the code, with its line: no comments, no literals.
    pub(super) fn words(&self) -> impl Iterator<Item = (usize, &str)> {
        self.words.iter().map(|word| (word.line, word.text.as_str()))
    }

    /// Every path of the code.
    pub(super) fn paths(&self) -> &[SourcePath] {
        &self.paths
    }

    /// Every macro call of the code.
    pub(super) fn macros(&self) -> impl Iterator<Item = &MacroCall> {
        self.macros.iter()
    }

    /// The names in `#[cfg(test)] mod name;`.
    pub(super) fn test_modules(&self) -> &[String] {
        &self.test_modules
    }

    fn is(&self, at: usize, text: &str) -> bool {
        self.words.get(at).is_some_and(|word| word.text == text)
    }

    fn is_name(&self, at: usize) -> bool {
        self.words.get(at).is_some_and(Word::is_name)
    }

    fn walk(&mut self) {
        let mut braces = 0_usize;
        let mut inline_modules = Vec::new();
        let mut test_until = 0;
        let mut at = 0;
        while at < self.words.len() {
            if at >= test_until && self.starts_test(at) {
                test_until = self.end_of_item(at);
            }
            let (in_test, inline_depth) = (at < test_until, inline_modules.len());
            let line = self.words[at].line;
            if self.is(at, "{") {
                braces += 1;
            } else if self.is(at, "}") {
                braces = braces.saturating_sub(1);
                if inline_modules.last() == Some(&braces) {
                    inline_modules.pop();
                }
            } else if self.is(at, "mod") && self.is(at + 2, "{") {
                inline_modules.push(braces);
            } else if self.is(at, "mod") && self.is(at + 2, ";") && in_test {
                self.test_modules.push(self.words[at + 1].text.clone());
            } else if self.is(at, "use") && !self.is(at + 1, "<") {
                let mut named = Vec::new();
                at = self.use_tree(at + 1, &[], &mut named);
                let path = |segments| SourcePath { segments, line, in_test, inline_depth };
                self.paths.extend(named.into_iter().map(path));
                continue;
            } else if self.is_name(at) && self.is(at + 1, "!") && !self.is(at + 2, "=") {
                self.macros.push(MacroCall { name: self.words[at].text.clone(), line, in_test });
            } else if self.is_name(at) && self.is(at + 1, "::") {
                let mut segments = vec![self.words[at].text.clone()];
                while self.is(at + 1, "::") && self.is_name(at + 2) {
                    segments.push(self.words[at + 2].text.clone());
                    at += 2;
                }
                self.paths.push(SourcePath { segments, line, in_test, inline_depth });
                // The last name is looked at again, for it may be that of a macro.
                if self.is(at + 1, "!") {
                    continue;
                }
            }
            at += 1;
        }
    }

    /// Whether an attribute that leaves an item to tests begins here.
    fn starts_test(&self, at: usize) -> bool {
        let starts = |with: &[&str]| with.iter().enumerate().all(|(index, text)| self.is(at + index, text));
        starts(&["#", "[", "cfg", "(", "test"]) || starts(&["#", "[", "cfg", "(", "all", "(", "test"])
    }

    /// The word after the item that begins here, its attributes included.
    fn end_of_item(&self, mut at: usize) -> usize {
        let mut depth = 0_usize;
        while at < self.words.len() {
            match self.words[at].text.as_str() {
                "(" | "[" | "{" => depth += 1,
                ")" | "]" => depth = depth.saturating_sub(1),
                "}" => {
                    depth = depth.saturating_sub(1);
                    if depth == 0 {
                        return at + 1;
                    }
                }
                ";" if depth == 0 => return at + 1,
                _ => {}
            }
            at += 1;
        }
        at
    }

    /// Reads one branch of a `use` tree, adds the paths it names and returns the word after it.
    fn use_tree(&self, mut at: usize, above: &[String], named: &mut Vec<Vec<String>>) -> usize {
        let mut path = above.to_vec();
        while at < self.words.len() {
            match self.words[at].text.as_str() {
                "{" => {
                    at += 1;
                    while at < self.words.len() && !self.is(at, "}") {
                        at = self.use_tree(at, &path, named);
                        at += usize::from(self.is(at, ","));
                    }
                    return at + 1;
                }
                "," | ";" | "}" => break,
                "as" => at += 2,
                "::" => at += 1,
                name => {
                    path.push(name.to_owned());
                    at += 1;
                }
            }
        }
        if path.len() > 1 && path.last().is_some_and(|name| name == "self") {
            path.pop();
        }
        named.push(path);
        at
    }
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || !byte.is_ascii()
}

/// The words of a source text: names and numbers, `::`, and every other sign alone.
fn words(text: &str) -> Vec<Word> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let (mut at, mut line) = (0, 1);
    while at < bytes.len() {
        let rest = &bytes[at..];
        let length = match rest[0] {
            b'/' if rest.starts_with(b"//") => {
                rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len())
            }
            b'/' if rest.starts_with(b"/*") => block_comment(rest),
            b'"' => quoted(rest, b'"'),
            b'\'' => char_or_lifetime(&text[at..]),
            byte if is_name_byte(byte) => {
                let name = rest.iter().take_while(|byte| is_name_byte(**byte)).count();
                if let Some(literal) = prefixed_literal(&rest[..name], &rest[name..]) {
                    name + literal
                } else if &rest[..name] == b"r" && rest.get(name) == Some(&b'#') {
                    // A raw name is never the keyword it is spelt like.
                    name + 1 + rest[name + 1..].iter().take_while(|byte| is_name_byte(**byte)).count()
                } else {
                    found.push(Word { text: text[at..at + name].to_owned(), line });
                    name
                }
            }
            byte if byte.is_ascii_whitespace() => 1,
            _ => {
                let length = if rest.starts_with(b"::") { 2 } else { 1 };
                found.push(Word { text: text[at..at + length].to_owned(), line });
                length
            }
        };
        line += text[at..at + length].matches('\n').count();
        at += length;
    }
    found
}

/// The length of a comment that may hold others.
fn block_comment(rest: &[u8]) -> usize {
    let (mut at, mut depth) = (0, 0_usize);
    while at < rest.len() {
        if rest[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    at
}

/// The length of a literal between two quotes, with escapes.
fn quoted(rest: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != quote {
        at += if rest[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

/// The length of a character in quotes, or of a lifetime.
fn char_or_lifetime(rest: &str) -> usize {
    let character = rest[1..].chars().next();
    let width = character.map_or(1, char::len_utf8);
    let bytes = rest.as_bytes();
    if character == Some('\\') || bytes.get(1 + width) == Some(&b'\'') {
        return quoted(bytes, b'\'');
    }
    1 + bytes[1..].iter().take_while(|byte| is_name_byte(**byte)).count()
}

/// The length of the literal that follows a prefix such as `b`, `r` or `br`, if one does.
fn prefixed_literal(prefix: &[u8], rest: &[u8]) -> Option<usize> {
    let is_raw = matches!(prefix, b"r" | b"br" | b"cr");
    match rest.first()? {
        b'"' if matches!(prefix, b"b" | b"c") => Some(quoted(rest, b'"')),
        b'\'' if prefix == b"b" => Some(quoted(rest, b'\'')),
        b'"' | b'#' if is_raw => {
            let hashes = rest.iter().take_while(|byte| **byte == b'#').count();
            (rest.get(hashes) == Some(&b'"')).then_some(())?;
            let end: Vec<u8> = [b"\"".as_slice(), &rest[..hashes]].concat();
            let body = &rest[hashes + 1..];
            let length = body.windows(end.len()).position(|window| window == end).unwrap_or(body.len());
            Some((hashes + 1 + length + end.len()).min(rest.len()))
        }
        _ => None,
    }
}
