//! Looks at the paths of a plan before the walk begins.

use std::fs;
use std::os::unix::ffi::OsStrExt;

use super::exclude::Excludes;
use super::plan::Plan;
use super::problems::{Problems, shown};
use crate::error::{Error, Result};
use crate::report::Finding;

/// Takes out of the plan what does not exist and what a person excluded.
pub(super) fn examine(plan: &Plan, excludes: &Excludes, problems: &mut Problems<'_>) -> Result<Plan> {
    let mut remaining = plan.clone();
    let mut missing = Vec::new();
    for (place, source) in plan.sources() {
        let found =
            if source.follow { fs::metadata(&source.host) } else { fs::symlink_metadata(&source.host) };
        match found {
            Err(error) => {
                missing.push((&source.host, error));
                remaining.remove_source(place);
            }
            Ok(_) if source.given && excludes.matches(source.host.as_os_str().as_bytes()) => {
                let cause = "was given to back up and is excluded by a pattern";
                problems.warn(Finding::warning(shown(&source.host), cause));
                remaining.remove_source(place);
            }
            Ok(metadata) if metadata.is_symlink() && !source.listed => {
                let finding = Finding::warning(shown(&source.host), "is a symbolic link and stored as such");
                problems.warn(finding.with_hint("to store what it points to, put a slash after it"));
            }
            Ok(_) => {}
        }
    }
    let sources = plan.sources().count();
    if sources == 0 {
        return Err(Error::refused("nothing was named to back up")
            .hint("name files or folders, or a list of them by --files-from"));
    }
    if missing.len() == sources {
        let (host, cause) = missing.swap_remove(0);
        return Err(if sources == 1 {
            Error::io(format!("cannot read {}", shown(host)), cause)
        } else {
            Error::io(
                format!("none of the {sources} paths to back up can be read, such as {}", shown(host)),
                cause,
            )
        });
    }
    for (host, cause) in missing {
        problems.add(host, cause.to_string());
    }
    Ok(remaining)
}
