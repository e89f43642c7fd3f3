//! Every quirk of token endpoints that is known, as a row.

use super::life::{Life, life};
use super::*;
use crate::secret::ClientSecret;

fn read(answer: &Answer) -> Result<Issued, RefreshError> {
    let token = RefreshToken::new("presented/R1");
    super::read(answer, Told { refresh_token: Some(&token), others: &[] }, Dpop::Off)
}

fn answer(status: u16, body: &str) -> Answer {
    Answer {
        status: StatusCode::from_u16(status).unwrap(),
        headers: HeaderMap::new(),
        body: zeroize::Zeroizing::new(body.as_bytes().to_vec()),
        complete: true,
    }
}

fn salvaged(body: &str) -> Option<String> {
    salvage(&answer(200, body)).map(|token| token.expose().to_owned())
}

fn class(status: u16, body: &str) -> Class {
    read(&answer(status, body)).unwrap_err().class
}

#[test]
fn a_refresh_token_is_salvaged_from_an_answer_that_is_otherwise_wrong() {
    let rows = [
        (r#"{"refresh_token":"R2","expires_in":"abc","access_token":5}"#, Some("R2")),
        (r#"{"access_token":"A","refresh_token":"R2","id_token":{"bad":[]},"expires_in":-1}"#, Some("R2")),
        (r#"{"refresh_token":"R2","access_tok"#, Some("R2")),
        (r#"{"access_token":"A","refresh_token": "R\u002f2" , "expires"#, Some("R/2")),
        (r#"{"access_token":"A","refresh_token":"R2"#, None),
        (r#"{"old":{"refresh_token":"R1"},"refresh_token":"R2","acc"#, Some("R2")),
        (r#"{"old":{"refresh_token":"R1"},"access_token":"A""#, None),
        (r#"{"old":["{\"",{"refresh_token":"R1"}],"refresh_token":"R2","acc"#, Some("R2")),
        (r#"{"at":"https://id.example/?a=1&refresh_token=R1&b=2","acc"#, None),
        (r#"<pre>{"a":{"refresh_token":"R2"}}"#, Some("R2")),
        ("access_token=A&refresh_token=R%2F2&token_type=bearer", Some("R/2")),
        (r#"{"refresh_token":""}"#, None),
        (r#"{"refresh_token":"  "}"#, None),
        (r#"{"refresh_token":null}"#, None),
        (r#"{"refresh_token":7}"#, None),
        (r#"{"access_token":"A"}"#, None),
        ("<html>", None),
        ("", None),
    ];
    for (body, expected) in rows {
        assert_eq!(salvaged(body).as_deref(), expected, "{body}");
    }
}

#[test]
fn a_refresh_token_is_salvaged_from_what_is_whole_and_broken_anywhere() {
    for body in [
        r#"{"scope":"a"b","refresh_token":"R2"}"#,
        r#"{"access_token":"x"},"refresh_token":"R2"}"#,
        r#"{"a":[1,"refresh_token":"R2"}"#,
        r#"{{"access_token":"x","refresh_token":"R2"}"#,
        "access_token=A&refresh_token=R2&scope[]=x",
        "access_token=A&a~b:c/d=1&refresh_token=R2&lone&%E9=%E9",
    ] {
        assert_eq!(salvaged(body).as_deref(), Some("R2"), "{body}");
        let cut = Answer { complete: false, ..answer(200, body) };
        let found = salvage(&cut).map(|token| token.expose().to_owned());
        assert!(found.is_none() || found.as_deref() == Some("R2"), "{body}");
    }
    let latin = Answer {
        body: zeroize::Zeroizing::new(b"access_token=A&scope=caf\xe9&refresh_token=R2".to_vec()),
        ..answer(200, "")
    };
    assert_eq!(salvage(&latin), Some(RefreshToken::new("R2")));
    // Its own, in UTF-16 as well.
    let nested = r#"{"refresh_token":"R2","last":{"refresh_token":"R1"}} and more"#;
    let marked: Vec<u8> = format!("\u{feff}{nested}").encode_utf16().flat_map(u16::to_le_bytes).collect();
    let odd = Answer { body: zeroize::Zeroizing::new(marked), ..answer(200, "") };
    assert_eq!(salvage(&odd), Some(RefreshToken::new("R2")));
}

#[test]
fn another_grants_refresh_token_is_not_salvaged_from_what_keeps_count_of_its_depth() {
    for body in [
        r#"{"access_token":"A","refresh_token":null,"idp":{"refresh_token":"G1"},}"#,
        r#"{"access_token":"A","idp":{"refresh_token":"G1"},}"#,
        r#"{"access_token":"A","idp":{"refresh_token":"G1"},"expires_in":NaN}"#,
        r#"{"access_token":"A","name":"\ud800","idp":{"refresh_token":"G1"}}"#,
        r#"{"access_token":"A","token_type":"refresh_token","refresh_token":{"refresh_token":"G1"}},"#,
    ] {
        assert_eq!(salvaged(body), None, "{body}");
    }
}

#[test]
fn a_refresh_token_is_salvaged_from_utf_16_and_from_among_nuls() {
    let body = r#"{"access_token":"A","refresh_token":"R2","token_type":"Bearer"}"#;
    let little: Vec<u8> = format!("\u{feff}{body}").encode_utf16().flat_map(u16::to_le_bytes).collect();
    let big: Vec<u8> = body.encode_utf16().flat_map(u16::to_be_bytes).collect();
    for bytes in [little, big, format!("\0{body}\0").into_bytes()] {
        let odd = Answer { body: zeroize::Zeroizing::new(bytes), ..answer(200, "") };
        assert_eq!(salvage(&odd).map(|token| token.expose().to_owned()).as_deref(), Some("R2"));
        assert_eq!(read(&odd).unwrap_err().class, Class::Unanswered, "and nothing else is taken from it");
    }
}

#[test]
fn half_a_value_of_a_form_that_was_cut_off_is_none() {
    let cut = |body| Answer { complete: false, ..answer(200, body) };
    let salvaged = |body| salvage(&cut(body)).map(|token| token.expose().to_owned());
    for (body, expected) in [
        ("access_token=A&refresh_token=THE-SA", None),
        ("refresh_token=R2&access_token=A", Some("R2")),
        ("refresh_token=R2&acc", Some("R2")),
        ("refresh_token=R2", None),
    ] {
        assert_eq!(salvaged(body).as_deref(), expected, "{body}");
        assert_eq!(read(&cut(body)).unwrap_err().class, Class::Unanswered, "nor is a token used: {body}");
    }
    let whole = r#"{"access_token":"A","refresh_token":"R2","token_type":"Bearer"}"#;
    assert!(read(&cut(whole)).is_ok(), "JSON says itself that it is whole");
}

#[test]
fn an_error_answer_gives_no_refresh_token() {
    let echo = answer(400, r#"{"error":"invalid_grant","refresh_token":"R1"}"#);
    assert!(salvage(&echo).is_none(), "a server that quotes what it got must not rewind us");
}

#[test]
fn lifetimes_are_read_as_servers_write_them() {
    let seconds = |n| Life::Seconds(Duration::from_secs(n));
    let rows = [
        ("3600", seconds(3600)),
        ("\"3600\"", seconds(3600)),
        ("3600.0", seconds(3600)),
        ("\" 3600 \"", seconds(3600)),
        ("1e400", Life::Unknown),
        ("1e300", Life::Seconds(Duration::MAX)),
        ("0", Life::None),
        ("-5", Life::None),
        ("\"-5\"", Life::None),
        ("\"NaN\"", Life::Unknown),
        ("\"soon\"", Life::Unknown),
        ("null", Life::Unknown),
        ("[]", Life::Unknown),
    ];
    for (text, expected) in rows {
        let value: Option<Value> = serde_json::from_str(text).ok();
        assert_eq!(life(value.as_ref()), expected, "{text}");
    }
    assert_eq!(life(None), Life::Unknown);
}

#[test]
fn a_token_without_a_type_or_a_life_is_used_with_a_remark() {
    let issued = read(&answer(200, r#"{"access_token":"A"}"#)).unwrap();
    assert_eq!((issued.life, issued.oddities.len()), (DEFAULT_LIFE, 2));
    let plain = read(&answer(200, r#"{"access_token":"A","token_type":"bEARER","expires_in":9}"#)).unwrap();
    assert_eq!((plain.life, plain.oddities.len()), (Duration::from_secs(9), 0));
}

#[test]
fn the_grants_end_is_read_by_every_name_that_servers_have_for_it() {
    let told = |more: &str| {
        let body = format!(r#"{{"access_token":"A","token_type":"Bearer","expires_in":9{more}}}"#);
        read(&answer(200, &body)).unwrap().grant_life.map(|life| life.as_secs())
    };
    for (more, expected) in [
        ("", None),
        (r#","authorization_expires_in":7"#, Some(7)),
        (r#","refresh_token_timeout":"7""#, Some(7)),
        (r#","refresh_token_expires_in":7.0"#, Some(7)),
        (r#","refresh_expires_in":7"#, Some(7)),
        (r#","authorization_expires_in":9,"refresh_token_timeout":7"#, Some(7)),
        // Keycloak's offline tokens.
        (r#","refresh_expires_in":0"#, None),
        (r#","refresh_token_expires_in":-1"#, None),
        (r#","refresh_token_expires_in":[]"#, None),
    ] {
        assert_eq!(told(more), expected, "{more}");
    }
}

#[test]
fn a_token_of_another_type_is_never_used() {
    let body = r#"{"access_token":"A","token_type":"mac","expires_in":9}"#;
    let error = read(&answer(200, body)).unwrap_err();
    assert!(error.class == Class::Unusable && error.sentence.contains("`mac`"), "{error}");
    for kind in ["7", "[\"Bearer\"]", "{\"R2\":1}", "true"] {
        let body = format!(r#"{{"access_token":"A","token_type":{kind}}}"#);
        let error = read(&answer(200, &body)).unwrap_err();
        assert!(error.class == Class::Unusable && error.sentence.contains("no text"), "{error}");
    }
    assert!(read(&answer(200, r#"{"access_token":"A","token_type":null}"#)).is_ok());
}

#[test]
fn a_bound_token_is_used_where_proofs_are_shown_and_an_unbound_one_where_that_will_do() {
    let of_type = |kind: &str| {
        answer(200, &format!(r#"{{"access_token":"A","refresh_token":"R2","expires_in":9{kind}}}"#))
    };
    let (bound, bearer, none) =
        (of_type(r#","token_type":"dpop""#), of_type(r#","token_type":"Bearer""#), of_type(""));
    let rows = [
        (&bound, Dpop::Off, None),
        (&bound, Dpop::Offered, Some(true)),
        (&bound, Dpop::Required, Some(true)),
        (&bearer, Dpop::Off, Some(false)),
        (&bearer, Dpop::Offered, Some(false)),
        (&bearer, Dpop::Required, None),
        (&none, Dpop::Offered, Some(false)),
        (&none, Dpop::Required, None),
    ];
    for (answer, dpop, expected) in rows {
        match (super::read(answer, Told::default(), dpop), expected) {
            (Ok(issued), Some(bound)) => assert_eq!(issued.bound, bound, "{answer:?} {dpop:?}"),
            (Err(error), None) => {
                assert_eq!((error.class, error.code), (Class::Misconfigured, Code::TokenBindingWrong));
            }
            (read, _) => panic!("{answer:?} {dpop:?}: {read:?}"),
        }
        assert!(salvage(answer).is_some(), "what it rotated is kept all the same");
    }
}

#[test]
fn a_refused_proof_is_told_from_a_refused_grant() {
    let rows = [
        (400, "use_dpop_nonce", Some(Refusal::NeedsNonce)),
        (401, "invalid_dpop_proof", Some(Refusal::Invalid)),
        (400, "invalid_grant", None),
        (500, "use_dpop_nonce", None),
        (200, "use_dpop_nonce", None),
    ];
    for (status, error, expected) in rows {
        let answer = answer(status, &format!(r#"{{"error":"{error}"}}"#));
        assert_eq!(refuses_proof(&answer), expected, "{status} {error}");
        if expected.is_some() {
            let told = read(&answer).unwrap_err();
            assert_eq!((told.class, told.code), (Class::Misconfigured, Code::DpopProofRejected));
        }
    }
}

#[test]
fn answers_are_classed_by_status_first() {
    let grant = r#"{"error":"invalid_grant","error_description":"invalid refresh token"}"#;
    let object = r#"{"error":{"name":"InternalError","reason":"UnexpectedError","code":500}}"#;
    let busy = Class::Busy { retry_after: None };
    let rows = [
        (400, grant, Class::Refused),
        (401, grant, Class::Refused),
        (200, r#"{"error":"bad_refresh_token"}"#, Class::Refused),
        (500, grant, Class::Unanswered),
        (502, grant, Class::Unanswered),
        (500, object, Class::Unanswered),
        (400, object, Class::Blocked),
        (400, r#"{"error":"server_error"}"#, Class::Unanswered),
        (408, "", Class::Unanswered),
        (425, "", Class::Unanswered),
        (429, r#"{"error":"x_rate_limited"}"#, busy),
        (503, grant, busy),
        (400, r#"{"error":"temporarily_unavailable"}"#, busy),
        (400, r#"{"error":"slow_down"}"#, busy),
        (400, r#"{"error":"invalid_client"}"#, Class::Misconfigured),
        (401, r#"{"error":"invalid_client"}"#, Class::Misconfigured),
        (400, r#"{"error":"unauthorized_client"}"#, Class::Misconfigured),
        (400, r#"{"error":"unsupported_grant_type"}"#, Class::Misconfigured),
        (400, r#"{"error":"invalid_scope"}"#, Class::Misconfigured),
        (400, r#"{"error":"invalid_request"}"#, Class::Misconfigured),
        (404, "", Class::Misconfigured),
        (405, "Method Not Allowed\n", Class::Misconfigured),
        (307, "", Class::Misconfigured),
        (400, "invalid URL escape \"%zz\"\n", Class::Blocked),
        (401, "<html>sign in</html>", Class::Blocked),
        (403, "<html>WAF</html>", Class::Blocked),
        (407, "", Class::Blocked),
        (200, "<html>portal</html>", Class::Unanswered),
        (200, r#"{"access_token":"A""#, Class::Unanswered),
        (200, "", Class::Unanswered),
        (200, r#"{"token_type":"Bearer"}"#, Class::Unusable),
        (200, r#"{"access_token":"","token_type":"Bearer"}"#, Class::Unusable),
        (200, r#"{"access_token":"a b","token_type":"Bearer"}"#, Class::Unusable),
        (200, r#"{"access_token":"A","token_type":"Bearer","expires_in":0}"#, Class::Unusable),
    ];
    for (status, body, expected) in rows {
        assert_eq!(class(status, body), expected, "{status} {body}");
    }
    // Where no refresh token was presented there is nothing to sign in to.
    for (status, body) in [(400, grant), (200, r#"{"error":"bad_refresh_token"}"#)] {
        let of_an_assertion = super::read(&answer(status, body), Told::default(), Dpop::Off).unwrap_err();
        let verdict = (of_an_assertion.class, of_an_assertion.code);
        assert_eq!(verdict, (Class::Misconfigured, Code::AssertionRejected), "{body}");
    }
}

#[test]
fn a_redirect_names_its_location_and_the_cure() {
    let mut moved = answer(307, "");
    moved.headers.insert(LOCATION, "https://id.example/oauth2/token?refresh_token=x".parse().unwrap());
    let error = read(&moved).unwrap_err();
    assert!(error.sentence.contains("https://id.example/oauth2/token;"), "{error}");
    assert!(error.sentence.contains("connect_to") && !error.sentence.contains("refresh_token="), "{error}");
}

#[test]
fn retry_after_is_seconds_or_a_date() {
    let span = |fields: &[(&'static str, &str)]| {
        let mut busy = answer(429, "");
        for (name, value) in fields {
            busy.headers.insert(*name, value.parse().unwrap());
        }
        let Class::Busy { retry_after } = read(&busy).unwrap_err().class else { panic!("not busy") };
        retry_after
    };
    let date = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");
    assert_eq!(span(&[("retry-after", "7")]), Some(Duration::from_secs(7)));
    assert_eq!(
        span(&[date, ("retry-after", "Sun, 06 Nov 1994 08:49:47 GMT")]),
        Some(Duration::from_secs(10))
    );
    assert_eq!(span(&[("retry-after", "Sun, 06 Nov 1994 08:49:47 GMT")]), None);
    assert_eq!(span(&[("retry-after", "99999999999")]), Some(LONGEST_RETRY_AFTER));
    assert_eq!(span(&[("retry-after", "99999999999999999999")]), Some(LONGEST_RETRY_AFTER));
    assert_eq!(span(&[("retry-after", "soon")]), None);
}

#[test]
fn what_a_server_says_is_shown_cut_and_clean() {
    let body =
        format!(r#"{{"error":"invalid_grant","error_description":"a\u001b[2Jb\n{}"}}"#, "x".repeat(500));
    let error = read(&answer(400, &body)).unwrap_err();
    assert!(!error.sentence.contains('\u{1b}') && !error.sentence.contains('\n'));
    assert!(error.sentence.len() < 400, "{}", error.sentence.len());
}

#[test]
fn forms_are_encoded_once_and_repeat_nothing() {
    let mut form = Form::default();
    form.add("grant_type", "refresh_token");
    form.add("refresh_token", "a+b/c d~é&=");
    form.add("grant_type", "password");
    form.add_another("resource", "https://a.example/");
    form.add_another("resource", "https://b.example/");
    assert_eq!(
        form.encode().as_str(),
        "grant_type=refresh_token&refresh_token=a%2Bb%2Fc+d%7E%C3%A9%26%3D\
         &resource=https%3A%2F%2Fa.example%2F&resource=https%3A%2F%2Fb.example%2F"
    );
}

#[test]
fn metadata_of_another_issuer_are_not_used() {
    let document =
        |issuer: &str, endpoint: &str| format!(r#"{{"issuer":"{issuer}","token_endpoint":"{endpoint}"}}"#);
    let metadata = |body: String| read_metadata("https://id.example", body.as_bytes());
    let good = metadata(document("https://id.example", "https://id.example/token")).unwrap();
    assert_eq!(good.auth_methods, ["client_secret_basic"]);
    let rows = [
        (document("https://id.example/", "https://id.example/token"), "issuer_mismatch"),
        (document("https://evil.example", "https://id.example/token"), "issuer_mismatch"),
        (document("https://id.example", "http://id.example/token"), "discovery_failed"),
        (document("https://id.example", "/token"), "discovery_failed"),
        ("[]".to_owned(), "discovery_failed"),
        ("<html>".to_owned(), "discovery_failed"),
    ];
    for (body, code) in rows {
        assert_eq!(metadata(body.clone()).unwrap_err().code.word(), code, "{body}");
    }
}

#[test]
fn metadata_tell_where_people_sign_in_and_what_does_not_deserve_trust_is_left_out() {
    let body = r#"{"issuer":"https://id.example","token_endpoint":"https://id.example/token",
        "authorization_endpoint":"https://id.example/authorize","revocation_endpoint":"http://id.example/revoke",
        "device_authorization_endpoint":7,"pushed_authorization_request_endpoint":"https://id.example/par",
        "mtls_endpoint_aliases":{"authorization_endpoint":"https://tls.example/authorize",
            "pushed_authorization_request_endpoint":"https://tls.example/par"},
        "require_pushed_authorization_requests":true,"authorization_response_iss_parameter_supported":"yes",
        "scopes_supported":"openid"}"#;
    let metadata = read_metadata("https://id.example", body.as_bytes()).unwrap();
    let uri = |text: &'static str| Some(http::Uri::from_static(text));
    let endpoints = Endpoints {
        authorization: uri("https://id.example/authorize"),
        pushed_authorization: uri("https://id.example/par"),
        ..Endpoints::default()
    };
    assert_eq!(metadata.endpoints, endpoints);
    let aliases = Endpoints { pushed_authorization: uri("https://tls.example/par"), ..Endpoints::default() };
    assert_eq!(metadata.mtls_endpoints, aliases, "a browser shows no certificate of ours");
    assert!(metadata.requires_pushed_requests && !metadata.answers_name_issuer);
    assert_eq!(metadata.scopes, None);
}

#[test]
fn an_endpoint_that_would_steer_a_terminal_or_turn_a_line_around_is_none() {
    for odd in ["\u{9b}2J", "\u{202e}", "\u{1b}[2J", "é", " "] {
        let body = serde_json::json!({
            "issuer": "https://id.example", "token_endpoint": "https://id.example/token",
            "authorization_endpoint": format!("https://id.example/{odd}authorize"),
            "mtls_endpoint_aliases": { "token_endpoint": format!("https://id.example/{odd}token") },
        });
        let metadata = read_metadata("https://id.example", body.to_string().as_bytes()).unwrap();
        assert_eq!((metadata.endpoints.authorization, metadata.mtls_token_endpoint), (None, None), "{odd:?}");
        let body = body.to_string().replace("example/token", &format!("example/{odd}token"));
        assert!(read_metadata("https://id.example", body.as_bytes()).is_err(), "{odd:?}");
    }
}

#[test]
fn no_bytes_make_it_panic() {
    let whole = br#"{"access_token":"A","refresh_token":"R\u00e9","expires_in":"12","error":null,"token_type":"Bearer"}"#;
    for cut in 0..whole.len() {
        for byte in [0, b'"', b'\\', b'{', 0xff] {
            let mut body = whole[..cut].to_vec();
            body.push(byte);
            let torn = Answer { body: zeroize::Zeroizing::new(body), complete: false, ..answer(200, "") };
            let _ = (salvage(&torn), read(&torn));
        }
    }
}

#[test]
fn what_looks_like_a_jwt_is_not_repeated_and_the_text_around_it_is() {
    for (said, shown) in [
        ("assertion 'eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJhIn0.c2ln-_' was used", "assertion '[JWT]' was used"),
        ("eyJh.x, eyJi.y", "[JWT], [JWT]"),
        ("no eyJ here", "no eyJ here"),
        ("key eyJabc of ours", "key eyJabc of ours"),
    ] {
        let body = format!(r#"{{"error":"invalid_client","error_description":"{said}"}}"#);
        let error = read(&answer(400, &body)).unwrap_err();
        assert!(error.sentence.contains(&format!("({shown})")), "{error}");
    }
}

#[test]
fn a_server_that_quotes_a_secret_is_not_repeated_not_even_in_part() {
    let (token, secret) = (RefreshToken::new("canary/R1-and-more"), ClientSecret::new("canary-secret"));
    let told = Told { refresh_token: Some(&token), others: std::slice::from_ref(&secret) };
    for quoted in [
        "token canary/R1-and-more is unknown".to_owned(),
        "token canary%2FR1-and-more is unknown".to_owned(),
        format!("{}canary/R1-and-more", "x".repeat(SHOWN - 8)),
        "bad secret canary-secret".to_owned(),
    ] {
        let body = format!(r#"{{"error":"invalid_grant","error_description":"{quoted}"}}"#);
        let error = super::read(&answer(400, &body), told, Dpop::Off).unwrap_err();
        assert!(!error.sentence.contains("canary"), "{error}");
    }
}

#[test]
fn a_redirect_that_quotes_a_secret_is_not_repeated_in_any_spelling() {
    let (token, secret) = (RefreshToken::new("canary/R1+more"), ClientSecret::new("canary secret"));
    let told = Told { refresh_token: Some(&token), others: std::slice::from_ref(&secret) };
    for quoted in [
        "canary/R1+more",
        "canary%2FR1%2Bmore",
        "canary%2fR1%2bmore",
        "c%61nary/R1%2bmore",
        "%63%61%6e%61%72%79%2F%52%31%2B%6D%6F%72%65",
        "canary%252FR1%252Bmore",
        "canary+secret",
        "canary%20secret",
        "eyJhbGciOiJFUzI1NiJ9.canary.c2ln",
    ] {
        for location in [format!("https://id.example/{quoted}/x"), format!("/x?refresh_token={quoted}")] {
            let mut moved = answer(307, "");
            moved.headers.insert(LOCATION, location.parse().unwrap());
            let sentence = super::read(&moved, told, Dpop::Off).unwrap_err().sentence;
            let decoded = form_decode(&sentence).unwrap();
            assert!(!sentence.contains("canary") && !decoded.contains("canary"), "{sentence}");
            assert!(sentence.contains("/x"), "the rest is told: {sentence}");
        }
    }
}

#[test]
fn what_an_answer_gives_is_not_repeated_out_of_its_other_members_nor_shown_by_debug() {
    for body in [
        r#"{"token_type":"canary-R2","refresh_token":"canary-R2","access_token":"A"}"#,
        r#"{"token_type":"canary-A","access_token":"canary-A"}"#,
        r#"{"error":"x","error_description":"not canary-R2","refresh_token":"canary-R2"}"#,
    ] {
        let answer = answer(200, body);
        let error = read(&answer).unwrap_err();
        assert!(!error.sentence.contains("canary"), "{error}");
        assert_eq!(format!("{answer:?}"), format!("Answer(200 OK, {} bytes)", body.len()));
    }
}

#[test]
fn a_secret_that_is_a_word_of_the_protocol_changes_no_verdict() {
    let secret = ClientSecret::new("grant");
    let told = Told { refresh_token: Some(&RefreshToken::new("R1")), others: std::slice::from_ref(&secret) };
    let error = super::read(&answer(400, r#"{"error":"invalid_grant"}"#), told, Dpop::Off).unwrap_err();
    assert_eq!(error.class, Class::Refused);
    assert!(error.sentence.contains("`invalid_[client secret]`"), "{error}");
}
