//! What the program decoded, as the vectors write it: fields by the names of the tables, bytes in hexadecimal.

use serde_json::{Map, Value as Json, json};
use strongroom::format::config::{ChunkSizes, Config};
use strongroom::format::key_slot::{Bundle, Label, Lock, Method};
use strongroom::format::marks::{Abandoned, Condemned, Forgotten, Session};
use strongroom::format::node::{Content, DatabaseState, Extension, Node, NodeKind, Timestamp};
use strongroom::format::pack::Entry;
use strongroom::format::snapshot::{
    Change, DatabaseOutcome, DatabaseReport, DumpKind, DumpReport, Manifest, Original, ServiceReport,
    Statistics, TableRows,
};
use strongroom::format::tree::{InnerEntry, LeafEntry};
use strongroom::id::Id;

use crate::forge::hex;

fn id(id: &Id) -> Json {
    hex(&id.0).into()
}

fn bytes(bytes: impl AsRef<[u8]>) -> Json {
    hex(bytes.as_ref()).into()
}

fn list<T>(items: &[T], describe: impl Fn(&T) -> Json) -> Json {
    items.iter().map(describe).collect::<Vec<_>>().into()
}

/// Adds the optional members that are there.
fn with<const N: usize>(mut value: Json, optional: [(&str, Option<Json>); N]) -> Json {
    for (name, member) in optional {
        if let Some(member) = member {
            value[name] = member;
        }
    }
    value
}

pub(crate) fn time(time: &Timestamp) -> Json {
    json!({"seconds": time.seconds, "nanoseconds": time.nanoseconds})
}

fn sizes(sizes: &ChunkSizes) -> Json {
    json!({"minimum": sizes.minimum, "average": sizes.average, "maximum": sizes.maximum})
}

pub(crate) fn config(config: &Config) -> Json {
    json!({
        "repository": id(&config.repository),
        "required_features": config.required_features,
        "optional_features": config.optional_features,
        "chunker": config.chunker,
        "file_chunks": sizes(&config.file_chunks),
        "dump_chunks": sizes(&config.dump_chunks),
        "created": time(&config.created),
    })
}

pub(crate) fn lock(lock: &Lock) -> Json {
    let method = match &lock.method {
        Method::Password { memory_kib, passes, lanes } => {
            json!({"password": {"memory_kib": memory_kib, "passes": passes, "lanes": lanes}})
        }
        Method::KeyFile => json!({"key-file": {}}),
    };
    json!({
        "repository": id(&lock.repository),
        "method": method,
        "salt": bytes(lock.salt),
        "commitment": bytes(lock.commitment),
    })
}

pub(crate) fn label(label: &Label) -> Json {
    json!({
        "role": label.role.name(),
        "text": label.text,
        "created": time(&label.created),
        "verifying_key": bytes(label.verifying_key),
        "certificate": bytes(label.certificate),
    })
}

pub(crate) fn bundle(bundle: &Bundle) -> Json {
    let secret = |secret: &Option<[u8; 32]>| secret.map(bytes);
    let always = json!({
        "role": bundle.role.name(),
        "write_secret": bytes(bundle.write_secret),
        "metadata_public": bytes(&bundle.metadata_public),
        "data_public": bytes(&bundle.data_public),
        "maintain_public": bytes(bundle.maintain_public),
        "slot_secret": bytes(bundle.slot_secret),
        "certificate": bytes(bundle.certificate),
    });
    with(
        always,
        [
            ("metadata_secret", secret(&bundle.metadata_secret)),
            ("maintain_secret", secret(&bundle.maintain_secret)),
            ("data_secret", secret(&bundle.data_secret)),
        ],
    )
}

pub(crate) fn entry(entry: &Entry) -> Json {
    json!({
        "blob": id(&entry.id),
        "kind": entry.kind.code(),
        "envelope": entry.envelope,
        "stored_length": entry.stored_length,
        "plain_length": entry.plain_length,
    })
}

fn extensions(extensions: &[Extension]) -> Json {
    list(extensions, |one| json!({"code": one.code, "value": bytes(&one.value)}))
}

