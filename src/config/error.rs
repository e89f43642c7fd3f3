//! What is wrong with a configuration, shown where it was written: line, caret and cure.

use std::fmt;
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

use crate::code::codes;

codes! {
    /// The kinds of fault, in one namespace with the codes of the proxy's answers.
    {
        /// The file cannot be read.
        UnreadableFile = "unreadable_file";
        /// The file is not TOML.
        TomlSyntax = "toml_syntax";
        /// A key that nobody knows.
        UnknownKey = "unknown_key";
        /// A variable `BEARERD_…` that nobody knows; a warning.
        UnknownVariable = "unknown_variable";
        /// A key or value that a later version will know.
        NotYet = "not_yet";
        /// What this program was built without.
        NotBuiltIn = "not_built_in";
        /// A number where text belongs, and the like.
        WrongType = "wrong_type";
        /// Something that cannot be left out.
        MissingKey = "missing_key";
        /// Two ways of saying the same thing.
        MixedShapes = "mixed_shapes";
        /// Keys that exclude one another, or that need one another.
        Contradiction = "contradiction";
        /// A secret written into the configuration itself.
        BareSecret = "bare_secret";
        /// A reference to a secret that is not exactly one of `file`, `env`, `credential`.
        BadSecretReference = "bad_secret_reference";
        /// A reference to a variable that is not set.
        SecretUnset = "secret_unset";
        /// A file with a secret is not there; a warning.
        SecretFileMissing = "secret_file_missing";
        /// A file with a secret can be read by too many; a warning.
        SecretFileMode = "secret_file_mode";
        /// A word that is not one of those allowed.
        BadChoice = "bad_choice";
        /// Not a time span, or one that makes no sense here.
        BadDuration = "bad_duration";
        /// Not a size, or one that makes no sense here.
        BadSize = "bad_size";
        /// A number that is out of range.
        BadNumber = "bad_number";
        /// Not a URL, or one with parts that it must not have.
        BadUrl = "bad_url";
        /// Not an address.
        BadAddress = "bad_address";
        /// Not the name of a host.
        BadHost = "bad_host";
        /// Not the origin of a web page.
        BadOrigin = "bad_origin";
        /// Not a name that a header may have, or not a scheme.
        BadHeader = "bad_header";
        /// Not a method, or one that is never carried.
        BadMethod = "bad_method";
        /// Not a path that a request could have.
        BadPath = "bad_path";
        /// Not a name that a grant may have.
        BadGrantName = "bad_grant_name";
        /// Not a text that can stand here.
        BadText = "bad_text";
        /// A parameter that the token request needs for itself.
        ReservedParameter = "reserved_parameter";
        /// A listener that others than this machine could reach.
        ExposedListener = "exposed_listener";
        /// Tokens would cross a network in plain text.
        PlaintextUpstream = "plaintext_upstream";
        /// Secrets would cross a network in plain text.
        PlaintextServer = "plaintext_server";
        /// A route's grant that is nowhere configured.
        UnknownGrant = "unknown_grant";
        /// A grant that no route uses; a warning.
        UnusedGrant = "unused_grant";
        /// Two routes for the same path and host.
        DuplicateRoute = "duplicate_route";
    }
}

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// These bytes of the file.
    File(Range<usize>),
    /// This environment variable.
    Variable(String),
    /// This flag.
    Flag(&'static str),
    /// Nowhere: it is missing.
    Nowhere,
}

impl Place {
    /// Sorts as people look: down the file first, then the environment, then flags, then what is missing.
    fn rank(&self) -> (u8, usize, &str) {
        match self {
            Self::File(span) => (0, span.start, ""),
            Self::Variable(name) => (1, 0, name),
            Self::Flag(name) => (2, 0, name),
            Self::Nowhere => (3, 0, ""),
        }
    }
}

/// One thing that is wrong, or that deserves a warning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub(super) code: Code,
    pub(super) title: String,
    pub(super) place: Place,
    /// What stands under the caret.
    pub(super) label: String,
    pub(super) help: Option<String>,
}

impl Problem {
    pub(super) fn new(code: Code, place: &Place, title: impl Into<String>) -> Self {
        Self { code, title: printable(title.into()), place: place.clone(), label: String::new(), help: None }
    }

    pub(super) fn label(self, label: impl Into<String>) -> Self {
        Self { label: label.into(), ..self }
    }

