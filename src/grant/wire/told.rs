//! What a server is told in confidence, and is kept out of what is shown of its answers.

use crate::secret::{ClientSecret, RefreshToken, Secrets};

/// The secrets that a token request told the server, and that its answer may quote.
#[derive(Clone, Copy, Debug, Default)]
pub struct Told<'a> {
    /// The refresh token that was presented.
    pub refresh_token: Option<&'a RefreshToken>,
    /// All else: client secrets, keys, assertions.
    pub others: &'a [ClientSecret],
}

impl<'a> Told<'a> {
    /// What must not be shown.
    pub(super) fn secrets(self) -> Secrets<'a> {
        let refresh_token = self.refresh_token.map(|token| (token.expose(), "[refresh token]"));
        let others = self.others.iter().map(|secret| (secret.expose(), "[client secret]"));
        Secrets::of(refresh_token.into_iter().chain(others))
    }
}
