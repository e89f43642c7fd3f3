//! Who opens a sealed record, and who does not.

use super::*;
use crate::secret::ClientSecret;
use crate::store::sample;

/// A key that differs from those of other numbers.
pub(in crate::store) fn key(number: u8) -> Secret {
    let value = ClientSecret::new(STANDARD.encode([number; KEY]));
    Secret::Env { name: format!("KEY_{number}"), value }
}

/// What seals the records of this grant with the first of these keys.
fn keys(grant: &str, numbers: &[u8]) -> Arc<Keys> {
    let references: Vec<Secret> = numbers.iter().copied().map(key).collect();
    Seal::new(&GrantName::new(grant), &references).keys().unwrap()
}

fn sealed(grant: &str, number: u8) -> Vec<u8> {
    keys(grant, &[number]).encode(&sample::full(7)).unwrap().to_vec()
}

fn why_sealed(found: Result<Record, Unreadable>) -> String {
    match found {
        Err(Unreadable::Sealed(why)) => why,
        other => panic!("{other:?}"),
    }
}

/// A key written in this way.
fn read(text: &str) -> Result<String, String> {
    let value = ClientSecret::new(text);
    Key::read(&Secret::Env { name: "KEY".to_owned(), value }).map(|key| key.name)
}

#[test]
fn a_key_may_be_written_in_either_alphabet_and_without_padding() {
    let bytes = [0xfb; KEY];
    let padded = STANDARD.encode(bytes);
    assert!(padded.contains('+') && padded.ends_with('='));
    let name = read(&padded).unwrap();
    for text in [
        padded.trim_end_matches('='),
        &padded.replace('+', "-").replace('/', "_"),
        &URL_SAFE_NO_PAD.encode(bytes),
    ] {
        assert_eq!(read(text), Ok(name.clone()), "{text}");
    }
    assert_ne!(read(&STANDARD.encode([0xfa; KEY])), Ok(name));
}

#[test]
fn whatever_is_no_key_is_told_with_how_to_make_one_and_without_what_stands_there() {
    for (text, why) in [
        (STANDARD.encode([7; 31]), "it has 31 bytes, not 32"),
        (STANDARD.encode([7; 33]), "it has 33 bytes, not 32"),
        ("07".repeat(32), "it has 48 bytes, not 32"),
        ("7".repeat(100), "it has 100 characters, not 43 or 44"),
        ("not a key at all, canary".to_owned(), "it is not base64"),
        (String::new(), "is not set here"),
    ] {
        let told = read(&text).unwrap_err();
        assert!(told.contains(why) && told.contains("`openssl rand -base64 32`"), "{told}");
        assert!(text.is_empty() || !told.contains(&text), "{told}");
    }
}

#[test]
fn a_sealed_record_comes_back_as_it_was_and_shows_none_of_it() {
    let keys = keys("default", &[1]);
    let (one, two) =
        (keys.encode(&sample::full(7)).unwrap().to_vec(), keys.encode(&sample::full(7)).unwrap().to_vec());
    assert_ne!(one, two, "a nonce of its own each time");
    for bytes in [one, two] {
        assert_eq!(keys.decode(&bytes), Ok(sample::full(7)));
        let shown = String::from_utf8(bytes).unwrap();
        for word in ["refresh-7", "access-7", "billing", "id.example", "generation"] {
            assert!(!shown.contains(word), "{shown}");
        }
    }
}

#[test]
fn the_envelope_is_the_documented_one() {
    let json: serde_json::Value = serde_json::from_slice(&sealed("crm", 1)).unwrap();
    let names: Vec<&String> = json.as_object().unwrap().keys().collect();
    assert_eq!(names, ["version", "sealed", "key", "grant", "nonce", "text"]);
    assert_eq!((&json["version"], &json["sealed"]), (&3.into(), &"AES-256-GCM".into()));
    assert_eq!((json["key"].as_str().unwrap().len(), &json["grant"]), (16, &"crm".into()));
}

#[test]
fn the_first_key_seals_and_each_of_them_opens() {
    let old = sealed("default", 1);
    let both = keys("default", &[2, 1]);
    assert_eq!(both.decode(&old), Ok(sample::full(7)));
    let new = both.encode(&sample::full(7)).unwrap();
    assert_eq!(keys("default", &[2]).decode(&new), Ok(sample::full(7)));
    assert!(why_sealed(keys("default", &[1]).decode(&new)).contains("name that key as well"));
}

#[test]
fn a_record_from_before_there_was_a_key_is_taken_up() {
    let plain = record::encode(&sample::full(7)).unwrap();
    assert_eq!(keys("default", &[1]).decode(&plain), Ok(sample::full(7)));
}

#[test]
fn without_its_key_a_record_is_sealed_and_not_damaged() {
    let bytes = sealed("default", 1);
    assert!(why_sealed(keys("default", &[]).decode(&bytes)).contains("`[store] encryption_key` names none"));
    let other = why_sealed(keys("default", &[2, 3]).decode(&bytes));
    assert!(other.contains("name that key as well") && other.contains(" and "), "{other}");
}

#[test]
fn a_record_does_not_pass_for_another_grants() {
    let of_work = sealed("work", 1);
    let told = why_sealed(keys("default", &[1]).decode(&of_work));
    assert!(told.contains("\"work\"") && told.contains("\"default\""), "{told}");
    let forged = String::from_utf8(of_work).unwrap().replace("work", "default");
    let damage = keys("default", &[1]).decode(forged.as_bytes());
    assert!(matches!(&damage, Err(Unreadable::Damaged(why)) if why.contains("changed")), "{damage:?}");
}

#[test]
fn a_sealed_record_cut_off_or_changed_anywhere_is_damaged_and_never_a_record() {
    let keys = keys("default", &[1]);
    let bytes = sealed("default", 1);
    for length in 0..bytes.len() - 1 {
        let cut = keys.decode(&bytes[..length]);
        assert!(matches!(cut, Err(Unreadable::Damaged(_))), "cut at {length}: {cut:?}");
    }
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        let found = keys.decode(&changed);
        // A changed name of a member, or of the key, may make it another program's or another key's: never ours.
        let is_blank = bytes[at].is_ascii_whitespace();
        assert!(found.is_err() || is_blank, "{at}: {found:?}");
    }
}

#[test]
fn an_envelope_of_a_newer_program_is_left_alone() {
    let newer = String::from_utf8(sealed("default", 1)).unwrap().replace("\"version\": 3", "\"version\": 4");
    assert_eq!(keys("default", &[1]).decode(newer.as_bytes()), Err(Unreadable::Newer(4)));
}

#[test]
fn a_program_that_knows_no_envelope_takes_it_for_a_newer_ones() {
    assert_eq!(record::decode(&sealed("default", 1)), Err(Unreadable::Newer(VERSION)));
}

#[test]
fn debug_tells_a_keys_name_and_no_key() {
    let seal = Seal::new(&GrantName::new("default"), &[key(7)]);
    let keys = seal.keys().unwrap();
    let shown = format!("{seal:?} {keys:?}");
    assert!(!shown.contains(&STANDARD.encode([7; KEY])) && shown.contains(&keys.keys[0].name), "{shown}");
}
