//! Values as a configuration writes them: read by the same functions as the options of the same names.
//!
//! Invariant: a value that makes no sense is an error at its place in the file; nothing is guessed.

use std::fmt;
use std::marker::PhantomData;
use std::path::PathBuf;
use std::time::Duration;

use jiff::tz::TimeZone;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use zeroize::Zeroizing;

use crate::cli::{backup, check, forget, prune, size, zone};
use crate::operation::check::Subset;
use crate::operation::forget::{Amount, GroupBy, Reach};
use crate::operation::prune::Limit;
use crate::source::files::Marker;
use crate::source::server::address::Address as ServerAddress;

/// Names and what they stand for, in the order of the file.
#[derive(Debug)]
pub(in crate::cli) struct Named<T>(pub(in crate::cli) Vec<(toml::Spanned<String>, T)>);

impl<T> Default for Named<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Named<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Tables<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Tables<T> {
            type Value = Named<T>;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a table for each name")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Named(entries))
            }
        }
        deserializer.deserialize_map(Tables(PhantomData))
    }
}

/// A step that is done or not, and with which options: `true`, `false`, or a table.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Switch<T>(pub(in crate::cli) Option<T>);

impl<'de, T: Deserialize<'de> + Default> Deserialize<'de> for Switch<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OnOrTable<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de> + Default> Visitor<'de> for OnOrTable<T> {
            type Value = Switch<T>;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("true, false, or a table of options")
            }
            fn visit_bool<E>(self, on: bool) -> Result<Self::Value, E> {
                Ok(Switch(on.then(T::default)))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(|table| Switch(Some(table)))
            }
        }
        deserializer.deserialize_any(OnOrTable(PhantomData))
    }
}

/// A command: words that are started without a shell, or a line for `sh -c`.
#[derive(Clone, PartialEq, Eq)]
pub(in crate::cli) enum Words {
    /// The program and its arguments.
    Plain(Vec<String>),
    /// What a shell reads.
    Shell(String),
}

impl fmt::Debug for Words {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Arguments may hold a password.
        write!(formatter, "Words({})", self.name())
    }
}

impl Words {
    /// What it is called in messages: arguments may hold a password, and are not shown.
    pub(in crate::cli) fn name(&self) -> &str {
        match self {
            Self::Plain(words) => words.first().map_or("", String::as_str),
            Self::Shell(line) => line.split_whitespace().next().unwrap_or("sh"),
        }
    }
}

/// A command to run at a step of a job.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Hook {
    pub(in crate::cli) command: Words,
    pub(in crate::cli) timeout: Option<Duration>,
}

struct WordsOrTable;

impl<'de> Visitor<'de> for WordsOrTable {
    type Value = Hook;
    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(
            "a command: words such as [\"docker\", \"stop\", \"app\"], a line for the shell, or a table",
        )
    }
    fn visit_str<E: serde::de::Error>(self, line: &str) -> Result<Hook, E> {
        if line.trim().is_empty() {
            return Err(E::custom("a command is empty"));
        }
        Ok(Hook { command: Words::Shell(line.to_owned()), timeout: None })
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Hook, A::Error> {
        let mut words: Vec<String> = Vec::new();
        while let Some(word) = list.next_element()? {
            words.push(word);
        }
        match words.first() {
            Some(program) if !program.is_empty() => Ok(Hook { command: Words::Plain(words), timeout: None }),
            _ => Err(A::Error::custom("a command is empty")),
        }
    }
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Hook, A::Error> {
        let table = super::types::HookTable::deserialize(MapAccessDeserializer::new(map))?;
        Ok(Hook { command: table.command.command, timeout: table.timeout })
    }
}

impl<'de> Deserialize<'de> for Hook {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WordsOrTable)
    }
}

/// A password that stands in the file itself; wiped when dropped.
#[derive(Clone)]
pub(in crate::cli) struct Secret(pub(in crate::cli) Zeroizing<String>);

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(Zeroizing::new(text)))
    }
}

/// Whom to tell how a job goes: one address, or one for each message.
#[derive(Clone)]
pub(in crate::cli) struct Address(pub(in crate::cli) String);

impl fmt::Debug for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Whoever knows it can send messages in the job's name.
        formatter.write_str("Address")
    }
}

fn parse_address(text: &str) -> Result<Address, String> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let is_address = |rest: &str| {
        !rest.is_empty() && !rest.starts_with('/') && rest.bytes().all(|byte| byte.is_ascii_graphic())
    };
    match rest {
        Some(rest) if is_address(rest) => Ok(Address(text.to_owned())),
        _ => Err("give an address that begins with https:// or http://".to_owned()),
    }
}

/// A whole number of seconds, minutes, hours, days or weeks.
pub(in crate::cli) fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || "give a duration such as 30s, 10m (minutes), 26h, 2d or 1w".to_owned();
    let split = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let seconds = match unit {
        "" | "s" => 1,
        "m" | "min" => 60,
        "h" => 3600,
        "d" => 86_400,
        "w" => 604_800,
        _ => return Err(wrong()),
    };
    let number = number.parse::<u64>().ok().and_then(|number| number.checked_mul(seconds));
    // No clock counts further.
    number
        .filter(|seconds| (1..=u64::from(u32::MAX)).contains(seconds))
        .map(Duration::from_secs)
        .ok_or_else(wrong)
}

