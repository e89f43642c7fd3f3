//! The pages for `man`: bearerd(1) from the command itself, proxy.toml(5) from the table of keys.

use clap::{Arg, Command};

use crate::config::{Flags, Key, keys};

/// bearerd(1): every command on one page, and how each may end.
#[must_use]
pub fn bearerd(mut command: Command, exits: &[(u8, &str)]) -> String {
    command.build();
    let mut page = title("BEARERD", 1);
    page.push_str(".SH NAME\nbearerd \\- keeps an OAuth refresh token alive and authorizes requests\n");
    page.push_str(".SH SYNOPSIS\n\\fBbearerd\\fR [\\fIOPTIONS\\fR] \\fICOMMAND\\fR\n");
    page.push_str(".SH DESCRIPTION\n");
    command.get_about().iter().for_each(|about| page.push_str(&lines(&about.to_string())));
    page.push_str(".SH OPTIONS\nThese go before or after any command.\n");
    command.get_arguments().for_each(|argument| option(&mut page, argument));
    page.push_str(".SH COMMANDS\n");
    command.get_subcommands().for_each(|verb| verb_page(&mut page, "bearerd", verb));
    page.push_str(".SH EXIT STATUS\n");
    exits.iter().for_each(|(code, meaning)| page.push_str(&format!(".TP\n{code}\n{}", lines(meaning))));
    page.push_str(END);
    page
}

fn title(name: &str, section: u8) -> String {
    format!(".TH {name} {section} \"\" \"bearerd {}\" bearerd\n", env!("CARGO_PKG_VERSION"))
}

const END: &str = "\
.SH ENVIRONMENT
\\fBBEARERD_CONFIG\\fR names the configuration file. Keys of proxy.toml have variables of their own, named in
.BR proxy.toml (5).
.SH FILES
.I proxy.toml
here, then
.I /etc/bearerd/proxy.toml
.SH SEE ALSO
.BR proxy.toml (5);
\\fBbearerd explain\\fR tells of every code and key.
";

/// A command, with those below it.
fn verb_page(page: &mut String, above: &str, verb: &Command) {
    if verb.is_hide_set() {
        return;
    }
    let name = format!("{above} {}", verb.get_name());
    page.push_str(&format!(".SS {}\n", escaped(&name)));
    if let Some(about) = verb.get_about() {
        page.push_str(&lines(&format!("{about}.")));
    }
    let own = verb.get_arguments().filter(|argument| !argument.is_global_set());
    own.filter(|argument| argument.get_id() != "help").for_each(|argument| option(page, argument));
    if let Some(after) = verb.get_after_help() {
        page.push_str(".PP\n.nf\n");
        page.push_str(&lines(&after.to_string()));
        page.push_str(".fi\n");
    }
    verb.get_subcommands().for_each(|inner| verb_page(page, &name, inner));
}

fn option(page: &mut String, argument: &Arg) {
    if argument.is_hide_set() {
        return;
    }
    let short = argument.get_short().map(|short| format!("\\fB\\-{short}\\fR"));
    let long = argument.get_long().map(|long| format!("\\fB\\-\\-{}\\fR", escaped(long)));
    let takes = argument.get_action().takes_values();
    let names = argument.get_value_names().unwrap_or_default();
    let value = names.iter().map(|name| format!("\\fI{}\\fR", escaped(name))).collect::<Vec<_>>().join(" ");
    let flags: Vec<String> = short.into_iter().chain(long).collect();
    let heading = match (flags.is_empty(), takes) {
        (true, _) => value,
        (false, true) => format!("{} {value}", flags.join(", ")),
        (false, false) => flags.join(", "),
    };
    page.push_str(&format!(".TP\n{heading}\n"));
    if let Some(help) = argument.get_help() {
        page.push_str(&lines(&format!("{help}.")));
    }
    let listed = |words: Vec<String>| words.join(", ");
    let defaults = argument.get_default_values().iter().map(|value| value.to_string_lossy().into_owned());
    let words = argument.get_possible_values().into_iter().filter(|word| takes && !word.is_hide_set());
    for (what, words) in [
        ("One of", words.map(|word| word.get_name().to_owned()).collect()),
        ("Default:", defaults.collect::<Vec<_>>()),
    ] {
        if takes && !words.is_empty() {
            page.push_str(&lines(&format!("{what} {}.", listed(words))));
        }
    }
}

/// proxy.toml(5).
#[must_use]
pub fn proxy_toml() -> String {
    let mut page = title("PROXY.TOML", 5);
    page.push_str(".SH NAME\nproxy.toml \\- the configuration of bearerd\n.SH DESCRIPTION\n");
    page.push_str(&lines(
        "The file is TOML. Time spans and sizes are strings, as in \"30s\" and \"64KiB\". A secret is never written here, \
         but where it is to be found: { file = \"/path\" }, { env = \"NAME\" }, { credential = \"NAME\" } for one of \
         systemd's, { exec = [\"program\", \"argument\"] } for what a command prints, or { keyring = \"service/name\" } \
         where bearerd was built with it. Relative paths are relative to the file.",
    ));
    page.push_str(".PP\n");
    page.push_str(&lines(
        "A flag wins over the environment, the environment over the file. In variables, lists are separated by commas, and \
         an empty one counts as unset.",
    ));
    let mut section = None;
    for key in keys().filter(|key| !key.later) {
        if section != Some(key.section) {
            page.push_str(&format!(".SH {}\n", escaped(&heading(key.section))));
            section = Some(key.section);
        }
        of_key(&mut page, key);
    }
    page.push_str(".SH SEE ALSO\n.BR bearerd (1)\n");
    page
}

fn heading(section: &str) -> String {
    match section {
        "" => "AT THE TOP".to_owned(),
        "oauth" => "[oauth], [grant.NAME]".to_owned(),
        "route" => "[[route]]".to_owned(),
        section => format!("[{section}]"),
    }
}

fn of_key(page: &mut String, key: &Key) {
    let default = match key.default {
        "" => String::new(),
        default => format!(" = {}", escaped(default)),
    };
    page.push_str(&format!(".TP\n\\fB{}\\fR{default}\n", escaped(key.name)));
    page.push_str(&lines(key.meaning));
    if key.is_of_routes_too() {
        page.push_str(&lines("A [[route]] may have it for itself."));
    }
    let flag = Flags::of_key(&key.path()).map(str::to_owned);
    let ways: Vec<String> =
        key.variables().into_iter().filter(|name| !takes_only_a_reference(key, name)).chain(flag).collect();
    if !ways.is_empty() {
        page.push_str(&format!(".br\n{}\n", escaped(&ways.join(", "))));
    }
}

/// The variable that a secret itself would stand in, which is refused.
fn takes_only_a_reference(key: &Key, name: &str) -> bool {
    key.variables().len() > 1 && !name.ends_with("_FILE") && !name.ends_with("_ENV")
}

fn lines(text: &str) -> String {
    text.lines().map(|line| format!("{}\n", escaped(line))).collect()
}

/// A text that roff takes for nothing but text.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-").replace('`', "").replace('\'', "\\(aq");
    if text.starts_with('.') { format!("\\&{text}") } else { text }
}
