//! `strongroom config systemd`: a service and a timer that run the jobs every night.
//!
//! Invariant: whatever stands in a unit is escaped as systemd wants it, so that no name of a file becomes a directive.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::{Config, ConfigFile};
use crate::cli::exit::Outcome;
use crate::cli::global::Global;
use crate::cli::output::Output;
use crate::error::{Error, Result};

/// Arguments of `config systemd`.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  strongroom config systemd\n  strongroom config systemd --out-dir /etc/systemd/system\n  \
    systemctl daemon-reload && systemctl enable --now strongroom.timer\n\n\
    The service reads everything and writes only to the repositories, caches, metrics and the Vaultwarden\n\
    folders, where SQLite takes its locks. Hooks that write elsewhere need ReadWritePaths of their own."
)]
pub(super) struct Arguments {
    #[command(flatten)]
    config: ConfigFile,
    /// When to run, as systemd.time(7) has it
    #[arg(long, value_name = "TIME", default_value = "*-*-* 03:15:00", value_parser = parse_line)]
    on_calendar: String,
    /// Up to so much later, by chance, as systemd.time(7) has it
    #[arg(long, value_name = "TIME", default_value = "30min", value_parser = parse_line)]
    randomized_delay: String,
    /// Write strongroom.service and strongroom.timer into this folder; files that are there are not overwritten
    #[arg(long, value_name = "FOLDER")]
    out_dir: Option<PathBuf>,
}

fn parse_line(text: &str) -> std::result::Result<String, String> {
    let fits = !text.trim().is_empty() && !text.chars().any(char::is_control) && !text.ends_with('\\');
    if fits { Ok(text.to_owned()) } else { Err("give one line".to_owned()) }
}

pub(super) fn run(global: &Global, arguments: &Arguments, output: &Output) -> Result<Outcome> {
    global.refuse_repository()?;
    let config = arguments.config.read()?;
    let program =
        std::env::current_exe().map_err(|error| Error::io("cannot tell where the program lies", error))?;
    let units = [("strongroom.service", service(&config, &program)?), ("strongroom.timer", timer(arguments))];
    for (name, text) in units {
        match &arguments.out_dir {
            None => output.text(format!("# {name}\n{text}\n").as_bytes())?,
            Some(folder) => write(&folder.join(name), &text)?,
        }
    }
    Ok(Outcome::Done)
}

/// Units hold no secret, and systemd warns of those that others may not read.
fn write(path: &Path, text: &str) -> Result<()> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes())).map_err(|error| {
        let is_there = error.kind() == std::io::ErrorKind::AlreadyExists;
        let error = Error::io(format!("cannot write {}", path.display()), error);
        if is_there {
            error.hint("remove it first, if that is what you want, or name another folder")
        } else {
            error
        }
    })
}

/// A path as a word of a unit.
fn word(path: &Path) -> Result<String> {
    let refused = || {
        Error::refused(format!("a unit cannot name {}", path.display()))
            .hint("give it a name of letters and digits, or a link of such a name")
    };
    let text = path.to_str().filter(|text| !text.chars().any(char::is_control)).ok_or_else(refused)?;
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%").replace('$', "$$");
    Ok(format!("\"{escaped}\""))
}

fn service(config: &Config, program: &Path) -> Result<String> {
    let mut writable = BTreeSet::new();
    let mut own_cache = true;
    for (_, table) in &config.file.repositories.0 {
        writable.extend(table.path.clone());
        writable.extend(table.cache_dir.clone());
        own_cache &= table.cache_dir.is_some();
    }
    writable.extend(config.file.metrics.as_deref().and_then(Path::parent).map(Path::to_path_buf));
    for (_, job) in &config.file.jobs.0 {
        writable.extend(job.vaultwarden.clone());
        writable.extend(job.temporary_folder.clone());
    }
    let mut text = format!(
        "[Unit]\n\
         Description=Strongroom: back up what {config} says\n\
         Documentation=man:strongroom-run(1)\n\
         Wants=network-online.target\n\
         After=network-online.target\n\
         \n\
         [Service]\n\
         Type=oneshot\n\
         ExecStart={program} -q run --config {file}\n\
         # A run that is stopped ends in good order, which may take a moment.\n\
         KillMode=mixed\n\
         TimeoutStopSec=5min\n\
         Nice=10\n\
         IOSchedulingClass=best-effort\n\
         IOSchedulingPriority=7\n\
         UMask=0077\n",
        config = config.path.display().to_string().replace('%', "%%"),
        program = word(program)?.replace("$$", "$"),
        file = word(&config.path)?,
    );
    let fail = |_| Error::refused("the unit cannot be made");
    if !own_cache {
        text.push_str("CacheDirectory=strongroom\nCacheDirectoryMode=0700\nEnvironment=STRONGROOM_CACHE_DIR=/var/cache/strongroom\n");
    }
    text.push_str(
        "# It has to read everything, and to write to these alone.\n\
         ProtectSystem=strict\n\
         ProtectHome=read-only\n\
         PrivateTmp=yes\n",
    );
    for path in writable {
        // A folder that is not there yet is no reason not to start; the run says so.
        let path = word(&path)?.replace("$$", "$");
        let path = path.replacen('"', "\"-", 1);
        writeln!(text, "ReadWritePaths={path}").map_err(fail)?;
    }
    text.push_str(
        "NoNewPrivileges=yes\n\
         ProtectKernelTunables=yes\n\
         ProtectKernelModules=yes\n\
         ProtectKernelLogs=yes\n\
         ProtectControlGroups=yes\n\
         ProtectClock=yes\n\
         ProtectHostname=yes\n\
         RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK\n\
         RestrictRealtime=yes\n\
         RestrictSUIDSGID=yes\n\
         LockPersonality=yes\n\
         SystemCallArchitectures=native\n",
    );
    Ok(text)
}

fn timer(arguments: &Arguments) -> String {
    format!(
        "[Unit]\n\
         Description=Strongroom every night\n\
         \n\
         [Timer]\n\
         OnCalendar={}\n\
         RandomizedDelaySec={}\n\
         # What was missed while the machine was off is made up for.\n\
         Persistent=true\n\
         \n\
         [Install]\n\
         WantedBy=timers.target\n",
        arguments.on_calendar, arguments.randomized_delay
    )
}
