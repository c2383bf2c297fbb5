//! Compression: zstd, with one context for each thread, and only where it gains.
//!
//! Follows `format-spec/05-blob.md#compression`. Invariant: decompression never makes more bytes than the
//! caller says there are.

use std::cell::RefCell;

use zstd::bulk::{Compressor, Decompressor};

use crate::error::{Error, ErrorKind, Result};

/// The level used unless another is asked for.
pub const DEFAULT_LEVEL: i32 = 3;

/// First bytes of a frame. What zstd passes over begins otherwise, and would be a frame of no bytes to its library.
const FRAME_START: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// A blob is stored compressed only if that saves at least one part in this many.
const LEAST_GAIN: usize = 50;

thread_local! {
    static COMPRESSOR: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
    /// Grown once to the longest result, for zeroing it anew would cost more than zstd needs to give up on noise.
    static COMPRESSED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

/// Appends `plain` to `out` as one zstd frame and says true, or leaves `out` as it was and says false where
/// that would not save two per cent.
pub fn compress(plain: &[u8], out: &mut Vec<u8>) -> Result<bool> {
    let fail = |error: std::io::Error| Error::new(ErrorKind::Io, "zstd cannot compress").caused_by(error);
    COMPRESSOR.with_borrow_mut(|slot| {
        let compressor = match slot {
            Some(compressor) => compressor,
            None => slot.insert(Compressor::new(DEFAULT_LEVEL).map_err(fail)?),
        };
        COMPRESSED.with_borrow_mut(|room| {
            let longest = zstd::zstd_safe::compress_bound(plain.len());
            if room.len() < longest {
                room.resize(longest, 0);
            }
            let written = compressor.compress_to_buffer(plain, room.as_mut_slice()).map_err(fail)?;
            let gains = written < plain.len().saturating_sub(plain.len() / LEAST_GAIN);
            if gains {
                out.extend_from_slice(room.get(..written).unwrap_or_default());
            }
            Ok(gains)
        })
    })
}

/// Replaces `plain` by the contents of a frame that must give exactly `plain_length` bytes.
pub fn decompress(frame: &[u8], plain_length: usize, plain: &mut Vec<u8>) -> Result<()> {
    let one_frame = frame.starts_with(&FRAME_START)
        && zstd::zstd_safe::find_frame_compressed_size(frame) == Ok(frame.len());
    if !one_frame {
        return Err(Error::corrupt("its compressed form is not one zstd frame"));
    }
    plain.resize(plain_length, 0);
    let written = DECOMPRESSOR.with_borrow_mut(|slot| {
        let decompressor = match slot {
            Some(decompressor) => decompressor,
            None => slot.insert(
                Decompressor::new()
                    .map_err(|error| Error::new(ErrorKind::Io, "zstd cannot start").caused_by(error))?,
            ),
        };
        decompressor
            .decompress_to_buffer(frame, plain.as_mut_slice())
            .map_err(|error| Error::corrupt("its compressed form is damaged").caused_by(error))
    })?;
    if written != plain_length {
        return Err(Error::corrupt("its length is not the one its seal names"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compresses_where_it_gains_and_never_makes_more_than_allowed() {
        let plain = b"vault ".repeat(1000);
        let mut out = b"before".to_vec();
        assert!(compress(&plain, &mut out).unwrap());
        let frame = out.split_off(6);
        assert_eq!(out, b"before");
        assert!(frame.len() < 100);
        let mut back = Vec::new();
        decompress(&frame, plain.len(), &mut back).unwrap();
        assert_eq!(back, plain);
        assert!(decompress(&frame, plain.len() - 1, &mut back).is_err());
        assert!(decompress(&frame, plain.len() + 1, &mut back).is_err());
        // A frame that holds nothing but what is to be passed over is none, not even of no bytes.
        let skippable = [0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 7];
        let empty = [0x28, 0xb5, 0x2f, 0xfd, 0x20, 0, 1, 0, 0];
        assert!(decompress(&skippable, 0, &mut back).is_err());
        decompress(&empty, 0, &mut back).unwrap();
        assert!(back.is_empty());
        let mut noise = vec![0; 4096];
        blake3::Hasher::new().finalize_xof().fill(&mut noise);
        assert!(!compress(&noise, &mut out).unwrap());
        assert_eq!(out, b"before");
    }
}
