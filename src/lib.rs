//! bearerd makes OAuth somebody else's problem: it keeps a refresh token alive and authorizes every request it forwards.
//!
//! **`grant/` keeps tokens, `proxy/` spends them, `token.rs` is all they know of each other.** Folders and files carry
//! the section names of proxy.toml, so that the operator's map and the programmer's map are one.
//!
//! | where is …? | there |
//! |---|---|
//! | what happens to a request | [`proxy::Proxy`], `forward` |
//! | which headers are removed | [`proxy::headers`] |
//! | who may ask | [`proxy::guard`] |
//! | what the caller sees when there is no token | [`proxy::error`] |
//! | how a person signs in, by browser or by device | [`login`] |
//! | when the next refresh is | [`grant::schedule`] |
//! | what is sent to the token endpoint, and how its answer is read | [`grant::wire`], [`grant::client_auth`] |
//! | how assertions and proofs are signed | [`jose`], [`dpop`] |
//! | redeem, save, publish | [`grant::refresher`] |
//! | which seed or record counts | [`grant::lineage`] |
//! | when a rotated refresh token is on disk | [`store`], `file` |
//! | how a record rests in the desktop's keyring | [`store`], `keyring` |
//! | how a record is encrypted, and how a grant moves | [`store`], `seal`; [`store::transfer`] |
//! | what a key of proxy.toml means | [`config`], and the file itself |
//! | what ready means, what is measured | [`admin`], [`metrics`] |
//! | who is told that a grant needs a person | [`hooks`] |
//! | who starts what | [`app`] |
//! | what `check --online` asks | [`checking`] |
//! | what is guaranteed, and what cannot be | [`manual::guarantees`] |
//! | what a code means, and what to do | [`manual::codes`] |
//! | how to begin, and all the rest of the manual | [`manual`] |

pub mod admin;
pub mod app;
pub mod checking;
mod child;
pub mod cli;
pub mod clock;
mod code;
pub mod config;
pub mod dpop;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod grant;
pub mod hooks;
pub mod jose;
pub mod login;
pub mod manual;
pub mod metrics;
pub mod net;
pub mod panics;
pub mod proxy;
pub mod secret;
pub mod signal;
pub mod store;
pub mod telemetry;
pub mod tls;
pub mod token;
