//! One certificate for both servers, so that the token that is bound to it is of use (RFC 8705 §3).

use std::sync::Arc;

use crate::support::authorization_server::{AuthorizationServer, Client};
use crate::support::certificates::Authority;
use crate::support::in_time;
use crate::support::process::Home;
use crate::support::raw::Peer;
use crate::support::upstream::{Check, Upstream};

#[tokio::test]
async fn the_certificate_that_the_token_is_bound_to_is_shown_upstream_too_and_its_successor_as_well() {
    let authority = Arc::new(Authority::new());
    let (chain, key, first) = authority.client("billing");
    let server = AuthorizationServer::fapi(&authority).client(Client::certified("billing", &first)).start();
    let upstream = Upstream::start(Some(Check::by(&server)), Some(Arc::clone(&authority)));
    let home = Home::new();
    home.write("seed", &server.seed("billing"));
    home.write("cert.pem", &chain);
    home.write("key.pem", &key);
    home.configure(&format!(
        "listen = \"127.0.0.1:0\"\nupstream = \"{}\"\n\n[oauth]\nissuer = \"{}\"\nclient_id = \"billing\"\n\
         client_auth = \"tls\"\nrefresh_token = {{ file = \"seed\" }}\n\n[store]\npath = \"@HOME@/state.json\"\n\n\
         [admin]\nlisten = \"off\"\n\n[tls]\nca_file = \"{}\"\nroots = \"file\"\nclient_cert = \"cert.pem\"\n\
         client_key = {{ file = \"key.pem\" }}\n",
        upstream.url(),
        server.issuer(),
        authority.ca_file().display(),
    ));
    let bearerd = home.run().keeps_secrets_of(&server);
    let event = bearerd.wait_for_event("listening").await;
    let proxy = event["address"].as_str().unwrap().parse().unwrap();
    let get = || async { Peer::connect(proxy).await.get("/echo", "localhost").await.status() };
    assert_eq!(get().await, 200);
    assert_eq!(upstream.certificates(), [Some(first)]);

    // A certificate without its key is told, and the pair before it goes on.
    let (chain, key, second) = authority.client("billing");
    home.write("cert.pem", &chain);
    let told = bearerd.wait_for_event("tls_files_unusable").await;
    assert!(told["message"].as_str().unwrap().contains("does not go with its key"), "{told}");
    assert_eq!(get().await, 200);
    home.write("key.pem", &key);
    server.register(Client::certified("billing", &second));
    bearerd.wait_for_event("tls_files_read").await;
    upstream.close_connections();
    let shown = async {
        while upstream.certificates().last() != Some(&Some(second.clone())) {
            get().await;
        }
    };
    in_time("the new certificate", shown).await;
}
