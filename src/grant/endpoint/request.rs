//! One token request: what was read for it, what it presents, and its form.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, Uri, header};
use serde_json::Map;
use zeroize::Zeroizing;

use super::exchange::{Exchange, Redeemed};
use super::{HttpEndpoint, Prepared, Source};
use crate::clock::Moment;
use crate::dpop::{self, DPOP, ProofKey, Rapport};
use crate::grant::client_auth::{self, Given, Proof, Signer};
use crate::grant::error::{Class, Code, RefreshError};
use crate::grant::wire::{Form, Metadata};
use crate::grant::{ClientAuthMethod, Credentials, Flow, Params, Secret, Server};
use crate::jose::{Algorithm, KeyError};
use crate::secret::{ClientSecret, RefreshToken};

/// What a flow presents if it is no refresh token.
#[derive(Clone, Debug)]
pub enum Presents {
    /// Nothing: a refresh token, or the client's own word.
    Nothing,
    /// An assertion that somebody else has made (RFC 7523 §2.1).
    Assertion(ClientSecret),
    /// An assertion that is made for each request, about this subject.
    Signed(Signer, String),
    /// A token, and whose hand it is in, to be exchanged (RFC 8693 §2.1).
    Exchange(ClientSecret, Option<ClientSecret>),
}

/// What was read for a request: every secret behind a reference (R29).
#[derive(Debug, Default)]
pub(super) struct Material {
    secrets: Vec<ClientSecret>,
    key: Option<ClientSecret>,
    client_assertion: Option<ClientSecret>,
    /// What the flow presents, in the order of [`Flow::given`].
    given: [Option<ClientSecret>; 2],
}

impl Material {
    /// Reads them. Blocking.
    ///
    /// # Errors
    /// When one that is needed cannot be read. Of several client secrets one is enough: the other may not be there yet.
    pub(super) fn read(params: &Params) -> Result<Self, RefreshError> {
        let Credentials { secrets, key, assertion, .. } = &params.credentials;
        let [first, second] = params.flow.given();
        Ok(Self {
            given: [read(first)?, read(second)?],
            secrets: read_secrets(secrets)?,
            key: read(key.as_ref().map(|key| ("client key", key)))?,
            client_assertion: read(assertion.as_ref().map(|assertion| ("client assertion", assertion)))?,
        })
    }

    /// What a request is made of.
    ///
    /// # Errors
    /// When the key does not sign.
    pub(super) fn prepare(
        self,
        params: &Params,
        metadata: Metadata,
        source: Source,
    ) -> Result<Prepared, RefreshError> {
        let given = Given {
            secret: !self.secrets.is_empty(),
            key: self.key.is_some() || self.client_assertion.is_some(),
            certificate: params.credentials.certificate,
        };
        let method = client_auth::decide(params.client_auth, given, &metadata.auth_methods);
        let proofs = self.proofs(method, params, &metadata)?;
        let presents = self.presents(params, &metadata)?;
        if params.dpop.is_on() && !metadata.dpop_algorithms.is_empty() {
            takes_our_proofs(&metadata)?;
        }
        let alias = metadata.mtls_token_endpoint.filter(|_| given.certificate);
        let others = [self.key, self.client_assertion].into_iter().chain(self.given).flatten();
        Ok(Prepared {
            endpoint: alias.unwrap_or(metadata.token_endpoint),
            source,
            proofs,
            presents,
            told: self.secrets.into_iter().chain(others).collect(),
        })
    }

    fn proofs(
        &self,
        method: ClientAuthMethod,
        params: &Params,
        metadata: &Metadata,
    ) -> Result<Vec<Proof>, RefreshError> {
        let with_secrets = |proof: &dyn Fn(&ClientSecret) -> Proof| self.secrets.iter().map(proof).collect();
        Ok(match method {
            ClientAuthMethod::Basic => with_secrets(&|secret| Proof::Basic(secret.clone())),
            ClientAuthMethod::Post => with_secrets(&|secret| Proof::Post(secret.clone())),
            ClientAuthMethod::ClientSecretJwt => {
                with_secrets(&|secret| Proof::Signed(Signer::with_secret(secret, audience(params, metadata))))
            }
            ClientAuthMethod::PrivateKeyJwt => match &self.client_assertion {
                Some(assertion) => vec![Proof::Brought(assertion.clone())],
                None => vec![Proof::Signed(self.signer(params, metadata)?)],
            },
            ClientAuthMethod::Auto | ClientAuthMethod::None | ClientAuthMethod::Tls => vec![Proof::Id],
        })
    }

