//! `strongroom key list`

use serde_json::json;

use crate::cli::exit::Outcome;
use crate::cli::global::Global;
use crate::cli::output::{Output, human};
use crate::error::Result;
use crate::report::{Finding, printable, report_all};

/// Arguments of `key list`.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  strongroom key list --json")]
pub(super) struct Arguments {}

pub(super) fn run(global: &Global, Arguments {}: &Arguments, output: &Output) -> Result<Outcome> {
    let repository = global.open(output)?;
    let (slots, damaged) = repository.list_keys()?;
    let mut rows = vec![["Id", "Role", "Opens with", "Made", "Label"].map(str::to_owned).to_vec()];
    for slot in &slots {
        if output.json {
            output.object(&json!({
                "message_type": "key",
                "id": slot.id.to_hex(),
                "short_id": slot.id.short(),
                "role": slot.label.role.name(),
                "opens_with": opens_with(slot.by_password),
                "created": human::utc(slot.label.created),
                "label": slot.label.text,
                "current": slot.current,
            }))?;
            continue;
        }
        rows.push(vec![
            format!("{}{}", slot.id.short(), if slot.current { "*" } else { "" }),
            slot.label.role.name().to_owned(),
            opens_with(slot.by_password).to_owned(),
            human::local(slot.label.created),
            printable(slot.label.text.as_bytes()),
        ]);
    }
    if !output.json {
        human::table(&rows).iter().try_for_each(|line| output.line(line))?;
        output.say("(* in use)")?;
    }
    let findings = damaged.iter().map(|(id, error)| {
        let finding = Finding::problem("a key", error.chain());
        let remove = format!("if nobody holds it: `strongroom key remove {}`", id.short());
        finding.with_hint(error.next_step().map_or(remove, str::to_owned))
    });
    report_all(output, "keys", findings);
    Ok(Outcome::of(damaged.len() as u64))
}

/// What opens a slot, in words.
pub(super) fn opens_with(by_password: bool) -> &'static str {
    if by_password { "password" } else { "key file" }
}
