//! What a person can do to the parties while bearerd runs.

use std::io::BufRead as _;

use tokio::sync::mpsc;

use crate::stage::Stage;
use crate::story;
use crate::support::authorization_server::{Fault, Phase};

/// A word, what it does, and how.
type Command = (&'static str, &'static str, fn(&Stage));

const COMMANDS: [Command; 6] = [
    ("down", "the authorization server answers 500 from now on", |stage| {
        stage.server.fault(Fault::ServerError, Phase::BeforeProcessing);
    }),
    ("up", "it is well again", |stage| stage.server.heal()),
    ("revoke", "it revokes the access token; curl again and see", |stage| {
        let redeems = stage.server.redeems();
        if let Some(token) = redeems.iter().rev().find_map(|one| one.access_token.as_deref()) {
            stage.server.revoke(token);
        }
    }),
    ("lose", "it loses the next answer after it has rotated: only a person can mend that", |stage| {
        stage.server.fault_once(Fault::Close, Phase::AfterProcessing);
    }),
    ("event", "the upstream sends one event to who listens", |stage| stage.upstream.release_events(1)),
    ("tally", "how it goes, as JSON", |stage| println!("{}", story::tally(stage))),
];

/// The commands, a line each.
pub(crate) fn help() -> String {
    COMMANDS.iter().map(|(word, meaning, _)| format!("  {word:<8}  {meaning}\n")).collect()
}

/// Does what is typed, for ever.
pub(crate) async fn follow(stage: &Stage) {
    let (typed, mut lines) = mpsc::unbounded_channel();
    // A thread of its own, because reading from a terminal cannot be cancelled.
    std::thread::spawn(move || {
        let typing = std::io::stdin().lock().lines().map_while(Result::ok);
        typing.for_each(|line| drop(typed.send(line)));
    });
    while let Some(line) = lines.recv().await {
        match COMMANDS.iter().find(|(word, ..)| *word == line.trim()) {
            Some((_, meaning, act)) => {
                act(stage);
                println!("# {meaning}");
            }
            None if line.trim().is_empty() => {}
            None => print!("{}", help()),
        }
    }
    // No terminal, or no more of it: Ctrl-C still works.
    std::future::pending().await
}
