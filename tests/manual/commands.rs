use std::path::Path;

use bearerd::config::Config;
use clap::error::ErrorKind;

use super::texts;
use crate::support::process::{Home, told};

/// Programs beside bearerd that a reader may be told to run.
const OTHERS: &[&str] = &[
    "cargo",
    "cd",
    "chmod",
    "cp",
    "curl",
    "docker",
    "git",
    "install",
    "jq",
    "kubectl",
    "ls",
    "mkdir",
    "openssl",
    "podman",
    "source",
    "ssh",
    "sudo",
    "systemctl",
    "systemd-run",
    "taplo",
    "umask",
];

/// Infos of blocks that hold what is printed, or another's file.
const SHOWN: &[&str] = &["text", "json", "yaml", "ini"];

struct Block {
    page: String,
    info: String,
    text: String,
}

fn blocks() -> Vec<Block> {
    let mut found = Vec::new();
    for (page, text) in texts() {
        let parts: Vec<&str> = text.split("```").collect();
        assert!(parts.len() % 2 == 1, "{page} has a block without end");
        for block in parts.into_iter().skip(1).step_by(2) {
            let (info, text) = block.split_once('\n').unwrap();
            found.push(Block { page: page.clone(), info: info.trim().to_owned(), text: text.to_owned() });
        }
    }
    assert!(found.len() > 80, "{}", found.len());
    found
}

