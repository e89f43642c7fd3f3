//! Signs a person in, once, and brings home what a grant begins with: a refresh token.
//!
//! Two ways lead there. A browser signs in at the authorization endpoint and comes back to this machine with a code
//! (RFC 6749 §4.1, with PKCE, RFC 8252); or a person types a short code into a page on another device, while this one
//! asks whether that is done (RFC 8628).

mod browser;
mod callback;
mod device;
pub mod emit;
mod error;
mod listener;
mod page;
mod probe;
mod provider;
mod request;
mod tokens;

use std::time::Duration;

pub use self::error::{Code, LoginError, Outcome, in_short};
use self::listener::Listener;
use self::provider::Provider;
use self::request::Attempt;
pub use self::tokens::Signed;
use crate::clock::{self, Clock, Moment, Stopwatch};
use crate::grant::Params;
use crate::grant::endpoint::{HttpEndpoint, Known};
use crate::grant::wire::{Answer, DeviceGrant};
use crate::secret::ClientSecret;
use crate::signal::Signals;

/// Who signs in, as far as the terminal goes. A URL or a code on it is no secret: without the verifier, or the device
/// code, neither is of use to anybody.
pub trait Person {
    /// Tells something, on lines of its own.
    fn tell(&self, text: &str);

    /// Shows an address to a phone's camera, where that can be.
    fn draw(&self, address: &str);

    /// Opens a browser.
    ///
    /// # Errors
    /// Why it could not be opened.
    fn open(&self, address: &str) -> Result<(), String>;

    /// Says that there is so much time left; called each second, and with `None` when the waiting is over.
    fn waits(&self, left: Option<Duration>);
}

/// Which way a person wants to sign in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Whatever can work here. Without a browser to open, says why there is none.
    Any(Result<(), &'static str>),
    /// With a browser that nobody opens: the address is printed.
    Address,
    /// With another device.
    Device,
}

/// A sign-in that is wanted.
pub struct Login<'a> {
    /// The grant that it is for, with the scopes and the port that are wanted.
    pub params: &'a Params,
    /// The way to its server.
    pub endpoint: &'a HttpEndpoint,
    /// Which way to go.
    pub wish: Wish,
    /// How long a person has.
    pub timeout: Duration,
    /// What is typed to sign in on another device, or from elsewhere.
    pub command: &'a str,
    /// Who is told about it.
    pub person: &'a dyn Person,
    /// What time it is.
    pub clock: Clock,
}

/// What the ways have in common, once the server is known.
struct Way<'a> {
    login: &'a Login<'a>,
    known: Known,
    attempt: Attempt,
    watch: Stopwatch,
}

/// Which way somebody went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Browser,
    Device,
}

/// A person has signed in: the answer of the token endpoint, or the code that brings one.
enum Arrived {
    Code(request::CodeGrant, Listener),
    /// What was asked of the device, and all that an answer may quote beside.
    Answer(Answer, Moment, Vec<ClientSecret>),
}

impl Login<'_> {
    /// Signs in, and hands what that brought to `keep`; the browser is told how it ended only when that is done. What
    /// `keep` returns is what is to be done next. A signal ends the waiting, but nothing that could lose what has come.
    ///
    /// # Errors
    /// Why nothing came of it.
    pub async fn run(
        &self,
        signals: &mut Signals,
        keep: impl AsyncFnOnce(Signed, &mut Signals) -> Result<Vec<String>, LoginError>,
    ) -> Result<(), LoginError> {
        let (way, arrived) = {
            let begun = tokio::select! {
                begun = self.begin() => begun,
                _ = signals.next() => Err(LoginError::cancelled()),
            };
            self.person.waits(None);
            begun?
        };
        let (got, listener) = match arrived {
            Arrived::Code(code, listener) => (way.exchange(code).await, Some(listener)),
            Arrived::Answer(answer, asked, told) => {
                let got = way.digest(&answer, asked, &told, None);
                (got.map_err(|error| way.with_advice(By::Device, error)), None)
            }
        };
        let kept = match got {
            Ok(signed) => {
                let scopes = signed.scopes.clone();
                keep(signed, signals).await.map(|next| (scopes, next))
            }
            Err(error) => Err(error),
        };
        if let Some(listener) = listener {
            let page = match &kept {
                Ok((scopes, next)) => page::signed_in(self.params, scopes, next),
                Err(error) => page::failed(error, self.command),
            };
            listener.finish(page).await;
        }
        kept.map(drop)
    }

    /// Asks the authorization endpoint what it thinks of a sign-in with a browser, and nobody to sign in: the redirect URI
    /// that it was asked about, or `None` where there is no such endpoint. What it leaves unclear the person is told.
    ///
    /// # Errors
    /// Why it would take none.
    pub async fn is_taken(&self) -> Result<Option<String>, LoginError> {
        let way = self.way().await?;
        if way.known.metadata.endpoints.authorization.is_none() {
            return Ok(None);
        }
        way.asks_beforehand().await.map(Some)
    }

    async fn begin(&self) -> Result<(Way<'_>, Arrived), LoginError> {
        let mut way = self.way().await?;
        let params = self.params;
        self.person.tell(&format!(
            "Signing in to {} as client {}",
            params.server.identity(),
            params.client_id
        ));
        let arrived = match way.choose().await? {
            Some(grant) => way.by_device(grant).await.map_err(|error| way.with_advice(By::Device, error)),
            None => way.by_browser().await.map_err(|error| way.with_advice(By::Browser, error)),
        };
        arrived.map(|arrived| (way, arrived))
    }

    async fn way(&self) -> Result<Way<'_>, LoginError> {
        let params = self.params;
        let known = self.endpoint.know().await?;
        let metadata = &known.metadata;
        let provider = Provider::of(params.server.identity(), metadata);
        let scopes = provider.scopes(&params.scopes, metadata);
        let attempt = Attempt::new(params, provider, scopes)?;
        Ok(Way { login: self, known, attempt, watch: Stopwatch::start() })
    }
}

