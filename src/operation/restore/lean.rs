//! What a plan keeps of a node: a fraction of it, for a plan holds millions.

use crate::format::node::{Attribute, Hole, Node, NodeKind, Timestamp};

/// What is needed to make something again, without the contents of a file.
#[derive(Clone, Debug)]
pub(super) struct Lean {
    pub(super) kind: NodeKind,
    mode: u32,
    uid: u32,
    gid: u32,
    pub(super) mtime: Timestamp,
    pub(super) size: u64,
    /// What few nodes have.
    rest: Option<Box<Rest>>,
}

#[derive(Clone, Debug)]
struct Rest {
    link_target: Option<Vec<u8>>,
    device_number: Option<u64>,
    attributes: Option<Vec<Attribute>>,
    holes: Vec<Hole>,
}

impl Lean {
    pub(super) fn of(node: Node) -> Self {
        let is_plain = node.link_target.is_none()
            && node.device_number.is_none()
            && node.attributes.is_none()
            && node.holes.is_none();
        let rest = (!is_plain).then(|| {
            Box::new(Rest {
                link_target: node.link_target,
                device_number: node.device_number,
                attributes: node.attributes,
                holes: node.holes.unwrap_or_default(),
            })
        });
        let Node { kind, mode, uid, gid, mtime, size, .. } = node;
        Self { kind, mode, uid, gid, mtime, size, rest }
    }

    /// A folder of which nothing is known but that it was there.
    pub(super) fn made_up_folder() -> Self {
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let mtime = Timestamp::default();
        Self { kind: NodeKind::Directory, mode: 0o700, uid, gid, mtime, size: 0, rest: None }
    }

    pub(super) fn holes(&self) -> &[Hole] {
        self.rest.as_ref().map(|rest| rest.holes.as_slice()).unwrap_or_default()
    }

    pub(super) fn link_target(&self) -> Option<&[u8]> {
        self.rest.as_ref()?.link_target.as_deref()
    }

    pub(super) fn device_number(&self) -> Option<u64> {
        self.rest.as_ref()?.device_number
    }

    /// The node again, as far as the target asks for it.
    pub(super) fn node(&self) -> Node {
        Node {
            kind: self.kind,
            mode: self.mode,
            uid: self.uid,
            gid: self.gid,
            user: Vec::new(),
            group: Vec::new(),
            mtime: self.mtime,
            ctime: Timestamp::default(),
            size: self.size,
            device: 0,
            inode: 0,
            links: 1,
            link_target: self.link_target().map(<[u8]>::to_vec),
            device_number: self.device_number(),
            attributes: self.rest.as_ref().and_then(|rest| rest.attributes.clone()),
            content: None,
            holes: None,
            database: None,
            extensions: None,
        }
    }
}
