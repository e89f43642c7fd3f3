//! Every key of proxy.toml, told once: its name, type, default and meaning.
//!
//! The environment's names, "did you mean" and the test against the reference file are all made from this table.

use std::path::PathBuf;

use http::{HeaderName, Method};

use super::address::{Dial, Endpoint, Host, Issuer, ListenOrOff, Upstream, WebOrigin};
use super::choice::{FlowKind, StoreKind};
use super::error::Report;
use super::quantity::{Size, Span, SpanOrNone, SpanOrZero};
use super::reference::{Command, SecretReference, Secrets};
use super::schema::Shape;
use super::value::{Count, Extra, ExtraHeaders, Item, List, OneOrMore, Overlay, Placed, Read, Workers};
use super::word::{RedirectPath, Resource, RoutePath, Scheme, Scope, Text, TokenType};
use crate::grant::{ClientAuthMethod, Dpop, Margin};
use crate::jose::Algorithm;
use crate::net::Listen;
use crate::proxy::guard::Browser;
use crate::proxy::route::OnUnauthorized;
use crate::proxy::upstream::HttpVersion;
use crate::telemetry::{Access, Format};
use crate::tls::Roots;
use crate::token::GrantName;

/// What is known of a key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// The section, as in `[oauth]`; empty at the top level.
    pub section: &'static str,
    /// The key itself.
    pub name: &'static str,
    /// The default as proxy.toml writes it; empty where there is none, or none that one line could tell.
    pub default: &'static str,
    /// One sentence.
    pub meaning: &'static str,
    /// Whether it comes with a later version, and is refused by name until then.
    pub later: bool,
    pub(super) overlay: Overlay,
    /// What its values look like.
    pub(super) shape: fn() -> serde_json::Value,
    /// Whether its values are paths.
    pub(super) is_path: bool,
    /// Whether something may be written for it.
    pub(super) takes: fn(&Item) -> bool,
}

impl Key {
    /// As in `oauth.client_id`.
    #[must_use]
    pub fn path(&self) -> String {
        join(self.section, self.name)
    }

    /// Whether a route may have it as well as the top level.
    #[must_use]
    pub fn is_of_routes_too(&self) -> bool {
        self.section.is_empty() && carriage().any(|key| key.name == self.name)
    }

    /// Whether its values are anybody's, and may be secrets: a gateway's key can stand nowhere else, and a command's
    /// arguments may have a webhook's address among them.
    pub(super) fn may_hold_secrets(&self) -> bool {
        ["oauth.extra", "oauth.extra_headers", "hooks.state_changed"].contains(&self.path().as_str())
    }

    /// Whether its value is a secret.
    pub(super) fn is_secret(&self) -> bool {
        matches!(self.overlay, Overlay::Secret)
    }

    /// The environment variables that set it; none for routes and tables.
    #[must_use]
    pub fn variables(&self) -> Vec<String> {
        let name = format!("BEARERD_{}", self.path().replace('.', "_").to_ascii_uppercase());
        match self.overlay {
            _ if self.section == "route" => Vec::new(),
            Overlay::None => Vec::new(),
            Overlay::Plain => vec![name],
            Overlay::Secret => vec![format!("{name}_FILE"), format!("{name}_ENV"), name],
        }
    }
}

/// A key below a section.
pub(super) fn join(section: &str, name: &str) -> String {
    if section.is_empty() { name.to_owned() } else { format!("{section}.{name}") }
}

/// Some keys of a section, each with what was written for it.
pub(super) trait Group {
    fn keys(&self) -> &'static [Key];

    /// Keys that were written, and told to be wrong.
    fn faulty(&mut self) -> &mut Vec<&'static str>;

    /// Reads `item` under its key; false when no key of this version has the name.
    fn set(&mut self, name: &str, item: &Item, report: &mut Report) -> bool;
}

