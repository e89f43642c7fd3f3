//! What a record keeps through a round trip, and what is not taken for a record.

use super::*;
use crate::store::sample;

/// A small generator of evenly spread numbers (splitmix64), so that a failure can be had again.
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// Text of every sort that JSON treats in a way of its own.
    fn text(&mut self) -> String {
        const PIECES: [&str; 10] = ["a", "Z9", "-._~+/=", "\"", "\\", "\n", "\0", "é", "🦀", "\u{2028}"];
        (0..=self.below(40)).map(|_| PIECES[self.below(PIECES.len() as u64) as usize]).collect()
    }

    fn span(&mut self) -> Duration {
        let seconds = match self.below(4) {
            0 => u64::MAX,
            1 => 0,
            _ => self.below(4_000_000_000),
        };
        Duration::new(seconds, self.below(1_000_000_000) as u32)
    }

    fn moment(&mut self) -> Moment {
        Moment { boot: self.span(), wall: self.span() }
    }

    fn maybe<T>(&mut self, draw: impl FnOnce(&mut Self) -> T) -> Option<T> {
        (self.below(3) > 0).then(|| draw(self))
    }

    fn record(&mut self) -> Record {
        Record {
            lineage: self.text(),
            generation: self.next(),
            issuer: self.text(),
            client_id: self.text(),
            token_endpoint: self.maybe(Self::text),
            refresh_token: self.maybe(|draw| RefreshToken::new(draw.text())),
            access_token: self.maybe(|draw| SavedToken {
                text: AccessTokenText::new(draw.text()),
                bound: draw.below(2) > 0,
                obtained: draw.moment(),
                expires: draw.moment(),
                boot_id: draw.text(),
            }),
            dpop_key: self.maybe(|draw| DpopKey::new(draw.text())),
            seeds: (0..self.below(33)).map(|_| Fingerprint::of(&self.text())).collect(),
            quiet_redeems: self.next() as u32,
            grant_end: self.maybe(|draw| GrantEnd { told: draw.span(), at: draw.span() }),
            intent: self.maybe(|draw| Intent {
                presented: Fingerprint::of(&draw.text()),
                holder: draw.text(),
                started: draw.span(),
            }),
            refused: self.maybe(|draw| Refusal {
                reason: draw.text(),
                presented: Fingerprint::of(&draw.text()),
                at: draw.span(),
            }),
            exported: self.maybe(|draw| Exported { id: draw.text(), to: draw.text(), at: draw.span() }),
            signed_out: self.maybe(Self::span),
        }
    }
}

#[test]
fn every_record_comes_back_as_it_was() {
    let mut draw = Draw(4711);
    for round in 0..2000 {
        let record = draw.record();
        let bytes = encode(&record).unwrap();
        assert_eq!(decode(&bytes), Ok(record.clone()), "round {round}");
        assert!(bytes.capacity() <= room_for(&record), "the buffer moved in round {round}");
    }
}

#[test]
fn the_form_is_the_documented_one() {
    let json: serde_json::Value = serde_json::from_slice(&encode(&sample::full(7)).unwrap()).unwrap();
    let fingerprint = Fingerprint::of("refresh-7");
    assert_eq!(
        json,
        serde_json::json!({
            "version": 2,
            "lineage": "line",
            "generation": 7,
            "issuer": "https://id.example",
            "client_id": "billing",
            "token_endpoint": "id.example:443",
            "refresh_token": "refresh-7",
            "access_token": {
                "text": "access-7",
                "bound": true,
                "obtained": {"boot": "100.000000001", "wall": "1800000000.123456789"},
                "expires": {"boot": "400.000000001", "wall": "1800000300.123456789"},
                "boot_id": "boot",
            },
            "dpop_key": "key-7",
            "seeds": [Fingerprint::of("seed")],
            "quiet_redeems": 2,
            "grant_end": {"told": "4.000000000", "at": "8.000000000"},
            "intent": {"presented": fingerprint, "holder": "1", "started": "5.000000000"},
            "refused": {"reason": "rejected", "presented": fingerprint, "at": "6.000000000"},
            "exported": {"id": "one", "to": "/a/grant.json", "at": "7.000000000"},
            "signed_out": {"at": "9.000000000"},
        })
    );
}

