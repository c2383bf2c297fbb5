//! The file itself: which one, whether it may be trusted, and what it comes to.
//!
//! Invariants: what others may write is not read, for its commands run as whoever reads it; what holds a password is not read
//! where others may read it. Once read, every job has a repository and something to back up.

use std::collections::HashSet;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use clap::Args;
use zeroize::Zeroizing;

use super::fault::{at, nearest, of_parser};
use super::types::{Checking, DatabaseSource, File, Job, Pruning, RepositoryTable, Retention};
use crate::cli::backup::databases::Kind;
use crate::cli::global::variable;
use crate::error::{Error, Result};
use crate::report::printable;
use crate::source::server::address::Address;

/// Where the configuration lies unless somebody says otherwise.
const DEFAULT: &str = "/etc/strongroom/strongroom.toml";
/// Longest configuration that is read, in bytes.
const FILE_MAX: u64 = 1 << 20;
/// Longest name of a job: it names files, too.
const NAME_MAX: usize = 64;

/// Which configuration is meant.
#[derive(Args, Debug)]
pub(in crate::cli) struct ConfigFile {
    /// The configuration [environment: STRONGROOM_CONFIG] [default: /etc/strongroom/strongroom.toml]
    #[arg(short, long = "config", value_name = "FILE")]
    config: Option<PathBuf>,
}

impl ConfigFile {
    /// The file, and whether somebody named it.
    pub(in crate::cli) fn place(&self) -> (PathBuf, bool) {
        let named = self.config.clone().or_else(|| variable("STRONGROOM_CONFIG").map(PathBuf::from));
        named.map_or_else(|| (PathBuf::from(DEFAULT), false), |path| (path, true))
    }

    /// Whether a flag names it.
    pub(in crate::cli) fn is_flagged(&self) -> bool {
        self.config.is_some()
    }

    /// Reads it.
    pub(in crate::cli) fn read(&self) -> Result<Config> {
        let (path, named) = self.place();
        let missing = |error: Error| {
            if named {
                error
            } else {
                error.hint(
            "`strongroom config init --vaultwarden DATA_FOLDER` (or --authentik COMPOSE_FOLDER) begins one; another is named by --config",
        )
            }
        };
        let (text, mode) = read(&path).map_err(missing)?;
        Config::parse(path, &text, mode)
    }
}

/// A configuration in which every job has what it needs.
#[derive(Debug)]
pub(in crate::cli) struct Config {
    /// Where it lies, without links, so that whoever names it otherwise means the same.
    pub(in crate::cli) path: PathBuf,
    /// What stands in it.
    pub(in crate::cli) file: File,
}

/// The text, and the file's mode.
fn read(path: &Path) -> Result<(Zeroizing<String>, u32)> {
    let shown = printable(path.as_os_str().as_encoded_bytes());
    let fail = |error| Error::io(format!("cannot read the configuration {shown}"), error);
    let file = std::fs::File::open(path).map_err(fail)?;
    let metadata = file.metadata().map_err(fail)?;
    if !metadata.is_file() {
        return Err(Error::refused(format!("the configuration {shown} is no regular file"))
            .hint("name a file by --config"));
    }
    if metadata.mode() & 0o022 != 0 {
        return Err(Error::refused(format!("others may write to the configuration {shown}"))
            .hint(format!("its commands run as you: look at it, and then `chmod go-w {shown}`")));
    }
    let me = rustix::process::geteuid().as_raw();
    if metadata.uid() != me && metadata.uid() != 0 {
        return Err(Error::refused(format!("the configuration {shown} belongs to another user"))
            .hint(format!("its commands run as you: look at it, and then `chown {me} {shown}`")));
    }
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(FILE_MAX.saturating_add(1)).read_to_end(&mut bytes).map_err(fail)?;
    if bytes.len() as u64 > FILE_MAX {
        return Err(Error::refused(format!("the configuration {shown} is too long"))
            .hint("check that it is the right file"));
    }
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok((Zeroizing::new(text.to_owned()), metadata.mode())),
        Err(_) => Err(Error::refused(format!("the configuration {shown} is not UTF-8"))
            .hint("save it as UTF-8, or check that it is the right file")),
    }
}

