//! A text of somebody else's as it may be shown: without the secrets that it may quote, however they are spelled there.

use std::cell::Cell;

use base64::Engine;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};

/// How much of a foreign text is shown, in characters (R65).
pub const SHOWN: usize = 200;

/// A longer text is not shown at all: to look for secrets in it would take its time, and nobody reads it.
const LONGEST: usize = 4096;

/// How many steps may be made for one text: tens of milliseconds. The server chooses the text and, with the tokens in its
/// answer, some of the secrets.
const MOST_WORK: u32 = 1 << 20;

/// What stands for a text that is not looked through.
const NOT_SHOWN: &str = "a text too long to be shown";

/// Texts that must not be shown, and what stands in the place of each.
pub struct Secrets<'a>(Vec<(&'a str, &'static str)>);

impl<'a> Secrets<'a> {
    /// These, each with what stands in its place.
    pub fn of(secrets: impl IntoIterator<Item = (&'a str, &'static str)>) -> Self {
        Self(secrets.into_iter().collect())
    }

    /// With one more, if there is one.
    #[must_use]
    pub fn and(mut self, secret: Option<&'a str>, name: &'static str) -> Self {
        self.0.extend(secret.map(|secret| (secret, name)));
        self
    }

    /// A text of the server's as it may be shown: printable ASCII, without the secrets, and only then cut to length
    /// (R65), or half of one could be left. Of what was signed for the one request nobody has kept a copy: whatever
    /// looks like a JWT goes, too.
    #[must_use]
    pub fn shown(&self, text: &str) -> String {
        let text: Vec<u8> = text.bytes().filter(|byte| is_shown(*byte)).collect();
        if text.len() > LONGEST {
            return NOT_SHOWN.to_owned();
        }
        let work = Work(Cell::new(MOST_WORK));
        let (mut shown, mut hidden_to) = (String::new(), 0);
        for (at, byte) in text.iter().enumerate() {
            // Also within one that is hidden: another may begin there and end later.
            if let Some((end, name)) = self.quoted(&text, at, &work) {
                if at >= hidden_to {
                    shown.push_str(name);
                }
                hidden_to = hidden_to.max(end);
            }
            if at >= hidden_to {
                shown.push(char::from(*byte));
            }
            if shown.len() > SHOWN {
                shown.truncate(SHOWN);
                shown.push('…');
                break;
            }
        }
        if work.is_spent() { NOT_SHOWN.to_owned() } else { shown }
    }

    /// Where the longest secret that is quoted from here on ends, and what to call it.
    fn quoted(&self, text: &[u8], start: usize, work: &Work) -> Option<(usize, &'static str)> {
        let end = |secret: &str| end_of(secret.as_bytes(), text, start, work);
        let plain = self.0.iter().filter_map(|(secret, name)| Some((end(secret)?, *name)));
        let jwt = end_of_jwt(text, start, work).map(|end| (end, "[JWT]"));
        let encoded = self.end_of_base64(text, start, work).map(|end| (end, "[credentials]"));
        plain.chain(jwt).chain(encoded).max_by_key(|(end, _)| *end)
    }

    /// Where a run of base64 ends that holds a secret, as HTTP Basic has it; in either alphabet (RFC 4648 §4 and §5), each
    /// digit as it is or percent-encoded.
    fn end_of_base64(&self, text: &[u8], start: usize, work: &Work) -> Option<usize> {
        let before = start.checked_sub(1).and_then(|before| text.get(before));
        if before.is_some_and(|byte| digit(*byte).is_some()) {
            return None;
        }
        let mut digits = zeroize::Zeroizing::new(Vec::new());
        let mut end = start;
        while let Some(there) = text.get(end) {
            let (byte, next) = escapes(text, end, work).last().unwrap_or((*there, end + 1));
            let Some(digit) = digit(byte) else { break };
            digits.push(digit);
            end = next;
        }
        // What stands before it may look like a part of it, as the end of `%20` or a word and a dash.
        let holds = (0..4).any(|skipped| {
            let Some(run) = digits.get(skipped..) else { return false };
            // A last digit that stands alone is of no byte.
            let whole = if run.len() % 4 == 1 { run.get(..run.len() - 1).unwrap_or_default() } else { run };
            work.spend(whole.len()) && self.are_in_base64(whole, work)
        });
        holds.then_some(end)
    }

