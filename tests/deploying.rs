//! What deploy/ and the README offer for copying is read by the bearerd of the same commit.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bearerd::config::{Config, Flags, Sources};
use bearerd::net::Listen;

/// Every file below a folder.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

/// The block scalar below `proxy.toml: |` in a ConfigMap: the lines that are indented deeper than their key.
fn embedded(manifest: &str) -> Option<String> {
    let mut lines = manifest.lines().skip_while(|line| line.trim() != "proxy.toml: |");
    let depth = |line: &str| line.len() - line.trim_start().len();
    let key = depth(lines.next()?);
    let block = lines.take_while(|line| line.trim().is_empty() || depth(line) > key);
    Some(block.map(|line| format!("{}\n", line.get(key + 2..).unwrap_or_default())).collect())
}

/// Every configuration in deploy/, by the file it stands in.
fn configurations() -> BTreeMap<PathBuf, String> {
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy");
    let texts =
        files_below(&deploy).into_iter().map(|path| (path.clone(), std::fs::read_to_string(path).unwrap()));
    let toml = texts.filter_map(|(path, text)| match path.extension()?.to_str()? {
        "toml" => Some((path, text)),
        "yaml" => embedded(&text).map(|text| (path, text)),
        _ => None,
    });
    toml.map(|(path, text)| (path.strip_prefix(&deploy).unwrap().to_owned(), text)).collect()
}

/// Loads a configuration as the service manager would have it loaded.
fn load(text: &str) -> Config {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("proxy.toml");
    std::fs::write(&file, text).unwrap();
    let env = [
        ("STATE_DIRECTORY", "/var/lib/bearerd"),
        ("CREDENTIALS_DIRECTORY", "/run/credentials/bearerd.service"),
    ];
    let env = env.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let loaded =
        Config::load(&Sources { file: Some(file), search: Vec::new(), env, flags: Flags::default() });
    let loaded = loaded.unwrap_or_else(|errors| panic!("{errors}"));
    // What is mounted at run time is not there now; nothing else deserves a warning.
    let unexpected = loaded.warnings().iter().find(|problem| problem.code().word() != "secret_file_missing");
    assert_eq!(unexpected, None, "{}", loaded.render_warnings(false));
    loaded.config
}

#[test]
fn every_proxy_toml_in_deploy_is_found_and_loads() {
    let found = configurations();
    let names: Vec<_> = found.keys().map(|path| path.to_str().unwrap()).collect();
    assert_eq!(names, ["kubernetes/config.yaml", "systemd/proxy.toml"]);
    for text in found.values() {
        load(text);
    }
}

#[test]
fn the_readme_shows_a_configuration_that_loads_and_commands_that_exist() {
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let blocks: Vec<&str> = readme.split("\n```").collect();
    let of = |language: &str| -> Vec<&str> {
        blocks.iter().filter_map(|block| block.strip_prefix(language)).collect()
    };
    let configurations = of("toml\n");
    assert_eq!(configurations.len(), 1);
    configurations.into_iter().for_each(|text| drop(load(text)));
    let verbs = of("sh\n")
        .join("\n")
        .lines()
        .filter_map(|line| line.strip_prefix("bearerd "))
        .map(first_word)
        .collect::<Vec<_>>();
    assert_eq!(verbs, ["config", "check", "login", "run", "status"]);
    for verb in verbs {
        let help = std::process::Command::new(env!("CARGO_BIN_EXE_bearerd"))
            .args([verb.as_str(), "--help"])
            .output()
            .unwrap();
        assert!(help.status.success(), "{verb}");
    }
}

fn first_word(line: &str) -> String {
    line.split_whitespace().next().unwrap_or_default().to_owned()
}

#[test]
fn the_rotated_refresh_token_rests_where_the_manifests_put_a_durable_folder() {
    for (path, text) in configurations() {
        let store = format!("{:?}", load(&text).store);
        assert!(store.contains("/var/lib/bearerd/state.json"), "{}: {store}", path.display());
    }
    for (manifest, folder) in [
        ("kubernetes/deployment.yaml", "mountPath: /var/lib/bearerd"),
        ("systemd/bearerd.service", "StateDirectory=bearerd"),
        ("Dockerfile", "state /var/lib"),
    ] {
        let text =
            std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(manifest))
                .unwrap();
        assert!(text.lines().any(|line| line.trim_end().ends_with(folder)), "{manifest} has no `{folder}`");
    }
}

