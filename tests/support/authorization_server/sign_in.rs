//! How people sign in: the scripted person who does, the page they do it on, and the rules that a test may change.

use std::time::Duration;

use serde_json::{Value, json};

use super::fault::Fault;
use super::options::Options;
use super::{AuthorizationServer, Endpoint, Shared, now};
use crate::support::http::Answer;
use crate::support::random;

/// What the one person at the server does, in a browser and for a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Person {
    /// Signs in and approves, as soon as a page is asked for; for a device once it has been told to wait.
    #[default]
    Approves,
    /// Signs in and says no.
    Denies,
    /// Presses cancel.
    Cancels,
    /// Gets the page and presses nothing: whoever drives a browser may, with [`Press`], or nobody ever does.
    Reads,
}

/// A button on the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Press {
    /// Signs in and approves.
    Approve,
    /// Says no.
    Deny,
    /// Goes back.
    Cancel,
}

/// What becomes of a sign-in: it is approved, or refused in these words.
pub(super) type Verdict = Result<(), &'static str>;

impl Person {
    /// What is decided without a page; nothing by one who reads it first.
    pub(super) fn decides(self) -> Option<Verdict> {
        match self {
            Self::Approves => Some(Press::Approve.verdict()),
            Self::Denies => Some(Press::Deny.verdict()),
            Self::Cancels => Some(Press::Cancel.verdict()),
            Self::Reads => None,
        }
    }
}

impl Press {
    const ALL: [Self; 3] = [Self::Approve, Self::Deny, Self::Cancel];

    /// The button's `value`.
    pub(crate) fn value(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Deny => "deny",
            Self::Cancel => "cancel",
        }
    }

    /// The button that was pressed, by its `value`.
    pub(super) fn of(value: Option<&str>) -> Option<Self> {
        Self::ALL.into_iter().find(|press| Some(press.value()) == value)
    }

    /// What it means.
    pub(super) fn verdict(self) -> Verdict {
        match self {
            Self::Approve => Ok(()),
            Self::Deny => Err("the person denied it"),
            Self::Cancel => Err("the person cancelled"),
        }
    }
}

/// The rules of signing in, as far as a test may change them.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    /// A loopback redirect URI has to have the port that was registered.
    pub(super) exact_ports: bool,
    /// Authorization requests have to be pushed first (RFC 9126 §5).
    pub(super) demands_par: bool,
    /// Nobody is granted a refresh token, whatever is asked for.
    pub(super) never_offline: bool,
    /// `offline_access` counts only where `prompt=consent` comes with it.
    pub(super) wants_consent: bool,
    /// Answers say who they are from (RFC 9207).
    pub(super) says_iss: bool,
    /// ID tokens hold another nonce than the one that was asked for.
    pub(super) wrong_nonce: bool,
    /// Nobody may begin with a device.
    pub(super) refuses_devices: bool,
    /// How long a pushed request may be opened; whole seconds.
    pub(super) pushed_life: Duration,
    /// How long a device may wait for its person.
    pub(super) device_life: Duration,
    /// How long a device has to wait between two questions; whole seconds.
    pub(super) device_interval: Duration,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            exact_ports: false,
            demands_par: false,
            never_offline: false,
            wants_consent: false,
            says_iss: true,
            wrong_nonce: false,
            refuses_devices: false,
            pushed_life: Duration::from_secs(60),
            device_life: Duration::from_secs(600),
            device_interval: Duration::from_secs(1),
        }
    }
}

/// The switches. What is said of the strict profile alone, Authgear does in its own way.
impl Options {
    /// Strict: a loopback redirect URI has to have the port that was registered, which RFC 8252 §7.3 leaves free.
    pub(crate) fn exact_ports(mut self) -> Self {
        self.sign_in.exact_ports = true;
        self
    }

    /// Strict: only pushed authorization requests are taken.
    pub(crate) fn demands_par(mut self) -> Self {
        self.sign_in.demands_par = true;
        self
    }

    /// Nobody is granted a refresh token, whatever is asked for.
    pub(crate) fn never_offline(mut self) -> Self {
        self.sign_in.never_offline = true;
        self
    }

