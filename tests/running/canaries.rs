//! Nothing that is printed holds a secret, at the most verbose level, dependencies included.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::process::Signal;

use super::stage::Stage;
use crate::support::authorization_server::{AuthorizationServer, Client, Fault, Phase};
use crate::support::canaries::{disguises, found};
use crate::support::raw::Peer;

const SECRET: &str = "canary-client-secret";

#[tokio::test]
async fn no_output_tells_a_secret() {
    let options = AuthorizationServer::strict().client(Client::confidential("billing", SECRET)).expires_in(4);
    let arguments = ["--client-secret-file", "secret"];
    let mut stage = Box::pin(Stage::with(options, "\n[log]\naccess = \"all\"\n", &arguments)).await;
    stage.recovers().await;
    stage.get("/status/500?code=canary-query").await;
    stage.server.fault_once(Fault::ServerError, Phase::BeforeProcessing);
    stage.server.wait_for_redeems(4).await;
    stage.recovers().await;
    let mut printed = String::new();
    for path in ["/", "/metrics", "/api/v1/status", "/readyz"] {
        printed.push_str(&Peer::connect(stage.admin).await.get(path, "localhost").await.text());
    }
    stage.bearerd.signal(Signal::TERM);
    stage.bearerd.wait().await;
    printed.push_str(&stage.bearerd.log().join("\n"));
    printed.push_str(&stage.bearerd.output());

    let mut secrets = stage.server.secrets();
    secrets.push("canary-query".to_owned());
    assert!(
        secrets.len() > 6 && printed.len() > 2000,
        "there is something to be found, and somewhere to look"
    );
    assert_eq!(found(&printed, &secrets), None);

    let basic = format!("Basic {}", STANDARD.encode(format!("billing:{SECRET}")));
    assert_eq!(found(&basic, &secrets).map(String::as_str), Some(SECRET), "inside of others, too");
    for disguise in disguises(&secrets[1]) {
        let planted = format!("{printed} {disguise}");
        assert_eq!(
            found(&planted, &secrets),
            Some(&secrets[1]),
            "the search finds what is there: {disguise}"
        );
    }
}
