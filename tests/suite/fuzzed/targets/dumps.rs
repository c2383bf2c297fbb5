//! What servers' clients write: scripts of MariaDB's and MySQL's, archives of PostgreSQL's, files of Redis.

use strongroom::error::Result;
use strongroom::source::server::mysql::script::{Reading, Script};
use strongroom::source::server::postgres::archive::{self, Archive};
use strongroom::source::server::redis::rdb::{Checked, Rdb};

use super::{accept, decoded};

/// The SQL of `mariadb-dump`: however it is cut into pieces, it is the same, and nothing may follow its end.
pub(super) fn mysql_script(bytes: &[u8]) {
    let read = |piece: usize, bytes: &[u8]| -> Result<Reading> {
        let mut script = Script::default();
        bytes.chunks(piece).try_for_each(|piece| script.feed(piece))?;
        script.finish()
    };
    let whole = decoded(read(usize::MAX, bytes));
    for piece in [1, 3, 64] {
        assert_eq!(whole, read(piece, bytes).ok());
    }
    let Some(reading) = whole else { return };
    // A row takes two brackets at least.
    assert!(reading.rows.values().sum::<u64>() <= bytes.len() as u64 / 2);
    assert!(read(64, &[bytes, b"x"].concat()).is_err());
    assert!(read(64, &bytes[..bytes.trim_ascii_end().len()]).is_err());
}

/// An archive of `pg_dump`: however it is cut into pieces, it is the same, and nothing may follow its end.
pub(super) fn postgres_archive(bytes: &[u8]) {
    let read = |piece: usize, bytes: &[u8]| -> Result<archive::Reading> {
        let mut archive = Archive::default();
        bytes.chunks(piece).try_for_each(|piece| archive.feed(piece))?;
        archive.finish()
    };
    let whole = decoded(read(usize::MAX, bytes));
    for piece in [1, 3, 64] {
        assert_eq!(whole, read(piece, bytes).ok());
    }
    let Some(reading) = whole else { return };
    // A row takes an end of its line at least, and a large object a number and an empty chunk.
    assert!(reading.tables.values().sum::<u64>() <= bytes.len() as u64);
    assert!(reading.large_objects <= bytes.len() as u64 / 2);
    for more in [0, 1, 3] {
        assert!(read(64, &[bytes, &[more]].concat()).is_err());
    }
    assert!(read(64, &bytes[..bytes.len() - 1]).is_err());
}

/// An RDB file: what comes out is what went in, without a mark, and its sum fits.
pub(super) fn rdb(bytes: &[u8]) {
    // The sum of a seed that was changed does not fit: a flag puts zeros in its place.
    let Some((flag, file)) = bytes.split_first() else { return };
    let mut file = file.to_vec();
    if flag % 2 == 1 {
        let length = file.len();
        file[length.saturating_sub(8)..].fill(0);
    }
    let read = |piece: usize| -> Result<(Vec<u8>, Checked)> {
        let (mut rdb, mut out, mut buffer) = (Rdb::default(), Vec::new(), [0; 100]);
        let mut ended = false;
        let mut pieces = file.chunks(piece);
        let mut checked = Checked::Form;
        while !ended {
            match pieces.next() {
                Some(piece) => rdb.feed(piece)?,
                None => {
                    checked = rdb.end()?;
                    ended = true;
                }
            }
            while let length @ 1.. = rdb.release(&mut buffer) {
                out.extend_from_slice(&buffer[..length]);
            }
        }
        Ok((out, checked))
    };
    let whole = decoded(read(usize::MAX));
    assert_eq!(whole, read(7).ok());
    let Some((out, checked)) = whole else { return };
    accept();
    assert!(file.starts_with(&out) && [0, 40].contains(&(file.len() - out.len())));
    assert_eq!(out[out.len() - 9], 0xff);
    assert_eq!(checked == Checked::Form, out.ends_with(&[0; 8]));
}
