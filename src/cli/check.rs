//! `bearerd check`: is the configuration good, what does it do, and, online, does the world agree?

use std::io::stdout;

use serde_json::{Value, json};

use super::daemon::{self, plain, text};
use super::grants::{load_tls, wait_for};
use super::healthcheck::ask_health;
use super::{Common, Exit, Failure, ask, complain, run, say};
use crate::checking::{self, Beside, Blame, Finding, Verdict};
use crate::config::{Config, Flags};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Ask the world as well: names, certificates, servers, clocks, the store, the ways in
    #[arg(long)]
    online: bool,
    /// What that finds, as JSON
    #[arg(long, requires = "online")]
    json: bool,
    #[command(flatten, next_help_heading = "Instead of what proxy.toml says")]
    flags: Flags,
}

pub(super) fn check(common: &Common, arguments: Arguments) -> Result<Exit, Failure> {
    let Arguments { online, json, flags } = arguments;
    let loaded = common.load(flags)?;
    complain(&loaded.render_warnings(common.is_coloured()));
    if !common.quiet && !json {
        say(&loaded.summary())?;
    }
    if !online {
        return Ok(Exit::Success);
    }
    run::forbid_core_dumps();
    let findings = look(&loaded.config)?;
    if json {
        say(&format!("{:#}", in_json(&findings)))?;
    } else {
        let coloured = common.is_coloured_on(&stdout());
        for finding in findings.iter().filter(|finding| !common.quiet || finding.verdict != Verdict::Good) {
            say(&line(finding, coloured))?;
        }
    }
    Ok(exit(&findings))
}

fn look(config: &Config) -> Result<Vec<Finding>, Failure> {
    let tls = load_tls(config)?;
    let beside = beside(config);
    let set = |name: &&str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let proxies = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
    let proxies: Vec<String> = proxies.iter().filter(|name| set(name)).map(ToString::to_string).collect();
    wait_for(async { Ok(checking::online(config, &tls, &beside, &proxies).await) })
}

/// The bearerd that runs with this configuration, if one does. Where it cannot be asked on what it listens, the probes
/// listener may tell that it runs, and an admin listener that is nobody's, or another's, that it does not.
fn beside(config: &Config) -> Beside {
    let why = match daemon::report(config) {
        Ok(report) => return Beside::Runs(listening(&report.json)),
        Err(failure) => failure.says,
    };
    if ask_health(config, "/livez").is_ok() {
        return Beside::Unseen("one does, and does not say on what it listens".to_owned());
    }
    let admin = &config.admin;
    match &admin.listen {
        None => Beside::Unseen("with the admin listener off it cannot be asked".to_owned()),
        Some(listen) => {
            // At the default address another one is let be.
            let is_anothers = || !admin.listen_is_default && ask::get(Some(listen), "/livez").is_ok();
            if ask::is_nobodys(listen) || is_anothers() { Beside::Not(why) } else { Beside::Unseen(why) }
        }
    }
}

fn listening(report: &Value) -> Vec<(String, String)> {
    let listeners = report.get("listeners").and_then(Value::as_array).into_iter().flatten();
    listeners.map(|one| (text(one, "listener").to_owned(), text(one, "address").to_owned())).collect()
}

/// A mark, a code, and the sentence.
fn line(finding: &Finding, coloured: bool) -> String {
    let (mark, colour) = match finding.verdict {
        Verdict::Good => ("✓", 32),
        Verdict::Warning => ("!", 33),
        Verdict::Bad(_) => ("✗", 31),
        Verdict::NotTried => ("-", 2),
    };
    let mark = if coloured { format!("\x1b[{colour}m{mark}\x1b[0m") } else { mark.to_owned() };
    let label = finding.code.unwrap_or(finding.check);
    format!("{mark} {label:<23} {}", plain(&finding.sentence))
}

fn in_json(findings: &[Finding]) -> Value {
    let one = |finding: &Finding| {
        let Finding { check, verdict, code, sentence } = finding;
        json!({ "check": check, "verdict": verdict.word(), "code": code, "sentence": sentence })
    };
    json!({ "format_version": 1, "findings": findings.iter().map(one).collect::<Value>() })
}

/// What a person has to mend comes before what may pass.
fn exit(findings: &[Finding]) -> Exit {
    let has = |blame| findings.iter().any(|finding| finding.verdict == Verdict::Bad(blame));
    if has(Blame::Setup) {
        Exit::Config
    } else if has(Blame::World) {
        Exit::Unreachable
    } else {
        Exit::Success
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_a_line_and_the_worst_of_them_the_exit_code() {
        let finding =
            |verdict, code| Finding { check: "name", verdict, code, sentence: "So it is.\u{1b}".to_owned() };
        let good = finding(Verdict::Good, None);
        let world = finding(Verdict::Bad(Blame::World), Some("name_unknown"));
        let setup = finding(Verdict::Bad(Blame::Setup), Some("clock_wrong"));
        assert_eq!(line(&good, false), "✓ name                    So it is.\\u{1b}");
        assert_eq!(line(&world, true), "\u{1b}[31m✗\u{1b}[0m name_unknown            So it is.\\u{1b}");
        let warning = finding(Verdict::Warning, Some("clock_wrong"));
        assert_eq!(exit(&[good.clone(), warning, finding(Verdict::NotTried, None)]), Exit::Success);
        assert_eq!(exit(&[good, world.clone()]), Exit::Unreachable);
        assert_eq!(exit(&[world, setup]), Exit::Config);
    }
}
