//! The folders that a walk is in at the moment, from the root to the deepest.
//!
//! Invariant: at most [`MOST_OPEN`] of them are held open, and those that a source begins with. Coming back to a
//! folder that was closed, it is opened anew: by `..` from the one below, else from the nearest open one above,
//! name by name; and only what is the same inode as before counts as that folder. So neither the depth of a
//! folder nor the length of its path is limited by the system.

use std::sync::Arc;

use super::folder::Folder;

/// So many folders stay open; deeper than that, those further up are closed meanwhile.
const MOST_OPEN: usize = 60;

/// A folder that the walk is in.
pub(super) struct Frame {
    /// Its name in the folder above it.
    pub(super) name: Box<[u8]>,
    /// The length of its path in the snapshot.
    pub(super) path_length: usize,
    /// The names yet to be visited.
    pub(super) names: std::vec::IntoIter<Box<[u8]>>,
    /// Its kind.
    pub(super) kind: FrameKind,
    /// Whether the plan knows anything of this place or of one below.
    pub(super) planned: bool,
    /// The folder, while open.
    folder: Option<Arc<Folder>>,
    identity: Option<(u64, u64)>,
}

/// How a folder of the snapshot is backed by one of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FrameKind {
    /// The one of that name in the folder above.
    Natural,
    /// A source of its own: what is above it in the snapshot is not above it on the host.
    Source,
    /// By none, or by one of which nothing is visited: it only holds further places.
    Holder,
}

impl Frame {
    /// A folder that is listed.
    pub(super) fn open(name: Box<[u8]>, path_length: usize, folder: Arc<Folder>, kind: FrameKind) -> Self {
        let identity = folder.identity().ok();
        Self { kind, folder: Some(folder), identity, ..Self::holder(name, path_length) }
    }

    /// Number of the file system that the folder lies on.
    pub(super) fn device(&self) -> Option<u64> {
        self.identity.map(|(device, _)| device)
    }

    /// A folder that only holds further places.
    pub(super) fn holder(name: Box<[u8]>, path_length: usize) -> Self {
        Self {
            name,
            path_length,
            names: Vec::new().into_iter(),
            kind: FrameKind::Holder,
            planned: true,
            folder: None,
            identity: None,
        }
    }
}

/// The folders that a walk is in.
#[derive(Default)]
pub(super) struct Stack(Vec<Frame>);

impl Stack {
    /// The deepest.
    pub(super) fn top(&mut self) -> Option<&mut Frame> {
        self.0.last_mut()
    }

    /// Goes into a folder.
    pub(super) fn enter(&mut self, frame: Frame) {
        self.0.push(frame);
        let far_up = self.0.len().checked_sub(MOST_OPEN + 1).and_then(|index| self.0.get_mut(index));
        if let Some(frame) = far_up
            && frame.kind == FrameKind::Natural
        {
            frame.folder = None;
        }
    }

    /// Leaves the deepest folder. Fails if the one above has to be opened anew and cannot be found.
    pub(super) fn leave(&mut self) -> rustix::io::Result<()> {
        let Some(left) = self.0.pop() else { return Ok(()) };
        let Some(frame) = self.0.last() else { return Ok(()) };
        if frame.kind == FrameKind::Holder || frame.folder.is_some() || frame.names.as_slice().is_empty() {
            return Ok(());
        }
        let folder = match self.upwards(&left) {
            Some(folder) => folder,
            None => self.downwards()?,
        };
        if let Some(frame) = self.0.last_mut() {
            frame.folder = Some(Arc::new(folder));
        }
        Ok(())
    }

    /// The deepest folder, open unless it is a holder.
    pub(super) fn folder(&self) -> Option<Arc<Folder>> {
        self.0.last().and_then(|frame| frame.folder.clone())
    }

    fn upwards(&self, left: &Frame) -> Option<Folder> {
        if left.kind != FrameKind::Natural {
            return None;
        }
        let below = left.folder.as_ref()?;
        let path = below.path().parent()?.to_path_buf();
        let folder = below.reach_folder(b"..", path).ok()?;
        self.is_top(&folder).then_some(folder)
    }

