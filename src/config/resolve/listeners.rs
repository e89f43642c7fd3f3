//! `listen`, `[admin]` and `[probes]`: who can reach them, and that no two are the same.

use super::Context;
use crate::admin;
use crate::config::address::ListenOrOff;
use crate::config::error::{Code, Place, Problem};
use crate::config::keys::{Admin, Probes};
use crate::config::value::{OneOrMore, Placed};
use crate::net::Listen;

/// `admin.listen` when nothing is written.
const ADMIN: (&str, u16) = ("127.0.0.1", 9901);
/// `listen` when nothing is written.
const LISTEN: (&str, u16) = ("localhost", 8080);

pub(super) fn resolve(
    listen: Option<Placed<OneOrMore<Listen>>>,
    Admin { listen: admin, faulty: _ }: Admin,
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
    let mut seen: Vec<(&Listen, &Place)> = Vec::new();
    for Placed { value, place } in all {
        let any_port = matches!(value, Listen::Tcp { port: 0, .. });
        if !any_port && seen.iter().any(|(other, _)| *other == value) {
            let title = format!("two listeners have the same address {value}");
            context.report.error(
                Problem::new(Code::Contradiction, place, title).help("give each an address of its own"),
            );
        }
        seen.push((value, place));
    }
}
