//! Which refresh token is ours to present: the one that rests, or a new seed. Pure.

use std::time::Duration;

use http::Uri;

use crate::clock::Moment;
use crate::net;
use crate::secret::{DpopKey, RefreshToken, random_hex};
use crate::store::{Exported, Record, SEEDS_REMEMBERED, SavedToken};

use super::endpoint::{Prepared, Source};
use super::error::{Class, Code, RefreshError};
use super::wire::{Issued, printable};
use super::{end, schedule};

/// What a record must belong to (R45).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The issuer, or the token endpoint where none is configured.
    pub issuer: String,
    /// The client.
    pub client_id: String,
}

impl Identity {
    /// Whether the record is of this issuer and client.
    #[must_use]
    pub fn owns(&self, record: &Record) -> bool {
        record.issuer == self.issuer && record.client_id == self.client_id
    }
}

/// The record to go on with.
#[derive(Clone, Debug, PartialEq)]
pub enum Line {
    /// It rests in the store.
    Rests(Record),
    /// It begins with a seed, or without a refresh token at all, and has to be saved first.
    Begins(Record),
}

/// Decides between what rests and the seed (R44): a seed that the record has met is history, an unknown one is an
/// operator's word.
///
/// # Errors
/// [`Class::Misconfigured`] for a record of another issuer or client; [`Class::Refused`] when there is neither record
/// nor seed.
pub fn decide(
    record: Option<Record>,
    identity: &Identity,
    seed: Option<&RefreshToken>,
    needs_refresh_token: bool,
) -> Result<Line, RefreshError> {
    match (record, seed) {
        (Some(record), _) if !identity.owns(&record) => Err(foreign(&record)),
        (Some(record), Some(seed)) if !record.seeds.contains(&seed.fingerprint()) => {
            Ok(Line::Begins(begin(identity, Some(seed), record.seeds)))
        }
        (Some(record), seed) if needs_refresh_token && record.refresh_token.is_none() => {
            Err(match (&record.exported, record.signed_out) {
                (Some(exported), _) => has_left(exported),
                (None, Some(at)) => was_ended(at),
                (None, None) if seed.is_some() => seed_spent(),
                (None, None) => no_grant(),
            })
        }
        (Some(record), _) => Ok(Line::Rests(record)),
        (None, None) if needs_refresh_token => Err(no_grant()),
        (None, seed) => Ok(Line::Begins(begin(identity, seed, Vec::new()))),
    }
}

/// What stands in for a record that was damaged: the seed that is configured may be older than what rested there, so it
/// counts as met, and only another one begins a line.
#[must_use]
pub fn after_damage(identity: &Identity, seed: Option<&RefreshToken>) -> Record {
    Record { refresh_token: None, ..begin(identity, seed, Vec::new()) }
}

/// What a person's sign-in brought, as the beginning of a line of its own.
#[derive(Debug)]
pub struct SignedIn {
    /// The refresh token.
    pub refresh_token: RefreshToken,
    /// Which token endpoint gave it.
    pub token_endpoint: Uri,
    /// The access token that came with it.
    pub issued: Issued,
    /// Before the request was sent that brought both.
    pub asked: Moment,
    /// Which boot that moment is of.
    pub boot_id: String,
    /// What they are bound to, if to anything.
    pub dpop_key: Option<DpopKey>,
}

/// The record that a sign-in begins with.
#[must_use]
pub fn signed_in(identity: &Identity, signed_in: SignedIn) -> Record {
    let SignedIn { refresh_token, token_endpoint, issued, asked, boot_id, dpop_key } = signed_in;
    let access_token = SavedToken {
        text: issued.access_token,
        bound: issued.bound,
        obtained: asked,
        expires: schedule::expiry(asked, issued.life),
        boot_id,
    };
    Record {
        token_endpoint: Some(net::authority(&token_endpoint)),
        refresh_token: Some(refresh_token),
        access_token: Some(access_token),
        dpop_key,
        grant_end: end::told(None, asked, issued.grant_life),
        ..begin(identity, None, Vec::new())
    }
}

