//! What the compose files of a folder say: services with their images, settings and mounts, once variables are put in.
//!
//! Base file and override are merged as Docker Compose merges them. `include` and `extends` are not followed; that they are there
//! is told.
//!
//! Invariants: the environment of this process is not read: what Compose took from a shell's is unknown here, and said to be. No
//! error and no finding shows a value, for it may be a secret.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

use zeroize::Zeroizing;

use super::env_file::{self, Variables};
use super::interpolate::fill;
use super::service::{Service, Source};
use super::yaml::{self, Value};
use crate::error::{Error, Result};
use crate::report::{Finding, Reporter, printable};
use crate::service::small_file;

/// Names of the file, the one that Compose prefers first, and of the override beside it.
const BASES: [&str; 4] = ["compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml"];
const OVERRIDES: [&str; 4] = [
    "compose.override.yaml",
    "compose.override.yml",
    "docker-compose.override.yaml",
    "docker-compose.override.yml",
];
/// The most compose files that COMPOSE_FILE may name.
const FILES_MAX: usize = 20;

/// The compose files of a folder, merged.
pub(super) struct Compose {
    /// The folder, free of symbolic links.
    pub(super) folder: PathBuf,
    /// The compose files and the files that their variables are from, as the folder names them.
    pub(super) files: Vec<PathBuf>,
    /// What the project is called, and so its volumes.
    pub(super) project: String,
    /// Services by name.
    pub(super) services: BTreeMap<String, Service>,
    /// Named volumes: their names on this host, or the folder that they stand for.
    pub(super) volumes: BTreeMap<String, Source>,
    /// Files of secrets, by name.
    pub(super) secrets: BTreeMap<String, PathBuf>,
    variables: Variables,
    /// Variables and files about which something was told already: several services have the same.
    told: RefCell<BTreeSet<String>>,
}

impl Compose {
    /// Reads what is in a folder.
    ///
    /// # Errors
    /// `Missing` where there is no compose file; `Corrupt` where one cannot be read as one.
    pub(super) fn read(folder: &Path, reporter: &dyn Reporter) -> Result<Self> {
        let mut compose = Self {
            folder: folder.to_path_buf(),
            files: Vec::new(),
            project: String::new(),
            services: BTreeMap::new(),
            volumes: BTreeMap::new(),
            secrets: BTreeMap::new(),
            variables: Variables::new(),
            told: RefCell::default(),
        };
        let environment = folder.join(".env");
        if environment.symlink_metadata().is_ok() {
            compose.variables = compose.read_variables(&environment, reporter)?;
            compose.files.push(environment);
        }
        let paths = compose.paths()?;
        let trees = paths
            .iter()
            .map(|path| {
                let text = small_file::read(path, "compose file")?;
                let tree = yaml::parse(&text)
                    .map_err(|error| error.context(format!("{} makes no sense", shown(path))))?;
                if tree.get("services").is_none_or(|services| services.entries().is_empty()) {
                    return Err(Error::corrupt(format!("{} has no services", shown(path)))
                        .hint("check that this is a compose file"));
                }
                Ok(tree)
            })
            .collect::<Result<Vec<_>>>()?;
        compose.project = compose.project_name(&trees, reporter);
        for (path, tree) in paths.iter().zip(&trees) {
            compose.merge(path, tree, reporter)?;
        }
        compose.files.splice(0..0, paths);
        Ok(compose)
    }

    /// The compose files, the override last.
    fn paths(&self) -> Result<Vec<PathBuf>> {
        if let Some(named) = self.variables.get("COMPOSE_FILE").filter(|named| !named.is_empty()) {
            let paths: Vec<PathBuf> = named.split(':').map(|name| self.host_path(name)).collect();
            return if paths.len() > FILES_MAX {
                Err(Error::refused("COMPOSE_FILE names more files than make sense"))
            } else {
                Ok(paths)
            };
        }
        let first =
            |names: &[&str]| names.iter().map(|name| self.folder.join(name)).find(|path| path.is_file());
        let base = first(&BASES).ok_or_else(|| {
            Error::missing(format!("there is no compose file in {}", shown(&self.folder)))
                .hint("name the folder with authentik's compose.yml or docker-compose.yml in it")
        })?;
        Ok([Some(base), first(&OVERRIDES)].into_iter().flatten().collect())
    }

    fn read_variables(&self, path: &Path, reporter: &dyn Reporter) -> Result<Variables> {
        let text = small_file::read(path, "file of variables")?;
        let (values, unparsable) = env_file::parse(&text, &|name| self.variables.get(name).cloned());
        if let Some(first) = unparsable.first()
            && self.told.borrow_mut().insert(shown(path))
        {
            let cause = match unparsable.len() {
                1 => format!("cannot make sense of line {first}; passed over"),
                number => {
                    format!("cannot make sense of {number} lines, the first of them {first}; passed over")
                }
            };
            reporter.report(Finding::warning(shown(path), cause));
        }
        Ok(values)
    }

