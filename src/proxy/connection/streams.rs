//! The streams of an HTTP/2 caller, each a task: one on which nothing moves is ended, whoever it waits for.
//!
//! hyper asks an answer's body for more only when the caller has room for it: a caller that takes nothing stops every
//! clock that is kept in the body.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use crate::clock;
use crate::proxy::body::Upload;

thread_local! {
    /// Whose task is being polled.
    static POLLED: RefCell<Rc<Pulse>> = RefCell::default();
}

/// What has moved on a stream since its answer began.
#[derive(Debug, Default)]
pub(in crate::proxy) struct Pulse {
    answering: Cell<bool>,
    frames: Cell<u64>,
    upload: RefCell<Option<Upload>>,
}

impl Pulse {
    /// The answer begins; what is uploaded meanwhile moves the stream, too.
    pub(in crate::proxy) fn begin(&self, upload: Option<Upload>) {
        self.answering.set(true);
        *self.upload.borrow_mut() = upload;
    }

    /// A frame of the answer was taken.
    pub(in crate::proxy) fn moved(&self) {
        self.frames.set(self.frames.get() + 1);
    }

    fn count(&self) -> u64 {
        self.frames.get() + self.upload.borrow().as_ref().map_or(0, Upload::frames)
    }
}

/// The stream whose task asks.
pub(super) fn current() -> Rc<Pulse> {
    POLLED.with_borrow(Rc::clone)
}

/// Runs streams on this worker's thread.
#[derive(Clone, Copy)]
pub(super) struct Streams {
    /// `stream_idle_timeout`.
    pub(super) limit: Option<Duration>,
}

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for Streams {
    fn execute(&self, stream: F) {
        tokio::task::spawn_local(watched(stream, self.limit));
    }
}

/// The stream, until it ends or nothing has moved on it for `limit`; dropping it resets it.
async fn watched(stream: impl Future<Output = ()>, limit: Option<Duration>) {
    let pulse = Rc::new(Pulse::default());
    let (mut stream, mut silence) = (pin!(stream), pin!(silence(&pulse, limit)));
    poll_fn(|cx| {
        POLLED.set(Rc::clone(&pulse));
        let polled = stream.as_mut().poll(cx);
        if polled.is_ready() || !pulse.answering.get() {
            return polled;
        }
        silence.as_mut().poll(cx)
    })
    .await;
}

/// Returns when nothing has moved between two looks, `limit` apart.
async fn silence(pulse: &Pulse, limit: Option<Duration>) {
    let Some(limit) = limit else { return std::future::pending().await };
    loop {
        let before = pulse.count();
        tokio::time::sleep_until(clock::in_(limit)).await;
        if pulse.count() == before {
            return;
        }
    }
}
