//! Records as they rest in a store, and what may stand in their place.

use super::assert_is_fit_to_be_shown;
use super::json::Members;
use crate::secret::{AccessTokenText, RefreshToken};
use crate::store::record::{Unreadable, decode, encode};

/// What holds of the bytes that rest where a record should.
///
/// # Panics
/// Where something does not hold.
pub fn record(data: &[u8]) {
    // What is not UTF-8 in a member that is passed over is passed over, too.
    let members = Members::of(String::from_utf8_lossy(data).as_bytes());
    let there = members.as_ref().and_then(|members| members.text("refresh_token"));
    match decode(data) {
        Ok(record) => {
            // A member that is passed over may hold what another reader stumbles at.
            if members.is_some() {
                assert_eq!(record.refresh_token.as_ref().map(RefreshToken::expose), there, "one was lost");
            }
            let bytes = encode(&record).unwrap();
            let again = decode(&bytes).expect("what was written is read");
            assert_eq!(again, record);
            assert_eq!(encode(&again).unwrap(), bytes, "nothing wanders");
            let shown = format!(
                "{:?} {:?}",
                record.refresh_token,
                record.access_token.as_ref().map(|saved| &saved.text)
            );
            let secrets =
                [there, record.access_token.as_ref().map(|saved| AccessTokenText::expose(&saved.text))];
            // A fingerprint has eight digits.
            let told =
                secrets.into_iter().flatten().find(|secret| secret.len() > 20 && shown.contains(*secret));
            assert_eq!(told, None, "shown by Debug");
        }
        Err(Unreadable::Sealed(key)) => panic!("nothing is opened here, and {key} is named"),
        Err(Unreadable::InKeyring(_)) => {}
        Err(Unreadable::Newer(version)) => assert!(version > 2, "an older program must not shorten it"),
        Err(Unreadable::Damaged(why)) => {
            assert_is_fit_to_be_shown(&why);
            let place = why.replace(|c: char| c.is_ascii_digit(), "");
            let said = [
                "a member is missing or not of its type, found at line , column ",
                "not whole JSON, found at line , column ",
                "its version is ",
                "its refresh token is empty",
            ];
            assert!(said.contains(&place.as_str()), "it says what stands there: {why}");
        }
    }
}
