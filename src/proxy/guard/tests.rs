//! Who is let in and who is not, as tables.

use http::Request;

use super::*;

/// Names and values, as a caller sends them.
type Fields<'a> = &'a [(&'a str, &'a str)];

fn head(method: &str, target: &str, fields: &[(&str, &str)]) -> Parts {
    let mut request = Request::builder().method(method).uri(target);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

fn code(guard: &Guard, head: &Parts) -> &'static str {
    match guard.admit(head) {
        Ok(Admission::Forward(_)) => "forward",
        Ok(Admission::Answer(_)) => "answer",
        Err(error) => error.code().word(),
    }
}

fn guard(browser: Browser, origins: &[&str]) -> Guard {
    let allowed_origins = origins.iter().map(ToString::to_string).collect();
    Guard::new(&Params { allowed_origins, browser, ..Params::default() }, ["api.internal".to_owned()])
}

#[test]
fn only_allowed_hosts_pass_with_any_port() {
    let guard = guard(Browser::Deny, &[]);
    for host in ["localhost", "LOCALHOST:8080", "127.0.0.1:1", "[::1]", "[::1]:65535", "api.internal"] {
        assert_eq!(code(&guard, &head("GET", "/", &[("host", host)])), "forward", "{host}");
    }
    for host in [
        "evil.example",
        "localhost.",
        "127.1",
        "0.0.0.0",
        "[::ffff:127.0.0.1]",
        "127.0.0.1.nip.io",
        "localhost.evil",
    ] {
        assert_eq!(code(&guard, &head("GET", "/", &[("host", host)])), "host_not_allowed", "{host}");
    }
    for host in [
        "",
        "a b",
        "u@localhost",
        "localhost/x",
        "localhost,evil",
        "[::1",
        "[::1]x",
        "localhost:8o",
        "localhost:999999",
        "localhost:1:2",
    ] {
        assert_eq!(code(&guard, &head("GET", "/", &[("host", host)])), "malformed", "{host:?}");
    }
}

#[test]
fn the_host_of_a_route_is_allowed_for_the_routes_of_that_host_alone() {
    let both = Params {
        allowed_hosts: vec!["localhost".to_owned(), "both.internal".to_owned()],
        ..Params::default()
    };
    let guard = Guard::new(&both, ["api.internal".to_owned(), "both.internal".to_owned()]);
    let rows = [("API.internal:80", true), ("localhost", false), ("both.internal", false)];
    for (name, expected) in rows {
        let head = head("GET", "/", &[("host", name)]);
        let Ok(Admission::Forward(host)) = guard.admit(&head) else { panic!("{name} is refused") };
        assert_eq!(host.of_routes, expected, "{name}");
    }
}

