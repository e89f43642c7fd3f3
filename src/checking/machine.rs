//! This machine: the store and what rests there, the ways in, and the way out.

use std::io;

use http::header::HOST;

use super::{Beside, Blame, Code, Findings};
use crate::config::Config;
use crate::grant::error::{self, Class};
use crate::grant::lineage::{self, Line};
use crate::grant::{Flow, Params};
use crate::net::Listen;
use crate::proxy::guard::{self, Guard};
use crate::proxy::listener;
use crate::secret::RefreshToken;
use crate::store::{self, Record};

/// Whether a proxy is to be used that bearerd does not use yet.
pub(super) fn egress(proxies: &[String], findings: &mut Findings) {
    match proxies.first() {
        Some(variable) => {
            let sentence = format!(
                "{variable} is set, and bearerd goes through no proxy: it connects to servers and upstreams itself, which \
                 your network may not let it do."
            );
            findings.warning("egress", Code::EgressProxyUnused.word(), sentence);
        }
        None => findings.good("egress", "Servers and upstreams are connected to directly."),
    }
}

/// Whether a grant's record can be saved, and what rests there.
pub(super) async fn store(params: &Params, config: &Config, findings: &mut Findings) {
    let name = &params.name;
    if config.store == store::Params::Memory {
        let sentence = "The store is in memory: a rotated refresh token ends with the program. Give it a file with [store] path.";
        return findings.warning("store", Code::StoreInMemory.word(), sentence);
    }
    let of = format!("grant {name}");
    let store = match store::open(&config.store, name) {
        Ok(store) => store,
        Err(error) => {
            findings.bad("store", Blame::Setup, error::Code::StoreUnavailable.word(), format!("{error}."));
            return findings.not_tried("record", &of, "there is no store");
        }
    };
    match store.inspect().await {
        Ok(()) => {
            findings.good("store", format!("A record of grant {name} can be saved as {}.", store.place()))
        }
        Err(error) => {
            let us = rustix::process::geteuid().as_raw();
            let sentence =
                format!("{error}. This was tried as user {us}, who is to be the one that runs bearerd.");
            findings.bad("store", Blame::Setup, error::Code::StoreUnavailable.word(), sentence);
        }
    }
    match store.peek().await {
        Ok(record) => rests(params, record, findings).await,
        Err(error) => findings.not_tried("record", &of, &error.to_string()),
    }
}

/// The record that a start would go on with, if there is one.
pub(super) async fn record(params: &Params, config: &Config) -> Option<Record> {
    let record = store::open(&config.store, &params.name).ok()?.peek().await.ok()?;
    let seed = seed(params).await;
    match lineage::decide(record, &params.identity(), seed.as_ref(), params.needs_refresh_token()) {
        Ok(Line::Rests(record)) => Some(record),
        _ => None,
    }
}

/// What a start would go on with.
async fn rests(params: &Params, record: Option<Record>, findings: &mut Findings) {
    let needs_refresh_token = params.needs_refresh_token();
    let (refused, name) = (record.as_ref().is_some_and(Record::is_refused), &params.name);
    match lineage::decide(record, &params.identity(), seed(params).await.as_ref(), needs_refresh_token) {
        Err(error) if error.class == Class::Misconfigured => findings.refused("record", &error),
        Err(error) => {
            let sentence = format!("Nobody is signed in to grant {name}. {}", error.sentence);
            findings.warning("record", error.code.word(), sentence);
        }
        Ok(Line::Rests(_)) if refused => {
            let sentence = format!(
                "The authorization server has refused the refresh token of grant {name} that rests. Sign in again with \
                 `bearerd login`, or provide a new seed."
            );
            findings.warning("record", error::Code::GrantRejected.word(), sentence);
        }
        Ok(Line::Rests(_)) => {
            findings.good("record", format!("Grant {name} rests there, of this issuer and client."))
        }
        Ok(Line::Begins(_)) if needs_refresh_token => {
            findings.good("record", format!("Grant {name} will begin with the configured refresh token."));
        }
        Ok(Line::Begins(_)) => findings.good("record", format!("Grant {name} needs none.")),
    }
}

/// Not by running a command: that may cost something.
async fn seed(params: &Params) -> Option<RefreshToken> {
    let Flow::RefreshToken { seed: Some(reference) } = &params.flow else { return None };
    let reference = Some(reference.clone()).filter(|reference| reference.can_be_watched())?;
    tokio::task::spawn_blocking(move || reference.read_refresh_token().ok()).await.ok().flatten()
}

/// Whether callers, people and machines will come in.
pub(super) fn ways_in(config: &Config, beside: &Beside, findings: &mut Findings) {
    for listen in &config.listen {
        way_in("listen", "proxy", "listen", listen, beside, false, findings);
        let hosts = config.proxy.routes.iter().filter_map(|route| route.host.clone());
        let_through(listen, &config.proxy.guard, hosts, findings);
    }
    let admin = &config.admin;
    match &admin.listen {
        Some(listen) => {
            way_in("admin", "admin", "admin.listen", listen, beside, admin.listen_is_default, findings);
        }
        None => findings.good("admin", "The admin listener is off."),
    }
    if let Some(listen) = &admin.probes {
        way_in("probes", "probes", "probes.listen", listen, beside, false, findings);
    }
}

