//! Authgear's answers: their headers in the order in which Go writes them, and their bodies.

use serde_json::{Map, Value, json};

use super::super::{Shared, now};
use crate::support::authorization_server::connection::Request;
use crate::support::http::{Answer, Head, form_decode};
use crate::support::random;

/// From this many bytes on a body goes out in chunks: what fits into Go's buffer gets a length.
const CHUNKED_ABOVE: usize = 2048;

/// Long and constant; the features are not the observed ones, of which only the first was noted.
const PERMISSIONS_POLICY: &str = "accelerometer=(), autoplay=(), camera=(), display-capture=(), \
    encrypted-media=(), fullscreen=(), geolocation=(), gyroscope=(), magnetometer=(), microphone=(), midi=(), \
    payment=(), picture-in-picture=(), screen-wake-lock=(), sync-xhr=(), usb=(), xr-spatial-tracking=()";

/// The headers that nearly every answer wears.
pub(in super::super) struct Dress {
    nonce: String,
    cookie: bool,
    secure: bool,
    web_origin: Option<String>,
}

impl Dress {
    pub(in super::super) fn of(shared: &Shared, head: &Head) -> Self {
        let cookies = head.header("cookie").unwrap_or_default();
        let origin = head.header("origin").map(str::to_owned);
        Self {
            nonce: random::alphanumeric(32),
            cookie: !cookies.split(';').any(|cookie| cookie.trim().starts_with("csp_nonce=")),
            secure: shared.issuer.starts_with("https:"),
            web_origin: origin.filter(|origin| shared.options.web_origins.contains(origin)),
        }
    }

    /// An OAuth error.
    pub(super) fn error(&self, status: u16, error: &str, description: &str) -> Answer {
        self.json(status, &json!({ "error": error, "error_description": description }))
    }

    /// The bucket is empty. There is no `Retry-After`.
    pub(super) fn rate_limited(&self) -> Answer {
        self.error(429, "x_rate_limited", "rate limit exceeded, please try again later.")
    }

    /// A body that may not be stored anywhere.
    pub(super) fn json(&self, status: u16, body: &Value) -> Answer {
        let mut answer = Answer::new(status, format!("{body}\n"));
        answer.chunked = answer.body.len() > CHUNKED_ABOVE;
        let more =
            [("Cache-Control", "no-store"), ("Content-Type", "application/json"), ("Pragma", "no-cache")];
        self.on(answer, &more)
    }

    /// Go's `http.Error`.
    pub(super) fn plain(&self, status: u16, text: &str) -> Answer {
        self.on(Answer::new(status, format!("{text}\n")), &[("Content-Type", "text/plain; charset=utf-8")])
    }

    /// An answer with nothing but the dress.
    pub(super) fn bare(&self, answer: Answer) -> Answer {
        self.on(answer, &[])
    }

    /// Puts the common headers and `more` on, sorted as Go sorts them, and the date after them.
    pub(super) fn on(&self, mut answer: Answer, more: &[(&str, &str)]) -> Answer {
        let nonce = &self.nonce;
        let policy = format!(
            "script-src 'self' https: 'nonce-{nonce}' 'strict-dynamic'; object-src 'none'; base-uri 'none'; \
             frame-ancestors 'none'"
        );
        let attributes = if self.secure { "; Secure; SameSite=None" } else { "" };
        let cookie = format!("csp_nonce={nonce}; Path=/; HttpOnly{attributes}");
        let mut headers = vec![
            ("Content-Security-Policy", policy.as_str()),
            ("Permissions-Policy", PERMISSIONS_POLICY),
            ("Vary", "User-Agent"),
            ("Vary", "Origin"),
            ("X-Content-Type-Options", "nosniff"),
            ("X-Frame-Options", "DENY"),
            ("X-Robots-Tag", "noindex, nofollow"),
        ];
        if self.cookie {
            headers.push(("Set-Cookie", &cookie));
        }
        if let Some(origin) = &self.web_origin {
            headers.push(("Access-Control-Allow-Credentials", "true"));
            headers.push(("Access-Control-Allow-Origin", origin));
            headers.push(("Access-Control-Max-Age", "900"));
        }
        headers.extend_from_slice(more);
        headers.sort_by_key(|(name, _)| *name); // stable: the two Vary stay as they are
        let owned = headers.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
        answer.headers = owned.collect();
        dated(answer)
    }
}

fn dated(answer: Answer) -> Answer {
    let date = httpdate::fmt_http_date(std::time::UNIX_EPOCH + now().wall);
    answer.with("Date", date)
}

