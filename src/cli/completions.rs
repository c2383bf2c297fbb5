//! `strongroom completions`: what a shell needs to complete commands and options.

use super::exit::Outcome;
use super::output::Output;
use crate::error::Result;

/// Arguments of `completions`.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    strongroom completions bash > /usr/share/bash-completion/completions/strongroom\n  \
    strongroom completions zsh > /usr/local/share/zsh/site-functions/_strongroom\n  \
    strongroom completions fish > /etc/fish/completions/strongroom.fish")]
pub(super) struct Arguments {
    /// The shell
    #[arg(value_enum, value_name = "SHELL")]
    shell: clap_complete::Shell,
}

pub(super) fn run(arguments: &Arguments, mut command: clap::Command, output: &Output) -> Result<Outcome> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut command, "strongroom", &mut script);
    output.text(&script)?;
    Ok(Outcome::Done)
}
