//! Sealing blobs and opening them again.
//!
//! Follows `format-spec/05-blob.md`. Invariants: a session seals a blob once; what is opened is
//! hashed, always, and is the blob its id names or an error.

use super::keyring::Keyring;
use crate::compress;
use crate::crypto::derive;
use crate::crypto::envelope;
use crate::crypto::seal::Sealer;
use crate::crypto::secret::Secret;
use crate::error::{Error, Result};
use crate::format::blob::{
    BlobKind, Class, ENCODING_RAW, ENCODING_ZSTD, FRAME_OVERHEAD, TAG_LEN, associated_data,
};
use crate::format::pack::Envelope;
use crate::id::Id;
use crate::limits;

/// A session's key for the blobs of one class.
pub(crate) struct ContentKey {
    key: Secret,
    /// The key, sealed to the class's public key.
    pub(crate) envelope: Envelope,
}

impl ContentKey {
    /// Draws a key and seals it to the class's public key.
    pub(crate) fn new(keyring: &Keyring, class: Class) -> Result<Self> {
        let key = Secret::random()?;
        let envelope =
            envelope::seal(keyring.public_key(class), &envelope_info(keyring.repository(), class), &key)?;
        Ok(Self { key, envelope })
    }

    /// The key itself, to open what this session sealed.
    pub(crate) fn key(&self) -> &Secret {
        &self.key
    }

    /// Replaces `frame` by the sealed form of a blob: ciphertext, tag. A blob is sealed once in a session.
    pub(crate) fn seal(
        &self,
        repository: &Id,
        kind: BlobKind,
        id: &Id,
        plain: &[u8],
        frame: &mut Vec<u8>,
    ) -> Result<()> {
        let plain_length = u32::try_from(plain.len())
            .ok()
            .filter(|_| plain.len() <= limits::BLOB_PLAIN_MAX)
            .ok_or_else(|| Error::refused("a blob is too long"))?;
        frame.clear();
        frame.push(ENCODING_ZSTD);
        if !compress::compress(plain, frame)? {
            frame.clear();
            frame.push(ENCODING_RAW);
            frame.extend_from_slice(plain);
        }
        let associated = associated_data(repository, kind, id, plain_length);
        let tag = Sealer::new(&derive::blob_key(&self.key, kind.code(), id)).seal(&associated, frame)?;
        frame.extend_from_slice(&tag);
        Ok(())
    }
}

/// What an envelope's seal binds.
pub(crate) fn envelope_info(repository: &Id, class: Class) -> Vec<u8> {
    let mut info = b"strongroom v1 content key".to_vec();
    info.push(0);
    info.extend_from_slice(repository.as_bytes());
    info.push(class.code());
    info
}

/// Opens the content key in an envelope.
pub(crate) fn open_envelope(keyring: &Keyring, class: Class, envelope: &Envelope) -> Result<Secret> {
    let secret = keyring.secret_key(class)?;
    envelope::open(&secret, &envelope_info(keyring.repository(), class), envelope)
}

/// Room for opening blobs, used again and again.
#[derive(Default)]
pub(crate) struct OpenBuffers {
    payload: Vec<u8>,
    plain: Vec<u8>,
}

/// Opens a frame, decompresses it, and checks that it is the blob that its id names.
pub(crate) fn open_frame<'a>(
    keyring: &Keyring,
    content_key: &Secret,
    kind: BlobKind,
    id: &Id,
    plain_length: u32,
    frame: &[u8],
    buffers: &'a mut OpenBuffers,
) -> Result<&'a [u8]> {
    let short = || Error::corrupt("a blob is too short");
    if frame.len() < FRAME_OVERHEAD {
        return Err(short());
    }
    let (sealed, tag) = frame.split_last_chunk::<TAG_LEN>().ok_or_else(short)?;
    buffers.payload.resize(sealed.len(), 0);
    let associated = associated_data(keyring.repository(), kind, id, plain_length);
    let sealer = Sealer::new(&derive::blob_key(content_key, kind.code(), id));
    sealer.open_to(&associated, sealed, &mut buffers.payload, tag)?;
    let (encoding, payload) = buffers.payload.split_first().ok_or_else(short)?;
    let length = usize::try_from(plain_length).unwrap_or(usize::MAX);
    let plain: &[u8] = match *encoding {
        ENCODING_RAW if payload.len() == length => payload,
        ENCODING_ZSTD if length <= limits::BLOB_PLAIN_MAX => {
            compress::decompress(payload, length, &mut buffers.plain)?;
            &buffers.plain
        }
        _ => return Err(Error::corrupt("a blob's encoding or length is not possible")),
    };
    if keyring.blob_id(kind, plain) != *id {
        return Err(Error::corrupt("a blob's contents are not the ones its id names"));
    }
    Ok(plain)
}
