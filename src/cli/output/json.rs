//! Snapshots, nodes and summaries as objects for programs; restic's field names where the meaning is the same.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::human;
use super::node::device;
use crate::format::node::{Node, NodeKind};
use crate::format::snapshot::{
    Change, DatabaseOutcome, DatabaseReport, DumpKind, DumpReport, Original, ServiceReport, Statistics,
};
use crate::id::Id;
use crate::operation::backup;
use crate::repository::snapshot::Snapshot;

/// A path as text; what is not UTF-8 is replaced, and the exact bytes stand beside it.
pub(crate) fn path_fields(object: &mut Map<String, Value>, name: &str, path: &[u8]) {
    object.insert(name.to_owned(), format!("/{}", String::from_utf8_lossy(path)).into());
    if std::str::from_utf8(path).is_err() {
        let digit = |digit: u8| char::from_digit(u32::from(digit), 16).unwrap_or('?');
        let hex: String = path.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect();
        object.insert(format!("{name}_hex"), hex.into());
    }
}

/// The counts of a backup.
pub(crate) fn statistics(object: &mut Map<String, Value>, counts: &Statistics) {
    let total = counts.files_new.saturating_add(counts.files_changed).saturating_add(counts.files_unmodified);
    let fields = [
        ("files_new", counts.files_new),
        ("files_changed", counts.files_changed),
        ("files_unmodified", counts.files_unmodified),
        ("dirs_new", counts.directories_new),
        ("dirs_changed", counts.directories_changed),
        ("dirs_unmodified", counts.directories_unmodified),
        ("others", counts.others),
        ("data_blobs", counts.data_blobs),
        ("tree_blobs", counts.tree_blobs),
        ("data_added", counts.data_added),
        ("data_added_packed", counts.data_added_packed),
        ("total_files_processed", total),
        ("total_bytes_processed", counts.bytes_processed),
        ("problems", counts.problems),
    ];
    object.extend(fields.map(|(name, value)| (name.to_owned(), value.into())));
}

/// A database's outcome.
pub(crate) fn database(report: &DatabaseReport) -> Value {
    let mut object = Map::new();
    path_fields(&mut object, "path", &report.place);
    let outcome = match report.outcome {
        DatabaseOutcome::Checked => "checked",
        DatabaseOutcome::FailedCheck => "failed_check",
        DatabaseOutcome::StoredAsFound => "stored_as_found",
        DatabaseOutcome::NotStored => "not_stored",
    };
    object.insert("outcome".into(), outcome.into());
    object.insert("page_size".into(), report.page_size.into());
    object.insert("pages".into(), report.pages.into());
    object.insert("messages".into(), report.messages.clone().into());
    object.into()
}

/// A service's proof.
pub(crate) fn service(report: &ServiceReport) -> Value {
    let path = |path: &[u8]| format!("/{}", String::from_utf8_lossy(path));
    let tables: Map<String, Value> =
        report.tables.iter().map(|row| (row.table.clone(), row.rows.into())).collect();
    let damaged: Vec<Value> = report
        .damaged
        .iter()
        .map(
            |row| json!({ "path": path(&row.place), "expected_size": row.expected, "found_size": row.found }),
        )
        .collect();
    let origins: Vec<Value> = report
        .origins
        .iter()
        .map(|origin| {
            let host = String::from_utf8_lossy(&origin.host_path);
            json!({ "setting": origin.setting, "value": origin.value, "path": path(&origin.place), "origin": host })
        })
        .collect();
    json!({
        "name": report.name,
        "whole": report.whole,
        "schema_version": report.schema,
        "release": report.release,
        "tables": tables,
        "files_proved": report.files_proved,
        "bytes_proved": report.bytes_proved,
        "damaged": damaged,
        "orphans": report.orphans.iter().map(|place| path(place)).collect::<Vec<_>>(),
        "deleted_meanwhile": report.deleted_meanwhile,
        "being_uploaded": report.being_uploaded,
        "origins": origins,
    })
}

/// A dump of a server, or what a command wrote.
fn dump(report: &DumpReport) -> Value {
    let tables: Map<String, Value> =
        report.tables.iter().map(|table| (table.table.clone(), table.rows.into())).collect();
    json!({
        "path": format!("/{}", String::from_utf8_lossy(&report.place)),
        "kind": match report.kind {
            DumpKind::Command => "command",
            DumpKind::Postgres => "postgres",
            DumpKind::PostgresGlobals => "postgres-globals",
            DumpKind::Mysql => "mysql",
            DumpKind::MysqlGlobals => "mysql-globals",
            DumpKind::Redis => "redis",
        },
        "database": report.database,
        "server": report.server,
        "client": report.client,
        "size": report.bytes,
        "rows": tables,
        "without_rows": report.without_rows,
        "messages": report.messages,
    })
}