pub(super) fn discovery(issuer: &str, dress: &Dress) -> Answer {
    let at = |path: &str| format!("{issuer}{path}");
    let document = json!({
        "authorization_endpoint": at("/oauth2/authorize"),
        "claims_supported": [
            "iss", "aud", "iat", "exp", "sub", "email", "email_verified", "phone_number", "phone_number_verified",
            "preferred_username", "family_name", "given_name", "middle_name", "name", "nickname", "picture", "profile",
            "website", "gender", "birthdate", "zoneinfo", "locale", "address", "updated_at",
        ],
        "code_challenge_methods_supported": ["S256"],
        "dpop_signing_alg_values_supported": ["ES256", "RS256"],
        "end_session_endpoint": at("/oauth2/end_session"),
        "grant_types_supported": ["authorization_code", "refresh_token", "client_credentials"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "issuer": issuer,
        "jwks_uri": at("/oauth2/jwks"),
        "response_modes_supported": ["query", "fragment", "form_post"],
        "response_types_supported": ["code", "urn:authgear:params:oauth:response-type:settings-action", "none"],
        "revocation_endpoint": at("/oauth2/revoke"),
        "scopes_supported": [
            "offline_access", "device_sso", "openid", "profile", "email", "address", "phone",
            "https://authgear.com/scopes/full-access", "https://authgear.com/scopes/full-userinfo",
            "https://authgear.com/scopes/pre-authenticated-url",
        ],
        "subject_types_supported": ["public"],
        "token_endpoint": at("/oauth2/token"),
        "token_endpoint_auth_methods_supported": ["none", "client_secret_post", "client_secret_basic"],
        "userinfo_endpoint": at("/oauth2/userinfo"),
    });
    let cors = [
        ("Access-Control-Allow-Origin", "*"),
        ("Access-Control-Max-Age", "900"),
        ("Content-Type", "application/json"),
    ];
    dress.on(Answer::new(200, format!("{document}\n")), &cors)
}

/// Go's redirect: a page for GET, nothing for POST.
pub(super) fn redirect(head: &Head, location: &str) -> Answer {
    let answer = Answer::new(307, "");
    if head.method() != "GET" {
        return dated(answer.with("Location", location));
    }
    let page = format!("<a href=\"{location}\">Temporary Redirect</a>.\n\n");
    let answer = Answer::new(307, page).with("Content-Type", "text/html; charset=utf-8");
    dated(answer.with("Location", location))
}

pub(super) fn method_not_allowed(allow: &str) -> Answer {
    let answer = Answer::new(405, "Method Not Allowed\n").with("Allow", allow);
    let answer = answer.with("Content-Type", "text/plain; charset=utf-8");
    dated(answer.with("X-Content-Type-Options", "nosniff"))
}

pub(super) fn no_such_app() -> Answer {
    api_error("NotFound", "ResourceNotFound", "specified resource is not configured", 404, true)
}

pub(super) fn not_found() -> Answer {
    api_error("NotFound", "ResourceNotFound", "specified resource is not configured", 404, false)
}

/// 500 as when PostgreSQL is down: `error` is an object, and nothing forbids to store it.
pub(super) fn unexpected_error(dress: &Dress) -> Answer {
    let answer = api_error("InternalError", "UnexpectedError", "unexpected error occurred", 500, true);
    dress.on(Answer::new(500, answer.body), &[("Content-Type", "application/json")])
}

fn api_error(name: &str, reason: &str, message: &str, code: u16, tracked: bool) -> Answer {
    let mut error = Map::new();
    error.insert("name".to_owned(), json!(name));
    error.insert("reason".to_owned(), json!(reason));
    error.insert("message".to_owned(), json!(message));
    error.insert("code".to_owned(), json!(code));
    if tracked {
        error.insert("tracking_id".to_owned(), json!(format!("{}-{}", random::hex(32), random::hex(16))));
    }
    let body = format!("{}\n", json!({ "error": error }));
    dated(Answer::new(code, body).with("Content-Type", "application/json"))
}

pub(super) fn userinfo(dress: &Dress) -> Answer {
    let body = format!("{}\n", json!({ "sub": "the-user" }));
    dress.on(Answer::new(200, body), &[("Content-Type", "application/json")])
}

pub(super) fn invalid_session(dress: &Dress) -> Answer {
    let challenge = "Bearer error=\"invalid_grant\", error_description=\"invalid session\"";
    let body = "{\"error\":\"invalid_grant\",\"error_description\":\"invalid session\"}\n";
    let more = [("Content-Type", "text/plain; charset=utf-8"), ("Www-Authenticate", challenge)];
    dress.on(Answer::new(401, body), &more)
}

/// The parameters as Go's `ParseForm` sees them: the body's before the query's.
pub(super) struct Form {
    body: Vec<(String, String)>,
    query: Vec<(String, String)>,
}

impl Form {
    /// Reads them, or says in Go's words why not.
    pub(super) fn of(request: &Request<'_>) -> Result<Self, String> {
        let content_type = request.head.header("content-type").unwrap_or_default();
        let kind = content_type.split(';').next().unwrap_or_default().trim();
        if kind.contains(char::is_whitespace) {
            return Err("mime: unexpected content after media subtype".to_owned());
        }
        let is_form = kind.eq_ignore_ascii_case("application/x-www-form-urlencoded");
        let body = match request.body {
            Some(body) if is_form => parse(&String::from_utf8_lossy(body))?,
            None if is_form => return Err("http: request body too large".to_owned()),
            _ => Vec::new(),
        };
        Ok(Self { body, query: parse(request.head.query())? })
    }

    /// The first value of a parameter; an empty one is none.
    pub(super) fn first(&self, name: &str) -> Option<&str> {
        let mut pairs = self.body.iter().chain(&self.query);
        let found = pairs.find(|(given, _)| given == name).map(|(_, value)| value.as_str());
        found.filter(|value| !value.is_empty())
    }
}

fn parse(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut pairs = Vec::new();
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        if pair.contains(';') {
            return Err("invalid semicolon separator in query".to_owned());
        }
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        pairs.push((unescape(name)?, unescape(value)?));
    }
    Ok(pairs)
}

/// Undoes form encoding as Go does, which quotes up to three bytes of an escape that is none.
pub(super) fn unescape(text: &str) -> Result<String, String> {
    for (at, _) in text.match_indices('%') {
        let digits = text.as_bytes().get(at + 1..at + 3).unwrap_or_default();
        if digits.len() < 2 || !digits.iter().all(u8::is_ascii_hexdigit) {
            let shown: String = text[at..].chars().take(3).collect();
            return Err(format!("invalid URL escape \"{shown}\""));
        }
    }
    Ok(form_decode(text))
}
