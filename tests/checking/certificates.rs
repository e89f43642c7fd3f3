//! Certificates that do not prove what they are shown for.

use std::sync::Arc;

use super::{Setup, strict};
use crate::support::certificates::Authority;

const NAMES: [&str; 2] = ["localhost", "127.0.0.1"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_of_an_unknown_authority_is_told_with_where_to_name_it() {
    let authority = Arc::new(Authority::new());
    let setup = Setup::secured(&authority, strict());
    let good = setup.checked().await;
    assert_eq!(good.code, Some(0), "{}", good.text());
    good.tells(
        "good",
        "certificate",
        "The certificate of the authorization server of grant default is good for 127.0.0.1",
    );
    good.tells("good", "certificate", "The certificate of the upstream https://");
    let setup = setup.with("roots = \"file\"\n", "").with("ca_file", "# ca_file");
    let found = setup.fails(78, "tls_verify", "issued by nobody who is trusted here").await;
    assert_eq!(
        found.wrong(),
        ["tls_verify", "tls_verify"],
        "the server's and the upstream's: {}",
        found.text()
    );
    found.tells("not_tried", "discovery", "it was not reached");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_for_other_names_one_that_has_ended_and_one_that_soon_will_are_told_apart() {
    let authority = Arc::new(Authority::new());
    let setup = Setup::secured(&authority, strict());
    setup.server.certificate(authority.server(&["other.test"], &[b"http/1.1"]));
    setup.fails(78, "tls_verify", "is not for 127.0.0.1 but for ").await.tells(
        "bad",
        "tls_verify",
        "other.test",
    );
    setup.server.certificate(authority.expired_server(&NAMES));
    setup.fails(78, "tls_verify", "has expired. Have it renewed").await;
    setup.server.certificate(authority.server_for_days(&NAMES, 10));
    let found = setup.checked().await;
    assert_eq!(found.code, Some(0), "{}", found.text());
    found.tells("warning", "certificate_ends_soon", "have it renewed");
    setup.server.certificate(authority.server_for_days(&NAMES, 20));
    setup.checked().await.tells("good", "certificate", "is good for 127.0.0.1, until ");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_without_tls_is_told_as_such() {
    let authority = Arc::new(Authority::new());
    let setup = Setup::secured(&authority, strict());
    let plain = crate::support::upstream::Upstream::open();
    let upstream = setup.upstream.url();
    let setup = setup.with(&upstream, &plain.url().replace("http://", "https://"));
    setup.fails(69, "tls_failed", "Is that the right port").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_protocol_is_offered_as_the_proxy_would() {
    let authority = Arc::new(Authority::new());
    let setup = Setup::secured(&authority, strict());
    // It only has to shake hands.
    let other = strict().tls(&authority).start();
    let upstream = setup.upstream.url();
    let setup = setup.with(&upstream, other.issuer());
    let good = format!("The certificate of the upstream {}", other.issuer());
    for alpn in [&[&b"http/1.1"[..]][..], &[b"h2"], &[]] {
        other.certificate(authority.server(&NAMES, alpn));
        let found = setup.checked().await;
        assert_eq!(found.code, Some(0), "{alpn:?}: {}", found.text());
        found.tells("good", "certificate", &good);
    }
    let url = format!("upstream = \"{}\"", other.issuer());
    let setup = setup.with(&url, &format!("{url}\nhttp = \"2\""));
    for alpn in [&[&b"http/1.1"[..]][..], &[]] {
        other.certificate(authority.server(&NAMES, alpn));
        setup.fails(78, "tls_failed", "does not speak HTTP/2").await;
    }
    other.certificate(authority.server(&NAMES, &[b"h2"]));
    setup.checked().await.tells("good", "certificate", &good);
    let setup = setup.with("http = \"2\"", "http = \"1\"");
    setup.fails(78, "tls_failed", "does not speak HTTP/1.1").await;
}
