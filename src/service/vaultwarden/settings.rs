//! The settings that move Vaultwarden's parts, from `.env` and `config.json`.
//!
//! `config.json` overrides `.env`, as it does in the server. An empty value counts as unset.
//!
//! Invariant: only the settings named by [`Key`] are kept; the text of a file, and every other value, is wiped
//! when the file has been read. No finding and no error holds a value, and [`Setting`] does not show its own
//! when debugged.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::dotenv;
use crate::error::Result;
use crate::report::{Finding, Reporter, printable};
use crate::service::small_file;

/// A setting that says where something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// The folder of everything that is not moved.
    DataFolder,
    /// The database; may hold a password.
    DatabaseUrl,
    /// Files attached to entries.
    AttachmentsFolder,
    /// Files sent.
    SendsFolder,
    /// Icons of websites, fetched again when missing.
    IconCacheFolder,
    /// Uploads in progress.
    TmpFolder,
    /// Changed mail texts.
    TemplatesFolder,
    /// The key that signs sessions, without its extension.
    RsaKeyFilename,
    /// The settings of the admin page; read from the environment alone.
    ConfigFile,
}

impl Key {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::DataFolder,
        Self::DatabaseUrl,
        Self::AttachmentsFolder,
        Self::SendsFolder,
        Self::IconCacheFolder,
        Self::TmpFolder,
        Self::TemplatesFolder,
        Self::RsaKeyFilename,
        Self::ConfigFile,
    ];

    /// The name in `.env`.
    pub fn name(self) -> &'static str {
        match self {
            Self::DataFolder => "DATA_FOLDER",
            Self::DatabaseUrl => "DATABASE_URL",
            Self::AttachmentsFolder => "ATTACHMENTS_FOLDER",
            Self::SendsFolder => "SENDS_FOLDER",
            Self::IconCacheFolder => "ICON_CACHE_FOLDER",
            Self::TmpFolder => "TMP_FOLDER",
            Self::TemplatesFolder => "TEMPLATES_FOLDER",
            Self::RsaKeyFilename => "RSA_KEY_FILENAME",
            Self::ConfigFile => "CONFIG_FILE",
        }
    }

    /// The name in `config.json`, where it has one.
    fn json_name(self) -> Option<String> {
        (self != Self::ConfigFile).then(|| self.name().to_ascii_lowercase())
    }
}

/// A value and the file it is from.
#[derive(Clone, PartialEq, Eq)]
pub struct Setting {
    /// The value as configured. May hold a secret if it is that of [`Key::DatabaseUrl`].
    pub value: Zeroizing<String>,
    /// The file that sets it.
    pub file: PathBuf,
}

impl fmt::Debug for Setting {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Setting").field("file", &self.file).finish_non_exhaustive()
    }
}

/// Every setting that was found.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    found: BTreeMap<Key, Setting>,
}

impl Settings {
    /// The setting of a key.
    pub fn get(&self, key: Key) -> Option<&Setting> {
        self.found.get(&key)
    }

    /// The value of a key.
    pub fn value(&self, key: Key) -> Option<&str> {
        self.get(key).map(|setting| setting.value.as_str())
    }

    /// Reads a `.env` file; what is known already stays.
    pub fn read_environment_file(&mut self, path: &Path, reporter: &dyn Reporter) -> Result<()> {
        let text = small_file::read(path, "settings file of Vaultwarden")?;
        let parsed = dotenv::parse(&text);
        report_unparsable(path, &parsed.unparsable, reporter);
        for key in Key::ALL {
            if let Some(value) = parsed.values.get(key.name()).filter(|value| !value.is_empty()) {
                self.found
                    .entry(key)
                    .or_insert_with(|| Setting { value: value.clone(), file: path.to_path_buf() });
            }
        }
        Ok(())
    }

    /// Reads `config.json`; it overrides what is known already.
    pub fn read_config(&mut self, path: &Path, reporter: &dyn Reporter) -> Result<()> {
        let text = small_file::read(path, "settings file of Vaultwarden")?;
        let subject = printable(path.as_os_str().as_encoded_bytes());
        // The parser's message is left out: only its line is sure to hold nothing of the content.
        let parsed: serde_json::Map<String, serde_json::Value> = match serde_json::from_str(&text) {
            Ok(parsed) => parsed,
            Err(error) => {
                let cause = format!(
                    "is not a JSON object (line {}); Vaultwarden cannot read it either",
                    error.line()
                );
                reporter.report(
                    Finding::warning(subject, cause)
                        .with_hint("mend the file, or save the settings again in the admin page"),
                );
                return Ok(());
            }
        };
        for key in Key::ALL {
            let Some(value) = key.json_name().and_then(|name| parsed.get(&name)) else { continue };
            match value {
                serde_json::Value::String(value) if !value.is_empty() => {
                    let value = Zeroizing::new(value.clone());
                    self.found.insert(key, Setting { value, file: path.to_path_buf() });
                }
                serde_json::Value::String(_) | serde_json::Value::Null => {}
                _ => {
                    let cause =
                        format!("its setting {} is no text and was passed over", key.name().to_lowercase());
                    reporter.report(Finding::warning(subject.clone(), cause));
                }
            }
        }
        wipe(parsed);
        Ok(())
    }
}

