//! `bearerd run`: carries requests until told to stop.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};

use super::{Common, Exit, Failure};
use crate::app::{App, Ask, StartError};
use crate::config::{Flags, Loaded};
use crate::proxy::inherited::Inherited;
use crate::signal::{Signal, Signals};
use crate::telemetry;

pub(super) fn run(common: &Common, flags: Flags) -> Result<Exit, Failure> {
    forbid_core_dumps();
    let loaded = common.load(flags.clone())?;
    telemetry::init(loaded.config.log, common.colour(), common.verbosity())
        .map_err(|error| Failure::new(Exit::Failure, format!("cannot start logging: {error}")))?;
    warn(&loaded);
    let version = env!("CARGO_PKG_VERSION");
    tracing::info!(event = "started", version, "{}", loaded.summary());
    let common = common.clone();
    let again = move || common.load(flags.clone()).inspect(warn).map_err(|failure| failure.says);
    serve(loaded, Arc::new(again))
}

/// What deserves a second look, at the start and at each reload.
fn warn(loaded: &Loaded) {
    for warning in loaded.warnings() {
        tracing::warn!(event = "config_warning", code = warning.code().word(), "{warning}");
    }
}

/// Tokens are in memory: no core file, and no other process of this user may look in.
pub(super) fn forbid_core_dumps() {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{DumpableBehavior, set_dumpable_behavior};
        let _kernel_refuses = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    }
}

/// Hands over to the program itself: this thread becomes the control thread.
fn serve(loaded: Loaded, again: Again) -> Result<Exit, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(system)?;
    let served = runtime.block_on(async {
        let mut signals = Signals::listen().map_err(system)?;
        let app = App::bind_with(loaded, inherited()).await.map_err(|error| match error {
            StartError::Unusable(why) => Failure::new(Exit::Config, why),
            StartError::System(error) => system(error),
        })?;
        let (orders, inbox) = mpsc::unbounded_channel();
        let mut reloads =
            Reloads { again, orders: orders.clone(), reading: JoinSet::new(), once_more: false };
        let mut running = std::pin::pin!(app.run(inbox));
        tell_systemd(sd_notify::NotifyState::Ready);
        loop {
            tokio::select! {
                ended = running.as_mut() => break ended.map_err(system),
                Some(read) = reloads.reading.join_next() => reloads.pass_on(read),
                signal = signals.next() => match signal {
                    Signal::Reload => reloads.ask(),
                    Signal::Terminate => {
                        tell_systemd(sd_notify::NotifyState::Stopping);
                        // The receiver is gone only when the program has ended.
                        let _ = orders.send(Ask::Drain);
                    }
                },
            }
        }
    });
    // All that had to be saved is; what still blocks, a file or a name that nobody answers for, is not waited for.
    runtime.shutdown_background();
    served.map(|()| Exit::Success)
}

fn system(error: std::io::Error) -> Failure {
    Failure::new(Exit::Failure, error.to_string())
}

/// Reads the configuration again. Blocking.
type Again = Arc<dyn Fn() -> Result<Loaded, String> + Send + Sync>;

/// What SIGHUP asks for: one reading at a time, and one more for whoever asked meanwhile.
struct Reloads {
    again: Again,
    orders: mpsc::UnboundedSender<Ask>,
    reading: JoinSet<Result<Loaded, String>>,
    once_more: bool,
}

impl Reloads {
    fn ask(&mut self) {
        if !self.reading.is_empty() {
            self.once_more = true;
            return;
        }
        let again = Arc::clone(&self.again);
        self.reading.spawn_blocking(move || again());
    }

    fn pass_on(&mut self, read: Result<Result<Loaded, String>, JoinError>) {
        if std::mem::take(&mut self.once_more) {
            return self.ask();
        }
        match read.unwrap_or_else(|fault| Err(fault.to_string())) {
            // The receiver is gone only when the program has ended.
            Ok(loaded) => drop(self.orders.send(Ask::Reload(Box::new(loaded)))),
            Err(why) => tracing::error!(
                event = "config_rejected",
                "The new configuration is not used, the old one goes on:\n{why}"
            ),
        }
    }
}

/// What systemd hands over to this process; nothing when something else started it.
#[expect(clippy::disallowed_methods, reason = "the command may read its environment")]
fn inherited() -> Inherited {
    Inherited::of_this_process(&std::env::var("LISTEN_FDNAMES").unwrap_or_default())
}

/// Without systemd there is nobody to tell.
fn tell_systemd(state: sd_notify::NotifyState<'_>) {
    let _ = sd_notify::notify(&[state]);
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use rustix::process::{DumpableBehavior, dumpable_behavior};

    use super::*;

    #[test]
    fn no_core_file_is_written() {
        forbid_core_dumps();
        assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
    }
}
