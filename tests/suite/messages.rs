//! What the program says where something is wrong, kept word for word in `messages/`.
//!
//! `INSTA_UPDATE=always cargo test --test suite messages` writes them anew. Read the difference as somebody would at three
//! in the morning: what happened, why, and what to do next.
//!
//! Invariant: every refusal ends with its documented exit code and names a next step.

mod asking;
mod damage;
mod disks;
mod names;
mod transcript;
mod usage;