    fn project_name(&self, trees: &[Value], reporter: &dyn Reporter) -> String {
        let said = trees.iter().rev().find_map(|tree| tree.get("name").and_then(Value::text));
        let said = said.map(|name| self.filled(name, "name", reporter).to_string());
        let named = self.variables.get("COMPOSE_PROJECT_NAME").map(|name| name.to_string()).or(said);
        let folder = || self.folder.file_name().map(|name| name.to_string_lossy().into_owned());
        let name = named.filter(|name| !name.is_empty()).or_else(folder).unwrap_or_default().to_lowercase();
        let plain = |part: &char| part.is_ascii_alphanumeric() || matches!(part, '_' | '-');
        let name: String = name.chars().filter(plain).collect();
        name.trim_start_matches(['_', '-']).to_owned()
    }

    fn merge(&mut self, path: &Path, tree: &Value, reporter: &dyn Reporter) -> Result<()> {
        if tree.get("include").is_some() {
            let cause = "its `include` is not followed: what stands in those files is not known here";
            reporter.report(Finding::warning(shown(path), cause));
        }
        for (name, value) in tree.get("volumes").map(Value::entries).unwrap_or_default() {
            let source = self.volume(name, value, reporter);
            self.volumes.insert(name.clone(), source);
        }
        for (name, value) in tree.get("secrets").map(Value::entries).unwrap_or_default() {
            if let Some(file) = value.get("file").and_then(Value::text) {
                let file = self.filled(file, name, reporter);
                self.secrets.insert(name.clone(), self.host_path(&file));
            }
        }
        for (name, value) in tree.get("services").map(Value::entries).unwrap_or_default() {
            let mut service = self.services.remove(name).unwrap_or_default();
            service.merge(self, name, value, reporter)?;
            self.services.insert(name.clone(), service);
        }
        Ok(())
    }

    /// What a named volume is on this host.
    fn volume(&self, name: &str, value: &Value, reporter: &dyn Reporter) -> Source {
        let text = |path: &[&str]| {
            let value = path.iter().try_fold(value, |value, name| value.get(name));
            value.and_then(Value::text).map(|text| self.filled(text, name, reporter))
        };
        let device = text(&["driver_opts", "device"]).filter(|device| device.starts_with('/'));
        let is_bind =
            text(&["driver_opts", "o"]).is_some_and(|options| options.split(',').any(|o| o == "bind"));
        match (device, text(&["name"])) {
            (Some(device), _) if is_bind => Source::Path(PathBuf::from(device.as_str())),
            (_, Some(named)) => Source::Volume(named.to_string()),
            _ if text(&["external"]).is_some_and(|external| external.as_str() == "true") => {
                Source::Volume(name.to_owned())
            }
            _ => Source::Volume(format!("{}_{name}", self.project)),
        }
    }

    /// A variable.
    pub(super) fn variable(&self, name: &str) -> Option<&Zeroizing<String>> {
        self.variables.get(name)
    }

    /// A value with its variables put in. What is not set is told, and counts as empty, as it does to Compose.
    pub(super) fn filled(&self, text: &str, subject: &str, reporter: &dyn Reporter) -> Zeroizing<String> {
        match fill(text, &|name| self.variables.get(name).cloned()) {
            Ok(filled) => {
                for name in filled.unset {
                    if !self.told.borrow_mut().insert(name.clone()) {
                        continue;
                    }
                    let cause = format!("the variable {name} is set in no file; it counts as empty");
                    let hint =
                        "if it comes from a shell's environment, write it into .env: a restore needs it too";
                    reporter.report(Finding::warning(self.subject(subject), cause).with_hint(hint));
                }
                filled.text
            }
            Err(error) => {
                let finding =
                    Finding::warning(self.subject(subject), format!("{}; passed over", error.chain()));
                reporter.report(finding.with_hint(error.next_step().unwrap_or_default()));
                Zeroizing::default()
            }
        }
    }

    /// The folder and a name in its files, for messages.
    fn subject(&self, name: &str) -> String {
        format!("{}, {}", shown(&self.folder), printable(name.as_bytes()))
    }

    /// A path in a compose file as this host names it: `..` is taken by the text, as Compose does.
    pub(super) fn host_path(&self, path: &str) -> PathBuf {
        let mut plain = PathBuf::new();
        for component in self.folder.join(path).components() {
            match component {
                Component::ParentDir => drop(plain.pop()),
                other => plain.push(other),
            }
        }
        plain
    }

    /// Takes in a service's `env_file`.
    pub(super) fn environment_file(
        &mut self,
        path: &str,
        required: bool,
        reporter: &dyn Reporter,
    ) -> Result<Variables> {
        let path = self.host_path(path);
        if fs::symlink_metadata(&path).is_err() {
            if required {
                let cause = "is named by env_file, and is not there";
                reporter.report(
                    Finding::problem(shown(&path), cause).with_hint("Compose does not start without it"),
                );
            }
            return Ok(Variables::new());
        }
        let values = self.read_variables(&path, reporter)?;
        if !self.files.contains(&path) {
            self.files.push(path);
        }
        Ok(values)
    }
}

pub(super) fn shown(path: &Path) -> String {
    printable(path.as_os_str().as_encoded_bytes())
}