    fn are_in_base64(&self, run: &[u8], work: &Work) -> bool {
        let Some(decoded) = LENIENT.decode(run).ok().map(zeroize::Zeroizing::new) else { return false };
        let holds = |secret: &str| {
            (0..decoded.len()).any(|at| end_of(secret.as_bytes(), &decoded, at, work).is_some())
        };
        self.0.iter().any(|(secret, _)| holds(secret))
    }
}

/// A digit of base64, as the one alphabet has it.
fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'-' => Some(b'+'),
        b'_' => Some(b'/'),
        byte if byte.is_ascii_alphanumeric() || b"+/".contains(&byte) => Some(byte),
        _ => None,
    }
}

/// What is left of the work that a text is worth.
struct Work(Cell<u32>);

impl Work {
    /// Does so much of it; false when there was less left.
    fn spend(&self, steps: usize) -> bool {
        let left = self.0.get().saturating_sub(u32::try_from(steps).unwrap_or(u32::MAX));
        self.0.set(left);
        left > 0
    }

    fn is_spent(&self) -> bool {
        self.0.get() == 0
    }
}

/// Bits that are left over are of no interest, nor is the padding.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(base64::engine::DecodePaddingMode::Indifferent),
);

fn is_shown(byte: u8) -> bool {
    byte.is_ascii_graphic() || byte == b' '
}

/// Where a spelling of `secret` that begins at `start` ends: as it is, percent-encoded in whole or in part and as often
/// as may be, or as forms are, with `+` for a space.
fn end_of(secret: &[u8], text: &[u8], start: usize, work: &Work) -> Option<usize> {
    // Several, for a `%` of the secret's may be written `%` or `%25`.
    let mut ends = vec![start];
    for byte in secret {
        if !work.spend(ends.len()) {
            return None;
        }
        let mut next: Vec<usize> = ends.iter().flat_map(|at| spelled(*byte, text, *at, work)).collect();
        if !is_shown(*byte) {
            // It may stand there encoded, or has been left out with all that cannot be shown.
            next.append(&mut ends);
        }
        next.sort_unstable();
        next.dedup();
        ends = next;
        if ends.is_empty() {
            return None;
        }
    }
    ends.last().copied().filter(|end| *end > start)
}

/// Where the spellings of one byte end that begin at `at`.
fn spelled(byte: u8, text: &[u8], at: usize, work: &Work) -> Vec<usize> {
    let Some(there) = text.get(at) else { return Vec::new() };
    let is_plain = *there == byte || (byte == b' ' && *there == b'+');
    let encoded = escapes(text, at, work).filter(|(decoded, _)| *decoded == byte).map(|(_, end)| end);
    is_plain.then_some(at + 1).into_iter().chain(encoded).collect()
}

/// What the escape at `at` stands for, decoded once (`%2F`), twice (`%252F`) and so on, and where each ends.
fn escapes(text: &[u8], at: usize, work: &Work) -> impl Iterator<Item = (u8, usize)> {
    let pair = |at: usize| {
        let digit = |at: usize| char::from(*text.get(at)?).to_digit(16);
        u8::try_from(digit(at)? * 16 + digit(at + 1)?).ok()
    };
    let first = (text.get(at) == Some(&b'%')).then_some(at + 1);
    let starts = std::iter::successors(first, move |at| (pair(*at) == Some(b'%')).then_some(at + 2));
    starts.take_while(|_| work.spend(1)).filter_map(move |at| Some((pair(at)?, at + 2)))
}

