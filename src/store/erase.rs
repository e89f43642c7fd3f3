//! The end of a grant by a person's word: nothing that could be presented is left.

use std::time::Duration;

use super::{Record, StoreError, Txn};

/// Takes the tokens, and the key that they are bound to, out of a store. `record` is what rests there, or what is to stand
/// there instead of nothing: its seeds stay met (R44), so that no start begins with one of them anew. What is left says
/// since when.
///
/// # Errors
/// When that is not known to be durable; the tokens may then still rest.
pub async fn erase(txn: &mut Box<dyn Txn>, record: Record, at: Duration) -> Result<(), StoreError> {
    let erased = Record { grant_end: None, exported: None, signed_out: Some(at), ..record.emptied() };
    txn.commit(erased).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::memory::MemoryStore;
    use crate::store::{Store as _, record, sample};

    #[tokio::test]
    async fn what_is_left_holds_no_secret_and_says_since_when() {
        let store = MemoryStore::holding(sample::full(7));
        let mut txn = store.begin(Duration::from_secs(60)).await.unwrap();
        erase(&mut txn, sample::full(7), Duration::from_secs(9)).await.unwrap();
        drop(txn);
        let left = store.peek().await.unwrap().unwrap();
        assert_eq!((left.generation, left.signed_out), (8, Some(Duration::from_secs(9))));
        assert_eq!((&left.lineage, &left.seeds), (&sample::full(7).lineage, &sample::full(7).seeds));
        let written = String::from_utf8(record::encode(&left).unwrap().to_vec()).unwrap();
        for secret in ["refresh-7", "access-7", "key-7"] {
            assert!(!written.contains(secret), "{written}");
        }
        assert_eq!(record::decode(written.as_bytes()).unwrap(), left, "and it is read as it was written");
    }
}