#[test]
fn a_request_names_one_host_and_its_target_agrees() {
    let guard = guard(Browser::Deny, &[]);
    let local = ("host", "localhost");
    let rows: [(&str, &str, Fields<'_>, &str); 12] = [
        ("GET", "/", &[], "malformed"),
        ("GET", "/", &[local, local], "malformed"),
        ("GET", "http://localhost/x", &[local], "forward"),
        ("GET", "http://evil.example/x", &[local], "malformed"),
        ("GET", "http://evil.example/x", &[("host", "evil.example")], "host_not_allowed"),
        ("GET", "ftp://localhost/x", &[local], "malformed"),
        ("GET", "localhost:80", &[local], "malformed"),
        ("GET", "*", &[local], "malformed"),
        ("OPTIONS", "*", &[local], "forward"),
        ("CONNECT", "localhost:80", &[local], "method_not_allowed"),
        ("TRACE", "/", &[local], "method_not_allowed"),
        ("FOO-BAR", "/", &[local], "forward"),
    ];
    for (method, target, fields, expected) in rows {
        assert_eq!(code(&guard, &head(method, target, fields)), expected, "{method} {target} {fields:?}");
    }
}

#[test]
fn http_2_names_its_host_in_the_authority() {
    let guard = guard(Browser::Deny, &[]);
    let with = |target: &str, fields: &[(&str, &str)]| {
        let mut head = head("GET", target, fields);
        head.version = Version::HTTP_2;
        code(&guard, &head)
    };
    assert_eq!(with("http://localhost/", &[]), "forward");
    assert_eq!(with("http://evil.example/", &[]), "host_not_allowed");
    assert_eq!(with("http://localhost/", &[("host", "evil.example")]), "malformed");
    assert_eq!(with("http://u@localhost/", &[]), "malformed");
    assert_eq!(with("/", &[]), "malformed");
}

#[test]
fn an_old_client_may_name_no_host() {
    let mut old = head("GET", "/", &[]);
    old.version = Version::HTTP_10;
    assert_eq!(code(&guard(Browser::Deny, &[]), &old), "forward");
    let mut stranger = head("GET", "http://evil.example/x", &[]);
    stranger.version = Version::HTTP_10;
    assert_eq!(code(&guard(Browser::Deny, &[]), &stranger), "host_not_allowed", "its target names one");
}

#[test]
fn web_pages_are_refused_unless_they_are_allowed() {
    let with = |browser, fields: &[(&str, &str)]| {
        let mut all = vec![("host", "localhost:8080")];
        all.extend_from_slice(fields);
        code(&guard(browser, &["https://app.example"]), &head("GET", "/", &all))
    };
    let (deny, same, off) = (Browser::Deny, Browser::SameOrigin, Browser::Off);
    let refused = "origin_not_allowed";
    let rows: [(Browser, Fields<'_>, &str); 16] = [
        (deny, &[("origin", "https://evil.example")], refused),
        (deny, &[("origin", "null")], refused),
        (deny, &[("origin", "http://localhost:8080")], refused),
        (deny, &[("origin", "https://app.example"), ("sec-fetch-site", "cross-site")], "forward"),
        (deny, &[("origin", "https://app.example"), ("origin", "https://app.example")], refused),
        (deny, &[("sec-fetch-site", "cross-site")], refused),
        (deny, &[("sec-fetch-site", "same-site")], refused),
        (deny, &[("sec-fetch-site", "same-origin")], refused),
        (deny, &[("sec-fetch-site", "none")], refused),
        (same, &[("sec-fetch-site", "same-site")], refused),
        (same, &[("sec-fetch-site", "cross-site")], refused),
        (same, &[("sec-fetch-site", "same-origin"), ("origin", "http://localhost:8080")], "forward"),
        (same, &[("sec-fetch-site", "none")], "forward"),
        (same, &[("origin", "http://localhost:3000")], refused),
        (off, &[("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")], "forward"),
        (deny, &[], "forward"),
    ];
    for (browser, fields, expected) in rows {
        assert_eq!(with(browser, fields), expected, "{browser:?} {fields:?}");
    }
}

#[test]
fn a_preflight_is_answered_here_and_only_for_a_listed_origin() {
    let guard = guard(Browser::Deny, &["https://app.example"]);
    let ask = |origin: &str| {
        let fields = [("host", "localhost"), ("origin", origin), ("access-control-request-method", "PUT")];
        head("OPTIONS", "/", &fields)
    };
    assert_eq!(code(&guard, &ask("https://evil.example")), "origin_not_allowed");
    let Ok(Admission::Answer(response)) = guard.admit(&ask("https://app.example")) else {
        panic!("no answer")
    };
    assert_eq!(response.status(), StatusCode::NO_CONTENT);
    assert_eq!(response.headers()[ACCESS_CONTROL_ALLOW_METHODS], "PUT");
    let plain = [("host", "localhost"), ("access-control-request-method", "PUT")];
    assert_eq!(code(&guard, &head("OPTIONS", "/", &plain)), "origin_not_allowed", "never forwarded");
    let off = self::guard(Browser::Off, &[]);
    assert_eq!(code(&off, &head("OPTIONS", "/", &plain)), "forward", "no page asks without an origin");
    assert_eq!(code(&off, &ask("https://evil.example")), "answer", "off is off");
    assert!(off.reader(&ask("https://evil.example").headers).is_some());
    assert!(guard.reader(&ask("https://evil.example").headers).is_none());
}

#[test]
fn no_host_makes_it_panic_or_lets_a_stranger_in() {
    let mut state = 4711_u64;
    for _ in 0..20_000 {
        let text: String = (0..state % 24)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                char::from(b"[]:.@/,%localhost127 \t\x7f-"[(state >> 33) as usize % 24])
            })
            .collect();
        state = state.wrapping_add(1);
        if let Some(host) = parse_host(&text) {
            assert!(!host.contains(['@', '/', ',', ' ', '\t']), "{text:?}");
        }
    }
}
