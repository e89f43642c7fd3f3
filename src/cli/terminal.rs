//! The terminal that a person signs in at: what it can show, whether a browser can be opened from it, and how.

use std::cell::Cell;
use std::io::{IsTerminal as _, Write as _, stderr, stdin};
use std::process::{Command, Stdio};
use std::time::Duration;

use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;

use super::note;
use crate::login::{Person, in_short};

/// Standard error, as far as a sign-in goes: standard output may be another program's.
pub(super) struct Terminal {
    /// Whether lines may be written over.
    is_live: bool,
    is_coloured: bool,
    /// Whether the last line is one that tells the time.
    counts: Cell<bool>,
    has_waited: Cell<bool>,
}

impl Terminal {
    pub(super) fn new(is_coloured: bool) -> Self {
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let is_live = stderr().is_terminal() && !is_dumb;
        Self { is_live, is_coloured, counts: Cell::default(), has_waited: Cell::default() }
    }
}

impl Person for Terminal {
    fn tell(&self, text: &str) {
        self.waits(None);
        note(text);
    }

    fn draw(&self, address: &str) {
        if let Some(code) = self.is_live.then(|| drawn(address, self.is_coloured)).flatten() {
            self.tell(&code);
        }
    }

    fn open(&self, address: &str) -> Result<(), String> {
        match browser() {
            Some(words) => start(&words, address),
            None => open::that_detached(address).map_err(|error| error.to_string()),
        }
    }

    fn waits(&self, left: Option<Duration>) {
        let mut err = stderr();
        // A terminal that is gone is told nothing.
        let _gone = match left {
            Some(left) if self.is_live => {
                self.counts.set(true);
                write!(
                    err,
                    "\r\x1b[2KWaiting for you to finish there — {} left, Ctrl-C to cancel",
                    clock(left)
                )
            }
            Some(left) if !self.has_waited.replace(true) => {
                // What has gone by since the start is none of it.
                let left = Duration::from_secs_f64(left.as_secs_f64().ceil());
                writeln!(err, "Waiting for you to finish there, {} at most; Ctrl-C cancels.", in_short(left))
            }
            None if self.counts.replace(false) => write!(err, "\r\x1b[2K"),
            _ => Ok(()),
        }
        .and_then(|()| err.flush());
    }
}

/// As on a kitchen clock: `9:41`.
fn clock(left: Duration) -> String {
    let seconds = left.as_secs();
    match seconds / 3600 {
        0 => format!("{}:{:02}", seconds / 60, seconds % 60),
        hours => format!("{hours}:{:02}:{:02}", seconds / 60 % 60, seconds % 60),
    }
}

/// A QR code in half blocks, dark on light whatever the terminal's own colours are, where it may have any.
fn drawn(address: &str, is_coloured: bool) -> Option<String> {
    let code = QrCode::with_error_correction_level(address, qrcode::EcLevel::L).ok()?;
    // What is printed is the light part, as light as the terminal can.
    let (dark, light) = (Dense1x2::Light, Dense1x2::Dark);
    let text = code.render::<Dense1x2>().dark_color(dark).light_color(light).build();
    let line = |line: &str| {
        if is_coloured { format!("  \x1b[40;97m{line}\x1b[0m\n") } else { format!("  {line}\n") }
    };
    Some(text.lines().map(line).collect())
}

/// `$BROWSER`: a command, of which there may be several in a row; the first counts.
fn browser() -> Option<Vec<String>> {
    words(&std::env::var("BROWSER").ok()?)
}

fn words(browser: &str) -> Option<Vec<String>> {
    let first = browser.split(':').next().unwrap_or_default();
    let words: Vec<String> = first.split_whitespace().map(str::to_owned).collect();
    (!words.is_empty()).then_some(words)
}

/// Starts a command with the address as its last argument, and leaves it to itself.
fn start(words: &[String], address: &str) -> Result<(), String> {
    let (program, arguments) = words.split_first().ok_or("`BROWSER` names no program")?;
    let mut command = Command::new(program);
    command.args(arguments).arg(address).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().map(drop).map_err(|error| format!("`{program}`, as BROWSER says: {error}"))
}

/// Whether a browser that is opened here is one that somebody sees.
pub(super) fn can_open_a_browser() -> Result<(), &'static str> {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    can_open(Surroundings {
        is_terminal: stdin().is_terminal() || stderr().is_terminal(),
        is_remote: is_set("SSH_CONNECTION") || is_set("SSH_TTY"),
        has_display: !cfg!(target_os = "linux") || is_set("DISPLAY") || is_set("WAYLAND_DISPLAY"),
        names_browser: browser().is_some(),
    })
}

/// What there is to see from here.
#[derive(Clone, Copy, Debug)]
struct Surroundings {
    is_terminal: bool,
    is_remote: bool,
    has_display: bool,
    names_browser: bool,
}

/// Who names a browser knows what opens from here, also over SSH: editors bring one that opens on the other side.
fn can_open(around: Surroundings) -> Result<(), &'static str> {
    match around {
        Surroundings { is_terminal: false, .. } => Err("nobody is at a terminal"),
        Surroundings { names_browser: true, .. } => Ok(()),
        Surroundings { is_remote: true, .. } => Err("this is an SSH session"),
        Surroundings { has_display: false, .. } => Err("there is no display"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_is_opened_only_where_somebody_sees_it() {
        let desk =
            Surroundings { is_terminal: true, is_remote: false, has_display: true, names_browser: false };
        assert_eq!(can_open(desk), Ok(()));
        assert_eq!(
            can_open(Surroundings { is_terminal: false, names_browser: true, ..desk }),
            Err("nobody is at a terminal")
        );
        assert_eq!(can_open(Surroundings { is_remote: true, ..desk }), Err("this is an SSH session"));
        assert_eq!(can_open(Surroundings { has_display: false, ..desk }), Err("there is no display"));
        assert_eq!(
            can_open(Surroundings { is_remote: true, has_display: false, names_browser: true, ..desk }),
            Ok(())
        );
    }

    #[test]
    fn the_browser_that_is_named_is_a_command_and_its_first() {
        assert_eq!(words("firefox --new-window:chromium").unwrap(), ["firefox", "--new-window"]);
        assert_eq!((words(""), words(" : ")), (None, None));
    }

    #[test]
    fn the_time_left_is_told_as_on_a_clock() {
        let told = [581, 9, 3600, 7322].map(|seconds| clock(Duration::from_secs(seconds)));
        assert_eq!(told, ["9:41", "0:09", "1:00:00", "2:02:02"]);
    }

    #[test]
    fn a_drawing_holds_the_address() {
        let text = drawn("https://id.example/device?user_code=WDJB-MJHT", false).unwrap();
        let widths: Vec<usize> = text.lines().map(|line| line.chars().count()).collect();
        assert!(widths.len() > 10 && widths.iter().all(|width| *width == widths[0]), "{text}");
        assert!(drawn(&"x".repeat(5000), true).is_none(), "what is too long is not drawn");
    }
}
