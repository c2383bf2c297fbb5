//! The recovery sheet: what is printed, what it is good for, and how it is typed wrong.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use strongroom::crypto::secret::Secret;
use strongroom::repository::{key_file, recovery};

use crate::site::{DEADLINE, Site, assert_same, each_file, objects, see};
use crate::support::{Outcome, Rng, TempFolder, has_tool, run, run_with_input};

/// The sheet of a new key, as printed.
fn sheet(site: &Site) -> String {
    let sheet = site.run(0, ["key", "add", "--recovery"]);
    assert!(sheet.err().is_empty(), "{}", sheet.err());
    sheet.out()
}

/// The lines of the key, with their numbers.
fn lines(sheet: &str) -> Vec<String> {
    let heading = sheet.lines().skip_while(|line| line.trim() != "STRONGROOM-RECOVERY-1");
    heading.skip(1).take(4).map(|line| line.trim().to_owned()).collect()
}

fn numbers(keys: &[serde_json::Value]) -> Vec<&str> {
    keys.iter().map(|key| key["label"].as_str().unwrap()).collect()
}

/// Nothing but a program, a copy of a repository and a sheet: no home, no cache, no variable.
struct EmptyMachine(TempFolder);

impl EmptyMachine {
    fn with(site: &Site) -> Self {
        let folder = TempFolder::new();
        let from = site.join("repo");
        // The empty ones as well.
        for entry in fs::read_dir(&from).unwrap().map(|entry| entry.unwrap()) {
            if entry.path().is_dir() {
                fs::create_dir_all(folder.join("copy").join(entry.file_name())).unwrap();
            }
        }
        each_file(&from, &mut |path, _| {
            folder.write(
                format!("copy/{}", path.strip_prefix(&from).unwrap().display()),
                fs::read(path).unwrap(),
            );
        });
        Self(folder)
    }

    fn program(&self, arguments: &[&str], input: &str) -> Outcome {
        let mut command = Command::new(env!("CARGO_BIN_EXE_strongroom"));
        command.env_clear().current_dir(self.0.path()).args(["-r", "copy"]).args(arguments);
        run_with_input(&mut command, input.as_bytes(), DEADLINE)
    }
}

/// A repository with something in it.
fn filled() -> Site {
    let site = Site::new();
    site.folder.write("data/file", "content");
    site.folder.write("data/sub/large", Rng::new(1).bytes(2_000_000));
    site.backup(["data"]);
    site
}

#[test]
fn a_repository_and_a_sheet_are_enough_to_get_everything_back() {
    let site = filled();
    let sheet = sheet(&site);
    let typed = lines(&sheet).join("\n").to_lowercase();
    let (machine, data) = (EmptyMachine::with(&site), see(&site.join("data")));
    machine.0.write("sheet.txt", &sheet);
    machine.0.write("typed.txt", format!("{typed}\r\n"));
    let ways: [(&[&str], &str); 4] = [
        (&["--key-file", "sheet.txt"], ""),
        (&["--key-file", "typed.txt"], ""),
        (&["--recovery-key"], &sheet),
        (&["--recovery-key"], &typed),
    ];
    for (number, (way, input)) in ways.into_iter().enumerate() {
        let target = format!("restored-{number}");
        let restore = ["restore", "latest:/data", "--target", &target];
        machine.program(&[way, &restore].concat(), input).expect_code(0);
        assert_same(&data, &see(&machine.0.join(target)));
    }
    // It is an ordinary key otherwise: it backs up, checks, and can be removed.
    machine.program(&["--key-file", "sheet.txt", "check", "--read-data"], "").expect_code(0);
    let keys =
        objects(&machine.program(&["--json", "--key-file", "sheet.txt", "key", "list"], "").expect_code(0));
    assert_eq!(numbers(&keys), ["first key", "recovery sheet"]);
    assert_eq!((&keys[1]["opens_with"], &keys[1]["current"]), (&"key file".into(), &true.into()));
    let id = keys[1]["id"].as_str().unwrap();
    assert!(sheet.contains(&id[..8]), "{sheet}");
    site.run(0, ["key", "remove", id]);
    site.folder.write("sheet.txt", &sheet);
    run(&mut site.command_with("sheet.txt", ["snapshots"]), DEADLINE).expect_code(12);
}

