//! The how-to for a Pod, from `config init` to a bearerd that serves, with folders of this machine for the mounts.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::support::authorization_server::{AuthorizationServer, Client};
use crate::support::browser;
use crate::support::process::{Home, Process, told};

#[tokio::test]
async fn what_is_written_for_a_pod_signs_in_for_it_where_nothing_is_mounted_and_starts_there() {
    let client = Client::public("app").redirects_to("http://127.0.0.1/callback");
    let server = AuthorizationServer::strict().client(client).start();
    let home = Home::new();
    let init = ["config", "init", "--for", "kubernetes", "--client-id", "app", "--issuer", server.issuer()];
    let (code, _, err) = told(home.bearerd().args(init).arg("proxy.toml"));
    assert_eq!(code, Some(0), "{err}");

    let login = ["login", "--no-browser", "--emit", "kubernetes-secret"];
    let mut program = Process::spawn(home.bearerd().args(login));
    let url = browser::printed_url(&program, &server).await;
    browser::open(&url).await.callback().get().await;
    assert_eq!(program.wait().await.code(), Some(0), "{}", program.log().join("\n"));
    let secret = program.output();

    let text = std::fs::read_to_string(home.path().join("proxy.toml")).unwrap();
    let mounts = [
        ("/run/secrets/bearerd", "@HOME@"),
        ("/var/lib/bearerd", "@HOME@"),
        ("localhost:8080", "127.0.0.1:0"),
        ("0.0.0.0:9902", "127.0.0.1:0"),
    ];
    let text = mounts.iter().fold(text, |text, (there, here)| text.replace(there, here));
    home.configure(&format!("{text}\n[admin]\nlisten = \"off\"\n"));
    let data = secret.split("\ndata:\n").nth(1).unwrap();
    for (name, value) in data.lines().filter_map(|line| line.trim().split_once(": ")) {
        home.write(name, &String::from_utf8(STANDARD.decode(value).unwrap()).unwrap());
    }
    home.run().keeps_secrets_of(&server).wait_for_event("refresh_succeeded").await;
}
