//! Values as they were written, whatever wrote them, and the one way to read them into types.

use http::{HeaderName, HeaderValue};

use super::error::{Code, Place, Problem, Report};

/// One value and where it was written.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Item {
    /// The key, as in `oauth.timeout`.
    pub(super) key: String,
    pub(super) form: Form,
    pub(super) place: Place,
}

/// What was written.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Form {
    /// A string of the file.
    Text(String),
    /// Text of the environment or of a flag: the key decides what it is.
    Plain(String),
    Integer(Option<i64>),
    Truth(bool),
    List(Vec<Item>),
    Table(Vec<(Name, Item)>),
    /// Floats and dates, which no key takes.
    Other(&'static str),
}

/// A key as written.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Name {
    pub(super) text: String,
    pub(super) place: Place,
}

/// A value that was read, and where it was written.
#[derive(Clone, Debug)]
pub(super) struct Placed<T> {
    pub(super) value: T,
    pub(super) place: Place,
}

/// How the environment spells a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overlay {
    /// `BEARERD_<PATH>`.
    Plain,
    /// `BEARERD_<PATH>_FILE` and `…_ENV`.
    Secret,
    /// Not at all: tables.
    None,
}

/// A type that a key may have. Everything wrong with the value goes into the report; `None` then.
pub(super) trait Read: Sized {
    const OVERLAY: Overlay = Overlay::Plain;
    /// Whether it is the path of a file.
    const IS_PATH: bool = false;

    fn read(item: &Item, report: &mut Report) -> Option<Self>;
}

/// A type that is written as one string.
pub(super) trait FromText: Sized {
    /// What it is, as in `a time span such as "30s"`.
    const WHAT: &str;
    /// Whether it is the path of a file.
    const IS_A_PATH: bool = false;

    fn from_text(text: &str) -> Result<Self, Fault>;

    /// How a bare number should have been written.
    fn instead_of(_number: i64) -> Option<String> {
        None
    }
}

/// Why a text is not what it should be.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) code: Code,
    /// Follows the key's name, as in `is not a time span`.
    pub(super) why: String,
    pub(super) help: Option<String>,
}

impl Fault {
    pub(super) fn new(code: Code, why: impl Into<String>) -> Self {
        Self { code, why: why.into(), help: None }
    }

    pub(super) fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }
}

impl Item {
    pub(super) fn problem(&self, code: Code, why: &str) -> Problem {
        Problem::new(code, &self.place, format!("`{}` {why}", self.key))
    }

    pub(super) fn wrong_type(&self, wanted: &str) -> Problem {
        self.problem(Code::WrongType, &format!("must be {wanted}"))
            .label(format!("this is {}", self.form.noun()))
    }

    /// The text, whoever wrote it.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.form {
            Form::Text(text) | Form::Plain(text) => Some(text),
            _ => None,
        }
    }

    /// The entries of a list; the environment's are separated by commas.
    fn entries(&self) -> Option<Vec<Item>> {
        match &self.form {
            Form::List(items) => Some(items.clone()),
            Form::Plain(text) => {
                let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
                Some(entries.map(|entry| self.with(Form::Plain(entry.to_owned()))).collect())
            }
            _ => None,
        }
    }

    fn with(&self, form: Form) -> Self {
        Self { key: self.key.clone(), form, place: self.place.clone() }
    }
}

impl Form {
    pub(super) fn noun(&self) -> &'static str {
        match self {
            Self::Text(_) | Self::Plain(_) => "a string",
            Self::Integer(_) => "a number",
            Self::Truth(_) => "true or false",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
            Self::Other(noun) => noun,
        }
    }
}

impl<T: FromText> Read for T {
    const IS_PATH: bool = T::IS_A_PATH;

    fn read(item: &Item, report: &mut Report) -> Option<Self> {
        let Some(text) = item.text() else {
            report.error(not_text::<T>(item));
            return None;
        };
        let told = |fault: Fault| {
            let problem = item.problem(fault.code, &fault.why);
            report.error(match fault.help {
                Some(help) => problem.help(help),
                None => problem,
            });
        };
        T::from_text(text).map_err(told).ok()
    }
}

