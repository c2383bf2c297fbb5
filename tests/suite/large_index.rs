//! An index larger than what memory is meant to hold: opened, searched and backed up against, within a limit
//! that the kernel keeps.

mod made_up;

use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use strongroom::backend::LocalBackend;
use strongroom::repository::Repository;
use strongroom::repository::key_file::parse_key_file;
use strongroom::repository::keys::Credential;

use crate::site::{Site, last, objects};
use crate::support::{Outcome, long, run};

/// A repository whose index names so many made-up chunks.
fn site(chunks: u64) -> Site {
    let site = Site::new();
    let key = fs::read_to_string(site.join("full.key")).unwrap();
    let credential = Credential::KeyFile(parse_key_file(&key).unwrap());
    let backend = LocalBackend::open(&site.join("repo")).unwrap();
    let repository = Repository::open(Arc::new(backend), &credential).unwrap();
    made_up::generate(&repository, &site.join("repo"), chunks);
    site.folder.write("data/letter.txt", "Dear administrator,");
    site
}

/// Runs the program with so many mebibytes of anonymous memory and no more: what asks for more is killed or fails.
fn limited(site: &Site, mebibytes: u64, seconds: u64, arguments: &[&str]) -> Outcome {
    let inner = site.command(arguments);
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -d \"$0\" && exec \"$@\"", &(mebibytes << 10).to_string()]);
    command.arg(inner.get_program()).args(inner.get_args()).env_clear();
    command.current_dir(inner.get_current_dir().unwrap());
    command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    // Each thread reserves a stack and an arena of its own.
    command.env("RAYON_NUM_THREADS", "2");
    let outcome = run(&mut command, seconds);
    println!("{arguments:?}: {:.1?}", outcome.took);
    outcome
}

/// Backs up and reads back under a limit, with a cache and without, and when the cache is damaged.
fn within(chunks: u64, mebibytes: u64, seconds: u64) {
    let site = site(chunks);
    let copies = || {
        let cache = fs::read_dir(site.join("home/.cache/strongroom")).into_iter().flatten().next();
        let index = cache.map(|entry| entry.unwrap().path().join("index"));
        index.into_iter().flat_map(|folder| fs::read_dir(folder).into_iter().flatten()).count()
    };
    let backup = |more: &[&str]| -> Value {
        let arguments = [&["--json"], more, &["backup", "data"]].concat();
        let outcome = limited(&site, mebibytes, seconds, &arguments).expect_code(0);
        assert!(outcome.stderr.is_empty(), "{}", outcome.err());
        last(&objects(&outcome))
    };
    assert_eq!(backup(&["--no-cache"])["data_blobs"], 1);
    assert_eq!(copies(), 0);
    assert_eq!(backup(&[])["data_blobs"], 0, "what the first run stored is found among all the others");
    assert_eq!(copies(), 1);
    site.folder.write("data/answer.txt", "Dear user,");
    let warm = backup(&[]);
    assert_eq!((&warm["data_blobs"], copies()), (&Value::from(1), 1), "a night is not worth a new copy");
    limited(&site, mebibytes, seconds, &["-q", "restore", "latest", "--target", "back"]).expect_code(0);
    assert_eq!(fs::read(site.join("back/data/answer.txt")).unwrap(), b"Dear user,");
    let checked = limited(&site, mebibytes, seconds, &["--json", "check"]).expect_code(0);
    let blobs = last(&objects(&checked))["blobs"].as_u64().unwrap();
    assert!(blobs > chunks && blobs < chunks + 20, "{blobs}");
}

#[test]
fn six_hundred_thousand_chunks_fit_into_a_small_machine() {
    within(600_000, 64, 120);
}

#[test]
fn ten_million_chunks_fit_into_512_mebibytes() {
    if long() {
        within(10_000_000, 512, Duration::from_mins(20).as_secs());
    }
}
