//! Logs: events with stable names, pretty on a terminal and JSON lines elsewhere.

/// What `[log]` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Params {
    /// `format`.
    pub format: Format,
    /// `level`.
    pub level: tracing::Level,
    /// `access`.
    pub access: Access,
}

/// `format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Pretty when stderr is a terminal, JSON lines elsewhere.
    Auto,
    /// For people.
    Pretty,
    /// One object a line.
    Json,
}

/// `access`: which requests get a line of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// None.
    Off,
    /// Those that the proxy answered itself with an error, and upstream answers of 500 and above.
    Errors,
    /// All.
    All,
}

impl Default for Params {
    fn default() -> Self {
        Self { format: Format::Auto, level: tracing::Level::INFO, access: Access::Errors }
    }
}
