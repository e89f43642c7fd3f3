//! The playground: an authorization server, an upstream and bearerd between them, in one process, with nothing
//! installed. `cargo run --example playground`
//!
//! `playground parties [strict|authgear] [SECONDS] [REDIRECT_URI]` starts the two parties alone, for a bearerd that runs
//! elsewhere: one JSON line says where they are, and standard input takes the same commands. With a redirect URI people
//! sign in on a page with buttons, and may be sent back there.

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

use crate::stage::{CLIENT, EXPIRES_IN, Stage};
use crate::support::authorization_server::{AuthorizationServer, Client, Options, Person};

fn main() -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let usage =
        || std::io::Error::other("usage: playground [parties [strict|authgear] [SECONDS] [REDIRECT_URI]]");
    match words.as_slice() {
        [] => runtime.block_on(play()),
        ["parties", rest @ ..] if rest.len() <= 3 => {
            let server = match rest.first() {
                None | Some(&"strict") => AuthorizationServer::strict(),
                Some(&"authgear") => AuthorizationServer::authgear(),
                Some(_) => return Err(usage()),
            };
            let life = rest.get(1).map_or(Ok(EXPIRES_IN), |life| life.parse().map_err(|_| usage()))?;
            runtime.block_on(parties(server.expires_in(life), rest.get(2).copied()))
        }
        _ => Err(usage()),
    }
}

/// The two parties alone, until Ctrl-C.
async fn parties(server: Options, redirect_uri: Option<&str>) -> std::io::Result<()> {
    let clients = redirect_uri.map(|uri| Client::public(CLIENT).redirects_to(uri));
    let stage = Stage::set(clients.into_iter().fold(server, Options::client))?;
    if redirect_uri.is_some() {
        stage.server.person(Person::Reads);
    }
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
