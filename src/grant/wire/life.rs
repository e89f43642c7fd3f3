//! How long things live, as servers write it.

use std::time::Duration;

use serde_json::Value;

use super::Members;

/// What `expires_in` says.
#[derive(Debug, PartialEq)]
pub(super) enum Life {
    Seconds(Duration),
    Unknown,
    None,
}

/// An integer, a float, or either in quotes (R9); zero and less are no life, anything else is unknown.
pub(super) fn life(value: Option<&Value>) -> Life {
    let seconds = match value {
        Some(Value::Number(number)) => number.as_f64(),
        Some(Value::String(text)) => text.trim().parse::<f64>().ok(),
        _ => None,
    };
    match seconds {
        Some(seconds) if seconds.is_nan() => Life::Unknown,
        Some(seconds) if seconds <= 0.0 => Life::None,
        // Larger than any clock: as long as can be told.
        Some(seconds) => Life::Seconds(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)),
        None => Life::Unknown,
    }
}

/// By which names servers tell when a grant ends: the draft's two (draft-ietf-oauth-refresh-token-expiration), and
/// those that were there before it.
const OF_GRANT: [&str; 4] =
    ["authorization_expires_in", "refresh_token_timeout", "refresh_token_expires_in", "refresh_expires_in"];

/// The shortest of what is told of the grant and its refresh token. Zero is Keycloak's word for "without end".
pub(super) fn of_grant(members: &Members) -> Option<Duration> {
    let told = OF_GRANT.iter().filter_map(|name| match life(members.get(name)) {
        Life::Seconds(life) => Some(life),
        Life::Unknown | Life::None => None,
    });
    told.min()
}
