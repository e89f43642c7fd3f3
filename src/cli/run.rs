//! `bearerd run`: carries requests until told to stop.

use tokio::sync::mpsc;

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
    let again = || common.load(flags.clone()).inspect(warn).map_err(|failure| failure.says);
    serve(loaded, again)
}

/// What deserves a second look, at the start and at each reload.
fn warn(loaded: &Loaded) {
    for warning in loaded.warnings() {
        tracing::warn!(event = "config_warning", code = warning.code().word(), "{warning}");
    }
}

/// Tokens are in memory: no core file, and no other process of this user may look in.
fn forbid_core_dumps() {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{DumpableBehavior, set_dumpable_behavior};
        let _kernel_refuses = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    }
}

/// Hands over to the program itself: this thread becomes the control thread.
fn serve(loaded: Loaded, again: impl Fn() -> Result<Loaded, String>) -> Result<Exit, Failure> {
    let system = |error: std::io::Error| Failure::new(Exit::Failure, error.to_string());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(system)?;
    runtime.block_on(async {
        let mut signals = Signals::listen().map_err(system)?;
        let app = App::bind_with(loaded, inherited()).await.map_err(|error| match error {
            StartError::Unusable(why) => Failure::new(Exit::Config, why),
            StartError::System(error) => system(error),
        })?;
        let (orders, inbox) = mpsc::unbounded_channel();
        let mut running = std::pin::pin!(app.run(inbox));
        tell_systemd(sd_notify::NotifyState::Ready);
        loop {
            tokio::select! {
                ended = running.as_mut() => break ended.map_err(system),
                signal = signals.next() => obey(signal, &orders, &again),
            }
        }
    })?;
    Ok(Exit::Success)
}

/// What systemd hands over to this process; nothing when something else started it.
#[expect(clippy::disallowed_methods, reason = "the command may read its environment")]
fn inherited() -> Inherited {
    Inherited::of_this_process(&std::env::var("LISTEN_FDNAMES").unwrap_or_default())
}

fn obey(signal: Signal, orders: &mpsc::UnboundedSender<Ask>, again: &impl Fn() -> Result<Loaded, String>) {
    let ask = match signal {
        Signal::Terminate => {
            tell_systemd(sd_notify::NotifyState::Stopping);
            Ask::Drain
        }
        Signal::Reload => match again() {
            Ok(loaded) => Ask::Reload(Box::new(loaded)),
            Err(why) => {
                tracing::error!(
                    event = "config_rejected",
                    "The new configuration is not used, the old one goes on:\n{why}"
                );
                return;
            }
        },
    };
    // The receiver is gone only when the program has ended.
    let _ = orders.send(ask);
}

/// Without systemd there is nobody to tell.
fn tell_systemd(state: sd_notify::NotifyState<'_>) {
    let _ = sd_notify::notify(&[state]);
}
