//! Logs: events with stable names, pretty on a terminal and JSON lines elsewhere.
//!
//! Every line that an operator may build on carries its name: `tracing::info!(event = "listening", …)`. The names are
//! in [`EVENTS`] and stay; messages and the order of fields may change.

use std::io::{IsTerminal as _, stderr};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};
use tracing_subscriber::{Registry, fmt};

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

/// An event's stable name, and when it comes.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    /// snake_case, the field `event` of the line.
    pub name: &'static str,
    /// One sentence.
    pub meaning: &'static str,
}

/// Every event, in the order of a life.
pub const EVENTS: &[Event] = &[
    event("started", "The configuration is read and the program begins."),
    event("config_warning", "The configuration is good, but something in it deserves a second look."),
    event("listening", "A listener is bound; `address` is what was bound, `listener` says which it is."),
    event("grant_adopted", "A grant begins with a stored record, a new seed, or what another process wrote."),
    event("refresh_succeeded", "A new access token is published."),
    event("refresh_failed", "A refresh brought no token; the line says why and when the next one is due."),
    event("refresh_token_saved", "A rotated refresh token is on durable storage."),
    event("grant_state_changed", "A grant's state has another word than before."),
    event(
        "store_write_failed",
        "A record could not be written; the token is kept in memory and written again.",
    ),
    event("store_save_finished", "A record that could not be written at first is written."),
    event("store_spare_failed", "The spare room for the next record could not be set aside."),
    event("store_recovered", "A rotation that was kept in memory for want of a store is saved."),
    event("rotation_unsaved_at_exit", "The program ends and a rotated refresh token is lost with it."),
    event(
        "intent_found",
        "An earlier holder presented the refresh token and did not live to save the answer.",
    ),
    event("answer_odd", "The token endpoint's answer was used, though something about it was odd."),
    event("request", "A request was answered (`log.access`)."),
    event("config_reloaded", "A new configuration is in use."),
    event(
        "config_needs_restart",
        "A new configuration changes keys that take effect at the next start only.",
    ),
    event("admin_off", "The default admin port is taken; the program runs without its status page."),
    event("accept_failed", "A connection could not be accepted; the listener goes on."),
    event("config_rejected", "A new configuration is wrong; the old one goes on."),
    event("draining", "The program was asked to stop and lets requests end."),
    event("stopped", "The program ends."),
];

const fn event(name: &'static str, meaning: &'static str) -> Event {
    Event { name, meaning }
}

/// Dependencies that would write header values or bytes of a body, and the most that each may say, `-vvv` included.
///
/// Read in the sources of the versions in Cargo.lock. hyper and hyper-util are built without their `tracing` feature and
/// say nothing; the clamp holds for a build in which another crate turns it on (`hyper::proto::h1::role` then prints a
/// Content-Length that it refuses). h2's frames leave fields and payload out of what they print, but three places print
/// the debug data of a GOAWAY, which a server may fill with what it was sent, and `h2::frame::headers` prints a TE that it
/// refuses. rustls prints whole handshake messages at TRACE: tickets of resumption among them.
const CLAMPED: &[(&str, LevelFilter)] = &[
    ("hyper", LevelFilter::INFO),
    ("hyper_util", LevelFilter::INFO),
    ("h2::codec", LevelFilter::INFO),
    ("h2::frame::headers", LevelFilter::INFO),
    ("h2::proto::connection", LevelFilter::INFO),
    ("h2::proto::streams::state", LevelFilter::INFO),
    ("rustls", LevelFilter::DEBUG),
];

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
    tracing_subscriber::registry().with(layer.with_filter(filter(params.level, verbosity))).try_init()
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

