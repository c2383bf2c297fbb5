//! Nodes as a person reads them: what `ls -l` shows.

use super::human;
use crate::format::node::{Node, NodeKind};
use crate::report::printable;

/// The kind and mode of a node as `ls -l` shows them.
pub(crate) fn mode(kind: NodeKind, mode: u32) -> String {
    let kind = match kind {
        NodeKind::Directory => 'd',
        NodeKind::File => '-',
        NodeKind::Symlink => 'l',
        NodeKind::Fifo => 'p',
        NodeKind::Socket => 's',
        NodeKind::CharacterDevice => 'c',
        NodeKind::BlockDevice => 'b',
    };
    let bit = |bit: u32, letter: char| if mode & bit != 0 { letter } else { '-' };
    let run = |bit: u32, special: u32, both: char, alone: char| match (mode & bit != 0, mode & special != 0) {
        (true, true) => both,
        (false, true) => alone,
        (true, false) => 'x',
        (false, false) => '-',
    };
    [
        kind,
        bit(0o400, 'r'),
        bit(0o200, 'w'),
        run(0o100, 0o4000, 's', 'S'),
        bit(0o040, 'r'),
        bit(0o020, 'w'),
        run(0o010, 0o2000, 's', 'S'),
        bit(0o004, 'r'),
        bit(0o002, 'w'),
        run(0o001, 0o1000, 't', 'T'),
    ]
    .iter()
    .collect()
}

/// Mode, owner, group, size and time, in columns that line up from line to line.
pub(crate) fn columns(node: &Node, human_readable: bool) -> String {
    let name = |name: &[u8], number: u32| if name.is_empty() { number.to_string() } else { printable(name) };
    format!(
        "{}  {:<8} {:<8} {:>12}  {}",
        mode(node.kind, node.mode),
        name(&node.user, node.uid),
        name(&node.group, node.gid),
        size(node, human_readable),
        human::local(node.mtime)
    )
}

/// The size of a file; the number of a device.
pub(crate) fn size(node: &Node, human_readable: bool) -> String {
    match device(node) {
        Some((major, minor)) => format!("{major}, {minor}"),
        None if human_readable => human::bytes(node.size),
        None => node.size.to_string(),
    }
}

/// The two numbers of a device.
pub(crate) fn device(node: &Node) -> Option<(u64, u64)> {
    node.device_number.map(|number| (number >> 32, number & 0xffff_ffff))
}

/// Where a link leads, behind an arrow; nothing for all else.
pub(crate) fn target(node: &Node) -> String {
    node.link_target.as_deref().map(|target| format!(" -> {}", printable(target))).unwrap_or_default()
}
