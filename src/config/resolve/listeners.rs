//! `listen`, `[admin]` and `[probes]`: who can reach them, and that no two are the same.

use super::Context;
use crate::admin;
use crate::config::address::ListenOrOff;
use crate::config::error::{Code, Problem};
use crate::config::keys::{Admin, Probes};
use crate::config::value::{OneOrMore, Placed};
use crate::net::Listen;

/// `admin.listen` when nothing is written.
const ADMIN: (&str, u16) = ("127.0.0.1", 9901);
/// `listen` when nothing is written.
const LISTEN: (&str, u16) = ("localhost", 8080);

/// `admin.requests` when nothing is written.
const REQUESTS: usize = 200;

pub(super) fn resolve(
    listen: Option<Placed<OneOrMore<Listen>>>,
    Admin { listen: admin, requests, faulty: _ }: Admin,
    Probes { listen: probes, faulty: _ }: Probes,
    context: &mut Context<'_>,
) -> (Vec<Listen>, admin::Params) {
    let listen = listen.map_or_else(Vec::new, |listen| listen.value.0);
    for one in &listen {
        local_only("listen", "would let others on the network spend the token", one, context);
    }
    let admin_listen = present(&admin);
    if let Some(one) = &admin_listen {
        local_only("admin.listen", "would let others on the network control the token", one, context);
    }
    let probes_listen = present(&probes);
    distinct(listen.iter().chain(&admin_listen).chain(&probes_listen), context);
    let params = admin::Params {
        listen: if admin.is_none() { Some(tcp(ADMIN)) } else { admin_listen.map(|one| one.value) },
        listen_is_default: admin.is_none(),
        requests: requests.map_or(REQUESTS, |requests| requests.value.0),
        probes: probes_listen.map(|one| one.value),
    };
    let listen =
        if listen.is_empty() { vec![tcp(LISTEN)] } else { listen.into_iter().map(|one| one.value).collect() };
    (listen, params)
}

fn tcp((host, port): (&str, u16)) -> Listen {
    Listen::Tcp { host: host.to_owned(), port }
}

fn present(written: &Option<Placed<ListenOrOff>>) -> Option<Placed<Listen>> {
    let written = written.as_ref()?;
    Some(Placed { value: written.value.0.clone()?, place: written.place.clone() })
}

fn local_only(key: &str, why: &str, listen: &Placed<Listen>, context: &mut Context<'_>) {
    if listen.value.is_local() {
        return;
    }
    let port = match &listen.value {
        Listen::Tcp { port, .. } => *port,
        _ => 0,
    };
    let problem = Problem::new(Code::ExposedListener, &listen.place, format!("`{key}` {why}"));
    context.report.error(
        problem.label("reachable from other machines").help(format!(
            "write \"localhost:{port}\" or a Unix socket; other machines cannot be let in yet"
        )),
    );
}

/// The same address cannot be bound twice; port 0 is another port each time.
fn distinct<'a>(all: impl Iterator<Item = &'a Placed<Listen>>, context: &mut Context<'_>) {
    let mut seen: Vec<&Listen> = Vec::new();
    for Placed { value, place } in all {
        if let Some(other) = seen.iter().find(|other| overlap(other, value)) {
            let title = if *other == value {
                format!("two listeners have the same address {value}")
            } else {
                format!("two listeners have the same port: {other} and {value}")
            };
            context.report.error(
                Problem::new(Code::Contradiction, place, title).help("give each an address of its own"),
            );
        }
        seen.push(value);
    }
}

/// Whether only one of the two can be bound: the same, or one port on this machine by two names of it, or by one and all
/// of its addresses.
fn overlap(one: &Listen, other: &Listen) -> bool {
    let (Listen::Tcp { host, port }, Listen::Tcp { host: other_host, port: other_port }) = (one, other)
    else {
        return one == other;
    };
    let is_all = |host: &str| matches!(host, "0.0.0.0" | "::");
    let is_localhost = |host: &str| matches!(host, "localhost" | "127.0.0.1" | "::1");
    let one_is_the_name = |host: &str, other: &str| host == "localhost" && is_localhost(other);
    *port != 0
        && port == other_port
        && (host == other_host
            || is_all(host)
            || is_all(other_host)
            || one_is_the_name(host, other_host)
            || one_is_the_name(other_host, host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_bound_beside_each_other_is_told_from_what_can() {
        let at = |host: &str, port| Listen::Tcp { host: host.to_owned(), port };
        for (one, other, expected) in [
            (at("127.0.0.1", 8080), at("127.0.0.1", 8080), true),
            (at("127.0.0.1", 8080), at("0.0.0.0", 8080), true),
            (at("::", 8080), at("localhost", 8080), true),
            (at("localhost", 8080), at("::1", 8080), true),
            (at("127.0.0.1", 8080), at("::1", 8080), false),
            (at("127.0.0.1", 8080), at("10.0.0.1", 8080), false),
            (at("localhost", 8080), at("localhost", 8081), false),
            (at("localhost", 0), at("localhost", 0), false),
            (Listen::Unix("/a".into()), Listen::Unix("/a".into()), true),
            (Listen::Unix("/a".into()), at("localhost", 1), false),
        ] {
            assert_eq!((overlap(&one, &other), overlap(&other, &one)), (expected, expected), "{one} {other}");
        }
    }
}