/// Names the lines that do not parse, and not what they hold.
fn report_unparsable(path: &Path, lines: &[usize], reporter: &dyn Reporter) {
    const NAMED: usize = 20;
    if lines.is_empty() {
        return;
    }
    let named: Vec<String> = lines.iter().take(NAMED).map(ToString::to_string).collect();
    let more = if lines.len() > NAMED { format!(" and {} more", lines.len() - NAMED) } else { String::new() };
    let cause = format!(
        "cannot make sense of line{} {}{more}; passed over",
        if lines.len() == 1 { "" } else { "s" },
        named.join(", ")
    );
    reporter.report(
        Finding::warning(printable(path.as_os_str().as_encoded_bytes()), cause)
            .with_hint("Vaultwarden does not start with such a line; check that this is its settings file"),
    );
}

/// Overwrites the values of an object before it is let go.
fn wipe(object: serde_json::Map<String, serde_json::Value>) {
    for (_, value) in object {
        if let serde_json::Value::String(text) = value {
            drop(Zeroizing::new(text));
        }
    }
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::error::ErrorKind;
    use crate::report::Collector;
    use crate::service::vaultwarden::testing::Folder;

    #[test]
    fn config_json_overrides_the_environment_file() {
        let folder = Folder::new();
        let env = folder
            .write(".env", b"DATA_FOLDER=/srv\nSENDS_FOLDER=/env/sends\nTMP_FOLDER=\nADMIN_TOKEN=secret\n");
        let config = folder.write(
            "config.json",
            br#"{"sends_folder": "/json/sends", "icon_cache_folder": "", "tmp_folder": 7, "config_file": "/x"}"#,
        );
        let reporter = Collector::default();
        let mut settings = Settings::default();
        settings.read_environment_file(&env, &reporter).unwrap();
        settings.read_config(&config, &reporter).unwrap();
        assert_eq!(settings.value(Key::DataFolder), Some("/srv"));
        assert_eq!(settings.value(Key::SendsFolder), Some("/json/sends"));
        assert_eq!(settings.get(Key::SendsFolder).unwrap().file, config);
        assert_eq!(settings.value(Key::IconCacheFolder), None);
        assert_eq!(settings.value(Key::TmpFolder), None);
        assert_eq!(settings.value(Key::ConfigFile), None);
        assert_eq!(reporter.findings().len(), 1);
        assert!(!format!("{settings:?}").contains("srv"));
    }

    #[test]
    fn unparsable_lines_are_numbered_and_never_shown() {
        let folder = Folder::new();
        let env = folder.write(".env", b"A=1\nPASSWORD=hunter2 hunter3\nB=2\nsecret\n");
        let config = folder.write("config.json", b"{\"admin_token\": \"hunter2\n");
        let reporter = Collector::default();
        let mut settings = Settings::default();
        settings.read_environment_file(&env, &reporter).unwrap();
        settings.read_config(&config, &reporter).unwrap();
        let findings = reporter.findings();
        assert_eq!(findings.len(), 2);
        assert!(findings[0].cause.contains("lines 2, 4"), "{}", findings[0].cause);
        for finding in findings {
            assert!(!format!("{finding:?}").contains("hunter"));
        }
    }

    #[test]
    fn large_files_and_folders_are_refused() {
        let folder = Folder::new();
        let large = folder.write("config.json", &vec![b' '; (1 << 20) + 1]);
        let reporter = Collector::default();
        let mut settings = Settings::default();
        assert_eq!(settings.read_config(&large, &reporter).unwrap_err().kind(), ErrorKind::Refused);
        assert_eq!(settings.read_config(folder.path(), &reporter).unwrap_err().kind(), ErrorKind::Refused);
        let absent = folder.path().join("absent");
        assert_eq!(
            settings.read_environment_file(&absent, &reporter).unwrap_err().kind(),
            ErrorKind::Missing
        );
    }
}
