//! `config init` writes a first proxy.toml that is good as it is, and nothing over what is there.

use bearerd::config::Config;

use crate::support::process::{Home, told};

const PLACES: [&str; 4] = ["any", "dev", "kubernetes", "legacy"];

#[test]
fn each_first_file_passes_check_and_ends_by_saying_what_comes_next() {
    for place in PLACES {
        let home = Home::new();
        let (code, out, err) = told(home.bearerd().args(["config", "init", "--for", place]));
        assert_eq!((code, out.as_str()), (Some(0), ""), "{err}");
        assert!(err.starts_with("Wrote proxy.toml. Next: `bearerd check`"), "{err}");
        let (code, out, err) = told(home.bearerd().arg("check"));
        assert_eq!(code, Some(0), "{place}: {err}");
        assert!(out.contains("is good"), "{out}");
        let errors: Vec<&str> = err.lines().filter(|line| line.starts_with("warning[")).collect();
        assert!(errors.iter().all(|line| line.starts_with("warning[secret_file_missing]")), "{place}: {err}");
    }
}

#[test]
fn flags_fill_it_in() {
    let given = [
        "--issuer",
        "https://id.test/realms/a",
        "--client-id",
        "a \"b\"",
        "--upstream",
        "http://localhost:1/v2",
    ];
    for place in PLACES {
        let home = Home::new();
        let (code, out, err) =
            told(home.bearerd().args(["config", "init", "--for", place]).args(given).arg("-"));
        assert_eq!((code, err.as_str()), (Some(0), ""));
        let config = Config::of_text(std::path::Path::new("-"), &out).unwrap().config;
        let grant = config.grants.values().next().unwrap();
        assert_eq!(grant.client_id, "a \"b\"", "{place}");
        assert!(format!("{:?}", grant.server).contains("id.test/realms/a"), "{place}");
        assert!(format!("{:?}", config.proxy.routes).contains("localhost"), "{place}");
        assert!(!home.path().join("proxy.toml").exists());
    }
}

#[test]
fn where_a_person_signs_in_the_redirect_uri_can_be_registered_and_the_store_is_the_persons() {
    for place in ["any", "dev", "legacy"] {
        let home = Home::new();
        let (_, out, _) = told(home.bearerd().args(["config", "init", "--for", place, "-"]));
        let config = Config::of_text(std::path::Path::new("-"), &out).unwrap().config;
        let grant = config.grants.values().next().unwrap();
        assert_eq!(grant.sign_in.redirect_port, 8976, "{place}");
        assert!(out.contains("register http://127.0.0.1:8976/callback"), "{place}: {out}");
        let fixed = out.lines().any(|line| line.starts_with("[store]"));
        assert!(!fixed, "{place}: {out}");
    }
}

#[test]
fn what_is_there_is_never_overwritten_and_nonsense_is_not_written() {
    let home = Home::new();
    home.configure("# mine\n");
    let (code, _, err) = told(home.bearerd().args(["config", "init"]));
    assert_eq!(code, Some(1));
    assert!(err.contains("proxy.toml is there already, and is not overwritten"), "{err}");
    assert_eq!(std::fs::read_to_string(home.path().join("proxy.toml")).unwrap(), "# mine\n");
    let (code, _, err) = told(home.bearerd().args(["config", "init", "--issuer", "nonsense", "other.toml"]));
    assert_eq!(code, Some(78));
    assert!(err.contains("error[bad_url]"), "{err}");
    assert!(!home.path().join("other.toml").exists());
}

#[test]
fn the_line_for_editors_leads_to_a_schema_that_is_there() {
    let home = Home::new();
    let (code, _, err) = told(home.bearerd().args(["config", "init", "--schema", "sub.toml"]));
    assert_eq!(code, Some(0), "{err}");
    let text = std::fs::read_to_string(home.path().join("sub.toml")).unwrap();
    let named = text.lines().next().unwrap().strip_prefix("#:schema ./").unwrap();
    let schema = std::fs::read_to_string(home.path().join(named)).unwrap();
    let (_, printed, _) = told(home.bearerd().args(["config", "schema"]));
    assert_eq!(schema, printed);
}