#[test]
fn what_the_sheet_says_fits_the_page_and_works_as_typed() {
    let site = filled();
    let sheet = sheet(&site);
    let keys = site.json(0, ["key", "list"]);
    let place = site.join("repo").canonicalize().unwrap();
    for part in [
        place.to_str().unwrap(),
        &keys[1]["id"].as_str().unwrap()[..8],
        "recovery sheet",
        "role full",
        "Made ",
        "Never keep the only copy in the vault",
    ] {
        assert!(sheet.contains(part), "{part}:\n{sheet}");
    }
    let wide = |line: &&str| line.chars().count() > 80 && !line.contains(place.to_str().unwrap());
    assert_eq!(sheet.lines().find(wide), None);
    assert!(sheet.is_ascii(), "{sheet}");
    // The command, just as it stands there, in a shell.
    let command: String = sheet
        .lines()
        .skip_while(|line| !line.starts_with("  strongroom -r "))
        .take_while(|line| !line.is_empty())
        .map(|line| format!("{line}\n"))
        .collect();
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_strongroom"));
    let folder = TempFolder::new();
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(&command).env_clear().current_dir(folder.path());
    let path = format!("{}:/usr/bin:/bin", program.parent().unwrap().display());
    run_with_input(shell.env("PATH", path), sheet.as_bytes(), DEADLINE).expect_code(0);
    let restored = folder.join("restored/data/file");
    let restored = if restored.exists() {
        restored
    } else {
        folder.join("restored").join(site.join("data/file").strip_prefix("/").unwrap())
    };
    assert_eq!(fs::read_to_string(restored).unwrap(), "content");
}

#[test]
fn a_sheet_typed_wrong_is_refused_by_its_line() {
    let site = filled();
    let sheet = sheet(&site);
    let right = lines(&sheet);
    let said = |typed: &str| {
        site.folder.write("typed", typed);
        let by_file = run(&mut site.command_with("typed", ["snapshots"]), DEADLINE).expect_code(12).err();
        assert!(by_file.contains("typed: line "), "{by_file}");
        for secret in right.iter().flat_map(|line| line.split(' ').skip(1)) {
            assert!(!by_file.contains(secret), "{by_file}");
        }
        by_file
    };
    for number in 1..=4usize {
        let line = &right[number - 1];
        for (at, other) in [(3, 'X'), (8, 'Y'), (14, '2'), (21, 'Z'), (21, '3')] {
            let mut letters: Vec<char> = line.chars().collect();
            assert_ne!(letters[at], ' ');
            letters[at] = if letters[at] == other { 'Q' } else { other };
            let wrong: String = letters.into_iter().collect();
            let typed = sheet.replace(line.as_str(), &wrong);
            let said = said(&typed);
            assert!(said.contains(&format!("line {number}: a character is wrong")), "{said}");
        }
        assert!(said(&sheet.replace(line.as_str(), "")).contains(&format!("line {number}: it is missing")));
        let short = sheet.replace(line.as_str(), &line[..21]);
        assert!(said(&short).contains(&format!("line {number}: it has 16 characters, not 15")));
        let long = sheet.replace(line.as_str(), &format!("{line}7"));
        assert!(said(&long).contains(&format!("line {number}: it has 16 characters, not 17")));
        let next = &right[number % 4];
        let exchanged = sheet.replace(line.as_str(), &format!("{number}:{}", &next[2..]));
        let expected = format!("line {number}: these are the characters of line {}", number % 4 + 1);
        assert!(said(&exchanged).contains(&expected));
    }
    assert!(said(&format!("{}\n5: 0000 0000 0000 0000\n", right.join("\n"))).contains("line 5: "));
    // Two keys at once are none too sure, wherever the flags stand.
    let said = site.run(1, ["snapshots", "--recovery-key"]).err();
    assert!(said.contains("--recovery-key") && said.contains("one of them"), "{said}");
    // On standard input, too, and with nothing there.
    let wrong = right.join("\n").replace("2: ", "2: 0");
    for (typed, why) in
        [(wrong.as_str(), "line 2: "), ("", "no line with a key"), ("hello", "no line with a key")]
    {
        let mut command = crate::support::strongroom(&site.folder);
        command.args(["-r", "repo", "--recovery-key", "snapshots"]);
        let said = run_with_input(&mut command, typed.as_bytes(), DEADLINE).expect_code(12).err();
        assert!(said.contains("standard input") && said.contains(why), "{said}");
    }
}

