//! The server's memory: who was granted what, and which token is good for how long.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use bearerd::clock::Moment;

use super::options::Rotation;
use crate::support::random;

/// What the server thinks of an access token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenState {
    /// Good.
    Active,
    /// It was good.
    Expired,
    /// It, its grant or its family was revoked.
    Revoked,
    /// It is good, and bound to a certificate that was not shown.
    Misplaced,
    /// It was never issued.
    Unknown,
}

/// Why a refresh token is refused; the words of the answer's description.
pub(super) type Refusal = &'static str;

#[derive(Debug)]
pub(super) struct Ledger {
    grants: BTreeMap<String, Grant>,
    /// Every refresh token ever issued, and the grant it is of.
    refresh_tokens: HashMap<String, String>,
    access_tokens: HashMap<String, Access>,
    /// How often a refresh token came that another had replaced.
    pub(super) reuse_errors: usize,
    /// Whether the one user that there is may do anything.
    pub(super) user_enabled: bool,
}

#[derive(Debug)]
struct Grant {
    client: String,
    current: String,
    previous: Option<(String, Moment)>,
    /// Those before the current one that are good as well: Doorkeeper's.
    kept: HashSet<String>,
    alive: bool,
}

/// An access token, as it is noted when it is issued.
#[derive(Clone, Debug, Default)]
pub(super) struct Access {
    /// The grant that it is of, unless a client has it for itself.
    pub(super) grant: Option<String>,
    /// Whether it is a JWT.
    pub(super) jwt: bool,
    /// The refresh token that was issued with it.
    pub(super) beside: Option<String>,
    /// The refresh token that its first use ends.
    pub(super) ends: Option<String>,
    /// The certificate that it is bound to, in DER.
    pub(super) certificate: Option<Vec<u8>>,
    /// The thumbprint of the key that it is bound to.
    pub(super) key: Option<String>,
    /// Since the Unix epoch, in whole seconds as servers keep it.
    pub(super) expires: Duration,
    /// By itself; its grant may be revoked as well.
    pub(super) revoked: bool,
}

/// A refresh token that was found good.
#[derive(Debug)]
pub(super) struct Redeemed {
    pub(super) grant: String,
    /// The refresh token to answer, if any.
    pub(super) refresh_token: Option<String>,
    pub(super) rotated_at: Option<Moment>,
    /// The refresh token that ends when the access token to be issued is first used.
    pub(super) ends: Option<String>,
}

impl Ledger {
    pub(super) fn new() -> Self {
        Self {
            grants: BTreeMap::new(),
            refresh_tokens: HashMap::new(),
            access_tokens: HashMap::new(),
            reuse_errors: 0,
            user_enabled: true,
        }
    }

    /// A new grant's first refresh token.
    pub(super) fn grant(&mut self, client: &str) -> String {
        let id = random::uuid();
        let current = self.mint(&id);
        let grant = Grant {
            client: client.to_owned(),
            current: current.clone(),
            previous: None,
            kept: HashSet::new(),
            alive: true,
        };
        self.grants.insert(id, grant);
        current
    }

    /// In one step: finds the token good and does with it what the rotation says. One that was replaced before kills
    /// its family, where it is not forgiven.
    pub(super) fn redeem(
        &mut self,
        client: &str,
        token: &str,
        rotation: Rotation,
        now: Moment,
    ) -> Result<Redeemed, Refusal> {
        let id = self.refresh_tokens.get(token).cloned().ok_or("no such refresh token")?;
        let grant = self.grants.get_mut(&id).ok_or("no such grant")?;
        if grant.client != client {
            return Err("the refresh token is another client's");
        }
        if token != grant.current && !grant.kept.contains(token) {
            let forgiven = grant.previous.as_ref().is_some_and(|(previous, replaced)| match rotation {
                Rotation::Grace(grace) => previous == token && !replaced.plus(grace).has_come(now),
                _ => false,
            });
            if forgiven && grant.alive {
                let refresh_token = Some(grant.current.clone());
                return Ok(Redeemed { grant: id, refresh_token, rotated_at: None, ends: None });
            }
            self.reuse_errors += 1;
            if rotation == Rotation::UntilUse {
                return Err("the refresh token was revoked");
            }
            grant.alive = false;
            return Err("the refresh token was used before; its whole family is revoked");
        }
        if !grant.alive {
            return Err("the grant was revoked");
        }
        if !self.user_enabled {
            return Err("the user is disabled");
        }
        let refresh_token = (rotation != Rotation::Never).then(|| self.rotate(&id, now));
        let rotated_at = refresh_token.is_some().then_some(now);
        let ends = (rotation == Rotation::UntilUse).then(|| self.keep(&id, token));
        Ok(Redeemed { grant: id, refresh_token, rotated_at, ends })
    }

