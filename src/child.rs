//! A child process that is waited for: for so long, and no longer.

use std::io;
use std::process::{Child, ExitStatus};
use std::time::Duration;

use crate::clock::Stopwatch;

/// How long one that was ended is waited for: one that became another user may not be ended, and one may wait for a disk.
pub(crate) const GOING: Duration = Duration::from_secs(3);

/// How often it is asked whether it has ended.
const LOOK: Duration = Duration::from_millis(10);

/// How a child ended, or that it did not within this span or before it was `called_off`. Blocking.
///
/// # Errors
/// When the system does not say.
pub(crate) fn ended(
    child: &mut Child,
    within: Duration,
    called_off: impl Fn() -> bool,
) -> io::Result<Option<ExitStatus>> {
    let watch = Stopwatch::start();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if watch.elapsed() > within || called_off() {
            return Ok(None);
        }
        std::thread::sleep(LOOK);
    }
}

/// Whether a child is gone within this span, after this has been done about it. One that is not is waited for elsewhere.
/// Blocking.
pub(crate) fn end(mut child: Child, going: Duration, kill: impl Fn(&mut Child)) -> bool {
    kill(&mut child);
    let is_gone = matches!(ended(&mut child, going, || false), Ok(Some(_)));
    if !is_gone {
        // Where there is no thread to be had, it stays as a defunct process until bearerd ends.
        let _is_waited_for = beside(move || child.wait());
    }
    is_gone
}

/// Does something on a thread of its own, which is not waited for.
///
/// # Errors
/// When the system has no thread to give; what there was to do is dropped.
pub(crate) fn beside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<()> {
    std::thread::Builder::new().name("child".to_owned()).spawn(work).map(drop)
}
