//! Keys, seals and signatures. Everything here works on bytes and knows no objects.
//!
//! Follows `format-spec/03-cryptography.md`. Invariants: a key and a nonce meet once; secrets are wiped when
//! dropped and have no `Debug` that shows them; whatever came from outside is authenticated before it is used.

pub mod derive;
pub mod envelope;
pub mod kdf;
pub mod random;
pub mod seal;
pub mod secret;
pub mod sign;
