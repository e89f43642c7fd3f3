//! What the authorization endpoint thinks of a request, asked before any browser is: a server that does not take a redirect
//! URI shows that in the browser and never comes back. Pure.

use http::header::LOCATION;
use http::{HeaderValue, Uri};

use super::callback;
use crate::grant::wire::{Answer, ServerError, printable};

/// What an answer tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It would let somebody sign in, for all that can be seen.
    Fine,
    /// It refuses, and no browser would come back.
    Refused(Refusal),
    /// It cannot be told; says what was odd.
    Unclear(String),
}

/// What is refused, as far as that can be seen, and in which words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) cause: Cause,
    pub(super) said: ServerError,
}

/// What a refusal is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    RedirectUri,
    Client,
    /// It told that to the client in OAuth's own words.
    Told,
}

/// How much of a page is looked at.
const LOOKED_AT: usize = 64 * 1024;

/// Reads the answer to a request that comes back to `redirect_uri`.
pub(super) fn read(answer: &Answer, redirect_uri: &str) -> Verdict {
    let status = answer.status;
    if status.is_redirection() {
        let location = answer.headers.get(LOCATION).map(HeaderValue::as_bytes);
        let location = location.and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default();
        return redirected(location, redirect_uri);
    }
    let body = answer.body.get(..LOOKED_AT).unwrap_or(&answer.body);
    let text = String::from_utf8_lossy(body);
    if status.is_success() {
        // Entra has a page for it, with status 200.
        return entra(&text).map_or(Verdict::Fine, Verdict::Refused);
    }
    let refusal =
        status.is_client_error().then(|| refusal(&text, ANYBODYS.contains(&status.as_u16()))).flatten();
    refusal.map_or_else(|| Verdict::Unclear(format!("it answered {status}")), Verdict::Refused)
}

/// To us it comes only with an error; anywhere else there is a page to sign in on, or one that says what is wrong.
fn redirected(location: &str, redirect_uri: &str) -> Verdict {
    let (place, query) = location.split_once(['?', '#']).unwrap_or((location, ""));
    let told = callback::error_in(query);
    match told {
        // What `prompt=none` leads to, which nobody has to mind who is asked.
        Some(said) if place == redirect_uri && !said.error.ends_with("_required") => {
            Verdict::Refused(Refusal { cause: Cause::Told, said })
        }
        Some(said) if place != redirect_uri => Verdict::Unclear(format!("it leads to a page about {said}")),
        None if location.is_empty() => Verdict::Unclear("it redirects to nowhere".to_owned()),
        None if place.ends_with("/error") => Verdict::Unclear(match location.parse::<Uri>() {
            Ok(uri) => format!("it leads to {}", printable(uri.path())),
            Err(_) => "it leads to a page about an error".to_owned(),
        }),
        _ => Verdict::Fine,
    }
}

/// What a firewall says as often as the server does: of these only what is in OAuth's words is the server's.
const ANYBODYS: [u16; 4] = [401, 403, 407, 429];

/// A refusal in JSON, in Authgear's lines, or in a page; `is_anybodys` is one that may be of something in between.
fn refusal(text: &str, is_anybodys: bool) -> Option<Refusal> {
    let said = json(text).or_else(|| lines(text)).or_else(|| page(text))?;
    let whole =
        format!("{} {}", said.error, said.description.as_deref().unwrap_or_default()).to_ascii_lowercase();
    let names = |words: &[&str]| words.iter().any(|word| whole.contains(word));
    let cause = if names(&[
        "redirect_uri",
        "redirect uri",
        "redirect url",
        "redirect_url",
        "callback url",
        "reply url",
    ]) {
        Cause::RedirectUri
    } else if is_anybodys && !OAUTH.contains(&said.error.as_str()) {
        return None;
    } else if names(&CLIENT) {
        Cause::Client
    } else if OAUTH.contains(&said.error.as_str()) {
        Cause::Told
    } else {
        return None;
    };
    Some(Refusal { cause, said })
}

/// How servers say that they know no such client, or do not take it. No single word is enough: pages of anybody's speak of
/// clients and applications.
const CLIENT: [&str; 8] = [
    "client_id",
    "client id",
    "invalid_client",
    "unauthorized_client",
    "invalid client",
    "unknown client",
    "client not found",
    "client was not found",
];

/// The words of RFC 6749 §4.1.2.1 and of what builds on it that say that something is wrong with a request.
const OAUTH: [&str; 11] = [
    "invalid_request",
    "invalid_redirect_uri",
    "unauthorized_client",
    "access_denied",
    "unsupported_response_type",
    "invalid_scope",
    "invalid_client",
    "invalid_target",
    "invalid_request_uri",
    "invalid_request_object",
    "request_not_supported",
];

