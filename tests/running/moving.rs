//! A grant moves from one store to another: one refresh token never has two holders, whenever the move is cut off.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bearerd::secret::Fingerprint;
use serde_json::Value;

use super::stage::{Stage, addresses, strict};
use crate::support::canaries::found;
use crate::support::in_time;
use crate::support::process::{Home, told};

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
    // Callers have the access token a moment before it rests; without it, the next start would refresh.
    let rests = async {
        while record(&stage.home)["access_token"].is_null() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    Box::pin(in_time("an access token that rests", async {
        stage.recovers().await;
        rests.await;
    }))
    .await;
    stage.bearerd.kill();
    let file = stage.home.path().join("grant.json");
    (stage, file)
}

/// What a kill leaves: the name of the step it came after, whether the record has been retired, and what FILE.part and FILE
/// hold.
type Left<'a> = (&'static str, bool, Option<&'a [u8]>, Option<&'a [u8]>);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_that_is_cut_off_at_any_step_leaves_one_holder_and_is_finished_by_the_next() {
    let (mut stage, file) = Box::pin(resting()).await;
    let (state, part) = (stage.home.path().join("state.json"), stage.home.path().join("grant.json.part"));
    let kept = fs::read(&state).unwrap();
    let token = record(&stage.home)["refresh_token"].clone();
    assert_eq!(export(&stage.home, &file).0, Some(0));
    let (exported, retired) = (fs::read(&file).unwrap(), fs::read(&state).unwrap());
    fs::remove_file(&file).unwrap();
    let table: [Left<'_>; 7] = [
        ("none", false, None, None),
        ("FILE.part is made", false, Some(b""), None),
        ("its first bytes", false, Some(&exported[..10]), None),
        ("its half", false, Some(&exported[..exported.len() / 2]), None),
        ("FILE.part is durable", false, Some(&exported), None),
        ("the record is retired", true, Some(&exported), None),
        ("FILE has its name", true, None, Some(&exported)),
    ];
    for (step, is_retired, in_part, in_file) in table {
        let put = |path: &Path, bytes: Option<&[u8]>| bytes.map(|bytes| fs::write(path, bytes).unwrap());
        put(&state, Some(if is_retired { &retired } else { &kept }));
        put(&part, in_part);
        put(&file, in_file);

        // Whoever runs there presents it as long as nobody else can.
        Box::pin(stage.restart()).await;
        if is_retired {
            let status = stage.is("sign_in_required").await;
            assert_eq!(status["grants"][0]["problem"]["code"], "grant_exported", "{step}");
        } else {
            stage.recovers().await;
            let (code, said) = import(&stage.home, &file);
            assert!(code == Some(1) && !said.contains("imported"), "{step}: {said}");
        }
        stage.bearerd.kill();
        if in_part.is_some() {
            let (code, said) = import(&stage.home, &part);
            assert!(code == Some(1) && said.contains("not finished"), "{step}: {said}");
        }

        for _ in 0..2 {
            let (code, said) = export(&stage.home, &file);
            assert_eq!((code, part.exists()), (Some(0), false), "{step}: {said}");
            let moved: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
            assert_eq!(moved["record"]["refresh_token"], token, "{step}");
            assert!(moved["export"].is_string(), "{step}");
            assert_eq!(moved["export"], record(&stage.home)["exported"]["id"], "{step}");
            assert!(record(&stage.home)["refresh_token"].is_null(), "{step}");
        }
        assert!(!is_retired || fs::read(&file).unwrap() == exported, "{step}: it is the same one");
        let moved = fs::read(&file).unwrap();
        assert_eq!(import(&stage.home, &file).0, Some(0), "{step}");
        assert_eq!((file.exists(), &record(&stage.home)["refresh_token"]), (false, &token), "{step}");
        // An import may be cut off before its end, too: once more, and it is said to be done.
        fs::write(&file, moved).unwrap();
        let (code, said) = import(&stage.home, &file);
        assert!(code == Some(0) && said.contains("already") && !file.exists(), "{step}: {said}");
    }
    assert_eq!(stage.server.reuse_errors(), 0);
}

