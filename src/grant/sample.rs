//! Grants for tests.

use std::time::Duration;

use super::{ClientAuthMethod, Credentials, Dpop, Flow, Margin, Params, Server, SignIn};
use crate::token::GrantName;

/// A public client's grant without a seed, and nothing configured beyond.
pub(crate) fn params(server: Server, client_id: &str) -> Params {
    Params {
        name: GrantName::new(GrantName::DEFAULT),
        server,
        client_id: client_id.to_owned(),
        client_auth: ClientAuthMethod::None,
        credentials: Credentials::default(),
        dpop: Dpop::Off,
        dpop_key: None,
        flow: Flow::RefreshToken { seed: None },
        scopes: Vec::new(),
        send_scopes_on_refresh: false,
        resource: Vec::new(),
        audience: None,
        extra: Vec::new(),
        extra_headers: Vec::new(),
        margin: Margin::Share(0.2),
        timeout: Duration::from_secs(20),
        connect_to: None,
        sign_in: SignIn::default(),
    }
}