#[test]
fn unknown_members_are_passed_over_and_optional_ones_may_be_missing() {
    let text = r#"{"version":1,"lineage":"l","generation":3,"issuer":"i","client_id":"c","later":{"x":[1]}}"#;
    let record = decode(text.as_bytes()).unwrap();
    assert_eq!((record.generation, record.refresh_token, record.seeds.len()), (3, None, 0));
}

#[test]
fn a_record_cut_off_anywhere_is_damaged() {
    let bytes = encode(&sample::full(7)).unwrap();
    let object = bytes.len() - 1; // the newline after it is no part of it
    for length in 0..object {
        assert!(matches!(decode(&bytes[..length]), Err(Unreadable::Damaged(_))), "cut at {length}");
        let mut zeroed = bytes[..length].to_vec();
        zeroed.resize(bytes.len(), 0);
        assert!(matches!(decode(&zeroed), Err(Unreadable::Damaged(_))), "zeros from {length} on");
    }
}

#[test]
fn what_is_not_of_its_type_is_damaged() {
    let good: serde_json::Value = serde_json::from_slice(&encode(&sample::full(7)).unwrap()).unwrap();
    let bad = |path: &str, value: serde_json::Value| {
        let mut json = good.clone();
        *json.pointer_mut(path).unwrap() = value;
        let damage = decode(json.to_string().as_bytes());
        assert!(matches!(damage, Err(Unreadable::Damaged(_))), "{path}: {damage:?}");
    };
    for path in ["/version", "/lineage", "/generation", "/issuer", "/client_id", "/seeds", "/quiet_redeems"] {
        bad(path, serde_json::Value::Null);
        bad(path, serde_json::json!({"a": 1}));
        bad(path, serde_json::json!([-1.5]));
    }
    for path in [
        "/refresh_token",
        "/access_token",
        "/intent",
        "/refused",
        "/exported",
        "/exported/id",
        "/exported/to",
        "/access_token/text",
        "/access_token/bound",
        "/dpop_key",
    ] {
        bad(path, serde_json::json!(7));
        bad(path, serde_json::json!([]));
    }
    bad("/refresh_token", "".into());
    bad("/version", 0.into());
    bad("/version", "1".into());
    bad("/generation", (-1).into());
    for time in ["", "1", "1.5", "-1.000000000", "1.00000000x", "1.0000000000", "+1.000000000", ".000000000"]
    {
        bad("/intent/started", time.into());
    }
    bad("/intent/started", "99999999999999999999.000000000".into());
}

#[test]
fn other_bytes_are_damaged_and_never_a_panic() {
    let deep = "[".repeat(100_000);
    let others: [&[u8]; 9] =
        [b"", b"\n", &[0; 4096], b"null", b"[]", b"{}", b"\xff\xfe", b"{\"version\":1}", deep.as_bytes()];
    for bytes in others {
        assert!(matches!(decode(bytes), Err(Unreadable::Damaged(_))), "{:?}", bytes.get(..8));
    }
}

#[test]
fn a_program_that_knows_no_keys_leaves_a_record_with_one_alone() {
    let version = |record: &Record| {
        serde_json::from_slice::<serde_json::Value>(&encode(record).unwrap()).unwrap()["version"].clone()
    };
    assert_eq!(version(&sample::record(7)), 1);
    assert_eq!(version(&sample::full(7)), 2);
}

#[test]
fn a_newer_form_is_told_from_damage() {
    assert_eq!(decode(br#"{"version":3,"entirely":"different"}"#), Err(Unreadable::Newer(3)));
}

#[test]
fn the_damage_is_told_without_what_stands_there() {
    let misplaced =
        br#"{"version":1,"lineage":"l","generation":"canary-secret","issuer":"i","client_id":"c"}"#;
    let Err(Unreadable::Damaged(why)) = decode(misplaced) else { panic!("it is damaged") };
    assert!(!why.contains("canary") && why.contains("line 1"), "{why}");
}
