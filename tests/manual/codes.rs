use std::collections::BTreeSet;

use bearerd::manual::codes::{PAGES, areas, page, summary};
use bearerd::manual::{TOPICS, title};
use bearerd::{config, grant, proxy};

use crate::layers;
use crate::support::process::{Home, told};

fn emitted() -> BTreeSet<&'static str> {
    areas().into_iter().flat_map(|area| area.codes).collect()
}

#[test]
fn every_code_that_the_program_can_emit_has_a_page_and_every_page_a_code() {
    let written: BTreeSet<&str> = PAGES.iter().map(|(code, _)| *code).collect();
    assert_eq!(written.len(), PAGES.len(), "each once");
    let lacking: Vec<_> = emitted().difference(&written).copied().collect();
    assert!(
        lacking.is_empty(),
        "write src/manual/codes/CODE.md and name it in src/manual/codes.rs: {lacking:?}"
    );
    let idle: Vec<_> = written.difference(&emitted()).copied().collect();
    assert!(idle.is_empty(), "nobody emits {idle:?}");
    let files = super::pages().into_iter().filter(|(path, _)| path.starts_with("src/manual/codes/")).count();
    assert_eq!(files, PAGES.len(), "a file in src/manual/codes that is not named in src/manual/codes.rs");
}

#[test]
fn every_list_of_codes_is_in_an_area() {
    let known = emitted();
    let mut lists = 0;
    for (file, text) in layers::sources("") {
        let Some((_, list)) = text.split_once("\ncodes! {\n") else { continue };
        let list = list.split("\n}\n").next().unwrap();
        for word in list.split(" = \"").skip(1).filter_map(|rest| rest.split('"').next()) {
            let file = file.display();
            assert!(
                known.contains(word),
                "{file} declares {word}: give its list to an area of src/manual/codes.rs"
            );
        }
        lists += 1;
    }
    assert!(lists >= 3, "{lists}");
}

#[test]
fn every_code_that_is_listed_is_emitted_somewhere() {
    let sources: Vec<_> = layers::sources("")
        .into_iter()
        // Tests only look for them.
        .map(|(file, text)| (file, text.split("#[cfg(test)]\nmod tests {").next().unwrap().to_owned()))
        .collect();
    let mut seen = 0;
    for (file, text) in &sources {
        let Some((_, list)) = text.split_once("\ncodes! {\n") else { continue };
        let list = list.split("\n}\n").next().unwrap();
        for line in list.lines().filter(|line| line.contains(" = \"")) {
            let variant = line.split_whitespace().next().unwrap();
            let is_named = |text: &str| {
                text.split(&format!("::{variant}"))
                    .skip(1)
                    .any(|rest| !rest.starts_with(|next: char| next.is_alphanumeric()))
            };
            let elsewhere = sources.iter().any(|(other, text)| other != file && is_named(text));
            let here = is_named(&text.replace(list, ""));
            assert!(elsewhere || here, "{} lists {variant}, and nothing emits it", file.display());
            seen += 1;
        }
    }
    assert!(seen > 90, "{seen}");
}

#[test]
fn one_word_has_one_meaning() {
    let mut all: Vec<&str> = areas().into_iter().flat_map(|area| area.codes).collect();
    all.sort_unstable();
    // The same thing, met on different ways.
    let shared = [
        "answer_unusable",
        "dpop_key_unusable",
        "internal",
        "issuer_mismatch",
        "sign_in_required",
        "store_unavailable",
        "token_endpoint_wrong",
    ];
    let twice: BTreeSet<&str> = all.windows(2).filter(|two| two[0] == two[1]).map(|two| two[0]).collect();
    assert_eq!(twice, BTreeSet::from(shared));
    let is_snake_case = |word: &&str| word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    assert!(all.iter().all(is_snake_case), "{all:?}");
}

#[test]
fn no_code_is_emitted_past_the_lists() {
    // The ways in which a program's text would write one down by itself.
    let ways = [
        "code: \"",
        "\"code\": \"",
        "code = \"",
        "code == \"",
        "problem(StatusCode::FORBIDDEN, \"",
        "problem(StatusCode::NOT_FOUND, \"",
        "problem(StatusCode::METHOD_NOT_ALLOWED, \"",
        "problem(StatusCode::BAD_REQUEST, \"",
        "problem(StatusCode::SERVICE_UNAVAILABLE, \"",
        "problem(status, \"",
    ];
    let known = emitted();
    for (file, text) in layers::sources("") {
        for way in ways {
            for word in text.split(way).skip(1).filter_map(|rest| rest.split('"').next()) {
                assert!(
                    known.contains(word),
                    "{} emits {word}: give it to an area of src/manual/codes.rs",
                    file.display()
                );
            }
        }
    }
}

