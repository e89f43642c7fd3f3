use std::fmt::Write as _;

use bearerd::config::{Flags, Key, keys};
use bearerd::metrics::METRICS;
use bearerd::telemetry::EVENTS;

/// The pages, as the code has them now.
fn made() -> [(&'static str, String); 4] {
    [
        ("configuration", configuration()),
        ("commands", commands()),
        ("metrics", metrics()),
        ("events", events()),
    ]
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a person asks for the pages to be written")]
fn every_page_of_reference_is_what_the_code_says() {
    for (name, text) in made() {
        let path = super::root().join("src/manual/reference").join(format!("{name}.md"));
        if std::env::var_os("BEARERD_WRITE").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &text).unwrap();
        }
        let written = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            written == text,
            "{} is not what the code says; BEARERD_WRITE=1 cargo test manual",
            path.display()
        );
    }
}

const MADE: &str = "Made from the code by `BEARERD_WRITE=1 cargo test manual`.";

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

/// A sentence in which what looks like a link, and is an example, stands as code.
fn sentence(text: &str) -> String {
    let word = |word: &str| {
        let bare = word.trim_end_matches(['.', ',', ';']);
        if bare.contains("://") && !bare.contains('`') {
            format!("`{bare}`{}", &word[bare.len()..])
        } else {
            word.to_owned()
        }
    };
    cell(&text.split(' ').map(word).collect::<Vec<_>>().join(" "))
}

fn code(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("`{}`", cell(text)) }
}

fn configuration() -> String {
    let mut page = format!(
        "# Reference: proxy.toml\n\n{MADE} `bearerd explain KEY` tells the same of one key, `bearerd config schema` tells it \
         to editors.\n\nA flag wins over the environment, the environment over the file. Of a key with two variables, one \
         ends in `_FILE` and names a file, the other in `_ENV` and names a variable.\n"
    );
    let mut section = None;
    for key in keys().filter(|key| !key.later) {
        if section != Some(key.section) {
            let heading = match key.section {
                "" => "At the top".to_owned(),
                "oauth" => "`[oauth]`, or `[grant.NAME]`".to_owned(),
                "route" => "`[[route]]`".to_owned(),
                section => format!("`[{section}]`"),
            };
            let _ = write!(
                page,
                "\n## {heading}\n\n| key | default | meaning | variable, flag |\n|---|---|---|---|\n"
            );
            section = Some(key.section);
        }
        let ways: Vec<String> = ways(key).iter().map(|way| code(way)).collect();
        let _ = writeln!(
            page,
            "| `{}` | {} | {} | {} |",
            key.name,
            code(key.default),
            sentence(key.meaning),
            ways.join(" ")
        );
    }
    page.push_str("\nA `[[route]]` also takes what the top level says about how requests are carried: `header`, `scheme`, `http`, `on_401`, `response_timeout`, `allow_plaintext_upstream`, `methods`.\n");
    page.push_str(&hooks());
    page
}

/// What a hook's command is told, and when.
fn hooks() -> String {
    let mut section = "\n## What `state_changed` is told\n\nThe command is run without a shell, with bearerd's own environment \
         (where that holds a secret, the command has it too, as one of `exec` does) and these variables more. The same \
         stands in one JSON object on its standard input. No token and no secret is among it.\n\n\
         | variable | member | meaning |\n|---|---|---|\n"
        .to_owned();
    for (variable, member, meaning) in bearerd::hooks::TOLD {
        let _ = writeln!(section, "| `{variable}` | `{member}` | {meaning} |");
    }
    section.push_str(
        "\nIt is run at the first word after `starting`, and at each other word from then on; `starting` itself is not told. \
         It is looked every half second, and not while a command runs: a word that is shorter is not told. Of each grant it \
         is told once in 30 s at most: what happens meanwhile is told after that as one change, and not at all if the word is \
         the same again. One command runs at a time, for 30 s at most; then it is ended with its process group, and not what \
         has left that. One that cannot be ended, as after `sudo -u`, is told of and runs on. When bearerd is asked to end, no \
         more are started, and one that runs has 1 s left, and is then ended; if that does not come about, the end waits 5 s \
         more, and leaves it alone. Requests, refreshes and reloads never wait for it. A command that fails or was ended is a \
         line `hook_failed`, and is not run again for that change. A reload takes up another command: one in the place of \
         another is told what was held back as well, and a first one what changes from then on.\n\n\
         In a container bearerd may be process 1, which reaps no children but its own: run it with `--init` (`tini`) if a \
         command leaves others behind.\n",
    );
    section
}

/// The variables and the flag that set a key.
fn ways(key: &Key) -> Vec<String> {
    let variables = key.variables();
    let is_reference = |name: &String| name.ends_with("_FILE") || name.ends_with("_ENV");
    let several = variables.len() > 1;
    let mut ways: Vec<String> = variables.into_iter().filter(|name| !several || is_reference(name)).collect();
    ways.extend(Flags::of_key(&key.path()).map(str::to_owned));
    ways
}

fn commands() -> String {
    let mut page = format!("# Reference: commands\n\n{MADE}\n");
    page.push_str(
        "\nAnswers go to standard output, all else to standard error. How a command ends:\n\n| code | meaning |\n|---|---|\n",
    );
    for (code, meaning) in bearerd::cli::EXITS {
        let _ = writeln!(page, "| {code} | {meaning} |");
    }
    let mut command = bearerd::cli::command().term_width(100);
    command.build();
    let verbs: Vec<clap::Command> = command.get_subcommands().cloned().collect();
    verbs.into_iter().for_each(|verb| of_verb(&mut page, "bearerd", verb));
    page
}

fn of_verb(page: &mut String, above: &str, verb: clap::Command) {
    let name = format!("{above} {}", verb.get_name());
    let inner: Vec<clap::Command> = verb.get_subcommands().cloned().collect();
    if inner.is_empty() {
        let help = verb.term_width(100).render_help().to_string();
        let trimmed: Vec<&str> = help.lines().map(str::trim_end).collect();
        let _ = write!(page, "\n## `{name}`\n\n```text\n{}\n```\n", trimmed.join("\n").trim_end());
    }
    inner.into_iter().for_each(|verb| of_verb(page, &name, verb));
}

fn metrics() -> String {
    let mut page = format!(
        "# Reference: metrics\n\n{MADE} In OpenMetrics text, at `/metrics` of `[probes]` and `[admin]`. The samples of a \
         counter end in `…_total`. Times are in seconds since 1970.\n\n| metric | type | labels | meaning |\n|---|---|---|---|\n"
    );
    for metric in METRICS {
        let labels: Vec<String> = metric.labels.iter().map(|label| code(label)).collect();
        let linux = if metric.linux { " (Linux)" } else { "" };
        let _ = writeln!(
            page,
            "| `{}` | {} | {} | {}{linux}. |",
            metric.name,
            metric.kind.as_str(),
            labels.join(" "),
            cell(metric.help)
        );
    }
    page
}

fn events() -> String {
    let mut page = format!(
        "# Reference: log events\n\n{MADE} Each line has `event`, one of these names; they are stable, the sentences beside \
         them are not.\n\n| event | when |\n|---|---|\n"
    );
    for event in EVENTS {
        let _ = writeln!(page, "| `{}` | {} |", event.name, cell(event.meaning));
    }
    page
}
