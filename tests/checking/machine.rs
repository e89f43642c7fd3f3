//! A machine that does not give what the configuration wants of it.

use std::net::TcpListener;

use super::{Setup, private, strict};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_cannot_be_written_or_read_is_told() {
    let setup = Setup::of(strict());
    let setup = setup.with("/state.json\"", "/seed/state.json\"");
    setup.fails(78, "store_unavailable", "it would lie in what is no folder").await;
    let setup = setup.with("/seed/state.json\"", "/new/folder/state.json\"");
    let found = setup.checked().await;
    assert_eq!(found.code, Some(0), "{}", found.text());
    assert!(!setup.home.path().join("new").exists(), "a check makes no folder");
    let setup = setup.with("/new/folder/state.json\"", "/state.json\"");
    setup.home.write("state.json", "{ \"version\":");
    setup.fails(78, "store_unavailable", "others may read or change it").await;
    private(&setup.home, "state.json", "{ \"version\":");
    setup.fails(78, "store_unavailable", "is not a record of bearerd's").await;
    assert_eq!(std::fs::read_to_string(setup.home.path().join("state.json")).unwrap(), "{ \"version\":");
    let setup = setup.with("path = ", "kind = \"memory\" #");
    setup.checked().await.tells("warning", "store_in_memory", "ends with the program");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_rests_is_told_for_what_it_is() {
    let setup = Setup::of(strict());
    setup.checked().await.tells("good", "record", "will begin with the configured refresh token");
    let refreshed = |words: &[&str]| {
        let mut command = setup.home.bearerd();
        command.args(words);
        crate::support::process::told(&mut command)
    };
    assert_eq!(refreshed(&["refresh"]).0, Some(0));
    let found = setup.checked().await;
    found.tells("good", "record", "Grant default rests there");
    let path = setup.home.path().join("state.json");
    let good = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, good.replace(&setup.server.issuer().to_owned(), "https://id.test")).unwrap();
    setup.fails(78, "store_of_another_client", "at https://id.test").await;
    std::fs::write(&path, &good).unwrap();

    setup.server.enable_user(false);
    assert_eq!(refreshed(&["refresh"]).0, Some(77));
    let found = setup.checked().await;
    assert_eq!(found.code, Some(0), "{}", found.text());
    found.tells("warning", "grant_rejected", "bearerd login");
    assert_eq!(refreshed(&["logout"]).0, Some(0));
    setup.checked().await.tells("warning", "signed_out", "Nobody is signed in to grant default");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_that_another_program_has_is_told_and_one_that_our_own_has_is_well() {
    let setup = Setup::of(strict());
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let setup = setup.with("127.0.0.1:0", &taken.local_addr().unwrap().to_string());
    let found = setup.fails(78, "address_taken", "Another program listens there").await;
    found.tells("bad", "address_taken", "let `listen` name another address");
    drop(taken);
    let bearerd = setup.home.run().keeps_secrets_of(&setup.server);
    bearerd.wait_for_events("refresh_succeeded", 1).await;
    let found = setup.checked().await;
    assert_eq!(found.code, Some(0), "{}", found.text());
    found.tells("good", "listen", "The bearerd that runs listens on 127.0.0.1:");
    found.tells("good", "admin", "The bearerd that runs listens on unix:");
    drop(bearerd);

    let other = Setup::of(strict());
    let bearerd = other.home.run().keeps_secrets_of(&other.server);
    bearerd.wait_for_events("listening", 2).await;
    let theirs = format!("{}/admin.sock", other.home.path().display());
    let ours = format!("{}/admin.sock", setup.home.path().display());
    let setup = setup.with(&ours, &theirs);
    setup.fails(78, "address_taken", "runs another configuration").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guard_that_keeps_callers_out_and_a_proxy_that_is_not_used_deserve_a_look() {
    let setup = Setup::of(strict());
    let setup = setup.with("[admin]", "[guard]\nallowed_hosts = [\"api.test\"]\n\n[admin]");
    let behind_a_proxy = |command: &mut std::process::Command| {
        command.env("HTTPS_PROXY", "http://proxy.test:3128");
    };
    let found = setup.checked_with(behind_a_proxy).await;
    assert_eq!(found.code, Some(0), "{}", found.text());
    found.tells("warning", "host_not_allowed", "Callers that ask for 127.0.0.1");
    found.tells("warning", "egress_proxy_unused", "HTTPS_PROXY is set");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_that_our_own_may_have_is_only_worth_a_look() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    drop(taken);
    let setup = Setup::of(strict()).with("127.0.0.1:0", &address);
    let admin = format!("unix:{}/admin.sock", setup.home.path().display());
    let probes = format!("off\"\n\n[probes]\nlisten = \"unix:{}/probes.sock", setup.home.path().display());
    let setup = setup.with(&admin, "off");
    let mut last = setup;
    for (listeners, admin, words) in [(1, "off".to_owned(), "it cannot be asked"), (2, probes, "one does")] {
        let setup = last.with("listen = \"off\"", &format!("listen = \"{admin}\""));
        let bearerd = setup.home.run().keeps_secrets_of(&setup.server);
        bearerd.wait_for_events("listening", listeners).await;
        bearerd.wait_for_events("refresh_succeeded", 1).await;
        let found = setup.checked().await;
        assert_eq!(found.code, Some(0), "{}", found.text());
        found.tells("warning", "address_taken", words);
        drop(bearerd);
        private(&setup.home, "seed", &setup.server.seed("billing"));
        last = setup;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_in_a_sockets_place_is_no_free_address() {
    let setup = Setup::of(strict());
    setup.home.write("admin.sock", "a file");
    setup.fails(78, "address_taken", "a file is there that is no socket").await;
}