    fn downwards(&self) -> rustix::io::Result<Folder> {
        let moved = rustix::io::Errno::NOENT;
        let open = self.0.iter().rposition(|frame| frame.folder.is_some()).ok_or(moved)?;
        let start = self.0.get(open).and_then(|frame| frame.folder.clone()).ok_or(moved)?;
        let mut reached: Option<Folder> = None;
        for frame in self.0.iter().skip(open).skip(1) {
            let from = reached.as_ref().unwrap_or(&start);
            reached = Some(from.reach_folder(&frame.name, from.path_of(&frame.name))?);
        }
        reached.filter(|folder| self.is_top(folder)).ok_or(moved)
    }

    fn is_top(&self, folder: &Folder) -> bool {
        let expected = self.0.last().and_then(|frame| frame.identity);
        expected.is_some() && folder.identity().ok() == expected
    }
}

#[cfg(test)]
mod tests {

    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::source::files::testing::Scratch;

    /// A stack in `a/a/a...`, each of which has one more name to visit.
    fn descend(path: &Path, depth: usize) -> Stack {
        let mut stack = Stack::default();
        let mut path = path.to_path_buf();
        for level in 0..depth {
            let folder = Arc::new(Folder::reach(&path).unwrap());
            let kind = if level == 0 { FrameKind::Source } else { FrameKind::Natural };
            let mut frame = Frame::open(b"a".as_slice().into(), 0, folder, kind);
            frame.names = vec![Box::from(&b"z"[..])].into_iter();
            stack.enter(frame);
            path.push("a");
        }
        stack
    }

    fn open_frames(stack: &Stack) -> usize {
        stack.0.iter().filter(|frame| frame.folder.is_some()).count()
    }

    #[test]
    fn few_folders_stay_open_and_all_are_found_again() {
        let scratch = Scratch::new("stack");
        fs::create_dir_all(scratch.path().join("a/".repeat(200))).unwrap();
        let mut stack = descend(scratch.path(), 200);
        assert_eq!(open_frames(&stack), MOST_OPEN + 1);
        for level in (1..200).rev() {
            stack.leave().unwrap();
            let expected = Folder::reach(&scratch.path().join("a/".repeat(level - 1))).unwrap();
            let folder = stack.folder().unwrap();
            assert_eq!(folder.identity().unwrap(), expected.identity().unwrap());
            assert_eq!(folder.path().components().count(), expected.path().components().count());
            assert!(open_frames(&stack) <= MOST_OPEN + 1);
        }
    }

    #[test]
    fn a_folder_moved_away_is_found_from_above() {
        let scratch = Scratch::new("stack-moved");
        fs::create_dir_all(scratch.path().join("a/".repeat(80))).unwrap();
        let mut stack = descend(scratch.path(), 80);
        while stack.0.len() > 20 {
            stack.0.pop();
        }
        // The walk has come back to level 20, whose folder is closed; the one below it moves elsewhere.
        stack.0.last_mut().unwrap().folder =
            Some(Arc::new(Folder::reach(&scratch.path().join("a/".repeat(19))).unwrap()));
        fs::rename(scratch.path().join("a/".repeat(19)), scratch.path().join("elsewhere")).unwrap();
        stack.leave().unwrap();
        let expected = Folder::reach(&scratch.path().join("a/".repeat(18))).unwrap();
        assert_eq!(stack.folder().unwrap().identity().unwrap(), expected.identity().unwrap());
    }

    #[test]
    fn a_folder_that_is_another_now_is_not_taken_for_the_one_before() {
        let scratch = Scratch::new("stack-swapped");
        fs::create_dir_all(scratch.path().join("a/".repeat(80))).unwrap();
        let mut stack = descend(scratch.path(), 80);
        while stack.0.len() > 20 {
            stack.0.pop();
        }
        fs::rename(scratch.path().join("a"), scratch.path().join("elsewhere")).unwrap();
        fs::create_dir_all(scratch.path().join("a/".repeat(80))).unwrap();
        assert!(stack.leave().is_err());
        assert!(stack.folder().is_none());
    }
}