#[test]
fn every_page_says_what_it_means_and_what_to_do() {
    for (code, text) in PAGES {
        assert!(text.starts_with(&format!("# `{code}`\n\n")), "{code}");
        let sentence = summary(code);
        assert!(sentence.ends_with('.') && sentence.len() > 20, "{code}: {sentence}");
        assert!(text.contains("\n## What to do\n"), "{code}");
        let headings: Vec<&str> = text.lines().filter(|line| line.starts_with('#')).skip(1).collect();
        let order = ["## Likely causes", "## What to do", "## How it looks"];
        assert!(
            headings.iter().all(|heading| order.contains(heading))
                && headings.is_sorted_by_key(|heading| order.iter().position(|one| one == heading)),
            "{code}: {headings:?}"
        );
    }
}

/// What a page shows below "How it looks".
fn example(code: &str) -> Option<&'static str> {
    page(code)?.split("```text\n").nth(1)?.split("\n```").next()
}

#[test]
fn what_a_page_shows_of_a_configuration_is_what_check_says() {
    let errors = std::fs::read_dir(super::root().join("tests/configs/bad")).unwrap();
    let errors = errors
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|it| it == "error"));
    let said: String = errors.map(|path| std::fs::read_to_string(path).unwrap()).collect();
    let (mut copied, mut own) = (0, Vec::new());
    for code in config::Code::ALL.iter().map(|code| code.word()) {
        let shown = example(code).unwrap_or_else(|| panic!("{code} shows nothing"));
        assert!(shown.contains(&format!("[{code}]: ")), "{shown}");
        if said.contains(&format!("error[{code}]")) {
            assert!(
                said.contains(shown),
                "{code}: no configuration of tests/configs/bad is told so:\n{shown}"
            );
            copied += 1;
        } else {
            own.push(code);
        }
    }
    assert!(copied >= 25, "{copied}");
    assert!(own.len() <= 9, "{own:?}");
}

#[test]
fn what_a_page_shows_of_answers_and_status_bears_its_code() {
    for code in proxy::error::Code::ALL {
        let Some(shown) = example(code.word()) else { continue };
        let status = format!("HTTP/1.1 {} ", code.status().as_u16());
        assert!(
            shown.starts_with(&status) && shown.contains(&format!("\"code\":\"{}\"", code.word())),
            "{shown}"
        );
    }
    for code in grant::error::Code::ALL.iter().filter(|code| **code != grant::error::Code::Internal) {
        let Some(shown) = example(code.word()) else { continue };
        let (told, cure) = shown.split_once("\n         → ").unwrap_or((shown, ""));
        assert!(told.ends_with(&format!("({code})")), "{shown}");
        let wanted = match told {
            _ if told.contains("default  sign_in_required — ") => "bearerd login",
            _ if told.contains("default  misconfigured — ") => "mend it, then bearerd reload",
            _ => "",
        };
        assert_eq!(cure, wanted, "{shown}");
    }
    for state in grant::status::State::ALL.iter().filter(|state| state.word() != "sign_in_required") {
        assert!(example(state.word()).unwrap().contains(&format!("default  {state} — ")), "{state}");
    }
}

/// The texts in the sources, with their gaps: what stands between those.
fn literals() -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for (_, text) in layers::sources("") {
        // One literal a line, whatever it was broken into.
        let mut joined = String::new();
        for line in text.lines() {
            match joined.strip_suffix('\\') {
                Some(open) => joined = format!("{open}{}", line.trim_start()),
                None => joined = format!("{joined}\n{line}"),
            }
        }
        for line in joined.lines().filter(|line| !line.trim_start().starts_with("//")) {
            let line = line.replace("'\"'", "").replace("\\\"", "\0");
            for literal in line.split('"').skip(1).step_by(2) {
                let gaps = literal.replace('\0', "\"");
                let parts: Vec<String> = gaps
                    .split('{')
                    .map(|part| part.split_once('}').map_or(part, |(_, after)| after).to_owned())
                    .collect();
                if parts.iter().map(String::len).sum::<usize>() >= 20 {
                    found.push(parts);
                }
            }
        }
    }
    found
}

