//! Whoever answers at the token endpoint's address without a good certificate is told nothing.

use std::sync::Arc;

use bearerd::grant::status::State;
use bearerd::tls::{self, Roots};
use rustls::ServerConfig;

use super::bench::Bench;
use crate::support::authorization_server::{AuthorizationServer, Client};
use crate::support::certificates::Authority;

const NAMES: [&str; 2] = ["localhost", "127.0.0.1"];

/// A bad certificate, of the authority that is trusted or of another.
type Bad = fn(&Authority, &Authority) -> Arc<ServerConfig>;

#[tokio::test]
async fn a_bad_certificate_is_told_costs_nothing_and_heals_when_it_is_mended() {
    let rows: [(&str, Bad); 3] = [
        ("not valid for name", |ours, _| ours.server(&["elsewhere.example"], &[b"http/1.1"])),
        // Both authorities bear the same name.
        ("BadSignature", |_, another| another.server(&NAMES, &[b"http/1.1"])),
        ("expired", |ours, _| ours.expired_server(&NAMES)),
    ];
    let mut cases = tokio::task::JoinSet::new();
    for (why, bad) in rows {
        cases.spawn(case(why, bad));
    }
    while let Some(case) = cases.join_next().await {
        case.unwrap();
    }
}

async fn case(why: &'static str, bad: Bad) {
    let (ours, another) = (Authority::new(), Authority::new());
    let server = AuthorizationServer::strict().tls(&ours).client(Client::public("app")).expires_in(8).start();
    let mut bench = Bench::of(&server, "app");
    let ca_file = Some(ours.ca_file());
    bench.tls = tls::Params { ca_file, roots: Roots::File, ..tls::Params::default() };
    let bench = bench.start().await;
    bench.is(State::Active).await;
    server.certificate(bad(&ours, &another));
    bench.refresh();
    let status = bench.is(State::Misconfigured).await;
    let problem = status.problem.as_ref().unwrap();
    assert_eq!(problem.code, "tls_verify", "{problem:?}");
    assert!(problem.sentence.contains(why) && problem.sentence.contains("`ca_file`"), "{problem:?}");
    assert_eq!(status.history[0].outcome, "network");
    assert!(bench.handle.reader.now().is_ok(), "callers are served while the token lives");
    let text = std::fs::read_to_string(bench.record()).unwrap();
    assert!(!text.contains("intent"), "nothing was presented: {text}");
    let served = bench.until("its end", |_| bench.handle.reader.now().is_err()).await;
    assert_eq!(served.state, State::Misconfigured, "{why}");
    assert_eq!(server.redeems().len(), 1, "nothing was sent to whoever it was");

    // By itself once a minute; a person need not wait.
    server.certificate(ours.server(&NAMES, &[b"http/1.1"]));
    bench.refresh();
    bench.is(State::Active).await;
    assert_eq!((server.redeems().len(), server.reuse_errors()), (2, 0), "{why}");
}
