//! The playground: an authorization server, an upstream and bearerd between them, in one process, with nothing
//! installed. `cargo run --example playground`
//!
//! `playground parties [strict|authgear] [SECONDS]` starts the two parties alone, for a bearerd that runs elsewhere: one
//! JSON line says where they are, and standard input takes the same commands.

#![allow(clippy::print_stdout, reason = "a playground talks to the person who plays")]
#![allow(clippy::unwrap_used, reason = "and may end with a panic, as a test may")]

#[path = "../support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the tests use all of it")]
#[allow(clippy::expect_used, clippy::indexing_slicing, reason = "written for tests, which may panic")]
mod support;

mod between;
mod commands;
mod stage;
mod story;

use crate::stage::{EXPIRES_IN, Stage};
use crate::support::authorization_server::AuthorizationServer;

fn main() -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let seconds = |text: &str| text.parse().map_err(std::io::Error::other);
    match words.as_slice() {
        [] => runtime.block_on(play()),
        ["parties"] | ["parties", "strict"] => runtime.block_on(parties(false, EXPIRES_IN)),
        ["parties", "strict", life] => runtime.block_on(parties(false, seconds(life)?)),
        ["parties", "authgear"] => runtime.block_on(parties(true, EXPIRES_IN)),
        ["parties", "authgear", life] => runtime.block_on(parties(true, seconds(life)?)),
        _ => Err(std::io::Error::other("usage: playground [parties [strict|authgear] [SECONDS]]")),
    }
}

/// The two parties alone, until Ctrl-C.
async fn parties(authgear: bool, expires_in: u64) -> std::io::Result<()> {
    let server = if authgear { AuthorizationServer::authgear() } else { AuthorizationServer::strict() };
    let stage = Stage::set(server.expires_in(expires_in))?;
    println!("{}", story::addresses(&stage));
    tokio::select! {
        _ctrl_c = tokio::signal::ctrl_c() => {}
        () = commands::follow(&stage) => {}
    }
    Ok(())
}

async fn play() -> std::io::Result<()> {
    let stage = Stage::set(AuthorizationServer::strict().expires_in(EXPIRES_IN))?;
    println!("{}", story::opening(&stage));
    let curtain = async {
        tokio::select! {
            _ctrl_c = tokio::signal::ctrl_c() => {}
            () = story::tell(&stage) => {}
            () = commands::follow(&stage) => {}
        }
    };
    between::run(&stage.config, curtain).await?;
    println!("{}", story::ending(&stage));
    Ok(())
}
