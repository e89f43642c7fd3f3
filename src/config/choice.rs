//! Keys that take one of a few words.

use super::error::{Code, Report, did_you_mean};
use super::schema::Shape;
use super::value::{Fault, Form, FromText, Item, Read};
use crate::grant::{ClientAuthMethod, Dpop};
use crate::jose::Algorithm;
use crate::proxy::guard::Browser;
use crate::proxy::route::OnUnauthorized;
use crate::proxy::upstream::HttpVersion;
use crate::telemetry::{Access, Format};
use crate::tls::Roots;

/// `flow`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FlowKind {
    RefreshToken,
    ClientCredentials,
    JwtBearer,
    TokenExchange,
}

impl FlowKind {
    /// The word for it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::RefreshToken => "refresh_token",
            Self::ClientCredentials => "client_credentials",
            Self::JwtBearer => "jwt_bearer",
            Self::TokenExchange => "token_exchange",
        }
    }
}

/// `store.kind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StoreKind {
    File,
    Keyring,
    Memory,
}

/// Declares the words of a key, and those that a later version will know.
macro_rules! choice {
    ($type:ty { $($word:literal => $value:expr,)* } later [$($later:literal),*]) => {
        impl FromText for $type {
            const WHAT: &str = concat!("one of " $(, "\"", $word, "\" ")*, "in quotes");

            fn from_text(text: &str) -> Result<Self, Fault> {
                match text {
                    $($word => Ok($value),)*
                    other => Err(not_a_choice(other, &[$($word),*], &[$($later),*])),
                }
            }
        }

        impl Shape for $type {
            fn shape() -> serde_json::Value {
                serde_json::json!({ "enum": [$($word),*] })
            }
        }
    };
}

choice! { FlowKind {
    "refresh_token" => Self::RefreshToken,
    "client_credentials" => Self::ClientCredentials,
    "jwt_bearer" => Self::JwtBearer,
    "token_exchange" => Self::TokenExchange,
} later [] }

choice! { Algorithm {
    "ES256" => Self::Es256,
    "RS256" => Self::Rs256,
    "PS256" => Self::Ps256,
    "EdDSA" => Self::EdDsa,
} later [] }

choice! { StoreKind {
    "file" => Self::File,
    "keyring" => Self::Keyring,
    "memory" => Self::Memory,
} later ["kubernetes"] }

choice! { OnUnauthorized {
    "replay" => Self::Replay,
    "replay_safe" => Self::ReplaySafe,
    "pass" => Self::Pass,
} later [] }

choice! { ClientAuthMethod {
    "none" => Self::None,
    "basic" => Self::Basic,
    "post" => Self::Post,
    "client_secret_jwt" => Self::ClientSecretJwt,
    "private_key_jwt" => Self::PrivateKeyJwt,
    "tls" => Self::Tls,
} later [] }

choice! { HttpVersion {
    "match" => Self::Match,
    "1" => Self::One,
    "2" => Self::Two,
} later [] }

choice! { Browser {
    "deny" => Self::Deny,
    "same-origin" => Self::SameOrigin,
    "off" => Self::Off,
} later [] }

choice! { Roots {
    "platform" => Self::Platform,
    "file" => Self::File,
} later [] }

choice! { Format {
    "auto" => Self::Auto,
    "pretty" => Self::Pretty,
    "json" => Self::Json,
} later [] }

choice! { Access {
    "off" => Self::Off,
    "errors" => Self::Errors,
    "all" => Self::All,
} later [] }

choice! { tracing::Level {
    "error" => Self::ERROR,
    "warn" => Self::WARN,
    "info" => Self::INFO,
    "debug" => Self::DEBUG,
    "trace" => Self::TRACE,
} later [] }

/// `dpop`: whether, or `"required"`.
impl Read for Dpop {
    fn read(item: &Item, report: &mut Report) -> Option<Self> {
        if item.text() == Some("required") {
            return Some(Self::Required);
        }
        if let Form::Text(text) = &item.form {
            let problem = item.problem(Code::BadChoice, &format!("cannot be \"{}\"", text.escape_debug()));
            report.error(problem.help("write true, false, or \"required\""));
            return None;
        }
        bool::read(item, report).map(|on| if on { Self::Offered } else { Self::Off })
    }
}

fn not_a_choice(text: &str, words: &[&str], later: &[&str]) -> Fault {
    let allowed = words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(" or ");
    if later.contains(&text) {
        let why = format!("cannot be \"{text}\" yet: that comes with a later version");
        return Fault::new(Code::NotYet, why).help(format!("write {allowed}"));
    }
    let help = match did_you_mean(text, words.iter().copied()) {
        Some(word) => format!("did you mean \"{word}\"?"),
        None => format!("write {allowed}"),
    };
    Fault::new(Code::BadChoice, format!("cannot be \"{}\"", text.escape_debug())).help(help)
}
