//! Options that say what of a file system is stored and what is left out.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::lists::{self, Stdin};
use crate::cli::global::variable;
use crate::cli::size::parse_size;
use crate::error::{Error, Result};
use crate::report::{Finding, Reporter, printable};
use crate::source::files::{self, ExcludeOptions, Marker, Plan};

/// Most bytes of paths, or of patterns, that a manifest takes: all of it must stay within the format's limit.
const TEXT_MAX: usize = 4 << 20;
/// Most patterns, and most paths: both, and all else, have to find room in a manifest.
const ITEMS_MAX: usize = crate::limits::SNAPSHOT_ITEMS_MAX / 4;

/// Options that say what is stored and what is left out.
#[derive(clap::Args, Default)]
pub(super) struct Selection {
    /// Leave out what matches this pattern, with restic's rules; may be repeated
    #[arg(
        short,
        long,
        value_name = "PATTERN",
        help_heading = "What to leave out",
        conflicts_with = "stream"
    )]
    pub(super) exclude: Vec<String>,
    /// The same, capital and small letters being equal
    #[arg(long, value_name = "PATTERN", help_heading = "What to leave out", conflicts_with = "stream")]
    pub(super) iexclude: Vec<String>,
    /// Patterns from a file, a line each; $NAME is taken from the environment, # begins a comment; may be repeated
    #[arg(long, value_name = "FILE", help_heading = "What to leave out", conflicts_with = "stream")]
    pub(super) exclude_file: Vec<PathBuf>,
    /// The same, capital and small letters being equal
    #[arg(long, value_name = "FILE", help_heading = "What to leave out", conflicts_with = "stream")]
    pub(super) iexclude_file: Vec<PathBuf>,
    /// Leave out the contents of folders that hold a CACHEDIR.TAG with its signature
    #[arg(long, help_heading = "What to leave out", conflicts_with = "stream")]
    pub(super) exclude_caches: bool,
    /// Leave out the contents of folders that hold this file, beginning with HEADER if one is given; may be repeated
    #[arg(long, value_name = "NAME[:HEADER]", help_heading = "What to leave out", conflicts_with = "stream", value_parser = parse_marker)]
    pub(super) exclude_if_present: Vec<Marker>,
    /// Leave out files of more bytes than this; k, M, G and T mean 1024 and its powers
    #[arg(long, value_name = "SIZE", help_heading = "What to leave out", conflicts_with = "stream", value_parser = parse_size)]
    pub(super) exclude_larger_than: Option<u64>,
    /// Stay on the file systems of what is named; a folder where another is mounted is stored empty
    #[arg(short = 'x', long, help_heading = "What to leave out", conflicts_with = "stream")]
    pub(super) one_file_system: bool,
    /// Store the paths that patterns in a file name, a line each; # begins a comment, - is standard input
    #[arg(long, value_name = "FILE", help_heading = "Paths from lists", conflicts_with_all = ["service", "stream"])]
    pub(super) files_from: Vec<PathBuf>,
    /// Store the paths in a file, a line each, as they are
    #[arg(long, value_name = "FILE", help_heading = "Paths from lists", conflicts_with_all = ["service", "stream"])]
    pub(super) files_from_verbatim: Vec<PathBuf>,
    /// Store the paths in a file, each ended by a zero byte, such as those of `find -print0`
    #[arg(long, value_name = "FILE", help_heading = "Paths from lists", conflicts_with_all = ["service", "stream"])]
    pub(super) files_from_raw: Vec<PathBuf>,
}

pub(in crate::cli) fn parse_marker(text: &str) -> std::result::Result<Marker, String> {
    Marker::parse(text).map_err(|error| match error.next_step() {
        Some(hint) => format!("{error}; {hint}"),
        None => error.to_string(),
    })
}

impl Selection {
    /// Whether a list of paths comes from standard input.
    pub(super) fn reads_stdin(&self) -> bool {
        let lists = self.files_from.iter().chain(&self.files_from_verbatim).chain(&self.files_from_raw);
        lists.into_iter().any(|file| file.as_os_str() == "-")
    }