impl Config {
    /// Reads the text of a file of this mode.
    fn parse(path: PathBuf, text: &str, mode: u32) -> Result<Self> {
        let file: File = toml::from_str(text).map_err(|error| of_parser(&path, text, &error))?;
        let has_secret =
            |table: &RepositoryTable| table.password.is_some() || table.maintain_password.is_some();
        let bears_password = |source: &DatabaseSource| source.url.as_ref().is_some_and(Address::has_password);
        let in_jobs = file
            .jobs
            .0
            .iter()
            .any(|(_, job)| job.database_sources().any(|(_, source)| bears_password(source)));
        if mode & 0o044 != 0 && (in_jobs || file.repositories.0.iter().any(|(_, table)| has_secret(table))) {
            let shown = printable(path.as_os_str().as_encoded_bytes());
            return Err(Error::refused(format!("others may read the passwords in {shown}"))
                .hint(format!("`chmod 600 {shown}`, or name a file by password-file")));
        }
        for (name, table) in &file.repositories.0 {
            check_repository(table).map_err(|(message, hint)| {
                let message = format!("repository {}: {message}", shown(name.get_ref()));
                at(&path, text, Some(name.span()), &message).hint(hint)
            })?;
        }
        if file.jobs.0.is_empty() {
            return Err(at(&path, text, None, "there is no job")
                .hint("add a table [jobs.NAME]; docs/configuration.md has examples"));
        }
        for (name, job) in &file.jobs.0 {
            check_job(&file, name.get_ref(), job).map_err(|(message, hint)| {
                let message = format!("job {}: {message}", shown(name.get_ref()));
                at(&path, text, Some(name.span()), &message).hint(hint)
            })?;
        }
        let path = path.canonicalize().unwrap_or(path);
        Ok(Self { path, file })
    }

    /// The jobs of these names, or all, in the order of the file.
    pub(in crate::cli) fn jobs(&self, names: &[String]) -> Result<Vec<(&str, &Job)>> {
        let known = || self.file.jobs.0.iter().map(|(name, _)| name.get_ref().as_str());
        for name in names {
            if !known().any(|known| known == name) {
                let all = known().collect::<Vec<_>>().join(", ");
                let hint = match nearest(name, known()) {
                    Some(near) => format!("did you mean {near}?"),
                    None => format!("its jobs are: {all}"),
                };
                return Err(
                    Error::refused(format!("the configuration has no job {}", shown(name))).hint(hint)
                );
            }
        }
        let all = self.file.jobs.0.iter().map(|(name, job)| (name.get_ref().as_str(), job));
        Ok(all.filter(|(name, _)| names.is_empty() || names.iter().any(|wanted| wanted == name)).collect())
    }

    /// The retention of a job, if it has one.
    pub(in crate::cli) fn retention<'c>(&'c self, job: &'c Job) -> Option<&'c Retention> {
        retention_of(&self.file, job)
    }

    /// How to prune after a job, if at all.
    pub(in crate::cli) fn pruning<'c>(&'c self, job: &'c Job) -> Option<&'c Pruning> {
        job.prune.as_ref().or(self.file.prune.as_ref())?.0.as_ref()
    }

    /// How to check after a job, if at all.
    pub(in crate::cli) fn checking<'c>(&'c self, job: &'c Job) -> Option<&'c Checking> {
        checking_of(&self.file, job)
    }

    /// The name and table of a job's repository.
    pub(in crate::cli) fn repository(&self, job: &Job) -> Result<(&str, &RepositoryTable)> {
        let found = repository_of(&self.file, job);
        found.ok_or_else(|| Error::refused("a job has no repository").hint("name one by `repository`"))
    }
}

fn retention_of<'f>(file: &'f File, job: &'f Job) -> Option<&'f Retention> {
    match &job.retention {
        Some(switch) => switch.0.as_ref(),
        None => file.retention.as_ref(),
    }
}

fn checking_of<'f>(file: &'f File, job: &'f Job) -> Option<&'f Checking> {
    job.check.as_ref().or(file.check.as_ref())?.0.as_ref()
}