impl Way<'_> {
    /// Takes the way of the device, if it is that, as far as the code to type. Where nobody asked for it and the server does
    /// not let this client, it is not the way after all.
    async fn choose(&mut self) -> Result<Option<DeviceGrant>, LoginError> {
        if !self.goes_by_device()? {
            return Ok(None);
        }
        let error = match self.begin_device().await {
            Ok(grant) => return Ok(Some(grant)),
            Err(error) => error,
        };
        let endpoints = &mut self.known.metadata.endpoints;
        let has_another = self.login.wish != Wish::Device && endpoints.authorization.is_some();
        if !has_another || !error.is(&[Code::ClientRefused, Code::SignInRefused]) {
            return Err(self.with_advice(By::Device, error));
        }
        endpoints.device_authorization = None;
        self.login.person.tell(&format!(
            "This client may not sign in with another device: {} Going on with an address for a browser.",
            error.sentence
        ));
        Ok(None)
    }

    /// Adds to an error what it needs to be understood: the scopes that were not the person's own, and the other way in,
    /// where this one is closed.
    fn with_advice(&self, by: By, error: LoginError) -> LoginError {
        if error.is(&[Code::ScopeRefused]) {
            let (asked, added) = self.scopes();
            return error.and(&format!("Asked for: `{}`.{added}", asked.join(" ")));
        }
        let is_closed = error.is(&[
            Code::ClientRefused,
            Code::SignInRefused,
            Code::RedirectUriRefused,
            Code::RedirectPortTaken,
            Code::NoSignInEndpoint,
        ]);
        let endpoints = &self.known.metadata.endpoints;
        let command = self.login.command;
        match by {
            By::Browser if is_closed && endpoints.device_authorization.is_some() => {
                error.and(&format!("Or sign in with another device: `{command} --device`."))
            }
            By::Device if is_closed && endpoints.authorization.is_some() => {
                error.and(&format!("Or sign in with a browser: `{command} --no-browser`."))
            }
            _ => error,
        }
    }

    /// The scopes that are asked for, and a sentence on those that the configuration does not name.
    fn scopes(&self) -> (&[String], String) {
        let asked = &self.attempt.scopes;
        let added = asked.iter().filter(|scope| !self.login.params.scopes.contains(scope));
        let added: Vec<String> = added.map(|scope| format!("`{scope}`")).collect();
        let why = if added.is_empty() {
            String::new()
        } else {
            format!(
                " Of these bearerd added {}, because the server's metadata offer it and refresh tokens mostly need it: allow \
                 the client to ask for that.",
                added.join(" and ")
            )
        };
        (asked, why)
    }

    /// Which way it is. The device's where a browser can neither be opened here nor was asked for.
    fn goes_by_device(&self) -> Result<bool, LoginError> {
        let metadata = &self.known.metadata;
        let (by_device, by_browser) =
            (metadata.endpoints.device_authorization.is_some(), metadata.endpoints.authorization.is_some());
        match self.login.wish {
            Wish::Device if by_device => Ok(true),
            Wish::Device => {
                let error = self.lacks("device_authorization_endpoint", "with another device");
                Err(self.with_advice(By::Device, error))
            }
            Wish::Address | Wish::Any(Ok(())) if by_browser => Ok(false),
            Wish::Address => {
                Err(self.with_advice(By::Browser, self.lacks("authorization_endpoint", "with a browser")))
            }
            Wish::Any(_) if by_device => Ok(true),
            Wish::Any(_) if by_browser => Ok(false),
            Wish::Any(_) => Err(self.lacks("authorization_endpoint", "here")),
        }
    }

    fn lacks(&self, key: &str, how: &str) -> LoginError {
        let why = match &self.known.undiscovered {
            Some(error) => format!(" ({})", error.sentence),
            None => String::new(),
        };
        let sentence = format!(
            "Nobody can sign in {how} at {}: its metadata name no `{key}`{why}. Configure it, if the server has one.",
            self.login.params.server.identity()
        );
        LoginError::new(Outcome::Config, Code::NoSignInEndpoint, sentence)
    }

    /// Every secret that the server is told, and may quote.
    fn told(&self, more: &[ClientSecret]) -> Vec<ClientSecret> {
        self.known.prepared.told.iter().chain(more).cloned().collect()
    }

    /// How long a person still has.
    fn left(&self) -> Duration {
        self.login.timeout.saturating_sub(self.watch.elapsed())
    }

    /// Waits for `what`, as long as a person has, and shows how long that is.
    async fn wait<T>(&self, what: impl Future<Output = T>) -> Result<T, LoginError> {
        let mut what = std::pin::pin!(what);
        loop {
            let left = self.left();
            if left.is_zero() {
                return Err(LoginError::timed_out(self.login.timeout));
            }
            self.login.person.waits(Some(left));
            let tick = clock::in_(left.min(Duration::from_secs(1)));
            if let Ok(done) = tokio::time::timeout_at(tick, &mut what).await {
                return Ok(done);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::grant::{Params, Server, SignIn, sample};

    use super::*;

    pub(super) fn params() -> Params {
        let server = Server::Issuer { issuer: "https://id.example".to_owned(), token_endpoint: None };
        let sign_in = SignIn { redirect_path: "/callback".to_owned(), ..SignIn::default() };
        Params { timeout: Duration::from_secs(5), sign_in, ..sample::params(server, "app") }
    }
}