fn not_text<T: FromText>(item: &Item) -> Problem {
    let problem = item.wrong_type(T::WHAT);
    match item.form {
        Form::Integer(Some(number)) => match T::instead_of(number) {
            Some(text) => problem.help(format!("write {text}")),
            None => problem,
        },
        _ => problem,
    }
}

impl Read for bool {
    fn read(item: &Item, report: &mut Report) -> Option<Self> {
        match &item.form {
            Form::Truth(truth) => return Some(*truth),
            Form::Plain(text) if text == "true" => return Some(true),
            Form::Plain(text) if text == "false" => return Some(false),
            _ => {}
        }
        report.error(item.wrong_type("true or false"));
        None
    }
}

/// A list of strings; one alone is refused.
#[derive(Clone, Debug, Default)]
pub(super) struct List<T>(pub(super) Vec<Placed<T>>);

impl<T: FromText> Read for List<T> {
    fn read(item: &Item, report: &mut Report) -> Option<Self> {
        let Some(entries) = item.entries() else {
            let problem = item.wrong_type("a list of strings");
            report.error(match item.text() {
                Some(text) => {
                    problem.help(format!("write {:?}", text.split_whitespace().collect::<Vec<_>>()))
                }
                None => problem,
            });
            return None;
        };
        read_all(&entries, report).map(Self)
    }
}

/// One string, or a list that is not empty.
#[derive(Clone, Debug)]
pub(super) struct OneOrMore<T>(pub(super) Vec<Placed<T>>);

impl<T: FromText> Read for OneOrMore<T> {
    fn read(item: &Item, report: &mut Report) -> Option<Self> {
        let entries = item.entries().unwrap_or_else(|| vec![item.clone()]);
        read_some(item, &entries, report).map(Self)
    }
}

/// Reads every entry of what may not be empty.
pub(super) fn read_some<T: Read>(
    item: &Item,
    entries: &[Item],
    report: &mut Report,
) -> Option<Vec<Placed<T>>> {
    if entries.is_empty() {
        report.error(
            item.problem(Code::MissingKey, "is an empty list").help("name at least one, or remove the key"),
        );
        return None;
    }
    read_all(entries, report)
}

/// Reads every entry, so that every fault is told.
fn read_all<T: Read>(entries: &[Item], report: &mut Report) -> Option<Vec<Placed<T>>> {
    let read = entries
        .iter()
        .map(|entry| Some(Placed { value: T::read(entry, report)?, place: entry.place.clone() }));
    let all: Vec<Option<Placed<T>>> = read.collect();
    all.into_iter().collect()
}

/// A whole number from `LEAST` to `MOST`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Count<const LEAST: i64, const MOST: i64>(pub(super) usize);

impl<const LEAST: i64, const MOST: i64> Read for Count<LEAST, MOST> {
    fn read(item: &Item, report: &mut Report) -> Option<Self> {
        let number = match &item.form {
            Form::Integer(number) => *number,
            Form::Plain(text) => text.parse().ok(),
            _ => {
                let problem = item.wrong_type("a whole number");
                report.error(match item.text().filter(|text| text.parse::<i64>().is_ok()) {
                    Some(text) => problem.help(format!("write {text}, without quotes")),
                    None => problem,
                });
                return None;
            }
        };
        let fits = number.filter(|number| (LEAST..=MOST).contains(number));
        if fits.is_none() {
            let why = format!("must be a whole number from {LEAST} to {MOST}");
            report.error(item.problem(Code::BadNumber, &why));
        }
        fits.and_then(|number| usize::try_from(number).ok()).map(Self)
    }
}

/// `"auto"` or a number of threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Workers {
    OnePerCore,
    Threads(usize),
}

impl Workers {
    /// More threads than any machine has cores is a slip of the hand.
    pub(super) const MOST: i64 = 1024;
}

impl Read for Workers {
    fn read(item: &Item, report: &mut Report) -> Option<Self> {
        match item.text() {
            Some("auto") => Some(Self::OnePerCore),
            Some(text) if text.parse::<i64>().is_err() => {
                report.error(item.problem(Code::BadChoice, "must be a number of threads or \"auto\""));
                None
            }
            _ => Count::<1, { Self::MOST }>::read(item, report).map(|count| Self::Threads(count.0)),
        }
    }
}

/// Parameters that are added to token requests and sign-ins: a table of strings.
#[derive(Clone, Debug, Default)]
pub(super) struct Extra(pub(super) Vec<(String, String)>);

