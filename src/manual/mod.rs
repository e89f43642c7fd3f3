//! The manual: one page a topic, read here and in the repository alike.

#[doc = include_str!("guarantees.md")]
pub mod guarantees {}
