//! Logs: events with stable names, pretty on a terminal and JSON lines elsewhere.
//!
//! Every line that an operator may build on carries its name: `tracing::info!(event = "listening", …)`. The names are
//! in [`EVENTS`] and stay; messages and the order of fields may change.

mod events;
mod filter;

use std::io::{IsTerminal as _, stderr};
use std::sync::OnceLock;

use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};
use tracing_subscriber::{Registry, fmt, reload};

pub use self::events::{EVENTS, Event};
use self::filter::filter;

/// What `[log]` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Params {
    /// `format`.
    pub format: Format,
    /// `level`.
    pub level: tracing::Level,
    /// `access`.
    pub access: Access,
}

/// `format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Pretty when stderr is a terminal, JSON lines elsewhere.
    Auto,
    /// For people.
    Pretty,
    /// One object a line.
    Json,
}

/// `access`: which requests get a line of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// None.
    Off,
    /// Those that the proxy answered itself with an error, and upstream answers of 500 and above.
    Errors,
    /// All.
    All,
}

impl Default for Params {
    fn default() -> Self {
        Self { format: Format::Auto, level: tracing::Level::INFO, access: Access::Errors }
    }
}

/// How much `-q` and `-v` move the level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verbosity {
    /// `-q`: warnings and errors alone.
    pub quiet: bool,
    /// How often `-v` was said.
    pub verbose: u8,
}

/// Whether lines for people are coloured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Colour {
    /// When stderr is a terminal.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The filter in use, and what `-q` and `-v` said of it.
static LIVE: OnceLock<(reload::Handle<Targets, Registry>, Verbosity)> = OnceLock::new();

/// Sends events to stderr from here on.
///
/// # Errors
/// When it was called before in this process.
pub fn init(params: Params, colour: Colour, verbosity: Verbosity) -> Result<(), TryInitError> {
    let terminal = stderr().is_terminal();
    let json = match params.format {
        Format::Auto => !terminal,
        Format::Pretty => false,
        Format::Json => true,
    };
    let coloured = match colour {
        Colour::Auto => terminal,
        Colour::Always => true,
        Colour::Never => false,
    };
    let layer = if json {
        json_lines(stderr)
    } else {
        fmt::layer().with_writer(stderr).with_ansi(coloured).with_target(verbosity.verbose > 0).boxed()
    };
    let (filter, live) = reload::Layer::new(filter(params.level, verbosity));
    tracing_subscriber::registry().with(layer.with_filter(filter)).try_init()?;
    // Only the first call gets here.
    let _ = LIVE.set((live, verbosity));
    Ok(())
}

/// Takes a new `log.level` from here on; `-q` and `-v` still move it. Before [`init`] there is nothing to change.
pub fn follow(params: Params) {
    if let Some((live, verbosity)) = LIVE.get() {
        // It fails only once the subscriber is gone, and this one stays as long as the process.
        let _ = live.reload(filter(params.level, *verbosity));
    }
}

/// One object a line, fields at its top level.
fn json_lines<W>(writer: W) -> Box<dyn tracing_subscriber::Layer<Registry> + Send + Sync>
where
    W: for<'w> fmt::MakeWriter<'w> + Send + Sync + 'static,
{
    fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_writer(writer)
        .boxed()
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Write;
    use std::sync::{Arc, LazyLock, Mutex};

    use tracing::Dispatch;
    use tracing::subscriber::NoSubscriber;

    use super::*;

    /// With one subscriber alone, tracing asks the thread that first comes to a line whether anybody wants it, for good; that
    /// may be another test's, which has none. With two it asks both.
    static ANOTHER: LazyLock<Dispatch> = LazyLock::new(|| Dispatch::new(NoSubscriber::default()));

    /// What was written.
    #[derive(Clone, Default)]
    pub(crate) struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Kept {
        pub(crate) fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }

        /// What this thread logs while the guard lives, in JSON.
        pub(crate) fn of_this_thread(&self) -> tracing::subscriber::DefaultGuard {
            LazyLock::force(&ANOTHER);
            let writer = self.clone();
            tracing::subscriber::set_default(
                tracing_subscriber::registry().with(json_lines(move || writer.clone())),
            )
        }
    }

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_json_line_has_its_time_in_microseconds_and_its_fields_at_the_top() {
        let kept = Kept::default();
        let guard = kept.of_this_thread();
        tracing::info!(event = "listening", address = "127.0.0.1:1", "Listening");
        drop(guard);
        let text = kept.text();
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(text.matches('\n').count(), 1);
        assert_eq!((&line["event"], &line["level"]), (&"listening".into(), &"INFO".into()));
        assert_eq!((&line["message"], &line["address"]), (&"Listening".into(), &"127.0.0.1:1".into()));
        let time = line["timestamp"].as_str().unwrap();
        assert!(time.parse::<jiff::Timestamp>().is_ok() && time.len() == 27 && time.ends_with('Z'), "{time}");
    }
}
