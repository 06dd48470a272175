//! Reports custody files, and rosters and states of the active network, under names that no daemon
//! reads. A file system that ignores letter case, a sync conflict, a manual backup or the trash
//! leaves such files.

use std::path::{Path, PathBuf};

use myownllm_config_model::{DaemonFile, Document, network_id};
use myownllm_durable_fs::{Disk, SET_ASIDE, for_any_shell, free_name, mkdir_prefix, move_aside, quote};
use myownllm_paths::TRASH;
use myownllm_paths::camino::{Utf8Path, Utf8PathBuf};

use crate::context::Context;
use crate::daemons::CONFIG_LIMIT;
use crate::diagnostic::Diagnostic;
use crate::networks::active_network;
use crate::peers::{DAMAGED, devices};

const MISNAMED: &str = "state.misnamed";

/// Returns the warnings about the custody file, and about rosters and states of the active network
/// that no daemon reads: the file with the right name is missing or holds no device. `document` is
/// the app's config.
pub(crate) fn misnamed_states(context: &Context<'_>, document: &Document) -> Vec<Diagnostic> {
    custody_diagnostic(context).into_iter().chain(misnamed_peers(context, document)).collect()
}

/// The state of the custody file, which locks the second factor.
enum CustodyState {
    Missing,
    /// A broken symlink.
    Dangling,
    /// Sound but for a byte order mark. A daemon parses the file strictly, so it is damaged too.
    WithByteOrderMark,
    Damaged,
    /// The file locks no network.
    Empty,
    /// The file locks at least one network.
    HasNetworks,
    /// Closed files have diagnostics of their own.
    Unreadable,
}

impl CustodyState {
    fn at(disk: &dyn Disk, path: &Path) -> Self {
        let bytes = match (disk.read(path, CONFIG_LIMIT), disk.stat(path)) {
            (Ok(bytes), _) => bytes,
            (Err(_), Err(error)) if error.is_not_found() => return Self::Missing,
            (Err(_), Ok(_)) if disk.stat_follow(path).is_err() => return Self::Dangling,
            _ => return Self::Unreadable,
        };
        let is_sound = |bytes: &[u8]| Document::parse(bytes).is_ok();
        match serde_json::from_slice::<serde_json::Value>(&bytes) {
            Ok(lock) if lock["networks"].as_object().is_some_and(serde_json::Map::is_empty) => Self::Empty,
            Ok(_) => Self::HasNetworks,
            Err(_) if bytes.strip_prefix(b"\xef\xbb\xbf").is_some_and(is_sound) => Self::WithByteOrderMark,
            Err(_) => Self::Damaged,
        }
    }
}

/// Returns a warning if the custody file is damaged or behind a broken symlink, or has another name
/// than a daemon reads, and no file with a network has the right one.
fn custody_diagnostic(context: &Context<'_>) -> Option<Diagnostic> {
    let (disk, layout) = (context.disk, context.layout);
    let expected = &layout.daemon_custody;
    let places =
        [expected, &layout.legacy_custody].map(|place| (place, CustodyState::at(disk, place.as_ref())));
    let damaged = places.iter().find_map(|(place, lock)| match lock {
        CustodyState::Dangling => Some((place, "is a broken symlink", format!("ls -ld {}", quote(place)))),
        CustodyState::WithByteOrderMark => {
            Some((place, "begins with a byte order mark", strip_byte_order_mark_command(place.as_ref())))
        }
        CustodyState::Damaged => Some((place, "is damaged", move_aside(place, "damaged"))),
        _ => None,
    });
    if let Some((place, what, hint)) = damaged {
        let message = format!(
            "{place} {what}: a daemon starts without the lock of the second factor. Restore the file from a \
             backup. If there is none, move it out of the way and set the second factor up again"
        );
        return Some(Diagnostic::warning(DAMAGED, message).at(place).hint(hint));
    }
    if !places.iter().all(|(_, lock)| matches!(lock, CustodyState::Missing | CustodyState::Empty)) {
        return None;
    }
    let stem = expected.file_stem()?.to_lowercase();
    let is_lock = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        name.starts_with(&stem) && matches!(CustodyState::at(disk, path), CustodyState::HasNetworks)
    };
    let own = similar_dirs(context, layout.daemon_home.parent()?, expected.parent()?);
    let legacy = similar_dirs(context, &layout.app_home, layout.legacy_custody.parent()?);
    let files = own.iter().chain(&legacy).flat_map(|dir| other_entries(context, dir, &[]));
    let path = newest(context, files.filter(is_lock))?;
    let message = format!(
        "{} locks the second factor, but a daemon reads only {expected}, and starts without the lock",
        path.display()
    );
    let is_taken = !matches!(places[0].1, CustodyState::Missing);
    Some(Diagnostic::warning(MISNAMED, message).at(&path).hint(rename_command(
        &path,
        expected.as_std_path(),
        is_taken,
    )))
}

