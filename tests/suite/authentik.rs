//! authentik through the executable: what its compose file leads to lies in the snapshot, files and database are proved to
//! belong together, and a database of its shape comes back with its keys whole.

mod restored;
mod schema;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::Value;

use crate::servers::postgres::Postgres;
use crate::servers::redis::Redis;
use crate::site::{DEADLINE, Site};
use crate::support::{TempFolder, run, strongroom};

/// The compose file of a release since 2025.12, as authentik ships it.
const COMPOSE: &str = r"
services:
  postgresql:
    env_file:
    - .env
    environment:
      POSTGRES_DB: ${PG_DB:-authentik}
      POSTGRES_PASSWORD: ${PG_PASS:?database password required}
      POSTGRES_USER: ${PG_USER:-authentik}
    image: docker.io/library/postgres:16-alpine
    volumes:
    - database:/var/lib/postgresql/data
  server: &authentik
    command: server
    env_file:
    - .env
    environment: &settings
      AUTHENTIK_POSTGRESQL__HOST: postgresql
      AUTHENTIK_POSTGRESQL__NAME: ${PG_DB:-authentik}
      AUTHENTIK_POSTGRESQL__PASSWORD: ${PG_PASS}
      AUTHENTIK_POSTGRESQL__USER: ${PG_USER:-authentik}
      AUTHENTIK_SECRET_KEY: ${AUTHENTIK_SECRET_KEY:?secret key required}
    image: ${AUTHENTIK_IMAGE:-ghcr.io/goauthentik/server}:${AUTHENTIK_TAG:-2026.2.2}
    volumes:
    - ./data:/data
    - ./custom-templates:/templates
  worker:
    <<: *authentik
    command: worker
    user: root
    volumes:
    - /var/run/docker.sock:/var/run/docker.sock
    - ./data:/data
    - ./certs:/certs
    - ./custom-templates:/templates
    - type: bind
      source: ./blueprints
      target: /blueprints/custom
volumes:
  database:
    driver: local
";

/// That of a release before 2025.10, with a Redis, and `environment` as a list.
const OLD_COMPOSE: &str = r#"---
services:
  postgresql:
    image: docker.io/library/postgres:16-alpine
  redis:
    image: docker.io/library/redis:alpine
  server:
    image: "ghcr.io/goauthentik/server:${AUTHENTIK_TAG:-2024.12.3}"
    environment:
      - AUTHENTIK_REDIS__HOST=redis
      - AUTHENTIK_POSTGRESQL__HOST=postgresql
      - AUTHENTIK_POSTGRESQL__PASSWORD=${PG_PASS}
      - AUTHENTIK_SECRET_KEY
    volumes:
      - ./media:/media
  worker:
    image: "ghcr.io/goauthentik/server:${AUTHENTIK_TAG:-2024.12.3}"
    environment: {AUTHENTIK_POSTGRESQL__HOST: postgresql}
    volumes: ["./media:/media", "./certs:/certs"]
"#;

const ENVIRONMENT: &str = "PG_PASS=hunter2-database\nAUTHENTIK_SECRET_KEY='hunter2-secret'\n\
    AUTHENTIK_EMAIL__FROM=authentik Mail <a@example.com>\n";
/// The files that rows of the database name.
const NAMED: [&str; 5] = [
    "application-icons/wiki.png",
    "flow-backgrounds/night sky.jpg",
    "logo-dark.svg",
    "logo-light.svg",
    "favicon.ico",
];

/// A server with the database of an authentik.
fn server(what: &str, release: &str, events: u32) -> Option<Postgres> {
    let server = Postgres::start(what)?;
    server.sql("postgres", "CREATE DATABASE authentik");
    server.sql("authentik", &schema::sql(release, events));
    Some(server)
}

fn url(server: &Postgres) -> String {
    format!("postgresql://postgres@/authentik?host={}", server.folder().display())
}

/// Uploaded files in a folder of the containers' media.
fn upload(folder: &TempFolder, media: &str) {
    for name in NAMED {
        folder.write(format!("{media}/public/{name}"), format!("content of {name}"));
    }
}