fn content(content: &Content) -> Json {
    match content {
        Content::Inline(ids) => json!({"inline": {"chunks": list(ids, id)}}),
        Content::List { root, level } => json!({"list": {"root": id(root), "level": level}}),
    }
}

fn database_state(state: &DatabaseState) -> Json {
    json!({
        "page_size": state.page_size,
        "run_pages": state.run_pages,
        "fingerprint": id(&state.fingerprint),
        "checked": state.checked,
    })
}

pub(crate) fn node(node: &Node) -> Json {
    let kind = match node.kind {
        NodeKind::Directory => "directory",
        NodeKind::File => "file",
        NodeKind::Symlink => "symlink",
        NodeKind::Fifo => "fifo",
        NodeKind::Socket => "socket",
        NodeKind::CharacterDevice => "character-device",
        NodeKind::BlockDevice => "block-device",
    };
    let always = json!({
        "kind": kind,
        "mode": node.mode,
        "uid": node.uid,
        "gid": node.gid,
        "user": bytes(&node.user),
        "group": bytes(&node.group),
        "mtime": time(&node.mtime),
        "ctime": time(&node.ctime),
        "size": node.size,
        "device": node.device,
        "inode": node.inode,
        "links": node.links,
    });
    let attributes = node
        .attributes
        .as_ref()
        .map(|all| list(all, |one| json!({"name": bytes(&one.name), "value": bytes(&one.value)})));
    let holes = node
        .holes
        .as_ref()
        .map(|all| list(all, |hole| json!({"offset": hole.offset, "length": hole.length})));
    with(
        always,
        [
            ("link_target", node.link_target.as_ref().map(bytes)),
            ("device_number", node.device_number.map(Json::from)),
            ("attributes", attributes),
            ("content", node.content.as_ref().map(content)),
            ("holes", holes),
            ("database", node.database.as_ref().map(database_state)),
            ("extensions", node.extensions.as_deref().map(extensions)),
        ],
    )
}

pub(crate) fn leaf(entries: &[LeafEntry]) -> Json {
    list(entries, |entry| json!({"path": bytes(&entry.path), "node": node(&entry.node)}))
}

pub(crate) fn inner(entries: &[InnerEntry]) -> Json {
    list(entries, |one| json!({"path": bytes(&one.path), "id": id(&one.id), "nodes": one.nodes}))
}

fn database_report(report: &DatabaseReport) -> Json {
    let outcome = match report.outcome {
        DatabaseOutcome::Checked => "checked",
        DatabaseOutcome::FailedCheck => "failed-check",
        DatabaseOutcome::StoredAsFound => "stored-as-found",
        DatabaseOutcome::NotStored => "not-stored",
    };
    json!({
        "place": bytes(&report.place),
        "outcome": outcome,
        "page_size": report.page_size,
        "run_pages": report.run_pages,
        "pages": report.pages,
        "messages": report.messages,
    })
}

fn service(report: &ServiceReport) -> Json {
    let origins = list(&report.origins, |origin| {
        json!({
            "setting": origin.setting,
            "value": origin.value,
            "place": bytes(&origin.place),
            "host_path": bytes(&origin.host_path),
        })
    });
    let damaged = list(&report.damaged, |damage| {
        let always = json!({"place": bytes(&damage.place), "expected": damage.expected});
        with(always, [("found", damage.found.map(Json::from))])
    });
    let always = json!({
        "name": report.name,
        "origins": origins,
        "tables": list(&report.tables, rows),
        "files_proved": report.files_proved,
        "bytes_proved": report.bytes_proved,
        "damaged": damaged,
        "orphans": list(&report.orphans, |place| bytes(place.as_slice())),
        "deleted_meanwhile": report.deleted_meanwhile,
        "being_uploaded": report.being_uploaded,
        "whole": report.whole,
    });
    let text = |text: &Option<String>| text.clone().map(Json::from);
    with(always, [("schema", text(&report.schema)), ("release", text(&report.release))])
}