fn json(text: &str) -> Option<ServerError> {
    let members: serde_json::Map<String, serde_json::Value> = serde_json::from_str(text).ok()?;
    let text = |name: &str| members.get(name)?.as_str().map(printable).filter(|text| !text.is_empty());
    Some(ServerError {
        error: text("error")?,
        description: text("error_description").or_else(|| text("message")),
    })
}

/// As Authgear writes it: `error: …` and `error_description: …`, a line each.
fn lines(text: &str) -> Option<ServerError> {
    let find =
        |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).map(printable);
    Some(ServerError { error: find("error")?, description: find("error_description") })
}

/// The words that a person would read on a page, without those of its head.
fn page(text: &str) -> Option<ServerError> {
    let body = text.find("<body").and_then(|at| text.get(at..)).unwrap_or(text);
    let mut shown = String::new();
    let mut rest = body;
    while let Some(at) = rest.find('<') {
        shown.push_str(rest.get(..at).unwrap_or_default());
        shown.push(' ');
        let tag = rest.get(at..).unwrap_or_default();
        // What stands in these is for nobody to read.
        let end = ["script", "style", "svg"].iter().find_map(|name| {
            tag.get(1..)?.to_ascii_lowercase().starts_with(name).then(|| format!("</{name}"))
        });
        let end = end.and_then(|end| tag.to_ascii_lowercase().find(&end)).unwrap_or(0);
        let after = tag.get(end..).unwrap_or_default();
        rest = after.find('>').and_then(|close| after.get(close + 1..)).unwrap_or_default();
    }
    shown.push_str(rest);
    let words: Vec<&str> = shown.split_whitespace().collect();
    let known = |word: &&&str| OAUTH.contains(&word.trim_matches(|c: char| !c.is_ascii_alphanumeric()));
    let error = words
        .iter()
        .find(known)
        .map_or("a page", |word| word.trim_matches(|c: char| !c.is_ascii_alphanumeric()));
    let text = printable(&unescaped(&words.join(" ")));
    (!text.is_empty()).then(|| ServerError { error: error.to_owned(), description: Some(text) })
}

/// Characters that pages write in another way, so far as refusals have them.
fn unescaped(text: &str) -> String {
    let rows =
        [("&#39;", "'"), ("&#x27;", "'"), ("&quot;", "\""), ("&lt;", "<"), ("&gt;", ">"), ("&nbsp;", " ")];
    let text = rows.into_iter().fold(text.to_owned(), |text, (written, meant)| text.replace(written, meant));
    text.replace("&amp;", "&") // last, for it may write any of those
}

