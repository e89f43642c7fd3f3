//! What holds of the pure deciders whatever they are asked: the schedule, the lineage, and the reading of answers.

use std::time::Duration;

use proptest::prelude::*;
use serde_json::Value;

use super::error::Class;
use super::lineage::{Identity, Line, decide};
use super::schedule::{Bucket, LONGEST_RETRY_AFTER, expiry, refresh_at, retry_at};
use super::wire::{Answer, Told, read, salvage};
use super::{Dpop, Margin};
use crate::clock::Moment;
use crate::secret::RefreshToken;
use crate::store::{Record, SEEDS_REMEMBERED};

const SECOND: Duration = Duration::from_secs(1);

fn moment() -> impl Strategy<Value = Moment> {
    (0u64..1 << 32, 0u64..1 << 33)
        .prop_map(|(boot, wall)| Moment { boot: Duration::from_secs(boot), wall: Duration::from_secs(wall) })
}

fn span() -> impl Strategy<Value = Duration> {
    prop_oneof![
        (0u64..10_000).prop_map(Duration::from_millis),
        (0u64..100_000).prop_map(Duration::from_secs),
        Just(Duration::MAX),
    ]
}

fn margin() -> impl Strategy<Value = Margin> {
    prop_oneof![(0.0..1.0).prop_map(Margin::Share), span().prop_map(Margin::Span)]
}

fn class() -> impl Strategy<Value = Class> {
    prop_oneof![
        Just(Class::NotSent),
        prop::option::of(span()).prop_map(|retry_after| Class::Busy { retry_after }),
        prop::sample::select(vec![
            Class::Unanswered,
            Class::Unusable,
            Class::Blocked,
            Class::Refused,
            Class::Misconfigured,
            Class::Store,
        ]),
    ]
}

fn config() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::default() }
}

fn identity() -> Identity {
    Identity { issuer: "https://id.example".to_owned(), client_id: "billing".to_owned() }
}

fn seed(number: u8) -> RefreshToken {
    RefreshToken::new(format!("seed-{number}"))
}

prop_compose! {
    fn record()(
        seeds in prop::collection::vec(any::<u8>(), 0..40),
        token in prop::option::of(any::<u8>()),
        issuer in prop::sample::select(vec!["https://id.example", "https://other.example"]),
        client_id in prop::sample::select(vec!["billing", "other"]),
    ) -> Record {
        Record {
            lineage: "line".to_owned(),
            generation: 7,
            issuer: issuer.to_owned(),
            client_id: client_id.to_owned(),
            token_endpoint: None,
            refresh_token: token.map(|number| RefreshToken::new(format!("R{number}"))),
            access_token: None,
            dpop_key: None,
            seeds: seeds.into_iter().map(|number| seed(number).fingerprint()).collect(),
            quiet_redeems: 0,
            grant_end: None,
            intent: None,
            refused: None,
            exported: None,
            signed_out: None,
        }
    }
}

fn answer(status: u16, body: Vec<u8>, complete: bool) -> Answer {
    Answer {
        status: http::StatusCode::from_u16(status).unwrap(),
        headers: http::HeaderMap::new(),
        body: zeroize::Zeroizing::new(body),
        complete,
    }
}

fn salvaged(body: &str, complete: bool) -> Option<RefreshToken> {
    salvage(&answer(200, body.as_bytes().to_vec(), complete))
}

fn member() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<String>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        Just(Value::Null),
        prop::collection::vec(any::<String>(), 0..3).prop_map(Value::from),
    ]
}

/// Members as servers name them, and others.
fn members() -> impl Strategy<Value = Vec<(String, Value)>> {
    let known =
        prop::sample::select(vec!["access_token", "token_type", "expires_in", "id_token", "error", "scope"]);
    let name = prop_oneof![known.prop_map(str::to_owned), "[a-z_\"\\\\]{1,8}"];
    prop::collection::vec((name, member()), 0..6)
}

