//! Which route a request takes. Pure.

use std::time::Duration;

use http::uri::PathAndQuery;
use http::{Method, Uri};

use super::error::{Code, ProxyError};
use super::guard::{self, Host};
use super::upstream;
use crate::token::{Credential, GrantName};

/// One `[[route]]`, or the one that a top-level `upstream` is short for.
#[derive(Clone, Debug, PartialEq)]
pub struct Params {
    /// `path`: begins with `/`; matches on segment boundaries.
    pub path: String,
    /// `host`: lower case, without port.
    pub host: Option<String>,
    /// Where it leads.
    pub upstream: upstream::Params,
    /// Whose token it takes.
    pub grant: GrantName,
    /// `header` and `scheme`.
    pub credential: Credential,
    /// `response_timeout`: until the upstream's head.
    pub response_timeout: Option<Duration>,
    /// `on_401`.
    pub on_401: OnUnauthorized,
    /// `methods`: others get 405; none allows any.
    pub methods: Option<Vec<Method>>,
}

/// `on_401`: what becomes of a request that the upstream answers with 401. In each case the token is doubted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnUnauthorized {
    /// It is sent once more with the next token: a 401 means that nothing was done.
    #[default]
    Replay,
    /// The same for methods that are safe (RFC 9110 §9.2.1), for upstreams that may have done something nevertheless.
    ReplaySafe,
    /// The caller gets the 401.
    Pass,
}

impl OnUnauthorized {
    /// Whether a request of this method is sent once more.
    #[must_use]
    pub fn replays(self, method: &Method) -> bool {
        match self {
            Self::Replay => true,
            Self::ReplaySafe => method.is_safe(),
            Self::Pass => false,
        }
    }
}

impl Params {
    /// Names the route in metrics: the path, with the host before it if there is one.
    #[must_use]
    pub fn label(&self) -> String {
        format!("{}{}", self.host.as_deref().unwrap_or_default(), self.path)
    }
}

/// The routes, in the order in which they are tried.
#[derive(Clone, Debug)]
pub struct Table {
    entries: Vec<Entry>,
    /// Some route has a path of its own, so a path chooses a grant and must be read by everybody alike.
    by_path: bool,
}

#[derive(Clone, Debug)]
struct Entry {
    index: usize,
    host: Option<String>,
    /// Without a trailing slash; empty for `/`.
    prefix: String,
    methods: Option<Vec<Method>>,
}

impl Table {
    /// Host before path, then the longest prefix.
    #[must_use]
    pub fn new(routes: &[Params]) -> Self {
        let mut entries: Vec<Entry> = routes.iter().enumerate().map(Entry::new).collect();
        entries.sort_by_key(|entry| (entry.host.is_none(), usize::MAX - entry.prefix.len()));
        Self { by_path: entries.iter().any(|entry| !entry.prefix.is_empty()), entries }
    }

    /// The index of the route that a request takes.
    ///
    /// # Errors
    /// 404 without one, 403 without one for a host that is allowed for its own routes alone, 405 when it does not take
    /// the method, 400 for a path that two readers could read differently.
    pub fn find(&self, host: &Host<'_>, method: &Method, path: &str) -> Result<usize, ProxyError> {
        if self.by_path && is_ambiguous(path) {
            let why = "The path holds dot segments, `%2f`, `%5c` or `\\`, and paths choose routes here.";
            return Err(ProxyError::new(Code::Malformed, why));
        }
        let entry = match self.entries.iter().find(|entry| entry.takes(host, path)) {
            Some(entry) => entry,
            None if host.of_routes => return Err(guard::host_not_allowed()),
            None => return Err(ProxyError::new(Code::NoRoute, "No route has this path and host.")),
        };
        match &entry.methods {
            Some(methods) if !methods.contains(method) => {
                Err(ProxyError::method_not_allowed(format!("This route does not take {method}."), methods))
            }
            _ => Ok(entry.index),
        }
    }
}

impl Entry {
    fn new((index, route): (usize, &Params)) -> Self {
        let prefix = route.path.trim_end_matches('/').to_owned();
        Self { index, host: route.host.clone(), prefix, methods: route.methods.clone() }
    }

    fn takes(&self, host: &Host<'_>, path: &str) -> bool {
        let host_fits = match &self.host {
            Some(wanted) => host.name.as_deref() == Some(wanted),
            None => !host.of_routes,
        };
        let rest = path.strip_prefix(self.prefix.as_str());
        host_fits && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || path == "*")
    }
}

/// Whether an upstream might resolve the path to another one than we read.
fn is_ambiguous(path: &str) -> bool {
    let lower = path.to_ascii_lowercase();
    let dots = |segment: &str| matches!(segment.replace("%2e", ".").as_str(), "." | "..");
    lower.contains("%2f") || lower.contains("%5c") || lower.contains('\\') || lower.split('/').any(dots)
}

