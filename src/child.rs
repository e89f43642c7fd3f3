//! A child process that is waited for: for so long, and no longer.

use std::io;
use std::process::{Child, ExitStatus};
use std::time::Duration;

use crate::clock::Stopwatch;

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
