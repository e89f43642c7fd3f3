//! A rotation that could not be saved: kept in memory with the lock, and saved as soon as that is possible.

use std::time::Duration;

use super::{Ending, Refresher};
use crate::clock::Moment;
use crate::store::{Record, Txn};

/// The longest pause between two tries to save a rotation (R42).
const SAVE_PAUSE: Duration = Duration::from_secs(5);

/// How long the end of the program waits for an unsaved rotation (R16).
const LAST_SAVES: u32 = 5;

/// A rotation that lives in memory only.
pub(super) struct Unsaved {
    txn: Box<dyn Txn>,
    record: Record,
    life: Duration,
    pub(super) retry: Moment,
    failures: u32,
    published: bool,
}

impl Refresher {
    pub(super) fn hold(&mut self, txn: Box<dyn Txn>, record: Record, life: Duration) {
        let retry = self.clock.now().plus(Duration::from_millis(500));
        self.unsaved = Some(Unsaved { txn, record, life, retry, failures: 1, published: false });
    }

    /// A rotation in memory: saved as soon as that is possible, published then, or before when the old token is no
    /// longer usable (DESIGN §4: save before publish).
    pub(super) async fn tend_unsaved(&mut self) {
        let Some(mut unsaved) = self.unsaved.take() else { return };
        let now = self.clock.now();
        let usable = self.current.as_ref().is_some_and(|current| !current.expires.has_come(now));
        if !unsaved.published && !usable {
            self.publish_unsaved(&unsaved);
            unsaved.published = true;
        }
        if !unsaved.retry.has_come(now) {
            self.unsaved = Some(unsaved);
            return;
        }
        let record = unsaved.record.clone();
        match self.save_rotation(&mut unsaved.txn, &record).await {
            Ok(()) => {
                if !unsaved.published {
                    self.publish_unsaved(&unsaved);
                }
                self.desk.all_saved();
            }
            Err(_) => {
                unsaved.failures += 1;
                let pause = Duration::from_secs(u64::from(unsaved.failures)).min(SAVE_PAUSE);
                unsaved.retry = self.clock.now().plus(pause);
                self.unsaved = Some(unsaved);
            }
        }
    }

    fn publish_unsaved(&mut self, unsaved: &Unsaved) {
        if let Some(saved) = unsaved.record.access_token.as_ref().filter(|_| !unsaved.life.is_zero()) {
            self.publish(&unsaved.record, saved, unsaved.life);
        }
    }

    /// The last chance for a rotation that lives in memory only: a few tries when the program ends, else as many as it
    /// takes.
    pub(super) async fn save_before_leaving(&mut self) {
        let mut tries = 0;
        while let Some(unsaved) = &mut self.unsaved {
            unsaved.retry = self.clock.now();
            self.tend_unsaved().await;
            if self.unsaved.is_none() {
                break;
            }
            let stops = *self.ending.borrow_and_update() == Ending::Stop;
            tries += u32::from(stops);
            if tries >= LAST_SAVES {
                break;
            }
            tokio::select! {
                () = tokio::time::sleep(Duration::from_secs(1)) => {}
                Ok(()) = self.ending.changed() => {}
            }
        }
        if let Some(unsaved) = &self.unsaved {
            self.desk.rotation_lost_with_us(&unsaved.record);
        }
        // Whoever waits for the end learns from this whether it was saved.
        self.post();
    }
}