#[test]
fn at_a_terminal_each_line_is_asked_for_until_it_fits() {
    if !has_tool("script", "typing a recovery key at a terminal") {
        return;
    }
    let site = filled();
    let right = lines(&sheet(&site));
    let mut swapped: Vec<char> = right[1].chars().collect();
    let place = (3..6).find(|place| swapped[*place] != swapped[place + 1]).unwrap_or(3);
    swapped.swap(place, place + 1);
    let differs = swapped != right[1].chars().collect::<Vec<_>>();
    // The first without its number, the third line in the second's place, then as it stands.
    let typed = [
        right[0][3..].to_lowercase(),
        swapped.into_iter().collect(),
        right[2].clone(),
        right[1].clone(),
        "STRONGROOM-RECOVERY-1".into(),
        right[2].clone(),
        right[3].clone(),
        String::new(),
    ]
    .join("\n");
    assert!(differs, "a line of four equal characters is not to be expected");
    let mut command = Command::new("script");
    let inner = format!("{} -r repo --recovery-key --json key list", env!("CARGO_BIN_EXE_strongroom"));
    command.args(["-qec", &inner, "/dev/null"]).current_dir(site.folder.path()).env_clear();
    command.env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", site.join("home"));
    let shown = run_with_input(&mut command, typed.as_bytes(), DEADLINE).expect_code(0).out();
    for part in [
        "line 2: two characters seem to be swapped",
        "Type line 2 again.",
        "line 2: this is line 3",
        "line 4: ",
        "\"current\":true",
    ] {
        assert!(shown.contains(part), "{part}:\n{shown}");
    }
}

/// The path's squares: what is dark, by column and row, and how wide the whole is.
fn modules(page: &str) -> (Vec<(usize, usize)>, usize) {
    let (_, after) = page.split_once("viewBox=\"0 0 ").unwrap();
    let side = after.split(' ').next().unwrap().parse().unwrap();
    let (_, path) = page.split_once("<path fill=\"#000\" d=\"").unwrap();
    let path = path.split('"').next().unwrap();
    let dark = path.split("h1v1h-1z").filter(|part| !part.is_empty()).map(|part| {
        let (x, y) = part.strip_prefix('M').unwrap().split_once(' ').unwrap();
        (x.parse().unwrap(), y.parse().unwrap())
    });
    (dark.collect(), side)
}

/// What a camera reads from the page.
fn scanned(page: &str) -> String {
    let (dark, side) = modules(page);
    let scale = 4;
    let mut image = rqrr::PreparedImage::prepare_from_greyscale(side * scale, side * scale, |x, y| {
        if dark.contains(&(x / scale, y / scale)) { 0 } else { 255 }
    });
    let grids = image.detect_grids();
    assert_eq!(grids.len(), 1, "one code");
    grids[0].decode().expect("it can be read").1
}

#[test]
fn the_page_holds_the_same_key_and_nothing_from_elsewhere() {
    let site = filled();
    let printed = site
        .run(0, ["key", "add", "--recovery", "--recovery-html", "sheet.html", "--label", "<safe> & \"co\""])
        .out();
    let page = fs::read_to_string(site.join("sheet.html")).unwrap();
    assert_eq!(fs::metadata(site.join("sheet.html")).unwrap().permissions().mode() & 0o777, 0o600);
    let secret = key_file::parse_key_file(&printed).unwrap();
    let text = recovery::text(&secret);
    assert!(page.contains(text.trim()), "the box");
    assert_eq!(scanned(&page), *text);
    site.folder.write("scanned", scanned(&page));
    run(&mut site.command_with("scanned", ["snapshots"]), DEADLINE).expect_code(0);
    assert!(page.contains("&lt;safe&gt; &amp; \"co\"") && !page.contains("<safe>"), "{page}");
    assert!(
        page.contains("default-src 'none'") && page.contains("background: #fff") && page.contains("@page")
    );
    let elsewhere = page.replace("xmlns=\"http://www.w3.org/2000/svg\"", "");
    for mark in ["://", "<script", "<link", "<img", "src=", "href", "url(", "@import"] {
        assert!(!elsewhere.contains(mark), "{mark}");
    }
    for tag in
        ["html", "body", "table", "pre", "svg", "ul", "div", "h1", "h2", "p", "li", "code", "style", "title"]
    {
        let opened = page.matches(&format!("<{tag}>")).count() + page.matches(&format!("<{tag} ")).count();
        assert_eq!(opened, page.matches(&format!("</{tag}>")).count(), "{tag}");
    }
    // A page is never overwritten, and no key is added that nobody gets.
    let keys = site.count("keys");
    let again = site.run(1, ["key", "add", "--recovery", "--recovery-html", "sheet.html"]);
    assert!(again.err().contains("is there already") && again.stdout.is_empty(), "{}", again.err());
    assert_eq!(fs::read_to_string(site.join("sheet.html")).unwrap(), page);
    site.run(1, ["key", "add", "--recovery", "--recovery-html", "no/such/folder"]);
    assert_eq!(site.count("keys"), keys);
}

