//! `bearerd run`: carries requests until told to stop.

use super::{Common, Exit, Failure};
use crate::app::{App, Ask, StartError, tell_systemd};
use crate::config::{Config, ConfigErrors, Flags, Loaded};
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
    // Whoever asked may be no terminal.
    let plain = |errors: ConfigErrors| errors.render(false);
    let again = move || Config::load(&common.sources(flags.clone())).inspect(warn).map_err(plain);
    serve(loaded, again)
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
fn serve(
    loaded: Loaded,
    again: impl Fn() -> Result<Loaded, String> + Send + Sync + 'static,
) -> Result<Exit, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(system)?;
    let served = runtime.block_on(async {
        let mut signals = Signals::listen().map_err(system)?;
        let app = App::bind_with(loaded, inherited()).await.map_err(|error| match error {
            StartError::Unusable(why) => Failure::new(Exit::Config, why),
            StartError::System(error) => system(error),
        })?;
        let app = app.reading(again);
        let orders = app.orders();
        let mut running = std::pin::pin!(app.run());
        tell_systemd(sd_notify::NotifyState::Ready);
        loop {
            tokio::select! {
                ended = running.as_mut() => break ended.map_err(system),
                signal = signals.next() => {
                    let ask = match signal {
                        Signal::Reload => Ask::Reload(None),
                        Signal::Terminate => Ask::Drain,
                    };
                    // Nobody hears only when the program has ended.
                    let _ = orders.send(ask);
                }
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

/// What systemd hands over to this process; nothing when something else started it.
#[expect(clippy::disallowed_methods, reason = "the command may read its environment")]
fn inherited() -> Inherited {
    Inherited::of_this_process(&std::env::var("LISTEN_FDNAMES").unwrap_or_default())
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
