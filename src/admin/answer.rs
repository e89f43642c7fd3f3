//! What is answered on which path. Pure but for the clock in the overview.

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue};
use http::header::{REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use http::request::Parts;
use http::{Method, Response, StatusCode};

use super::health::{self, Health};
use super::{IDENTITY, Overview, Role, page, report};
use crate::metrics;
use crate::proxy::guard::Admission;

const TEXT: &str = "text/plain; charset=utf-8";

/// The answer to `head`. HEAD is answered like GET; who writes it leaves the body out.
pub(super) fn answer(overview: &Overview, role: Role, head: &Parts) -> Response<Bytes> {
    let mut response = unnamed(overview, role, head);
    if let Ok(identity) = HeaderValue::try_from(&overview.identity) {
        response.headers_mut().insert(IDENTITY, identity);
    }
    response
}

fn unnamed(overview: &Overview, role: Role, head: &Parts) -> Response<Bytes> {
    if role == Role::Admin {
        match overview.guard.admit(head) {
            Ok(Admission::Answer(answer)) => return answer,
            Ok(Admission::Forward(..)) => {}
            Err(refusal) => return refusal.into_response(),
        }
    }
    let Some(answer) = at(head.uri.path(), role) else {
        return whole(StatusCode::NOT_FOUND, TEXT, "no such page\n".to_owned());
    };
    if !matches!(head.method, Method::GET | Method::HEAD) {
        let mut refusal = whole(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET and HEAD\n".to_owned());
        refusal.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refusal;
    }
    answer(overview)
}

/// What is at `path`; the four of a machine are on both listeners.
fn at(path: &str, role: Role) -> Option<fn(&Overview) -> Response<Bytes>> {
    match (path, role) {
        ("/livez", _) => Some(|overview| verdict(health::live(overview))),
        ("/readyz", _) => Some(|overview| verdict(health::ready(overview))),
        ("/startupz", _) => Some(|overview| verdict(health::started(overview))),
        ("/metrics", _) => Some(|overview| {
            let text = metrics::scrape(&overview.shards, overview.snapshots(), overview.started);
            whole(StatusCode::OK, metrics::CONTENT_TYPE, text)
        }),
        ("/", Role::Admin) => {
            Some(|overview| whole(StatusCode::OK, "text/html; charset=utf-8", page::page(overview)))
        }
        ("/api/v1/status", Role::Admin) => Some(|overview| {
            whole(StatusCode::OK, "application/json", format!("{:#}\n", report::status(overview)))
        }),
        _ => None,
    }
}

fn verdict(health: Health) -> Response<Bytes> {
    let status = if health.good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    whole(status, TEXT, health.body)
}

/// An answer that nobody keeps, frames, sniffs or runs.
fn whole(status: StatusCode, content_type: &'static str, body: String) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status;
    let fixed: [(HeaderName, &'static str); 4] = [
        (CONTENT_TYPE, content_type),
        (CACHE_CONTROL, "no-store"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
    ];
    for (name, value) in fixed {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    if let Ok(policy) = HeaderValue::try_from(page::policy()) {
        response.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    }
    response
}
