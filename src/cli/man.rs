//! `strongroom man`: the manual pages, made of the same words as `--help`.

use std::fs;
use std::path::{Path, PathBuf};

use clap_mangen::Man;

use super::exit::Outcome;
use super::output::Output;
use crate::error::{Error, Result};

/// Arguments of `man`.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  strongroom man key add | man -l -\n  \
    strongroom man --out-dir /usr/local/share/man/man1\n\n\
    Without --out-dir one page goes to standard output: that of the command named, or the first one.")]
pub(super) struct Arguments {
    /// The command that the page is about, such as `key add`
    #[arg(value_name = "COMMAND", conflicts_with = "out_dir")]
    command: Vec<String>,
    /// Write the pages of all commands into this folder, which is made if need be
    #[arg(long, value_name = "FOLDER")]
    out_dir: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments, mut root: clap::Command, output: &Output) -> Result<Outcome> {
    root.build();
    if let Some(folder) = &arguments.out_dir {
        fs::create_dir_all(folder)
            .map_err(|error| Error::io(format!("cannot make the folder {}", folder.display()), error))?;
        write_all(&root, folder)?;
        return Ok(Outcome::Done);
    }
    let mut command = &root;
    for name in &arguments.command {
        command = command.find_subcommand(name).ok_or_else(|| {
            Error::refused(format!("there is no command {}", arguments.command.join(" ").escape_debug()))
                .hint("`strongroom --help` lists the commands")
        })?;
    }
    output.text(&page(command)?)?;
    Ok(Outcome::Done)
}

/// Writes the page of a command and those of the commands below it.
fn write_all(command: &clap::Command, folder: &Path) -> Result<()> {
    let path = folder.join(Man::new(command.clone()).get_filename());
    fs::write(&path, page(command)?)
        .map_err(|error| Error::io(format!("cannot write {}", path.display()), error))?;
    command.get_subcommands().try_for_each(|command| write_all(command, folder))
}

fn page(command: &clap::Command) -> Result<Vec<u8>> {
    let mut page = Vec::new();
    let failed = |error| Error::io("cannot make the manual page", error);
    let man = Man::new(command.clone())
        .manual("Strongroom")
        .source(concat!("strongroom ", env!("CARGO_PKG_VERSION")));
    man.render(&mut page).map_err(failed)?;
    Ok(keep_examples(&String::from_utf8_lossy(&page)).into_bytes())
}

/// Keeps examples as they stand: a line that is filled and hyphenated cannot be copied into a shell.
fn keep_examples(page: &str) -> String {
    let (options, notes) = page.split_once(".SH EXTRA\n").unwrap_or((page, ""));
    let mut text = format!("{options}.SH EXAMPLES\n");
    let mut kept = false;
    for line in notes.lines() {
        let keep = line.starts_with("  ");
        if keep != kept {
            text.push_str(if keep { ".nf\n" } else { ".fi\n" });
            kept = keep;
        }
        text.push_str(line);
        text.push('\n');
    }
    text
}
