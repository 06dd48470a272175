//! `identity`: who this device is to its peers. The secret is checked, and never shown.

use std::path::Path;

use myownllm_launch::Notice;
use myownllm_migration::identity::{self, Identity};
use serde_json::{Value, json};

use crate::exit::ExitCode;
use crate::output::{Answer, long, short};
use crate::screen::Page;
use crate::world::World;

/// A key file is some two hundred bytes.
const LIMIT: u64 = 1 << 20;

/// A place where a key may lie, and what lies there.
#[derive(Debug)]
pub(crate) struct KeyFile<'a> {
    /// Where.
    pub(crate) path: &'a Path,
    /// Whether it is the daemon's own home, or the old place.
    pub(crate) in_daemon_home: bool,
    /// What is there; an error is not the same as nothing.
    pub(crate) found: Result<Option<Identity>, Notice>,
}

/// Looks at both places.
pub(crate) fn key_files(world: &World) -> [KeyFile<'_>; 2] {
    let at = |path, in_daemon_home| KeyFile { path, in_daemon_home, found: look(world, path) };
    [at(&world.layout.daemon_identity, true), at(&world.layout.legacy_identity, false)]
}

fn look(world: &World, path: &Path) -> Result<Option<Identity>, Notice> {
    use myownllm_durable_fs::Disk;
    match world.disk.read(path, LIMIT) {
        Ok(bytes) => Ok(Some(identity::inspect(&bytes))),
        Err(error) if error.is_not_found() => match world.disk.stat(path) {
            // A link to nothing: the daemon would take it for "no key" and make a new one.
            Ok(_) => Ok(Some(Identity::Damaged { why: "it is a link to nothing".to_owned() })),
            Err(_) => Ok(None),
        },
        Err(error) => Err(Notice::from_error(&error, "identity.unreadable", error.hint()).at(path)),
    }
}

pub(crate) fn run(world: &World) -> Answer {
    let files = key_files(world);
    const COLUMN: usize = 11;
    let mut page = Page::default();
    let mut list = Vec::new();
    let mut notices = Vec::new();
    let mut exit = ExitCode::Done;
    let mut active: Option<Value> = None;
    for file in files {
        let shown = short(file.path, &world.layout.user_home);
        let place = if file.in_daemon_home { "the daemon's home" } else { "the old place" };
        match file.found {
            Ok(None) => {}
            Ok(Some(Identity::Valid(key))) => {
                let entry = json!({ "state": "valid", "path": long(file.path), "place": place, "device_id": key.device_id, "label": key.label, "created_at": key.created_at });
                page.row("Device ID", COLUMN, &key.device_id);
                page.row("label", COLUMN, if key.label.is_empty() { "(none)" } else { &key.label });
                page.row("key file", COLUMN, format!("{shown}  ({place})"));
                active.get_or_insert_with(|| entry.clone());
                list.push(entry);
            }
            Ok(Some(other)) => {
                let (state, what, code) = match &other {
                    Identity::Newer { version } => (
                        "newer",
                        format!("is of version {version}, which is newer than this program"),
                        "migration.identity-newer",
                    ),
                    Identity::Damaged { why } => {
                        ("damaged", format!("is damaged: {why}"), "migration.identity-damaged")
                    }
                    _ => ("unknown", "is not understood".to_owned(), "migration.identity-damaged"),
                };
                page.row("key file", COLUMN, format!("{shown}  ({place}) {what}"));
                list.push(json!({ "state": state, "path": long(file.path), "place": place }));
                exit = exit.max(if state == "newer" { ExitCode::Newer } else { ExitCode::Refused });
                notices.push(
                    Notice::error(code, format!("the key file {} {what}", long(file.path)))
                        .at(file.path)
                        .hint("myownllm-mesh doctor"),
                );
            }
            Err(notice) => {
                exit = ExitCode::Failed;
                notices.push(notice);
            }
        }
    }
    let valid: Vec<&Value> = list.iter().filter(|entry| entry["state"] == "valid").collect();
    if let [one, two] = valid.as_slice()
        && one["device_id"] != two["device_id"]
    {
        exit = ExitCode::Refused;
        notices.push(
            Notice::error(
                "migration.two-identities",
                "there are two different keys, and only you can say which one your peers know",
            )
            .hint("myownllm-mesh migrate --dry-run"),
        );
    }
    if list.is_empty() && notices.is_empty() {
        page.line("There is no identity yet: the daemon makes one at its first start.");
    }
    let mut data = json!({ "files": list, "device_id": null, "label": null, "path": null });
    if let Some(active) = active {
        for key in ["device_id", "label", "path"] {
            data[key] = active[key].clone();
        }
    }
    Answer { notices, ..Answer::data(page, data) }.exit(exit)
}
