//! One service of a compose file: its image, its settings, and what of this host it mounts.

use std::path::PathBuf;

use zeroize::Zeroizing;

use super::compose::Compose;
use super::env_file::Variables;
use super::yaml::Value;
use crate::error::Result;
use crate::report::{Finding, Reporter, printable};

/// What a mount is of this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// A file or folder.
    Path(PathBuf),
    /// A volume that Docker keeps under this name.
    Volume(String),
    /// A volume without a name, which nobody finds again.
    Nameless,
}

/// Something mounted into a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mount {
    /// What it is.
    pub(super) source: Source,
    /// Where it is in the container, without a slash at its end.
    pub(super) target: String,
}

/// A service.
#[derive(Clone, Default)]
pub(super) struct Service {
    /// The image, with its tag.
    pub(super) image: String,
    /// The name of its container, where one is given.
    pub(super) container: Option<String>,
    /// Its settings.
    pub(super) environment: Variables,
    /// Its mounts.
    pub(super) mounts: Vec<Mount>,
}

impl Service {
    /// Takes in what a file says of it, on top of what files before it said.
    pub(super) fn merge(
        &mut self,
        compose: &mut Compose,
        name: &str,
        value: &Value,
        reporter: &dyn Reporter,
    ) -> Result<()> {
        if value.get("extends").is_some() {
            let cause = "its `extends` is not followed: what stands there is not known here";
            reporter.report(Finding::warning(format!("service {}", printable(name.as_bytes())), cause));
        }
        let text = |key: &str, compose: &Compose| {
            value.get(key).and_then(Value::text).map(|text| compose.filled(text, name, reporter).to_string())
        };
        if let Some(image) = text("image", compose) {
            self.image = image;
        }
        self.container = text("container_name", compose).or(self.container.take());
        // What stands in the files of `env_file` is weaker than `environment`, also where that stands in another file.
        let mut environment = Variables::new();
        for item in value.get("env_file").map(Value::items).unwrap_or_default() {
            let path = item.text().or_else(|| item.get("path").and_then(Value::text));
            let required = item.get("required").and_then(Value::text) != Some("false");
            if let Some(path) = path {
                let path = compose.filled(path, name, reporter);
                environment.extend(compose.environment_file(&path, required, reporter)?);
            }
        }
        environment.extend(std::mem::take(&mut self.environment));
        self.environment = environment;
        self.take_environment(compose, name, value.get("environment"), reporter);
        for item in value.get("volumes").map(Value::items).unwrap_or_default() {
            if let Some(mount) = mount(compose, name, item, reporter) {
                self.mounts.retain(|other| other.target != mount.target);
                self.mounts.push(mount);
            }
        }
        Ok(())
    }

    fn take_environment(
        &mut self,
        compose: &Compose,
        name: &str,
        value: Option<&Value>,
        reporter: &dyn Reporter,
    ) {
        let Some(value) = value else { return };
        let mut set = |key: &str, text: Option<&str>| {
            let filled = match text {
                Some(text) => Some(compose.filled(text, name, reporter)),
                None => compose.variable(key).cloned(),
            };
            self.environment.extend(filled.map(|filled| (key.to_owned(), filled)));
        };
        for (key, value) in value.entries() {
            set(key, value.text());
        }
        if let Value::List(items) = value {
            for item in items.iter().filter_map(Value::text) {
                match item.split_once('=') {
                    Some((key, text)) => set(key, Some(text)),
                    None => set(item, None),
                }
            }
        }
    }

    /// A setting that is not empty.
    pub(super) fn setting(&self, name: &str) -> Option<&Zeroizing<String>> {
        self.environment.get(name).filter(|value| !value.is_empty())
    }

    /// The image without its tag, and the tag.
    pub(super) fn image_and_tag(&self) -> (&str, Option<&str>) {
        let image = self.image.split_once('@').map_or(self.image.as_str(), |(image, _)| image);
        // A colon before the last slash is that of a registry's port.
        match image.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag).filter(|tag| !tag.is_empty())),
            _ => (image, None),
        }
    }
}

/// Reads an item of `volumes`, short or long.
fn mount(compose: &Compose, name: &str, item: &Value, reporter: &dyn Reporter) -> Option<Mount> {
    let (source, target) = match item {
        Value::Text(text) => {
            let text = compose.filled(text, name, reporter);
            let mut parts = text.split(':');
            match (parts.next(), parts.next()) {
                (Some(target), None) => (None, target.to_owned()),
                (Some(source), Some(target)) => (Some(source.to_owned()), target.to_owned()),
                _ => return None,
            }
        }
        Value::Map(_) => {
            let text = |key: &str| {
                item.get(key).and_then(Value::text).map(|text| compose.filled(text, name, reporter))
            };
            if text("type").is_some_and(|kind| !matches!(kind.as_str(), "bind" | "volume")) {
                return None;
            }
            let source = text("source").or_else(|| text("src")).map(|source| source.to_string());
            (source, text("target").or_else(|| text("dst")).or_else(|| text("destination"))?.to_string())
        }
        Value::Null | Value::List(_) => return None,
    };
    if !target.starts_with('/') {
        return None;
    }
    let source = match source.filter(|source| !source.is_empty()) {
        None => Source::Nameless,
        Some(path) if path.starts_with(['.', '/', '~']) || path.contains('/') => {
            Source::Path(compose.host_path(&path))
        }
        Some(volume) => compose.volumes.get(&volume).cloned().unwrap_or_else(|| {
            // Compose refuses a name that it does not know; a later file may tell it.
            Source::Volume(format!("{}_{volume}", compose.project))
        }),
    };
    let target = match target.trim_end_matches('/') {
        "" => "/".to_owned(),
        target => target.to_owned(),
    };
    Some(Mount { source, target })
}
