//! proxy.toml as JSON Schema, made from the table of keys: editors complete and check the file with it.
//!
//! It refuses what is wrong whatever the environment and flags add: what is merely missing at the top level, in `[oauth]`
//! or in a fixed section may come from there, what is missing in `[grant.NAME]` or `[[route]]` may not.

mod shapes;

use serde_json::{Map, Value, json};

pub(super) use self::shapes::Shape;
use self::shapes::{local, text};
use super::choice::FlowKind;
use super::keys::{Key, keys};
use crate::secret::KEYRING_IS_BUILT_IN;
use crate::token::GrantName;

/// The schema (JSON Schema 2020-12).
#[must_use]
pub fn schema() -> Value {
    let mut properties = of_section("");
    let sections = ["store", "admin", "probes", "guard", "tls", "limits", "hooks", "log"];
    for section in sections {
        properties.insert(section.to_owned(), table(of_section(section), Map::new()));
    }
    properties.insert("oauth".to_owned(), json!({ "$ref": "#/$defs/oauth" }));
    properties.insert("grant".to_owned(), grants());
    properties.insert("route".to_owned(), json!({ "type": "array", "items": { "$ref": "#/$defs/route" } }));
    describe(&mut properties);
    let mut root = table(properties, rules());
    let head = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": format!("proxy.toml, as bearerd {} reads it", env!("CARGO_PKG_VERSION")),
    });
    let mut all = head.as_object().cloned().unwrap_or_default();
    all.append(root.as_object_mut().unwrap_or(&mut Map::new()));
    all.insert(
        "$defs".to_owned(),
        json!({
            "secret": secret(),
            "oauth": table(of_section("oauth"), of_grant(false)),
            "named": table(of_section("oauth"), of_grant(true)),
            "route": route(),
        }),
    );
    Value::Object(all)
}

/// The keys of a section, those of this version.
fn of_section(section: &str) -> Map<String, Value> {
    let ours = keys().filter(|key| key.section == section && !key.later);
    ours.map(|key| (key.name.to_owned(), of_key(key))).collect()
}

fn of_key(key: &Key) -> Value {
    let mut shape = (key.shape)();
    if let Some(members) = shape.as_object_mut() {
        members.insert("description".to_owned(), key.meaning.into());
        // The table's defaults are JSON as well as TOML.
        if let Ok(default) = serde_json::from_str(key.default) {
            members.insert("default".to_owned(), default);
        }
    }
    shape
}

/// A table that takes no other keys.
fn table(properties: Map<String, Value>, rules: Map<String, Value>) -> Value {
    let mut table = Map::new();
    table.insert("type".to_owned(), "object".into());
    table.insert("additionalProperties".to_owned(), false.into());
    table.insert("properties".to_owned(), properties.into());
    table.extend(rules);
    table.into()
}

/// What the sections are for.
fn describe(properties: &mut Map<String, Value>) {
    for (section, meaning) in [
        ("oauth", "The grant: short for [grant.default]."),
        ("grant", "Several grants, each with a name of its own."),
        ("route", "Several routes, in place of `upstream`: the longest path wins, a host before any path."),
        ("store", "Where a rotated refresh token rests."),
        ("admin", "For people: status and actions."),
        ("probes", "For machines."),
        ("guard", "Who may ask."),
        ("tls", "TLS towards servers."),
        ("limits", "How long, how large, how many."),
        ("hooks", "What is run when something happens."),
        ("log", "To stderr."),
    ] {
        if let Some(members) = properties.get_mut(section).and_then(Value::as_object_mut) {
            members.insert("description".to_owned(), meaning.into());
        }
    }
}

/// A reference to a secret: exactly one of its ways.
fn secret() -> Value {
    let name = r"[^\x00]+";
    let mut ways = json!({
        "file": { "type": "string", "description": "The file that holds it.", "pattern": "[^/]$" },
        "env": { "type": "string", "description": "The environment variable that holds it.", "pattern": name },
        "credential": {
            "type": "string",
            "description": "The systemd credential that holds it.",
            "pattern": r"^[^/\x00]+$",
            "not": { "enum": [".", ".."] },
        },
        "exec": {
            "type": "array",
            "description": "The command that prints it: a program and its arguments.",
            "items": { "type": "string", "pattern": name },
            "minItems": 1,
        },
    });
    if let Some(ways) = ways.as_object_mut().filter(|_| KEYRING_IS_BUILT_IN) {
        let entry = json!({
            "type": "string",
            "description": "The entry of the desktop's keyring that holds it, as \"service/name\".",
            "pattern": "^[^/]+/.+$",
        });
        ways.insert("keyring".to_owned(), entry);
    }
    json!({
        "type": "object",
        "description": "Where a secret is found; never the secret itself.",
        "properties": ways,
        "additionalProperties": false,
        "minProperties": 1,
        "maxProperties": 1,
    })
}

/// `[grant.NAME]`: the environment speaks of no other than the default one.
fn grants() -> Value {
    json!({
        "type": "object",
        "propertyNames": GrantName::shape(),
        "properties": { GrantName::DEFAULT: { "$ref": "#/$defs/oauth" } },
        "additionalProperties": { "$ref": "#/$defs/named" },
    })
}