/// What is logged. Dependencies have nothing to say to an operator below a warning, unless all is wanted.
fn filter(level: tracing::Level, verbosity: Verbosity) -> Targets {
    let configured = LevelFilter::from_level(level);
    let (ours, others) = match verbosity {
        Verbosity { quiet: true, .. } => {
            (LevelFilter::WARN.min(configured), LevelFilter::WARN.min(configured))
        }
        Verbosity { verbose: 0, .. } => (configured, LevelFilter::WARN.min(configured)),
        Verbosity { verbose: 1, .. } => (LevelFilter::DEBUG.max(configured), LevelFilter::WARN),
        Verbosity { verbose: 2, .. } => (LevelFilter::TRACE, LevelFilter::WARN),
        Verbosity { .. } => (LevelFilter::TRACE, LevelFilter::TRACE),
    };
    let clamped = CLAMPED.iter().map(|(target, most)| (*target, others.min(*most)));
    Targets::new().with_default(others).with_targets(clamped).with_target("bearerd", ours)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::io::Write;
    use std::path::Path;
    use std::sync::{Arc, Mutex};

    use tracing::Level;

    use super::*;

    /// Whether every event of the table must be used already, and not only the other way round.
    const TABLE_IS_COMPLETE: bool = true;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn collect(folder: &Path, names: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, names);
            } else if !path.ends_with("telemetry.rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let named = text.split("event = \"").skip(1).filter_map(|rest| rest.split('"').next());
                names.extend(named.map(str::to_owned));
            }
        }
    }

    #[test]
    fn every_event_that_is_logged_is_in_the_table() {
        let mut used = BTreeSet::new();
        collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut used);
        let table: BTreeSet<String> = EVENTS.iter().map(|event| event.name.to_owned()).collect();
        assert_eq!(table.len(), EVENTS.len(), "each once");
        assert_eq!(used.difference(&table).collect::<Vec<_>>(), Vec::<&String>::new());
        if TABLE_IS_COMPLETE {
            assert_eq!(table.difference(&used).collect::<Vec<_>>(), Vec::<&String>::new());
        }
    }

    #[test]
    fn a_json_line_has_its_time_in_microseconds_and_its_fields_at_the_top() {
        let kept = Kept::default();
        let writer = kept.clone();
        let subscriber = tracing_subscriber::registry().with(json_lines(move || writer.clone()));
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(event = "listening", address = "127.0.0.1:1", "Listening");
        });
        let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(text.matches('\n').count(), 1);
        assert_eq!((&line["event"], &line["level"]), (&"listening".into(), &"INFO".into()));
        assert_eq!((&line["message"], &line["address"]), (&"Listening".into(), &"127.0.0.1:1".into()));
        let time = line["timestamp"].as_str().unwrap();
        assert!(time.parse::<jiff::Timestamp>().is_ok() && time.len() == 27 && time.ends_with('Z'), "{time}");
    }

    #[test]
    fn verbosity_raises_ours_first_and_everything_last() {
        let shows = |verbose, target: &str, level| {
            filter(Level::INFO, Verbosity { quiet: false, verbose }).would_enable(target, &level)
        };
        assert!(shows(0, "bearerd::grant", Level::INFO) && !shows(0, "bearerd::grant", Level::DEBUG));
        assert!(shows(1, "bearerd", Level::DEBUG) && !shows(1, "bearerd", Level::TRACE));
        assert!(shows(2, "bearerd", Level::TRACE) && !shows(2, "mio::poll", Level::INFO));
        assert!(shows(3, "mio::poll", Level::TRACE));
        let quiet = filter(Level::TRACE, Verbosity { quiet: true, verbose: 0 });
        assert!(quiet.would_enable("bearerd", &Level::WARN) && !quiet.would_enable("bearerd", &Level::INFO));
    }

    #[test]
    fn what_could_show_a_header_stays_silent_at_the_highest_verbosity() {
        let all = filter(Level::TRACE, Verbosity { quiet: false, verbose: 9 });
        for target in [
            "h2::frame::headers",
            "h2::proto::connection",
            "h2::codec::framed_read",
            "hyper::proto::h1::role",
        ] {
            assert!(!all.would_enable(target, &Level::DEBUG), "{target}");
        }
        assert!(!all.would_enable("rustls::client::hs", &Level::TRACE));
        assert!(all.would_enable("h2::proto::streams::recv", &Level::TRACE));
    }
}
