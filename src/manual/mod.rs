//! The manual: one page a topic and one a code, read here, in the repository and by `bearerd explain` alike.
//!
//! Pages of reference are made from the code: `BEARERD_WRITE=1 cargo test manual` writes them anew.

pub mod codes;
pub mod roff;
pub mod text;

#[doc = include_str!("guarantees.md")]
pub mod guarantees {}
