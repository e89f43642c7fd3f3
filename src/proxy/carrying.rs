//! One request being carried: held until the last byte of its answer, so that limits, drain and idle timers know.

/// Held by the response body until it has ended or been dropped.
#[derive(Debug, Default)]
pub struct Carrying {}
