//! The `bearerd` command.

fn main() {}
