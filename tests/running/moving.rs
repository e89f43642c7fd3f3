//! A grant moves from one store to another: one refresh token never has two holders, whenever the move is cut off.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bearerd::secret::Fingerprint;
use serde_json::Value;

use super::stage::{Stage, addresses, strict};
use crate::support::canaries::found;
use crate::support::process::{Home, told};
use crate::support::random::Draws;

/// `bearerd WORDS` at a home, to its end: exit code and what it says.
fn bearerd(home: &Home, words: &[&str]) -> (Option<i32>, String) {
    let (code, out, err) = told(home.bearerd().args(words));
    (code, out + &err)
}

fn export(home: &Home, file: &Path) -> (Option<i32>, String) {
    bearerd(home, &["export", "--output", file.to_str().unwrap()])
}

fn import(home: &Home, file: &Path) -> (Option<i32>, String) {
    bearerd(home, &["import", file.to_str().unwrap()])
}

/// A second bearerd's home, at the same server, with these lines below `[store]` and no seed.
fn elsewhere(stage: &Stage, store: &str) -> Home {
    let home = Home::new();
    home.configure(&format!(
        "listen = \"127.0.0.1:0\"\nupstream = \"{}\"\n\n[oauth]\nissuer = \"{}\"\nclient_id = \"billing\"\n\n\
         [store]\npath = \"@HOME@/state.json\"\n{store}\n[admin]\nlisten = \"127.0.0.1:0\"\n",
        stage.upstream.url(),
        stage.server.issuer(),
    ));
    home
}

