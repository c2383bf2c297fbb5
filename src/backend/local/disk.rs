//! Whether a folder lies on a disk of this computer, or on one that somebody else serves.
//!
//! Invariant: what is not known counts as served: then more is asked for than is wanted, and nobody learns more than he may.

use rustix::fd::AsFd;

/// Magic numbers of file systems that keep what they hold on a disk or in the memory of this computer, as Linux lists them
/// in `magic.h` and statfs(2).
const OWN_DISKS: [u32; 11] = [
    0x0000_ef53, // ext2, ext3, ext4
    0x5846_5342, // XFS
    0x9123_683e, // Btrfs
    0x2fc1_2fc1, // ZFS
    0xf2f5_2010, // F2FS
    0xca45_1a4e, // bcachefs
    0x3153_464a, // JFS
    0x7366_746e, // NTFS
    0x2011_bab0, // exFAT
    0x0000_4d44, // FAT
    0x0102_1994, // tmpfs
];

/// Whether only this computer sees what is read here.
pub(super) fn is_own(folder: impl AsFd) -> bool {
    rustix::fs::fstatfs(folder)
        .is_ok_and(|stat| u32::try_from(stat.f_type).is_ok_and(|kind| OWN_DISKS.contains(&kind)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_disk_holds_is_none_of_this_computer() {
        let processes = std::fs::File::open("/proc").unwrap();
        assert!(!is_own(&processes));
        let (disk, _) = rustix::pipe::pipe().unwrap();
        assert!(!is_own(&disk));
    }
}
