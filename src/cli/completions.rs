//! `bearerd completions`: what a shell needs to complete the command.

use clap_complete::Shell;

use super::{Exit, Failure, command, say};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  bearerd completions bash > ~/.local/share/bash-completion/completions/bearerd\n  bearerd completions zsh > ~/.zfunc/_bearerd\n  bearerd completions fish > ~/.config/fish/completions/bearerd.fish"
)]
pub(super) struct Arguments {
    /// Which shell
    shell: Shell,
}

pub(super) fn completions(arguments: &Arguments) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut command(), "bearerd", &mut script);
    say(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Success)
}