/// Refuses a token endpoint that metadata name, and the configuration does not, on another host than the one that gave
/// the record's tokens: whoever can write the metadata could otherwise have the refresh token sent anywhere (R73).
///
/// # Errors
/// [`Class::Misconfigured`], and nothing was sent; or why the metadata could not be read, where they may know better.
pub fn still_at(record: &Record, prepared: &Prepared) -> Result<(), RefreshError> {
    let Some(before) = record.token_endpoint.as_deref() else { return Ok(()) };
    let endpoint = &prepared.endpoint;
    match &prepared.source {
        Source::Configuration => return Ok(()),
        _ if before == net::authority(endpoint) => return Ok(()),
        Source::Instead(unread) => return Err(unread.clone()),
        Source::Metadata | Source::Kept => {}
    }
    let person = if record.refresh_token.is_some() { "sign in again, provide a new seed, or " } else { "" };
    let sentence = format!(
        "The metadata of {} name {} as the token endpoint, and the one that gave tokens so far is at {before}. Nothing was \
         sent. If the server has moved, {person}name the new address as `token_endpoint`.",
        record.issuer,
        printable(&endpoint.to_string())
    );
    Err(RefreshError::new(Class::Misconfigured, Code::TokenEndpointMoved, sentence))
}

fn begin(
    identity: &Identity,
    seed: Option<&RefreshToken>,
    mut seeds: Vec<crate::secret::Fingerprint>,
) -> Record {
    seeds.extend(seed.map(RefreshToken::fingerprint));
    seeds.drain(..seeds.len().saturating_sub(SEEDS_REMEMBERED));
    Record {
        lineage: random_hex(8),
        generation: 0,
        issuer: identity.issuer.clone(),
        client_id: identity.client_id.clone(),
        token_endpoint: None,
        refresh_token: seed.cloned(),
        access_token: None,
        dpop_key: None,
        seeds,
        quiet_redeems: 0,
        grant_end: None,
        intent: None,
        refused: None,
        exported: None,
        signed_out: None,
    }
}

fn foreign(record: &Record) -> RefreshError {
    RefreshError::new(
        Class::Misconfigured,
        Code::StoreOfAnotherClient,
        format!(
            "The store holds a refresh token of client `{}` at {}, which is not the configured one; it is presented \
             to nobody else. Give this grant another `store.path`, or configure that client.",
            record.client_id, record.issuer
        ),
    )
}

/// A person has signed out.
fn was_ended(at: Duration) -> RefreshError {
    let at = Moment { boot: Duration::ZERO, wall: at }.rfc3339();
    RefreshError::new(
        Class::Refused,
        Code::SignedOut,
        format!(
            "Somebody has signed out, at {at}. Sign in again with `bearerd login`, or provide a new seed."
        ),
    )
}

/// Whoever has imported it presents it now.
fn has_left(exported: &Exported) -> RefreshError {
    let at = Moment { boot: Duration::ZERO, wall: exported.at }.rfc3339();
    RefreshError::new(
        Class::Refused,
        Code::GrantExported,
        format!(
            "The grant was exported at {at}, to {}, and is presented from here no more. If it was imported nowhere, \
             import it here again; else sign in again, or provide a new seed.",
            exported.to
        ),
    )
}

fn no_grant() -> RefreshError {
    RefreshError::new(
        Class::Refused,
        Code::NoGrant,
        "There is no refresh token yet: sign in with `bearerd login`, or configure a seed with `refresh_token = { file = … }`.",
    )
}