fn statistics(counts: &Statistics) -> Json {
    let all = [
        ("files_new", counts.files_new),
        ("files_changed", counts.files_changed),
        ("files_unmodified", counts.files_unmodified),
        ("directories_new", counts.directories_new),
        ("directories_changed", counts.directories_changed),
        ("directories_unmodified", counts.directories_unmodified),
        ("others", counts.others),
        ("bytes_processed", counts.bytes_processed),
        ("data_blobs", counts.data_blobs),
        ("tree_blobs", counts.tree_blobs),
        ("data_added", counts.data_added),
        ("data_added_packed", counts.data_added_packed),
        ("problems", counts.problems),
    ];
    all.into_iter().map(|(name, count)| (name.to_owned(), count.into())).collect::<Map<_, _>>().into()
}

pub(crate) fn manifest(manifest: &Manifest) -> Json {
    let always = json!({
        "time": time(&manifest.time),
        "finished": time(&manifest.finished),
        "host": manifest.host,
        "tags": manifest.tags,
        "paths": list(&manifest.paths, |path| bytes(path.as_slice())),
        "root": id(&manifest.root),
        "level": manifest.level,
        "sequence": manifest.sequence,
        "excludes": manifest.excludes,
        "databases": list(&manifest.databases, database_report),
        "statistics": statistics(&manifest.statistics),
        "program": manifest.program,
    });
    with(
        always,
        [
            ("job", manifest.job.clone().map(Json::from)),
            ("parent", manifest.parent.as_ref().map(id)),
            ("service", manifest.service.as_ref().map(service)),
            ("extensions", manifest.extensions.as_deref().map(extensions)),
            ("original", manifest.original.as_ref().map(original)),
            ("dumps", manifest.dumps.as_ref().map(|dumps| list(dumps, dump))),
        ],
    )
}

fn dump(report: &DumpReport) -> Json {
    let kind = match report.kind {
        DumpKind::Command => "command",
        DumpKind::Postgres => "postgres",
        DumpKind::PostgresGlobals => "postgres-globals",
        DumpKind::Mysql => "mysql",
        DumpKind::MysqlGlobals => "mysql-globals",
        DumpKind::Redis => "redis",
    };
    let always = json!({
        "place": bytes(&report.place),
        "kind": kind,
        "bytes": report.bytes,
        "tables": list(&report.tables, rows),
        "without_rows": report.without_rows,
        "messages": report.messages,
    });
    with(
        always,
        [
            ("database", report.database.clone().map(Json::from)),
            ("server", report.server.clone().map(Json::from)),
            ("client", report.client.clone().map(Json::from)),
        ],
    )
}

fn rows(table: &TableRows) -> Json {
    json!({"table": table.table, "rows": table.rows})
}

fn original(original: &Original) -> Json {
    let change = match original.change {
        Change::Tagged => "tagged",
        Change::Rewritten => "rewritten",
        Change::Repaired => "repaired",
        Change::Unforgotten => "unforgotten",
        Change::Copied => "copied",
    };
    json!({
        "snapshot": id(&original.snapshot),
        "writer": bytes(original.writer),
        "sequence": original.sequence,
        "made_from": id(&original.made_from),
        "change": change,
    })
}

pub(crate) fn session(session: &Session) -> Json {
    json!({
        "host": session.host,
        "host_id": id(&session.host_id),
        "started": time(&session.started),
        "process": session.process,
        "program": session.program,
    })
}

pub(crate) fn abandoned(mark: &Abandoned) -> Json {
    json!({"host": mark.host, "time": time(&mark.time)})
}

pub(crate) fn forgotten(mark: &Forgotten) -> Json {
    let number = mark.number.as_ref().map(|number| {
        json!({
            "writer": bytes(number.writer), "sequence": number.sequence, "snapshot": id(&number.snapshot),
        })
    });
    with(json!({"snapshot": id(&mark.snapshot), "time": time(&mark.time)}), [("number", number)])
}

pub(crate) fn condemned(record: &Condemned) -> Json {
    json!({"packs": list(&record.packs, id), "time": time(&record.time)})
}