fn record(home: &Home) -> Value {
    serde_json::from_slice(&fs::read(home.path().join("state.json")).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grant_moves_into_an_encrypted_store_while_both_programs_run() {
    let mut stage = Box::pin(Stage::of(strict(4))).await;
    stage.recovers().await;
    let home = elsewhere(&stage, "encryption_key = { file = \"key\" }\n");
    home.write("key", &STANDARD.encode([7; 32]));
    let file = home.path().join("grant.json");
    let there = home.run().keeps_secrets_of(&stage.server);
    let (proxy, admin) = Box::pin(addresses(&there)).await;
    there.wait_for_event("refresh_failed").await;

    let (code, said) = export(&stage.home, &file);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(
        fs::metadata(&file)
            .map(|found| std::os::unix::fs::PermissionsExt::mode(&found.permissions()) & 0o777)
            .unwrap(),
        0o600
    );
    assert_eq!(found(&said, &stage.server.secrets()), None);
    let status = stage.is("sign_in_required").await;
    let problem = &status["grants"][0]["problem"];
    assert_eq!(problem["code"], "grant_exported");
    assert!(problem["sentence"].as_str().unwrap().contains(file.to_str().unwrap()), "{problem}");
    let left = fs::read_to_string(stage.home.path().join("state.json")).unwrap();
    assert_eq!(found(&left, &stage.server.secrets()), None, "nothing is left to present");
    let before = stage.server.redeems().len();

    let (code, said) = import(&home, &file);
    assert_eq!(code, Some(0), "{said}");
    assert!(!file.exists(), "it is used up");
    let bearerd = std::mem::replace(&mut stage.bearerd, there);
    (stage.proxy, stage.admin) = (proxy, admin);
    stage.recovers().await;
    stage.server.wait_for_redeems(before + 2).await;
    stage.recovers().await;
    let sealed = fs::read_to_string(home.path().join("state.json")).unwrap();
    assert_eq!(found(&sealed, &stage.server.secrets()), None);

    drop(bearerd);
    let again = stage.home.run().keeps_secrets_of(&stage.server);
    let failure = again.wait_for_event("refresh_failed").await;
    assert_eq!(failure["code"], "grant_exported", "the configured seed does not bring it back");
    drop(again);
    fs::remove_file(stage.home.path().join("seed")).unwrap();
    let again = stage.home.run().keeps_secrets_of(&stage.server);
    again.wait_for_event("refresh_failed").await;
    let told = again.log().join("\n");
    assert!(told.contains(file.to_str().unwrap()), "where it went, not where a seed was: {told}");
    assert_eq!(stage.server.reuse_errors(), 0);
    stage.assert_clean();
}

/// A home at which a grant rests, and nobody runs.
async fn resting() -> (Stage, PathBuf) {
    let mut stage = Box::pin(Stage::of(strict(3600))).await;
    stage.recovers().await;
    stage.bearerd.kill();
    let file = stage.home.path().join("grant.json");
    (stage, file)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_that_is_cut_off_is_finished_by_the_next_and_never_leaves_two_holders() {
    let (stage, file) = Box::pin(resting()).await;
    let (home, part) = (&stage.home, stage.home.path().join("grant.json.part"));
    let kept = fs::read(home.path().join("state.json")).unwrap();
    let begun = record(home);

    // Killed in the middle of the first write, and right after it.
    for left in ["", "{\n  \"exported_fr", "{\n  \"exported_from\": \"file /x\",\n  \"reco"] {
        fs::write(&part, left).unwrap();
        let (code, said) = export(home, &file);
        assert_eq!((code, part.exists()), (Some(0), false), "{said}");
        fs::remove_file(&file).unwrap();
        fs::write(home.path().join("state.json"), &kept).unwrap();
    }
    assert_eq!(export(home, &file).0, Some(0));
    let exported = fs::read(&file).unwrap();
    let retired = fs::read(home.path().join("state.json")).unwrap();
    fs::rename(&file, &part).unwrap();
    fs::write(home.path().join("state.json"), &kept).unwrap();
    let (code, said) = import(home, &part);
    assert!(code == Some(1) && said.contains("not finished"), "{said}");
    assert_eq!(export(home, &file).0, Some(0), "before the record was retired");
    assert_eq!((fs::read(&file).unwrap(), part.exists()), (exported.clone(), false));

    // Killed once the record was retired, and once all was done.
    fs::rename(&file, &part).unwrap();
    fs::write(home.path().join("state.json"), &retired).unwrap();
    for _ in 0..2 {
        let (code, said) = export(home, &file);
        assert_eq!((code, part.exists()), (Some(0), false), "{said}");
        assert_eq!(fs::read(&file).unwrap(), exported);
    }
    // Nothing is there to go elsewhere, and what is there stays.
    let other = home.path().join("other.json");
    let (code, said) = export(home, &other);
    assert!(code == Some(77) && said.contains(file.to_str().unwrap()) && !other.exists(), "{said}");

    // An import may be cut off before its end, too: once more, and it is said to be done.
    assert_eq!(import(home, &file).0, Some(0));
    assert_eq!(record(home)["refresh_token"], begun["refresh_token"]);
    fs::write(&file, &exported).unwrap();
    let (code, said) = import(home, &file);
    assert!(code == Some(0) && said.contains("already") && !file.exists(), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_time_an_export_leaves_the_grant_in_one_place() {
    let (stage, file) = Box::pin(resting()).await;
    let (home, part) = (&stage.home, stage.home.path().join("grant.json.part"));
    let token = record(home)["refresh_token"].clone();
    let holds =
        |path: &Path| fs::read_to_string(path).is_ok_and(|text| text.contains(token.as_str().unwrap()));
    let (mut draws, mut before, mut after) = (Draws::of(3), 0, 0);
    for _ in 0..40 {
        let mut command: Command = home.bearerd();
        command
            .args(["export", "--output", file.to_str().unwrap()])
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        std::thread::sleep(Duration::from_micros(draws.below(40_000)));
        child.kill().unwrap();
        child.wait().unwrap();
        let rests = holds(&home.path().join("state.json"));
        assert!(rests || holds(&part) || holds(&file), "it is lost");
        assert!(!(rests && file.exists()), "two may present it");
        (before, after) = (before + u32::from(rests), after + u32::from(!rests));
        let (code, said) = export(home, &file);
        assert!(code == Some(0) && holds(&file) && !part.exists(), "{said}");
        assert_eq!(import(home, &file).0, Some(0));
        assert!(holds(&home.path().join("state.json")) && !file.exists());
    }
    println!("killed {before} times before the record was retired, {after} times after");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_must_not_be_overwritten_or_presented_is_refused_with_a_sentence() {
    let (stage, file) = Box::pin(resting()).await;
    let home = &stage.home;
    let kept = fs::read(home.path().join("state.json")).unwrap();
    let refused = |(code, said): (Option<i32>, String), exit: i32, says: &str| {
        assert!(code == Some(exit) && said.contains(says), "{code:?}: {said}");
        assert_eq!(found(&said, &stage.server.secrets()), None);
    };
    refused(import(home, &home.path().join("state.json")), 1, "it is no export");
    refused(bearerd(home, &["export", "--grant", "crm", "--output", "x"]), 78, "there is `default`");
    let write = |name: &str, text: &str| home.write(name, text);
    write("grant.json", "a file of somebody's");
    refused(export(home, &file), 1, "is not overwritten");
    fs::remove_file(&file).unwrap();
    write("grant.json.part", "a file of somebody's");
    refused(export(home, &file), 1, "holds another export");
    fs::remove_file(home.path().join("grant.json.part")).unwrap();
    assert_eq!(fs::read(home.path().join("state.json")).unwrap(), kept, "nothing has left");

    assert_eq!(export(home, &file).0, Some(0));
    let exported = fs::read_to_string(&file).unwrap();
    // A grant of another line is alive where it is to go.
    let other = elsewhere(&stage, "");
    other.write(
        "state.json",
        &String::from_utf8(kept).unwrap().replace("\"lineage\": \"", "\"lineage\": \"x"),
    );
    fs::set_permissions(other.path().join("state.json"), std::os::unix::fs::PermissionsExt::from_mode(0o600))
        .unwrap();
    refused(import(&other, &file), 1, "--replace ends it");
    // Another client's, and one that would not outlive this command.
    let foreign = exported.replace("\"client_id\": \"billing\"", "\"client_id\": \"crm\"");
    refused(import(&other, &write("foreign.json", &foreign)), 78, "client `crm`");
    let memory = elsewhere(&stage, "");
    let text = fs::read_to_string(memory.path().join("proxy.toml")).unwrap();
    let path = format!("path = \"{}/state.json\"", memory.path().display());
    memory.write("proxy.toml", &text.replace(&path, "kind = \"memory\""));
    refused(import(&memory, &file), 78, "in the memory");
    // A seed that cannot be read might be a later sign-in's, and end what is imported.
    fs::rename(home.path().join("seed"), home.path().join("seed.away")).unwrap();
    refused(import(home, &file), 78, "the configured seed has to be read");

    assert_eq!(fs::read_to_string(&file).unwrap(), exported, "it is still there to be imported");
    let (code, said) = bearerd(&other, &["import", "--replace", file.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{said}");
    assert_ne!(record(&other)["lineage"].as_str().unwrap().chars().next(), Some('x'));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grant_goes_through_a_pipe_and_stays_where_nobody_takes_it() {
    let (stage, _) = Box::pin(resting()).await;
    let other = elsewhere(&stage, "");
    let token = record(&stage.home)["refresh_token"].clone();
    // What is configured where it goes is older than what comes, though it has not been met there.
    let seed = stage.server.seed("billing");
    other.write("seed", &seed);
    let text = fs::read_to_string(other.path().join("proxy.toml")).unwrap();
    let key = "client_id = \"billing\"\n";
    other.write("proxy.toml", &text.replace(key, &format!("{key}refresh_token = {{ file = \"seed\" }}\n")));

    let (closed, pipe) = std::io::pipe().unwrap();
    drop(closed);
    let mut command = stage.home.bearerd();
    let status = command.arg("export").stdout(pipe).stderr(Stdio::null()).status().unwrap();
    assert_eq!((status.code(), &record(&stage.home)["refresh_token"]), (Some(1), &token));

    let mut source = stage.home.bearerd();
    let mut source = source.arg("export").stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut command = other.bearerd();
    let (code, _, said) = told(command.args(["import", "-"]).stdin(source.stdout.take().unwrap()));
    assert_eq!((code, source.wait().unwrap().code()), (Some(0), Some(0)), "{said}");
    assert_eq!(record(&other)["refresh_token"], token);
    let met = serde_json::to_value(Fingerprint::of(&seed)).unwrap();
    assert!(record(&other)["seeds"].as_array().unwrap().contains(&met));
    assert_eq!(record(&stage.home)["exported"]["to"], "standard output");
    assert!(record(&stage.home)["refresh_token"].is_null());
}
