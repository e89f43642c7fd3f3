//! A sign-in for another machine: the seed that it starts with, in the form in which that machine takes it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use zeroize::Zeroizing;

use super::Signed;
use crate::grant::Params;
use crate::token::GrantName;

/// In which form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// A manifest of a Secret.
    KubernetesSecret {
        /// Its name.
        name: String,
        /// Its namespace; the one that kubectl is in, when left out.
        namespace: Option<String>,
    },
    /// Variables, as systemd, Docker and shells read them from a file.
    Env,
    /// An object.
    Json,
}

/// The key of a Secret, and what a proxy.toml there names: the refresh token.
const TOKEN: &str = "refresh_token";
/// The same for what it is bound to.
const KEY: &str = "dpop_key.pem";

impl Form {
    /// Whether it can hold what a sign-in of this grant brings.
    ///
    /// # Errors
    /// Why not, and what to do.
    pub fn fits(&self, params: &Params) -> Result<(), &'static str> {
        if *self == Self::Env && params.name.as_str() != GrantName::DEFAULT {
            return Err(
                "the variables are those of `[oauth]`, and this grant has a name; say --emit json or --emit kubernetes-secret",
            );
        }
        if *self == Self::Env && params.dpop.is_on() {
            return Err(
                "a variable holds no key that tokens are bound to (`dpop`); say --emit json or --emit kubernetes-secret",
            );
        }
        Ok(())
    }

    /// What to print. Wiped when dropped.
    #[must_use]
    pub fn write(&self, params: &Params, signed: &Signed) -> Zeroizing<String> {
        let token = signed.tokens.refresh_token.expose();
        let key = signed.tokens.dpop_key.as_ref().map(|key| key.expose());
        Zeroizing::new(match self {
            Self::KubernetesSecret { name, namespace } => {
                let namespace = namespace.iter().map(|namespace| format!("  namespace: \"{namespace}\"\n"));
                let data = [(TOKEN, Some(token)), (KEY, key)];
                let data = data
                    .into_iter()
                    .filter_map(|(name, text)| Some(format!("  {name}: {}\n", STANDARD.encode(text?))));
                format!(
                    "apiVersion: v1\nkind: Secret\nmetadata:\n  name: \"{name}\"\n{}type: Opaque\ndata:\n{}",
                    namespace.collect::<String>(),
                    data.collect::<String>()
                )
            }
            Self::Env => format!(
                "BEARERD_OAUTH_REFRESH_TOKEN_ENV=SEED_REFRESH_TOKEN\nSEED_REFRESH_TOKEN={}\n",
                quoted(token)
            ),
            Self::Json => {
                let mut seed = json!({
                    "issuer": params.server.identity(),
                    "client_id": params.client_id,
                    "scopes": signed.scopes,
                    TOKEN: token,
                });
                if let (Some(key), Some(members)) = (key, seed.as_object_mut()) {
                    members.insert("dpop_key".to_owned(), key.into());
                }
                format!("{seed:#}\n")
            }
        })
    }
}

/// As it is, where that is safe everywhere; in single quotes, which Docker alone would keep, where it is not.
fn quoted(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=:@,".contains(&byte);
    if text.bytes().all(is_plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

/// Whether Kubernetes takes a text for the name of a Secret: labels with dots between them (RFC 1123).
#[must_use]
pub fn is_name(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(|label| is_label_of(label, 253))
}

/// Whether it takes a text for the name of a namespace: one label.
#[must_use]
pub fn is_label(text: &str) -> bool {
    is_label_of(text, 63)
}

fn is_label_of(text: &str, most: usize) -> bool {
    let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=most).contains(&text.len())
        && text.bytes().all(legal)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::Moment;
    use crate::grant::lineage::SignedIn;
    use crate::grant::wire::Issued;
    use crate::login::tests::params;
    use crate::secret::{AccessTokenText, DpopKey, RefreshToken};

    fn signed(token: &str, key: Option<&str>) -> Signed {
        let issued = Issued {
            access_token: AccessTokenText::new("A"),
            bound: false,
            life: Duration::from_secs(300),
            grant_life: None,
            scope: None,
            oddities: Vec::new(),
        };
        Signed {
            tokens: SignedIn {
                refresh_token: RefreshToken::new(token),
                token_endpoint: http::Uri::from_static("https://id.example/token"),
                issued,
                asked: Moment { boot: Duration::ZERO, wall: Duration::ZERO },
                boot_id: "boot".to_owned(),
                dpop_key: key.map(DpopKey::new),
            },
            scopes: vec!["openid".to_owned()],
        }
    }

    #[test]
    fn a_seed_is_written_as_the_other_machine_takes_it() {
        let (with_key, without) = (signed("R.1", Some("-KEY-\n")), signed("R.1", None));
        let secret =
            Form::KubernetesSecret { name: "bearerd-seed".to_owned(), namespace: Some("demo".to_owned()) };
        assert_eq!(
            *secret.write(&params(), &with_key),
            "apiVersion: v1\nkind: Secret\nmetadata:\n  name: \"bearerd-seed\"\n  namespace: \"demo\"\ntype: Opaque\ndata:\n  \
             refresh_token: Ui4x\n  dpop_key.pem: LUtFWS0K\n"
        );
        assert_eq!(
            *Form::Env.write(&params(), &without),
            "BEARERD_OAUTH_REFRESH_TOKEN_ENV=SEED_REFRESH_TOKEN\nSEED_REFRESH_TOKEN=R.1\n"
        );
        assert!(Form::Env.write(&params(), &signed("a b'$c", None)).ends_with("='a b'\\''$c'\n"));
        let json: serde_json::Value = serde_json::from_str(&Form::Json.write(&params(), &with_key)).unwrap();
        assert_eq!(
            json,
            json!({ "issuer": "https://id.example", "client_id": "app", "scopes": ["openid"], "refresh_token": "R.1", "dpop_key": "-KEY-\n" })
        );
        let json = Form::Json.write(&params(), &without).to_string();
        assert!(!json.contains("dpop_key"), "{json}");
    }

    #[test]
    fn a_name_is_one_that_kubernetes_takes() {
        assert!(is_name("bearerd-seed") && is_name("a.b") && is_name("7"));
        for wrong in
            ["", "-a", "a-", "A", "a_b", "a\nb", "a b", "a..b", "a.-b", "a-.b", ".a", "a.", &"x".repeat(254)]
        {
            assert!(!is_name(wrong), "{wrong}");
        }
        assert!(is_label("demo") && is_label("1-2") && is_label(&"x".repeat(63)));
        for wrong in ["", "a.b", "-a", "a-", "A", &"x".repeat(64)] {
            assert!(!is_label(wrong), "{wrong}");
        }
    }

    #[test]
    fn variables_hold_the_default_grant_without_a_key_and_no_other() {
        let named = Params { name: GrantName::new("crm"), ..params() };
        let bound = Params { dpop: crate::grant::Dpop::Required, ..params() };
        assert!(Form::Env.fits(&params()).is_ok());
        assert!(Form::Env.fits(&named).is_err() && Form::Env.fits(&bound).is_err());
        assert!(Form::Json.fits(&named).is_ok() && Form::Json.fits(&bound).is_ok());
    }
}
