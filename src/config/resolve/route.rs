//! The routes: `[[route]]`, or the one that a top-level `upstream` is short for.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Context, or};
use crate::config::address::Upstream;
use crate::config::error::{Code, Place, Problem, did_you_mean};
use crate::config::keys::{Carriage, Route};
use crate::config::value::Placed;
use crate::config::written::{Written, WrittenGrant, WrittenRoute};
use crate::proxy::route::OnUnauthorized;
use crate::proxy::{route, upstream};
use crate::token::{Credential, GrantName};

/// `response_timeout` when nothing is written.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(60);

pub(super) fn resolve(written: &Written, context: &mut Context<'_>) -> Vec<route::Params> {
    let routes = match (&written.root.upstream, written.routes.as_slice()) {
        (None, []) => {
            no_route(written, context);
            return Vec::new();
        }
        (None, routes) => routes.to_vec(),
        (Some(upstream), []) => vec![short_route(upstream)],
        (Some(upstream), routes) => {
            let title = "`upstream` is short for a single route, and there is a [[route]] as well";
            let help = "move it below a [[route]] of its own: path = \"/\"";
            context.report.error(Problem::new(Code::MixedShapes, &upstream.place, title).help(help));
            routes.to_vec()
        }
    };
    duplicates(&routes, context);
    unused(&routes, &written.grants, context);
    routes.into_iter().filter_map(|route| one(route, written, context)).collect()
}

fn no_route(written: &Written, context: &mut Context<'_>) {
    if ["upstream", "route"].iter().any(|key| written.root.faulty.contains(key)) {
        return;
    }
    let problem = Problem::new(
        Code::MissingKey,
        &Place::Nowhere,
        "there is no `upstream`: nowhere to forward requests to",
    );
    context.report.error(problem.help(
        "write upstream = \"https://api.example.com\" at the top of proxy.toml, or set BEARERD_UPSTREAM",
    ));
    // Without a route nothing else would tell.
    if written.grants.is_empty() {
        no_grant(&Place::Nowhere, written, context);
    }
}

fn no_grant(place: &Place, written: &Written, context: &mut Context<'_>) {
    if ["oauth", "grant"].iter().any(|section| written.root.faulty.contains(section)) {
        return;
    }
    let problem = Problem::new(Code::MissingKey, place, "there is no grant: nothing to get tokens with");
    context.report.error(problem.help("write [oauth] with `issuer` and `client_id`, or set BEARERD_OAUTH_ISSUER and BEARERD_OAUTH_CLIENT_ID"));
}

fn short_route(upstream: &Placed<Upstream>) -> WrittenRoute {
    WrittenRoute {
        place: upstream.place.clone(),
        route: Route { upstream: Some(upstream.clone()), ..Route::default() },
        carriage: Carriage::default(),
    }
}

fn one(written: WrittenRoute, all: &Written, context: &mut Context<'_>) -> Option<route::Params> {
    let WrittenRoute { place, route, carriage } = written;
    let Route { path, host, upstream, grant, faulty } = route;
    let Carriage {
        header,
        scheme,
        http,
        on_401,
        response_timeout,
        allow_plaintext_upstream,
        methods,
        faulty: _,
    } = above(carriage, &all.carriage);
    if upstream.is_none() && !faulty.contains(&"upstream") {
        let problem = Problem::new(Code::MissingKey, &place, "a [[route]] needs an `upstream`");
        context.report.error(problem.help("write upstream = \"https://api.example.com\" below it"));
    }
    let grant_name = known_grant(grant, &place, &faulty, all, context);
    let path = path.map_or_else(|| "/".to_owned(), |path| path.value.0);
    let upstream = upstream?;
    plaintext(&upstream, or(allow_plaintext_upstream, false), context);
    Some(route::Params {
        upstream: target(upstream, &path, or(http, upstream::HttpVersion::Match), context),
        path,
        host: host.map(|host| host.value.0),
        grant: grant_name,
        credential: credential(header, scheme),
        response_timeout: response_timeout.map_or(Some(RESPONSE_TIMEOUT), |span| span.value.0),
        on_401: or(on_401, OnUnauthorized::default()),
        methods: methods.map(|list| list.value.0.into_iter().map(|method| method.value).collect()),
    })
}

/// What a route says, else what the top level says.
fn above(route: Carriage, top: &Carriage) -> Carriage {
    let Carriage {
        header,
        scheme,
        http,
        on_401,
        response_timeout,
        allow_plaintext_upstream,
        methods,
        faulty,
    } = route;
    let top = top.clone();
    Carriage {
        header: header.or(top.header),
        scheme: scheme.or(top.scheme),
        http: http.or(top.http),
        on_401: on_401.or(top.on_401),
        response_timeout: response_timeout.or(top.response_timeout),
        allow_plaintext_upstream: allow_plaintext_upstream.or(top.allow_plaintext_upstream),
        methods: methods.or(top.methods),
        faulty,
    }
}