fn json(members: &[(String, Value)]) -> String {
    let written: Vec<_> =
        members.iter().map(|(name, value)| format!("{}:{value}", Value::from(name.as_str()))).collect();
    written.join(",")
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_token_is_renewed_before_it_counts_as_expired(
        asked in moment(), life in span(), margin in margin(), dice in 0.0..1.0,
    ) {
        let at = refresh_at(asked, life, margin, dice);
        prop_assert!(at.boot >= asked.boot && at.wall >= asked.wall);
        prop_assert!(at.boot <= expiry(asked, life).boot, "{at:?}, and it expires {:?}", expiry(asked, life));
        prop_assert!(at.since(asked) <= 12 * 3600 * SECOND);
    }

    #[test]
    fn a_retry_is_neither_at_once_nor_late(
        class in class(), failures in any::<u32>(), now in moment(), left in prop::option::of(span()), dice in 0.0..1.0,
    ) {
        let expires = left.map(|left| now.plus(left));
        let wait = retry_at(class, failures, now, expires, dice).since(now);
        let (least, most) = match class {
            Class::Refused => (60 * SECOND, 3600 * SECOND),
            Class::Misconfigured => (60 * SECOND, 60 * SECOND),
            Class::Busy { retry_after: Some(asked) } => {
                let asked = asked.min(LONGEST_RETRY_AFTER);
                (asked.max(SECOND), asked.max(4 * SECOND))
            }
            // Never much later than the token's end, if that is sooner.
            _ => (SECOND / 4, left.unwrap_or_default().clamp(4 * SECOND, 30 * SECOND)),
        };
        prop_assert!(least <= wait && wait <= most, "{wait:?} is not of {least:?} to {most:?}");
    }

    #[test]
    fn in_no_span_are_more_redeems_answered_than_the_bucket_holds(
        start in moment(), waits in prop::collection::vec((0u64..8_000, -5_000i64..5_000), 1..60),
    ) {
        let (mut bucket, mut now, mut answered) = (Bucket::new(), start, Vec::new());
        for (wait, step) in waits {
            let wish = now.plus(Duration::from_millis(wait));
            let free = bucket.not_before(wish, now);
            prop_assert!(free.boot >= wish.boot);
            // The wall clock may be set meanwhile.
            let wall = free.wall.as_millis() as i64 + step;
            now = Moment { boot: free.boot, wall: Duration::from_millis(wall.max(0) as u64) };
            bucket.take(now);
            answered.push(now.boot);
            for (index, first) in answered.iter().enumerate() {
                let (count, span) = (answered.len() - index, now.boot - *first);
                prop_assert!((count as f64) <= 2.0 + span.as_secs_f64() / 5.0 + 1e-6, "{count} in {span:?}");
            }
        }
    }

    #[test]
    fn a_seed_that_was_met_begins_no_line_and_a_foreign_record_gives_none(
        record in prop::option::of(record()), offered in prop::option::of(any::<u8>()), needs in any::<bool>(),
    ) {
        let offered = offered.map(seed);
        let decided = decide(record.clone(), &identity(), offered.as_ref(), needs);
        let is_foreign = record.as_ref().is_some_and(|record| !identity().owns(record));
        prop_assert!(!is_foreign || decided.is_err());
        match decided {
            Ok(Line::Rests(rests)) => prop_assert_eq!(Some(rests), record),
            Ok(Line::Begins(begun)) => {
                prop_assert_eq!(&begun.refresh_token, &offered);
                prop_assert!(begun.seeds.len() <= SEEDS_REMEMBERED);
                prop_assert_eq!(begun.seeds.last().cloned(), offered.as_ref().map(RefreshToken::fingerprint));
                if let (Some(record), Some(offered)) = (&record, &offered) {
                    prop_assert!(!record.seeds.contains(&offered.fingerprint()));
                    let kept = begun.seeds.len() - 1;
                    prop_assert!(record.seeds.ends_with(&begun.seeds[..kept]), "the last of the old ones stay");
                }
            }
            Err(error) => prop_assert!(matches!(error.class, Class::Refused | Class::Misconfigured)),
        }
    }

    #[test]
    fn no_answer_is_too_odd_to_be_read(status in 200u16..600, body in any::<Vec<u8>>(), complete in any::<bool>()) {
        let answer = answer(status, body, complete);
        let _ = (salvage(&answer).is_some(), read(&answer, Told::default(), Dpop::Off).is_ok());
    }

    #[test]
    fn a_refresh_token_that_a_parser_finds_is_never_lost(
        before in members(), token in "[!-~é]{1,20}", after in members(), ahead in "[)\\]}' \n]{0,6}",
    ) {
        let token = token.trim();
        let head = [("refresh_token".to_owned(), Value::from(token))];
        let token = RefreshToken::new(token);
        let known = json(&[&before[..], &head].concat());
        let whole = json(&[&before[..], &head, &after].concat());
        prop_assert_eq!(salvaged(&format!("{{{whole}}}"), true), Some(token.clone()));
        // Cut anywhere after it, and with rubbish before it, as some servers guard their JSON.
        for cut in (known.len()..=whole.len()).filter(|cut| whole.is_char_boundary(*cut)) {
            let body = format!("{ahead}{{{}", &whole[..cut]);
            prop_assert_eq!(salvaged(&body, false), Some(token.clone()), "{}", body);
        }
    }
}