/// Header fields that are added to token requests: a table of strings.
#[derive(Clone, Debug, Default)]
pub(super) struct ExtraHeaders(pub(super) Vec<(HeaderName, HeaderValue)>);

/// Those that a token request has, or may come to have, for its own sake.
pub(super) const RESERVED_HEADERS: [&str; 10] = [
    "accept",
    "authorization",
    "connection",
    "content-length",
    "content-type",
    "dpop",
    "expect",
    "host",
    "transfer-encoding",
    "user-agent",
];

impl Read for ExtraHeaders {
    const OVERLAY: Overlay = Overlay::None;

    fn read(item: &Item, report: &mut Report) -> Option<Self> {
        let additions = Additions {
            example: "{ x-tenant = \"7\" }",
            noun: "header",
            is_reserved: |name| RESERVED_HEADERS.contains(&name.to_ascii_lowercase().as_str()),
            help: "`extra_headers` adds header fields and never replaces one",
        };
        additions.read(item, report, header).map(Self)
    }
}

fn header(name: &Name, value: &Item, text: &str, report: &mut Report) -> Option<(HeaderName, HeaderValue)> {
    match (HeaderName::try_from(&name.text), HeaderValue::try_from(text)) {
        (Ok(name), Ok(value)) => return Some((name, value)),
        (Err(_), _) => {
            let title = format!("`{}` is not a name that a header may have", name.text.escape_debug());
            let problem = Problem::new(Code::BadHeader, &name.place, title);
            report.error(problem.help("write letters, digits, `-` and `_`"));
        }
        (_, Err(_)) => {
            report.error(value.problem(Code::BadHeader, "is not a text that a header may carry"));
        }
    }
    None
}

/// Those that a token request or a sign-in has, or may come to have, for its own sake; `extra` adds and never replaces.
pub(super) const RESERVED: [&str; 28] = [
    "actor_token",
    "actor_token_type",
    "assertion",
    "audience",
    "client_assertion",
    "client_assertion_type",
    "client_id",
    "client_secret",
    "code",
    "code_challenge",
    "code_challenge_method",
    "code_verifier",
    "device_code",
    "dpop_jkt",
    "grant_type",
    "nonce",
    "redirect_uri",
    "refresh_token",
    "request",
    "request_uri",
    "requested_token_type",
    "resource",
    "response_mode",
    "response_type",
    "scope",
    "state",
    "subject_token",
    "subject_token_type",
];

impl Read for Extra {
    const OVERLAY: Overlay = Overlay::None;

    fn read(item: &Item, report: &mut Report) -> Option<Self> {
        let additions = Additions {
            example: "{ x_device = \"7\" }",
            noun: "parameter",
            is_reserved: |name| RESERVED.contains(&name),
            help: "`extra` adds parameters and never replaces one; use the key made for it, if there is one",
        };
        additions.read(item, report, |name, _, text, _| Some((name.text.clone(), text.to_owned()))).map(Self)
    }
}

/// A table of strings that are added to token requests.
struct Additions {
    example: &'static str,
    /// What each adds.
    noun: &'static str,
    /// Whether token requests set what has this name themselves.
    is_reserved: fn(&str) -> bool,
    /// What to say then.
    help: &'static str,
}

impl Additions {
    /// Reads every entry with `take`, which is given its name, its value and the value's text.
    fn read<T>(
        &self,
        item: &Item,
        report: &mut Report,
        take: impl Fn(&Name, &Item, &str, &mut Report) -> Option<T>,
    ) -> Option<Vec<T>> {
        let Form::Table(entries) = &item.form else {
            report.error(item.wrong_type(&format!("a table of strings, as in {}", self.example)));
            return None;
        };
        let read = entries.iter().map(|(name, value)| {
            if (self.is_reserved)(&name.text) {
                let title = format!("`{}` is a {} that token requests set themselves", name.text, self.noun);
                report.error(Problem::new(Code::ReservedParameter, &name.place, title).help(self.help));
                return None;
            }
            let Form::Text(text) = &value.form else {
                report.error(value.wrong_type("a string"));
                return None;
            };
            take(name, value, text, report)
        });
        let all: Vec<Option<T>> = read.collect();
        all.into_iter().collect()
    }
}
