//! With an encryption key no token is on the disk, whenever the program is killed; without the key nothing is lost.

use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::stage::{Stage, addresses, furnished, strict};
use crate::support::canaries::found;
use crate::support::in_time;
use crate::support::process::{Home, told};
use crate::support::random::Draws;

/// How often the program is killed.
const KILLS: u64 = 5;

/// A home whose store is in a folder of its own, under these keys.
fn configure(home: &Home, proxy_toml: &str, keys: &str) {
    let sealed = format!("[store]\nencryption_key = {keys}\n");
    let store = if keys.is_empty() { "[store]\n".to_owned() } else { sealed };
    home.configure(
        &proxy_toml.replace("[store]\n", &store).replace("@HOME@/state.json", "@HOME@/store/state.json"),
    );
}

/// Every file of the store's folder, as text.
fn contents(home: &Home) -> String {
    let entries = std::fs::read_dir(home.path().join("store")).into_iter().flatten();
    let read = |path: &Path| std::fs::read(path).unwrap_or_default();
    entries.map(|entry| String::from_utf8_lossy(&read(&entry.unwrap().path())).into_owned()).collect()
}

/// What is said by a start that must not succeed.
fn refused(home: &Home) -> String {
    let (code, _, said) = told(home.bearerd().arg("run"));
    assert_eq!(code, Some(78), "{said}");
    said
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_token_is_on_the_disk_and_without_the_key_nothing_is_lost() {
    let (server, upstream, home) = furnished(strict(4), "");
    let proxy_toml = std::fs::read_to_string(home.path().join("proxy.toml")).unwrap();
    let proxy_toml = proxy_toml.replace(&home.path().display().to_string(), "@HOME@");
    for (name, byte) in [("old", 1), ("new", 2)] {
        home.write(name, &STANDARD.encode([byte; 32]));
    }
    configure(&home, &proxy_toml, "{ file = \"old\" }");
    let mut draws = Draws::of(1);
    for _ in 0..KILLS {
        let redeems = server.redeems().len();
        let mut bearerd = home.run().keeps_secrets_of(&server);
        in_time("a refresh", server.wait_for_redeems(redeems + 1)).await;
        tokio::time::sleep(Duration::from_millis(draws.below(30))).await;
        bearerd.kill();
        assert_eq!(found(&contents(&home), &server.secrets()), None, "after a kill");
        if server.reuse_errors() > 0 {
            break; // in the window that nobody can close
        }
    }
    home.write("seed", &server.seed("billing"));
    let bearerd = home.run().keeps_secrets_of(&server);
    let (proxy, admin) = Box::pin(addresses(&bearerd)).await;
    let mut stage = Stage { server, upstream, home, bearerd, proxy, admin };
    stage.recovers().await;
    let redeems = stage.server.redeems().len();
    stage.server.wait_for_redeems(redeems + 2).await;
    stage.recovers().await;
    stage.bearerd.kill();
    assert_eq!(found(&contents(&stage.home), &stage.server.secrets()), None);
    assert!(contents(&stage.home).contains("AES-256-GCM"), "there is something to look into");

    let before = contents(&stage.home);
    for (keys, says) in [
        ("", "names none"),
        ("{ file = \"new\" }", "name that key as well"),
        ("{ file = \"seed\" }", "openssl rand"),
    ] {
        configure(&stage.home, &proxy_toml, keys);
        let said = refused(&stage.home);
        assert!(said.contains(says), "{said}");
        assert_eq!(contents(&stage.home), before, "{keys}: as it was");
    }
    for keys in ["[{ file = \"new\" }, { file = \"old\" }]", "{ file = \"new\" }"] {
        configure(&stage.home, &proxy_toml, keys);
        let redeems = stage.server.redeems().len();
        stage.restart().await;
        stage.recovers().await;
        stage.server.wait_for_redeems(redeems + 1).await;
        stage.recovers().await;
        stage.bearerd.kill();
    }
    stage.assert_clean();
}
