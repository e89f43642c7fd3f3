//! Names and texts: headers, methods, paths, scopes.

use std::path::PathBuf;

use http::{HeaderName, Method, header};

use super::error::{Code, did_you_mean};
use super::value::{Fault, FromText};
use crate::dpop::DPOP;
use crate::token::GrantName;

/// A text that is not empty and has no control characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Text(pub(super) String);

impl FromText for Text {
    const WHAT: &str = "a string";

    fn from_text(text: &str) -> Result<Self, Fault> {
        if text.trim().is_empty() {
            return Err(Fault::new(Code::BadText, "is empty"));
        }
        if text.contains(char::is_control) {
            return Err(Fault::new(Code::BadText, "holds control characters"));
        }
        Ok(Self(text.to_owned()))
    }

    fn instead_of(number: i64) -> Option<String> {
        Some(format!("\"{number}\""))
    }
}

/// One scope: visible ASCII without `"` and `\` (RFC 6749 §3.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Scope(pub(super) String);

impl FromText for Scope {
    const WHAT: &str = "a scope such as \"openid\", in quotes";

    fn from_text(text: &str) -> Result<Self, Fault> {
        let legal = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
        if !text.is_empty() && text.bytes().all(legal) {
            return Ok(Self(text.to_owned()));
        }
        let fault = Fault::new(Code::BadText, "has an entry that is not one scope");
        let several: Vec<&str> = text.split_whitespace().collect();
        let apart = || several.iter().map(|one| format!("{one:?}")).collect::<Vec<_>>().join(", ");
        Err(if several.len() > 1 { fault.help(format!("write {}", apart())) } else { fault })
    }
}

/// The type of a token (RFC 8693 §3): one of its words, or a URI.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TokenType(pub(super) String);

/// Those that have a word of their own.
pub(super) const TOKEN_TYPES: [&str; 6] =
    ["access_token", "id_token", "jwt", "refresh_token", "saml1", "saml2"];

impl FromText for TokenType {
    const WHAT: &str = "a token type such as \"jwt\", in quotes";

    fn from_text(text: &str) -> Result<Self, Fault> {
        if TOKEN_TYPES.contains(&text) {
            return Ok(Self(format!("urn:ietf:params:oauth:token-type:{text}")));
        }
        if text.contains(':') && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Ok(Self(text.to_owned()));
        }
        let help = match did_you_mean(text, TOKEN_TYPES) {
            Some(word) => format!("did you mean \"{word}\"?"),
            None => {
                format!("write one of {}, or a URI", TOKEN_TYPES.map(|word| format!("\"{word}\"")).join(", "))
            }
        };
        Err(Fault::new(Code::BadChoice, format!("cannot be \"{}\"", text.escape_debug())).help(help))
    }
}

/// One resource: an absolute URI without fragment (RFC 8707 §2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Resource(pub(super) String);

impl FromText for Resource {
    const WHAT: &str = "a URI such as \"https://api.example.com\", in quotes";

    fn from_text(text: &str) -> Result<Self, Fault> {
        let absolute =
            text.split_once(':').is_some_and(|(scheme, rest)| !scheme.is_empty() && !rest.is_empty());
        if absolute && !text.contains('#') && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Ok(Self(text.to_owned()));
        }
        Err(Fault::new(Code::BadUrl, "must be an absolute URI without fragment (RFC 8707 §2)"))
    }
}

/// `redirect_path`: compared by servers to the letter, so nothing in it may be spelled in two ways.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RedirectPath(pub(super) String);

impl FromText for RedirectPath {
    const WHAT: &str = "a path such as \"/callback\", in quotes";

    fn from_text(text: &str) -> Result<Self, Fault> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte);
        let dots = |segment: &str| matches!(segment, "." | "..");
        if text.starts_with('/') && text.bytes().all(plain) && !text.split('/').any(dots) {
            return Ok(Self(text.to_owned()));
        }
        let why = "must begin with `/`, and hold letters, digits, `-`, `.`, `_` and `~` only";
        Err(Fault::new(Code::BadPath, why).help("write it as \"/callback\""))
    }
}

impl FromText for PathBuf {
    const WHAT: &str = "a path in quotes";
    const IS_A_PATH: bool = true;

    fn from_text(text: &str) -> Result<Self, Fault> {
        if text.is_empty() || text.ends_with('/') || text.contains(char::is_control) {
            return Err(Fault::new(Code::BadPath, "is not the path of a file"));
        }
        Ok(Self::from(text))
    }
}

/// What these say decides how a message is framed and carried, which is the proxy's business.
pub(super) const FRAMING: [HeaderName; 10] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::EXPECT,
    header::HOST,
    HeaderName::from_static("keep-alive"),
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::VIA,
];

/// `header`.
impl FromText for HeaderName {
    const WHAT: &str = "the name of a header such as \"Authorization\", in quotes";

