//! The schema of the configuration, for editors and whoever writes one by program.
//!
//! Invariant: a test holds it against the types, so that each key of one is in the other.

use crate::cli::exit::Outcome;
use crate::cli::output::Output;
use crate::error::Result;

/// The schema.
const SCHEMA: &str = include_str!("schema.json");

pub(super) fn print(output: &Output) -> Result<Outcome> {
    output.text(SCHEMA.as_bytes())?;
    Ok(Outcome::Done)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde::de::DeserializeOwned;
    use serde_json::Value;

    use super::SCHEMA;
    use crate::cli::config::types;

    /// The keys that a table knows: serde names them where one is not among them.
    fn keys<T: DeserializeOwned + std::fmt::Debug>() -> BTreeSet<String> {
        let error = toml::from_str::<T>("no-such-key = 1").unwrap_err();
        let (_, expected) = error.message().split_once("expected").unwrap();
        expected.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    }

    #[test]
    fn the_schema_has_the_keys_of_the_types_and_no_others() {
        let schema: Value = serde_json::from_str(SCHEMA).unwrap();
        let tables: [(&str, BTreeSet<String>); 10] = [
            ("", keys::<types::File>()),
            ("/$defs/repository", keys::<types::RepositoryTable>()),
            ("/$defs/job", keys::<types::Job>()),
            ("/$defs/database", keys::<types::DatabaseSource>()),
            ("/$defs/command", keys::<types::CommandSource>()),
            ("/$defs/hook", keys::<types::HookTable>()),
            ("/$defs/ping", keys::<types::PingTable>()),
            ("/$defs/retention", keys::<types::Retention>()),
            ("/$defs/prune", keys::<types::Pruning>()),
            ("/$defs/check", keys::<types::Checking>()),
        ];
        for (place, keys) in tables {
            let table = schema.pointer(place).unwrap();
            let named: BTreeSet<String> = table["properties"].as_object().unwrap().keys().cloned().collect();
            assert_eq!(named, keys, "{place}");
            assert_eq!(table["additionalProperties"], Value::Bool(false), "{place}");
        }
    }

    #[test]
    fn every_key_is_described_here_and_in_the_documentation() {
        let schema: Value = serde_json::from_str(SCHEMA).unwrap();
        let documentation = include_str!("../../../docs/configuration.md");
        let definitions = schema["$defs"].as_object().unwrap().values().chain([&schema]);
        for (name, property) in definitions.filter_map(|table| table["properties"].as_object()).flatten() {
            let described = property["description"].as_str().is_some_and(|text| !text.is_empty());
            assert!(described || property.get("$ref").is_some(), "{name} is not described");
            assert!(documentation.contains(&format!("`{name}`")), "{name} is not in docs/configuration.md");
        }
    }
}
