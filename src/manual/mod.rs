//! The manual: one page a topic and one a code, read here, in the repository and by `bearerd explain` alike.
//!
//! Pages of reference are made from the code: `BEARERD_WRITE=1 cargo test manual` writes them anew.

pub mod codes;
pub mod roff;
pub mod text;

/// Declares a page of rustdoc for a file, and a topic for `bearerd explain`.
macro_rules! pages {
    ($($page:ident = $file:literal;)*) => {
        $(#[doc = include_str!($file)] pub mod $page {})*

        /// Every page that is no code's, by the name that `bearerd explain` knows it by.
        pub const TOPICS: &[(&str, &str)] = &[$((stringify!($page), include_str!($file))),*];
    };
}

/// What a page is called by its first line.
#[must_use]
pub fn title(page: &str) -> &str {
    page.lines().next().unwrap_or_default().trim_start_matches('#').trim()
}

pages! {
    quick_start = "quick_start.md";
    sidecar = "howto/sidecar.md";
    dev = "howto/dev.md";
    legacy = "howto/legacy.md";
    providers = "providers.md";
    authgear = "providers/authgear.md";
    keycloak = "providers/keycloak.md";
    auth0 = "providers/auth0.md";
    okta = "providers/okta.md";
    entra = "providers/entra.md";
    google = "providers/google.md";
    gitlab = "providers/gitlab.md";
    guarantees = "guarantees.md";
    security = "security.md";
    alternatives = "alternatives.md";
    configuration = "reference/configuration.md";
    commands = "reference/commands.md";
    metrics = "reference/metrics.md";
    events = "reference/events.md";
}
