//! What the playground prints: what to try, each renewal as it happens, and how it went.

use std::time::Duration;

use bearerd::clock::Moment;
use bearerd::secret::Fingerprint;

use serde_json::json;

use crate::stage::{CLIENT, EXPIRES_IN, Stage};
use crate::support::authorization_server::{Exchange, Stage as Progress};

/// How often the state file is looked at for a new refresh token, and for how long.
const LOOK: Duration = Duration::from_millis(20);
const LOOKS: u32 = 250;

/// What there is, and what to try.
pub(crate) fn opening(stage: &Stage) -> String {
    let (proxy, admin) = (stage.proxy, stage.admin);
    let here = format!("http://localhost:{proxy}");
    let tries = [
        (format!("curl {here}/echo"), "what the upstream sees, your header replaced"),
        (format!("curl {here}/upload -T FILE"), "length and SHA-256 of what arrived"),
        (format!("curl -N {here}/sse"), "events, one for each `event` typed here"),
        (format!("curl -i {}/echo", stage.upstream.url()), "past bearerd: 401"),
    ];
    let tries: String = tries.map(|(command, what)| format!("  {command:<42}  {what}\n")).concat();
    format!(
        "\n\
         bearerd stands between you and an upstream that wants a good access token on every request.\n\
         Tokens live {EXPIRES_IN} s here, each refresh token works once, and one that comes twice ends everything.\n\
         \n\
         Try, in another terminal:\n\
         {tries}\
         \n\
         Look at:\n\
         \x20 {config}\n\
         \x20 {state}\n\
         \x20 http://127.0.0.1:{admin}/   status;  http://127.0.0.1:{admin}/metrics\n\
         \n\
         Type here:\n\
         {commands}\
         \x20 Ctrl-C    the end\n",
        config = stage.config.display(),
        state = stage.state.display(),
        commands = crate::commands::help(),
    )
}

/// Tells each renewal as it happens, for ever.
pub(crate) async fn tell(stage: &Stage) {
    let (mut told, mut generation, mut failing) = (0, 0, false);
    loop {
        let fresh = stage.server.next_redeem(told).await;
        told = fresh.number + 1;
        if fresh.stage == Progress::Answered && fresh.status == Some(200) {
            generation += 1;
            failing = false;
            println!("{}", renewal(&fresh, generation, saved(stage, &fresh).await));
        } else if !std::mem::replace(&mut failing, true) {
            println!("{}  token request failed: {}", time(fresh.received), reason(&fresh));
        }
    }
}

/// Where the parties are, for a program: one line of JSON.
pub(crate) fn addresses(stage: &Stage) -> String {
    let addresses = json!({
        "issuer": stage.server.issuer(),
        "token_endpoint": stage.server.token_endpoint(),
        "client_id": CLIENT,
        "refresh_token": stage.seed,
        "upstream": stage.upstream.url(),
        "proxy_toml": stage.config,
    });
    addresses.to_string()
}

/// How it goes, for a program: one line of JSON.
pub(crate) fn tally(stage: &Stage) -> String {
    let (tally, redeems) = (stage.upstream.tally(), stage.server.redeems());
    let tally = json!({
        "redeems": redeems.len(),
        "renewals": redeems.iter().filter(|one| one.status == Some(200)).count(),
        "reuse_errors": stage.server.reuse_errors(),
        "refresh_token": stage.server.current_refresh_token(&stage.seed),
        "requests": tally.requests,
        "expired_tokens": tally.expired_tokens,
        "unknown_tokens": tally.unknown_tokens,
        "missing": tally.missing,
    });
    tally.to_string()
}

/// How it went.
pub(crate) fn ending(stage: &Stage) -> String {
    let tally = stage.upstream.tally();
    let renewals = stage.server.redeems().iter().filter(|one| one.status == Some(200)).count();
    format!(
        "\n{renewals} renewals; {} requests reached the upstream, {} of them with an expired token, {} without one; \
         {} refresh tokens presented twice.",
        tally.requests,
        tally.expired_tokens,
        tally.missing,
        stage.server.reuse_errors()
    )
}

/// One line for one renewal.
fn renewal(fresh: &Exchange, generation: u32, saved: Option<String>) -> String {
    let token = fresh.refresh_token.as_deref().unwrap_or_default();
    let place = saved.map_or("NOT SAVED".to_owned(), |place| format!("saved in {place}"));
    let fingerprint = Fingerprint::of(token);
    format!(
        "{}  generation {generation}  refresh token {}  {place}",
        time(fresh.received),
        fingerprint.short()
    )
}

/// Where the new refresh token was found, once it is there.
async fn saved(stage: &Stage, fresh: &Exchange) -> Option<String> {
    let token = fresh.refresh_token.as_deref()?;
    for _ in 0..LOOKS {
        let record = std::fs::read_to_string(&stage.state).unwrap_or_default();
        if record.contains(token) {
            return Some(stage.state.display().to_string());
        }
        tokio::time::sleep(LOOK).await;
    }
    None
}

fn reason(failed: &Exchange) -> String {
    match failed.status {
        Some(status) if failed.written > 0 => {
            format!("{status} {}", String::from_utf8_lossy(&failed.answer).trim_end())
        }
        _ => "the connection was cut".to_owned(),
    }
}

/// The time of day, UTC.
fn time(moment: Moment) -> String {
    moment.rfc3339().split(['T', 'Z']).nth(1).unwrap_or_default().to_owned()
}
