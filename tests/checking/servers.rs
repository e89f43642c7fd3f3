//! Authorization servers and upstreams that are not what the configuration believes.

use super::{RETURN, Setup, strict};
use crate::support::authorization_server::{AuthorizationServer, Client, Fault, Phase, Proof};
use crate::support::certificates::Authority;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_issuer_is_one_without_metadata() {
    let setup = Setup::of(strict());
    let issuer = format!("issuer = \"{}", setup.server.issuer());
    let setup = setup.with(&issuer, &format!("{issuer}/realms/none"));
    let found = setup.fails(78, "discovery_failed", "was answered 404 Not Found; check `issuer`").await;
    found.tells("not_tried", "client", "discovery_failed");
    found.tells("good", "connection", "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_issuer_by_another_name_is_told_with_the_right_one() {
    let setup = Setup::of(strict());
    let issuer = setup.server.issuer().to_owned();
    let setup = setup.with(&format!("issuer = \"{issuer}"), &format!("issuer = \"{issuer}/"));
    setup.fails(78, "issuer_mismatch", &format!("are of issuer `{issuer}`; configure that one")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_endpoint_on_another_host_than_before_is_told_and_shown_nothing() {
    let setup = Setup::of(strict());
    let another = AuthorizationServer::strict().client(Client::public("app")).start();
    let mut refresh = setup.home.bearerd();
    refresh.arg("refresh");
    assert_eq!(crate::support::process::told(&mut refresh).0, Some(0));
    setup.server.names("token_endpoint", &another.token_endpoint());
    let found = setup.fails(78, "token_endpoint_moved", &another.token_endpoint()).await;
    found.tells("not_tried", "client", "token_endpoint_moved");
    assert!(another.requests().is_empty());

    // The record is not what a start would go on with any more.
    setup.home.write("seed", &another.seed("app"));
    let found = setup.checked().await;
    assert!(!found.text().contains("token_endpoint_moved"), "{}", found.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revocation_endpoint_on_another_host_is_told_and_shown_nothing() {
    let setup = Setup::of(strict());
    let another = AuthorizationServer::strict().client(Client::public("app")).start();
    let elsewhere = format!("{}/revoke", another.issuer());
    setup.server.names("revocation_endpoint", &elsewhere);
    setup.checked().await.tells("warning", "revocation_failed", &elsewhere);
    assert!(another.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_portal_that_answers_in_the_servers_place_is_told_from_the_server() {
    let setup = Setup::of(strict());
    setup.server.fault_discovery(Fault::Forbidden);
    setup.fails(69, "discovery_failed", "was answered 403 Forbidden").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_nobody_knows_is_told_before_anything_that_needs_it() {
    let setup = Setup::of(strict());
    let issuer = setup.server.issuer().to_owned();
    let setup = setup.with(&format!("issuer = \"{issuer}"), "issuer = \"https://id.invalid");
    let found = setup.fails(69, "name_unknown", "The name id.invalid of the authorization server").await;
    found.tells("not_tried", "connection", "the name id.invalid is not known");
    assert_eq!(found.wrong(), ["name_unknown"], "{}", found.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_that_refuses_and_an_upstream_that_is_down_are_told_apart() {
    let setup = Setup::of(strict());
    setup.server.refuse_connections().await;
    let found = setup
        .fails(69, "connection_failed", "The authorization server of grant default is not reached")
        .await;
    assert_eq!(found.wrong().len(), 1, "{}", found.text());
    setup.server.accept_connections().await;
    let upstream = setup.upstream.url();
    let setup = setup.with(&upstream, "http://127.0.0.1:9");
    let found = setup.fails(69, "connection_failed", "The upstream http://127.0.0.1:9 is not reached").await;
    assert_eq!(found.wrong().len(), 1, "{}", found.text());
    let socket = format!("unix:{}/none.sock", setup.home.path().display());
    let setup = setup.with("http://127.0.0.1:9", &socket);
    setup.fails(69, "connection_failed", &socket).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_client_and_a_wrong_secret_are_refused_without_a_token_request() {
    let secretive = Client::confidential("secretive", "s3cret-of-the-client").redirects_to(RETURN);
    let setup = Setup::of(strict().client(secretive));
    let setup = setup.with("\"billing\"", "\"unknown\"");
    setup.fails(78, "client_rejected", "refused the client: `invalid_client`").await;
    let setup = setup.with("\"unknown\"", "\"secretive\"\nclient_secret = { file = \"secret\" }");
    setup.home.write("secret", "another");
    setup.fails(78, "client_rejected", "Check `client_id`, `client_auth`").await;
    setup.home.write("secret", "s3cret-of-the-client");
    let found = setup.checked().await;
    assert_eq!(found.code, Some(0), "{}", found.text());
    found.tells("good", "client", "The server takes client secretive");
    found.tells("good", "client_authentication", "takes client_secret_basic");
    assert!(
        setup
            .server
            .revocations()
            .iter()
            .all(|one| { one.parameter("token").is_some_and(|token| token.starts_with("bearerd-check-")) })
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_way_to_prove_the_client_that_the_server_does_not_take_is_told() {
    let authority = std::sync::Arc::new(Authority::new());
    let client = Client::confidential("billing", "s3cret-of-the-client").by(Proof::KeyJwt);
    let server = AuthorizationServer::fapi(&authority).client(client).start();
    let upstream = crate::support::upstream::Upstream::open();
    let tls = format!("[tls]\nca_file = \"{}\"\n", authority.ca_file().display());
    let setup = Setup::between(server, upstream, &tls);
    setup.home.write("secret", "s3cret-of-the-client");
    let setup = setup.with("\"billing\"", "\"billing\"\nclient_secret = { file = \"secret\" }");
    setup
        .fails(78, "client_auth_unsupported", "would use client_secret_basic, and the server takes only ")
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_off_is_told_with_whose_it_is() {
    let setup = Setup::of(strict());
    setup.server.set_clock(3600);
    let words = "1 h ahead of this machine's";
    let found = setup.fails(78, "clock_wrong", words).await;
    found.tells(
        "bad",
        "clock_wrong",
        "An upstream's clock agrees with this machine's: the server's is wrong",
    );
    setup.server.set_clock(-3600);
    setup.fails(78, "clock_wrong", "1 h behind this machine's").await;
    setup.server.set_clock(60);
    let found = setup.checked().await;
    assert_eq!(found.code, Some(0), "{}", found.text());
    found.tells("warning", "clock_wrong", " ahead of this machine's");
    setup.server.set_clock(0);
    setup.checked().await.tells("good", "clock", "agree to");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redirect_uri_that_is_not_registered_is_told_with_what_to_register() {
    let registered = Client::public("billing").redirects_to("http://127.0.0.1:8976/callback");
    let setup = Setup::of(AuthorizationServer::authgear().client(registered));
    let found = setup.checked().await;
    assert_eq!(found.code, Some(0), "who brings a refresh token need not sign in: {}", found.text());
    found.tells("warning", "redirect_uri_refused", "redirect URI is not allowed");

    let setup = setup.with("refresh_token = { file = \"seed\" }\n", "");
    let found = setup.fails(78, "redirect_uri_refused", "write redirect_port = 8976").await;
    found.tells("warning", "no_grant", "bearerd login");
    let setup = setup.with("timeout", "redirect_port = 8976\ntimeout");
    let found = setup.checked().await;
    assert_eq!(found.code, Some(0), "{}", found.text());
    found.tells("good", "redirect_uri", "lets a browser return to http://127.0.0.1:8976/callback");
    let setup = setup.with("\"billing\"", "\"unknown\"");
    setup.fails(78, "client_refused", "does not take client `unknown`").await;
}

/// An issuer that only says where everything is: `metadata`, with its own name in it.
fn issuer_of(metadata: serde_json::Value) -> String {
    use std::io::{Read as _, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let issuer = format!("http://{}", listener.local_addr().unwrap());
    let mut metadata = metadata;
    metadata["issuer"] = issuer.clone().into();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            if !matches!(stream.read(&mut [0; 4096]), Ok(1..)) {
                continue;
            }
            let body = metadata.to_string();
            let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close";
            let _gone = write!(stream, "{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        }
    });
    issuer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_token_endpoint_is_looked_for_where_the_metadata_say_it_is() {
    let setup = Setup::of(strict());
    let issuer = issuer_of(serde_json::json!({ "token_endpoint": "http://127.0.0.1:9/token" }));
    let named = format!("issuer = \"{}\"", setup.server.issuer());
    let setup = setup.with(&named, &format!("issuer = \"{issuer}\""));
    let words = "The token endpoint of grant default is not reached at 127.0.0.1 port 9";
    let found = setup.fails(69, "connection_failed", words).await;
    found.tells("good", "connection", "The authorization server of grant default is reached");
    found.tells("good", "discovery", "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_issuer_that_is_not_needed_is_only_worth_a_look() {
    let setup = Setup::of(strict());
    let named = format!("issuer = \"{}\"", setup.server.issuer());
    let endpoint = setup.server.token_endpoint();
    let setup =
        setup.with(&named, &format!("issuer = \"http://127.0.0.1:9\"\ntoken_endpoint = \"{endpoint}\""));
    let found = setup.checked().await;
    assert_eq!(found.code, Some(0), "{}", found.text());
    found.tells("warning", "connection_failed", "The authorization server of grant default is not reached");
    found.tells("good", "connection", "The token endpoint of grant default is reached");
    found.tells("warning", "discovery_failed", "does without");
    found.tells("not_tried", "clock", "hold no date");
    setup.server.refuse_connections().await;
    setup.fails(69, "connection_failed", "The token endpoint of grant default is not reached").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_issuer_that_has_the_token_endpoint_is_needed_though_that_is_named() {
    let setup = Setup::of(strict());
    let named = format!("issuer = \"{}\"", setup.server.issuer());
    let endpoint = setup.server.token_endpoint();
    let setup = setup.with(&named, &format!("{named}\ntoken_endpoint = \"{endpoint}\""));
    assert_eq!(setup.checked().await.code, Some(0));
    setup.server.refuse_connections().await;
    setup.fails(69, "connection_failed", "The authorization server of grant default is not reached").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_way_to_prove_the_client_that_was_chosen_or_was_taken_is_only_worth_a_look() {
    let secretive = Client::confidential("secretive", "s3cret-of-the-client").redirects_to(RETURN);
    let setup = Setup::of(strict().client(secretive));
    setup.home.write("secret", "s3cret-of-the-client");
    let at = setup.server.issuer().to_owned();
    let setup = setup.with("\"billing\"", "\"secretive\"\nclient_secret = { file = \"secret\" }");
    setup.checked().await.tells("good", "client", "");
    let metadata = serde_json::json!({
        "token_endpoint": setup.server.token_endpoint(),
        "revocation_endpoint": setup.revocation_endpoint().await,
        "token_endpoint_auth_methods_supported": ["private_key_jwt"],
    });
    let setup = setup.with(&format!("\"{at}\""), &format!("\"{}\"", issuer_of(metadata)));
    let found = setup.checked().await;
    found.tells("good", "client", "The server takes client secretive");
    found.tells("warning", "client_auth_unsupported", "name only private_key_jwt");
    setup.home.write("secret", "another");
    setup.fails(78, "client_auth_unsupported", "the server takes only private_key_jwt").await;
    let setup = setup.with("timeout", "client_auth = \"basic\"\ntimeout");
    let found = setup.fails(78, "client_rejected", "").await;
    found.tells("warning", "client_auth_unsupported", "if the server refuses it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revocation_endpoint_that_fails_is_told_for_what_was_asked_of_it() {
    let setup = Setup::of(strict());
    setup.server.fault_revocation(Fault::ServerError, Phase::BeforeProcessing);
    let found = setup.checked().await;
    assert_eq!(found.code, Some(0), "{}", found.text());
    found.tells("warning", "revocation_failed", "A token that was made up for this check");
    assert!(!found.text().contains("refresh token may be good"), "none was given up: {}", found.text());
}