/// Whether an address is free, or held by the bearerd that runs.
fn way_in(
    check: &'static str,
    listener: &str,
    key: &str,
    listen: &Listen,
    beside: &Beside,
    is_optional: bool,
    findings: &mut Findings,
) {
    if let Beside::Runs(listening) = beside
        && let Some((_, address)) = listening.iter().find(|(of, at)| of == listener && is_at(listen, at))
    {
        return findings.good(check, format!("The bearerd that runs listens on {address}."));
    }
    let error = match listen {
        Listen::Inherited(name) => {
            return findings.not_tried(
                check,
                &format!("fd:{name}"),
                "systemd hands that socket over at the start",
            );
        }
        Listen::Tcp { port: 0, .. } => {
            return findings.good(check, format!("{listen} takes any port that is free."));
        }
        Listen::Tcp { .. } | Listen::Unix(_) => match free(listen) {
            Ok(()) => return findings.good(check, format!("{listen} is free.")),
            Err(error) => error,
        },
    };
    let is_taken = error.kind() == io::ErrorKind::AddrInUse;
    if let (true, Beside::Unseen(why)) = (is_taken, beside) {
        let sentence = format!(
            "Something listens on {listen}, perhaps the bearerd that runs with this configuration ({why}). If it is another \
             program, end that one, or let `{key}` name another address."
        );
        return findings.warning(check, Code::AddressTaken.word(), sentence);
    }
    let code = if is_taken { Code::AddressTaken.word() } else { Code::AddressUnusable.word() };
    let cure = if is_taken {
        let other = match beside {
            Beside::Not(why) if check == "admin" => format!(" ({why})"),
            _ => String::new(),
        };
        format!("Another program listens there{other}: end that one, or let `{key}` name another address.")
    } else {
        format!("Let `{key}` name an address that this user may listen on.")
    };
    let sentence = format!("bearerd cannot listen on {listen}: {error}. {cure}");
    if is_optional {
        findings.warning(check, code, format!("{sentence} It is the default, so bearerd starts without it."));
    } else {
        findings.bad(check, Blame::Setup, code, sentence);
    }
}

/// Whether an address could be listened on; what was bound to find out is free again.
fn free(listen: &Listen) -> io::Result<()> {
    match listen {
        Listen::Unix(path) => free_socket(path),
        _ => listener::bind(listen).map(drop),
    }
}

/// Whether a bound address is of this entry: a name stands for several.
fn is_at(listen: &Listen, bound: &str) -> bool {
    match listen {
        Listen::Tcp { port: 0, .. } | Listen::Inherited(_) => true,
        Listen::Tcp { port, .. } => bound.rsplit(':').next() == Some(&port.to_string()),
        Listen::Unix(_) => listen.to_string() == bound,
    }
}

/// Whether a socket's file can be made, without making it: one that nobody answers on is replaced.
#[cfg(unix)]
fn free_socket(path: &std::path::Path) -> io::Result<()> {
    use rustix::fs::Access;
    listener::is_left_over(path)?;
    let folder =
        path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(std::path::Path::new("."));
    Ok(rustix::fs::access(folder, Access::WRITE_OK | Access::EXEC_OK)?)
}

#[cfg(not(unix))]
fn free_socket(_: &std::path::Path) -> io::Result<()> {
    Err(io::Error::from(io::ErrorKind::Unsupported))
}

/// Whether a caller that names what is listened on gets past the guard.
fn let_through(
    listen: &Listen,
    params: &guard::Params,
    route_hosts: impl Iterator<Item = String>,
    findings: &mut Findings,
) {
    let host = match listen {
        Listen::Tcp { host, .. } if host == "0.0.0.0" || host == "::" => "localhost".to_owned(),
        Listen::Tcp { host, .. } if host.contains(':') => format!("[{host}]"),
        Listen::Tcp { host, .. } => host.clone(),
        Listen::Unix(_) | Listen::Inherited(_) => "localhost".to_owned(),
    };
    let Ok(request) = http::Request::get("/").header(HOST, &host).body(()) else { return };
    let (head, ()) = request.into_parts();
    match Guard::new(params, route_hosts).admit(&head) {
        Ok(_) => findings.good("guard", format!("Callers that ask for {host} are let through.")),
        Err(_) => {
            let sentence = format!(
                "Callers that ask for {host} on {listen} are refused: `guard.allowed_hosts` names only {}. Add it, unless all \
                 callers use one of these.",
                params.allowed_hosts.join(", ")
            );
            findings.warning("guard", crate::proxy::error::Code::HostNotAllowed.word(), sentence);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_address_is_known_by_its_port_or_its_path() {
        let tcp = Listen::Tcp { host: "localhost".to_owned(), port: 80 };
        assert!(is_at(&tcp, "127.0.0.1:80") && is_at(&tcp, "[::1]:80") && !is_at(&tcp, "127.0.0.1:8080"));
        let unix = Listen::Unix("/run/a".into());
        assert!(is_at(&unix, "unix:/run/a") && !is_at(&unix, "unix:/run/ab"));
    }
}
