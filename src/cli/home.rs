//! Where a sign-in is kept: the store, looked at beforehand, and who is told of it.

use std::time::Duration;

use super::grants::{Grant, unusable_store};
use super::typed::{bearerd, typed};
use super::{Common, Exit, Failure, daemon, note};
use crate::config::{Config, Flags, Loaded};
use crate::grant::{Params, lineage};
use crate::login::{Code, LoginError, Outcome, Signed, in_short};
use crate::net::Listen;
use crate::secret::Fingerprint;
use crate::signal::Signals;
use crate::store::{self, Txn, transfer};

/// How long the lock is waited for before that is told.
const SOON: Duration = Duration::from_secs(1);

/// Where a sign-in is stored, and who is told of it.
pub(super) struct Home<'a> {
    common: &'a Common,
    config: &'a Config,
    grant: Grant,
    /// How the grant was named, if it was, and the flags: what is typed next names them, too.
    named: Option<&'a str>,
    flags: &'a Flags,
}

/// Does what blocks on a thread of its own, so that a signal is heard meanwhile.
async fn beside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|fault| Err(Failure::new(Exit::Failure, fault.to_string())))
}

impl<'a> Home<'a> {
    /// Of a grant whose store is one that a command reaches.
    pub(super) fn of(
        common: &'a Common,
        loaded: &'a Loaded,
        params: &Params,
        named: Option<&'a str>,
        flags: &'a Flags,
    ) -> Result<Self, Failure> {
        let config = &loaded.config;
        if config.store == store::Params::Memory {
            let why = "the store is in the memory of the bearerd that runs, where a sign-in cannot be put: give it a file with \
                       `[store] path`, or print the refresh token with --emit";
            return Err(Failure::new(Exit::Config, why));
        }
        let store = store::open(&config.store, &params.name).map_err(|error| unusable_store(&error))?;
        Ok(Self { common, config, grant: Grant { params: params.clone(), store }, named, flags })
    }

    /// Looks at the store and at whoever runs with it, before anybody signs in for nothing; the configured seed.
    pub(super) async fn look_around(&self) -> Result<Option<Fingerprint>, Failure> {
        let Grant { params, store } = &self.grant;
        let (config, name, place) = (self.config.clone(), params.name.to_string(), store.place());
        beside(move || daemon::shares(&config, &name, &place)).await?;
        store.probe().await.map_err(|error| unusable_store(&error))?;
        let seed = self.seed().await?;
        // One that is damaged is set aside when there is another.
        if let Ok(Some(resting)) = store.peek().await {
            self.grant.owns(&resting)?;
            if resting.refresh_token.is_some() {
                let what = if resting.refused.is_some() { "was refused by the server" } else { "is in use" };
                note(&format!("Grant {} {what}; this sign-in replaces it once it is done.", params.name));
            }
        }
        Ok(seed)
    }

    /// The configured seed, if it is there: one that comes later is another person's word.
    async fn seed(&self) -> Result<Option<Fingerprint>, Failure> {
        let grant = self.grant.clone();
        beside(move || if grant.params.seed_is_gone() { Ok(None) } else { grant.seed("sign-in") }).await
    }

