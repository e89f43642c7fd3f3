//! What is answered on which path.

use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue};
use http::header::{REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{Either, Full};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::action::{self, Action};
use super::events::Events;
use super::health::{self, Health};
use super::server::Patience;
use super::{IDENTITY, Overview, Role, page, report, requests};
use crate::metrics;
use crate::proxy::error::{Code, ProxyError};
use crate::proxy::guard::Admission;

const TEXT: &str = "text/plain; charset=utf-8";

/// Most answers are whole; one has no end.
pub(super) type Body = Either<Full<Bytes>, Events>;

/// Where an answer is given.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) overview: Arc<ArcSwap<Overview>>,
    pub(super) role: Role,
    /// Of those who are told what changes.
    pub(super) events: Arc<Semaphore>,
}

/// The answer to a request. HEAD is answered like GET; who writes it leaves the body out.
pub(super) async fn answer<B>(place: &Place, request: Request<B>, patience: &Patience) -> Response<Body>
where
    B: hyper::body::Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (head, body) = request.into_parts();
    let (overview, role) = (&place.overview.load_full(), place.role);
    let action = if role == Role::Admin { Action::at(head.uri.path()) } else { None };
    let mut response = match (action, refused(overview, role, &head)) {
        (_, Some(refusal)) => whole_body(refusal),
        (Some(action), None) if head.method == Method::POST => {
            whole_body(action::act(overview, action, &head, body, patience).await)
        }
        (Some(_), None) => whole_body(not_with(&head, "POST")),
        (None, None)
            if role == Role::Admin && head.method == Method::GET && head.uri.path() == "/api/v1/events" =>
        {
            events(place, patience)
        }
        (None, None) => whole_body(found(overview, role, &head).await),
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
        Err(refusal) => Some(turned_away(head, refusal)),
    }
}

/// The guard's refusal in words that hold here: most of its own are about the proxy.
fn turned_away(head: &Parts, refusal: ProxyError) -> Response<Bytes> {
    let (code, sentence) = (refusal.code(), refusal.detail());
    let mut answer = match code {
        Code::OriginNotAllowed if is_followed_link(head) => html(
            code.status(),
            page::notice("Another site's link led here", LED_HERE, "Open the status page"),
        ),
        Code::OriginNotAllowed => problem(code.status(), code.word(), FOREIGN_PAGE),
        Code::HostNotAllowed => problem(code.status(), code.word(), FOREIGN_HOST),
        _ => problem(code.status(), code.word(), sentence),
    };
    for (name, value) in refusal.into_response().headers() {
        answer.headers_mut().entry(name).or_insert(value.clone());
    }
    answer
}

const LED_HERE: &str = "bearerd shows nothing to who comes from another site, in case that site means to play tricks. If \
                        you meant to come here, go on.";

const FOREIGN_PAGE: &str = "A page of another site asked: here only bearerd's own page and programs are answered. Type \
                            the address into the browser, or bookmark it.";

const FOREIGN_HOST: &str = "The request's Host is no name of this listener's: `localhost`, `127.0.0.1`, `[::1]`, and what \
                            `guard.allowed_hosts` lists.";

/// Whether a person has followed a link to the status page; a frame or a script would say so.
fn is_followed_link(head: &Parts) -> bool {
    let says = |name: &str, is: &str| head.headers.get(name).is_some_and(|value| value == is);
    head.method == Method::GET
        && head.uri.path() == "/"
        && says("sec-fetch-mode", "navigate")
        && says("sec-fetch-dest", "document")
}

async fn found(overview: &Overview, role: Role, head: &Parts) -> Response<Bytes> {
    let is_read = matches!(head.method, Method::GET | Method::HEAD);
    match at(head.uri.path(), role) {
        Some(Found::At(answer)) if is_read => answer(overview),
        Some(Found::Page) if is_read => {
            let view = page::View::of(overview).await;
            html(StatusCode::OK, page::page(&view, head.uri.query()))
        }
        Some(Found::Requests) if is_read => {
            let latest = overview.requests.latest().await;
            json(StatusCode::OK, &requests::report(overview.requests.kept(), &latest))
        }
        Some(Found::Events) => not_with(head, "GET"),
        Some(_) => not_with(head, "GET, HEAD"),
        None if is_api(head) => {
            problem(StatusCode::NOT_FOUND, "no_such_page", "There is nothing at this path.")
        }
        None => whole(StatusCode::NOT_FOUND, TEXT, "no such page\n".to_owned()),
    }
}

/// What is told as it changes, if there is room for one more who listens.
fn events(place: &Place, patience: &Patience) -> Response<Body> {
    let Ok(permit) = Arc::clone(&place.events).try_acquire_owned() else {
        let sentence = "So many pages are open that no more can be told what changes: close some of them.";
        return whole_body(problem(StatusCode::SERVICE_UNAVAILABLE, "overloaded", sentence));
    };
    let empty = whole(StatusCode::OK, "text/event-stream", String::new());
    patience.goes_on();
    empty.map(|_| Either::Right(Events::begin(Arc::clone(&place.overview), patience.clone(), permit)))
}

fn whole_body(response: Response<Bytes>) -> Response<Body> {
    response.map(|body| Either::Left(Full::new(body)))
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

/// An answer for people.
pub(super) fn html(status: StatusCode, page: String) -> Response<Bytes> {
    whole(status, "text/html; charset=utf-8", page)
}

/// An answer without a body.
pub(super) fn bare(status: StatusCode) -> Response<Bytes> {
    whole(status, TEXT, String::new())
}

/// What can be read.
enum Found {
    At(fn(&Overview) -> Response<Bytes>),
    Page,
    Requests,
    /// For GET alone, which has been answered already.
    Events,
}

/// What is at `path`; the four of a machine are on both listeners.
fn at(path: &str, role: Role) -> Option<Found> {
    Some(match (path, role) {
        ("/livez", _) => Found::At(|overview| verdict(health::live(overview))),
        ("/readyz", _) => Found::At(|overview| verdict(health::ready(overview))),
        ("/startupz", _) => Found::At(|overview| verdict(health::started(overview))),
        ("/metrics", _) => Found::At(|overview| {
            let text = metrics::scrape(&overview.shards, overview.snapshots(), overview.started);
            whole(StatusCode::OK, metrics::CONTENT_TYPE, text)
        }),
        ("/", Role::Admin) => Found::Page,
        ("/icon.svg", Role::Admin) => {
            Found::At(|_| whole(StatusCode::OK, "image/svg+xml", page::ICON.to_owned()))
        }
        ("/api/v1/status", Role::Admin) => {
            Found::At(|overview| json(StatusCode::OK, &report::status(overview)))
        }
        ("/api/v1/requests", Role::Admin) => Found::Requests,
        ("/api/v1/events", Role::Admin) => Found::Events,
        _ => return None,
    })
}

fn verdict(health: Health) -> Response<Bytes> {
    let status = if health.good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    whole(status, TEXT, health.body)
}

/// An answer that nobody keeps, frames, sniffs or runs.
fn whole(status: StatusCode, content_type: &'static str, body: String) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status;
    let fixed: [(HeaderName, &'static str); 5] = [
        (CONTENT_TYPE, content_type),
        (CACHE_CONTROL, "no-store"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
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
