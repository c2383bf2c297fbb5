//! Makes Vaultwarden data folders for benchmarks, and changes them as a night would.
//!
//! `generate --folder DIR --database-bytes N --attachments N --attachment-bytes N --seed N` makes one, its
//! attachments together of that many bytes; `generate --folder DIR --change-pages 0.06 --seed N` changes about
//! that share of its database's pages and folds the log into the database.

#![allow(clippy::print_stdout, reason = "an example tells on standard output what it made")]

use std::path::PathBuf;

use clap::Parser;
use strongroom::error::Result;
use strongroom::service::vaultwarden::generator::{Options, Server, generate};

#[derive(Parser)]
struct Arguments {
    /// The data folder
    #[arg(long)]
    folder: PathBuf,
    /// Least length of the database in bytes
    #[arg(long, default_value_t = 0)]
    database_bytes: u64,
    /// Number of attachments
    #[arg(long, default_value_t = 50)]
    attachments: u32,
    /// Bytes of all attachments together
    #[arg(long, default_value_t = 10_000_000)]
    attachment_bytes: u64,
    /// Equal seeds make equal folders
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Share of the database's pages to change, instead of making a folder
    #[arg(long)]
    change_pages: Option<f64>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if let Some(share) = arguments.change_pages {
        let mut server = Server::open(&arguments.folder, arguments.seed)?;
        let pages = server.change_pages(share)?;
        server.checkpoint()?;
        println!("{pages} pages changed");
        return Ok(());
    }
    let options = Options {
        seed: arguments.seed,
        attachments: arguments.attachments,
        attachment_bytes_total: arguments.attachment_bytes,
        database_bytes: arguments.database_bytes,
        ..Options::company()
    };
    println!("{:?}", generate(&arguments.folder, &options)?);
    Ok(())
}