#[test]
fn a_program_is_not_shown_the_key() {
    let site = Site::new();
    let refused = site.run(1, ["--json", "key", "add", "--recovery"]);
    assert!(
        refused.out().contains("--recovery-html") && refused.out().contains("exit_error"),
        "{}",
        refused.out()
    );
    assert_eq!(site.count("keys"), 1);
    let outcome = site.run(0, ["--json", "key", "add", "--recovery", "--recovery-html", "sheet.html"]);
    let object = &objects(&outcome)[0];
    assert_eq!((&object["message_type"], &object["role"]), (&"key_added".into(), &"full".into()));
    assert_eq!(
        (&object["label"], &object["recovery_html"]),
        (&"recovery sheet".into(), &"sheet.html".into())
    );
    let text = scanned(&fs::read_to_string(site.join("sheet.html")).unwrap());
    for line in text.lines().skip(1) {
        assert!(!outcome.out().contains(&line[3..]) && !outcome.err().contains(&line[3..]));
    }
    site.folder.write("scanned", &text);
    run(&mut site.command_with("scanned", ["snapshots"]), DEADLINE).expect_code(0);
}

#[test]
fn a_sheet_that_cannot_be_written_leaves_no_key_behind() {
    let site = Site::new();
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut command = site.command(["key", "add", "--recovery", "--recovery-html", "sheet.html"]);
    let status = command.stdin(Stdio::null()).stdout(full).stderr(Stdio::null()).status().unwrap();
    assert_eq!((status.code(), site.count("keys"), site.join("sheet.html").exists()), (Some(1), 1, false));
    // Nobody reads.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = site.command(["key", "add", "--recovery"]);
    let output = command.stdin(Stdio::null()).stdout(writer).stderr(Stdio::piped()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!((output.status.code(), site.count("keys")), (Some(1), 1), "{said}");
    assert!(said.contains("could not be written") && said.contains("taken back"), "{said}");
}

#[test]
fn only_a_full_key_makes_a_sheet_and_a_sheet_is_always_full() {
    let site = Site::new();
    site.run(0, ["key", "add", "--role", "maintain", "--label", "pruner", "--new-key-file", "pruner.key"]);
    let arguments = ["key", "add", "--recovery", "--recovery-html", "sheet.html"];
    let refused = run(&mut site.command_with("pruner.key", arguments), DEADLINE).expect_code(12);
    assert!(refused.err().contains("needs a key of role full") && !site.join("sheet.html").exists());
    for role in ["backup", "maintain"] {
        let said = site.run(1, ["key", "add", "--recovery", "--role", role]).err();
        assert!(said.contains("a recovery sheet is a full key"), "{said}");
    }
    assert_eq!(site.count("keys"), 2);
    site.run(0, ["key", "add", "--recovery", "--role", "full", "--label", "safe"]);
    assert_eq!(numbers(&site.json(0, ["key", "list"])), ["first key", "pruner", "safe"]);
}

#[test]
fn nothing_of_a_sheet_stays_behind() {
    let site = filled();
    let sheet = sheet(&site);
    let secret: Secret = key_file::parse_key_file(&sheet).unwrap();
    site.folder.write("sheet.txt", &sheet);
    run(&mut site.command_with("sheet.txt", ["-v", "backup", "data"]), DEADLINE).expect_code(0);
    let groups: Vec<String> = lines(&sheet).iter().map(|line| line[3..].to_owned()).collect();
    for folder in ["repo", "home", "tmp"] {
        each_file(&site.join(folder), &mut |path, _| {
            let bytes = fs::read(path).unwrap();
            let has = |needle: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
            assert!(!has(secret.expose()), "{}", path.display());
            assert!(groups.iter().all(|group| !has(group.as_bytes())), "{}", path.display());
        });
    }
}