#[test]
fn applying_the_manifests_again_never_puts_a_seed_over_the_operators() {
    let kustomization = include_str!("../deploy/kubernetes/kustomization.yaml");
    let resources: Vec<_> =
        kustomization.lines().filter_map(|line| line.trim_start().strip_prefix("- ")).collect();
    assert_eq!(resources, ["config.yaml", "state.yaml", "deployment.yaml"]);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/kubernetes");
    for manifest in resources {
        let text = std::fs::read_to_string(folder.join(manifest)).unwrap();
        assert!(!text.contains("kind: Secret"), "{manifest}");
    }
}

/// The live lines of a configuration.
fn live(text: &str) -> Vec<&str> {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    lines.filter(|line| !line.is_empty()).collect()
}

#[test]
fn the_pod_is_given_what_its_how_to_makes_and_nothing_more_is_needed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |name: &str| std::fs::read_to_string(root.join(name)).unwrap();
    let shipped = &configurations()[Path::new("kubernetes/config.yaml")];
    let template = read("src/cli/config/templates/kubernetes.toml").replace("\"my-client\"", "\"billing\"");
    assert_eq!(live(shipped), live(&template), "the example is what `config init` writes");
    // What `login --emit kubernetes-secret` writes, and where the Deployment mounts it.
    let secrets: Vec<_> = live(shipped).into_iter().filter(|line| line.contains("/run/secrets/")).collect();
    assert_eq!(secrets, ["refresh_token = { file = \"/run/secrets/bearerd/refresh_token\" }"]);
    let (page, deployment) = (read("src/manual/howto/sidecar.md"), read("deploy/kubernetes/deployment.yaml"));
    let named = |text: &str, before: &str| -> String {
        let rest = text.split_once(before).unwrap_or_else(|| panic!("no {before:?}")).1;
        rest.split_whitespace().next().unwrap().to_owned()
    };
    assert_eq!(named(&page, " --name "), named(&deployment, "secretName: "));
    assert_eq!(named(&page, "create configmap "), named(&deployment, "configMap:\n            name: "));
    assert_eq!(named(&page, "--output=yaml > "), "deploy/kubernetes/config.yaml");
    assert!(!page.contains("--namespace"), "each command is for the same one");
}

#[test]
fn the_unit_leaves_in_sight_what_names_the_boot() {
    let unit = include_str!("../deploy/systemd/bearerd.service");
    let hides = |line: &str| line.starts_with("ProcSubset=") || line.contains("/proc");
    let hiding: Vec<_> = unit.lines().filter(|line| !line.starts_with('#') && hides(line)).collect();
    assert_eq!(hiding, [""; 0], "a stored access token is good in this boot only if the boot can be told");
}

#[test]
fn the_socket_unit_hands_over_what_its_proxy_toml_can_ask_for() {
    let unit = include_str!("../deploy/systemd/bearerd.socket");
    let of = |key: &str| -> Vec<&str> { unit.lines().filter_map(|line| line.strip_prefix(key)).collect() };
    let shown = &configurations()[Path::new("systemd/proxy.toml")];
    let (plain, by_name) = ("\"localhost:8080\"", "\"fd:proxy\"");
    assert!(shown.contains(plain) && shown.contains(by_name), "{shown}");
    let config = load(&shown.replacen(plain, by_name, 1));
    assert_eq!(config.listen, [Listen::Inherited(of("FileDescriptorName=").concat())]);
    assert_eq!(of("ListenStream="), ["127.0.0.1:8080", "[::1]:8080"], "where localhost:8080 would be");
}

#[test]
fn what_the_kubelet_probes_is_what_the_sidecar_listens_on() {
    let found = configurations();
    let config = load(&found[Path::new("kubernetes/config.yaml")]);
    let probes = format!("{:?}", config.admin);
    assert!(probes.contains("9902"), "{probes}");
    let deployment = include_str!("../deploy/kubernetes/deployment.yaml");
    assert!(deployment.contains("containerPort: 9902"));
    for path in ["/startupz", "/livez"] {
        assert!(deployment.contains(&format!("path: {path}")), "{path}");
    }
}