/// The target for the upstream: with a path in `upstream` it replaces the route's prefix, without one the bytes pass
/// unchanged (P21). The query always does.
///
/// # Errors
/// 400 when what comes out is no target.
pub fn target(route: &Params, uri: &Uri) -> Result<PathAndQuery, ProxyError> {
    let asked = uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    if route.upstream.path.is_empty() || asked.path() == "*" {
        return Ok(asked);
    }
    let rest = asked.as_str().strip_prefix(route.path.trim_end_matches('/')).unwrap_or(asked.as_str());
    let replaced = format!("{}{rest}", route.upstream.path);
    PathAndQuery::try_from(replaced).map_err(|_| ProxyError::new(Code::Malformed, "The target is not one."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::upstream::{HttpVersion, Target};

    fn route(path: &str, host: Option<&str>, upstream_path: &str) -> Params {
        Params {
            path: path.to_owned(),
            host: host.map(str::to_owned),
            upstream: upstream::Params {
                target: Target::Plain { host: "localhost".to_owned(), port: 1 },
                path: upstream_path.to_owned(),
                http: HttpVersion::Match,
            },
            grant: GrantName::new("default"),
            credential: Credential::default(),
            response_timeout: None,
            on_401: OnUnauthorized::Replay,
            methods: None,
        }
    }

    fn found(table: &Table, host: &str, path: &str) -> Result<usize, &'static str> {
        let of_routes = host != "localhost";
        let host = Host { name: Some(host.into()), of_routes };
        table.find(&host, &Method::GET, path).map_err(|error| error.code().word())
    }

    #[test]
    fn the_longest_prefix_wins_on_segment_boundaries() {
        let table = Table::new(&[route("/", None, ""), route("/crm/", None, ""), route("/crm/v2", None, "")]);
        let rows = [
            ("/", 0),
            ("/crmx", 0),
            ("/crm", 1),
            ("/crm/", 1),
            ("/crm/v2", 2),
            ("/crm/v2x", 1),
            ("/crm/v2/x", 2),
        ];
        for (path, expected) in rows {
            assert_eq!(found(&table, "localhost", path), Ok(expected), "{path}");
        }
    }

    #[test]
    fn a_host_route_comes_before_any_path() {
        let table = Table::new(&[route("/a", None, ""), route("/", Some("api.internal"), "")]);
        assert_eq!(found(&table, "api.internal", "/a"), Ok(1));
        assert_eq!(found(&table, "localhost", "/a"), Ok(0));
        assert_eq!(found(&table, "localhost", "/b"), Err("no_route"));
        let table = Table::new(&[route("/", None, ""), route("/crm", Some("api.internal"), "")]);
        assert_eq!(found(&table, "api.internal", "/crm/1"), Ok(1));
        assert_eq!(
            found(&table, "api.internal", "/other"),
            Err("host_not_allowed"),
            "allowed for its route alone"
        );
    }

    #[test]
    fn where_paths_choose_routes_an_ambiguous_one_chooses_none() {
        let chosen = Table::new(&[route("/", None, ""), route("/crm", None, "")]);
        let paths = ["/crm/../x", "/crm/%2e%2E/x", "/./x", "/a%2fb", "/a%5Cb", "/a/.."];
        for path in paths {
            assert_eq!(found(&chosen, "localhost", path), Err("malformed"), "{path}");
            assert_eq!(found(&Table::new(&[route("/", None, "")]), "localhost", path), Ok(0), "{path}");
        }
        assert_eq!(found(&chosen, "localhost", "/crm/..x/.y/a.b"), Ok(1));
    }

    #[test]
    fn a_method_that_a_route_does_not_take_is_405() {
        let only = Params { methods: Some(vec![Method::GET]), ..route("/", None, "") };
        let refused =
            Table::new(&[only]).find(&Host { name: None, of_routes: false }, &Method::POST, "/").unwrap_err();
        assert_eq!(refused.into_response().headers()["allow"], "GET");
    }

    #[test]
    fn the_prefix_is_replaced_only_by_a_path() {
        let at = |route: &Params, uri: &str| target(route, &uri.parse().unwrap()).unwrap().to_string();
        let asked = "/crm/a//b/%2e?q=[1]|2&r=../x";
        assert_eq!(at(&route("/crm", None, ""), asked), asked, "byte for byte");
        assert_eq!(at(&route("/crm/", None, "/v2"), asked), "/v2/a//b/%2e?q=[1]|2&r=../x");
        assert_eq!(at(&route("/crm", None, "/v2"), "/crm?x"), "/v2?x");
        assert_eq!(at(&route("/", None, "/v2"), "/crm?x"), "/v2/crm?x");
    }
}