fn repository_of<'f>(file: &'f File, job: &Job) -> Option<(&'f str, &'f RepositoryTable)> {
    let mut all = file.repositories.0.iter().map(|(name, table)| (name.get_ref().as_str(), table));
    match &job.repository {
        Some(wanted) => all.find(|(name, _)| name == wanted),
        None => all.next().filter(|_| all.next().is_none()),
    }
}

fn shown(name: &str) -> String {
    printable(name.as_bytes())
}

/// What is wrong, and what to do.
type Wrong = (String, String);

fn wrong<T>(message: &str, hint: &str) -> Result<T, Wrong> {
    Err((message.to_owned(), hint.to_owned()))
}

fn check_repository(table: &RepositoryTable) -> Result<(), Wrong> {
    if table.path.is_none() {
        return wrong("it has no path", "add `path`, the folder of the repository");
    }
    let many = |named: &[bool]| named.iter().filter(|named| **named).count() > 1;
    let keys = [
        table.key_file.is_some(),
        table.password_file.is_some(),
        table.password_command.is_some(),
        table.password.is_some(),
    ];
    let maintain = [
        table.maintain_key_file.is_some(),
        table.maintain_password_file.is_some(),
        table.maintain_password_command.is_some(),
        table.maintain_password.is_some(),
    ];
    if many(&keys) || many(&maintain) {
        return wrong(
            "more than one key opens it",
            "name one of key-file, password-file, password-command, password",
        );
    }
    if !keys.contains(&true) {
        return wrong("it names no key", "add key-file, password-file or password-command");
    }
    Ok(())
}

fn check_job(file: &File, name: &str, job: &Job) -> Result<(), Wrong> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if name.is_empty() || name.len() > NAME_MAX || name.starts_with('.') || !name.bytes().all(plain) {
        return wrong(
            "its name cannot be that of a job",
            "take up to 64 letters, digits, `-`, `_` and `.`, and no `.` first",
        );
    }
    if repository_of(file, job).is_none() {
        return check_repository_name(file, job);
    }
    check_sources(job)?;
    if checking_of(file, job).is_some_and(|check| check.read_data && check.read_data_subset.is_some()) {
        return wrong(
            "both read-data and read-data-subset are given",
            "read-data reads everything: take one of them",
        );
    }
    if retention_of(file, job).is_some_and(|retention| retention.policy().is_empty()) {
        return wrong(
            "its retention has no rule",
            "add rules such as keep-daily = 7, or say retention = false",
        );
    }
    Ok(())
}

fn check_repository_name(file: &File, job: &Job) -> Result<(), Wrong> {
    let known = || file.repositories.0.iter().map(|(name, _)| name.get_ref().as_str());
    match &job.repository {
        Some(name) => {
            let hint = match nearest(name, known()) {
                Some(near) => format!("did you mean {near}?"),
                None => format!("add a table [repositories.{}]", shown(name)),
            };
            Err((format!("there is no repository {}", shown(name)), hint))
        }
        None if known().next().is_none() => {
            wrong("there is no repository", "add a table [repositories.NAME] with `path` and `key-file`")
        }
        None => wrong("it does not say which repository", "name one by `repository`"),
    }
}