fn parse_path(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    if path.is_absolute() { Ok(path) } else { Err("give an absolute path, such as /srv/backup".to_owned()) }
}

#[expect(clippy::unnecessary_wraps, reason = "it is one of the functions that read values")]
fn parse_tags(text: &str) -> Result<Vec<String>, String> {
    Ok(text.split(',').filter(|tag| !tag.is_empty()).map(str::to_owned).collect())
}

fn parse_seconds(text: &str) -> Result<u64, String> {
    parse_duration(text).map(|duration| duration.as_secs())
}

/// A text or a whole number, read by a function.
struct Scalar<T> {
    expects: &'static str,
    parse: fn(&str) -> Result<T, String>,
}

impl<T> Visitor<'_> for Scalar<T> {
    type Value = T;
    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.expects)
    }
    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        (self.parse)(text).map_err(E::custom)
    }
    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }
}

/// A text that is read by a function; a number is none.
struct Text<T>(Scalar<T>);

impl<T> Visitor<'_> for Text<T> {
    type Value = T;
    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0.expects)
    }
    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        self.0.visit_str(text)
    }
}

macro_rules! readers {
    ($($name:ident, $form:ident: $type:ty = $parse:expr, $expects:literal;)*) => {$(
        pub(super) fn $name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<$type>, D::Error> {
            let scalar = Scalar { expects: $expects, parse: $parse };
            readers!(@ $form deserializer, scalar).map(Some)
        }
    )*};
    (@ number $deserializer:ident, $scalar:ident) => { $deserializer.deserialize_any($scalar) };
    (@ text $deserializer:ident, $scalar:ident) => { $deserializer.deserialize_any(Text($scalar)) };
}

readers! {
    amount, number: Amount = forget::parse_amount, "a number, or \"unlimited\"";
    reach, text: Reach = forget::parse_reach, "a stretch of time such as \"1y5m7d2h\"";
    bytes, number: u64 = size::parse_size, "a size such as \"500M\"";
    limit, number: Limit = prune::parse_limit, "per cent such as \"5%\", a size, or \"unlimited\"";
    subset, text: Subset = check::parse_subset, "a part such as \"1/7\", a share such as \"5%\", or a size";
    time_zone, text: TimeZone = zone::parse, "a time zone such as \"Europe/Berlin\"";
    group_by, text: GroupBy = forget::parse_group_by, "a list of host, job, paths, tags";
    host, text: String = backup::parse_host, "the name of a host";
    path, text: PathBuf = parse_path, "an absolute path";
    duration, number: Duration = parse_duration, "a duration such as \"10m\"";
    seconds, number: u64 = parse_seconds, "a duration such as \"30s\"";
    place, text: Vec<u8> = crate::cli::stream::parse_place, "the name of a file in the snapshot";
    server, text: ServerAddress = parse_server, "an address such as \"postgresql://USER@HOST/DATABASE\"";
    address, text: Address = parse_address, "an address such as \"https://hc-ping.com/UUID\"";
}

fn parse_server(text: &str) -> Result<ServerAddress, String> {
    ServerAddress::parse(text).map_err(|error| error.chain())
}

/// An item of a list, read by a function.
macro_rules! items {
    ($($name:ident: $type:ty = $parse:expr, $expects:literal;)*) => {$(
        pub(super) fn $name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<$type>, D::Error> {
            struct Item($type);
            impl<'de> Deserialize<'de> for Item {
                fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                    let scalar = Scalar { expects: $expects, parse: $parse };
                    deserializer.deserialize_any(Text(scalar)).map(Item)
                }
            }
            Vec::<Item>::deserialize(deserializer).map(|items| items.into_iter().map(|item| item.0).collect())
        }
    )*};
}

items! {
    paths: PathBuf = parse_path, "an absolute path";
    tags: String = backup::parse_tag, "a tag";
    tag_lists: Vec<String> = parse_tags, "a tag, or tags with commas between them";
    markers: Marker = backup::parse_marker, "the name of a file, or NAME:HEADER";
    mappings: (String, PathBuf) = backup::parse_map, "a text such as \"/attachments=/srv/attachments\"";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_one_unit() {
        for (text, seconds) in [
            ("90", 90),
            ("30s", 30),
            ("10m", 600),
            ("10min", 600),
            ("26h", 93_600),
            ("2d", 172_800),
            ("1w", 604_800),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "0", "h", "1.5h", "-1h", "1h30m", "1 h", "1y", "99999999999999999999w", "9999999999"]
        {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_address_is_of_the_web_and_never_shown() {
        let address = parse_address("https://hc-ping.com/secret").unwrap();
        assert!(!format!("{address:?}").contains("secret"));
        for text in ["", "https://", "ftp://x", "hc-ping.com/x", "https:///x", "http://a b"] {
            assert!(parse_address(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_a_command_is_called_has_none_of_its_arguments() {
        let plain = Words::Plain(vec!["curl".into(), "secret".into()]);
        let shell = Words::Shell(" curl secret".into());
        assert_eq!((plain.name(), shell.name()), ("curl", "curl"));
        assert!(!format!("{plain:?}{shell:?}").contains("secret"));
    }
}
