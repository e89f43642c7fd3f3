//! Values of `WWW-Authenticate`, one a line: read a second time by the letter of RFC 9110 §11.6.1, and compared.

use http::header::{HeaderMap, HeaderValue, WWW_AUTHENTICATE};

use crate::proxy::challenge::{refuses_token, resource_metadata};

/// What holds of an upstream's challenges.
///
/// # Panics
/// Where something does not hold.
pub fn challenge(data: &[u8]) {
    let lines: Vec<&[u8]> =
        data.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line)).collect();
    let said = |headers: &HeaderMap| (refuses_token(headers), resource_metadata(headers));
    let heard = said(&headers(&lines));
    let read: Option<Vec<Vec<Challenge>>> = lines
        .iter()
        .map(|line| HeaderValue::from_bytes(line).ok().and_then(|_| Parser::of(line).challenges()))
        .collect();
    let Some(challenges) = read.map(|lines| lines.concat()) else { return };
    let metadata = challenges.iter().find_map(|one| one.parameter("resource_metadata"));
    let meant = (means_the_token(&challenges), metadata.map(str::to_owned));
    assert_eq!(heard, meant, "{challenges:?}");
    for (letters, separator, equals, quoted) in [
        (str::to_ascii_uppercase as fn(&str) -> String, ", ", "=", true),
        (str::to_ascii_lowercase, " ,\t, ", " = ", false),
        (str::to_owned, ",", "\t=", true),
    ] {
        let written: Vec<String> =
            challenges.iter().map(|one| one.written(letters, separator, equals, quoted)).collect();
        let apart: Vec<&[u8]> = written.iter().map(String::as_bytes).collect();
        let joined = written.join(separator);
        assert_eq!(said(&headers(&apart)), heard, "one a line: {written:?}");
        assert_eq!(said(&headers(&[joined.as_bytes()])), heard, "in one line: {joined:?}");
    }
}

fn headers(lines: &[&[u8]]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for value in lines.iter().filter_map(|line| HeaderValue::from_bytes(line).ok()) {
        headers.append(WWW_AUTHENTICATE, value);
    }
    headers
}

/// The scheme of the token names no other error than `invalid_token`, or is not there.
fn means_the_token(challenges: &[Challenge]) -> bool {
    let mut ours = challenges
        .iter()
        .filter(|one| ["bearer", "dpop"].contains(&one.scheme.to_ascii_lowercase().as_str()))
        .peekable();
    ours.peek().is_none()
        || ours.any(|one| one.parameter("error").is_none_or(|error| error == "invalid_token"))
}

#[derive(Clone, Debug)]
struct Challenge {
    scheme: String,
    token68: Option<String>,
    parameters: Vec<(String, String)>,
}

impl Challenge {
    fn parameter(&self, name: &str) -> Option<&str> {
        let found = self.parameters.iter().find(|(there, _)| there.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// The same said in another way.
    fn written(&self, letters: fn(&str) -> String, separator: &str, equals: &str, quoted: bool) -> String {
        let value = |text: &str| {
            if quoted || text.is_empty() || !text.bytes().all(is_token) {
                let escaped: Vec<String> =
                    text.chars().map(|c| if c.is_ascii() { format!("\\{c}") } else { c.into() }).collect();
                format!("\"{}\"", escaped.concat())
            } else {
                text.to_owned()
            }
        };
        let parameter = |(name, text): &(String, String)| format!("{}{equals}{}", letters(name), value(text));
        let more: Vec<String> =
            self.token68.iter().cloned().chain(self.parameters.iter().map(parameter)).collect();
        format!("{} {}", letters(&self.scheme), more.join(separator)).trim_end().to_owned()
    }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// The grammar, to the letter: what is not in it is `None`.
struct Parser<'a>(&'a [u8]);

impl<'a> Parser<'a> {
    fn of(line: &'a [u8]) -> Self {
        Self(line)
    }

    fn challenges(mut self) -> Option<Vec<Challenge>> {
        let mut found: Vec<Challenge> = Vec::new();
        loop {
            self.skip(b" \t,");
            if self.0.is_empty() {
                return Some(found);
            }
            let word = self.word(is_token)?;
            let spaces = self.0.iter().take_while(|byte| **byte == b' ').count();
            if self.peek_past_blanks() == Some(b'=') {
                let parameter = (word, self.value()?);
                let last = found.last_mut().filter(|last| last.token68.is_none())?;
                last.add(parameter)?;
            } else {
                found.push(Challenge { scheme: word, token68: None, parameters: Vec::new() });
                self.skip(b" ");
                if spaces > 0 && self.0.first().is_some_and(|byte| *byte != b',' && *byte != b'\t') {
                    self.first_of(found.last_mut()?)?;
                }
            }
            self.skip(b" \t");
            if self.0.first().is_some_and(|byte| *byte != b',') {
                return None;
            }
        }
    }

    /// What stands behind a scheme: a token68, or its first parameter.
    fn first_of(&mut self, challenge: &mut Challenge) -> Option<()> {
        let digits =
            self.0.iter().take_while(|byte| byte.is_ascii_alphanumeric() || b"-._~+/".contains(byte)).count();
        let padding = self.0.get(digits..)?.iter().take_while(|byte| **byte == b'=').count();
        let behind = Self(self.0.get(digits + padding..)?);
        if digits > 0 && matches!(behind.peek_past_blanks(), None | Some(b',')) {
            challenge.token68 = Some(String::from_utf8_lossy(self.0.get(..digits + padding)?).into_owned());
            self.0 = behind.0;
            return Some(());
        }
        let name = self.word(is_token)?;
        let value = self.value()?;
        challenge.add((name, value))
    }

    /// `= value`, with blanks that a sender should not have put there.
    fn value(&mut self) -> Option<String> {
        self.skip(b" \t");
        self.0 = self.0.strip_prefix(b"=")?;
        self.skip(b" \t");
        let Some(mut rest) = self.0.strip_prefix(b"\"") else { return self.word(is_token) };
        let mut text = Vec::new();
        loop {
            let (byte, behind) = rest.split_first()?;
            rest = behind;
            match byte {
                b'"' => break,
                b'\\' => {
                    let (escaped, behind) = rest.split_first()?;
                    text.push(*escaped);
                    rest = behind;
                }
                _ => text.push(*byte),
            }
        }
        self.0 = rest;
        String::from_utf8(text).ok()
    }

    fn word(&mut self, is_part: fn(u8) -> bool) -> Option<String> {
        let length = self.0.iter().take_while(|byte| is_part(**byte)).count();
        let (word, rest) = self.0.split_at(length);
        self.0 = rest;
        (length > 0).then(|| String::from_utf8_lossy(word).into_owned())
    }

    fn skip(&mut self, blanks: &[u8]) {
        let count = self.0.iter().take_while(|byte| blanks.contains(byte)).count();
        self.0 = self.0.get(count..).unwrap_or_default();
    }

    fn peek_past_blanks(&self) -> Option<u8> {
        self.0.iter().copied().find(|byte| !b" \t".contains(byte))
    }
}

impl Challenge {
    /// None stands there twice (RFC 9110 §11.2).
    fn add(&mut self, (name, value): (String, String)) -> Option<()> {
        let is_new = self.parameter(&name).is_none();
        self.parameters.push((name, value));
        is_new.then_some(())
    }
}