    fn presents(&self, params: &Params, metadata: &Metadata) -> Result<Presents, RefreshError> {
        Ok(match (&params.flow, &self.given) {
            (Flow::JwtBearer { .. }, [Some(assertion), _]) => Presents::Assertion(assertion.clone()),
            (Flow::JwtBearer { subject, .. }, [None, _]) => {
                let subject = subject.clone().unwrap_or_else(|| params.client_id.clone());
                Presents::Signed(self.signer(params, metadata)?, subject)
            }
            (Flow::TokenExchange(_), [Some(subject), actor]) => {
                Presents::Exchange(subject.clone(), actor.clone())
            }
            _ => Presents::Nothing,
        })
    }

    fn signer(&self, params: &Params, metadata: &Metadata) -> Result<Signer, RefreshError> {
        let unusable = |error: KeyError| {
            let sentence = format!("The client key cannot be used: {error}. Check `client_key`.");
            RefreshError::new(Class::Misconfigured, Code::ClientKeyUnusable, sentence)
        };
        let key = self.key.as_ref().ok_or(KeyError::NotPem).map_err(unusable)?;
        let Credentials { key_id, algorithm, .. } = &params.credentials;
        let audience = audience(params, metadata);
        Signer::with_key(key, key_id.as_deref(), *algorithm, metadata, audience).map_err(unusable)
    }
}

/// Whether the server takes the one algorithm that our proofs are signed with.
fn takes_our_proofs(metadata: &Metadata) -> Result<(), RefreshError> {
    let ours = Algorithm::Es256.name();
    if metadata.dpop_algorithms.iter().any(|algorithm| algorithm == ours) {
        return Ok(());
    }
    let sentence = format!(
        "The authorization server takes no proofs of possession that are signed with {ours}; remove `dpop`."
    );
    Err(RefreshError::new(Class::Misconfigured, Code::DpopUnsupported, sentence))
}

/// Whom an assertion is for: the issuer (FAPI 2.0, RFC 7523bis), or the token endpoint where that is all that is known.
fn audience(params: &Params, metadata: &Metadata) -> String {
    match (&params.credentials.audience, &params.server) {
        (Some(audience), _) => audience.clone(),
        (None, Server::Issuer { issuer, .. }) => issuer.clone(),
        (None, Server::Endpoint { .. }) => metadata.token_endpoint.to_string(),
    }
}

/// Reads what there is; `what` it is called when it cannot be read.
fn read(given: Option<(&str, &Secret)>) -> Result<Option<ClientSecret>, RefreshError> {
    given.map(|(what, reference)| reference.read().map_err(|why| unreadable(what, &why))).transpose()
}

fn read_secrets(references: &[Secret]) -> Result<Vec<ClientSecret>, RefreshError> {
    let (mut found, mut missing) = (Vec::new(), None);
    for reference in references {
        match reference.read() {
            Ok(secret) => found.push(secret),
            Err(why) => drop(missing.get_or_insert(why)),
        }
    }
    match missing {
        Some(why) if found.is_empty() => Err(unreadable("client secret", &why)),
        _ => Ok(found),
    }
}

/// That a reference leads to nothing.
pub(super) fn unreadable(what: &str, why: &str) -> RefreshError {
    RefreshError::new(
        Class::Misconfigured,
        Code::SecretUnreadable,
        format!("The {what} is not there: {why}."),
    )
}

/// A form, and where it goes: what a request says, before it is proven who asks.
#[derive(Clone)]
pub(super) struct Asked {
    pub(super) to: Uri,
    pub(super) form: Form,
    pub(super) presents: Presents,
    /// Whether what the operator added belongs into it.
    pub(super) takes_extra: bool,
}

