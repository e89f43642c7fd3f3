//! `bearerd wait`: until the running bearerd has a usable token for every route, or for as long as one cares to wait.

use std::time::Duration;

use super::healthcheck::ask_health;
use super::{Common, Exit, Failure, say, span};
use crate::clock::Stopwatch;
use crate::config::Flags;

/// How often it is asked.
const PAUSE: Duration = Duration::from_millis(200);

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// How long to wait
    #[arg(long, value_name = "SPAN", value_parser = span, default_value = "30s")]
    max: Duration,
    #[command(flatten, next_help_heading = "If the running one was started with flags, the same again")]
    flags: Flags,
}

pub(super) fn wait(common: &Common, arguments: Arguments) -> Result<Exit, Failure> {
    let Arguments { max, flags } = arguments;
    let watch = Stopwatch::start();
    let listeners = common.load_listeners(flags)?;
    loop {
        let answered = ask_health(&listeners.config, "/readyz");
        if let Ok((200, body)) = &answered {
            if !common.quiet {
                say(body)?;
            }
            return Ok(Exit::Success);
        }
        let left = max.saturating_sub(watch.elapsed());
        if left.is_zero() {
            return Err(match answered {
                Ok((_, body)) => not_ready(&body, max),
                Err(failure) => listeners.in_vain(failure),
            });
        }
        std::thread::sleep(PAUSE.min(left));
    }
}

/// What stood in the way at the end.
fn not_ready(body: &str, max: Duration) -> Failure {
    let mut lines = body.lines();
    let verdict = lines.next().unwrap_or_default();
    let states: Vec<&str> = lines.collect();
    let words = states.iter().filter_map(|line| line.rsplit_once(' ')).map(|(_name, state)| state);
    let exit = Exit::for_states(words).unwrap_or(Exit::Failure);
    let cure = match exit {
        Exit::SignInRequired => "sign in with `bearerd login`",
        Exit::Config => "`bearerd status` says what is to be mended",
        _ => "`bearerd status` says more",
    };
    let states = states.join(", ");
    Failure::new(exit, format!("{verdict} after {} s: {states}; {cure}", max.as_secs_f64()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stood_in_the_way_is_told_with_its_exit_code() {
        let told = |body| not_ready(body, Duration::from_secs(2));
        let failure = told("not ready\ndefault active\ncrm sign_in_required\n");
        assert_eq!(failure.exit, Exit::SignInRequired);
        assert!(
            failure.says.contains("after 2 s: default active, crm sign_in_required; "),
            "{}",
            failure.says
        );
        assert_eq!(told("not ready\ndefault misconfigured\n").exit, Exit::Config);
        assert_eq!(told("draining\ndefault active\n").exit, Exit::Failure);
        assert_eq!(told("").exit, Exit::Failure);
    }
}