/// Declares a group: the keys of this version with their types, and those that come later.
macro_rules! group {
    (
        $(#[$doc:meta])* $group:ident in $section:literal {
            $($key:ident: $type:ty = $default:literal, $meaning:literal;)*
        } later {
            $($later:ident: $overlay:ident, $means:literal;)*
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default)]
        pub(super) struct $group {
            $(pub(super) $key: Option<Placed<$type>>,)*
            /// Keys that were written, and told to be wrong: they are not missing.
            pub(super) faulty: Vec<&'static str>,
        }

        impl $group {
            pub(super) const KEYS: &[Key] = &[
                $(Key {
                    section: $section,
                    name: stringify!($key),
                    default: $default,
                    meaning: $meaning,
                    later: false,
                    overlay: <$type as Read>::OVERLAY,
                    shape: <$type as Shape>::shape,
                    is_path: <$type as Read>::IS_PATH,
                    takes: |item| <$type as Read>::read(item, &mut Report::default()).is_some(),
                },)*
                $(Key {
                    section: $section,
                    name: stringify!($later),
                    default: "",
                    meaning: $means,
                    later: true,
                    overlay: Overlay::$overlay,
                    shape: || false.into(),
                    is_path: false,
                    takes: |_| false,
                },)*
            ];
        }

        impl Group for $group {
            fn keys(&self) -> &'static [Key] {
                Self::KEYS
            }

            fn faulty(&mut self) -> &mut Vec<&'static str> {
                &mut self.faulty
            }

            fn set(&mut self, name: &str, item: &Item, report: &mut Report) -> bool {
                let place = item.place.clone();
                match name {
                    $(stringify!($key) => {
                        self.$key = Read::read(item, report).map(|value| Placed { value, place });
                        if self.$key.is_none() {
                            self.faulty.push(stringify!($key));
                        }
                        true
                    })*
                    _ => {
                        let _unused_in_a_group_without_keys = (place, report);
                        false
                    }
                }
            }
        }
    };
}

/// Every key, in the order of the reference file.
pub fn keys() -> impl Iterator<Item = &'static Key> {
    [
        Root::KEYS,
        Carriage::KEYS,
        Route::KEYS,
        Grant::KEYS,
        Store::KEYS,
        Admin::KEYS,
        Probes::KEYS,
        Guard::KEYS,
        Tls::KEYS,
        Limits::KEYS,
        Hooks::KEYS,
        Log::KEYS,
        ListenTls::KEYS,
    ]
    .into_iter()
    .flatten()
}

/// Those that a route may have as well as the top level.
pub(super) fn carriage() -> impl Iterator<Item = &'static Key> {
    Carriage::KEYS.iter()
}

group! {
    /// The top level.
    Root in "" {
        listen: OneOrMore<Listen> = "\"localhost:8080\"",
            "Where callers come in: `host:port`, `unix:/path`, `fd:NAME` (systemd), or a list of these.";
        upstream: Upstream = "",
            "Short for one route `/` that leads there.";
        workers: Workers = "1",
            "Threads that carry requests; \"auto\" is one a core.";
        via: bool = "true",
            "Whether requests get a `Via` header; answers never do.";
        drain_delay: SpanOrZero = "\"0s\"",
            "How long callers are still accepted after SIGTERM.";
        shutdown_grace: SpanOrZero = "\"25s\"",
            "How long requests may then take to end.";
    } later {
        egress_proxy: Plain, "A proxy towards authorization servers and upstreams.";
    }
}

group! {
    /// How a route carries requests; at the top level, for every route that does not say otherwise.
    Carriage in "" {
        header: HeaderName = "\"Authorization\"",
            "The header that carries the token.";
        scheme: Scheme = "\"Bearer\"",
            "What stands before the token; \"\" sends the token alone.";
        http: HttpVersion = "\"match\"",
            "Which HTTP the upstream is spoken to in: the caller's (\"match\"), \"1\" or \"2\".";
        on_401: OnUnauthorized = "\"replay\"",
            "After a 401 requests are sent again with the next token: all (\"replay\"), safe ones (\"replay_safe\"), none (\"pass\").";
        response_timeout: SpanOrNone = "\"60s\"",
            "How long the upstream may take until the head of its answer; \"0s\" is for ever.";
        allow_plaintext_upstream: bool = "false",
            "Whether tokens may cross a network in plain text, to an http:// upstream on another machine.";
        methods: OneOrMore<Method> = "",
            "The methods that are carried; others get 405. Any, when left out.";
    } later {}
}

group! {
    /// One `[[route]]`, beside its [`Carriage`].
    Route in "route" {
        path: RoutePath = "\"/\"",
            "The prefix that it serves; the longest one wins, whole segments only.";
        host: Host = "",
            "The host that it serves; any, when left out.";
        upstream: Upstream = "",
            "Where it leads; a path there replaces the route's own.";
        grant: GrantName = "\"default\"",
            "Whose token it takes.";
    } later {
        tls: None, "TLS towards this route's upstream.";
    }
}