/// A compose folder of a release since 2025.12.
fn compose_folder(site: &Site) {
    site.folder.write("authentik/compose.yml", COMPOSE);
    site.folder.write("authentik/.env", ENVIRONMENT);
    site.folder.write("authentik/custom-templates/email.html", "<p>hello</p>");
    site.folder.write("authentik/certs/tls.pem", "certificate");
    site.folder.write("authentik/blueprints/own.yaml", "version: 1");
    upload(&site.folder, "authentik/data/media");
}

fn summary(lines: &[Value]) -> &Value {
    lines.iter().find(|line| line["message_type"] == "summary").expect("a summary")
}

/// Every table with its number of rows.
fn counts(server: &Postgres, database: &str) -> BTreeMap<String, u64> {
    let tables = server.sql(
        database,
        "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace",
    );
    let count =
        |table: &str| server.sql(database, &format!("SELECT count(*) FROM {table}")).trim().parse().unwrap();
    tables.lines().map(|table| (table.to_owned(), count(table))).collect()
}

/// How many foreign keys there are, all of them held against the rows.
fn keys(server: &Postgres, database: &str) -> String {
    server.sql(database, "SELECT count(*), bool_and(convalidated) FROM pg_constraint WHERE contype = 'f'")
}

/// Brings the newest snapshot's database back into a new one, by the server's own client.
fn bring_back(site: &Site, server: &Postgres, database: &str) {
    let content = site.run(0, ["dump", "latest", "/postgres/authentik.dump"]).stdout;
    let file = server.folder().join("back.dump");
    fs::write(&file, content).unwrap();
    server.sql("postgres", &format!("CREATE DATABASE {database}"));
    let mut restore = server.client("pg_restore", database);
    run(restore.arg("--exit-on-error").arg(&file), DEADLINE).expect_code(0);
}

/// Nothing secret in what was said, and nothing in what the snapshot tells of itself.
fn assert_silent(site: &Site, said: &str) {
    let shown = site.run(0, ["snapshots", "--json"]).out();
    assert!(!said.contains("hunter2") && !shown.contains("hunter2"), "{said}\n{shown}");
}

#[test]
fn a_whole_authentik_is_stored_and_comes_back() {
    let Some(server) = server("backups of an authentik", "2026.2.2", 2000) else { return };
    let site = Site::new();
    compose_folder(&site);
    let lines = site.json(0, ["backup", "--authentik", "authentik", "--postgres", &url(&server)]);
    let service = &summary(&lines)["service"];
    assert_eq!((&service["whole"], &service["files_proved"]), (&true.into(), &5.into()), "{service}");
    assert_eq!((&service["name"], &service["release"]), (&"authentik".into(), &"2026.2.2".into()));
    assert_eq!(service["schema_version"], "authentik_core.0056_user_roles");
    assert_eq!(service["tables"]["authentik_core_user"], 500);
    let before = counts(&server, "authentik");
    assert!(before.len() >= 40, "{}", before.len());
    let dump = &summary(&lines)["dumps"][0];
    assert_eq!(
        (&dump["path"], dump["rows"].as_object().unwrap().len()),
        (&"/postgres/authentik.dump".into(), before.len())
    );

    let listed = site.run(0, ["ls", "latest"]).out();
    let top = site.folder.path().display();
    for name in [
        "compose.yml",
        ".env",
        "certs/tls.pem",
        "custom-templates/email.html",
        "blueprints/own.yaml",
        "data/media/public/flow-backgrounds/night sky.jpg",
    ] {
        assert!(listed.lines().any(|line| line == format!("{top}/authentik/{name}")), "{name}\n{listed}");
    }
    assert!(!listed.contains("docker.sock") && !listed.contains("repo"), "{listed}");
    let told = site.run(0, ["backup", "--authentik", "authentik", "--postgres", &url(&server)]);
    assert!(
        told.out().contains("authentik 2026.2.2: 5 files of those that rows name proved"),
        "{}",
        told.out()
    );
    assert_silent(&site, &format!("{}{}", told.out(), told.err()));

    bring_back(&site, &server, "back");
    assert_eq!(counts(&server, "back"), before);
    assert_eq!(keys(&server, "back"), keys(&server, "authentik"));
    let target = site.join("elsewhere");
    site.run(0, ["restore", "latest", "--target", target.to_str().unwrap()]);
    let restored = target.join(site.folder.path().strip_prefix("/").unwrap()).join("authentik");
    assert_eq!(fs::read_to_string(restored.join(".env")).unwrap(), ENVIRONMENT);
    assert_eq!(fs::read(restored.join("data/media/public/favicon.ico")).unwrap(), b"content of favicon.ico");
    site.assert_sound();
}

