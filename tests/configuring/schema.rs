//! The schema and the table of keys are one. Whether it judges files as `check` does is tested with the validators that
//! people use, in tests/interop.

use std::collections::BTreeSet;

use bearerd::config::{keys, schema};
use serde_json::Value;

/// The properties of the table that holds a section's keys.
fn properties<'a>(schema: &'a Value, section: &str) -> &'a serde_json::Map<String, Value> {
    let pointer = match section {
        "" => "/properties".to_owned(),
        "oauth" | "named" | "route" => format!("/$defs/{section}/properties"),
        section => format!("/properties/{section}/properties"),
    };
    schema.pointer(&pointer).unwrap().as_object().unwrap()
}

#[test]
fn every_key_of_this_version_is_in_the_schema_with_meaning_and_default_and_no_other_is() {
    let schema = schema();
    let sections: BTreeSet<&str> = keys().filter(|key| !key.later).map(|key| key.section).collect();
    for section in sections.iter().copied().chain(["named"]) {
        let of = if section == "named" { "oauth" } else { section };
        let mut found: BTreeSet<&str> = properties(&schema, section).keys().map(String::as_str).collect();
        for key in keys().filter(|key| key.section == of && !key.later) {
            let shape = &properties(&schema, section)[key.name];
            assert_eq!(shape["description"], key.meaning, "{}", key.path());
            let default = shape.get("default").map(ToString::to_string).unwrap_or_default();
            assert_eq!(default.replace(' ', ""), key.default.replace(' ', ""), "{}", key.path());
            assert!(shape.as_object().unwrap().len() > 1, "{} has no shape", key.path());
            found.remove(key.name);
        }
        let carriage =
            ["header", "scheme", "http", "on_401", "response_timeout", "allow_plaintext_upstream", "methods"];
        let above: Vec<&str> = sections.iter().copied().chain(["grant"]).chain(carriage).collect();
        found.retain(|name| !(of.is_empty() || of == "route") || !above.contains(name));
        assert_eq!(found, BTreeSet::new(), "[{section}]");
    }
}

#[test]
fn every_table_refuses_what_it_does_not_know() {
    fn tables(value: &Value, found: &mut usize) {
        match value {
            Value::Object(members) => {
                if members.contains_key("properties") && members.get("type") == Some(&"object".into()) {
                    let keys: Vec<&String> = members["properties"].as_object().unwrap().keys().collect();
                    assert!(members.contains_key("additionalProperties"), "the table of {keys:?}");
                    *found += 1;
                }
                members.values().for_each(|inner| tables(inner, found));
            }
            Value::Array(values) => values.iter().for_each(|inner| tables(inner, found)),
            _ => {}
        }
    }
    let mut found = 0;
    tables(&schema(), &mut found);
    assert!(found >= 11, "{found}");
}
