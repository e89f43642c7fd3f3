//! A panic ends what met it and nothing else.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::Poll;

/// What comes of `future`, or `None` when it panics: whoever asks trusts nothing that it left half done.
pub async fn caught<F: Future>(mut future: Pin<&mut F>) -> Option<F::Output> {
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(polled) => polled.map(Some),
        // It is not polled again.
        Err(_told_by_the_hook) => Poll::Ready(None),
    })
    .await
}