fn seed_spent() -> RefreshError {
    RefreshError::new(
        Class::Refused,
        Code::NoGrant,
        "There is no refresh token: the record was damaged, and the configured seed may have been replaced since. Sign in \
         again, or provide a new seed.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grant::endpoint::Presents;

    fn identity() -> Identity {
        Identity { issuer: "https://id.example".to_owned(), client_id: "billing".to_owned() }
    }

    fn decided(record: Option<Record>, seed: Option<&str>) -> Result<Line, RefreshError> {
        decide(record, &identity(), seed.map(RefreshToken::new).as_ref(), true)
    }

    fn begun(seed: &str) -> Record {
        let Ok(Line::Begins(record)) = decided(None, Some(seed)) else { panic!("a seed begins a line") };
        record
    }

    #[test]
    fn a_seed_that_was_met_before_never_displaces_what_rests() {
        let rotated = Record { refresh_token: Some(RefreshToken::new("R7")), ..begun("seed-1") };
        assert_eq!(decided(Some(rotated.clone()), Some("seed-1")).unwrap(), Line::Rests(rotated.clone()));
        assert_eq!(decided(Some(rotated.clone()), None).unwrap(), Line::Rests(rotated));
    }

    #[test]
    fn an_unknown_seed_begins_a_new_line_and_the_old_seeds_stay_known() {
        let Line::Begins(second) = decided(Some(begun("seed-1")), Some("seed-2")).unwrap() else { panic!() };
        assert_eq!(second.refresh_token, Some(RefreshToken::new("seed-2")));
        let again = decided(Some(second.clone()), Some("seed-1")).unwrap();
        assert_eq!(again, Line::Rests(second), "a restart with the first seed file is no new seed");
    }

    #[test]
    fn what_was_exported_is_presented_no_more_and_its_seed_does_not_bring_it_back() {
        let exported = Some(Exported {
            id: "one".to_owned(),
            to: "/b/grant.json".to_owned(),
            at: Duration::from_secs(1_800_000_000),
        });
        let left = Record { refresh_token: None, exported, ..begun("seed-1") };
        for seed in [None, Some("seed-1")] {
            let error = decided(Some(left.clone()), seed).unwrap_err();
            assert_eq!((error.class, error.code), (Class::Refused, Code::GrantExported));
            assert!(error.sentence.contains("2027-01-15T08:00:00Z, to /b/grant.json"), "{}", error.sentence);
        }
        assert!(matches!(decided(Some(left), Some("seed-2")), Ok(Line::Begins(_))), "a person's word");
    }

    #[test]
    fn who_has_signed_out_stays_so_until_somebody_signs_in_or_brings_a_new_seed() {
        let signed_out = Some(Duration::from_secs(1_800_000_000));
        let left = Record { refresh_token: None, signed_out, ..begun("seed-1") };
        for seed in [None, Some("seed-1")] {
            let error = decided(Some(left.clone()), seed).unwrap_err();
            assert_eq!((error.class, error.code), (Class::Refused, Code::SignedOut));
            assert!(error.sentence.contains("at 2027-01-15T08:00:00Z. "), "{}", error.sentence);
        }
        assert!(matches!(decided(Some(left), Some("seed-2")), Ok(Line::Begins(_))), "a person's word");
    }

    #[test]
    fn only_the_last_seeds_are_remembered() {
        let last =
            (0..100).fold(begun("seed"), |record, n| match decided(Some(record), Some(&format!("s{n}"))) {
                Ok(Line::Begins(next)) => next,
                other => panic!("{other:?}"),
            });
        assert_eq!(last.seeds.len(), SEEDS_REMEMBERED);
        assert!(last.seeds.contains(&RefreshToken::new("s99").fingerprint()));
    }

    #[test]
    fn a_record_of_another_issuer_or_client_is_never_ours() {
        for record in [
            Record { issuer: "https://evil.example".to_owned(), ..begun("seed") },
            Record { client_id: "other".to_owned(), ..begun("seed") },
        ] {
            for seed in [None, Some("seed"), Some("new")] {
                let error = decided(Some(record.clone()), seed).unwrap_err();
                assert_eq!((error.class, error.code), (Class::Misconfigured, Code::StoreOfAnotherClient));
            }
        }
    }

    #[test]
    fn tokens_go_where_they_came_from_or_where_a_person_says() {
        let prepared = |endpoint: &'static str, source| Prepared {
            endpoint: Uri::from_static(endpoint),
            source,
            proofs: Vec::new(),
            presents: Presents::Nothing,
            told: Vec::new(),
        };
        let (here, elsewhere) = ("https://ID.example/token", "https://evil.example/token");
        let unread = RefreshError::new(Class::NotSent, Code::DiscoveryFailed, "It is down.");
        let came = Record { token_endpoint: Some("id.example:443".to_owned()), ..begun("seed") };
        for source in [Source::Metadata, Source::Kept, Source::Instead(unread.clone())] {
            assert!(still_at(&came, &prepared(here, source.clone())).is_ok(), "{source:?}");
            assert!(still_at(&begun("seed"), &prepared(elsewhere, source.clone())).is_ok(), "none came yet");
            let error = still_at(&came, &prepared(elsewhere, source.clone())).unwrap_err();
            let moved = (Class::Misconfigured, Code::TokenEndpointMoved);
            let expected =
                if matches!(source, Source::Instead(_)) { (unread.class, unread.code) } else { moved };
            assert_eq!((error.class, error.code), expected, "{source:?}");
        }
        assert!(still_at(&came, &prepared(elsewhere, Source::Configuration)).is_ok(), "a person's word");
    }

    #[test]
    fn without_record_and_seed_a_person_has_to_act_unless_the_flow_needs_no_refresh_token() {
        assert_eq!(decided(None, None).unwrap_err().code, Code::NoGrant);
        assert!(
            matches!(decide(None, &identity(), None, false), Ok(Line::Begins(record)) if record.refresh_token.is_none())
        );
    }
}
