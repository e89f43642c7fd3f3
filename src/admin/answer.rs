//! What is answered on which path.

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue};
use http::header::{REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use hyper::body::Body;
use serde_json::{Value, json};

use super::action::{self, Action};
use super::health::{self, Health};
use super::server::Patience;
use super::{IDENTITY, Overview, Role, page, report};
use crate::metrics;
use crate::proxy::guard::Admission;

const TEXT: &str = "text/plain; charset=utf-8";

/// The answer to a request. HEAD is answered like GET; who writes it leaves the body out.
pub(super) async fn answer<B>(
    overview: &Overview,
    role: Role,
    request: Request<B>,
    patience: &Patience,
) -> Response<Bytes>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (head, body) = request.into_parts();
    let action = if role == Role::Admin { Action::at(head.uri.path()) } else { None };
    let mut response = match (action, refused(overview, role, &head)) {
        (_, Some(refusal)) => refusal,
        (Some(action), None) if head.method == Method::POST => {
            action::act(overview, action, &head, body, patience).await
        }
        (Some(_), None) => not_with(&head, "POST"),
        (None, None) => found(overview, role, &head),
    };
    if let Ok(identity) = HeaderValue::try_from(&overview.identity) {
        response.headers_mut().insert(IDENTITY, identity);
    }
    response
}

/// What the guard says before anything else, if it does not let the request go on.
fn refused(overview: &Overview, role: Role, head: &Parts) -> Option<Response<Bytes>> {
    match overview.guard.admit(head) {
        _ if role == Role::Probes => None,
        Ok(Admission::Answer(answer)) => Some(answer),
        Ok(Admission::Forward(..)) => None,
        Err(refusal) => Some(refusal.into_response()),
    }
}

fn found(overview: &Overview, role: Role, head: &Parts) -> Response<Bytes> {
    match at(head.uri.path(), role) {
        Some(answer) if matches!(head.method, Method::GET | Method::HEAD) => answer(overview),
        Some(_) => not_with(head, "GET, HEAD"),
        None if is_api(head) => {
            problem(StatusCode::NOT_FOUND, "no_such_page", "There is nothing at this path.")
        }
        None => whole(StatusCode::NOT_FOUND, TEXT, "no such page\n".to_owned()),
    }
}

fn is_api(head: &Parts) -> bool {
    head.uri.path().starts_with("/api/")
}

/// 405: something is there, for `allowed` methods.
fn not_with(head: &Parts, allowed: &'static str) -> Response<Bytes> {
    let status = StatusCode::METHOD_NOT_ALLOWED;
    let mut refusal = if is_api(head) {
        problem(status, "method_not_allowed", &format!("Only {allowed} is answered here."))
    } else {
        whole(status, TEXT, format!("only {allowed}\n"))
    };
    refusal.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    refusal
}

/// A code and a sentence, for programs.
pub(super) fn problem(status: StatusCode, code: &'static str, sentence: &str) -> Response<Bytes> {
    json(status, &json!({ "code": code, "sentence": sentence }))
}

/// An answer for programs.
pub(super) fn json(status: StatusCode, value: &Value) -> Response<Bytes> {
    whole(status, "application/json", format!("{value:#}\n"))
}

/// An answer without a body.
pub(super) fn bare(status: StatusCode) -> Response<Bytes> {
    whole(status, TEXT, String::new())
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
        ("/api/v1/status", Role::Admin) => Some(|overview| json(StatusCode::OK, &report::status(overview))),
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
        // Without it a form would come from no origin.
        (REFERRER_POLICY, "same-origin"),
    ];
    for (name, value) in fixed {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    if let Ok(policy) = HeaderValue::try_from(page::policy()) {
        response.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    }
    response
}