#[test]
fn what_a_page_shows_of_a_sentence_is_what_the_program_says() {
    let literals = literals();
    assert!(literals.len() > 500, "{}", literals.len());
    let says = |shown: &str| {
        literals.iter().any(|parts| {
            let mut rest = Some(shown);
            for part in parts {
                rest = rest.and_then(|rest| rest.split_once(part.as_str())).map(|(_, after)| after);
            }
            rest.is_some()
        })
    };
    let (mut seen, mut unsaid) = (0, Vec::new());
    for (code, _) in PAGES {
        let Some(shown) = example(code) else { continue };
        // Configurations' are compared whole, and answers' are made up of several.
        let Some((told, _)) = shown.split_once(&format!(" ({code})")) else { continue };
        let told = told.split_whitespace().collect::<Vec<_>>().join(" ");
        seen += 1;
        if !says(&told) {
            unsaid.push(*code);
        }
    }
    assert!(seen > 30, "{seen}");
    assert!(unsaid.is_empty(), "nothing of what these show is in the program: {unsaid:?}");
}

#[test]
fn explain_prints_the_page_of_every_code_in_a_terminals_width() {
    let home = Home::new();
    for (code, _) in PAGES.iter().step_by(8) {
        let (exit, out, err) = told(home.bearerd().args(["explain", code]));
        assert_eq!((exit, err.as_str()), (Some(0), ""));
        assert!(out.starts_with(&format!("{code}\n\n  ")) && out.contains("\nWhat to do\n"), "{out}");
        let prose = out.lines().filter(|line| !line.starts_with("    "));
        assert!(
            prose.clone().count() > 3 && prose.into_iter().all(|line| line.chars().count() <= 80),
            "{out}"
        );
    }
    let (exit, out, _) = told(home.bearerd().arg("explain"));
    assert_eq!(exit, Some(0));
    assert!(emitted().iter().all(|code| out.contains(&format!("\n  {code} "))), "{out}");
    assert!(TOPICS.iter().all(|(topic, _)| out.contains(&format!("\n  {topic} "))), "{out}");
    assert!(out.lines().all(|line| line.chars().count() <= 80), "{out}");
}

#[test]
fn explain_takes_a_code_as_it_was_printed_and_a_key_in_all_its_names() {
    let home = Home::new();
    let explained = |word: &str| told(home.bearerd().args(["explain", word]));
    for word in ["loop", "urn:bearerd:error:loop", "error[loop]", "error[loop]:"] {
        assert!(explained(word).1.starts_with("loop\n"), "{word}");
    }
    for word in ["oauth.client_id", "client_id", "grant.crm.client_id", "BEARERD_OAUTH_CLIENT_ID"] {
        let (_, out, _) = explained(word);
        assert!(out.starts_with("oauth.client_id\n\n  The client's name there.\n"), "{out}");
        assert!(out.contains("BEARERD_OAUTH_CLIENT_ID") && out.contains("--client-id"), "{out}");
    }
    // As an error names it, in a route; and a whole section.
    let (_, out, _) = explained("route.on_401");
    assert!(out.starts_with("on_401\n") && out.contains("or below [[route]]"), "{out}");
    let (_, out, _) = explained("store");
    assert!(out.starts_with("store.kind\n") && out.contains("\nstore.path\n"), "{out}");
    let (exit, _, err) = explained("grant_rejectd");
    assert_eq!(exit, Some(1));
    assert!(err.contains("did you mean `bearerd explain grant_rejected`?"), "{err}");
    let (_, _, err) = explained("oauth.clientid");
    assert!(err.contains("did you mean `bearerd explain oauth.client_id`?"), "{err}");
    let (exit, _, err) = explained("\u{1b}[2J");
    assert!(exit == Some(1) && !err.contains('\u{1b}'), "{err}");
}

#[test]
fn explain_prints_every_page_of_the_manual() {
    let home = Home::new();
    assert!(TOPICS.len() >= 19, "{}", TOPICS.len());
    for (topic, page) in TOPICS {
        let (exit, out, err) = told(home.bearerd().args(["explain", &topic.replace('_', "-")]));
        assert_eq!((exit, err.as_str()), (Some(0), ""), "{topic}");
        assert!(out.starts_with(title(page)), "{topic}: {out}");
        // What is a table in the page is none in a terminal, and no row of one is lost.
        assert!(!out.lines().any(|line| line.starts_with('|')), "{topic}: {out}");
        let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
        let headings = page.lines().filter_map(|line| line.strip_prefix("## "));
        assert!(rows.chain(headings).all(|it| out.contains(&it.replace('`', ""))), "{topic}: {out}");
    }
    let (_, _, err) = told(home.bearerd().args(["explain", "kecloak"]));
    assert!(err.contains("did you mean `bearerd explain keycloak`?"), "{err}");
}

#[test]
fn check_names_the_page_that_tells_more() {
    let home = Home::new();
    home.configure("upstrem = \"https://h\"\n[oauth]\nissuer = \"https://i\"\nclient_id = \"c\"\n");
    let (_, _, err) = told(home.bearerd().arg("check"));
    assert!(err.ends_with("\n`bearerd explain unknown_key` tells more.\n"), "{err}");
}
