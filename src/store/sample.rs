//! Records for the store's tests.

use std::time::Duration;

use super::{Exported, GrantEnd, Intent, Record, Refusal, SavedToken};
use crate::clock::Moment;
use crate::secret::{AccessTokenText, DpopKey, Fingerprint, RefreshToken};

/// Generation `generation` of a grant: its tokens tell it from the others.
pub(super) fn record(generation: u64) -> Record {
    let obtained = Moment { boot: Duration::new(100, 1), wall: Duration::new(1_800_000_000, 123_456_789) };
    Record {
        lineage: "line".to_owned(),
        generation,
        issuer: "https://id.example".to_owned(),
        client_id: "billing".to_owned(),
        token_endpoint: None,
        refresh_token: Some(RefreshToken::new(format!("refresh-{generation}"))),
        access_token: Some(SavedToken {
            text: AccessTokenText::new(format!("access-{generation}")),
            bound: false,
            obtained,
            expires: obtained.plus(Duration::from_secs(300)),
            boot_id: "boot".to_owned(),
        }),
        dpop_key: None,
        seeds: vec![Fingerprint::of("seed")],
        quiet_redeems: 2,
        grant_end: None,
        intent: None,
        refused: None,
        exported: None,
        signed_out: None,
    }
}

/// The same with every member there.
pub(super) fn full(generation: u64) -> Record {
    let presented = Fingerprint::of(&format!("refresh-{generation}"));
    let record = record(generation);
    Record {
        access_token: record.access_token.clone().map(|token| SavedToken { bound: true, ..token }),
        token_endpoint: Some("id.example:443".to_owned()),
        dpop_key: Some(DpopKey::new(format!("key-{generation}"))),
        grant_end: Some(GrantEnd { told: Duration::from_secs(4), at: Duration::from_secs(8) }),
        intent: Some(intent(&format!("refresh-{generation}"), "1")),
        exported: Some(Exported {
            id: "one".to_owned(),
            to: "/a/grant.json".to_owned(),
            at: Duration::from_secs(7),
        }),
        signed_out: Some(Duration::from_secs(9)),
        refused: Some(Refusal { reason: "rejected".to_owned(), presented, at: Duration::from_secs(6) }),
        ..record
    }
}

/// An intent of `holder` to present `token`.
pub(super) fn intent(token: &str, holder: &str) -> Intent {
    Intent { presented: Fingerprint::of(token), holder: holder.to_owned(), started: Duration::from_secs(5) }
}
