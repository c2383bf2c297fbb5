//! Going from screen to screen: into what is under the cursor, and back.

use std::sync::Arc;

use super::{Effect, Folder, Preview, Reading, Screen, State};
use crate::cli::browse::request::Request;
use crate::format::node::NodeKind;
use crate::format::path;
use crate::repository::snapshot::Snapshot;

/// Deepest pile of screens: each holds its entries.
const SCREENS_MAX: usize = 4200;

impl State {
    /// Opens a snapshot at a folder, or at the folder of something else.
    pub(in crate::cli::browse) fn open_at(
        &mut self,
        snapshot: &Arc<Snapshot>,
        place: &[u8],
        is_folder: bool,
    ) -> Effect {
        let known = &self.snapshots.choice.known;
        if let Some(index) = known.iter().position(|known| known.snapshot.id == snapshot.id) {
            self.snapshots.list.go_to(known.len().saturating_sub(index.saturating_add(1)));
        }
        let folder = if is_folder { place } else { path::parent(place).unwrap_or_default() };
        // What lies above is read when one goes there.
        let mut above: Vec<&[u8]> =
            std::iter::successors(Some(folder), |place| path::parent(place)).collect();
        above.reverse();
        for (index, place) in above.iter().enumerate() {
            let next = above.get(index.saturating_add(1)).map(|next| path::name(next).to_vec());
            let mut screen = Folder::new(Arc::clone(snapshot), place.to_vec(), next);
            screen.reading = Reading::Stopped;
            self.screens.push(Screen::Folder(Box::new(screen)));
        }
        if let (Some(Screen::Folder(top)), false) = (self.screens.last_mut(), is_folder) {
            **top = Folder::new(Arc::clone(snapshot), folder.to_vec(), Some(path::name(place).to_vec()));
        }
        self.read_again()
    }

    pub(super) fn open(&mut self) -> Effect {
        match self.screens.last() {
            None => match self.snapshots.selected() {
                Some(known) => {
                    let snapshot = Arc::clone(&known.snapshot);
                    self.push_folder(snapshot, Vec::new())
                }
                None => Effect::None,
            },
            Some(Screen::Folder(folder)) => match folder.selected_path() {
                Some((place, NodeKind::Directory)) => {
                    let snapshot = Arc::clone(&folder.snapshot);
                    self.push_folder(snapshot, place)
                }
                Some((place, kind)) => {
                    let snapshot = Arc::clone(&folder.snapshot);
                    self.preview(snapshot, place, kind)
                }
                None => Effect::None,
            },
            Some(Screen::Versions(versions)) => match versions.selected() {
                Some((version, snapshot)) => {
                    let (place, kind) = (versions.place.clone(), version.node.kind);
                    if kind == NodeKind::Directory {
                        return self.push_folder(snapshot, place);
                    }
                    self.preview(snapshot, place, kind)
                }
                None => Effect::None,
            },
            Some(Screen::Preview(_)) => Effect::None,
        }
    }

    fn push_folder(&mut self, snapshot: Arc<Snapshot>, place: Vec<u8>) -> Effect {
        let folder = Folder::new(Arc::clone(&snapshot), place.clone(), None);
        self.push(Screen::Folder(Box::new(folder)), Request::Folder { snapshot, place })
    }

    fn preview(&mut self, snapshot: Arc<Snapshot>, place: Vec<u8>, kind: NodeKind) -> Effect {
        if let (NodeKind::File, Some(refusal)) = (kind, &self.refusal) {
            let text = refusal.clone();
            self.complain(text);
            return Effect::None;
        }
        let preview = Preview::new(Arc::clone(&snapshot), place.clone());
        self.push(Screen::Preview(Box::new(preview)), Request::Preview { snapshot, place })
    }

    pub(super) fn push(&mut self, screen: Screen, request: Request) -> Effect {
        if self.screens.len() >= SCREENS_MAX {
            self.complain("there are too many screens above each other; go back first");
            return Effect::None;
        }
        self.leave();
        self.screens.push(screen);
        self.ask(request)
    }

    /// What is under way was for the screen that is left.
    fn leave(&mut self) {
        self.stop();
        if let Some(Screen::Folder(folder)) = self.screens.last_mut() {
            folder.leave();
        }
    }

    pub(super) fn back(&mut self) -> Effect {
        if self.screens.is_empty() {
            return Effect::None;
        }
        self.stop();
        self.screens.pop();
        self.read_again()
    }

    /// Reads what the screen needs and has not.
    pub(super) fn read_again(&mut self) -> Effect {
        match self.screens.last_mut() {
            Some(Screen::Folder(folder)) if folder.reading != Reading::Done => {
                folder.begin();
                let (snapshot, place) = (Arc::clone(&folder.snapshot), folder.place.clone());
                self.ask(Request::Folder { snapshot, place })
            }
            Some(Screen::Versions(versions)) if versions.found.is_none() => {
                let (snapshots, place) = (versions.snapshots.clone(), versions.place.clone());
                self.ask(Request::Versions { snapshots, place })
            }
            _ => Effect::None,
        }
    }

    pub(super) fn refresh(&mut self) -> Effect {
        self.stop();
        match self.screens.last_mut() {
            None => self.ask(Request::Snapshots),
            Some(Screen::Folder(folder)) => {
                folder.reading = Reading::Stopped;
                self.read_again()
            }
            Some(_) => Effect::None,
        }
    }
}
