//! Signing in with a browser: it goes to the authorization endpoint, and comes back to this machine with a code.

use std::convert::Infallible;
use std::time::Duration;

use super::callback::Expected;
use super::listener::{Listener, Port, redirect_uri};
use super::probe::{self, Cause, Refusal, Verdict};
use super::request::{Address, Carriage, CodeGrant};
use super::{Arrived, Code, LoginError, Outcome, Way, Wish, in_short};
use crate::clock;
use crate::grant::Server;
use crate::secret::AuthorizationCode;

/// A port to propose where one has to stay the same; above what most systems give out by themselves (RFC 6335 §6).
const PROPOSED: u16 = 8976;

/// The least time that an address is printed for, whatever the server says.
const SHORTEST: Duration = Duration::from_secs(5);

/// A port as good as any other, from those that systems give out (RFC 6335 §6).
const ANY: u16 = 52_619;

impl Way<'_> {
    pub(super) async fn by_browser(&self) -> Result<Arrived, LoginError> {
        let sign_in = &self.login.params.sign_in;
        let port = Port::bind(sign_in.redirect_port, &sign_in.redirect_path).await.map_err(|error| {
            let sentence = format!(
                "Port {} of this machine cannot be listened on: {error}. End what uses it, or choose another `redirect_port` \
                 and register it.",
                sign_in.redirect_port
            );
            LoginError::new(Outcome::Config, Code::RedirectPortTaken, sentence)
        })?;
        let redirect_uri = port.redirect_uri();
        let registers = if sign_in.redirect_port == 0 {
            "any port of loopback has to be allowed; `redirect_port` fixes one to be registered"
        } else {
            "to be registered with the client"
        };
        self.login.person.tell(&format!("\n  Redirect URI  {redirect_uri}  ({registers})"));
        let carriage = self.probe(&redirect_uri).await?;
        let number = port.number();
        let address = self.address(&redirect_uri, carriage).await?;
        // Before anybody can come back.
        let mut listener = port.listen(self.expected());
        let is_opened = self.show(&address, number);
        // Who was brought there has no need of another.
        let life = address.life.filter(|_| !is_opened);
        let code = tokio::select! {
            code = self.returned(&mut listener) => code,
            never = self.renew(&redirect_uri, carriage, life) => match never {},
        };
        match code {
            Ok(code) => Ok(Arrived::Code(CodeGrant { code, redirect_uri }, listener)),
            Err(error) => {
                listener.finish(super::page::failed(&error, self.login.command)).await;
                Err(error)
            }
        }
    }

    /// Asks about the redirect URI that a sign-in would name, with the configured port or any: a server that takes every
    /// port takes this one, and one that compares to the letter hardly has it registered.
    pub(super) async fn asks_beforehand(&self) -> Result<String, LoginError> {
        let sign_in = &self.login.params.sign_in;
        let port = if sign_in.redirect_port == 0 { ANY } else { sign_in.redirect_port };
        let redirect_uri = redirect_uri(port, &sign_in.redirect_path);
        self.probe(&redirect_uri).await?;
        Ok(redirect_uri)
    }

    /// Prints another address each time that one has lapsed. Whoever has opened one by then comes back all the same.
    async fn renew(&self, redirect_uri: &str, carriage: Carriage, mut life: Option<Duration>) -> Infallible {
        loop {
            match life {
                Some(life) => tokio::time::sleep_until(clock::in_(life.max(SHORTEST))).await,
                None => std::future::pending().await,
            }
            let person = self.login.person;
            match self.address(redirect_uri, carriage).await {
                Ok(address) => {
                    let lapses = lapses(address.life);
                    person.tell(&format!(
                        "\n  That address has lapsed. If you have not opened it, open this one:\n\n  Open  {}\n{lapses}",
                        address.url
                    ));
                    life = address.life;
                }
                Err(error) => {
                    person.tell(&format!(
                        "  The address above has lapsed, and there is no other: {} Whoever has opened it may go on.",
                        error.sentence
                    ));
                    life = None;
                }
            }
        }
    }

    async fn returned(&self, listener: &mut Listener) -> Result<AuthorizationCode, LoginError> {
        let returned = self.wait(listener.answer()).await;
        self.login.person.waits(None);
        returned?
    }

    fn expected(&self) -> Expected {
        let issuer = match &self.login.params.server {
            Server::Issuer { issuer, .. } => Some(issuer.clone()),
            Server::Endpoint { .. } => None,
        };
        let names_issuer = self.known.metadata.answers_name_issuer;
        Expected { state: self.attempt.state.clone(), issuer, names_issuer }
    }

    /// Asks the authorization endpoint itself what it thinks of the request, and how it wants to be asked.
    async fn probe(&self, redirect_uri: &str) -> Result<Carriage, LoginError> {
        let carriage = self.carriage();
        let refusal = match self.look(redirect_uri, carriage).await? {
            Some(refusal) => refusal,
            None => return Ok(carriage),
        };
        let wants_push = refusal.said.to_string().to_ascii_lowercase().contains("push");
        if wants_push
            && carriage == Carriage::Address
            && self.known.metadata.endpoints.pushed_authorization.is_some()
        {
            // Of this client alone.
            return match self.look(redirect_uri, Carriage::Pushed).await? {
                Some(refusal) => Err(self.refused(redirect_uri, &refusal)),
                None => Ok(Carriage::Pushed),
            };
        }
        Err(self.refused(redirect_uri, &refusal))
    }

    /// One look; a server that does not answer, or oddly, keeps nobody from signing in.
    async fn look(&self, redirect_uri: &str, carriage: Carriage) -> Result<Option<Refusal>, LoginError> {
        let address = self.address(redirect_uri, carriage).await?;
        let unclear = |why: &str| {
            self.login.person.tell(&format!(
                "  Whether the server takes this redirect URI could not be found out beforehand ({why}); its page will tell."
            ));
        };
        let Ok(page) = address.url.parse() else { return Ok(None) };
        match self.login.endpoint.look_at("authorization endpoint", page).await {
            Err(error) => unclear(error.sentence.trim_end_matches('.')),
            Ok(answer) => match probe::read(&answer, redirect_uri) {
                Verdict::Fine => {}
                Verdict::Refused(refusal) => return Ok(Some(refusal)),
                Verdict::Unclear(why) => unclear(&why),
            },
        }
        Ok(None)
    }

    fn refused(&self, redirect_uri: &str, Refusal { cause, said }: &Refusal) -> LoginError {
        let client = &self.login.params.client_id;
        match cause {
            Cause::Told => LoginError::refused("authorization endpoint", said),
            Cause::Client => {
                let sentence = format!(
                    "The authorization endpoint does not take client `{client}`: it says {said}. Check `client_id`, and that \
                     the server lets this client sign people in with a browser."
                );
                LoginError::new(Outcome::Config, Code::ClientRefused, sentence)
            }
            Cause::RedirectUri => {
                let sign_in = &self.login.params.sign_in;
                let cure = if sign_in.redirect_port == 0 {
                    format!(
                        "Servers that compare to the letter need a port that stays: write redirect_port = {PROPOSED} beside \
                         `client_id` (or say --redirect-port {PROPOSED}), and register http://127.0.0.1:{PROPOSED}{} with the \
                         client.",
                        sign_in.redirect_path
                    )
                } else {
                    format!("Register exactly {redirect_uri} with the client.")
                };
                let sentence = format!(
                    "The authorization server does not take the redirect URI {redirect_uri}: it says {said}. {cure}"
                );
                LoginError::new(Outcome::Config, Code::RedirectUriRefused, sentence)
            }
        }
    }

    /// Shows where to sign in, and opens it where that can be: whether it did. Always says how to do otherwise.
    fn show(&self, address: &Address, port: u16) -> bool {
        let person = self.login.person;
        let command = self.login.command;
        person.tell(&format!("\n  Open  {}\n", address.url));
        let device = if self.known.metadata.endpoints.device_authorization.is_some() {
            format!("; `{command} --device` signs in with another device")
        } else {
            String::new()
        };
        match self.login.wish {
            Wish::Any(Ok(())) => match person.open(&address.url) {
                Ok(()) => {
                    person.tell(&format!("Opening your browser… (--no-browser leaves that to you{device})"));
                    return true;
                }
                Err(why) => person.tell(&format!(
                    "Your browser could not be opened ({why}): open the address above yourself{device}."
                )),
            },
            Wish::Any(Err(why)) => {
                person.tell(&format!("No browser is opened: {why}. Open the address above in one that reaches this machine{device}."));
                person.tell(&elsewhere(port));
            }
            Wish::Address | Wish::Device => {
                person.tell(&format!("Open the address above in a browser on this machine{device}."));
                person.tell(&elsewhere(port));
            }
        }
        let lapses = lapses(address.life);
        if !lapses.is_empty() {
            person.tell(&lapses);
        }
        false
    }
}

/// For how long an address may be opened.
fn lapses(life: Option<Duration>) -> String {
    let says = |life| format!("It can be opened for {}; after that another one is printed.", in_short(life));
    life.map(says).unwrap_or_default()
}

/// A browser of another machine comes back to its own loopback.
fn elsewhere(port: u16) -> String {
    format!(
        "If the browser is on another machine, run `ssh -L {port}:127.0.0.1:{port} THIS-MACHINE` there first."
    )
}
