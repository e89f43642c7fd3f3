//! One process's way to the model authorization server, with every mishap that the schedule puts in it.

use super::events::{Mishap, Oddity, Who};
use super::pace::Outcome;
use super::server::{Token, Verdict, answer, busy, issuing, true_life};
use super::world::World;
use super::*;

/// `timeout` of the grant, after which a redeem ends without an answer.
pub(super) const TIMEOUT: Duration = Duration::from_secs(20);

/// One process's endpoint.
pub(super) struct Wire {
    pub(super) world: Arc<World>,
    pub(super) who: Who,
}

/// In flight until it is dropped, also by the end of its process.
struct InFlight<'a>(&'a World);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.witness(|witness, _| witness.out_of_flight());
    }
}

impl TokenEndpoint for Wire {
    fn forget(&self) {}

    fn disown(&self) {}

    fn prepare(&self) -> Pending<'_, Result<Prepared, RefreshError>> {
        Box::pin(async { Ok(prepared()) })
    }

    fn redeem<'a>(
        &'a self,
        _: &'a Prepared,
        presented: Option<&'a RefreshToken>,
        _: Option<&'a ProofKey>,
    ) -> Pending<'a, Redeemed> {
        let token = Token::of(presented.unwrap());
        Box::pin(async move {
            let world = &*self.world;
            let asked = world.now();
            world.witness(|witness, now| witness.presented(self.who, token, now, asked.boot));
            world.is_intended(token).await;
            let in_flight = InFlight(world);
            // No answer comes before others have run.
            tokio::task::yield_now().await;
            let mishap = world.server(|server| server.next.pop_front().or(server.every));
            let told = self.tell(token, asked, mishap).await;
            drop(in_flight);
            let boot = world.now().boot;
            world.witness(|witness, now| {
                witness.answered(self.who, (token, told.outcome), told.returned, (now, boot));
            });
            told.redeemed
        })
    }
}

/// What the process is told.
struct Told {
    redeemed: Redeemed,
    outcome: Outcome,
    returned: Option<Token>,
}

impl Told {
    fn plainly(redeemed: Redeemed, outcome: Outcome) -> Self {
        Self { redeemed, outcome, returned: None }
    }

    fn nothing() -> Self {
        Self::plainly(Redeemed::Unanswered("reset".to_owned()), Outcome::Unanswered)
    }

    fn says(status: u16, body: &str, outcome: Outcome) -> Self {
        Self::plainly(Redeemed::Answer(answer(status, body)), outcome)
    }
}

impl Wire {
    async fn tell(&self, token: Token, asked: Moment, mishap: Option<Mishap>) -> Told {
        let process = || self.world.process(token);
        match mishap {
            None => self.verdict(process(), asked, None),
            Some(Mishap::Odd(oddity)) => self.verdict(process(), asked, Some(oddity)),
            Some(Mishap::Slow(millis)) => {
                let half = Duration::from_millis(u64::from(millis) / 2);
                tokio::time::sleep(half).await;
                let verdict = process();
                tokio::time::sleep(half).await;
                self.verdict(verdict, asked, None)
            }
            Some(Mishap::NotSent) => Told::plainly(Redeemed::NotSent("refused".to_owned()), Outcome::NotSent),
            Some(Mishap::Unanswered(done)) => {
                done.then(process);
                Told::nothing()
            }
            Some(Mishap::Hangs(done)) => {
                done.then(process);
                tokio::time::sleep(TIMEOUT).await;
                Told::nothing()
            }
            Some(Mishap::Fails(status, done)) => {
                done.then(process);
                Told::says(status, r#"{"error":"invalid_grant"}"#, Outcome::Unanswered)
            }
            Some(Mishap::Vetoed) => {
                process();
                Told::says(400, r#"{"error":"server_error"}"#, Outcome::Unanswered)
            }
            Some(Mishap::Busy(status, after, done)) => {
                done.then(process);
                Told::plainly(Redeemed::Answer(busy(status, after)), Outcome::Busy(after))
            }
            Some(Mishap::Disabled) => Told::says(400, r#"{"error":"invalid_grant"}"#, Outcome::Refused),
            Some(Mishap::Misconfigured(which)) => {
                let (status, body) = match which {
                    0 => (401, r#"{"error":"invalid_client"}"#),
                    1 => (400, r#"{"error":"invalid_request"}"#),
                    2 => (404, ""),
                    _ => (302, ""),
                };
                Told::says(status, body, Outcome::Misconfigured)
            }
            Some(Mishap::Blocked) => Told::says(403, "<html>", Outcome::Blocked),
            Some(Mishap::Panics) => {
                process();
                let boot = self.world.now().boot;
                self.world.witness(|witness, now| {
                    witness.answered(self.who, (token, Outcome::Unanswered), None, (now, boot))
                });
                // Past the hook, which would print a million of them.
                std::panic::resume_unwind(Box::new("a fault of bearerd's own"));
            }
        }
    }

    fn verdict(&self, verdict: Verdict, asked: Moment, oddity: Option<Oddity>) -> Told {
        let Verdict::Granted { access, successor } = verdict else {
            return Told::says(400, r#"{"error":"invalid_grant"}"#, Outcome::Refused);
        };
        let life = self.world.server(|server| server.life);
        let outcome = match oddity {
            Some(Oddity::BadAccessToken | Oddity::NoAccessToken | Oddity::WrongType) => Outcome::Unusable,
            Some(
                Oddity::CutAfterRefreshToken
                | Oddity::CutBeforeRefreshToken
                | Oddity::ErrorBeside
                | Oddity::RubbishAround,
            ) => Outcome::UnansweredAfterAll,
            Some(Oddity::RefusalBeside) => Outcome::RefusedAfterAll,
            None | Some(Oddity::FormEncoded | Oddity::ByteOrderMark) if true_life(life).is_zero() => {
                Outcome::Unusable
            }
            None | Some(Oddity::FormEncoded | Oddity::ByteOrderMark) => Outcome::Issued,
        };
        if matches!(outcome, Outcome::Issued) {
            self.world.witness(|witness, _| witness.issues(access, asked, true_life(life)));
        }
        Told {
            redeemed: Redeemed::Answer(issuing(access, successor, life, oddity)),
            outcome,
            returned: successor.filter(|_| !matches!(oddity, Some(Oddity::CutBeforeRefreshToken))),
        }
    }
}