    /// What is left out, patterns of files after those of the command line.
    pub(super) fn excludes(&self) -> Result<ExcludeOptions> {
        let mut options = ExcludeOptions {
            patterns: self.exclude.clone(),
            patterns_any_case: self.iexclude.clone(),
            caches: self.exclude_caches,
            markers: self.exclude_if_present.clone(),
            larger_than: self.exclude_larger_than,
            one_file_system: self.one_file_system,
        };
        for file in &self.exclude_file {
            options.patterns.extend(patterns(file)?);
        }
        for file in &self.iexclude_file {
            options.patterns_any_case.extend(patterns(file)?);
        }
        let all = options.patterns.iter().chain(&options.patterns_any_case);
        if all.clone().map(String::len).sum::<usize>() > TEXT_MAX || all.count() > ITEMS_MAX {
            return Err(Error::refused("there are too many exclude patterns for one snapshot to keep")
                .hint("name folders instead of the files in them"));
        }
        Ok(options)
    }

    /// Adds the paths that lists name; gives the number of problems found with them.
    pub(super) fn add_listed(&self, plan: &mut Plan, reporter: &dyn Reporter) -> Result<u64> {
        let mut stdin = Stdin::default();
        let mut problems = 0u64;
        for file in &self.files_from {
            for (number, line) in lists::lines_without_comments(&stdin.read(file)?) {
                problems = problems.saturating_add(add_pattern(plan, file, number, &line, reporter)?);
            }
        }
        for file in &self.files_from_verbatim {
            for (number, line) in lists::lines(&stdin.read(file)?) {
                add(plan, file, number, &line)?;
            }
        }
        for file in &self.files_from_raw {
            for (number, name) in lists::raw(&stdin.read(file)?, file)? {
                add(plan, file, number, &name)?;
            }
        }
        let bytes: usize = plan.hosts().map(|(_, host)| host.as_os_str().len()).sum();
        if bytes > TEXT_MAX || plan.hosts().count() > ITEMS_MAX {
            return Err(Error::refused("the lists name more paths than one snapshot can keep")
                .hint("name the folders that the files lie in, and exclude what is not wanted"));
        }
        Ok(problems)
    }
}

fn add(plan: &mut Plan, file: &Path, number: usize, path: &[u8]) -> Result<()> {
    let path = Path::new(std::ffi::OsStr::from_bytes(path));
    plan.add_listed_path(path).map_err(|error| lists::at(file, number, error))
}

/// Adds what a pattern names. That it names nothing is a problem: somebody expected something there.
fn add_pattern(
    plan: &mut Plan,
    file: &Path,
    number: usize,
    line: &[u8],
    reporter: &dyn Reporter,
) -> Result<u64> {
    let expanded = files::expand(line).map_err(|error| lists::at(file, number, error))?;
    let mut problems = expanded.unreadable.len() as u64;
    for (folder, error) in &expanded.unreadable {
        reporter.report(Finding::problem(printable(folder.as_os_str().as_bytes()), error.to_string()));
    }
    if expanded.paths.is_empty() {
        problems = problems.saturating_add(1);
        let subject = format!("{}, line {number}", lists::shown(file));
        let cause = format!("the pattern {} matches nothing", printable(line));
        reporter.report(Finding::problem(subject, cause));
    }
    for path in &expanded.paths {
        add(plan, file, number, path.as_os_str().as_bytes())?;
    }
    Ok(problems)
}

/// The patterns in a file.
pub(in crate::cli) fn patterns(file: &Path) -> Result<Vec<String>> {
    let mut patterns = Vec::new();
    for (number, line) in lists::lines_without_comments(&lists::read(file)?) {
        let pattern = String::from_utf8(line)
            .map_err(|_| {
                Error::refused("this pattern is not text").hint("let `?` and `*` stand for other bytes")
            })
            .and_then(|line| lists::expand_variables(&line, &|name| variable(name)))
            .and_then(|pattern| files::check_pattern(&pattern).map(|()| pattern))
            .map_err(|error| lists::at(file, number, error))?;
        patterns.push(pattern);
    }
    Ok(patterns)
}