fn check_sources(job: &Job) -> Result<(), Wrong> {
    let lists = [&job.paths, &job.files_from, &job.files_from_verbatim, &job.files_from_raw];
    let has_paths = lists.iter().any(|list| !list.is_empty());
    let services = [(job.vaultwarden.is_some(), "vaultwarden"), (job.authentik.is_some(), "authentik")];
    let mut services = services.iter().filter(|(given, _)| *given).map(|(_, key)| *key);
    let service = services.next();
    if let Some(other) = service.and_then(|_| services.next().or(has_paths.then_some("paths"))) {
        let service = service.unwrap_or_default();
        return Err((format!("it has both {service} and {other}"), "make two jobs of it".to_owned()));
    }
    let has_dumps = !job.commands.is_empty() || job.database_sources().next().is_some();
    if service.is_none() && !has_paths && !has_dumps {
        return wrong(
            "there is nothing to back up",
            "add vaultwarden, authentik, paths, a database server or commands",
        );
    }
    job.database_sources().try_for_each(|(kind, source)| check_database(kind, source))?;
    let about_vaultwarden = [
        (job.env_file.is_some(), "env-file"),
        (job.no_sends, "no-sends"),
        (job.with_icon_cache, "with-icon-cache"),
        (job.with_tmp, "with-tmp"),
        (job.with_built_in_backups, "with-built-in-backups"),
    ];
    if let Some((_, key)) = about_vaultwarden.iter().find(|(given, _)| *given && job.vaultwarden.is_none()) {
        return Err((
            format!("{key} is about a Vaultwarden"),
            "name its data folder by `vaultwarden`".to_owned(),
        ));
    }
    let about_authentik = [
        (job.compose.is_some(), "compose"),
        (job.no_redis, "no-redis"),
        (job.without_transient, "without-transient"),
    ];
    if let Some((_, key)) = about_authentik.iter().find(|(given, _)| *given && job.authentik.is_none()) {
        return Err((
            format!("{key} is about an authentik"),
            "name the folder of its compose file by `authentik`".to_owned(),
        ));
    }
    let about_services = [(!job.map.is_empty(), "map"), (!job.prefix.is_empty(), "prefix")];
    if let Some((_, key)) = about_services.iter().find(|(given, _)| *given && service.is_none()) {
        return Err((
            format!("{key} is about a service"),
            "name one by `vaultwarden` or `authentik`".to_owned(),
        ));
    }
    if job.compose.as_ref().is_some_and(Vec::is_empty) {
        return wrong("compose is empty", "give it as [\"docker\", \"compose\"]");
    }
    if job.authentik.is_some() {
        let many = [(Kind::Postgres, &job.postgres), (Kind::Redis, &job.redis)];
        if let Some((kind, _)) = many.iter().find(|(_, sources)| sources.len() > 1) {
            return Err((
                format!("it names more than one server by {}", kind.key()),
                "with authentik it says where authentik's own is reached: make two jobs of it".to_owned(),
            ));
        }
        if !job.mysql.is_empty() {
            return wrong("authentik has no MariaDB or MySQL", "make two jobs of it");
        }
        if job.no_redis && !job.redis.is_empty() {
            return wrong("it has both no-redis and redis", "leave one of them");
        }
    }
    if job.vaultwarden.is_some() && job.no_sqlite {
        return wrong("no-sqlite does not go with vaultwarden", "leave it out: its database is to be proved");
    }
    let mut places = HashSet::new();
    for source in &job.commands {
        match (&source.name, source.command.first()) {
            (None, _) => return wrong("a command has no name", "add `name`, its file in the snapshot"),
            (_, None) => {
                return wrong(
                    "a command is empty",
                    "add `command`, such as [\"pg_dump\", \"-Fc\", \"-Z0\", \"app\"]",
                );
            }
            (Some(place), Some(_)) if !places.insert(place.clone()) => {
                let place = printable(place);
                return Err((
                    format!("two commands are named {place}"),
                    "give each a name of its own".to_owned(),
                ));
            }
            _ => {}
        }
    }
    Ok(())
}

