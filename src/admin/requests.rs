//! The last requests, asked of the workers when somebody looks.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::proxy::recent::Request;

/// How long a worker may take to tell; it is busy with requests.
const PATIENCE: Duration = Duration::from_millis(500);

/// Who is asked.
type Ask = dyn Fn() -> Vec<oneshot::Receiver<Vec<Request>>> + Send + Sync;

/// The last requests.
#[derive(Clone)]
pub struct Requests {
    /// How many each worker keeps; none when that is off.
    kept: usize,
    ask: Arc<Ask>,
}

impl Requests {
    /// Of workers who are asked like this and keep so many.
    #[must_use]
    pub fn new(
        kept: usize,
        ask: impl Fn() -> Vec<oneshot::Receiver<Vec<Request>>> + Send + Sync + 'static,
    ) -> Self {
        Self { kept, ask: Arc::new(ask) }
    }

    /// How many each worker keeps at most.
    pub(super) fn kept(&self) -> usize {
        self.kept
    }

    /// All of them, the latest first.
    pub(super) async fn latest(&self) -> Vec<Request> {
        if self.kept == 0 {
            return Vec::new();
        }
        let mut all = Vec::new();
        for told in (self.ask)() {
            if let Ok(Ok(requests)) = tokio::time::timeout(PATIENCE, told).await {
                all.extend(requests);
            }
        }
        // By the boot clock, which nobody sets.
        all.sort_by_key(|request| std::cmp::Reverse(request.at.boot));
        all.truncate(self.kept);
        all
    }
}

impl fmt::Debug for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Requests").field("kept", &self.kept).finish_non_exhaustive()
    }
}

/// For programs.
pub(super) fn report(kept: usize, requests: &[Request]) -> Value {
    json!({ "kept": kept, "requests": requests.iter().map(request).collect::<Value>() })
}

fn request(request: &Request) -> Value {
    json!({
        "at": request.at.rfc3339(),
        "method": request.method.as_str(),
        "path": request.path,
        "route": Some(&request.route).filter(|route| !route.is_empty()),
        "status": request.status.as_u16(),
        "took_seconds": request.took.as_secs_f64(),
        "renewed": request.renewed,
        "answered_by": if request.code.is_some() { "proxy" } else { "upstream" },
        "code": request.code,
    })
}