#[test]
fn what_rows_name_and_is_not_there_is_damage() {
    let Some(server) = server("the proof of an authentik's files", "2026.2.2", 100) else { return };
    let site = Site::new();
    compose_folder(&site);
    let backup = ["backup", "--authentik", "authentik", "--postgres", &url(&server)];
    fs::remove_file(site.join("authentik/data/media/public/application-icons/wiki.png")).unwrap();
    let lost = site.run(3, backup);
    assert!(
        lost.err().contains("application-icons/wiki.png") && lost.err().contains("meta_icon"),
        "{}",
        lost.err()
    );
    let lines = site.json(3, backup);
    let service = &summary(&lines)["service"];
    assert_eq!((&service["whole"], &service["files_proved"]), (&false.into(), &4.into()));
    assert!(
        service["damaged"][0]["path"]
            .as_str()
            .unwrap()
            .ends_with("/data/media/public/application-icons/wiki.png")
    );

    // One that an exclude keeps out is missing just as well.
    site.folder.write("authentik/data/media/public/application-icons/wiki.png", "back");
    site.run(0, backup);
    let excluded = site.run(3, [backup.as_slice(), &["--exclude", "favicon.ico"]].concat());
    assert!(excluded.err().contains("favicon.ico"), "{}", excluded.err());

    // A name that leaves the folder is none, and a database without users is no authentik that anybody could log in to.
    server.sql(
        "authentik",
        "UPDATE authentik_core_application SET meta_icon = '../../../../etc/passwd' WHERE slug = 'app-5'",
    );
    let odd = site.run(3, backup);
    assert!(odd.err().contains("can be no uploaded file"), "{}", odd.err());
    server.sql("authentik", "UPDATE authentik_core_application SET meta_icon = '' WHERE slug = 'app-5'; TRUNCATE authentik_core_user CASCADE");
    let empty = site.run(3, [backup.as_slice(), &["--accept-smaller-dump"]].concat());
    assert!(empty.err().contains("no user"), "{}", empty.err());
    server.sql("authentik", "DROP TABLE authentik_core_user CASCADE");
    let other = site.run(3, backup);
    assert!(other.err().contains("it is not authentik's"), "{}", other.err());
    site.assert_sound();
}

