//! Signing in with another device: a person types a code into a page, and this machine asks whether that is done.

use std::time::Duration;

use super::request::{device_request, of_device, secret_of};
use super::{Arrived, Code, LoginError, Outcome, Way, Wish};
use crate::clock::{self, Stopwatch};
use crate::grant::endpoint::Question;
use crate::grant::error::{Class, RefreshError};
use crate::grant::wire::{self, Answer, DeviceGrant, Told};

/// How much slower to ask once the server says so (RFC 8628 §3.5).
const SLOWER: Duration = Duration::from_secs(5);

/// The shortest time between two askings, whatever the server says, and the longest, whatever the network does.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);

/// What follows from an answer.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// Nobody has signed in yet, or nothing could be heard: ask again after so long.
    Ask(Duration),
    /// It is decided, either way.
    Done,
}

impl Way<'_> {
    pub(super) async fn by_device(&self, grant: DeviceGrant) -> Result<Arrived, LoginError> {
        let expires = Stopwatch::start();
        self.show_code(&grant);
        let told = vec![secret_of(&grant.device_code)];
        let mut interval = grant.interval.max(SHORTEST);
        // Why the last asking brought no word of the server's, if it did not: then time is up for that reason.
        let mut unheard: Option<LoginError> = None;
        let mut complained = false;
        loop {
            let left = grant.life.saturating_sub(expires.elapsed());
            let pause = self.wait(tokio::time::sleep_until(clock::in_(interval.min(left)))).await;
            pause.map_err(|late| unheard.clone().unwrap_or(late))?;
            if left.is_zero() {
                return Err(unheard.unwrap_or_else(expired));
            }
            let asked = self.login.clock.now();
            let answer = self.wait(self.ask(&grant)).await.map_err(|late| unheard.clone().unwrap_or(late))?;
            let next = next(answer.as_ref().ok(), interval);
            unheard = match &answer {
                // Who answers there is not the server, and no time mends that.
                Err(error) if error.class == Class::Misconfigured => {
                    return Err(LoginError::of_refresh(error));
                }
                Err(error) => Some(LoginError::of_refresh(error)),
                Ok(answer) => {
                    let told = self.told(&told);
                    wire::unavailable(answer, Told { refresh_token: None, others: &told })
                        .map(|answered| LoginError::unavailable("token endpoint", &answered))
                }
            };
            if let Some(error) = unheard.as_ref().filter(|_| !complained) {
                complained = true;
                self.login.person.tell(&format!(
                    "Whether you have signed in could not be asked just now, and is asked again: {}",
                    error.sentence
                ));
            }
            match (next, answer) {
                (Next::Done, Ok(answer)) => {
                    self.login.person.waits(None);
                    return self.decided(answer, &told).map(|answer| Arrived::Answer(answer, asked, told));
                }
                (Next::Ask(after), _) => interval = after,
                (Next::Done, Err(error)) => return Err(error.into()),
            }
        }
    }

    /// Has the server begin with a device.
    pub(super) async fn begin_device(&self) -> Result<DeviceGrant, LoginError> {
        const WHAT: &str = "device authorization endpoint";
        let params = self.login.params;
        let Some(to) = self.known.metadata.endpoints.device_authorization.clone() else {
            return Err(self.lacks("device_authorization_endpoint", "with another device"));
        };
        let form = device_request(params, &self.attempt.scopes);
        let question = Question { what: WHAT, to, form, takes_extra: true };
        let answer = self.login.endpoint.post(&self.known.prepared, question, None).await?;
        let told = self.told(&[]);
        wire::read_device(&answer, Told { refresh_token: None, others: &told })
            .map_err(|unread| LoginError::unread(WHAT, &unread))
    }

    /// Networks come and go while a person types.
    async fn ask(&self, grant: &DeviceGrant) -> Result<Answer, RefreshError> {
        let form = of_device(&grant.device_code);
        let question =
            Question { what: "token endpoint", to: self.token_endpoint(), form, takes_extra: true };
        let key = self.attempt.key.as_ref().map(|(_, key)| key);
        self.login.endpoint.post(&self.known.prepared, question, key).await
    }

    fn show_code(&self, grant: &DeviceGrant) {
        let person = self.login.person;
        let DeviceGrant { verification_uri, user_code, verification_uri_complete, .. } = grant;
        person.tell(&format!("\n  Open  {verification_uri}\n  Code  {user_code}\n"));
        // Where there is none with the code in it, the camera still saves the typing of the address.
        person.draw(verification_uri_complete.as_ref().unwrap_or(verification_uri));
        let command = self.login.command;
        match self.login.wish {
            Wish::Any(Err(why)) => person.tell(&format!(
                "Open that on any device. (No browser is opened here: {why}; `{command} --no-browser` prints an address for one \
                 that reaches this machine.)"
            )),
            _ => person.tell(&format!("Open that on any device. (`{command} --no-browser` signs in with a browser of this machine.)")),
        }
    }

    /// What a decision is, if it is no tokens.
    fn decided(&self, answer: Answer, told: &[crate::secret::ClientSecret]) -> Result<Answer, LoginError> {
        let told = self.told(told);
        match wire::error_of(&answer, Told { refresh_token: None, others: &told }) {
            Some(said) if said.error == "expired_token" => Err(expired()),
            Some(said) if said.error != "invalid_grant" => Err(LoginError::refused("token endpoint", &said)),
            _ => Ok(answer),
        }
    }
}