    /// Strict: a browser's `offline_access` counts only where `prompt=consent` comes with it, as OpenID Connect Core §11
    /// has it and oidc-provider does.
    pub(crate) fn wants_consent(mut self) -> Self {
        self.sign_in.wants_consent = true;
        self
    }

    /// Strict: neither the metadata nor an answer say `iss`.
    pub(crate) fn no_iss(mut self) -> Self {
        self.sign_in.says_iss = false;
        self
    }

    /// ID tokens hold another nonce than the one that was asked for.
    pub(crate) fn wrong_nonce(mut self) -> Self {
        self.sign_in.wrong_nonce = true;
        self
    }

    /// Strict: no client may begin with a device, whatever the metadata say.
    pub(crate) fn refuses_devices(mut self) -> Self {
        self.sign_in.refuses_devices = true;
        self
    }

    /// Strict: how long a pushed request may be opened; whole seconds.
    pub(crate) fn pushed_life(mut self, life: Duration) -> Self {
        self.sign_in.pushed_life = life;
        self
    }

    /// Strict: how long a device may wait for its person, and how long between two questions; whole seconds.
    pub(crate) fn device(mut self, life: Duration, interval: Duration) -> Self {
        self.sign_in.device_life = life;
        self.sign_in.device_interval = interval;
        self
    }
}

/// The person, and what goes wrong at the endpoints that people are sent to.
impl AuthorizationServer {
    /// The person does this from now on.
    pub(crate) fn person(&self, does: Person) {
        self.shared.change(|state| state.person = does);
    }

    /// Every request at this endpoint meets this fault until the server is healed: metadata, authorization, pushed
    /// requests, devices or revocation. What it is to the token endpoint says [`AuthorizationServer::fault`].
    pub(crate) fn fault_at(&self, endpoint: Endpoint, fault: Fault) {
        self.shared.change(|state| state.faults.elsewhere(endpoint, fault, super::Phase::BeforeProcessing));
    }
}

/// The page to decide on: its hidden fields go back with the button.
pub(super) fn page(action: &str, question: &str, hidden: &[(&str, &str)]) -> String {
    let fields: String = hidden
        .iter()
        .map(|(name, value)| {
            format!("<input type=\"hidden\" name=\"{name}\" value=\"{}\">\n", escaped(value))
        })
        .collect();
    document(
        "Sign in",
        &format!(
            "<p>{}</p>\n<form method=\"post\" action=\"{action}\">\n{fields}\
             <button name=\"press\" value=\"approve\">Sign in</button>\n\
             <button name=\"press\" value=\"deny\">Deny</button>\n\
             <button name=\"press\" value=\"cancel\">Cancel</button>\n</form>",
            escaped(question)
        ),
    )
}

/// A page that says something.
pub(super) fn document(title: &str, body: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>{title}</title>\n<h1>{title}</h1>\n{body}\n"
    )
}

/// A page as an answer.
pub(super) fn html(status: u16, page: String) -> Answer {
    Answer::new(status, page).with("Content-Type", "text/html; charset=utf-8")
}

/// Text inside a page.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

/// The strict profile's ID token: nobody signs it, and what it says is right but for a nonce that is wanted wrong.
pub(super) fn id_token(shared: &Shared, client: &str, nonce: Option<&str>) -> Value {
    let issued = now().wall.as_secs();
    let mut claims = json!({
        "iss": shared.issuer,
        "sub": "the-person",
        "aud": client,
        "exp": issued + 300,
        "iat": issued,
        "auth_time": issued,
    });
    claim_nonce(shared, &mut claims, nonce);
    json!(random::jwt("JWT", &claims))
}

/// Puts the nonce that was asked for among the claims.
pub(super) fn claim_nonce(shared: &Shared, claims: &mut Value, nonce: Option<&str>) {
    if let Some(nonce) = nonce {
        let wrong = shared.options.sign_in.wrong_nonce;
        claims["nonce"] = json!(if wrong { random::alphanumeric(32) } else { nonce.to_owned() });
    }
}
