//! What the well-known servers want before they give a refresh token. Pure.

use crate::grant::wire::Metadata;

/// Whose server it is, as far as that can be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Provider {
    Authgear,
    Keycloak,
    Auth0,
    Okta,
    Entra,
    Google,
    GitLab,
    /// By the book, for all that is known.
    Other,
}

const OFFLINE_ACCESS: &str = "offline_access";
const OPENID: &str = "openid";

impl Provider {
    /// By the issuer's name, and where anybody may run one by what it says of itself.
    pub(super) fn of(issuer: &str, metadata: &Metadata) -> Self {
        let rest = issuer.split_once("://").map_or(issuer, |(_, rest)| rest);
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let host = authority.split(':').next().unwrap_or_default().to_ascii_lowercase();
        let below = |domain: &str| {
            host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        let scopes = metadata.scopes.as_deref().unwrap_or_default();
        let offers = |begins: &str| scopes.iter().any(|scope| scope.starts_with(begins));
        if host == "accounts.google.com" {
            Self::Google
        } else if below("microsoftonline.com") || below("microsoftonline.us") || host == "sts.windows.net" {
            Self::Entra
        } else if below("okta.com") || below("oktapreview.com") || below("okta-emea.com") {
            Self::Okta
        } else if below("auth0.com") {
            Self::Auth0
        } else if offers("https://authgear.com/") || below("authgear.cloud") {
            Self::Authgear
        } else if path.starts_with("realms/") || path.contains("/realms/") {
            Self::Keycloak
        } else if host == "gitlab.com" || offers("read_repository") {
            Self::GitLab
        } else {
            Self::Other
        }
    }

    /// The scopes to ask for: those that are wanted, with `offline_access` where the server says that there is one, and
    /// `openid` with it, for it is OpenID Connect's (Core §11) and Authgear refuses it alone.
    pub(super) fn scopes(self, wanted: &[String], metadata: &Metadata) -> Vec<String> {
        let mut scopes = wanted.to_vec();
        let offers = |scope: &str| metadata.scopes.iter().flatten().any(|offered| offered == scope);
        let has = |scopes: &[String], scope: &str| scopes.iter().any(|one| one == scope);
        // These two give one without; there it would only ask for more, or for what the client may not have.
        let needs_none = matches!(self, Self::Google | Self::Keycloak);
        if !needs_none && offers(OFFLINE_ACCESS) && !has(&scopes, OFFLINE_ACCESS) {
            scopes.push(OFFLINE_ACCESS.to_owned());
        }
        let is_openid = offers(OPENID) || self == Self::Authgear;
        if is_openid && has(&scopes, OFFLINE_ACCESS) && !has(&scopes, OPENID) {
            scopes.insert(0, OPENID.to_owned());
        }
        scopes
    }

    /// What else an authorization request needs to bring a refresh token.
    pub(super) fn parameters(self, scopes: &[String]) -> &'static [(&'static str, &'static str)] {
        let asks = |scope: &str| scopes.iter().any(|one| one == scope);
        match self {
            // Without consent, only the very first sign-in brings one.
            Self::Google => &[("access_type", "offline"), ("prompt", "consent")],
            // By the book, `offline_access` is ignored without (OpenID Connect Core §11).
            Self::Other if asks(OPENID) && asks(OFFLINE_ACCESS) => &[("prompt", "consent")],
            _ => &[],
        }
    }

