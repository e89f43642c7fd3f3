//! `bearerd check`: is the configuration good, and what does it do?

use super::{Common, Exit, Failure, complain, say};
use crate::config::Flags;

pub(super) fn check(common: &Common, flags: Flags) -> Result<Exit, Failure> {
    let loaded = common.load(flags)?;
    complain(&loaded.render_warnings(common.is_coloured()));
    if !common.quiet {
        say(&loaded.summary());
    }
    Ok(Exit::Success)
}