/// Where something ends that begins as the JSON of a JWT's header does in base64, and has more than one part.
fn end_of_jwt(text: &[u8], start: usize, work: &Work) -> Option<usize> {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let mut parts = 1;
    let mut end = end_of(b"eyJ", text, start, work)?;
    while let Some(there) = text.get(end).filter(|_| work.spend(1)) {
        let (byte, next) = escapes(text, end, work).last().unwrap_or((*there, end + 1));
        if !is_part(byte) {
            break;
        }
        parts += u32::from(byte == b'.');
        end = next;
    }
    (parts > 1).then_some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(secret: &str, text: &str) -> String {
        Secrets::of([(secret, "[client secret]")]).shown(text)
    }

    #[test]
    fn a_secret_is_found_however_it_is_spelled() {
        for (secret, text, expected) in [
            ("a/b", "<a/b>", "<[client secret]>"),
            ("a/b", "<a%2Fb>", "<[client secret]>"),
            ("a/b", "<a%2fb>", "<[client secret]>"),
            ("a/b", "<%61/%62>", "<[client secret]>"),
            ("a/b", "<a%252fb>", "<[client secret]>"),
            ("a/b", "<a\u{1b}/\nb>", "<[client secret]>"),
            ("a b", "<a b> <a+b> <a%20b>", "<[client secret]> <[client secret]> <[client secret]>"),
            ("p%2", "<p%2> <p%252> <p%25252>", "<[client secret]> <[client secret]> <[client secret]>"),
            ("pä:x", "<pä:x> <p%C3%a4:x>", "<[client secret]> <[client secret]>"),
            ("a/b", "<a/c> <A/b> <a%2> <a%2", "<a/c> <A/b> <a%2> <a%2"),
            ("", "nothing", "nothing"),
            ("ä", "nothing", "nothing"),
            ("secret", "Basic YmlsbGluZzpzZWNyZXQ= is wrong", "Basic [credentials]= is wrong"),
            ("secret", "Basic YmlsbGluZzpzZWNyZQ== is wrong", "Basic YmlsbGluZzpzZWNyZQ== is wrong"),
            ("s~c?r~t", "Basic YjpzfmM_cn50 is wrong", "Basic [credentials] is wrong"),
            ("s~c?r~t", "Basic YjpzfmM/cn50 is wrong", "Basic [credentials] is wrong"),
            ("s~c?r~t", "Basic%20YjpzfmM%2Fcn50%3D is wrong", "Basic%[credentials]%3D is wrong"),
            ("s~c?r~t", "Basic YjpzfmM%252fcn50 is wrong", "Basic [credentials] is wrong"),
            ("s~c?r~t", "basic-%59jpzfmM%5Fcn50 is wrong", "[credentials] is wrong"),
            ("s~c?r~t", "Basic YjpzfmM_cn50".replace('_', "%").as_str(), "Basic YjpzfmM%cn50"),
        ] {
            assert_eq!(shown(secret, text), expected, "{secret} in {text}");
        }
    }

    #[test]
    fn what_overlaps_is_hidden_whole_and_the_longest_names_it() {
        let told = || Secrets::of([("xyabc", "[refresh token]"), ("abcdef", "[client secret]")]);
        assert_eq!(told().shown("<xyabcdef>"), "<[refresh token]>");
        let secrets = told().and(Some("xyabcd"), "[access token]");
        assert_eq!(secrets.shown("<xyabcd>"), "<[access token]>");
    }

    #[test]
    fn a_text_is_cut_after_its_secrets_are_gone_and_a_very_long_one_is_not_shown() {
        let cut = shown("canary", &format!("{}canary", "x".repeat(SHOWN - 3)));
        assert_eq!(cut, format!("{}[cl…", "x".repeat(SHOWN - 3)));
        assert_eq!(shown("canary", &"x".repeat(LONGEST + 1)), NOT_SHOWN);
    }

    #[test]
    fn a_server_that_makes_it_hard_to_look_is_not_looked_at() {
        // Each is so much work that a few times the most would do it all: without that bound this ends too, and is red.
        let same = "a".repeat(LONGEST);
        assert_eq!(shown(&same[..500], &same), NOT_SHOWN);
        // Each of these may stand there encoded or be left out.
        let left_out = "\u{7f}".repeat(300);
        assert_eq!(shown(&left_out, &"%7F".repeat(100)), NOT_SHOWN);
        assert_eq!(shown(&"\u{7f}".repeat(5000), &"YWJj ".repeat(800)), NOT_SHOWN);
        // One escape that may be decoded two thousand times, for every byte that may have been left out.
        assert_eq!(shown(&"\u{7f}".repeat(5000), &format!("%{}", "25".repeat(2047))), NOT_SHOWN);
        let many: Vec<_> = (0..400).map(|number| format!("secret {number}")).collect();
        let told = Secrets::of(many.iter().map(|secret| (secret.as_str(), "[client secret]")));
        assert_eq!(told.shown(&"YWJj".repeat(1000)), NOT_SHOWN, "a long run of base64 and many secrets");
        let secret = "a".repeat(500);
        assert_eq!(shown(&secret, &format!("<{secret}>")), "<[client secret]>");
    }

    #[test]
    fn a_jwt_is_found_however_it_is_spelled() {
        for text in ["<eyJh.b>", "<%65yJh%2Eb>", "<eyJ\u{0}h.b>", "<eyJh%252eb>"] {
            assert_eq!(shown("other", text), "<[JWT]>", "{text}");
        }
    }
}