fn expired() -> LoginError {
    let sentence =
        "The code was not used in time, and the server takes it no more. Nothing has changed; sign in again.";
    LoginError::new(Outcome::SignIn, Code::SignInTimedOut, sentence)
}

/// When to ask again, if at all.
fn next(answer: Option<&Answer>, interval: Duration) -> Next {
    let slower = Next::Ask((interval * 2).min(LONGEST).max(interval));
    let Some(answer) = answer else { return slower };
    // Before what it says: a server that is down, and what stands before it, say all kinds of things.
    if wire::unavailable(answer, Told::default()).is_some() {
        return slower;
    }
    match wire::error_of(answer, Told::default()).map(|said| said.error).as_deref() {
        Some("authorization_pending") => Next::Ask(interval),
        Some("slow_down") => Next::Ask(interval.saturating_add(SLOWER)),
        _ => Next::Done,
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, StatusCode};
    use proptest::prelude::*;

    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        Answer {
            status: StatusCode::from_u16(status).unwrap(),
            headers: HeaderMap::new(),
            body: body.as_bytes().to_vec().into(),
            complete: true,
        }
    }

    #[test]
    fn it_is_asked_as_often_as_the_server_says_and_until_it_decides() {
        let five = Duration::from_secs(5);
        let after = |seconds| Next::Ask(Duration::from_secs(seconds));
        for (status, body, expected) in [
            (400, r#"{"error":"authorization_pending"}"#, after(5)),
            (400, r#"{"error":"slow_down"}"#, after(10)),
            (400, r#"{"error":"access_denied"}"#, Next::Done),
            (400, r#"{"error":"expired_token"}"#, Next::Done),
            (400, r#"{"error":"invalid_grant"}"#, Next::Done),
            (503, "<html>", after(10)),
            (429, "", after(10)),
            (429, r#"{"error":"x_rate_limited"}"#, after(10)),
            (503, r#"{"status":503,"error":"Service Unavailable"}"#, after(10)),
            (408, "", after(10)),
            (425, "", after(10)),
            (503, r#"{"error":"authorization_pending"}"#, after(5)),
            (429, r#"{"error":"slow_down"}"#, after(10)),
            (500, r#"{"error":"access_denied"}"#, Next::Done),
            (500, r#"{"error":"expired_token"}"#, Next::Done),
            (400, r#"{"error":"unknown_to_us"}"#, Next::Done),
            (400, r#"{"error":"temporarily_unavailable"}"#, after(10)),
            (404, "", Next::Done),
            (200, r#"{"access_token":"A"}"#, Next::Done),
        ] {
            assert_eq!(next(Some(&answer(status, body)), five), expected, "{status} {body}");
        }
        assert_eq!(next(None, five), after(10), "the network goes away and comes back");
        assert_eq!(next(None, LONGEST), after(60));
    }

    proptest! {
        #[test]
        fn it_never_asks_faster_than_it_was_told(status in 200_u16..600, body in "[ -~]{0,60}|\\{\"error\":\"[a-z_]{0,24}\"\\}", seconds in 1_u64..10_000) {
            let interval = Duration::from_secs(seconds);
            if let Next::Ask(after) = next(Some(&answer(status, &body)), interval) {
                prop_assert!(after >= interval);
            }
        }
    }
}