impl HttpEndpoint {
    /// One request with this proof, in what is left of the time for all.
    pub(super) async fn ask(
        &self,
        asked: &Asked,
        proof: &Proof,
        shown: Option<(&ProofKey, &Rapport)>,
        elapsed: Duration,
    ) -> Redeemed {
        let timeout = self.params.timeout.saturating_sub(elapsed);
        let to = asked.to.clone();
        let (params, asked, proof) = (self.params.clone(), asked.clone(), proof.clone());
        let now = self.clock.now();
        // RSA takes its time.
        let signed = tokio::task::spawn_blocking(move || complete(asked, &params, &proof, now));
        let (body, authorization) = match signed.await {
            Ok(Ok(completed)) => completed,
            Ok(Err(error)) => {
                return Redeemed::NotSent(format!("the assertion could not be signed: {error}"));
            }
            Err(fault) => return Redeemed::NotSent(fault.to_string()),
        };
        let mut headers = HeaderMap::new();
        headers.extend(self.params.extra_headers.iter().cloned());
        let content = HeaderValue::from_static("application/x-www-form-urlencoded");
        headers.insert(header::CONTENT_TYPE, content);
        if let Some(authorization) = authorization {
            headers.insert(header::AUTHORIZATION, authorization);
        }
        if let Some((key, rapport)) = shown {
            let target = dpop::target_of(&to);
            match key.prove(&Method::POST, &target, None, rapport, now) {
                Ok(proof) => drop(headers.insert(DPOP, proof)),
                Err(error) => return Redeemed::NotSent(format!("the proof could not be signed: {error}")),
            }
        }
        let exchange = self.exchange(to, Method::POST, headers, body);
        Exchange { timeout, ..exchange }.run().await
    }

    /// What the flow needs comes first; what the operator added cannot replace it.
    pub(super) fn form(&self, presented: Option<&RefreshToken>) -> Form {
        let mut form = Form::default();
        let params = &self.params;
        let mut send_scopes = true;
        match (&params.flow, presented) {
            (_, Some(refresh_token)) => {
                form.add("grant_type", "refresh_token");
                form.add("refresh_token", refresh_token.expose());
                send_scopes = params.send_scopes_on_refresh;
            }
            (Flow::JwtBearer { .. }, None) => form.add("grant_type", JWT_BEARER),
            (Flow::TokenExchange(exchange), None) => {
                form.add("grant_type", TOKEN_EXCHANGE);
                form.add("subject_token_type", &exchange.subject.1);
                if let Some((_, kind)) = &exchange.actor {
                    form.add("actor_token_type", kind);
                }
                if let Some(requested) = &exchange.requested {
                    form.add("requested_token_type", requested);
                }
            }
            (Flow::ClientCredentials | Flow::RefreshToken { .. }, None) => {
                form.add("grant_type", "client_credentials");
            }
        }
        if send_scopes && !params.scopes.is_empty() {
            form.add("scope", &params.scopes.join(" "));
        }
        for resource in &params.resource {
            form.add_another("resource", resource);
        }
        if let Some(audience) = &params.audience {
            form.add("audience", audience);
        }
        form
    }
}

/// `jwt_bearer` (RFC 7523 §2.1).
const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// `token_exchange` (RFC 8693 §2.1).
const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";

/// Adds what proves who asks, signs what is to be signed, and encodes. Blocking.
fn complete(
    Asked { mut form, presents, takes_extra, .. }: Asked,
    params: &Params,
    proof: &Proof,
    now: Moment,
) -> Result<(Zeroizing<String>, Option<HeaderValue>), KeyError> {
    match &presents {
        Presents::Nothing => {}
        Presents::Assertion(assertion) => form.add("assertion", assertion.expose()),
        Presents::Signed(signer, subject) => {
            let mut more = Map::new();
            if !params.scopes.is_empty() {
                // Google reads the scopes there and nowhere else.
                more.insert("scope".to_owned(), params.scopes.join(" ").into());
            }
            form.add("assertion", &signer.assertion(&params.client_id, subject, more, now)?);
        }
        Presents::Exchange(subject, actor) => {
            form.add("subject_token", subject.expose());
            if let Some(actor) = actor {
                form.add("actor_token", actor.expose());
            }
        }
    }
    let authorization = client_auth::apply(proof, &params.client_id, now, &mut form)?;
    for (name, value) in params.extra.iter().filter(|_| takes_extra) {
        form.add(name, value);
    }
    Ok((form.encode(), authorization))
}
