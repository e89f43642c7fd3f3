//! `bearerd token`: the access token that rests in the store, for a person or a script. Asks nobody, waits for nobody.

use std::io::IsTerminal as _;
use std::time::Duration;

use http::{HeaderMap, HeaderName};

use super::grants::{Grant, unusable_store, wait_for};
use super::{Common, Exit, Failure, note, run, say, span};
use crate::admin;
use crate::clock::{Clock, Moment};
use crate::config::{Config, Flags};
use crate::grant::error::Class;
use crate::grant::lineage;
use crate::grant::refresher::at_rest;
use crate::grant::{Flow, Params};
use crate::secret::RefreshToken;
use crate::store::Record;
use crate::token::{AccessToken, Credential};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Which grant, where there are several
    #[arg(value_name = "GRANT")]
    grant: Option<String>,
    /// As the header field that a route would send
    #[arg(long)]
    header: bool,
    /// Only a token that is good for so long still
    #[arg(long, value_name = "SPAN", value_parser = span, default_value = "0s")]
    min_valid: Duration,
    /// When it expires, and not the token
    #[arg(long, conflicts_with = "header")]
    expires_at: bool,
    #[command(flatten, next_help_heading = "If the running one was started with flags, the same again")]
    flags: Flags,
}

pub(super) fn token(common: &Common, arguments: Arguments) -> Result<Exit, Failure> {
    run::forbid_core_dumps();
    let Arguments { grant, header, min_valid, expires_at, flags } = arguments;
    let config = common.load_running(flags)?;
    let Grant { params, store } = Grant::of(&config, grant.as_deref())?;
    let record = wait_for(async { store.peek().await.map_err(|error| unusable_store(&error)) })?;
    let clock = Clock::System;
    let now = clock.now();
    if let Some(record) = record.as_ref().filter(|record| !params.identity().owns(record)) {
        return Err(absent(&params, Some(record.clone()), None));
    }
    let found = record.as_ref().and_then(|record| at_rest(record, now, &clock.boot_id()));
    let is_long_enough = |token: &AccessToken| token.expires().remaining(now) >= min_valid;
    let Some(token) = found.as_ref().filter(|token| is_long_enough(token)) else {
        let left = found.map(|token| token.expires().remaining(now));
        return Err(absent(&params, record, left));
    };
    if expires_at {
        say(&token.expires().rfc3339())?;
        return Ok(Exit::Success);
    }
    if token.is_bound() && !common.quiet {
        note(
            "note: this token is bound to a key that bearerd keeps; without a proof of that key (DPoP) it is refused",
        );
    }
    if std::io::stdout().is_terminal() && !common.quiet {
        note("note: whoever sees this token can use it; $(bearerd token) keeps it off the screen");
    }
    say(&if header {
        field(token, &credential(&config, &params))?
    } else {
        token.text().expose().to_owned()
    })?;
    Ok(Exit::Success)
}

/// As the grant's first route sends it.
fn credential(config: &Config, params: &Params) -> Credential {
    let mut routes = config.proxy.routes.iter();
    routes.find(|route| route.grant == params.name).map(|route| route.credential.clone()).unwrap_or_default()
}

fn field(token: &AccessToken, credential: &Credential) -> Result<String, Failure> {
    let mut headers = HeaderMap::new();
    token.authorize(&mut headers, credential);
    let value = headers.get(credential.header()).and_then(|value| value.to_str().ok());
    let value = value.ok_or_else(|| Failure::new(Exit::Failure, "the token cannot stand in a header"))?;
    Ok(format!("{}: {value}", usual(credential.header())))
}

/// A field's name as people write it: `Authorization`.
fn usual(name: &HeaderName) -> String {
    let word = |word: &str| {
        let mut letters = word.chars();
        letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect::<String>()
    };
    name.as_str().split('-').map(word).collect::<Vec<_>>().join("-")
}

/// Why there is none, and what to do; `left` for one that is not good for long enough.
fn absent(params: &Params, record: Option<Record>, left: Option<Duration>) -> Failure {
    let name = &params.name;
    let refused = record.as_ref().is_some_and(Record::is_refused);
    if let Some(left) = left.filter(|_| !refused) {
        let why = format!(
            "the access token of grant {name} is good for {} only; `bearerd refresh` gets a new one",
            admin::in_words(left)
        );
        return Failure::new(Exit::Failure, why);
    }
    // What the running one would begin with; a command or a keyring may ask somebody.
    let Seed { seed, is_asked_for } = seed(params);
    let may_begin = is_asked_for && record.is_none();
    let expired = record.as_ref().and_then(|record| record.access_token.as_ref()).map(|saved| saved.expires);
    match lineage::decide(record, &params.identity(), seed.as_ref(), params.needs_refresh_token()) {
        Err(error) if error.class == Class::Misconfigured => Failure::new(Exit::Config, error.sentence),
        Err(error) if !may_begin => {
            Failure::new(Exit::SignInRequired, format!("no access token rests: {}", error.sentence))
        }
        _ if refused => {
            let good = left.map_or_else(
                || format!("no access token of grant {name} is good"),
                |left| format!("the access token of grant {name} is good for {} only", admin::in_words(left)),
            );
            let why = format!(
                "{good}, and the authorization server has refused the refresh token; sign in again with `bearerd login`"
            );
            Failure::new(Exit::SignInRequired, why)
        }
        _ => {
            let was = expired.map_or_else(|| "no access token rests yet".to_owned(), told);
            Failure::new(Exit::Failure, format!("{was} (grant {name}); `bearerd refresh` gets a new one"))
        }
    }
}

/// The configured seed, as far as it can be read without asking anybody.
struct Seed {
    seed: Option<RefreshToken>,
    /// Whether there is one that only asking would bring.
    is_asked_for: bool,
}

fn seed(params: &Params) -> Seed {
    let Flow::RefreshToken { seed: Some(reference) } = &params.flow else {
        return Seed { seed: None, is_asked_for: false };
    };
    let can_be_read = reference.can_be_watched();
    let seed = if can_be_read { reference.read_refresh_token().ok() } else { None };
    Seed { seed, is_asked_for: !can_be_read }
}

fn told(expired: Moment) -> String {
    format!("the access token has expired, at {}", expired.rfc3339())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_named_as_people_write_it() {
        for (name, written) in [("authorization", "Authorization"), ("x-api-key", "X-Api-Key")] {
            assert_eq!(usual(&HeaderName::from_static(name)), written);
        }
    }
}