    /// Keeps what was replaced good, and returns the one that was presented.
    fn keep(&mut self, id: &str, presented: &str) -> String {
        if let Some(grant) = self.grants.get_mut(id) {
            grant.kept.extend(grant.previous.take().map(|(replaced, _)| replaced));
        }
        presented.to_owned()
    }

    /// An access token was used: the refresh token that it ends is good no longer, and neither is the access token that
    /// came with that one, which Doorkeeper keeps in the same row.
    pub(super) fn used(&mut self, access_token: &str) {
        let Some(ended) = self.access_tokens.get_mut(access_token).and_then(|access| access.ends.take())
        else {
            return;
        };
        for grant in self.grants.values_mut() {
            grant.kept.remove(&ended);
        }
        let beside = |access: &&mut Access| access.beside.as_ref() == Some(&ended);
        self.access_tokens.values_mut().filter(beside).for_each(|access| access.revoked = true);
    }

    /// Authgear's first step: the grant whose current token this is.
    pub(super) fn matching(&self, token: &str) -> Option<String> {
        let id = self.refresh_tokens.get(token)?;
        let grant = self.grants.get(id)?;
        (grant.alive && grant.current == token && self.user_enabled).then(|| id.clone())
    }

    /// Authgear's second step: a new current token, whatever the current one is by now.
    pub(super) fn rotate(&mut self, id: &str, now: Moment) -> String {
        let token = self.mint(id);
        if let Some(grant) = self.grants.get_mut(id) {
            let replaced = std::mem::replace(&mut grant.current, token.clone());
            grant.previous = Some((replaced, now));
        }
        token
    }

    /// Whether the grant is this client's.
    pub(super) fn is_of(&self, id: &str, client: &str) -> bool {
        self.grants.get(id).is_some_and(|grant| grant.client == client)
    }

    /// Notes an access token that was issued at `now`. It expires by the wall clock, whose fraction of a second is cut
    /// as in a JWT's `exp`: up to a second before `expires_in` says.
    pub(super) fn note(&mut self, token: &str, access: Access, expires_in: u64, now: Moment) {
        let expires = Duration::from_secs(now.wall.as_secs().saturating_add(expires_in));
        self.access_tokens.insert(token.to_owned(), Access { expires, ..access });
    }

    /// The certificate that an access token is bound to.
    pub(super) fn bound_to(&self, token: &str) -> Option<&[u8]> {
        self.access_tokens.get(token)?.certificate.as_deref()
    }

    /// What an access token is worth at `now`.
    pub(super) fn state_of(&self, token: &str, now: Moment) -> TokenState {
        let Some(access) = self.access_tokens.get(token) else { return TokenState::Unknown };
        let alive = |id: &String| self.grants.get(id).is_some_and(|grant| grant.alive);
        // An expired token is never to be sent, revoked or not.
        if now.wall >= access.expires {
            TokenState::Expired
        } else if access.revoked || !access.grant.as_ref().is_none_or(alive) {
            TokenState::Revoked
        } else {
            TokenState::Active
        }
    }

    /// Revokes a current refresh token with its grant, or an access token alone. A JWT stays good where `jwt_stays`.
    pub(super) fn revoke(&mut self, token: &str, jwt_stays: bool) {
        if let Some(access) = self.access_tokens.get_mut(token) {
            access.revoked |= !(access.jwt && jwt_stays);
        }
        if let Some(grant) = self.grants.values_mut().find(|grant| grant.current == token) {
            grant.alive = false;
        }
    }

    /// The grant that a refresh token is, or was once, of.
    pub(super) fn grant_of(&self, token: &str) -> Option<String> {
        self.refresh_tokens.get(token).cloned()
    }

    /// The refresh token that is good now for the grant that `token` was once of.
    pub(super) fn current(&self, token: &str) -> Option<String> {
        let grant = self.grants.get(self.refresh_tokens.get(token)?)?;
        grant.alive.then(|| grant.current.clone())
    }

    fn mint(&mut self, grant: &str) -> String {
        let token = format!("{grant}.{}", random::alphanumeric(32));
        self.refresh_tokens.insert(token.clone(), grant.to_owned());
        token
    }
}
