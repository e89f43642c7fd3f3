//! An authorization server: is it the right one, does it take this client, and do its clock and ours agree?

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::Uri;

use super::reach::Server;
use super::{Blame, Code, Findings, machine};
use crate::clock::{Clock, Moment};
use crate::config::Config;
use crate::grant::client_auth::{self, Given};
use crate::grant::endpoint::{HttpEndpoint, Known, Question};
use crate::grant::error::{self, RefreshError};
use crate::grant::lineage;
use crate::grant::sign_out;
use crate::grant::wire::{self, Answer, Form, Revoked, Told};
use crate::grant::{self, ClientAuthMethod, Flow, Params};
use crate::login::{self, Login, Outcome, Person, Wish};
use crate::proxy::upstream::Target;
use crate::secret::random_hex;
use crate::tls::{Alpn, Tls};

/// A difference between clocks that matters to proofs and assertions, and one that matters to tokens.
const NOTABLE: u64 = 30;
const WRONG: u64 = 300;

/// Everything about the server of one grant.
pub(super) async fn check(params: &Params, config: &Config, tls: &Tls, findings: &mut Findings) {
    let called = format!("the authorization server of grant {}", params.name);
    let endpoint = HttpEndpoint::new(params.clone(), tls.clone(), Clock::System);
    let Some(uri) = address(params) else {
        findings.not_tried("discovery", &called, "its address is not a URL");
        return;
    };
    let server = Server::of(&called, &uri, params.connect_to.as_ref());
    // Refreshes go to the token endpoint: where that is configured and is another server's, what the issuer says of itself is
    // not needed.
    let does_without = match &params.server {
        grant::Server::Issuer { token_endpoint: Some(of_tokens), .. } => {
            let of_tokens: Option<Uri> = of_tokens.parse().ok();
            of_tokens.is_some_and(|of_tokens| {
                !Server::of("", &of_tokens, params.connect_to.as_ref()).is_as(&server)
            })
        }
        _ => false,
    };
    let mut found = Findings::default();
    let is_reached = server.reach(tls, &[Alpn::Http1], &mut found).await;
    if does_without {
        findings.take_as_optional(found);
    } else {
        findings.0.extend(found.0);
    }
    if !is_reached && !does_without {
        for check in ["discovery", "client_authentication", "client", "redirect_uri", "clock"] {
            findings.not_tried(check, &called, "it was not reached");
        }
        return;
    }
    let mut whose_clock = uri.clone();
    let rests = machine::record(params, config).await;
    let still_there = |known: Known| match &rests {
        Some(record) => lineage::still_at(record, &known.prepared).map(|()| known),
        None => Ok(known),
    };
    match endpoint.know().await.and_then(still_there) {
        Ok(known) => {
            discovered(params, &known, findings);
            let to = &known.prepared.endpoint;
            let of = format!("the token endpoint of grant {}", params.name);
            let token_endpoint = Server::of(&of, to, params.connect_to.as_ref());
            if !token_endpoint.is_as(&server) {
                token_endpoint.reach(tls, &[Alpn::Http1], findings).await;
            }
            if !is_reached {
                whose_clock = to.clone();
            }
            let mut of_client = Findings::default();
            let is_taken = client(params, &endpoint, &known, &mut of_client).await;
            authentication(params, &known, is_taken, findings);
            findings.0.extend(of_client.0);
            redirect_uri(params, &endpoint, findings).await;
        }
        Err(error) => {
            findings.refused("discovery", &error);
            let because = format!("that failed: {}", error.code);
            findings.not_tried("client_authentication", &called, &because);
            findings.not_tried("client", &called, &because);
            findings.not_tried("redirect_uri", &called, &because);
        }
    }
    clocks(&called, whose_clock, params, &endpoint, config, tls, findings).await;
}

/// What is asked first.
fn address(params: &Params) -> Option<Uri> {
    let address = match &params.server {
        grant::Server::Issuer { issuer, .. } => issuer,
        grant::Server::Endpoint { token_endpoint } => token_endpoint,
    };
    address.parse().ok()
}

fn discovered(params: &Params, known: &Known, findings: &mut Findings) {
    let endpoint = &known.prepared.endpoint;
    match (&known.undiscovered, &params.server) {
        (Some(error), _) => {
            let sentence =
                format!("{} The configured token endpoint, {endpoint}, does without.", error.sentence);
            findings.warning("discovery", error.code.word(), sentence);
        }
        (None, grant::Server::Issuer { issuer, .. }) => {
            findings.good(
                "discovery",
                format!("The metadata of {issuer} are its own; tokens come from {endpoint}."),
            );
        }
        (None, grant::Server::Endpoint { .. }) => {
            findings
                .good("discovery", format!("None is needed: tokens come from {endpoint}, as configured."));
        }
    }
}