fn credential(
    header: Option<Placed<http::HeaderName>>,
    scheme: Option<Placed<crate::config::word::Scheme>>,
) -> Credential {
    let header = or(header, http::header::AUTHORIZATION);
    let scheme = scheme.map_or_else(|| "Bearer".to_owned(), |scheme| scheme.value.0);
    // A scheme that was read is legal: its characters are fewer than those that a header may have.
    Credential::new(header, &scheme).unwrap_or_default()
}

fn target(
    upstream: Placed<Upstream>,
    route_path: &str,
    http: upstream::HttpVersion,
    context: &mut Context<'_>,
) -> upstream::Params {
    let Upstream { target, path } = upstream.value;
    if path == "/" && route_path != "/" {
        let title = "a route's path cannot be replaced by `/` alone yet: that comes with a later version";
        let help = "remove the last `/`: the upstream then sees the path as the caller wrote it";
        context.report.error(Problem::new(Code::NotYet, &upstream.place, title).help(help));
    }
    upstream::Params { target, path: path.trim_end_matches('/').to_owned(), http }
}

fn plaintext(upstream: &Placed<Upstream>, allowed: bool, context: &mut Context<'_>) {
    if upstream.value.is_exposed() && !allowed {
        let title = "tokens would cross the network in plain text to this `upstream`";
        let help = "write https://, or allow_plaintext_upstream = true if the network is trusted";
        context.report.error(Problem::new(Code::PlaintextUpstream, &upstream.place, title).help(help));
    }
}

/// The route's grant; told when there is none of that name.
fn known_grant(
    written: Option<Placed<GrantName>>,
    route: &Place,
    faulty: &[&str],
    all: &Written,
    context: &mut Context<'_>,
) -> GrantName {
    let grants = &all.grants;
    let explicit = written.is_some();
    let (name, place) = match written {
        Some(Placed { value, place }) => (value, place),
        None => (GrantName::new(GrantName::DEFAULT), route.clone()),
    };
    if grants.contains_key(&name) || faulty.contains(&"grant") {
        return name;
    }
    if grants.is_empty() && !explicit {
        no_grant(&place, all, context);
        return name;
    }
    let near = did_you_mean(name.as_str(), grants.keys().map(GrantName::as_str));
    let names = grants.keys().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(" or ");
    let problem = Problem::new(Code::UnknownGrant, &place, format!("there is no grant `{name}`"));
    context.report.error(match near {
        Some(near) => problem.help(format!("did you mean \"{near}\"?")),
        None if grants.is_empty() => {
            problem.help(format!("write [grant.{name}] with `issuer` and `client_id`"))
        }
        None if explicit => problem.help(format!("write grant = {names}, or add [grant.{name}]")),
        None => problem
            .label("takes the grant `default`")
            .help(format!("write grant = {names} below a [[route]] of its own")),
    });
    name
}

fn unused(routes: &[WrittenRoute], grants: &BTreeMap<GrantName, WrittenGrant>, context: &mut Context<'_>) {
    let default = GrantName::new(GrantName::DEFAULT);
    let used = |name: &GrantName| {
        routes.iter().any(|route| route.route.grant.as_ref().map_or(&default, |grant| &grant.value) == name)
    };
    for (name, written) in grants.iter().filter(|(name, _)| !used(name)) {
        let problem =
            Problem::new(Code::UnusedGrant, &written.place, format!("no route uses the grant `{name}`"));
        context
            .report
            .warn(problem.help(format!("write grant = \"{name}\" below a [[route]], or remove it")));
    }
}

/// Two routes for the same requests: one of them would never be taken.
fn duplicates(routes: &[WrittenRoute], context: &mut Context<'_>) {
    let mut seen: Vec<(String, String)> = Vec::new();
    for WrittenRoute { place, route, .. } in routes {
        if route.faulty.contains(&"path") || route.faulty.contains(&"host") {
            continue;
        }
        let path = route.path.as_ref().map_or("", |path| path.value.0.trim_end_matches('/')).to_owned();
        let host = route.host.as_ref().map_or_else(String::new, |host| host.value.0.clone());
        if seen.contains(&(path.clone(), host.clone())) {
            let title = format!(
                "two routes serve the path `{path}/`{}{host}",
                if host.is_empty() { "" } else { " of " }
            );
            let help = "change the path or the host of one of them, or remove it";
            context.report.error(Problem::new(Code::DuplicateRoute, place, title).help(help));
        }
        seen.push((path, host));
    }
}
