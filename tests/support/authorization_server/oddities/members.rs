//! Odd types and values of the members that matter (RFC 6749 §5.1).

use super::Class::{Busy, Refused, Unanswered, Unusable};
use super::Next::{Lost, Presented, Successor};
use super::{Issued, Next, Oddity, Token, harmless, ok, unusable};

/// Ten years: no life is taken for longer (R9).
const LONGEST: u64 = 10 * 365 * 86_400;

/// What an absent or unreadable life is taken for (R9).
const DEFAULT: u64 = 300;

/// A life that is told oddly.
const fn life(name: &'static str, seconds: u64, answer: fn(&Issued<'_>) -> Vec<u8>) -> Oddity {
    Oddity { token: Token::Used(seconds), ..harmless(name, answer) }
}

/// A refresh token that is none: the one that was presented goes on.
const fn none(name: &'static str, answer: fn(&Issued<'_>) -> Vec<u8>) -> Oddity {
    Oddity { next: Next::Presented, ..harmless(name, answer) }
}

/// An access token that may not be used, beside a refresh token that has to be.
const fn no_token(name: &'static str, answer: fn(&Issued<'_>) -> Vec<u8>) -> Oddity {
    unusable(name, Unusable, Successor, answer)
}

pub(super) static ALL: &[Oddity] = &[
    life("expires_in as text", 3600, |issued| issued.with("expires_in", "\"3600\"")),
    life("expires_in as text with space", 3600, |issued| issued.with("expires_in", "\" 3600 \"")),
    life("expires_in as a float", 3600, |issued| issued.with("expires_in", "3600.0")),
    life("expires_in with an exponent", 3600, |issued| issued.with("expires_in", "3.6e3")),
    life("expires_in as text with an exponent", 3600, |issued| issued.with("expires_in", "\"36E2\"")),
    life("expires_in beyond all clocks", LONGEST, |issued| issued.with("expires_in", "1e300")),
    life("expires_in beyond 64 bits", LONGEST, |issued| issued.with("expires_in", "99999999999999999999")),
    life("expires_in in milliseconds", 3_600_000, |issued| issued.with("expires_in", "3600000")),
    life("expires_in absent", DEFAULT, |issued| issued.without("expires_in")),
    life("expires_in null", DEFAULT, |issued| issued.with("expires_in", "null")),
    life("expires_in empty", DEFAULT, |issued| issued.with("expires_in", "\"\"")),
    life("expires_in in words", DEFAULT, |issued| issued.with("expires_in", "\"one hour\"")),
    life("expires_in NaN in quotes", DEFAULT, |issued| issued.with("expires_in", "\"NaN\"")),
    life("expires_in true", DEFAULT, |issued| issued.with("expires_in", "true")),
    life("expires_in in a list", DEFAULT, |issued| issued.with("expires_in", "[3600]")),
    life("expires_in in an object", DEFAULT, |issued| issued.with("expires_in", "{\"seconds\":3600}")),
    no_token("expires_in zero", |issued| issued.with("expires_in", "0")),
    no_token("expires_in negative", |issued| issued.with("expires_in", "-1")),
    no_token("expires_in negative text", |issued| issued.with("expires_in", "\"-3600\"")),
    // No JSON: nothing but the refresh token is taken from it.
    unusable("expires_in NaN, as Python writes it", Unanswered, Successor, |issued| {
        issued.with("expires_in", "NaN")
    }),
    unusable("expires_in beyond all numbers", Unanswered, Successor, |issued| {
        issued.with("expires_in", "1e400")
    }),
    harmless("token_type in lower case", |issued| issued.with("token_type", "\"bearer\"")),
    harmless("token_type in upper case", |issued| issued.with("token_type", "\"BEARER\"")),
    harmless("token_type absent", |issued| issued.without("token_type")),
    harmless("token_type null", |issued| issued.with("token_type", "null")),
    no_token("token_type mac", |issued| issued.with("token_type", "\"mac\"")),
    no_token("token_type empty", |issued| issued.with("token_type", "\"\"")),
    no_token("token_type a number", |issued| issued.with("token_type", "7")),
    no_token("token_type in a list", |issued| issued.with("token_type", "[\"Bearer\"]")),
    no_token("access_token absent", |issued| issued.without("access_token")),
    no_token("access_token null", |issued| issued.with("access_token", "null")),
    no_token("access_token empty", |issued| issued.with("access_token", "\"\"")),
    no_token("access_token a number", |issued| issued.with("access_token", "12345")),
    no_token("access_token in a list", |issued| issued.with("access_token", "[\"A\"]")),
    no_token("access_token with a space", |issued| issued.with("access_token", "\"a b\"")),
    no_token("access_token with a line end", |issued| issued.with("access_token", "\"a\\r\\nX-Evil: 1\"")),
    no_token("access_token with a tab", |issued| issued.with("access_token", "\"a\\tb\"")),
    no_token("access_token with NUL", |issued| issued.with("access_token", "\"a\\u0000b\"")),
    no_token("access_token with DEL", |issued| issued.with("access_token", "\"a\\u007fb\"")),
    no_token("access_token beyond ASCII", |issued| issued.with("access_token", "\"jeton-d'acc\u{e8}s\"")),
    none("refresh_token absent", |issued| issued.without("refresh_token")),
    none("refresh_token null", |issued| issued.with("refresh_token", "null")),
    none("refresh_token empty", |issued| issued.with("refresh_token", "\"\"")),
    none("refresh_token blank", |issued| issued.with("refresh_token", "\" \\t\\r\\n\"")),
    none("refresh_token a number", |issued| issued.with("refresh_token", "7")),
    none("refresh_token in a list", |issued| issued.with("refresh_token", "[\"R\"]")),
    none("refresh_token in an object", |issued| issued.with("refresh_token", "{\"value\":\"R\"}")),
    none("refresh_token false", |issued| issued.with("refresh_token", "false")),
    none("refresh_token the same again", |issued| ok(issued.json())),
    harmless("refresh_token with space around it", |issued| {
        issued.with("refresh_token", &format!("\" {}\\r\\n\"", issued.refresh_token))
    }),
    harmless("refresh_token in escapes", |issued| {
        let escaped: String = issued.refresh_token.bytes().map(|byte| format!("\\u{byte:04X}")).collect();
        issued.with("refresh_token", &format!("\"{escaped}\""))
    }),
    harmless("refresh_token twice: the last counts", |issued| {
        ok(issued.members().before("refresh_token", "\"decoy\"").json())
    }),
    harmless("access_token twice: the last counts", |issued| {
        ok(issued.members().before("access_token", "\"decoy\"").json())
    }),
    life("expires_in twice: the last counts", 3600, |issued| {
        ok(issued.members().before("expires_in", "7").json())
    }),
    unusable("members in camel case", Unusable, Lost, |issued| {
        let body = format!(
            "{{\"accessToken\":\"{}\",\"refreshToken\":\"{}\",\"tokenType\":\"Bearer\",\"expiresIn\":3600}}",
            issued.access_token, issued.refresh_token
        );
        ok(body)
    }),
    harmless("members that nobody knows", |issued| {
        let more = issued.members().and("scope", "7").and("id_token", "{\"bad\":[]}").and("", "null");
        ok(more.and("not_before_policy", "-0.0").and("refresh_token_expires_in", "\"soon\"").json())
    }),
    harmless("error null beside the tokens", |issued| ok(issued.members().and("error", "null").json())),
    harmless("error empty beside the tokens", |issued| ok(issued.members().and("error", "\"\"").json())),
    harmless("error an object beside the tokens", |issued| ok(issued.members().and("error", "{}").json())),
    unusable("server_error beside the tokens", Unanswered, Successor, |issued| {
        ok(issued.members().and("error", "\"server_error\"").json())
    }),
    unusable("200 with slow_down", Busy, Presented, |_| ok("{\"error\":\"slow_down\"}")),
    unusable("200 with server_error", Unanswered, Presented, |_| ok("{\"error\":\"server_error\"}")),
    // GitHub's.
    unusable("200 with bad_refresh_token", Refused, Presented, |_| {
        ok(
            "{\"error\":\"bad_refresh_token\",\"error_description\":\"The refresh token passed is incorrect or expired.\"}",
        )
    }),
    unusable("200 with invalid_grant", Refused, Presented, |_| ok("{\"error\":\"invalid_grant\"}")),
];