fn check_database(kind: Kind, source: &DatabaseSource) -> Result<(), Wrong> {
    let Some(url) = &source.url else { return wrong("a database server has no address", "add `url`") };
    if !kind.schemes().contains(&url.scheme.as_str()) {
        return Err((
            format!(
                "a server in the list {} has an address that begins with {}://",
                kind.key(),
                shown(&url.scheme)
            ),
            format!("its address begins with {}://", kind.schemes().join(":// or ")),
        ));
    }
    let passwords = [url.has_password(), source.password_file.is_some(), source.password_command.is_some()];
    if passwords.iter().filter(|given| **given).count() > 1 {
        return wrong("a database server has more than one password", "leave one of them");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPOSITORY: &str = "[repositories.main]\npath = '/r'\nkey-file = '/k'\n";

    fn parse(text: &str) -> Result<Config> {
        Config::parse(PathBuf::from("/no/such/file.toml"), &format!("{REPOSITORY}{text}"), 0o600)
    }

    #[test]
    fn jobs_stand_in_the_order_of_the_file() {
        let config =
            parse("[jobs.z]\npaths=['/a']\n[jobs.a]\npaths=['/b']\n[jobs.m]\npaths=['/c']\n").unwrap();
        let names = |wanted: &[&str]| -> Vec<String> {
            let wanted: Vec<String> = wanted.iter().map(|name| (*name).to_owned()).collect();
            config.jobs(&wanted).unwrap().iter().map(|(name, _)| (*name).to_owned()).collect()
        };
        assert_eq!(names(&[]), ["z", "a", "m"]);
        assert_eq!(names(&["m", "z"]), ["z", "m"]);
        assert_eq!(config.jobs(&["n".to_owned()]).unwrap_err().next_step(), Some("its jobs are: z, a, m"));
    }

    #[test]
    fn what_makes_no_sense_is_named_with_its_place() {
        for (text, words) in [
            ("[jobs.a]\n", "line 4, column 7: job a: there is nothing to back up"),
            ("[jobs.a]\npaths = ['b']\n", "line 5, column 10: give an absolute path"),
            ("[jobs.a]\npaths = '/b'\n", "line 5, column 9: invalid type"),
            ("[jobs.a]\npaths = ['/b']\nrepository = 'mian'\n", "there is no repository mian"),
            ("[jobs.a]\npaths = ['/b']\nretention = { timezone = 'UTC' }\n", "its retention has no rule"),
            (
                "[jobs.a]\npaths = ['/b']\nretention = { keep-daily = 0 }\n",
                "a rule that keeps nothing is none",
            ),
            ("[jobs.a]\npaths = ['/b']\nno-sends = true\n", "no-sends is about a Vaultwarden"),
            ("[jobs.a]\npaths = ['/b']\nvaultwarden = '/v'\n", "both vaultwarden and paths"),
            ("[jobs.a]\npaths = ['/b']\ncheck = 5\n", "expected true, false, or a table"),
            ("[jobs.a]\npaths = ['/b']\npaths = ['/c']\n", "duplicate key"),
            ("[jobs.'a b']\npaths = ['/b']\n", "its name cannot be that of a job"),
            ("[[jobs.a.commands]]\nname = 'x'\n", "a command is empty"),
            ("[jobs.a]\npaths = ['/b']\nbefore = [[]]\n", "a command is empty"),
            ("[jobs.a]\npaths = ['/b']\nping = 'hc'\n", "begins with https://"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.to_string().contains(words), "{text}: {error}");
            assert!(error.next_step().is_some(), "{text}");
        }
        let error = parse("[jobs.a]\npaths = ['/b']\nretention = { keep-dayly = 7 }\n").unwrap_err();
        assert!(error.to_string().contains("line 6, column 15: unknown key keep-dayly"), "{error}");
        assert_eq!(error.next_step(), Some("did you mean keep-daily?"));
    }

    #[test]
    fn passwords_are_refused_where_others_may_read_them() {
        let text = "[repositories.main]\npath='/r'\npassword='hunter2'\n[jobs.a]\npaths=['/b']\n";
        let parsed = |mode| Config::parse(PathBuf::from("/x"), text, mode);
        assert!(parsed(0o100_600).is_ok() && !format!("{:?}", parsed(0o600).unwrap()).contains("hunter2"));
        assert!(parsed(0o100_640).unwrap_err().to_string().contains("others may read"));
    }

    #[test]
    fn one_address_stands_for_three() {
        let config = parse(
            "[jobs.a]\npaths=['/b']\nping='https://hc/u/'\n[jobs.b]\npaths=['/b']\n\
                            ping={url='https://k/u?x=1', start='https://s', timeout='5s'}\n",
        )
        .unwrap();
        let all = config.jobs(&[]).unwrap();
        let addresses = |place: usize| {
            let ping = all[place].1.ping.clone().unwrap();
            [ping.start, ping.success, ping.failure].map(|address| address.unwrap().0)
        };
        assert_eq!(addresses(0), ["https://hc/u/start", "https://hc/u", "https://hc/u/fail"]);
        assert_eq!(addresses(1), ["https://s", "https://k/u?x=1", "https://k/u/fail?x=1"]);
    }
}