/// Whether the way in which the client proves itself is one that the server's metadata name; metadata may be incomplete, so
/// that what was chosen on purpose, or was taken, is only worth a look.
fn authentication(params: &Params, known: &Known, is_taken: bool, findings: &mut Findings) {
    let supported = &known.metadata.auth_methods;
    let credentials = &params.credentials;
    let given = Given {
        secret: !credentials.secrets.is_empty(),
        key: credentials.key.is_some() || credentials.assertion.is_some(),
        certificate: credentials.certificate,
    };
    let method = client_auth::decide(params.client_auth, given, supported);
    let names: &[&str] = match method {
        ClientAuthMethod::Auto | ClientAuthMethod::None => &["none"],
        ClientAuthMethod::Basic => &["client_secret_basic"],
        ClientAuthMethod::Post => &["client_secret_post"],
        ClientAuthMethod::ClientSecretJwt => &["client_secret_jwt"],
        ClientAuthMethod::PrivateKeyJwt => &["private_key_jwt"],
        ClientAuthMethod::Tls => &["tls_client_auth", "self_signed_tls_client_auth"],
    };
    let (ours, theirs) = (names.join(" or "), wire::printable(&supported.join(", ")));
    if supported.is_empty() {
        findings.good(
            "client_authentication",
            format!("The client uses {ours}; no metadata say what the server takes."),
        );
    } else if names == ["none"] && supported.iter().any(|there| there == "none") {
        let sentence = "The server takes clients that prove themselves with nothing, as this one does.";
        findings.good("client_authentication", sentence);
    } else if names.iter().any(|name| supported.iter().any(|there| there == name)) {
        findings.good("client_authentication", format!("The server takes {ours}, which the client uses."));
    } else if method == ClientAuthMethod::None {
        let sentence = format!(
            "No client secret or key is configured, and the metadata name no public clients, only {theirs}. If this client \
             has a secret there, configure `client_secret`."
        );
        findings.warning("client_authentication", Code::ClientAuthUnsupported.word(), sentence);
    } else if is_taken || params.client_auth != ClientAuthMethod::Auto {
        let sentence = format!(
            "The client uses {ours}, and the metadata name only {theirs}: if the server refuses it, change `client_auth`."
        );
        findings.warning("client_authentication", Code::ClientAuthUnsupported.word(), sentence);
    } else {
        let sentence =
            format!("The client would use {ours}, and the server takes only {theirs}: change `client_auth`.");
        findings.bad("client_authentication", Blame::Setup, Code::ClientAuthUnsupported.word(), sentence);
    }
}

/// Whether the server takes the client: asked where that touches nothing, by giving up a token that never was (RFC 7009
/// §2.1: the client is looked at first; §2.2: a token that is none is no error). Whether it was found to.
async fn client(params: &Params, endpoint: &HttpEndpoint, known: &Known, findings: &mut Findings) -> bool {
    let id = &params.client_id;
    let to = match sign_out::revocation_endpoint(params, known) {
        Ok(Some(to)) => to.clone(),
        Ok(None) => {
            let because =
                "the server has no revocation endpoint, the one place to ask without presenting anything";
            findings.not_tried("client", &format!("client {id}"), because);
            return false;
        }
        Err(error) => {
            findings.warning("client", error.code.word(), error.sentence);
            return false;
        }
    };
    let mut form = Form::default();
    form.add("token", &format!("bearerd-check-{}", random_hex(16)));
    let question = Question { what: "revocation endpoint", to, form, takes_extra: false };
    let told = Told { refresh_token: None, others: &known.prepared.told };
    let read = |answer: &Answer| wire::read_revocation(answer, told);
    match endpoint.post(&known.prepared, question, None).await.and_then(|answer| read(&answer)) {
        Ok(Revoked::Unknown) => {
            let because = "its revocation endpoint looks at the token alone, and never saw this one";
            findings.not_tried("client", &format!("client {id}"), because);
            return false;
        }
        Ok(Revoked::Done) => {
            findings.good("client", format!("The server takes client {id} and what it proves itself with."));
            return true;
        }
        Err(error) if error.code == error::Code::ClientRejected => findings.refused("client", &error),
        Err(RefreshError { code, http_status, sentence, .. }) => {
            let why = match http_status {
                Some(status) => format!(
                    "A token that was made up for this check was given up at its revocation endpoint, which answered {status}: \
                     signing out may fail as well."
                ),
                None => sentence,
            };
            let sentence = format!("Whether the server takes client {id} is not clear. {why}");
            findings.warning("client", code.word(), sentence);
        }
    }
    false
}

/// Whether a browser could sign in, as far as the authorization endpoint says so beforehand.
async fn redirect_uri(params: &Params, endpoint: &HttpEndpoint, findings: &mut Findings) {
    const CHECK: &str = "redirect_uri";
    let Flow::RefreshToken { seed } = &params.flow else { return };
    let (of, nobody) = (format!("grant {}", params.name), Nobody::default());
    let login = Login {
        params,
        endpoint,
        wish: Wish::Address,
        timeout: params.timeout,
        command: "bearerd login",
        person: &nobody,
        clock: Clock::System,
    };
    let taken = login.is_taken().await;
    let unclear = nobody.0.into_inner().unwrap_or_else(PoisonError::into_inner).join(" ");
    match taken {
        Ok(None) => findings.not_tried(CHECK, &of, "the server has no authorization endpoint"),
        Ok(Some(_)) if !unclear.is_empty() => {
            findings.not_tried(CHECK, &of, unclear.trim().trim_end_matches('.'))
        }
        Ok(Some(uri)) => {
            findings.good(CHECK, format!("The authorization endpoint lets a browser return to {uri}."))
        }
        // Whoever brings a refresh token need not sign in.
        Err(error) if error.code == login::Code::RedirectUriRefused.word() && seed.is_some() => {
            findings.warning(CHECK, error.code, error.sentence);
        }
        Err(error) if error.outcome == Outcome::Unreachable => {
            findings.bad(CHECK, Blame::World, error.code, error.sentence);
        }
        Err(error) => findings.bad(CHECK, Blame::Setup, error.code, error.sentence),
    }
}