    /// Stores it under the lock, and tells a bearerd that runs.
    pub(super) async fn keep(
        &self,
        signed: Signed,
        seed: Option<Fingerprint>,
        signals: &mut Signals,
    ) -> Result<Vec<String>, LoginError> {
        let life = signed.tokens.issued.life;
        let replaced = self.store(signed, seed, signals).await?;
        let place = self.grant.store.place();
        note(&format!(
            "✓ Signed in. Access token valid {}; refresh token stored in {place}.",
            in_short(life)
        ));
        if replaced {
            note(&format!(
                "  The refresh token from before was replaced and not revoked: some servers would end the new one with it. \
                 `{}` before a sign-in revokes it.",
                typed(&bearerd(self.common, "logout", self.named, self.flags))
            ));
        }
        let curl = curl(&self.config.listen);
        let mut next = Vec::new();
        match daemon::look(self.config, self.grant.params.name.as_str()) {
            Ok(true) => note("  The bearerd that runs has been told, and goes on with it."),
            Ok(false) => next.push(typed(&bearerd(self.common, "run", None, self.flags))),
            Err(failure) => {
                let why = failure.says.trim_end_matches('.');
                note(&format!("  No bearerd that runs has been told of it: {why}."));
                // The right one that does not know the grant yet has to read the configuration again.
                let verb = if failure.exit == Exit::Unreachable { "run" } else { "reload" };
                next.push(typed(&bearerd(self.common, verb, None, self.flags)));
            }
        }
        next.extend(curl);
        if !next.is_empty() {
            note(&format!("  Next:  {}", next.join("    then   ")));
        }
        Ok(next)
    }

    /// Whether it takes the place of another.
    async fn store(
        &self,
        signed: Signed,
        seed: Option<Fingerprint>,
        signals: &mut Signals,
    ) -> Result<bool, LoginError> {
        let lost = |failure: Failure| {
            let sentence = format!(
                "The sign-in was good, and what it brought could not be stored: {}. Mend that and sign in again.",
                failure.says
            );
            let is_locked = failure.exit == Exit::Failure;
            let outcome = if is_locked { Outcome::Locked } else { Outcome::Config };
            LoginError::new(outcome, Code::StoreUnavailable, sentence)
        };
        let mut txn = self.lock(signals).await.map_err(lost)?;
        let mut replaced = false;
        if let Some(resting) = txn.record() {
            self.grant.owns(resting).map_err(lost)?;
            replaced = resting.refresh_token.is_some() && resting.refused.is_none();
        }
        // If it cannot be read any more, what it was at the start is no reason to lose what has come.
        let seed = self.seed().await.unwrap_or(seed);
        let record = lineage::signed_in(&self.grant.params.identity(), signed.tokens);
        transfer::settle(&mut txn, record, seed).await?;
        Ok(replaced)
    }

    /// The store's lock, however long another has it: what has come would be lost without. A person may give up.
    async fn lock(&self, signals: &mut Signals) -> Result<Box<dyn Txn>, Failure> {
        let mut is_told = false;
        loop {
            let mut taking = std::pin::pin!(self.grant.lock_past_damage());
            let taken = loop {
                tokio::select! {
                    taken = &mut taking => break taken,
                    () = tokio::time::sleep(SOON), if !is_told => {
                        is_told = true;
                        note(
                            "You are signed in, and it cannot be stored yet: another process holds the store's lock. It is \
                             waited for; Ctrl-C gives up, and what the sign-in brought is lost then.",
                        );
                    }
                    _ = signals.next() => {
                        return Err(Failure::new(Exit::Failure, "another process holds the store's lock"));
                    }
                }
            };
            match taken {
                Err(failure) if failure.exit == Exit::Failure => {}
                done => return done,
            }
        }
    }
}

/// What tries it out, where that is a line.
fn curl(listen: &[Listen]) -> Option<String> {
    match listen.first()? {
        Listen::Tcp { port: 0, .. } | Listen::Inherited(_) => None,
        Listen::Unix(path) => {
            let words = ["curl", "--unix-socket", &path.display().to_string(), "http://localhost/"];
            Some(typed(&words.map(str::to_owned)))
        }
        tcp => Some(format!("curl http://{tcp}/")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_to_try_it_out_is_one_that_works() {
        let tcp = |host: &str, port| Listen::Tcp { host: host.to_owned(), port };
        assert_eq!(curl(&[tcp("localhost", 8080)]).as_deref(), Some("curl http://localhost:8080/"));
        assert_eq!(curl(&[tcp("::1", 1)]).as_deref(), Some("curl http://[::1]:1/"));
        assert_eq!(curl(&[tcp("localhost", 0)]), None);
    }
}