#[test]
fn transient_rows_can_be_left_out_and_keys_stay_whole() {
    let Some(server) = server("backups of an authentik without transient rows", "2026.2.2", 100) else {
        return;
    };
    let site = Site::new();
    compose_folder(&site);
    let backup = ["backup", "--authentik", "authentik", "--postgres", &url(&server), "--without-transient"];
    let lines = site.json(0, backup);
    let dump = &summary(&lines)["dumps"][0];
    let left_out: Vec<&str> =
        dump["without_rows"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert_eq!(left_out, schema::TRANSIENT.map(|table| format!("public.{table}")));
    bring_back(&site, &server, "back");
    let (before, after) = (counts(&server, "authentik"), counts(&server, "back"));
    for (table, rows) in &before {
        let expected = if schema::TRANSIENT.contains(&table.as_str()) { 0 } else { *rows };
        assert_eq!(after[table], expected, "{table}");
    }
    assert_eq!(keys(&server, "back"), keys(&server, "authentik"));

    // What a table refers to that nobody here knows is kept.
    server.sql("authentik", "CREATE TABLE plugin_login (id INTEGER PRIMARY KEY, session_id VARCHAR(40) REFERENCES authentik_core_authenticatedsession);
        INSERT INTO plugin_login SELECT 1, session_id FROM authentik_core_authenticatedsession LIMIT 1");
    let told = site.run(0, backup);
    assert!(
        told.out().contains("authentik_core_authenticatedsession are kept, for plugin_login refers to them"),
        "{}",
        told.out()
    );
    bring_back(&site, &server, "kept");
    assert_eq!(counts(&server, "kept")["authentik_core_session"], 80);
    assert_eq!(counts(&server, "kept")["django_postgres_cache_cacheentry"], 0);
    assert_eq!(keys(&server, "kept"), keys(&server, "authentik"));
}

#[test]
fn an_older_release_has_its_redis_and_its_media() {
    let Some(server) = server("backups of an older authentik", "2024.12.3", 100) else { return };
    let Some(redis) = Redis::start("backups of an authentik's Redis", &[], None) else { return };
    let site = Site::new();
    site.folder.write("authentik/docker-compose.yml", OLD_COMPOSE);
    site.folder.write("authentik/.env", ENVIRONMENT);
    site.folder.write("authentik/certs/tls.pem", "certificate");
    // The folder of uploaded files on another disk, as many have it.
    upload(&site.folder, "disk");
    symlink(site.join("disk"), site.join("authentik/media")).unwrap();
    let url = url(&server);
    let backup = ["backup", "--authentik", "authentik", "--postgres", &url];
    let redis_url = format!("redis://{}", redis.address("").host.expect("a socket").replace('/', "%2F"));
    let with_redis = [backup.as_slice(), &["--redis", &redis_url]].concat();
    let lines = site.json(0, with_redis);
    let service = &summary(&lines)["service"];
    assert_eq!((&service["whole"], &service["release"]), (&true.into(), &"2024.12.3".into()), "{service}");
    assert_eq!(summary(&lines)["dumps"].as_array().unwrap().len(), 2);
    let listed = site.run(0, ["ls", "latest"]).out();
    assert!(listed.contains("/redis/dump.rdb") && listed.contains("/authentik/media\n"), "{listed}");
    assert!(listed.contains("/disk/public/favicon.ico"), "{listed}");

    // Where it cannot be reached, there is a snapshot all the same, and it is told.
    let without = site.run(3, [backup.as_slice(), &["--compose", "no-such-program"]].concat());
    assert!(
        without.err().contains("Redis") && without.err().contains("not in this backup"),
        "{}",
        without.err()
    );
    assert!(!site.run(0, ["ls", "latest"]).out().contains("dump.rdb"));
    let told = site.run(0, [backup.as_slice(), &["--no-redis"]].concat());
    assert_silent(&site, &format!("{}{}{}", told.out(), told.err(), without.err()));

    // The tag says what is to run, and the database what ran: the latter counts.
    site.folder.write("authentik/.env", format!("{ENVIRONMENT}AUTHENTIK_TAG=2025.10.1\n"));
    let newer = site.run(0, backup);
    assert!(newer.err().contains("2025.10.1") && newer.err().contains("2024.12.3"), "{}", newer.err());
}

#[test]
fn settings_come_from_wherever_compose_takes_them() {
    let Some(server) = server("the settings of an authentik", "2025.12.1", 100) else { return };
    let site = Site::new();
    let host = server.folder().to_str().unwrap();
    site.folder.write(
        "authentik/compose.yaml",
        format!(
            "name: Identity\nservices:\n  app:\n    image: registry:5000/goauthentik/server:2025.12.1@sha256:00\n    \
             env_file: [{{path: own.env, required: true}}, {{path: none.env, required: false}}]\n    environment:\n      \
             AUTHENTIK_POSTGRESQL__HOST: {host}\n      AUTHENTIK_POSTGRESQL__PASSWORD: file:///run/secrets/database\n    \
             volumes: [\"files:/data\", \"./own.css:/web/dist/custom.css:ro\", \"/etc/localtime:/etc/localtime\"]\n\
             secrets:\n  database: {{file: ./database.secret}}\nvolumes:\n  files:\n"
        ),
    );
    site.folder.write(
        "authentik/compose.override.yaml",
        "services:\n  app:\n    environment: {AUTHENTIK_POSTGRESQL__NAME: authentik}\n",
    );
    site.folder.write("authentik/own.env", "AUTHENTIK_POSTGRESQL__USER=postgres\nAUTHENTIK_SECRET_KEY=hunter2\nAUTHENTIK_POSTGRESQL__NAME=wrong\n");
    site.folder.write("authentik/database.secret", "hunter2\n");
    site.folder.write("authentik/own.css", "body {}");
    upload(&site.folder, "volume/media");
    // The volume of Docker's is not there, and somebody says where it is.
    let missing = site.run(3, ["backup", "--authentik", "authentik"]);
    assert!(
        missing.err().contains("volumes/identity_files/_data") && missing.err().contains("--map"),
        "{}",
        missing.err()
    );
    let map = format!("/data={}", site.join("volume").display());
    let lines = site.json(0, ["backup", "--authentik", "authentik", "--map", &map]);
    assert_eq!(summary(&lines)["service"]["whole"], true, "{}", summary(&lines)["service"]);
    let listed = site.run(0, ["ls", "latest"]).out();
    for name in ["compose.yaml", "compose.override.yaml", "own.env", "database.secret", "own.css"] {
        assert!(listed.contains(&format!("/authentik/{name}\n")), "{name}\n{listed}");
    }
    assert!(!listed.contains("localtime"), "{listed}");
    let told = site.run(0, ["-v", "backup", "--authentik", "authentik", "--map", &map]);
    assert_silent(&site, &format!("{}{}", told.out(), told.err()));
}

#[test]
fn files_in_an_object_store_are_said_to_be_elsewhere() {
    let Some(server) = server("an authentik with its files in an object store", "2026.2.2", 100) else {
        return;
    };
    let site = Site::new();
    compose_folder(&site);
    fs::remove_dir_all(site.join("authentik/data/media")).unwrap();
    site.folder.write(
        "authentik/.env",
        format!(
            "{ENVIRONMENT}AUTHENTIK_STORAGE__BACKEND=s3\nAUTHENTIK_STORAGE__S3__BUCKET_NAME=pictures\n\
            AUTHENTIK_STORAGE__S3__SECRET_KEY=hunter2\n"
        ),
    );
    let backup = ["backup", "--authentik", "authentik", "--postgres", &url(&server)];
    let told = site.run(0, backup);
    assert!(
        told.err().contains("s3://pictures") && told.out().contains("NOT proved whole"),
        "{}{}",
        told.err(),
        told.out()
    );
    let service = &summary(&site.json(0, backup))["service"].clone();
    assert_eq!((&service["whole"], service["damaged"].as_array().unwrap().len()), (&false.into(), 0));
    let origins = service["origins"].as_array().unwrap();
    assert!(origins.iter().any(|origin| origin["value"] == "s3://pictures"), "{service}");
    assert_silent(&site, &format!("{}{}", told.out(), told.err()));
}

#[test]
fn what_is_no_authentik_is_refused() {
    let site = Site::new();
    for (files, words) in [
        (&[][..], "there is no compose file"),
        (&[("compose.yml", "services: {web: {image: nginx}}")], "no service of authentik"),
        (&[("compose.yml", "services:\n\tserver: hunter2\n")], "line 2"),
        (&[("compose.yml", "services: [hunter2")], "makes no sense"),
        (&[("compose.yml", "version: hunter2\n")], "has no services"),
        (&[("compose.yml", "\u{0}\u{1}hunter2")], "compose.yml"),
        (&[("compose.yml", "services: {server: [image, hunter2]}")], "no service of authentik"),
    ] {
        let folder = site.join("authentik");
        drop(fs::remove_dir_all(&folder));
        fs::create_dir_all(&folder).unwrap();
        for (name, text) in files {
            fs::write(folder.join(name), text).unwrap();
        }
        let refused = site.run(1, ["backup", "--authentik", "authentik"]);
        assert!(refused.err().contains(words) && !refused.err().contains("hunter2"), "{}", refused.err());
    }
    // Docker itself is not needed to see that nothing answers.
    compose_folder(&site);
    let unreached =
        site.run(1, ["backup", "--authentik", "authentik", "--compose", "no-such-program compose"]);
    assert!(
        unreached.err().contains("no-such-program") && !unreached.err().contains("hunter2"),
        "{}",
        unreached.err()
    );
    site.run(2, ["backup", "--authentik", "authentik", "--vaultwarden", "data"]);
    site.run(2, ["backup", "--authentik", "authentik", "file"]);
    site.run(2, ["backup", "file", "--no-redis"]);
    assert_eq!(site.json(0, ["snapshots"]).len(), 0);
}

#[test]
fn a_job_stores_it_and_a_first_configuration_is_made_for_it() {
    let Some(server) = server("a job that stores an authentik", "2026.2.2", 100) else { return };
    let site = Site::new();
    compose_folder(&site);
    let folder = site.join("authentik");
    let made = site.join("made.toml");
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    site.run(0, ["config", "init", "--authentik", &path(&folder), "--output", &path(&made)]);
    let text = fs::read_to_string(&made).unwrap();
    for words in ["[jobs.authentik]", "tag is 2026.2.2", "service postgresql", "#without-transient = true"] {
        assert!(text.contains(words), "{words}\n{text}");
    }
    assert!(!text.contains("hunter2"), "{text}");
    site.run(2, ["config", "init"]);

    let text = format!(
        "[repositories.main]\npath = {:?}\nkey-file = {:?}\ncache-dir = {:?}\n[jobs.authentik]\nauthentik = {:?}\n\
         no-redis = true\nwithout-transient = true\npostgres = [{{ url = {:?} }}]\n",
        site.join("repo"),
        site.join("full.key"),
        site.join("cache"),
        folder,
        url(&server)
    );
    let file = path(&site.folder.write("strongroom.toml", text));
    let told = |code: i32, arguments: &[&str]| {
        let mut command = strongroom(&site.folder);
        run(command.args(arguments).args(["--config", &file]), DEADLINE).expect_code(code)
    };
    let checked = told(0, &["config", "check"]);
    assert!(checked.out().contains("backup of authentik"), "{}", checked.out());
    let ran = told(0, &["run"]);
    assert!(ran.out().contains("the service is whole"), "{}{}", ran.out(), ran.err());
    told(0, &["status"]);
    bring_back(&site, &server, "back");
    assert_eq!(counts(&server, "back")["authentik_core_session"], 0);
}

#[test]
fn a_hundred_megabytes_come_back_whole() {
    let Some(server) = server("a backup of a large authentik", "2026.2.2", 72_000) else { return };
    let site = Site::new();
    compose_folder(&site);
    let lines = site.json(0, ["backup", "--authentik", "authentik", "--postgres", &url(&server)]);
    let size = summary(&lines)["dumps"][0]["size"].as_u64().unwrap();
    assert!(size >= 100_000_000, "{size}");
    assert_eq!(summary(&lines)["service"]["whole"], true);
    bring_back(&site, &server, "back");
    assert_eq!(counts(&server, "back"), counts(&server, "authentik"));
    assert_eq!(keys(&server, "back"), keys(&server, "authentik"));
    // The night after costs what changed.
    server.sql("authentik", "UPDATE authentik_core_user SET name = 'changed' WHERE id = 7");
    let lines = site.json(0, ["backup", "--authentik", "authentik", "--postgres", &url(&server)]);
    let added = summary(&lines)["data_added"].as_u64().unwrap();
    assert!(added < size / 20, "{added} of {size}");
}
