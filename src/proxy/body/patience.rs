//! Ends a wait that lasts too long.

use std::fmt;
use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::Sleep;

use crate::clock::Stopwatch;

/// One timer at most, made when something is first waited for and looked at when it fires: it is set for the first of
/// many waits, fires for a wait long gone, and is then set for the one that lasts. A busy stream never touches it, and
/// a connection keeps it from one request to the next.
#[derive(Default)]
pub(crate) struct Patience {
    since: Option<Stopwatch>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    /// Something came: whatever is waited for next has its whole time.
    pub(crate) fn moved(&mut self) {
        self.since = None;
    }

    /// Called while nothing comes: ready, with the limit, once that has lasted so long. No limit, no end.
    pub(crate) fn poll_over(&mut self, limit: Option<Duration>, cx: &mut Context<'_>) -> Poll<Duration> {
        let Some(limit) = limit else { return Poll::Pending };
        let end = self.since.get_or_insert_with(Stopwatch::start).deadline(limit);
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(end)));
        if timer.deadline() > end {
            timer.as_mut().reset(end);
        }
        loop {
            ready!(timer.as_mut().poll(cx));
            if timer.deadline() >= end {
                return Poll::Ready(limit);
            }
            timer.as_mut().reset(end);
        }
    }
}

impl fmt::Debug for Patience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Patience").field("waits", &self.since.is_some()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn a_wait_ends_after_its_own_time_and_not_after_that_of_one_before() {
        let mut patience = Patience::default();
        let mut cx = Context::from_waker(std::task::Waker::noop());
        assert!(patience.poll_over(Some(MINUTE), &mut cx).is_pending());
        tokio::time::advance(MINUTE / 2).await;
        patience.moved();
        let watch = Stopwatch::start();
        poll_fn(|cx| patience.poll_over(Some(MINUTE), cx)).await;
        assert!(watch.elapsed() >= MINUTE, "{:?}", watch.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_shorter_limit_than_the_last_is_kept() {
        let mut patience = Patience::default();
        let mut cx = Context::from_waker(std::task::Waker::noop());
        assert!(patience.poll_over(Some(MINUTE), &mut cx).is_pending());
        patience.moved();
        let watch = Stopwatch::start();
        poll_fn(|cx| patience.poll_over(Some(MINUTE / 60), cx)).await;
        assert!(watch.elapsed() < MINUTE / 2, "{:?}", watch.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_limit_there_is_no_end() {
        let mut patience = Patience::default();
        let waiting = poll_fn(|cx| patience.poll_over(None, cx));
        assert!(tokio::time::timeout(MINUTE * 600, waiting).await.is_err());
    }
}
