//! What is asked of the authorization server in a sign-in, and what proves afterwards that it was we who asked.

use std::time::Duration;

use http::Uri;

use super::provider::Provider;
use super::{Code, LoginError, Outcome, Way};
use crate::dpop::ProofKey;
use crate::grant::Params;
use crate::grant::endpoint::Question;
use crate::grant::wire::{self, Form, Told};
use crate::jose::{SigningKey, encoded_sha256};
use crate::secret::{AuthorizationCode, ClientSecret, CodeVerifier, DeviceCode, DpopKey, random_hex};

/// One sign-in: what is made for it and for no other.
pub(super) struct Attempt {
    pub(super) provider: Provider,
    pub(super) scopes: Vec<String>,
    /// Ties the browser's return to this sign-in.
    pub(super) state: String,
    /// Ties the ID token to it, where there will be one.
    pub(super) nonce: Option<String>,
    pub(super) verifier: CodeVerifier,
    /// What the tokens will be bound to, if they are to be bound.
    pub(super) key: Option<(DpopKey, ProofKey)>,
}

/// A code that came back, and where to: the token request repeats it.
pub(super) struct CodeGrant {
    pub(super) code: AuthorizationCode,
    pub(super) redirect_uri: String,
}

/// What a browser is to open.
pub(super) struct Address {
    pub(super) url: String,
    /// How long it may be opened, where that is less than a person has.
    pub(super) life: Option<Duration>,
}

/// How a browser comes to ask what is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carriage {
    /// In the address.
    Address,
    /// Pushed before, so that the address only names it (RFC 9126).
    Pushed,
}

impl Attempt {
    pub(super) fn new(params: &Params, provider: Provider, scopes: Vec<String>) -> Result<Self, LoginError> {
        let is_openid = scopes.iter().any(|scope| scope == "openid");
        Ok(Self {
            provider,
            state: random_hex(16),
            nonce: is_openid.then(|| random_hex(16)),
            verifier: CodeVerifier::random(),
            key: params.dpop.is_on().then(new_key).transpose()?,
            scopes,
        })
    }

    /// What an authorization request says. What the operator adds replaces nothing of it, but for what only this server
    /// wants.
    fn parameters(&self, params: &Params, redirect_uri: &str) -> Form {
        let mut form = Form::default();
        form.add("response_type", "code");
        form.add("client_id", &params.client_id);
        form.add("redirect_uri", redirect_uri);
        add_wanted(&mut form, params, &self.scopes);
        form.add("state", &self.state);
        if let Some(nonce) = &self.nonce {
            form.add("nonce", nonce);
        }
        form.add("code_challenge", &encoded_sha256(self.verifier.expose().as_bytes()));
        form.add("code_challenge_method", "S256");
        if let Some((_, key)) = &self.key {
            form.add("dpop_jkt", &key.thumbprint());
        }
        let added = params.extra.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        for (name, value) in added.chain(self.provider.parameters(&self.scopes).iter().copied()) {
            form.add(name, value);
        }
        form
    }
}

/// The key that tokens will be bound to. The configured one is of the seed, and stays with it.
fn new_key() -> Result<(DpopKey, ProofKey), LoginError> {
    let made = SigningKey::generate().and_then(|text| ProofKey::new(&text).map(|key| (text, key)));
    made.map_err(|error| {
        let sentence = format!("A key to bind tokens to cannot be made: {error}. Try again.");
        LoginError::new(Outcome::Config, Code::DpopKeyUnusable, sentence)
    })
}

/// What the tokens are wanted for.
fn add_wanted(form: &mut Form, params: &Params, scopes: &[String]) {
    if !scopes.is_empty() {
        form.add("scope", &scopes.join(" "));
    }
    for resource in &params.resource {
        form.add_another("resource", resource);
    }
    if let Some(audience) = &params.audience {
        form.add("audience", audience);
    }
}

/// What a device asks for (RFC 8628 §3.1).
pub(super) fn device_request(params: &Params, scopes: &[String]) -> Form {
    let mut form = Form::default();
    add_wanted(&mut form, params, scopes);
    form
}

/// What asks whether a device has been signed in (§3.4).
pub(super) fn of_device(code: &DeviceCode) -> Form {
    let mut form = Form::default();
    form.add("grant_type", "urn:ietf:params:oauth:grant-type:device_code");
    form.add("device_code", code.expose());
    form
}

/// What an answer may quote.
pub(super) fn secret_of(code: &DeviceCode) -> ClientSecret {
    ClientSecret::new(code.expose())
}

impl CodeGrant {
    /// What an answer may quote.
    pub(super) fn secrets(&self, verifier: &CodeVerifier) -> [ClientSecret; 2] {
        [ClientSecret::new(self.code.expose()), ClientSecret::new(verifier.expose())]
    }

