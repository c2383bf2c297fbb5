//! What a configuration may say: a struct for each table, a field for each key.
//!
//! Keys are named as the options that they stand for. `schema.json` describes the same, and a test holds the two against each
//! other; `docs/configuration.md` says what each means.
//!
//! Invariant: an unknown key is an error, so that a slip of the finger leaves nothing out in silence.

use std::path::PathBuf;
use std::time::Duration;

use jiff::tz::TimeZone;
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};

use super::value::{self, Address, Hook, Named, Secret, Switch};
use crate::cli::backup::databases::Kind;
use crate::operation::check::Subset;
use crate::operation::forget::{Amount, GroupBy, Policy, Reach};
use crate::operation::prune::Limit;
use crate::source::files::Marker;
use crate::source::server::address;

/// The whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(in crate::cli) struct File {
    pub(in crate::cli) repositories: Named<RepositoryTable>,
    pub(in crate::cli) jobs: Named<Job>,
    pub(in crate::cli) retention: Option<Retention>,
    pub(in crate::cli) prune: Option<Switch<Pruning>>,
    pub(in crate::cli) check: Option<Switch<Checking>>,
    #[serde(deserialize_with = "value::duration")]
    pub(in crate::cli) max_age: Option<Duration>,
    #[serde(deserialize_with = "value::path")]
    pub(in crate::cli) metrics: Option<PathBuf>,
}

/// A repository, and what opens it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(in crate::cli) struct RepositoryTable {
    #[serde(deserialize_with = "value::path")]
    pub(in crate::cli) path: Option<PathBuf>,
    #[serde(deserialize_with = "value::path")]
    pub(in crate::cli) key_file: Option<PathBuf>,
    #[serde(deserialize_with = "value::path")]
    pub(in crate::cli) password_file: Option<PathBuf>,
    pub(in crate::cli) password_command: Option<String>,
    pub(in crate::cli) password: Option<Secret>,
    #[serde(deserialize_with = "value::path")]
    pub(in crate::cli) maintain_key_file: Option<PathBuf>,
    #[serde(deserialize_with = "value::path")]
    pub(in crate::cli) maintain_password_file: Option<PathBuf>,
    pub(in crate::cli) maintain_password_command: Option<String>,
    pub(in crate::cli) maintain_password: Option<Secret>,
    #[serde(deserialize_with = "value::path")]
    pub(in crate::cli) cache_dir: Option<PathBuf>,
}

/// What is backed up, and what is done besides.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(in crate::cli) struct Job {
    pub(in crate::cli) repository: Option<String>,
    #[serde(deserialize_with = "value::paths")]
    pub(in crate::cli) paths: Vec<PathBuf>,
    #[serde(deserialize_with = "value::paths")]
    pub(in crate::cli) files_from: Vec<PathBuf>,
    #[serde(deserialize_with = "value::paths")]
    pub(in crate::cli) files_from_verbatim: Vec<PathBuf>,
    #[serde(deserialize_with = "value::paths")]
    pub(in crate::cli) files_from_raw: Vec<PathBuf>,
    #[serde(deserialize_with = "value::path")]
    pub(in crate::cli) vaultwarden: Option<PathBuf>,
    #[serde(deserialize_with = "value::path")]
    pub(in crate::cli) authentik: Option<PathBuf>,
    pub(in crate::cli) compose: Option<Vec<String>>,
    pub(in crate::cli) no_redis: bool,
    pub(in crate::cli) without_transient: bool,
    #[serde(deserialize_with = "value::path")]
    pub(in crate::cli) env_file: Option<PathBuf>,
    #[serde(deserialize_with = "value::mappings")]
    pub(in crate::cli) map: Vec<(String, PathBuf)>,
    pub(in crate::cli) no_sends: bool,
    pub(in crate::cli) with_icon_cache: bool,
    pub(in crate::cli) with_tmp: bool,
    pub(in crate::cli) with_built_in_backups: bool,
    pub(in crate::cli) postgres: Vec<DatabaseSource>,
    pub(in crate::cli) mysql: Vec<DatabaseSource>,
    pub(in crate::cli) redis: Vec<DatabaseSource>,
    pub(in crate::cli) prefix: Vec<String>,
    pub(in crate::cli) commands: Vec<CommandSource>,
    pub(in crate::cli) exclude: Vec<String>,
    pub(in crate::cli) iexclude: Vec<String>,
    #[serde(deserialize_with = "value::paths")]
    pub(in crate::cli) exclude_file: Vec<PathBuf>,
    #[serde(deserialize_with = "value::paths")]
    pub(in crate::cli) iexclude_file: Vec<PathBuf>,
    pub(in crate::cli) exclude_caches: bool,
    #[serde(deserialize_with = "value::markers")]
    pub(in crate::cli) exclude_if_present: Vec<Marker>,
    #[serde(deserialize_with = "value::bytes")]
    pub(in crate::cli) exclude_larger_than: Option<u64>,
    pub(in crate::cli) one_file_system: bool,
    #[serde(deserialize_with = "value::tags")]
    pub(in crate::cli) tags: Vec<String>,
    #[serde(deserialize_with = "value::host")]
    pub(in crate::cli) host: Option<String>,
    #[serde(deserialize_with = "value::path")]
    pub(in crate::cli) temporary_folder: Option<PathBuf>,
    pub(in crate::cli) no_sqlite: bool,
    pub(in crate::cli) skip_if_unchanged: bool,
    pub(in crate::cli) accept_smaller_dump: bool,
    #[serde(deserialize_with = "value::seconds")]
    pub(in crate::cli) lock_timeout: Option<u64>,
    pub(in crate::cli) before: Vec<Hook>,
    pub(in crate::cli) after_backup: Vec<Hook>,
    pub(in crate::cli) after: Vec<Hook>,
    pub(in crate::cli) on_failure: Vec<Hook>,
    pub(in crate::cli) retention: Option<Switch<Retention>>,
    pub(in crate::cli) prune: Option<Switch<Pruning>>,
    pub(in crate::cli) check: Option<Switch<Checking>>,
    pub(in crate::cli) ping: Option<Ping>,
    #[serde(deserialize_with = "value::duration")]
    pub(in crate::cli) max_age: Option<Duration>,
}