fn misnamed_peers(context: &Context<'_>, document: &Document) -> Vec<Diagnostic> {
    let Ok(Some(active)) = active_network(context.store, document) else { return Vec::new() };
    let Some(Ok(id)) = active["network_id"].as_str().map(network_id::normalize) else { return Vec::new() };
    let layout = context.layout;
    let kinds = [
        (DaemonFile::Roster, [&layout.daemon_rosters, &layout.legacy_rosters]),
        (DaemonFile::State, [&layout.daemon_states, &layout.legacy_states]),
    ];
    let found = kinds.into_iter().filter_map(|(kind, directories)| {
        let places = directories.map(|dir| dir.join(format!("{id}.json")).into_std_path_buf());
        let in_place: Vec<&PathBuf> =
            places.iter().filter(|place| context.disk.stat(place).is_ok()).collect();
        let is_empty = |place: &&PathBuf| {
            let bytes = context.disk.read(place, CONFIG_LIMIT);
            bytes.is_ok_and(|bytes| kind.is_readable(&bytes) && devices(&bytes).is_empty())
        };
        // A file that cannot be read has diagnostics of its own.
        if !in_place.iter().all(is_empty) {
            return None;
        }
        let is_of_network = |path: &Path| is_of_network(context, path, kind, &id);
        let [daemon_dir, legacy_dir] = directories;
        let in_trash = trashed_files(context, daemon_dir);
        let own = similar_dirs(context, layout.daemon_home.parent()?, daemon_dir);
        let legacy = similar_dirs(context, &layout.app_home, legacy_dir);
        // The legacy roster, of daemons with one network, lies in the parent directory.
        let single = layout.legacy_roster.parent().filter(|_| kind == DaemonFile::Roster);
        let directories = own.into_iter().chain(legacy).chain(single.map(|dir| dir.as_std_path().to_owned()));
        let others = directories.flat_map(|dir| other_entries(context, &dir, &places));
        let others = others.chain(in_trash).filter(|path| !is_sound_legacy_roster(context, path));
        let newest = newest(context, others.filter(|path| is_of_network(path)))?;
        let renamed_in_place = newest.with_file_name(format!("{id}.json"));
        let expected = places.iter().find(|place| **place == renamed_in_place).unwrap_or(&places[0]);
        Some(misnamed_peers_diagnostic(&newest, expected, in_place.first().copied(), &id))
    });
    found.collect()
}

/// Returns a directory below `base`, and the directories that are called like it: each directory on
/// the way may have been renamed or copied.
fn similar_dirs(context: &Context<'_>, base: &Utf8Path, dir: &Utf8Path) -> Vec<PathBuf> {
    let start = vec![base.as_std_path().to_owned()];
    let Ok(below) = dir.strip_prefix(base) else { return vec![dir.as_std_path().to_owned()] };
    below.components().fold(start, |dirs, name| {
        dirs.iter().flat_map(|dir| with_similar_siblings(context, &dir.join(name.as_str()))).collect()
    })
}

/// Returns the files in the trash of a desktop that may have been in a directory of the daemon
/// home: each directory on the way, or the file alone, may have been thrown away.
fn trashed_files(context: &Context<'_>, dir: &Utf8Path) -> Vec<PathBuf> {
    let Ok(below) = dir.strip_prefix(&context.layout.app_home) else { return Vec::new() };
    let names: Vec<_> = below.components().collect();
    let trash = TRASH.map(|trash| context.layout.user_home.join(trash)).into_iter();
    let trash = trash.filter(|trash| context.disk.stat(trash.as_ref()).is_ok());
    let dirs = trash.flat_map(|trash| {
        let ends = (0..=names.len()).map(|start| names[start..].iter().collect::<Utf8PathBuf>());
        ends.flat_map(|end| similar_dirs(context, &trash, &trash.join(end))).collect::<Vec<_>>()
    });
    let files = dirs.flat_map(|dir| other_entries(context, &dir, &[]));
    files.filter(|path| path.to_string_lossy().contains(".json")).collect()
}