/// Is asked nothing, and keeps what it is told.
#[derive(Default)]
struct Nobody(Mutex<Vec<String>>);

impl Person for Nobody {
    fn tell(&self, text: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(text.to_owned());
    }

    fn draw(&self, _: &str) {}

    fn open(&self, _: &str) -> Result<(), String> {
        Err("nobody is here".to_owned())
    }

    fn waits(&self, _: Option<Duration>) {}
}

/// Whether our clock and the server's agree; where they do not, an upstream may tell whose is wrong.
async fn clocks(
    called: &str,
    uri: Uri,
    params: &Params,
    endpoint: &HttpEndpoint,
    config: &Config,
    tls: &Tls,
    findings: &mut Findings,
) {
    let ahead = match endpoint.look_at("authorization server", uri).await {
        Ok(answer) => difference(&answer),
        Err(error) => {
            return findings.not_tried("clock", called, &format!("it did not answer: {}", error.code));
        }
    };
    let Some(ahead) = ahead else {
        return findings.not_tried("clock", called, "its answers hold no date, or were kept by a cache");
    };
    if ahead.unsigned_abs() <= NOTABLE {
        let sentence =
            format!("The clock of {called} and this machine's agree to {} s.", ahead.unsigned_abs().max(1));
        return findings.good("clock", sentence);
    }
    let whose = match witness(params, config, tls).await {
        Some(other) if other.abs_diff(ahead) <= NOTABLE => {
            "An upstream's clock agrees with the server's: set this machine's right.".to_owned()
        }
        Some(other) if other.unsigned_abs() <= NOTABLE => {
            "An upstream's clock agrees with this machine's: the server's is wrong.".to_owned()
        }
        _ => format!(
            "This machine's says {}: whichever is wrong has to be set right.",
            Clock::System.now().rfc3339()
        ),
    };
    let side = if ahead > 0 { "ahead of" } else { "behind" };
    let sentence = format!(
        "The clock of {called} is {} {side} this machine's, so tokens, proofs and assertions may count as expired or as not \
         yet good. {whose}",
        crate::admin::in_words(Duration::from_secs(ahead.unsigned_abs()))
    );
    if ahead.unsigned_abs() > WRONG {
        findings.bad("clock", Blame::Setup, Code::ClockWrong.word(), sentence);
    } else {
        findings.warning("clock", Code::ClockWrong.word(), sentence);
    }
}

/// How many seconds the sender of an answer is ahead of us; what a cache has kept says when it was made (RFC 9111 §5.1).
fn difference(answer: &Answer) -> Option<i64> {
    if answer.headers.contains_key(http::header::AGE) {
        return None;
    }
    let date = httpdate::parse_http_date(answer.headers.get(http::header::DATE)?.to_str().ok()?).ok()?;
    let theirs = date.duration_since(std::time::UNIX_EPOCH).ok()?.as_secs();
    let Moment { wall, .. } = Clock::System.now();
    i64::try_from(theirs).ok()?.checked_sub(i64::try_from(wall.as_secs()).ok()?)
}

/// How far the first upstream that tells is ahead of us; asked without a token.
async fn witness(params: &Params, config: &Config, tls: &Tls) -> Option<i64> {
    let params = Params { connect_to: None, extra_headers: Vec::new(), ..params.clone() };
    let endpoint = HttpEndpoint::new(params, tls.clone(), Clock::System);
    for route in &config.proxy.routes {
        let target = &route.upstream.target;
        if matches!(target, Target::Unix(_)) {
            continue;
        }
        let Ok(uri) = target.to_string().parse::<Uri>() else { continue };
        if let Ok(answer) = endpoint.look_at("upstream", uri).await
            && let Some(ahead) = difference(&answer)
        {
            return Some(ahead);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, StatusCode};

    use super::*;

    #[test]
    fn what_a_cache_has_kept_says_nothing_of_a_clock() {
        let date = HeaderValue::from_static("Thu, 01 Jan 2026 00:00:00 GMT");
        let mut headers = HeaderMap::from_iter([(http::header::DATE, date)]);
        let told = |headers: &HeaderMap| {
            let body = zeroize::Zeroizing::default();
            difference(&Answer { status: StatusCode::OK, headers: headers.clone(), body, complete: true })
        };
        assert!(told(&headers).is_some());
        headers.insert(http::header::AGE, HeaderValue::from_static("3600"));
        assert_eq!(told(&headers), None);
        assert_eq!(told(&HeaderMap::new()), None);
    }
}
