//! One grant of the configuration and its store, for the commands that move a record.

use std::sync::Arc;
use std::time::Duration;

use super::{Common, Exit, Failure};
use crate::config::Flags;
use crate::grant::{Flow, Params};
use crate::store::{self, Store, StoreError, Txn};
use crate::token::GrantName;

/// From the longest token request of a running bearerd to the end of its save.
const SLACK: Duration = Duration::from_secs(5);

/// A grant, and where it rests.
pub(super) struct Grant {
    pub(super) params: Params,
    pub(super) store: Arc<dyn Store>,
}

impl Grant {
    /// The grant of this name, with a store that outlives this command, and a refresh token to move.
    pub(super) fn find(common: &Common, flags: Flags, name: &str) -> Result<Self, Failure> {
        let unusable = |why: String| Failure::new(Exit::Config, why);
        let mut config = common.load_running(flags)?;
        let Some(params) = config.grants.remove(&GrantName::new(name)) else {
            let known: Vec<String> = config.grants.keys().map(|name| format!("`{name}`")).collect();
            let why = format!("there is no grant `{}`; there is {}", name.escape_debug(), known.join(", "));
            return Err(unusable(why));
        };
        if config.store == store::Params::Memory {
            let why = "the store is in the memory of the bearerd that runs, where nothing can be moved from or to; \
                       give it a file with `[store] path`";
            return Err(unusable(why.to_owned()));
        }
        if !matches!(params.flow, Flow::RefreshToken { .. }) {
            let why = format!("grant `{name}` has no refresh token to move: its `flow` needs none");
            return Err(unusable(why));
        }
        let store = store::open(&config.store, &params.name).map_err(|error| unusable_store(&error))?;
        Ok(Self { params, store })
    }

    /// The store's lock, which a running bearerd may have for as long as a refresh takes.
    pub(super) async fn lock(&self) -> Result<Box<dyn Txn>, Failure> {
        let patience = self.params.timeout + SLACK;
        self.store.begin(patience).await.map_err(|error| unusable_store(&error))
    }
}

/// Why nothing could be moved.
pub(super) fn unusable_store(error: &StoreError) -> Failure {
    match error {
        StoreError::Locked { .. } => Failure::new(Exit::Failure, format!("{error}; try again")),
        _ => Failure::new(Exit::Config, error.to_string()),
    }
}

/// Does what has to wait for a store.
pub(super) fn wait_for<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failure::new(Exit::Failure, error.to_string()))?.block_on(work)
}
