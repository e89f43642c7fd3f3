//! A page for each code that the program can emit: `bearerd explain CODE` prints it.

use crate::{checking, config, grant, hooks, login, proxy};

/// Declares the pages: the texts, and one page of rustdoc with all of them.
macro_rules! pages {
    ($($word:literal)*) => {
        /// Every page, by its code, in the order of the alphabet.
        pub const PAGES: &[(&str, &str)] =
            &[$(($word, include_str!(concat!("codes/", $word, ".md"))),)*];

        $(#[doc = include_str!(concat!("codes/", $word, ".md"))])*
        pub mod pages {}
    };
}

pages! {
    "action_not_allowed"
    "active"
    "address_taken"
    "address_unusable"
    "answer_unusable"
    "assertion_rejected"
    "bad_address"
    "bad_choice"
    "bad_duration"
    "bad_grant_name"
    "bad_header"
    "bad_host"
    "bad_method"
    "bad_number"
    "bad_origin"
    "bad_path"
    "bad_secret_reference"
    "bad_size"
    "bad_text"
    "bad_url"
    "bare_secret"
    "body_too_large"
    "callback_malformed"
    "caller_not_allowed"
    "certificate_ends_soon"
    "client_auth_unsupported"
    "client_key_unusable"
    "client_refused"
    "client_rejected"
    "clock_wrong"
    "code_rejected"
    "config_rejected"
    "connection_failed"
    "contradiction"
    "degraded"
    "discovery_failed"
    "dpop_key_unusable"
    "dpop_proof_rejected"
    "dpop_unsupported"
    "duplicate_route"
    "egress_proxy_unused"
    "emit_failed"
    "expectation_failed"
    "exposed_listener"
    "flow_without_sign_in"
    "grant_exported"
    "grant_rejected"
    "header_too_large"
    "hook_failed"
    "host_not_allowed"
    "id_token_mismatch"
    "internal"
    "issuer_mismatch"
    "loop"
    "lost_rotation"
    "malformed"
    "method_not_allowed"
    "misconfigured"
    "missing_key"
    "mixed_shapes"
    "name_unknown"
    "no_grant"
    "no_refresh_token"
    "no_route"
    "no_sign_in_endpoint"
    "no_such_grant"
    "no_such_page"
    "not_built_in"
    "not_implemented"
    "not_yet"
    "origin_not_allowed"
    "overloaded"
    "plaintext_server"
    "plaintext_upstream"
    "redirect_port_taken"
    "redirect_uri_refused"
    "request_rejected"
    "request_timeout"
    "reserved_parameter"
    "resource_refused"
    "revocation_failed"
    "scope_refused"
    "secret_file_missing"
    "secret_file_mode"
    "secret_unreadable"
    "secret_unset"
    "server_unavailable"
    "server_unreachable"
    "sign_in_cancelled"
    "sign_in_denied"
    "sign_in_refused"
    "sign_in_required"
    "sign_in_timed_out"
    "signed_out"
    "starting"
    "state_mismatch"
    "stopping"
    "store_corrupt"
    "store_in_memory"
    "store_of_another_client"
    "store_unavailable"
    "store_write_failed"
    "target_too_long"
    "tls_failed"
    "tls_verify"
    "token_binding_wrong"
    "token_endpoint_blocked"
    "token_endpoint_busy"
    "token_endpoint_error"
    "token_endpoint_moved"
    "token_endpoint_redirects"
    "token_endpoint_unanswered"
    "token_endpoint_unreachable"
    "token_endpoint_wrong"
    "token_unavailable"
    "toml_syntax"
    "unavailable"
    "unknown_grant"
    "unknown_key"
    "unknown_variable"
    "unreadable_file"
    "unused_grant"
    "upstream_protocol"
    "upstream_timeout"
    "upstream_unreachable"
    "wrong_type"
}

/// Codes that belong together.
#[derive(Debug)]
pub struct Area {
    /// What they are about.
    pub title: &'static str,
    /// The codes.
    pub codes: Vec<&'static str>,
}

/// Those that are the admin listener's own; it has others in common with the proxy.
const ADMIN: &[&str] = &["action_not_allowed", "config_rejected", "no_such_grant", "no_such_page"];

/// Every code that the program can emit, by area; a few are in two.
#[must_use]
pub fn areas() -> Vec<Area> {
    vec![
        Area {
            title: "Answers of the proxy itself, to callers",
            codes: proxy::error::Code::ALL.map(proxy::error::Code::word).to_vec(),
        },
        Area {
            title: "States of a grant",
            codes: grant::status::State::ALL.map(grant::status::State::word).to_vec(),
        },
        Area {
            title: "Why a refresh brought no token",
            codes: grant::error::Code::ALL.iter().map(|code| code.word()).collect(),
        },
        Area {
            title: "Why a sign-in brought nothing",
            codes: login::Code::ALL.iter().map(|code| code.word()).collect(),
        },
        Area { title: "Answers of the admin listener", codes: ADMIN.to_vec() },
        Area {
            title: "What is wrong with a configuration",
            codes: config::Code::ALL.iter().map(|code| code.word()).collect(),
        },
        Area {
            title: "What `check --online` alone finds",
            codes: checking::Code::ALL.iter().map(|code| code.word()).collect(),
        },
        Area {
            title: "Why nobody was told by `[hooks]`",
            codes: hooks::Code::ALL.iter().map(|code| code.word()).collect(),
        },
    ]
}

/// The page of a code.
#[must_use]
pub fn page(code: &str) -> Option<&'static str> {
    PAGES.iter().find(|(word, _)| *word == code).map(|(_, page)| *page)
}

/// The first sentence of a code's page, which stands alone below its heading.
#[must_use]
pub fn summary(code: &str) -> &'static str {
    page(code).and_then(|page| page.split("\n\n").nth(1)).unwrap_or_default()
}
