//! The terminal that a person signs in at: what it can show, whether a browser can be opened from it, and how.

use std::cell::Cell;
use std::io::{self, IsTerminal as _, Write as _, stderr, stdin};
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
        match browsers().as_slice() {
            [] => open::that_detached(address).map_err(|error| error.to_string()),
            commands => start(commands, address),
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

/// `$BROWSER`: a command, or several with colons between them, of which the first that is there counts.
fn browsers() -> Vec<Vec<String>> {
    commands(&std::env::var("BROWSER").unwrap_or_default())
}

fn commands(browser: &str) -> Vec<Vec<String>> {
    let words = |command: &str| command.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    browser.split(':').map(words).filter(|words| !words.is_empty()).collect()
}

/// Starts the first command that is there, and leaves it to itself: what is typed at this terminal is none of its.
fn start(commands: &[Vec<String>], address: &str) -> Result<(), String> {
    let mut missing = Vec::new();
    for words in commands {
        let words = with_address(words, address);
        let Some((program, arguments)) = words.split_first() else { continue };
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        match command.spawn() {
            Ok(_left_to_itself) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => missing.push(format!("`{program}`")),
            Err(error) => return Err(format!("`{program}`, as BROWSER says: {error}")),
        }
    }
    Err(format!("BROWSER says {}, which is not there", missing.join(" or ")))
}

/// The address stands where the command has `%s`, and at its end where it has none.
fn with_address(words: &[String], address: &str) -> Vec<String> {
    let names_it = words.iter().any(|word| word.contains("%s"));
    let filled = words.iter().map(|word| word.replace("%s", address));
    filled.chain((!names_it).then(|| address.to_owned())).collect()
}

/// Whether a browser that is opened here is one that somebody sees.
pub(super) fn can_open_a_browser() -> Result<(), &'static str> {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    can_open(Surroundings {
        is_terminal: stdin().is_terminal() || stderr().is_terminal(),
        is_remote: is_set("SSH_CONNECTION") || is_set("SSH_TTY"),
        has_display: !cfg!(target_os = "linux") || is_set("DISPLAY") || is_set("WAYLAND_DISPLAY"),
        names_browser: !browsers().is_empty(),
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
    fn browsers_that_are_named_are_commands_in_a_row_with_a_place_for_the_address() {
        let named = commands("firefox --new-window:open %s --wait");
        assert_eq!(named, [vec!["firefox", "--new-window"], vec!["open", "%s", "--wait"]]);
        assert_eq!(with_address(&named[0], "http://a/"), ["firefox", "--new-window", "http://a/"]);
        assert_eq!(with_address(&named[1], "http://a/"), ["open", "http://a/", "--wait"]);
        assert_eq!((commands("").len(), commands(" : ").len()), (0, 0));
    }

    #[test]
    fn the_first_browser_that_is_there_is_started_in_a_process_group_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let (out, done) = (folder.path().join("out"), folder.path().join("done"));
        // proc(5): the fifth field of stat is the process group.
        let script =
            format!("echo $$ \"$1\" $(cat /proc/$$/stat) >{}; mv {0} {}", out.display(), done.display());
        let command = |program: &str| [program, "-c", &script, "sh"].map(str::to_owned).to_vec();
        start(&[command("/nonexistent/browser"), command("/bin/sh")], "http://a/").unwrap();
        while !done.exists() {
            std::thread::sleep(Duration::from_millis(5));
        }
        let text = std::fs::read_to_string(done).unwrap();
        let words: Vec<&str> = text.split_whitespace().collect();
        assert_eq!((words[1], words[6]), ("http://a/", words[0]), "{text}");
        let missing = start(&[command("/nonexistent/browser")], "http://a/").unwrap_err();
        assert!(missing.contains("`/nonexistent/browser`") && missing.contains("not there"), "{missing}");
    }

    #[test]
    fn the_time_left_is_told_as_on_a_clock() {
        let told = [581, 9, 3600, 7322].map(|seconds| clock(Duration::from_secs(seconds)));
        assert_eq!(told, ["9:41", "0:09", "1:00:00", "2:02:02"]);
    }

    #[test]
    fn a_drawing_holds_the_address() {
        let address = "https://id.example/device?user_code=WDJB-MJHT";
        let code = QrCode::with_error_correction_level(address, qrcode::EcLevel::L).unwrap();
        let (width, modules) = (code.width(), code.to_colors());
        let text = drawn(address, false).unwrap();
        // What is printed is light, two modules in a character, and around them is the quiet zone.
        let rows: Vec<Vec<bool>> = text
            .lines()
            .flat_map(|line| {
                let halves = line[2..].chars().map(|half| match half {
                    ' ' => (true, true),
                    '▀' => (false, true),
                    '▄' => (true, false),
                    '█' => (false, false),
                    other => panic!("{other}"),
                });
                let (upper, lower): (Vec<bool>, Vec<bool>) = halves.unzip();
                [upper, lower]
            })
            .collect();
        let quiet = (rows[0].len() - width) / 2;
        assert!(quiet >= 4 && rows.len() >= width + 2 * quiet, "{text}");
        for (y, row) in rows.iter().enumerate().take(width + 2 * quiet) {
            for (x, is_dark) in row.iter().enumerate() {
                let inside = |at: usize| (quiet..quiet + width).contains(&at);
                let expected =
                    inside(x) && inside(y) && modules[(y - quiet) * width + x - quiet] == qrcode::Color::Dark;
                assert_eq!(*is_dark, expected, "{x} {y} of\n{text}");
            }
        }
        assert!(drawn(&"x".repeat(5000), true).is_none(), "what is too long is not drawn");
    }
}
