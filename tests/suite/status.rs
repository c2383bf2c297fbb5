//! `strongroom status`: what is due, what is not, and what Prometheus reads.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::running::Jobs;
use crate::site::DEADLINE;
use crate::support::run;

const JOB: &str = "[jobs.files]\npaths = [\"@/data\"]\nhost = \"server\"\n";

/// A line of the text format: name, labels, value.
type Sample = (String, BTreeMap<String, String>, f64);

/// Reads the text format as Prometheus does, as far as it is used; panics where something is wrong.
fn samples(text: &str) -> Vec<Sample> {
    let mut typed = Vec::new();
    let mut found = Vec::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(kind == "gauge" && !typed.contains(&name), "{line}");
            typed.push(name);
        } else if !line.starts_with("# HELP ") {
            let (name, rest) = line.split_once('{').unwrap();
            assert_eq!(typed.last(), Some(&name), "{line}");
            let (labels, value) = labels(rest);
            found.push((name.to_owned(), labels, value.parse().unwrap()));
        }
    }
    assert!(text.ends_with('\n'));
    found
}

fn labels(text: &str) -> (BTreeMap<String, String>, &str) {
    let (mut labels, mut rest) = (BTreeMap::new(), text);
    while !rest.starts_with('}') {
        let (name, after) = rest.split_once("=\"").unwrap();
        let mut value = String::new();
        let mut characters = after.char_indices();
        let end = loop {
            match characters.next().unwrap() {
                (at, '"') => break at,
                (_, '\\') => value.push(match characters.next().unwrap().1 {
                    'n' => '\n',
                    other => other,
                }),
                (_, other) => value.push(other),
            }
        };
        labels.insert(name.trim_start_matches(',').to_owned(), value);
        rest = &after[end + 1..];
    }
    (labels, rest[1..].trim())
}

#[test]
fn a_job_is_due_when_its_last_good_snapshot_is_too_old() {
    let jobs = Jobs::new(JOB);
    assert!(jobs.run(3, &["status"]).out().contains("files: DUE: there is no good snapshot"));
    jobs.run(0, &["-q", "run"]);
    let good = jobs.run(0, &["status"]).out();
    assert!(
        good.contains("files: good, ") && good.contains("last run here:") && good.contains("exit code 0"),
        "{good}"
    );
    assert_eq!(jobs.run(0, &["-q", "status"]).out(), "");
    // A snapshot with problems is none that counts.
    jobs.configure("[jobs.files]\npaths = [\"@/data\", \"@/absent\"]\nhost = \"server\"\nmax-age = \"1s\"\n");
    std::thread::sleep(std::time::Duration::from_millis(2100));
    jobs.run(3, &["-q", "run"]);
    let due = jobs.run(3, &["status"]).out();
    assert!(due.contains("DUE: the last good snapshot is") && due.contains("1 problem"), "{due}");
    let object = &jobs.json(0, &["status", "--max-age", "1d"])[0];
    assert_eq!((&object["due"], &object["snapshots"]), (&false.into(), &2.into()));
    assert_eq!(object["last_run"]["exit_code"], 3);
    assert_ne!(object["last_snapshot"]["id"], object["last_good_snapshot"]["id"]);
}

#[test]
fn without_a_configuration_each_group_is_told_of() {
    let jobs = Jobs::new(JOB);
    let site = &jobs.site;
    site.run(3, ["status"]);
    site.backup(["data", "--host", "old", "--time", "2020-01-01 00:00:00"]);
    site.backup(["data", "--host", "new"]);
    let outcome = site.run(3, ["status"]);
    assert!(outcome.out().contains("DUE") && outcome.out().contains("good, "), "{}", outcome.out());
    let told = site.json(3, ["status"]);
    let due: Vec<_> =
        told.iter().map(|row| (row["hostname"].as_str().unwrap(), row["due"].as_bool().unwrap())).collect();
    assert_eq!(due, [("new", false), ("old", true)]);
    site.run(0, ["status", "--max-age", "5000w"]);
    site.run(2, ["status", "--max-age", "soon"]);
    site.run(1, ["status", "files"]);
}

#[test]
fn prometheus_reads_what_is_written() {
    let jobs = Jobs::new(JOB);
    jobs.run(0, &["-q", "run"]);
    let path = jobs.site.join("node/strongroom.prom");
    fs::create_dir_all(jobs.site.join("node")).unwrap();
    let file = path.display().to_string();
    jobs.run(0, &["status", "--prometheus", &file]);
    jobs.run(0, &["status", "--prometheus", &file]);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
    assert_eq!(fs::read_dir(jobs.site.join("node")).unwrap().count(), 1, "nothing is left beside it");
    let found = samples(&fs::read_to_string(&path).unwrap());
    let value = |name: &str| {
        let sample = found.iter().find(|(other, ..)| other == &format!("strongroom_{name}"));
        sample.unwrap_or_else(|| panic!("no {name}")).2
    };
    assert_eq!(
        (value("snapshots"), value("last_run_exit_code"), value("last_run_problems")),
        (1.0, 0.0, 0.0)
    );
    assert!(value("last_success_timestamp_seconds") > 1.7e9 && value("last_run_added_bytes") > 0.0);
    assert_eq!(value("last_good_snapshot_timestamp_seconds"), value("last_snapshot_timestamp_seconds"));
    assert!(found.iter().all(|(_, labels, _)| labels["job"] == "files" && labels["host"] == "server"));
    // Names that need escaping come through; of a repository without jobs the paths are a label, too.
    jobs.site.folder.write("a \"b\" \\c/file", "x");
    jobs.site.backup(["a \"b\" \\c", "--host", "new\nline"]);
    let mut command = jobs.site.command(["status", "--prometheus", &file]);
    run(&mut command, DEADLINE).expect_code(0);
    let found = samples(&fs::read_to_string(&path).unwrap());
    assert!(
        found
            .iter()
            .any(|(_, labels, _)| labels["host"] == "new\nline" && labels["paths"].contains("a \"b\" \\c"))
    );
}