/// A backup's summary.
pub(crate) fn summary(summary: &backup::Summary, took: Duration) -> Value {
    let mut object = Map::new();
    object.insert("message_type".into(), "summary".into());
    object.insert("dry_run".into(), summary.dry_run.into());
    statistics(&mut object, &summary.statistics);
    object.insert("total_duration".into(), took.as_secs_f64().into());
    object.insert("backup_start".into(), human::utc(summary.time.0).into());
    object.insert("backup_end".into(), human::utc(summary.time.1).into());
    object.insert("snapshot_id".into(), summary.snapshot.map(|id| id.to_hex()).into());
    if let Some(same) = summary.unchanged_since {
        object.insert("unchanged_since".into(), same.to_hex().into());
    }
    object.insert("parent".into(), summary.parent.map(|id| id.to_hex()).into());
    object.insert("tree".into(), summary.root.id.to_hex().into());
    object.insert("databases".into(), summary.databases.iter().map(database).collect::<Vec<_>>().into());
    object.insert("dumps".into(), summary.dumps.iter().map(dump).collect::<Vec<_>>().into());
    object.insert("service".into(), summary.service.as_ref().map(service).into());
    object.into()
}

/// A kind of change in a word.
pub(crate) fn change(change: Change) -> &'static str {
    match change {
        Change::Tagged => "tagged",
        Change::Rewritten => "rewritten",
        Change::Repaired => "repaired",
        Change::Unforgotten => "unforgotten",
        Change::Copied => "copied",
    }
}

/// What a snapshot was made from.
fn original(original: &Original) -> Value {
    let writer = Id(original.writer).to_hex();
    json!({
        "snapshot": original.snapshot.to_hex(),
        "writer": writer,
        "sequence": original.sequence,
        "made_from": original.made_from.to_hex(),
        "change": change(original.change),
    })
}

/// A snapshot in a listing.
pub(crate) fn snapshot(snapshot: &Snapshot) -> Value {
    let manifest = &snapshot.manifest;
    let paths: Vec<String> =
        manifest.paths.iter().map(|path| String::from_utf8_lossy(path).into_owned()).collect();
    let mut counts = Map::new();
    statistics(&mut counts, &manifest.statistics);
    json!({
        "message_type": "snapshot",
        "id": snapshot.id.to_hex(),
        "short_id": snapshot.id.short(),
        "time": human::utc(manifest.time),
        "finished": human::utc(manifest.finished),
        "hostname": manifest.host,
        "tags": manifest.tags,
        "paths": paths,
        "excludes": manifest.excludes,
        "tree": manifest.root.to_hex(),
        "parent": manifest.parent.map(|id| id.to_hex()),
        "sequence": manifest.sequence,
        "program_version": manifest.program,
        "summary": counts,
        "databases": manifest.databases.iter().map(database).collect::<Vec<_>>(),
        "dumps": manifest.dumps.iter().flatten().map(dump).collect::<Vec<_>>(),
        "service": manifest.service.as_ref().map(service),
        "original": snapshot.original().map(original),
    })
}

/// A kind of node in a word.
pub(crate) fn kind(kind: NodeKind) -> &'static str {
    match kind {
        NodeKind::Directory => "dir",
        NodeKind::File => "file",
        NodeKind::Symlink => "symlink",
        NodeKind::Fifo => "fifo",
        NodeKind::Socket => "socket",
        NodeKind::CharacterDevice => "chardev",
        NodeKind::BlockDevice => "dev",
    }
}

/// A node in a listing.
pub(crate) fn node(path: &[u8], node: &Node) -> Value {
    node_fields("node", path, node).into()
}

/// What is known of a node, in an object of this type.
pub(crate) fn node_fields(message_type: &str, path: &[u8], node: &Node) -> Map<String, Value> {
    let mut object = Map::new();
    object.insert("message_type".into(), message_type.into());
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    object.insert("name".into(), String::from_utf8_lossy(name).into());
    object.insert("type".into(), kind(node.kind).into());
    path_fields(&mut object, "path", path);
    object.insert("uid".into(), node.uid.into());
    object.insert("gid".into(), node.gid.into());
    object.insert("user".into(), String::from_utf8_lossy(&node.user).into());
    object.insert("group".into(), String::from_utf8_lossy(&node.group).into());
    object.insert("size".into(), node.size.into());
    object.insert("mode".into(), node.mode.into());
    object.insert("permissions".into(), format!("{:04o}", node.mode).into());
    object.insert("mtime".into(), human::utc(node.mtime).into());
    object.insert("ctime".into(), human::utc(node.ctime).into());
    object.insert("inode".into(), node.inode.into());
    object.insert("device_id".into(), node.device.into());
    object.insert("links".into(), node.links.into());
    if let Some((major, minor)) = device(node) {
        object.insert("device_major".into(), major.into());
        object.insert("device_minor".into(), minor.into());
    }
    if let Some(target) = &node.link_target {
        object.insert("linktarget".into(), String::from_utf8_lossy(target).into());
    }
    if let Some(database) = &node.database {
        object.insert("sqlite_checked".into(), database.checked.into());
    }
    object
}