/// The simple commands of a line of shell: words without quotes, redirections left out.
fn commands(line: &str) -> Vec<Vec<String>> {
    let (mut all, mut words, mut word) = (Vec::new(), Vec::new(), None::<String>);
    let mut quote = None;
    for c in line.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), c) => word.get_or_insert_default().push(c),
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, ' ') => words.extend(word.take()),
            (None, '#') if word.is_none() => break,
            (None, '|' | ';' | '&' | '(' | ')') => {
                words.extend(word.take());
                all.push(std::mem::take(&mut words));
            }
            (None, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    all.push(words);
    let is_variable = |word: &String| {
        word.split_once('=')
            .is_some_and(|(name, _)| name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_'))
    };
    for words in &mut all {
        while words.first().is_some_and(is_variable) {
            words.remove(0);
        }
        if let Some(at) = words.iter().position(|word| word.starts_with(['>', '<'])) {
            words.truncate(at);
        }
    }
    all.retain(|words| !words.is_empty());
    all
}

/// What clap makes of a command line.
fn parsed(words: &[String]) -> Result<(), String> {
    match bearerd::cli::command().try_get_matches_from(words) {
        Ok(_) => Ok(()),
        Err(usage) if matches!(usage.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => Ok(()),
        Err(usage) => Err(usage.to_string()),
    }
}

#[test]
fn lines_of_shell_are_taken_apart() {
    let words = |line: &str| commands(line).iter().map(|words| words.join("|")).collect::<Vec<_>>();
    assert_eq!(words("a \"b c\" 'd' > e # f"), ["a|b c|d"]);
    assert_eq!(words("X=1 a | b && c"), ["a", "b", "c"]);
    assert_eq!(words("# only a comment"), [""; 0]);
}

#[test]
fn every_command_that_is_shown_is_parsed_or_known_by_name() {
    let mut ours = 0;
    for Block { page, info, text } in blocks() {
        let joined = text.replace("\\\n", " ");
        let lines: Vec<&str> = match info.as_str() {
            "sh" => joined.lines().collect(),
            // What a person types stands behind a prompt there.
            "text" => joined.lines().filter_map(|line| line.strip_prefix("$ ")).collect(),
            _ => continue,
        };
        for mut words in lines.into_iter().flat_map(commands) {
            // What it runs is ours to parse, too.
            if words[0] == "systemd-run"
                && let Some(at) = words.iter().position(|word| word.ends_with("/bearerd"))
            {
                words.drain(..at);
                words[0] = "bearerd".to_owned();
            }
            if words[0] == "bearerd" {
                parsed(&words).unwrap_or_else(|why| panic!("{page}: {words:?}: {why}"));
                ours += 1;
            } else {
                let shows = info == "text" && !OTHERS.contains(&words[0].as_str()) && words[0] == "grep";
                assert!(shows || OTHERS.contains(&words[0].as_str()), "{page}: who is {:?}?", words[0]);
            }
        }
    }
    assert!(ours >= 40, "{ours}");
}

#[test]
fn every_command_that_is_named_in_a_sentence_is_parsed() {
    let mut ours = 0;
    for (page, text) in texts() {
        for quoted in super::quoted(&text).into_iter().filter(|quoted| quoted.starts_with("bearerd ")) {
            for words in
                commands(&quoted.replace('\n', " ")).into_iter().filter(|words| words[0] == "bearerd")
            {
                // A sentence may name a command without all that it needs.
                let is_named = |why: &String| why.contains("required arguments were not provided");
                parsed(&words)
                    .or_else(|why| if is_named(&why) { Ok(()) } else { Err(why) })
                    .unwrap_or_else(|why| panic!("{page}: {words:?}: {why}"));
                ours += 1;
            }
        }
    }
    assert!(ours >= 40, "{ours}");
}

#[test]
fn every_configuration_that_is_shown_loads() {
    let mut found = 0;
    for Block { page, text, .. } in blocks().into_iter().filter(|block| block.info == "toml") {
        let loaded = Config::of_text(Path::new("proxy.toml"), &text);
        loaded.unwrap_or_else(|errors| panic!("{page}:\n{errors}"));
        found += 1;
    }
    assert!(found >= 10, "{found}");
}

/// The blocks of each text, with the one that comes next in the same.
fn neighbours() -> impl Iterator<Item = (Block, Block)> {
    let pairs = blocks().into_iter().zip(blocks().into_iter().skip(1));
    pairs.filter(|(block, next)| block.page == next.page)
}

/// The commands of bearerd's own in a block of shell.
fn own(block: &Block) -> Vec<Vec<String>> {
    if block.info != "sh" {
        return Vec::new();
    }
    let joined = block.text.replace("\\\n", " ");
    joined.lines().flat_map(commands).filter(|words| words[0] == "bearerd").collect()
}

#[test]
fn what_a_first_file_is_shown_to_be_is_what_is_written() {
    let mut found = 0;
    for (block, next) in neighbours().filter(|(_, next)| next.info == "toml") {
        for words in
            own(&block).iter().filter(|words| words[1..].starts_with(&["config".into(), "init".into()]))
        {
            let arguments = words[1..].iter().filter(|word| !word.ends_with(".toml"));
            let (code, out, err) = told(Home::new().bearerd().args(arguments).arg("-"));
            assert_eq!(code, Some(0), "{}: {err}", block.page);
            assert_eq!(next.text, out, "{} shows another file than {words:?} writes", block.page);
            found += 1;
        }
    }
    assert!(found >= 4, "{found}");
}

#[test]
fn what_is_checked_beside_a_configuration_finds_it_good_in_a_plain_shell() {
    let mut found = 0;
    for (first, second) in neighbours() {
        let (toml, sh) = if first.info == "toml" { (first, second) } else { (second, first) };
        let runs = own(&sh).into_iter().any(|words| ["check", "login", "run"].contains(&words[1].as_str()));
        if toml.info == "toml" && runs {
            let home = Home::new();
            home.configure(&toml.text);
            let (code, _, err) = told(home.bearerd().arg("check"));
            assert_eq!(code, Some(0), "{}: {err}", toml.page);
            found += 1;
        }
    }
    assert!(found >= 3, "{found}");
}

/// Where the sources are, there is a proxy.toml already.
#[test]
fn a_first_file_is_not_written_over_the_reference() {
    let mut found = 0;
    for block in blocks().iter().filter(|block| block.text.contains("cargo install --path .")) {
        let rest = texts().into_iter().find(|(page, _)| *page == block.page).unwrap().1;
        let rest = rest.split("cargo install --path .").nth(1).unwrap();
        let before = rest.split("bearerd config init").next().unwrap();
        assert!(before.contains("\nmkdir ") && before.contains("&& cd "), "{}", block.page);
        found += 1;
    }
    assert!(found >= 2, "{found}");
}

#[test]
fn every_block_says_what_it_is() {
    for Block { page, info, text } in blocks() {
        let known = ["sh", "toml"].contains(&info.as_str()) || SHOWN.contains(&info.as_str());
        assert!(known, "{page}: a block of {info:?}:\n{text}");
    }
}