impl Job {
    /// The database servers, of all kinds.
    pub(in crate::cli) fn database_sources(&self) -> impl Iterator<Item = (Kind, &DatabaseSource)> {
        let all = [(Kind::Postgres, &self.postgres), (Kind::Mysql, &self.mysql), (Kind::Redis, &self.redis)];
        all.into_iter().flat_map(|(kind, sources)| sources.iter().map(move |source| (kind, source)))
    }
}

/// A database server that is dumped.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(in crate::cli) struct DatabaseSource {
    #[serde(deserialize_with = "value::server")]
    pub(in crate::cli) url: Option<address::Address>,
    #[serde(deserialize_with = "value::path")]
    pub(in crate::cli) password_file: Option<PathBuf>,
    pub(in crate::cli) password_command: Option<String>,
    pub(in crate::cli) prefix: Vec<String>,
    pub(in crate::cli) databases: Vec<String>,
    pub(in crate::cli) without_rows: Vec<String>,
    #[serde(deserialize_with = "value::duration")]
    pub(in crate::cli) timeout: Option<Duration>,
}

/// A command whose output is stored as a file.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(in crate::cli) struct CommandSource {
    #[serde(deserialize_with = "value::place")]
    pub(in crate::cli) name: Option<Vec<u8>>,
    pub(in crate::cli) command: Vec<String>,
    #[serde(deserialize_with = "value::duration")]
    pub(in crate::cli) timeout: Option<Duration>,
    pub(in crate::cli) allow_empty: bool,
}

/// A hook that says more than its command.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct HookTable {
    pub(super) command: Hook,
    #[serde(default, deserialize_with = "value::duration")]
    pub(super) timeout: Option<Duration>,
}

/// Whom to tell how a job goes.
#[derive(Clone, Debug, Default)]
pub(in crate::cli) struct Ping {
    pub(in crate::cli) start: Option<Address>,
    pub(in crate::cli) success: Option<Address>,
    pub(in crate::cli) failure: Option<Address>,
    pub(in crate::cli) timeout: Option<Duration>,
}

/// The same as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(super) struct PingTable {
    #[serde(deserialize_with = "value::address")]
    url: Option<Address>,
    #[serde(deserialize_with = "value::address")]
    start: Option<Address>,
    #[serde(deserialize_with = "value::address")]
    success: Option<Address>,
    #[serde(deserialize_with = "value::address")]
    failure: Option<Address>,
    #[serde(deserialize_with = "value::duration")]
    timeout: Option<Duration>,
}

