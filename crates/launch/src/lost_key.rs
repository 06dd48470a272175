//! A key that this home had, and that its daemon would not find: one that is started then makes another, and is a stranger to all
//! who know the former.
//!
//! There are two traces of such a key. A config that is not the daemon's own, or not any more, names it elsewhere
//! (`identity_path`): what a daemon left in the app's config, or a copy of what was there. And the daemon has rosters or states,
//! which come into being after a key.

use std::path::{Path, PathBuf};

use myownllm_config_store::CopyId;
use myownllm_durable_fs::{FileKind, quote};
use myownllm_migration::identity::{self, Identity};
use myownllm_paths::Layout;

use crate::named_key::KEY_LIMIT;
use crate::notice::{Class, Notice};
use crate::sequence::Parts;

/// How much of a former config is read for the name of a key: as much as of a config.
const TEXT_LIMIT: u64 = 16 << 20;
/// So many copies are looked into, the newest first: more than are kept of the routine ones.
const COPIES: usize = 64;

/// Why no daemon is to be started in a home in which there is no key in force.
pub fn lost_key(parts: &Parts<'_>) -> Option<Notice> {
    let ours = &parts.layout.daemon_identity;
    if let Some((key, config)) = named_before(parts) {
        let message = format!(
            "the key that {} names is at {}, and the daemon's own config does not name it: a daemon started now would make another. Put \
             it in the daemon's home",
            config.display(),
            key.display()
        );
        let folder = ours.parent().unwrap_or(ours);
        let copy = format!("mkdir -p -m 700 {} && cp -pn {} {}", quote(folder), quote(&key), quote(ours));
        return Some(refusal(message, ours).hint(copy));
    }
    let Layout { daemon_rosters, daemon_states, .. } = parts.layout;
    let holds = |folder: &&PathBuf| parts.disk.list(folder).is_ok_and(|entries| !entries.is_empty());
    let left = [daemon_rosters, daemon_states].into_iter().find(holds)?;
    let message = format!(
        "the key {} is gone, and the peers in {} know this device by it: a daemon started now would make another. Put it back; if it is \
         lost for good, set aside what it was for",
        ours.display(),
        left.display()
    );
    let state = left.parent().unwrap_or(left);
    Some(refusal(message, ours).hint(format!("mv -n {} {}", quote(state), quote(&free_beside(parts, state)))))
}

fn refusal(message: String, key: &Path) -> Notice {
    Notice::error("identity.gone", message).at(key).class(Class::Refused)
}

/// A name beside this one that nothing has: `mv` into a folder that is there would put it inside.
fn free_beside(parts: &Parts<'_>, path: &Path) -> PathBuf {
    let beside = |number: u32| {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".former-{number}"));
        path.with_file_name(name)
    };
    let is_free = |path: &PathBuf| parts.disk.stat(path).is_err_and(|error| error.is_not_found());
    (1..1000).map(beside).find(is_free).unwrap_or_else(|| beside(1000))
}

/// A sound key elsewhere that a config names which is not the daemon's own; with that config.
fn named_before(parts: &Parts<'_>) -> Option<(PathBuf, PathBuf)> {
    let Layout { app_config, backups, daemon_identity, legacy_identity, .. } = parts.layout;
    let mut copies: Vec<PathBuf> = parts
        .disk
        .list(backups)
        .unwrap_or_default()
        .into_iter()
        .filter(|entry| entry.kind == FileKind::File)
        .map(|entry| backups.join(entry.name))
        .collect();
    // By their numbers, whatever kind of copy they are.
    copies.sort_by_key(|copy| std::cmp::Reverse(sequence_of(copy)));
    let configs = std::iter::once(app_config.clone()).chain(copies.into_iter().take(COPIES));
    configs.into_iter().find_map(|config| {
        let bytes = parts.disk.read(&config, TEXT_LIMIT).ok()?;
        let is_key = |path: &Path| {
            matches!(
                parts.disk.read(path, KEY_LIMIT).map(|bytes| identity::inspect(&bytes)),
                Ok(Identity::Valid(_))
            )
        };
        let found = paths_named_in(&String::from_utf8_lossy(&bytes)).into_iter().find(|path| {
            path.is_absolute() && path != daemon_identity && path != legacy_identity && is_key(path)
        });
        found.map(|key| (key, config))
    })
}

/// The place of a copy in the order in which they were made; what is none of ours counts as older than all.
fn sequence_of(copy: &Path) -> Option<u64> {
    let id = copy.file_name()?.to_str()?.parse::<CopyId>().ok()?;
    Some(id.sequence())
}

/// What stands behind `"identity_path":` in a text, which may be cut off or otherwise no JSON.
fn paths_named_in(text: &str) -> Vec<PathBuf> {
    const KEY: &str = "\"identity_path\"";
    let value = |at: usize| {
        let value = text[at + KEY.len()..].trim_start().strip_prefix(':')?;
        serde_json::Deserializer::from_str(value).into_iter::<String>().next()?.ok().map(PathBuf::from)
    };
    text.match_indices(KEY).filter_map(|(at, _)| value(at)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_keys_are_found_in_what_is_no_json_any_more() {
        let text = r#"{"a": 1, "identity_path" : "/k/\u0069d.json", "b": {"identity_path": null}, "identity_path": "/other", "c": "#;
        assert_eq!(paths_named_in(text), [Path::new("/k/id.json"), Path::new("/other")]);
        assert!(paths_named_in(r#"{"identity_path": "/cut"#).is_empty());
    }
}
