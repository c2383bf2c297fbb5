//! What lies over a screen: the help, a question, work that is under way, what came of it.

use std::path::PathBuf;
use std::sync::Arc;

use super::edit::Edit;
use super::list::List;
use crate::cli::browse::request::Request;
use crate::repository::snapshot::Snapshot;

/// What a path is asked for.
#[derive(Clone, Debug)]
pub(in crate::cli::browse) enum Purpose {
    /// These places, into a folder.
    Restore { snapshot: Arc<Snapshot>, places: Vec<Vec<u8>> },
    /// One file, under this path.
    Save { snapshot: Arc<Snapshot>, place: Vec<u8> },
}

impl Purpose {
    /// What is to be done, once the path is known.
    pub(in crate::cli::browse) fn request(self, path: PathBuf) -> Request {
        match self {
            Self::Restore { snapshot, places } => Request::Restore { snapshot, places, folder: path },
            Self::Save { snapshot, place } => Request::Save { snapshot, place, file: path },
        }
    }
}

/// What lies over a screen.
#[derive(Clone, Debug, Default)]
pub(in crate::cli::browse) enum Dialog {
    #[default]
    None,
    Help(List),
    /// A path is asked for.
    Path {
        purpose: Purpose,
        edit: Edit,
    },
    /// Whether this is really to be done: in words, and what.
    Sure {
        purpose: Purpose,
        path: PathBuf,
        text: String,
    },
    /// It is under way; whether it was asked to stop.
    Work {
        verb: &'static str,
        stopping: bool,
    },
    /// What came of it.
    Report {
        title: &'static str,
        lines: Vec<String>,
        list: List,
    },
}