    /// What to change where no refresh token came.
    pub(super) fn cure(self, scopes: &[String]) -> String {
        let asked = scopes.iter().any(|scope| scope == OFFLINE_ACCESS);
        let add = if asked { "`offline_access` was asked for" } else { "add `offline_access` to `scopes`" };
        match self {
            Self::Authgear => format!(
                "At Authgear, {add}, together with `openid`; the application must not be of type M2M, and a third-party one \
                 needs the user's consent."
            ),
            Self::Keycloak => "Keycloak gives one, with or without `offline_access`, unless the client's switch for refresh \
                               tokens is off: it is in the client's \"Advanced\" tab, below \"OpenID Connect Compatibility \
                               Modes\"."
                .to_owned(),
            Self::Auth0 => format!(
                "At Auth0, {add}; switch on \"Allow Offline Access\" for the API, name that API in `audience`, and allow the \
                 application the grant type \"Refresh Token\"."
            ),
            Self::Okta => format!(
                "At Okta, {add}; check \"Refresh Token\" among the application's grant types, and allow the scope in the access \
                 policy of the authorization server."
            ),
            Self::Entra => format!(
                "At Entra, {add}, beside a scope of the API itself, such as `api://APP/access`; and consent \
                 to it."
            ),
            Self::Google => "Google gives one with `access_type=offline` and `prompt=consent`, which were sent unless `extra` \
                             says otherwise; remove them from `extra`, and take the application's access away at \
                             myaccount.google.com/permissions before the next sign-in."
                .to_owned(),
            Self::GitLab => "GitLab always gives one with an authorization code: check that `client_id` is of a GitLab \
                             application, and that nothing in between takes it away."
                .to_owned(),
            Self::Other if asked => "`offline_access` was asked for, so allow this client refresh tokens at the server (there may \
                                     be a grant type, a scope or a switch for it)."
                .to_owned(),
            Self::Other => "Add the scope `offline_access` to `scopes`, where the server has it, and allow this client \
                            refresh tokens there."
                .to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(scopes: Option<&[&str]>) -> Metadata {
        Metadata {
            scopes: scopes.map(|scopes| scopes.iter().map(ToString::to_string).collect()),
            ..Metadata::of_endpoint(http::Uri::from_static("https://id.example/token"))
        }
    }

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn servers_are_told_apart_by_their_names_and_by_what_they_say() {
        let authgear = metadata(Some(&["openid", "https://authgear.com/scopes/full-access"]));
        let gitlab = metadata(Some(&["api", "read_repository"]));
        let silent = metadata(None);
        for (issuer, metadata, provider) in [
            ("https://accounts.google.com", &silent, Provider::Google),
            ("https://login.microsoftonline.com/0b/v2.0", &silent, Provider::Entra),
            ("https://dev-1.okta.com/oauth2/default", &silent, Provider::Okta),
            ("https://acme.eu.auth0.com/", &silent, Provider::Auth0),
            ("http://127.0.0.1:3100", &authgear, Provider::Authgear),
            ("https://acme.authgear.cloud", &silent, Provider::Authgear),
            ("https://id.example/realms/acme", &silent, Provider::Keycloak),
            ("https://id.example/auth/realms/acme", &silent, Provider::Keycloak),
            ("https://gitlab.com", &silent, Provider::GitLab),
            ("https://git.example:8443", &gitlab, Provider::GitLab),
            ("https://notokta.com", &silent, Provider::Other),
            ("https://id.example", &silent, Provider::Other),
        ] {
            assert_eq!(Provider::of(issuer, metadata), provider, "{issuer}");
        }
    }

    #[test]
    fn what_a_refresh_token_needs_is_added_where_the_server_has_it_and_nowhere_else() {
        let both = metadata(Some(&["openid", "offline_access"]));
        let none = metadata(Some(&["read"]));
        let silent = metadata(None);
        for (provider, wanted, metadata, asked) in [
            (Provider::Other, "read", &both, "openid read offline_access"),
            (Provider::Other, "", &both, "openid offline_access"),
            (Provider::Other, "offline_access openid", &both, "offline_access openid"),
            (Provider::Other, "read", &none, "read"),
            (Provider::Other, "read", &silent, "read"),
            (Provider::Other, "offline_access", &silent, "offline_access"),
            (Provider::Authgear, "offline_access", &silent, "openid offline_access"),
            (Provider::Google, "openid email", &both, "openid email"),
            (Provider::Keycloak, "openid", &both, "openid"),
            (Provider::Keycloak, "offline_access", &both, "openid offline_access"),
        ] {
            assert_eq!(provider.scopes(&words(wanted), metadata), words(asked), "{provider:?} {wanted}");
        }
    }

    #[test]
    fn a_cure_speaks_of_what_the_providers_page_speaks_of() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/manual/providers");
        let mut strange = Vec::new();
        for page in std::fs::read_dir(folder).unwrap() {
            let page = page.unwrap().path();
            let provider = match page.file_stem().unwrap().to_str().unwrap() {
                "auth0" => Provider::Auth0,
                "authgear" => Provider::Authgear,
                "entra" => Provider::Entra,
                "gitlab" => Provider::GitLab,
                "google" => Provider::Google,
                "keycloak" => Provider::Keycloak,
                "okta" => Provider::Okta,
                other => panic!("no cure is of {other}"),
            };
            let text = std::fs::read_to_string(&page).unwrap();
            let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
            let cure = provider.cure(&[]);
            let mut quoted = cure.split(['`', '"']).skip(1).step_by(2);
            if !quoted.all(|words| text.contains(words)) {
                strange.push(format!("{}: {cure}", page.display()));
            }
        }
        assert!(strange.is_empty(), "{strange:#?}");
    }

    #[test]
    fn every_provider_has_a_cure_that_names_what_it_wants() {
        for (provider, names) in [
            (Provider::Authgear, "Authgear"),
            (Provider::Keycloak, "OpenID Connect Compatibility Modes"),
            (Provider::Auth0, "Allow Offline Access"),
            (Provider::Okta, "grant types"),
            (Provider::Entra, "beside a scope of the API"),
            (Provider::Google, "access_type=offline"),
            (Provider::GitLab, "GitLab"),
            (Provider::Other, "offline_access"),
        ] {
            for scopes in ["", "openid offline_access"] {
                let cure = provider.cure(&words(scopes));
                assert!(cure.contains(names) && cure.ends_with('.'), "{cure}");
            }
        }
    }
}