/// Lets an export end once FILE.part is durable: there is no room for another record.
fn cut_off(home: &Home, file: &Path) -> String {
    let in_the_way = home.path().join("state.json.new");
    fs::create_dir(&in_the_way).unwrap();
    let (code, said) = export(home, file);
    fs::remove_dir(&in_the_way).unwrap();
    assert_ne!(code, Some(0), "{said}");
    said
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_try_that_came_to_nothing_has_left_is_never_given_a_name_later() {
    let (stage, first) = Box::pin(resting()).await;
    let home = &stage.home;
    let (part, second) = (home.path().join("grant.json.part"), home.path().join("second.json"));
    let begun = record(home);
    let said = cut_off(home, &first);
    assert!(
        said.contains("Keep") && said.contains(part.to_str().unwrap()) && said.contains("same command"),
        "{said}"
    );
    assert_eq!((record(home), part.exists(), first.exists()), (begun, true, false));

    assert_eq!(export(home, &second).0, Some(0));
    let (code, said) = export(home, &first);
    assert_eq!((code, first.exists()), (Some(77), false), "{said}");
    assert!(said.contains(second.to_str().unwrap()), "where it went: {said}");
    assert!(said.contains(part.to_str().unwrap()) && said.contains("stale"), "{said}");
    // Nor does it stay beside what was named.
    fs::copy(&second, home.path().join("second.json.part")).unwrap();
    assert_eq!(export(home, &second).0, Some(0));
    assert!(second.exists() && !home.path().join("second.json.part").exists());
    // A name that somebody has taken is not taken from him.
    let second_part = home.path().join("second.json.part");
    fs::rename(&second, &second_part).unwrap();
    home.write("second.json", "a file of somebody's");
    let (code, said) = export(home, &second);
    assert!(
        code == Some(1) && said.contains(second_part.to_str().unwrap()) && second_part.exists(),
        "{said}"
    );
    assert_eq!(fs::read_to_string(&second).unwrap(), "a file of somebody's");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_that_was_imported_before_does_not_come_back_later() {
    let (stage, file) = Box::pin(resting()).await;
    let home = &stage.home;
    assert_eq!(export(home, &file).0, Some(0));
    let first = fs::read(&file).unwrap();
    assert_eq!(import(home, &file).0, Some(0));
    assert_eq!(export(home, &file).0, Some(0));
    let second = fs::read(&file).unwrap();
    let retired = record(home);

    fs::write(&file, first).unwrap();
    let (code, said) = import(home, &file);
    assert!(code == Some(1) && said.contains("later"), "{said}");
    assert_eq!((record(home), file.exists()), (retired, true));
    fs::write(&file, second).unwrap();
    assert_eq!(import(home, &file).0, Some(0), "the last one does");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_imports_at_the_same_time_one_has_the_grant() {
    let (stage, file) = Box::pin(resting()).await;
    let homes = [elsewhere(&stage, ""), elsewhere(&stage, "")];
    assert_eq!(export(&stage.home, &file).0, Some(0));
    let exported = fs::read(&file).unwrap();

    let held = fs::File::open(&file).unwrap();
    held.lock().unwrap();
    let (code, said) = import(&homes[0], &file);
    assert!(
        code == Some(1) && said.contains("another") && !homes[0].path().join("state.json").exists(),
        "{said}"
    );
    drop(held);

    for round in 0..8 {
        fs::write(&file, &exported).unwrap();
        let begin = |home: &Home| {
            let mut command: Command = home.bearerd();
            command
                .args(["import", file.to_str().unwrap()])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap()
        };
        let children = homes.each_ref().map(begin);
        let won = children.map(|mut child| child.wait().unwrap().success());
        let has = homes.each_ref().map(|home| fs::remove_file(home.path().join("state.json")).is_ok());
        assert!(won == has && won[0] != won[1] && !file.exists(), "round {round}: {won:?} {has:?}");
    }
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
    refused(bearerd(home, &["export"]), 2, "--output");
    refused(bearerd(home, &["import", "-"]), 1, "cannot read");
    let write = |name: &str, text: &str| home.write(name, text);
    write("grant.json", "a file of somebody's");
    refused(export(home, &file), 1, "is not overwritten");
    fs::remove_file(&file).unwrap();
    write("grant.json.part", "a file of somebody's");
    refused(export(home, &file), 1, "is not of an earlier try");
    fs::remove_file(home.path().join("grant.json.part")).unwrap();
    cut_off(home, &file);
    let whole = fs::read_to_string(home.path().join("grant.json.part")).unwrap();
    for (is, other) in [
        ("\"version\": 1", "\"version\": 9"),
        ("\"lineage\"", "\"lineagf\""),
        ("\"lineage\": \"", "\"lineage\": \"x"),
        ("  }\n}\n", "  }\n \n"),
        ("  }\n}\n", "   \n}\n"),
        ("\"generation\": ", "\"generation\": 9"),
    ] {
        let other = whole.replace(is, other);
        assert_ne!(whole, other);
        write("grant.json.part", &other);
        refused(export(home, &file), 1, "is not of an earlier try");
        assert_eq!(
            fs::read_to_string(home.path().join("grant.json.part")).unwrap(),
            other,
            "it may be all there is"
        );
    }
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
    // Bound to a key of which this one would make no use.
    let bound = exported.replace("\"seeds\"", "\"dpop_key\": \"canary\",\n    \"seeds\"");
    assert_ne!(bound, exported);
    refused(import(&stage.home, &write("bound.json", &bound)), 78, "dpop = true");
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
async fn a_seed_that_is_configured_where_a_grant_goes_is_older_than_the_grant() {
    let (stage, file) = Box::pin(resting()).await;
    let other = elsewhere(&stage, "");
    let token = record(&stage.home)["refresh_token"].clone();
    let seed = stage.server.seed("billing");
    other.write("seed", &seed);
    let text = fs::read_to_string(other.path().join("proxy.toml")).unwrap();
    let key = "client_id = \"billing\"\n";
    other.write("proxy.toml", &text.replace(key, &format!("{key}refresh_token = {{ file = \"seed\" }}\n")));
    assert_eq!(export(&stage.home, &file).0, Some(0));
    let (code, said) = import(&other, &file);
    assert_eq!((code, &record(&other)["refresh_token"]), (Some(0), &token), "{said}");
    let met = serde_json::to_value(Fingerprint::of(&seed)).unwrap();
    assert!(record(&other)["seeds"].as_array().unwrap().contains(&met));
    assert_eq!(record(&stage.home)["exported"]["to"], file.to_str().unwrap());
    assert!(record(&stage.home)["refresh_token"].is_null());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_a_store_clears_away_is_none_for_an_export() {
    let (stage, _) = Box::pin(resting()).await;
    let before = record(&stage.home);
    for name in ["state.json.new", "state.json.spare", "other.probe", "x.lock", "grant.json.part"] {
        let (code, said) = export(&stage.home, &stage.home.path().join(name));
        assert!(code == Some(1) && said.contains("cannot be an export"), "{name}: {said}");
        assert_eq!(record(&stage.home), before, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_record_that_an_export_meets_does_not_bring_the_seed_back() {
    let (mut stage, file) = Box::pin(resting()).await;
    fs::write(stage.home.path().join("state.json"), "{ half").unwrap();
    let (code, said) = export(&stage.home, &file);
    assert!(code == Some(78) && said.contains("set aside"), "{said}");
    let before = stage.server.redeems().len();
    Box::pin(stage.restart()).await;
    stage.is("sign_in_required").await;
    assert_eq!((stage.server.redeems().len(), stage.server.reuse_errors()), (before, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_record_is_left_to_who_knows_the_seed() {
    let (stage, file) = Box::pin(resting()).await;
    let text = fs::read_to_string(stage.home.path().join("proxy.toml")).unwrap();
    let unset = text.replace("{ file = \"seed\" }", "{ env = \"BEARERD_TEST_SEED\" }");
    assert_ne!(unset, text);
    stage.home.write("proxy.toml", &unset);
    fs::write(stage.home.path().join("state.json"), "{ half").unwrap();
    let (code, said) = export(&stage.home, &file);
    assert!(code == Some(78) && said.contains("is not set here") && said.contains("start bearerd"), "{said}");
    let rests = fs::read_to_string(stage.home.path().join("state.json")).unwrap();
    assert_eq!(rests, "{ half", "nothing is put in its place");
}