    pub(super) fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(printable(help.into())), ..self }
    }

    /// The kind of fault.
    #[must_use]
    pub fn code(&self) -> Code {
        self.code
    }

    fn group<'a>(&'a self, level: Level<'a>, source: &'a Source) -> Group<'a> {
        let group =
            level.primary_title(self.title.as_str()).id(self.code.word()).elements(self.origin(source));
        match &self.place {
            Place::File(span) => {
                let label = (!self.label.is_empty()).then_some(self.label.as_str());
                let caret = AnnotationKind::Primary.span(span.clone()).label(label);
                group.element(
                    Snippet::source(source.text.as_str()).path(source.name.as_str()).annotation(caret),
                )
            }
            _ => group,
        }
        .elements(self.help.as_deref().map(|help| Level::HELP.message(help)))
    }

    /// Names what has no line to show.
    fn origin(&self, source: &Source) -> Option<Origin<'static>> {
        match &self.place {
            Place::File(_) => None,
            Place::Variable(name) => Some(Origin::path(printable(format!("environment variable {name}")))),
            Place::Flag(name) => Some(Origin::path(format!("flag {name}"))),
            Place::Nowhere if source.name.is_empty() => None,
            Place::Nowhere => Some(Origin::path(source.name.clone())),
        }
    }
}

/// A sentence for a log line: the code, what is wrong, and the cure.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.title)?;
        self.help.iter().try_for_each(|help| write!(f, "; {help}"))
    }
}

/// The file's name and text, for showing lines of it. Secrets in the text are already masked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Source {
    /// Empty when there is no file.
    pub(super) name: String,
    pub(super) text: String,
}

/// Collects problems, so that all are told in one go.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) errors: Vec<Problem>,
    pub(super) warnings: Vec<Problem>,
}

impl Report {
    pub(super) fn error(&mut self, problem: Problem) {
        self.errors.push(problem);
    }

    pub(super) fn warn(&mut self, problem: Problem) {
        self.warnings.push(problem);
    }
}

/// Everything that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors {
    source: Source,
    problems: Vec<Problem>,
}

impl ConfigErrors {
    pub(super) fn new(source: Source, mut problems: Vec<Problem>) -> Self {
        problems.sort_by(|one, two| one.place.rank().cmp(&two.place.rank()));
        Self { source, problems }
    }

    /// What is wrong, in the order of the file.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// The whole text for a person, with a line at its end.
    #[must_use]
    pub fn render(&self, color: bool) -> String {
        render(&self.problems, &self.source, &Level::ERROR, color)
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for ConfigErrors {}

/// Renders problems one after another, an empty line between them.
pub(super) fn render(problems: &[Problem], source: &Source, level: &Level<'_>, color: bool) -> String {
    let renderer = if color { Renderer::styled() } else { Renderer::plain() };
    let show = |problem| format!("{}\n", renderer.render(&[Problem::group(problem, level.clone(), source)]));
    problems.iter().map(show).collect::<Vec<_>>().join("\n")
}

/// A file's or variable's text must not steer the terminal that it is shown on.
fn printable(text: String) -> String {
    if text.contains(char::is_control) { text.escape_debug().to_string() } else { text }
}

/// The candidate nearest to `word`, if one is near enough to be a slip of the hand.
pub(crate) fn did_you_mean<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let most = 1 + word.chars().count() / 4;
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_one_namespace_with_those_of_the_proxy() {
        let mut words: Vec<&str> = Code::ALL.iter().map(|code| code.word()).collect();
        words.extend(crate::proxy::error::Code::ALL.iter().map(|code| code.word()));
        let distinct: std::collections::HashSet<_> = words.iter().collect();
        assert_eq!(distinct.len(), words.len());
        assert!(words.iter().all(|word| word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')));
    }

    #[test]
    fn only_slips_of_the_hand_are_guessed() {
        let keys = ["issuer", "client_id", "refresh_margin"];
        assert_eq!(did_you_mean("isuer", keys), Some("issuer"));
        assert_eq!(did_you_mean("clientid", keys), Some("client_id"));
        assert_eq!(did_you_mean("tls", keys), None);
    }

    #[test]
    fn colour_is_used_only_when_asked_for() {
        let source = Source { name: "proxy.toml".to_owned(), text: "x = 1\n".to_owned() };
        let problem = Problem::new(Code::UnknownKey, &Place::File(0..1), "unknown key `x`");
        let errors = ConfigErrors::new(source, vec![problem]);
        assert!(!errors.to_string().contains('\u{1b}') && errors.render(true).contains('\u{1b}'));
    }
}