fn route() -> Value {
    let mut keys = of_section("route");
    let carriage = super::keys::carriage().map(|key| (key.name.to_owned(), of_key(key)));
    keys.extend(carriage);
    let rules = json!({ "required": ["upstream"] });
    table(keys, rules.as_object().cloned().unwrap_or_default())
}

/// What holds between sections.
fn rules() -> Map<String, Value> {
    let all = json!([
        { "not": { "required": ["upstream", "route"] } },
        { "not": {
            "required": ["oauth", "grant"],
            "properties": { "grant": { "required": [GrantName::DEFAULT] } },
        } },
        // Beside grants of other names the environment brings no default one.
        { "if": { "required": ["upstream", "grant"], "not": { "required": ["oauth"] } },
          "then": { "properties": { "grant": { "required": [GrantName::DEFAULT] } } } },
        // Whoever reaches these listeners spends or controls a token.
        { "properties": {
            "listen": { "anyOf": [text(&local()), { "type": "array", "items": text(&local()) }] },
            "admin": { "properties": { "listen": { "anyOf": [{ "const": "off" }, text(&local())] } } },
        } },
        { "properties": { "store": stores() } },
        { "properties": { "guard": { "properties": { "allowed_hosts": { "minItems": 1 } } } } },
    ]);
    [("allOf".to_owned(), all)].into_iter().collect()
}

/// What is of no use, or not built in, with which kind of store.
fn stores() -> Value {
    let kind = |kind: &str| json!({ "required": ["kind"], "properties": { "kind": { "const": kind } } });
    let network =
        json!({ "required": ["allow_network_fs"], "properties": { "allow_network_fs": { "const": true } } });
    let (path, key) = (json!({ "required": ["path"] }), json!({ "required": ["encryption_key"] }));
    let none_of = |rules: &[&Value]| json!({ "not": { "anyOf": rules } });
    let keyring = if KEYRING_IS_BUILT_IN { none_of(&[&key]) } else { false.into() };
    json!({ "allOf": [
        { "if": kind("memory"), "then": none_of(&[&path, &key, &network]) },
        { "if": kind("keyring"), "then": keyring },
    ] })
}

/// What holds between the keys of a grant. `is_whole`: nothing can be added from elsewhere.
fn of_grant(is_whole: bool) -> Map<String, Value> {
    let mut all = vec![
        json!({ "not": { "required": ["client_key", "client_assertion"] } }),
        json!({ "not": { "required": ["client_auth", "client_secret"], "properties": { "client_auth": { "const": "none" } } } }),
        json!({
            "if": { "required": ["issuer"], "properties": { "issuer": { "pattern": "^http:" } } },
            "then": { "properties": { "connect_to": { "pattern": format!("^{}:", shapes::LOOPBACK) } } },
        }),
    ];
    for (key, flow) in FLOW_KEYS {
        let word = flow.word();
        let mut then = json!({ "properties": { "flow": { "const": word } } });
        if is_whole && flow != FlowKind::RefreshToken {
            then = json!({ "properties": { "flow": { "const": word } }, "required": ["flow"] });
        }
        all.push(json!({ "if": { "required": [key] }, "then": then }));
    }
    if is_whole {
        all.extend(needs());
    }
    [("allOf".to_owned(), all.into())].into_iter().collect()
}

/// Keys that are for one flow.
const FLOW_KEYS: [(&str, FlowKind); 8] = [
    ("refresh_token", FlowKind::RefreshToken),
    ("assertion", FlowKind::JwtBearer),
    ("subject", FlowKind::JwtBearer),
    ("subject_token", FlowKind::TokenExchange),
    ("subject_token_type", FlowKind::TokenExchange),
    ("actor_token", FlowKind::TokenExchange),
    ("actor_token_type", FlowKind::TokenExchange),
    ("requested_token_type", FlowKind::TokenExchange),
];

/// What a grant cannot be without.
fn needs() -> Vec<Value> {
    let is = |key: &str, value: Value| json!({ "required": [key], "properties": { key: { "enum": value } } });
    let has = |keys: &[&str]| json!({ "anyOf": keys.iter().map(|key| json!({ "required": [key] })).collect::<Vec<_>>() });
    let rule = |when: Value, then: Value| json!({ "if": when, "then": then });
    vec![
        json!({ "required": ["client_id"] }),
        has(&["issuer", "token_endpoint"]),
        rule(is("client_auth", json!(["basic", "post", "client_secret_jwt"])), has(&["client_secret"])),
        rule(is("client_auth", json!(["private_key_jwt"])), has(&["client_key", "client_assertion"])),
        rule(is("flow", json!(["jwt_bearer"])), has(&["assertion", "client_key"])),
        rule(is("flow", json!(["token_exchange"])), has(&["subject_token"])),
        rule(is("send_scopes_on_refresh", json!([true])), has(&["scopes"])),
        rule(has(&["client_key_id", "client_key_algorithm"]), has(&["client_key"])),
        rule(has(&["actor_token_type"]), has(&["actor_token"])),
        rule(has(&["dpop_key"]), is("dpop", json!([true, "required"]))),
    ]
}
