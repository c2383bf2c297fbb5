//! authentik's own settings: from the environment of its containers, with what `env://` and `file://` stand for.
//!
//! Invariant: no finding shows a value.

use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::compose::{Compose, shown};
use super::service::{Mount, Service, Source};
use crate::report::{Finding, Reporter};
use crate::service::small_file;

/// Where Compose puts secrets.
const SECRETS: &str = "/run/secrets/";

/// The settings of an authentik, and where its containers' paths are on this host.
pub(super) struct Settings<'a> {
    pub(super) compose: &'a Compose,
    /// Its services, the server first.
    pub(super) services: Vec<(&'a str, &'a Service)>,
    /// Paths in the containers that a person mapped by hand.
    pub(super) map: &'a [(String, PathBuf)],
    pub(super) volumes_folder: &'a Path,
}

impl Settings<'_> {
    /// A setting such as `AUTHENTIK_POSTGRESQL__HOST`, as it is written.
    pub(super) fn raw(&self, name: &str) -> Option<&Zeroizing<String>> {
        self.services.iter().find_map(|(_, service)| service.setting(name))
    }

    /// What it comes to.
    pub(super) fn value(&self, name: &str, reporter: &dyn Reporter) -> Option<Zeroizing<String>> {
        let raw = self.raw(name)?;
        let fallback =
            |rest: &str| rest.split_once('?').map(|(_, fallback)| Zeroizing::new(fallback.to_owned()));
        let path = |rest: &str| rest.split_once('?').map_or(rest, |(path, _)| path).to_owned();
        if let Some(rest) = raw.strip_prefix("env://") {
            return self.raw(&path(rest)).cloned().or_else(|| fallback(rest));
        }
        let Some(rest) = raw.strip_prefix("file://") else { return Some(raw.clone()) };
        let read = self.host(&path(rest)).map(|file| (small_file::read(&file, "secret of authentik"), file));
        match read {
            Some((Ok(text), _)) => Some(Zeroizing::new(text.trim().to_owned())),
            Some((Err(error), file)) => {
                reporter.report(Finding::warning(name, format!("{}: {}", shown(&file), error.chain())));
                fallback(rest)
            }
            None => {
                let cause = "names a file that is mounted into the container from nowhere on this host";
                reporter.report(
                    Finding::warning(name, cause).with_hint("say where it is with --map /container=/host"),
                );
                fallback(rest)
            }
        }
    }

    /// The file that a setting's value is read from.
    pub(super) fn file_of(&self, name: &str) -> Option<PathBuf> {
        let rest = self.raw(name)?.strip_prefix("file://")?.to_owned();
        self.host(rest.split_once('?').map_or(rest.as_str(), |(path, _)| path))
    }

    /// What everything is that the containers mount, each target once; what was mapped by hand first.
    pub(super) fn mounts(&self) -> Vec<Mount> {
        let mapped = self.map.iter().map(|(target, host)| Mount {
            source: Source::Path(host.clone()),
            target: target.trim_end_matches('/').to_owned(),
        });
        let mut all: Vec<Mount> = Vec::new();
        for mount in
            mapped.chain(self.services.iter().flat_map(|(_, service)| service.mounts.iter().cloned()))
        {
            if all.iter().all(|other| other.target != mount.target) {
                all.push(mount);
            }
        }
        all
    }

    /// Where a mount's source is.
    pub(super) fn host_of(&self, source: &Source) -> Option<PathBuf> {
        match source {
            Source::Path(path) => Some(path.clone()),
            Source::Volume(name) => Some(self.volumes_folder.join(name).join("_data")),
            Source::Nameless => None,
        }
    }

    /// Where a path of the containers is on this host.
    pub(super) fn host(&self, path: &str) -> Option<PathBuf> {
        if let Some(file) = path.strip_prefix(SECRETS).and_then(|name| self.compose.secrets.get(name)) {
            return Some(file.clone());
        }
        let mounts = self.mounts();
        let fitting = mounts.iter().filter(|mount| is_below(path, &mount.target));
        let nearest = fitting.max_by_key(|mount| mount.target.len())?;
        let rest = path.get(nearest.target.len()..).unwrap_or_default().trim_start_matches('/');
        let host = self.host_of(&nearest.source)?;
        Some(if rest.is_empty() { host } else { host.join(rest) })
    }
}

/// Whether a path of a container is another, or below it.
pub(super) fn is_below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
