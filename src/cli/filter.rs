//! Options that choose among snapshots: `--host`, `--job`, `--path`, `--tag`.

use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use crate::error::Result;
use crate::repository::find::SnapshotFilter;
use crate::source::files;

/// Options that choose among snapshots; `latest` is the latest of those that they leave.
#[derive(clap::Args)]
pub(super) struct Filter {
    /// Only snapshots of this host; given more than once, of any of them
    #[arg(long, value_name = "NAME", help_heading = "Which snapshots")]
    host: Vec<String>,
    /// Only snapshots of this job of a configuration; given more than once, of any of them
    #[arg(long, value_name = "NAME", help_heading = "Which snapshots")]
    job: Vec<String>,
    /// Only snapshots of this path; given more than once, of all of them
    #[arg(long, value_name = "PATH", help_heading = "Which snapshots")]
    path: Vec<PathBuf>,
    /// Only snapshots with this tag, or with all tags of TAG,TAG; given more than once, with any; '' means no tag
    #[arg(long, value_name = "TAG[,TAG...]", help_heading = "Which snapshots")]
    tag: Vec<String>,
}

impl Filter {
    /// The filter, its paths made absolute.
    pub(super) fn get(&self) -> Result<SnapshotFilter> {
        let path = |path: &PathBuf| Ok(files::absolute(path)?.as_os_str().as_bytes().to_vec());
        let tags = |list: &String| list.split(',').filter(|tag| !tag.is_empty()).map(str::to_owned).collect();
        Ok(SnapshotFilter {
            hosts: self.host.clone(),
            jobs: self.job.clone(),
            paths: self.path.iter().map(path).collect::<Result<_>>()?,
            tags: self.tag.iter().map(tags).collect(),
        })
    }
}
