//! What somebody has to do by hand, in words and commands; and what that is after a Vaultwarden was put back.

use std::path::Path;

use serde_json::{Value, json};

use super::vaultwarden::show;
use crate::cli::output::paragraph::{filled, quoted};
use crate::cli::output::{Output, human};
use crate::error::Result;
use crate::operation::restore_vaultwarden::{Ending, MovedPart, Summary};
use crate::report::printable;
use crate::repository::snapshot::Snapshot;

/// One thing to do.
pub(super) struct Step {
    /// In words.
    pub(super) text: String,
    /// As commands.
    pub(super) commands: Vec<String>,
}

/// A step in words alone.
pub(super) fn step(text: impl Into<String>) -> Step {
    Step { text: text.into(), commands: Vec::new() }
}

/// Steps as a numbered list, each with its commands below it.
pub(super) fn list(steps: &[Step], output: &Output) -> Result<()> {
    for (number, step) in steps.iter().enumerate() {
        let mark = format!("{:>2}. ", number.saturating_add(1));
        output.say(filled(&step.text, &mark).trim_end())?;
        for command in &step.commands {
            output.say(&format!("      {command}"))?;
        }
    }
    Ok(())
}

/// Steps for programs.
pub(super) fn objects(steps: &[Step]) -> Vec<Value> {
    steps.iter().map(|step| json!({ "text": step.text, "commands": step.commands })).collect()
}

fn word(path: &Path) -> String {
    quoted(&show(path))
}

/// What comes next, in order.
pub(super) fn steps(summary: &Summary, snapshot: &Snapshot) -> Vec<Step> {
    let mut steps = Vec::new();
    if summary.ending == Ending::Planned {
        let text = "Stop the server, and run this command again without --dry-run.";
        steps.push(Step { commands: vec!["docker compose stop vaultwarden".into()], ..step(text) });
    }
    steps.extend(summary.moved.iter().filter(|part| !part.is_in_place()).map(|part| moved(part, summary)));
    let time = human::local(snapshot.manifest.time);
    steps.push(step(format!(
        "What was entered after {time} is not in it. A client that was not opened since may still show it: export its \
         vault before you start the server."
    )));
    let schema = summary.proved.as_ref().and_then(|proved| proved.schema.as_deref());
    let schema = schema.map(|schema| format!(" (the database has schema {})", printable(schema.as_bytes())));
    steps.push(Step {
        text: format!(
            "Start the server, in the version that made the backup or a newer one{}, and look into its log.",
            schema.unwrap_or_default()
        ),
        commands: vec![
            "docker compose start vaultwarden".into(),
            "docker compose logs --tail 50 vaultwarden".into(),
        ],
    });
    steps.push(step(
        "Log in to the web vault in a private window. Open an entry, download an attachment, open a Send.",
    ));
    steps.push(step(clients(summary.resynced.is_some())));
    steps.extend(kept_before(summary));
    steps.extend(summary.previous.as_deref().map(|previous| go_back_or_remove(previous, summary)));
    steps
}

fn clients(resynced: bool) -> String {
    let now = if resynced {
        "Clients fetch their vaults anew at their next sync."
    } else {
        "Clients may show an old or an empty vault: on the admin page, under Users, press \"Force clients to \
         resync\" (--resync-clients does the same)."
    };
    format!("{now} Whoever logged in after the backup has to log out and in again.")
}

fn moved(part: &MovedPart, summary: &Summary) -> Step {
    let was = printable(&part.was_at);
    let now = summary.target.join(printable(&part.now_at));
    let text = match part.setting.as_str() {
        "settings file" => format!(
            "The server's settings lay in {was}. They are in {}: compare them with what is there, and put them back.",
            show(&now)
        ),
        setting => format!(
            "{setting} had moved /{} to {was}, outside of the data folder. It is in {}: move it there, or drop the \
             setting.",
            printable(&part.place),
            show(&now)
        ),
    };
    step(text)
}

/// What outlived the folder that it was kept in.
fn kept_before(summary: &Summary) -> Option<Step> {
    let places: Vec<String> = summary.kept_before.iter().map(|path| show(path)).collect();
    let verb = if summary.ending == Ending::Planned { "will come" } else { "is now" };
    (!places.is_empty()).then(|| {
        step(format!(
            "What earlier restores kept in the data folder {verb} beside it: {}. It holds secrets; look into it \
             before you remove it.",
            places.join(", ")
        ))
    })
}

fn go_back_or_remove(previous: &Path, summary: &Summary) -> Step {
    let text = match summary.ending {
        Ending::Planned => "In the end, when all is well, remove what is there now. It holds secrets.",
        Ending::Restored => "When all is well, remove what was there before. It holds secrets.",
    };
    Step { commands: vec![format!("rm -rf -- {}", word(previous))], ..step(text) }
}