/// Returns true for a sound legacy roster, which a move brings to its place.
fn is_sound_legacy_roster(context: &Context<'_>, path: &Path) -> bool {
    let is_sound = |bytes: Vec<u8>| DaemonFile::Roster.is_readable(&bytes);
    path == context.layout.legacy_roster && context.disk.read(path, CONFIG_LIMIT).is_ok_and(is_sound)
}

/// Returns a directory, and the directories beside it with names that contain its name, in any
/// letter case: copies, and renamed ones.
fn with_similar_siblings(context: &Context<'_>, dir: &Path) -> Vec<PathBuf> {
    let lower = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let beside =
        dir.parent().map_or_else(Vec::new, |parent| other_entries(context, parent, &[dir.to_owned()]));
    let is_dir = |path: &PathBuf| context.disk.stat(path).is_ok_and(|meta| meta.is_dir());
    let like = beside.into_iter().filter(|path| lower(path).contains(&lower(dir)) && is_dir(path));
    std::iter::once(dir.to_owned()).chain(like).collect()
}

fn newest(context: &Context<'_>, files: impl Iterator<Item = PathBuf>) -> Option<PathBuf> {
    files.max_by_key(|path| context.disk.stat_follow(path).map(|meta| meta.modified).unwrap_or_default())
}

/// Returns the entries of a directory without `known`, without set-aside files and without
/// `*.corrupt` files.
fn other_entries(context: &Context<'_>, dir: &Path, known: &[PathBuf]) -> Vec<PathBuf> {
    let names = context.disk.list(dir).unwrap_or_default().into_iter().map(|entry| entry.name);
    let names = names.filter(|name| {
        let name = name.to_string_lossy();
        !name.contains(SET_ASIDE) && !name.ends_with(".corrupt")
    });
    names.map(|name| dir.join(name)).filter(|path| !known.contains(path)).collect()
}

/// Returns true if a file is a roster or a state of the network, and names devices.
fn is_of_network(context: &Context<'_>, path: &Path, kind: DaemonFile, id: &str) -> bool {
    let bytes = context.disk.read(path, CONFIG_LIMIT).unwrap_or_default();
    let parsed = kind.mend(&bytes).map(|(document, _)| document);
    parsed.is_some_and(|document| {
        network_id::of(document.root()).is_some_and(|of| network_id::same(&of, id))
            && !devices(&document.to_bytes()).is_empty()
    })
}

/// Reports that the file `path` holds devices of the active network, but does not have the name
/// `expected`, under which a daemon would read it. `in_place` is a file without devices that has
/// this name.
fn misnamed_peers_diagnostic(
    path: &Path,
    expected: &Path,
    in_place: Option<&PathBuf>,
    id: &str,
) -> Diagnostic {
    let expected = in_place.map_or(expected, PathBuf::as_path);
    let message = format!(
        "{} holds devices of the active network {id}, but a daemon reads only {}, and starts without these \
         devices",
        path.display(),
        expected.display()
    );
    Diagnostic::warning(MISNAMED, message).at(path).hint(rename_command(path, expected, in_place.is_some()))
}

/// Returns the command that writes a file without its byte order mark, and keeps the former one.
fn strip_byte_order_mark_command(path: &Path) -> String {
    let (path, former) = (quote(path), quote(free_name(path, "with-mark")));
    for_any_shell(format!(
        "test -e {former} || {{ mv -n {path} {former} && umask 077 && tail -c +4 {former} > {path}; }}"
    ))
}

/// Returns the command that renames `path` to `expected`. The command first sets an empty file with
/// that name aside (`is_taken`), or makes the missing directory.
fn rename_command(path: &Path, expected: &Path, is_taken: bool) -> String {
    let aside = if is_taken { format!("{} && ", move_aside(expected, "empty")) } else { String::new() };
    let make_dir = mkdir_prefix(expected.parent().filter(|dir| path.parent() != Some(*dir)));
    format!("{aside}{make_dir}mv -n {} {}", quote(path), quote(expected))
}
