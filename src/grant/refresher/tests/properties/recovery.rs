//! I5: whatever has happened, once everything is well again and a dead grant has a new seed, there is a usable token.

use super::events::{Seed, Who};
use super::server::Token;
use super::world::Stage;
use super::*;

/// A hang and the wait for a lock that it held, a nap, and the bucket.
const AFTER_A_HANG: Duration = Duration::from_secs(20 + 15 + 5);
/// A nap, a redeem, and the bucket (R48).
const AFTER_A_SEED: Duration = Duration::from_secs(15 + 5 + 2);
/// As long as a server may ask us to stay away (R50).
const AFTER_A_REPRIEVE: Duration = Duration::from_secs(300 + 5);
/// How often a configuration error is tried again (R54).
const AFTER_A_MISTAKE: Duration = Duration::from_secs(60 + 5);
/// The slowest probe of a refused grant (R53).
const PROBE: i64 = 3600;

/// What has to be waited for.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    NewSeed,
    Probe,
    Retry,
    PutOff,
    Operator,
}

impl Stage {
    pub(super) async fn recovers(&mut self) -> Result<(), String> {
        self.world.witness(|witness, now| witness.notes(now, "all is well"));
        self.heal();
        self.pass(AFTER_A_HANG).await;
        let mut done = Vec::new();
        loop {
            self.broken()?;
            let Some(main) = &self.main else { return Err("the main process is gone".to_owned()) };
            let (state, has_token) = (main.state(), main.has_token());
            if state == State::Active && has_token {
                return self.ends_well().await;
            }
            let is_alive = self.is_alive().await;
            let is_put_off = self.world.witness(|witness, _| witness.pace(Who::Main).is_put_off);
            let step = match state {
                _ if !is_alive => Step::NewSeed,
                State::SignInRequired => Step::Probe,
                State::Misconfigured => Step::Retry,
                // Only the access token could not be saved; the next refresh saves it.
                State::Degraded => Step::Operator,
                _ if is_put_off => Step::PutOff,
                state => return Err(format!("I5: all is well, and the grant is {state}")),
            };
            // The first refresh that an operator asks for may take up what the other process has saved.
            let enough = if step == Step::Operator { 2 } else { 1 };
            if done.iter().filter(|before| **before == step).count() == enough {
                return Err(format!("I5: after {done:?} the grant is {state}"));
            }
            self.world.witness(|witness, now| witness.notes(now, step));
            done.push(step);
            match step {
                Step::NewSeed => {
                    self.reseed(Seed::New).await;
                    self.pass(AFTER_A_SEED).await;
                }
                Step::Probe => {
                    self.suspend(PROBE);
                    self.pass(AFTER_A_SEED).await;
                }
                Step::Retry => self.pass(AFTER_A_MISTAKE).await,
                Step::PutOff => self.pass(AFTER_A_REPRIEVE).await,
                Step::Operator => {
                    self.tell(Who::Main, |_| Command::Refresh).await;
                    self.pass(AFTER_A_SEED).await;
                }
            }
        }
    }

    /// Whether the server would accept what is to be presented next.
    async fn is_alive(&self) -> bool {
        let Some(record) = self.world.rests().await else { return false };
        let Some(token) = record.refresh_token.as_ref().map(Token::of) else { return false };
        let now = self.world.elapsed();
        self.world.server(|server| server.accepts(token, now))
    }

    /// I3, at last: nothing that was returned is still in memory only, and the last that rested rests.
    async fn ends_well(&mut self) -> Result<(), String> {
        let rests = self.world.rests().await.and_then(|record| record.refresh_token.as_ref().map(Token::of));
        let (unsaved, rested) =
            self.world.witness(|witness, _| (witness.unsaved.map(|unsaved| unsaved.holder), witness.rested));
        if let Some(holder) = unsaved {
            return Err(format!("I3: all is well, and {holder:?} has not saved what it was given"));
        }
        if rests != rested {
            return Err(format!("I3: {rests:?} rests, and {rested:?} did"));
        }
        self.broken()
    }
}