/// Entra's codes for what concerns us here (AADSTS).
fn entra(text: &str) -> Option<Refusal> {
    let rows = [
        ("AADSTS50011", Cause::RedirectUri, "the redirect URI is not registered with the application"),
        ("AADSTS500113", Cause::RedirectUri, "no redirect URI is registered with the application"),
        ("AADSTS700016", Cause::Client, "there is no such application in this directory"),
        ("AADSTS90002", Cause::Client, "there is no such directory"),
        ("AADSTS70011", Cause::Told, "a scope is not valid"),
        ("AADSTS650053", Cause::Told, "a scope does not exist"),
    ];
    let found = rows.into_iter().find(|(code, ..)| {
        text.match_indices(code).any(|(at, _)| {
            let next = text.get(at + code.len()..).and_then(|rest| rest.chars().next());
            next.is_none_or(|next| !next.is_ascii_digit())
        })
    });
    found.map(|(code, cause, means)| Refusal {
        cause,
        said: ServerError { error: code.to_owned(), description: Some(means.to_owned()) },
    })
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, StatusCode};
    use proptest::prelude::*;

    use super::*;

    const OURS: &str = "http://127.0.0.1:8976/callback";

    fn answered(status: u16, location: Option<&str>, body: &str) -> Verdict {
        let mut headers = HeaderMap::new();
        if let Some(location) = location.and_then(|location| HeaderValue::from_str(location).ok()) {
            headers.insert(LOCATION, location);
        }
        let status = StatusCode::from_u16(status).unwrap();
        read(&Answer { status, headers, body: body.as_bytes().to_vec().into(), complete: true }, OURS)
    }

    fn cause(verdict: &Verdict) -> Option<Cause> {
        if let Verdict::Refused(Refusal { cause, .. }) = verdict { Some(*cause) } else { None }
    }

    #[test]
    fn a_refusal_is_understood_in_every_form_that_servers_give_it() {
        let authgear = "Invalid OAuth authorization request:\nerror: invalid_request\nerror_description: redirect URI is not allowed\n";
        let keycloak = "<!DOCTYPE html><html><head><title>Sign in</title><style>a{b}</style></head><body><script>var client;</script>\
                        <h1>We are sorry...</h1><p class=\"i\">Invalid parameter: redirect_uri</p></body></html>";
        let doorkeeper = "<html><body><h1>An error has occurred</h1><pre>The redirect URI included is not valid.</pre></body></html>";
        let provider = r#"{"error":"invalid_redirect_uri","error_description":"redirect_uri did not match any of the client's registered redirect_uris"}"#;
        let unknown = "Invalid OAuth authorization request:\nerror: unauthorized_client\nerror_description: invalid client ID\n";
        for (status, body, expected) in [
            (400, authgear, Some(Cause::RedirectUri)),
            (400, keycloak, Some(Cause::RedirectUri)),
            (400, doorkeeper, Some(Cause::RedirectUri)),
            (400, provider, Some(Cause::RedirectUri)),
            (400, unknown, Some(Cause::Client)),
            (400, r#"{"error":"invalid_client"}"#, Some(Cause::Client)),
            (400, "<p>invalid_request</p>", Some(Cause::Told)),
            (200, "<title>Sign in</title> AADSTS50011: The redirect URI", Some(Cause::RedirectUri)),
            (200, "AADSTS500119", None),
            (200, "<form>redirect_uri invalid_request</form>", None),
            (403, "<h1>Are you a robot?</h1>", None),
            (400, "<p>Client not found.</p>", Some(Cause::Client)),
            (401, "<h1>Error 401: invalid_client</h1>The OAuth client was not found.", Some(Cause::Client)),
            (403, "<h1>Oops!</h1><pre>Callback URL mismatch.</pre>", Some(Cause::RedirectUri)),
            (403, "<center>403 Forbidden</center><hr>Microsoft-Azure-Application-Gateway/v2", None),
            (403, r#"{"error":"Forbidden","message":"this client_id may not come here"}"#, None),
            (407, "<h1>Your client has to sign in to the proxy</h1>", None),
            (429, r#"{"error":"x_rate_limited","error_description":"client_id"}"#, None),
            (400, "<h1>The application is being updated for this client</h1>", None),
            (500, authgear, None),
            (400, "", None),
        ] {
            assert_eq!(cause(&answered(status, None, body)), expected, "{status} {body}");
        }
        let Verdict::Refused(refusal) = answered(400, None, keycloak) else { panic!() };
        assert_eq!(refusal.said.to_string(), "`a page` (We are sorry... Invalid parameter: redirect_uri)");
        let page = "<body><h1>oops!</h1><pre><strong>error</strong>: invalid_redirect_uri</pre>\
                    <pre>did not match any of the client&#39;s &amp;lt;</pre></body>";
        let Verdict::Refused(refusal) = answered(400, None, page) else { panic!() };
        assert_eq!(
            refusal.said.to_string(),
            "`invalid_redirect_uri` (oops! error : invalid_redirect_uri did not match any of the client's &lt;)"
        );
    }

    #[test]
    fn a_redirect_leads_to_a_sign_in_unless_it_comes_back_with_an_error() {
        let back =
            format!("{OURS}?error=invalid_scope&error_description=must+request+%27openid%27+scope&state=st");
        let Verdict::Refused(refusal) = answered(303, Some(&back), "") else { panic!() };
        assert_eq!(
            (refusal.cause, refusal.said.to_string().as_str()),
            (Cause::Told, "`invalid_scope` (must request 'openid' scope)")
        );
        for fine in [
            "https://id.example/login?x=1",
            "/login",
            &format!("{OURS}?error=login_required"),
            &format!("{OURS}2?code=1"),
        ] {
            assert_eq!(answered(302, Some(fine), ""), Verdict::Fine, "{fine}");
        }
        for odd in ["https://id.example/u?error=bad", "https://id.example/oauth/error", ""] {
            assert!(matches!(answered(302, Some(odd), ""), Verdict::Unclear(_)), "{odd}");
        }
        assert!(matches!(answered(302, None, ""), Verdict::Unclear(_)));
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_panic_or_steers_a_terminal(
            status in 200_u16..600,
            location in proptest::option::of("[ -~]{0,60}|http://127.0.0.1:8976/callback[?#](error=[ -~]{0,20}&?){0,3}"),
            body in prop_oneof![
                "[ -~\u{1b}\u{80}-\u{10ffff}]{0,120}",
                "(<(script|style|b|/|)[ >]?|redirect_uri|error: |\u{1b}|client|\n|[<>ä]){0,30}",
            ],
        ) {
            match answered(status, location.as_deref(), &body) {
                Verdict::Refused(Refusal { said, .. }) => {
                    prop_assert!(!said.to_string().contains(char::is_control));
                    prop_assert!(status < 500, "what passes by itself ends no sign-in");
                }
                Verdict::Unclear(why) => prop_assert!(!why.contains(char::is_control)),
                Verdict::Fine => prop_assert!(status < 400),
            }
        }
    }
}
