//! Whatever is written can be read again, however large a server's tokens are.

use std::fs;

use super::*;
use crate::grant::endpoint::LARGEST_ANSWER;
use crate::secret::{AccessTokenText, RefreshToken};
use crate::store::sample::record;
use crate::store::transfer::{self, Export};
use crate::store::{LARGEST, SavedToken};

/// Both tokens fill an answer of their own, with characters that take the most room.
fn largest(generation: u64) -> Record {
    let text = "\u{1}".repeat(LARGEST_ANSWER);
    let access_token = record(generation).access_token;
    let access_token =
        access_token.map(|saved| SavedToken { text: AccessTokenText::new(text.clone()), ..saved });
    Record { refresh_token: Some(RefreshToken::new(text)), access_token, ..record(generation) }
}

#[tokio::test]
async fn a_record_of_the_largest_tokens_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(SEALED).join("state.json");
    rest(&path, largest(1)).await;
    let written = fs::metadata(&path).unwrap().len();
    assert!(written > 12 << 20, "{written} is the most that it takes");
    assert_eq!(found(&path).await, Some(largest(1)));
}

#[tokio::test]
async fn a_save_of_the_largest_tokens_is_finished() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.json");
    rest(&path, largest(2)).await;
    fs::rename(&path, path.with_file_name("state.json.spare")).unwrap();
    rest(&path.with_file_name("other"), record(1)).await;
    fs::rename(path.with_file_name("other"), &path).unwrap();
    assert_eq!(found(&path).await, Some(largest(2)));
}

#[test]
fn an_export_of_the_largest_tokens_is_read_again() {
    let export = Export::of(largest(1));
    let bytes = transfer::encode(&export, "file /a/state.json").unwrap();
    assert!((bytes.len() as u64) < LARGEST);
    assert_eq!(transfer::decode(&bytes), Ok(export));
}
