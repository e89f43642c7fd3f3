//! Grants for tests that drive the refresher themselves.

use std::path::PathBuf;
use std::time::Duration;

use bearerd::grant::{ClientAuthMethod, Credentials, Dpop, Flow, Margin, Params, Secret, Server, SignIn};
use bearerd::token::GrantName;

/// A grant with its seed in a file, and nothing configured beyond.
pub(crate) fn params(server: Server, client_id: &str, seed: PathBuf) -> Params {
    Params {
        name: GrantName::new(GrantName::DEFAULT),
        server,
        client_id: client_id.to_owned(),
        client_auth: ClientAuthMethod::Auto,
        credentials: Credentials::default(),
        flow: Flow::RefreshToken { seed: Some(Secret::File(seed)) },
        scopes: Vec::new(),
        send_scopes_on_refresh: false,
        resource: Vec::new(),
        audience: None,
        extra: Vec::new(),
        extra_headers: Vec::new(),
        margin: Margin::Share(0.2),
        timeout: Duration::from_secs(20),
        connect_to: None,
        dpop: Dpop::Off,
        dpop_key: None,
        sign_in: SignIn::default(),
    }
}