group! {
    /// `[oauth]`, or `[grant.NAME]`.
    Grant in "oauth" {
        issuer: Issuer = "",
            "The authorization server; its endpoints are discovered.";
        token_endpoint: Endpoint = "",
            "Its token endpoint, where there is no discovery.";
        authorization_endpoint: Endpoint = "",
            "Where people sign in with a browser, where there is no discovery.";
        device_authorization_endpoint: Endpoint = "",
            "Where a sign-in with another device begins (RFC 8628), where there is no discovery.";
        revocation_endpoint: Endpoint = "",
            "Where a sign-out is told (RFC 7009), where discovery does not say it or names another host than the token endpoint's.";
        client_id: Text = "",
            "The client's name there.";
        client_secret: Secrets = "",
            "The client's secret, by reference; a list of two while one follows the other.";
        client_key: SecretReference = "",
            "The client's private key in PEM, by reference: it signs assertions of who the client is.";
        client_key_id: Text = "",
            "The key's name at the server, for the assertion's `kid`.";
        client_key_algorithm: Algorithm = "",
            "What it signs with: \"ES256\", \"RS256\", \"PS256\" or \"EdDSA\"; found out, when left out.";
        client_assertion: SecretReference = "",
            "A signed assertion of who the client is, kept fresh by others: a projected service account's token.";
        assertion_audience: Text = "",
            "Whom signed assertions are for: the issuer, or without one the token endpoint, when left out.";
        client_auth: ClientAuthMethod = "",
            "Or \"none\", \"post\", \"client_secret_jwt\", \"private_key_jwt\", \"tls\"; by what is given and what the server takes, if left out.";
        refresh_token: SecretReference = "",
            "The first refresh token, by reference; the store takes over from there.";
        flow: FlowKind = "\"refresh_token\"",
            "How access tokens are got: also \"client_credentials\", \"jwt_bearer\" (RFC 7523), \"token_exchange\" (RFC 8693).";
        assertion: SecretReference = "",
            "For \"jwt_bearer\": the assertion, by reference; one is signed with `client_key`, when left out.";
        subject: Text = "",
            "For \"jwt_bearer\": whom a signed assertion is about; the client itself, when left out.";
        subject_token: SecretReference = "",
            "For \"token_exchange\": the token that is exchanged, by reference.";
        subject_token_type: TokenType = "",
            "Its type: \"jwt\" (when left out), \"access_token\", \"id_token\", \"refresh_token\", \"saml1\", \"saml2\" or a URI.";
        actor_token: SecretReference = "",
            "For \"token_exchange\": the token of who acts for the subject, by reference.";
        actor_token_type: TokenType = "",
            "Its type, as above.";
        requested_token_type: TokenType = "",
            "For \"token_exchange\": the type of the token that is wanted; the server's choice, when left out.";
        scopes: List<Scope> = "",
            "The scopes to ask for.";
        send_scopes_on_refresh: bool = "false",
            "Whether refreshes name the scopes again.";
        resource: OneOrMore<Resource> = "",
            "What the token is for (RFC 8707): a URI or a list.";
        audience: Text = "",
            "What the token is for, at servers that call it so.";
        extra: Extra = "",
            "More parameters for token requests and sign-ins.";
        extra_headers: ExtraHeaders = "",
            "More header fields for token requests.";
        refresh_margin: Margin = "\"20%\"",
            "How long before its expiry a token is renewed: a share of its life, or a time span.";
        timeout: Span = "\"20s\"",
            "How long one token request may take in all.";
        connect_to: Dial = "",
            "Dial this `host:port` for the authorization server, and keep its public name.";
        dpop: Dpop = "false",
            "Whether tokens are bound to a key (RFC 9449): true where the server does that, \"required\" to take no others.";
        dpop_key: SecretReference = "",
            "The key that the first refresh token is bound to, in PEM, by reference; a new one is made, when left out.";
        redirect_port: Count<0, 65535> = "0",
            "The port of this machine that a browser returns to after a sign-in; 0 takes any free one, which some servers refuse.";
        redirect_path: RedirectPath = "\"/callback\"",
            "The path that it returns to: http://127.0.0.1:PORT and this have to be registered with the client.";
    } later {
        tls: None, "TLS towards this authorization server.";
    }
}

group! {
    /// `[store]`.
    Store in "store" {
        kind: StoreKind = "\"file\"",
            "\"file\", \"keyring\" (the desktop's, if built in), or \"memory\", which forgets everything at the end.";
        path: PathBuf = "",
            "By default state.json in $STATE_DIRECTORY, $XDG_STATE_HOME/bearerd or, for root, /var/lib/bearerd.";
        allow_network_fs: bool = "false",
            "Trusts a file on NFS or the like, whose lock can be lost unnoticed, to be this process's alone.";
        encryption_key: Secrets = "",
            "Encrypts records: 32 bytes in base64, by reference, read at the start; of a list the first seals, and each opens.";
    } later {
        name: Plain, "The Secret's name, for \"kubernetes\".";
    }
}

group! {
    /// `[admin]`.
    Admin in "admin" {
        listen: ListenOrOff = "\"127.0.0.1:9901\"",
            "Where people and the command come in; \"off\" for nowhere.";
        requests: Count<0, 10_000> = "200",
            "How many of the last requests each worker keeps for the status page, without secrets; 0 for none.";
    } later {}
}