    fn from_text(text: &str) -> Result<Self, Fault> {
        let name = Self::from_bytes(text.as_bytes())
            .map_err(|_| Fault::new(Code::BadHeader, "is not a name that a header may have"))?;
        if FRAMING.contains(&name) {
            return Err(Fault::new(Code::BadHeader, "cannot be a header that HTTP itself needs"));
        }
        if name == DPOP {
            return Err(Fault::new(
                Code::BadHeader,
                "cannot be the header of the proof beside a token (RFC 9449)",
            ));
        }
        Ok(name)
    }
}

/// `scheme`: a token of RFC 9110 §11.1, or empty to send the token alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Scheme(pub(super) String);

impl FromText for Scheme {
    const WHAT: &str = "a scheme such as \"Bearer\", in quotes";

    fn from_text(text: &str) -> Result<Self, Fault> {
        if text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)) {
            return Ok(Self(text.to_owned()));
        }
        Err(Fault::new(Code::BadHeader, "is not the name of a scheme")
            .help("write it as \"Bearer\"; the space after it is added, and \"\" sends the token alone"))
    }
}

/// `methods`.
impl FromText for Method {
    const WHAT: &str = "a method such as \"GET\", in quotes";

    fn from_text(text: &str) -> Result<Self, Fault> {
        let not = |why: &str| Fault::new(Code::BadMethod, why);
        let method =
            Self::from_bytes(text.as_bytes()).map_err(|_| not("has an entry that is not a method"))?;
        match method.as_str() {
            "TRACE" | "CONNECT" => {
                Err(not(&format!("has {method}, which is never carried")).help("remove it"))
            }
            word if word.bytes().any(|byte| byte.is_ascii_lowercase()) => {
                let upper = word.to_ascii_uppercase();
                Err(not("has a method in small letters")
                    .help(format!("write \"{upper}\": methods are told apart by case")))
            }
            _ => Ok(method),
        }
    }
}

/// `path` of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RoutePath(pub(super) String);

impl FromText for RoutePath {
    const WHAT: &str = "a path such as \"/api\", in quotes";

    fn from_text(text: &str) -> Result<Self, Fault> {
        let not = |why: &str| Fault::new(Code::BadPath, why);
        if !text.starts_with('/') {
            return Err(not("must begin with `/`").help(format!("write \"/{}\"", text.escape_debug())));
        }
        if text.bytes().any(|byte| !byte.is_ascii_graphic() || b"?#*\\".contains(&byte)) {
            return Err(
                not("holds characters that a path cannot have").help("it is a prefix: no pattern, no query")
            );
        }
        let lower = text.to_ascii_lowercase();
        let dots = lower.replace("%2e", ".").split('/').any(|segment| matches!(segment, "." | ".."));
        if dots || lower.contains("%2f") || lower.contains("%5c") {
            return Err(
                not("could never match").help("requests with dot segments, `%2f` or `%5c` are refused")
            );
        }
        Ok(Self(text.to_owned()))
    }
}

/// Part of a file's name and of a metric's label, on systems that do not tell capitals apart.
impl FromText for GrantName {
    const WHAT: &str = "the name of a grant such as \"crm\", in quotes";

    fn from_text(text: &str) -> Result<Self, Fault> {
        let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
        if (1..=64).contains(&text.len()) && text.bytes().all(legal) {
            return Ok(Self::new(text));
        }
        Err(Fault::new(Code::BadGrantName, "is not a name that a grant may have")
            .help("use 1 to 64 small letters, digits, `-` and `_`"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_exact_and_never_a_tunnel() {
        assert_eq!(Method::from_text("PURGE").unwrap().as_str(), "PURGE");
        for wrong in ["TRACE", "CONNECT", "get", "", "GET /"] {
            assert!(<Method as FromText>::from_text(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_token_goes_into_no_header_that_frames_the_message() {
        assert_eq!(HeaderName::from_text("X-Api-Key").unwrap().as_str(), "x-api-key");
        for wrong in ["", "Host", "content-length", "Transfer-Encoding", "a b", "a:"] {
            assert!(<HeaderName as FromText>::from_text(wrong).is_err(), "{wrong}");
        }
        assert!(Scheme::from_text("").is_ok() && Scheme::from_text("Bearer ").is_err());
    }

    #[test]
    fn route_paths_are_prefixes_that_can_match() {
        for right in ["/", "/crm", "/crm/", "/a%20b"] {
            assert!(RoutePath::from_text(right).is_ok(), "{right}");
        }
        for wrong in ["", "crm", "/a?b", "/a#b", "/*", "/a/../b", "/%2E%2e/", "/a%2Fb", "/a\\b", "/ä"] {
            assert!(RoutePath::from_text(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn grant_names_can_stand_in_a_file_name() {
        assert!(GrantName::from_text("crm-2_b").is_ok());
        for wrong in ["", "CRM", "a/b", "..", "a.b", "é", &"x".repeat(65)] {
            assert!(<GrantName as FromText>::from_text(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn scopes_are_one_word_each() {
        assert!(
            Scope::from_text("api.read").is_ok()
                && Scope::from_text("a b").is_err()
                && Scope::from_text("").is_err()
        );
        assert!(Resource::from_text("urn:x:y").is_ok() && Resource::from_text("https://h/#f").is_err());
    }
}