impl<'de> Deserialize<'de> for Ping {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AddressOrTable;
        impl<'de> Visitor<'de> for AddressOrTable {
            type Value = Ping;
            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("an address, or a table of addresses")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Ping, E> {
                let url = value::address(serde::de::value::StrDeserializer::new(text))?;
                Ok(Ping::from(PingTable { url, ..PingTable::default() }))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Ping, A::Error> {
                PingTable::deserialize(MapAccessDeserializer::new(map)).map(Ping::from)
            }
        }
        deserializer.deserialize_any(AddressOrTable)
    }
}

impl From<PingTable> for Ping {
    /// One address stands for three, in the manner of healthchecks.io.
    fn from(table: PingTable) -> Self {
        let below = |name: &str| {
            table.url.as_ref().map(|Address(url)| match url.split_once('?') {
                Some((path, query)) => Address(format!("{}{name}?{query}", path.trim_end_matches('/'))),
                None => Address(format!("{}{name}", url.trim_end_matches('/'))),
            })
        };
        Self {
            start: table.start.clone().or_else(|| below("/start")),
            success: table.success.clone().or_else(|| below("")),
            failure: table.failure.clone().or_else(|| below("/fail")),
            timeout: table.timeout,
        }
    }
}

/// Which snapshots of a job are kept.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(in crate::cli) struct Retention {
    #[serde(deserialize_with = "value::amount")]
    keep_last: Option<Amount>,
    #[serde(deserialize_with = "value::amount")]
    keep_hourly: Option<Amount>,
    #[serde(deserialize_with = "value::amount")]
    keep_daily: Option<Amount>,
    #[serde(deserialize_with = "value::amount")]
    keep_weekly: Option<Amount>,
    #[serde(deserialize_with = "value::amount")]
    keep_monthly: Option<Amount>,
    #[serde(deserialize_with = "value::amount")]
    keep_quarterly: Option<Amount>,
    #[serde(deserialize_with = "value::amount")]
    keep_yearly: Option<Amount>,
    #[serde(deserialize_with = "value::reach")]
    keep_within: Option<Reach>,
    #[serde(deserialize_with = "value::reach")]
    keep_within_hourly: Option<Reach>,
    #[serde(deserialize_with = "value::reach")]
    keep_within_daily: Option<Reach>,
    #[serde(deserialize_with = "value::reach")]
    keep_within_weekly: Option<Reach>,
    #[serde(deserialize_with = "value::reach")]
    keep_within_monthly: Option<Reach>,
    #[serde(deserialize_with = "value::reach")]
    keep_within_quarterly: Option<Reach>,
    #[serde(deserialize_with = "value::reach")]
    keep_within_yearly: Option<Reach>,
    #[serde(deserialize_with = "value::tag_lists")]
    keep_tag: Vec<Vec<String>>,
    #[serde(deserialize_with = "value::time_zone")]
    pub(in crate::cli) timezone: Option<TimeZone>,
    #[serde(deserialize_with = "value::group_by")]
    pub(in crate::cli) group_by: Option<GroupBy>,
}

impl Retention {
    /// The rules.
    pub(in crate::cli) fn policy(&self) -> Policy {
        let amounts = [
            self.keep_hourly,
            self.keep_daily,
            self.keep_weekly,
            self.keep_monthly,
            self.keep_quarterly,
            self.keep_yearly,
        ];
        let reaches = [
            self.keep_within_hourly,
            self.keep_within_daily,
            self.keep_within_weekly,
            self.keep_within_monthly,
            self.keep_within_quarterly,
            self.keep_within_yearly,
        ];
        let (last, within, tags) = (self.keep_last, self.keep_within, self.keep_tag.clone());
        Policy { last, within, tags, ..Policy::default() }.with_periods(amounts, reaches)
    }
}

/// How to prune.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(in crate::cli) struct Pruning {
    #[serde(deserialize_with = "value::limit")]
    pub(in crate::cli) max_unused: Option<Limit>,
    #[serde(deserialize_with = "value::bytes")]
    pub(in crate::cli) max_repack_size: Option<u64>,
    pub(in crate::cli) repack_small: bool,
}

/// How to check.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(in crate::cli) struct Checking {
    pub(in crate::cli) read_data: bool,
    #[serde(deserialize_with = "value::subset")]
    pub(in crate::cli) read_data_subset: Option<Subset>,
}