group! {
    /// `[probes]`.
    Probes in "probes" {
        listen: ListenOrOff = "\"off\"",
            "Where machines ask /livez, /readyz, /startupz and /metrics; any address will do.";
    } later {}
}

group! {
    /// `[guard]`.
    Guard in "guard" {
        allowed_hosts: List<Host> = "[\"localhost\", \"127.0.0.1\", \"[::1]\"]",
            "The names that callers may use for this proxy, at any port.";
        allowed_origins: List<WebOrigin> = "[]",
            "Web pages that may ask, as \"https://app.example.com\".";
        browser: Browser = "\"deny\"",
            "What other web pages may do: nothing (\"deny\"), ask from this very origin (\"same-origin\"), or anything (\"off\").";
    } later {
        caller_secret: Secret, "A secret that callers must show.";
        allowed_uids: Plain, "Users that may call over a Unix socket.";
        allowed_clients: Plain, "Networks that may call.";
    }
}

group! {
    /// `[tls]`.
    Tls in "tls" {
        ca_file: PathBuf = "",
            "PEM certificates of authorities that are trusted as well.";
        roots: Roots = "\"platform\"",
            "Which authorities are trusted: the platform's and `ca_file`'s, or with \"file\" those of `ca_file` alone.";
        client_cert: PathBuf = "",
            "The PEM certificate, and its chain, that servers are shown when they ask for one (RFC 8705).";
        client_key: SecretReference = "",
            "Its private key in PEM, by reference.";
    } later {}
}

group! {
    /// `[limits]`.
    Limits in "limits" {
        token_wait: SpanOrZero = "\"10s\"",
            "How long a request may wait when there is no usable token.";
        connect_timeout: Span = "\"5s\"",
            "Until an upstream is connected.";
        tls_timeout: Span = "\"5s\"",
            "Until its TLS handshake is done.";
        first_byte_timeout: Span = "\"10s\"",
            "Until a new caller sends its first byte.";
        header_timeout: Span = "\"10s\"",
            "From the first byte of a request's head to its end.";
        idle_timeout: Span = "\"75s\"",
            "How long a caller's connection may rest between requests.";
        body_timeout: SpanOrNone = "\"60s\"",
            "How long a sender that is waited for may send nothing; \"0s\" is for ever.";
        stream_idle_timeout: SpanOrNone = "\"5m\"",
            "How long a request may have no byte in either direction; \"0s\" is for ever.";
        // Below 8 KiB hyper takes no buffer; what is more than 1 MiB would be kept for each connection.
        header_size: Size<8, 1024> = "\"64KiB\"",
            "The largest head of a request; beyond it 431.";
        connections: Count<1, 1_000_000> = "10000",
            "Callers' connections at a time; beyond it they are refused.";
        requests: Count<1, 1_000_000> = "4096",
            "Requests at a time; beyond it 503.";
        upstream_idle: Span = "\"55s\"",
            "How long an unused connection to an upstream is kept.";
        upstream_age: Span = "\"10m\"",
            "How old a connection to an upstream may grow, give or take a tenth.";
        replay_body: Size<0, 1024> = "\"64KiB\"",
            "How much of a request's body is held while it is forwarded, to send it once more; longer ones never are.";
    } later {}
}

group! {
    /// `[hooks]`.
    Hooks in "hooks" {
        state_changed: Command = "",
            "The program and its arguments that are run when a grant's state has another word; none, when left out.";
    } later {}
}

group! {
    /// `[log]`.
    Log in "log" {
        format: Format = "\"auto\"",
            "\"pretty\", \"json\", or \"auto\": pretty on a terminal.";
        level: tracing::Level = "\"info\"",
            "\"error\", \"warn\", \"info\", \"debug\" or \"trace\".";
        access: Access = "\"errors\"",
            "Which requests get a line: \"off\", \"errors\" or \"all\".";
    } later {}
}

group! {
    /// `[listen_tls]`.
    ListenTls in "listen_tls" {} later {
        cert_file: Plain, "The certificate that callers are shown.";
        key_file: Plain, "Its key.";
        client_ca_file: Plain, "Authorities of callers' certificates.";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_keys_share_a_path_or_a_variable() {
        let paths: Vec<String> = keys().map(Key::path).collect();
        let variables: Vec<String> = keys().flat_map(Key::variables).collect();
        for mut names in [paths, variables] {
            let all = names.len();
            names.sort();
            names.dedup();
            assert_eq!(names.len(), all);
        }
    }

    #[test]
    fn every_key_is_explained_in_a_sentence() {
        assert!(keys().all(|key| key.meaning.ends_with('.')));
    }
}