    /// What a code is redeemed with (RFC 6749 §4.1.3, RFC 7636 §4.5).
    pub(super) fn request(&self, params: &Params, verifier: &CodeVerifier) -> Form {
        let mut form = Form::default();
        form.add("grant_type", "authorization_code");
        form.add("code", self.code.expose());
        form.add("redirect_uri", &self.redirect_uri);
        form.add("code_verifier", verifier.expose());
        for resource in &params.resource {
            form.add_another("resource", resource);
        }
        form
    }
}

impl Way<'_> {
    /// The address that a browser is to open; made anew for each, for what was pushed is good once.
    pub(super) async fn address(
        &self,
        redirect_uri: &str,
        carriage: Carriage,
    ) -> Result<Address, LoginError> {
        let params = self.login.params;
        let form = self.attempt.parameters(params, redirect_uri);
        let Some(endpoint) = &self.known.metadata.endpoints.authorization else {
            return Err(self.lacks("authorization_endpoint", "with a browser"));
        };
        let (query, life) = match carriage {
            Carriage::Address => (form, None),
            Carriage::Pushed => self.pushed(form).await?,
        };
        let text = endpoint.to_string();
        let between = if text.contains('?') { '&' } else { '?' };
        Ok(Address { url: format!("{text}{between}{}", *query.encode()), life })
    }

    /// Pushes a request; what stands for it afterwards, and for how long.
    async fn pushed(&self, form: Form) -> Result<(Form, Option<Duration>), LoginError> {
        const WHAT: &str = "pushed authorization request endpoint";
        let Some(to) = self.known.metadata.endpoints.pushed_authorization.clone() else {
            return Err(self.lacks("pushed_authorization_request_endpoint", "with a browser"));
        };
        let question = Question { what: WHAT, to, form, takes_extra: true };
        let answer = self.login.endpoint.post(&self.known.prepared, question, None).await?;
        let told = self.told(&[]);
        let told = Told { refresh_token: None, others: &told };
        let pushed = wire::read_pushed(&answer, told).map_err(|unread| LoginError::unread(WHAT, &unread))?;
        let mut form = Form::default();
        form.add("client_id", &self.login.params.client_id);
        form.add("request_uri", &pushed.request_uri);
        Ok((form, pushed.life))
    }

    /// Whether the server wants requests to be pushed. Where it only offers that, plain ones are as good: PKCE, `state`
    /// and `iss` protect them, and some servers let no public client push.
    pub(super) fn carriage(&self) -> Carriage {
        if self.known.metadata.requires_pushed_requests { Carriage::Pushed } else { Carriage::Address }
    }

    /// The token endpoint.
    pub(super) fn token_endpoint(&self) -> Uri {
        self.known.prepared.endpoint.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::login::tests::params;

    fn asked(params: &Params, provider: Provider, scopes: &[&str]) -> (Attempt, String) {
        let scopes = scopes.iter().map(ToString::to_string).collect();
        let attempt = Attempt::new(params, provider, scopes).unwrap();
        let query = attempt.parameters(params, "http://127.0.0.1:1/callback").encode().to_string();
        (attempt, query)
    }

    #[test]
    fn a_request_says_what_it_is_for_and_proves_nothing_yet() {
        let params = Params {
            resource: vec!["https://a.example".to_owned(), "https://b.example".to_owned()],
            audience: Some("api".to_owned()),
            extra: vec![("prompt".to_owned(), "login".to_owned()), ("acr".to_owned(), "2".to_owned())],
            dpop: crate::grant::Dpop::Required,
            ..params()
        };
        let (attempt, query) = asked(&params, Provider::Other, &["openid", "offline_access"]);
        for part in [
            "response_type=code&client_id=app&redirect_uri=http%3A%2F%2F127.0.0.1%3A1%2Fcallback&scope=openid+offline_access&",
            "resource=https%3A%2F%2Fa.example&resource=https%3A%2F%2Fb.example&audience=api&",
            "&code_challenge_method=S256&dpop_jkt=",
            "&prompt=login&acr=2",
        ] {
            assert!(query.contains(part), "{part} in {query}");
        }
        assert_eq!(query.matches("prompt=").count(), 1, "the operator's own word");
        assert!(query.contains(&attempt.state) && query.contains(attempt.nonce.as_ref().unwrap()));
        assert!(!query.contains(attempt.verifier.expose()));
        let challenge = encoded_sha256(attempt.verifier.expose().as_bytes());
        assert!(
            query.contains(&format!("code_challenge={challenge}"))
                && (43..=128).contains(&attempt.verifier.expose().len())
        );
        let (another, _) = asked(&params, Provider::Other, &[]);
        assert!(another.state != attempt.state && another.verifier != attempt.verifier);
        assert_eq!(another.nonce, None, "without an ID token there is nothing to tie");
    }

    #[test]
    fn a_server_is_asked_for_a_refresh_token_in_its_own_words() {
        let (_, query) = asked(&params(), Provider::Google, &["openid"]);
        assert!(query.ends_with("&access_type=offline&prompt=consent"), "{query}");
        let (_, query) = asked(&params(), Provider::Keycloak, &["openid", "offline_access"]);
        assert!(!query.contains("prompt="), "{query}");
    }
}
