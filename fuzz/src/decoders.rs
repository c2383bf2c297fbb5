//! Every target in one executable: `STRONGROOM_FUZZ_TARGET` names the one to run. With `STRONGROOM_FUZZ_SEEDS` it writes
//! the seeds of all of them below that folder instead, and prints their names.
#![no_main]

use std::path::Path;
use std::sync::LazyLock;
use std::{env, fs, io, process};

use libfuzzer_sys::fuzz_target;

/// The function that the environment names.
static TARGET: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    if let Some(folder) = env::var_os("STRONGROOM_FUZZ_SEEDS") {
        write_seeds(Path::new(&folder)).unwrap_or_else(|error| panic!("cannot write the seeds: {error}"));
        println!("{}", strongroom_fuzz::names().join("\n"));
        process::exit(0);
    }
    let name = env::var("STRONGROOM_FUZZ_TARGET").unwrap_or_default();
    strongroom_fuzz::named(&name).unwrap_or_else(|| {
        eprintln!("STRONGROOM_FUZZ_TARGET must be one of: {}", strongroom_fuzz::names().join(" "));
        process::exit(2)
    })
});

fn write_seeds(folder: &Path) -> io::Result<()> {
    for (target, seeds) in strongroom_fuzz::seeds() {
        let folder = folder.join(target);
        fs::create_dir_all(&folder)?;
        for (number, seed) in seeds.iter().enumerate() {
            fs::write(folder.join(format!("{number:04}")), seed)?;
        }
    }
    Ok(())
}

fuzz_target!(init: { LazyLock::force(&TARGET); }, |bytes: &[u8]| TARGET(bytes));
