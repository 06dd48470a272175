//! Reports custody files, the daemon's config, and rosters and states of the active network, under
//! names that no daemon reads. A file system that ignores letter case, a sync conflict, a manual
//! backup or the trash leaves such files.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::iter::once;
use std::path::{Path, PathBuf};

use myownllm_config_model::{DaemonFile, Document, network_id};
use myownllm_config_store::{FileShape, Misplaced};
use myownllm_durable_fs::{
    Disk, DiskError, SET_ASIDE, TEMP_PREFIX, for_any_shell, free_name, mkdir_prefix, move_aside, quote,
};
use myownllm_paths::TRASH;
use myownllm_paths::camino::{Utf8Path, Utf8PathBuf};
use serde::Deserialize;

use crate::context::Context;
use crate::daemons::CONFIG_LIMIT;
use crate::daemons::networks::active_network;
use crate::files::identity::{end_daemon_first, restore_backup_command};
use crate::files::peers::{DAMAGED, UNREADABLE, devices, network_id_in, remaining_devices};
use crate::homes::no_access::unreadable_file;
use crate::words::diagnostic::Diagnostic;

const MISNAMED: &str = "state.misnamed";

/// Returns the warnings about the custody file, about the daemon's config, and about rosters and
/// states of the active network that no daemon reads: the file with the right name is missing or
/// holds no device. `document` is the app's config. If `is_daemon_used` is true, a daemon runs when
/// the user reads the warnings, and the hints end the daemon first.
pub(crate) fn misnamed_states(
    context: &Context<'_>,
    document: &Document,
    is_daemon_used: bool,
) -> Vec<Diagnostic> {
    let files = [custody_diagnostic(context), misnamed_config(context)].into_iter().flatten();
    let found = files.chain(misnamed_peers(context, document));
    found.map(|found| found.diagnostic(context, is_daemon_used)).collect()
}

/// A warning, and the file that its hint brings to the place where a daemon reads it.
struct Found {
    diagnostic: Diagnostic,
    /// The path of the file, and its place.
    brings: Option<(PathBuf, PathBuf)>,
    /// True if a running daemon may have more in memory than the file that the hint brings.
    keeps_daemon: bool,
}

impl Found {
    fn misnamed(message: String, path: PathBuf, place: &Path) -> Self {
        let diagnostic = Diagnostic::warning(MISNAMED, message).at(&path);
        Self { diagnostic, brings: Some((path, place.to_owned())), keeps_daemon: false }
    }

    fn diagnostic(self, context: &Context<'_>, is_daemon_used: bool) -> Diagnostic {
        let Some((path, place)) = self.brings else {
            // Only the daemon may have the content of a damaged file, in memory.
            let rewrites = |hint: &String| hint.starts_with("sh ");
            return match self.diagnostic.hint.clone().filter(rewrites) {
                Some(hint) if is_daemon_used => self.diagnostic.hint(end_daemon_first(hint)),
                _ => self.diagnostic,
            };
        };
        let hint = match is_daemon_used {
            true if self.keeps_daemon => restore_backup_command(&quote(&path), &place, "damaged"),
            true => end_daemon_first(copy_command(&path, &place)),
            false => rename_command(&path, &place, context.disk.stat(&place).is_ok()),
        };
        self.diagnostic.hint(hint)
    }
}

impl From<Diagnostic> for Found {
    fn from(diagnostic: Diagnostic) -> Self {
        Self { diagnostic, brings: None, keeps_daemon: false }
    }
}

/// The state of a custody file.
enum CustodyState {
    /// No file, or a lock without a network.
    Absent,
    /// A broken symlink.
    Dead,
    /// Sound but for a byte order mark. A daemon parses the file strictly, so it is damaged too.
    WithByteOrderMark,
    Damaged,
    HasNetworks,
    /// No file, or one that this user may not read.
    Unreadable(DiskError),
    /// Cannot be looked at. The directory is reported.
    Hidden,
}

/// The lock as a daemon reads it: one odd member costs the locks of all networks.
#[derive(Deserialize)]
struct Custody {
    #[serde(default)]
    networks: BTreeMap<String, Enrolment>,
}

#[derive(Deserialize)]
#[allow(dead_code, reason = "read for the types alone")]
struct Enrolment {
    secret_b32: String,
    recovery_hashes: Vec<String>,
    created_at: u64,
}

impl CustodyState {
    fn at(disk: &dyn Disk, path: &Path) -> Self {
        let bytes = match (disk.read(path, CONFIG_LIMIT), disk.stat(path)) {
            (Ok(bytes), _) => bytes,
            (Err(_), Err(error)) if error.is_not_found() => return Self::Absent,
            (Err(_), Ok(_)) if disk.stat_follow(path).is_err() => return Self::Dead,
            (Err(error), Ok(_)) => return Self::Unreadable(error),
            _ => return Self::Hidden,
        };
        let is_sound = |bytes: &[u8]| Document::parse(bytes).is_ok();
        let is_right = |id: &String| network_id::normal_form(id) == *id;
        match serde_json::from_slice::<Custody>(&bytes) {
            Ok(lock) if lock.networks.is_empty() => Self::Absent,
            Ok(lock) if lock.networks.keys().all(is_right) => Self::HasNetworks,
            Ok(_) => Self::Damaged,
            Err(_) if bytes.strip_prefix(b"\xef\xbb\xbf").is_some_and(is_sound) => Self::WithByteOrderMark,
            Err(_) => Self::Damaged,
        }
    }
}

/// Returns true for a custody file, told by its member `networks`, that a daemon cannot read.
pub(crate) fn is_damaged_custody(document: &Document, bytes: &[u8]) -> bool {
    document.get(&["networks"]).is_some() && serde_json::from_slice::<Custody>(bytes).is_err()
}

/// Returns a warning if the second factor's lock is damaged or a broken symlink, or has
/// another name than a daemon reads, and no file with a network has the expected one.
fn custody_diagnostic(context: &Context<'_>) -> Option<Found> {
    let (disk, layout) = (context.disk, context.layout);
    let expected = &layout.daemon_custody;
    let places =
        [expected, &layout.legacy_custody].map(|place| (place, CustodyState::at(disk, place.as_ref())));
    let unreadable = places.iter().find_map(|(place, lock)| match lock {
        CustodyState::Unreadable(error) => Some((place, unreadable_file(disk, layout, error).as_warning())),
        _ => None,
    });
    if let Some((place, diagnostic)) = unreadable {
        let is_file = disk.stat_follow(place.as_ref()).is_ok_and(|meta| meta.is_file());
        let hint = if is_file { diagnostic.hint.clone() } else { Some(move_aside(place, "aside")) };
        let message =
            format!("{}: a daemon starts without the lock of the second factor", diagnostic.message);
        return Some(Diagnostic { code: UNREADABLE.to_owned(), message, hint, ..diagnostic }.into());
    }
    // A damaged lock at the old location does no harm beside a sound one.
    let mut used = places.iter().take_while(|(_, lock)| !matches!(lock, CustodyState::HasNetworks));
    let damaged = used.find_map(|(place, lock)| {
        let (what, hint) = match lock {
            CustodyState::Dead => ("is a broken symlink", format!("ls -ld {}", quote(place))),
            CustodyState::WithByteOrderMark => {
                ("begins with a byte order mark", strip_byte_order_mark_command(place.as_ref()))
            }
            CustodyState::Damaged => ("is damaged", move_aside(place, "damaged")),
            _ => return None,
        };
        // A copy needs no other hint than a file that is damaged as a whole.
        let copy = matches!(lock, CustodyState::Damaged).then(|| newest_lock(context)).flatten();
        Some((place, what, hint, copy))
    });
    if let Some((place, what, hint, copy)) = damaged {
        let otherwise = match &copy {
            Some(copy) => format!("{} is a whole one", copy.display()),
            None => "Restore the file from a backup. If there is none, move it out of the way and set the \
                     second factor up again"
                .to_owned(),
        };
        let message =
            format!("{place} {what}: a daemon starts without the lock of the second factor. {otherwise}");
        let diagnostic = Diagnostic::warning(DAMAGED, message).at(place).hint(hint);
        let brings = copy.map(|copy| (copy, place.as_std_path().to_owned()));
        return Some(Found { brings, ..Found::from(diagnostic) });
    }
    let is_absent = |(_, lock): &(_, CustodyState)| matches!(lock, CustodyState::Absent);
    let path = places.iter().all(is_absent).then(|| newest_lock(context))??;
    let message = format!(
        "{} locks the second factor, but a daemon reads only {expected}, and starts without the lock",
        path.display()
    );
    Some(Found::misnamed(message, path, expected.as_ref()))
}

/// Returns the newest lock of the second factor under another name than a daemon reads.
fn newest_lock(context: &Context<'_>) -> Option<PathBuf> {
    let (disk, layout) = (context.disk, context.layout);
    let expected = &layout.daemon_custody;
    let stem = expected.file_stem()?.to_lowercase();
    // A killed move may have left the only copy in a temporary file.
    let is_like = |name: &str| name.starts_with(&stem) || name.starts_with(TEMP_PREFIX);
    let is_lock = |path: &PathBuf| {
        is_like(&lower_name(path)) && matches!(CustodyState::at(disk, path), CustodyState::HasNetworks)
    };
    let own = similar_dirs(context, layout.daemon_home.parent()?.as_ref(), expected.parent()?.as_ref());
    let legacy = similar_dirs(context, layout.app_home.as_ref(), layout.legacy_custody.parent()?.as_ref());
    let files = own.iter().chain(&legacy).flat_map(|dir| other_entries(context, dir, &[]));
    newest(context, files.filter(is_lock))
}

/// Returns a warning if the daemon's config is missing, and lies in the daemon home under another
/// name: a daemon would start at its defaults, and join a silent network as one that announces
/// itself.
fn misnamed_config(context: &Context<'_>) -> Option<Found> {
    let there = context.disk.stat(context.layout.daemon_config.as_ref());
    there.err().filter(DiskError::is_not_found)?;
    other_config(context)
}

/// Does what [`misnamed_states`] does for a daemon's config that no daemon can read, unless all its
/// settings stay.
pub(crate) fn copy_of_misplaced(
    context: &Context<'_>,
    misplaced: &Misplaced,
    is_daemon_used: bool,
) -> Option<Diagnostic> {
    let is_lost = misplaced.shape == FileShape::Corrupt
        || !misplaced.left_out.is_empty()
        || misplaced.daemon_keys.is_empty();
    let found = is_lost.then(|| other_config(context))??;
    Some(found.diagnostic(context, is_daemon_used))
}

/// Returns the newest config of the daemon's in the daemon home under another name.
fn other_config(context: &Context<'_>) -> Option<Found> {
    /// The ends of the names that the hints of this program give a config.
    const MOVED_ASIDE: [&str; 3] = ["newer", "damaged", "aside"];
    let (disk, layout) = (context.disk, context.layout);
    let expected = &layout.daemon_config;
    let is_config = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        let is_moved_aside = MOVED_ASIDE.iter().any(|word| name.contains(word));
        let bytes = || disk.read(path, CONFIG_LIMIT).unwrap_or_default();
        let has_networks = |bytes: &[u8]| {
            Document::parse(bytes).is_ok_and(|parsed| parsed.document.get(&["networks"]).is_some())
        };
        let is_daemons = |bytes: &[u8]| DaemonFile::Config.is_readable(bytes) && has_networks(bytes);
        name.starts_with("config") && !is_moved_aside && is_daemons(&bytes())
    };
    let files = other_entries(context, layout.daemon_home.as_ref(), &[expected.into()]).into_iter();
    let path = newest(context, files.filter(is_config))?;
    let message = format!(
        "{} is a config of the daemon's, but a daemon reads only {expected}, and starts without these settings",
        path.display()
    );
    Some(Found::misnamed(message, path, expected.as_ref()))
}

fn misnamed_peers(context: &Context<'_>, document: &Document) -> Vec<Found> {
    let Ok(Some(active)) = active_network(context, document) else { return Vec::new() };
    let Some(Ok(id)) = active["network_id"].as_str().map(network_id::normalize) else { return Vec::new() };
    let layout = context.layout;
    let kinds = [
        (DaemonFile::Roster, [&layout.daemon_rosters, &layout.legacy_rosters]),
        (DaemonFile::State, [&layout.daemon_states, &layout.legacy_states]),
    ];
    let trash = OnceCell::new();
    let found = kinds.into_iter().filter_map(|(kind, directories)| {
        let places = directories.map(|dir| dir.join(format!("{id}.json")).into_std_path_buf());
        let in_place: Vec<&PathBuf> =
            places.iter().filter(|place| context.disk.stat(place).is_ok()).collect();
        let is_of_another = |place: &&&PathBuf| {
            let bytes = context.disk.read(place, CONFIG_LIMIT).unwrap_or_default();
            network_id_in(&bytes).is_some_and(|of| !network_id::same(&of, &id))
        };
        if let Some(place) = in_place.iter().find(is_of_another) {
            let message =
                format!("{} is of another network than {id}: a daemon reads nothing of it", place.display());
            let diagnostic =
                Diagnostic::warning(MISNAMED, message).at(place).hint(move_aside(place, "aside"));
            return Some(diagnostic.into());
        }
        // A file that cannot be read has diagnostics of its own.
        let known = in_place.iter().map(|place| remaining_devices(context.disk, kind, place));
        let known: BTreeSet<String> = known.collect::<Option<Vec<_>>>()?.into_iter().flatten().collect();
        let has_more = |path: &PathBuf| {
            let devices = devices_of_network(context, path, kind, &id);
            // A state that was cut may have all roles, and lack transitions.
            let is_longer = || {
                let size = |path: &Path| context.disk.stat_follow(path).map_or(0, |meta| meta.len);
                let is_shorter = |place: &&PathBuf| size(place) < size(path);
                kind == DaemonFile::State && !known.is_empty() && in_place.iter().all(is_shorter)
            };
            devices.is_superset(&known) && (devices.len() > known.len() || is_longer())
        };
        let in_copies = in_copies_of_home(context, directories);
        let [own, legacy] = directories;
        let in_trash = trashed_files(context, trash.get_or_init(|| trashed(context)), own);
        let own = similar_dirs(context, layout.daemon_home.parent()?.as_ref(), own.as_ref());
        let legacy = similar_dirs(context, layout.app_home.as_ref(), legacy.as_ref());
        let directories = own.into_iter().chain(legacy).chain(in_copies);
        let others = directories.flat_map(|dir| other_entries(context, &dir, &places));
        let others = others
            .chain(in_trash)
            .filter(|path| !(in_place.is_empty() && is_sound_legacy_roster(context, path)));
        let newest = newest(context, others.filter(has_more))?;
        let own = newest.with_file_name(format!("{id}.json"));
        let expected = places.iter().find(|place| **place == own).unwrap_or(&places[0]);
        let expected = in_place.first().copied().unwrap_or(expected);
        let message = format!(
            "{} holds devices of the active network {id}, but a daemon reads only {}, and starts without \
             these devices",
            newest.display(),
            expected.display()
        );
        let is_damaged = |bytes: Vec<u8>| !kind.is_readable(&bytes);
        let keeps_daemon = context.disk.read(expected, CONFIG_LIMIT).is_ok_and(is_damaged);
        Some(Found { keeps_daemon, ..Found::misnamed(message, newest, expected) })
    });
    found.collect()
}

/// Returns a directory below `base`, and the directories that are called like it: each directory on
/// the way may have been renamed, copied, left out, or copied into itself.
fn similar_dirs(context: &Context<'_>, base: &Path, dir: &Path) -> Vec<PathBuf> {
    let Ok(below) = dir.strip_prefix(base) else { return vec![dir.to_owned()] };
    below.components().fold(vec![base.to_owned()], |dirs, name| {
        let named = dirs.iter().flat_map(|dir| with_similar_siblings(context, &dir.join(name)));
        let within = dirs.iter().map(|dir| dir.join(name).join(name));
        let within = within.filter(|dir| context.disk.stat(dir).is_ok_and(|meta| meta.is_dir()));
        named.chain(within).chain(dirs.iter().cloned()).collect()
    })
}

/// Returns directories of the app's home as they are in the copies of that home beside it. A home
/// with another identity file is no copy.
fn in_copies_of_home(context: &Context<'_>, directories: [&Utf8PathBuf; 2]) -> Vec<PathBuf> {
    let (disk, layout) = (context.disk, context.layout);
    let below = |path: &Utf8Path| path.strip_prefix(&layout.app_home).ok().map(Utf8Path::to_owned);
    let keys = [&layout.daemon_identity, &layout.legacy_identity];
    let key = keys.iter().find_map(|key| disk.read(key.as_ref(), CONFIG_LIMIT).ok());
    let is_copy = |home: &PathBuf| {
        let mut keys = keys.iter().filter_map(|key| below(key)).map(|key| home.join(key));
        key.as_ref().is_some_and(|key| keys.any(|copy| disk.content_eq(&copy, key).unwrap_or(false)))
    };
    let copies = with_similar_siblings(context, layout.app_home.as_ref()).into_iter().skip(1).filter(is_copy);
    let within = |home: PathBuf| directories.iter().filter_map(|dir| Some(home.join(below(dir)?))).collect();
    copies.flat_map::<Vec<_>, _>(within).collect()
}

/// Returns what lies in the trash of a desktop.
pub(crate) fn trashed(context: &Context<'_>) -> Vec<PathBuf> {
    let trash = TRASH.map(|trash| context.layout.user_home.join(trash));
    trash.iter().flat_map(|trash| other_entries(context, trash.as_ref(), &[])).collect()
}

/// Returns the files in the trash that may have been in a directory of the daemon home: each
/// directory on the way, or the file alone, may have been thrown away.
fn trashed_files(context: &Context<'_>, trash: &[PathBuf], dir: &Utf8Path) -> Vec<PathBuf> {
    let Ok(below) = dir.strip_prefix(&context.layout.app_home) else { return Vec::new() };
    let names: Vec<&str> = below.components().map(|name| name.as_str()).collect();
    let files = trash.iter().flat_map(|thrown| {
        let ends = (0..names.len()).filter(|at| lower_name(thrown).contains(&names[*at].to_lowercase()));
        let ends = ends.map(|at| thrown.join(names[at + 1..].iter().collect::<PathBuf>()));
        let dirs = ends.flat_map(|end| similar_dirs(context, thrown, &end));
        once(thrown.clone()).chain(dirs.flat_map(|dir| other_entries(context, &dir, &[]))).collect::<Vec<_>>()
    });
    files.filter(|path| path.to_string_lossy().contains(".json")).collect()
}

pub(crate) fn lower_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().to_lowercase()
}

/// Returns true for the roster from the time before several networks, which a move brings to its
/// place if that is free, unless it is damaged.
fn is_sound_legacy_roster(context: &Context<'_>, path: &Path) -> bool {
    let is_sound = |bytes: Vec<u8>| DaemonFile::Roster.is_readable(&bytes);
    path == context.layout.legacy_roster && context.disk.read(path, CONFIG_LIMIT).is_ok_and(is_sound)
}

/// Returns a directory, and the directories beside it with names that contain its name, in any
/// letter case: copies, and renamed ones.
fn with_similar_siblings(context: &Context<'_>, dir: &Path) -> Vec<PathBuf> {
    let beside =
        dir.parent().map_or_else(Vec::new, |parent| other_entries(context, parent, &[dir.to_owned()]));
    let is_dir = |path: &PathBuf| context.disk.stat(path).is_ok_and(|meta| meta.is_dir());
    let like = beside.into_iter().filter(|path| lower_name(path).contains(&lower_name(dir)) && is_dir(path));
    once(dir.to_owned()).chain(like).collect()
}

pub(crate) fn newest(context: &Context<'_>, files: impl Iterator<Item = PathBuf>) -> Option<PathBuf> {
    files.max_by_key(|path| context.disk.stat_follow(path).map(|meta| meta.modified).unwrap_or_default())
}

/// Returns the files in a directory that no daemon reads, without those that a program set aside.
pub(crate) fn other_entries(context: &Context<'_>, dir: &Path, places: &[PathBuf]) -> Vec<PathBuf> {
    let names = context.disk.list(dir).unwrap_or_default().into_iter().map(|entry| entry.name);
    let names = names.filter(|name| {
        let name = name.to_string_lossy();
        !name.contains(SET_ASIDE) && !name.ends_with(".corrupt")
    });
    names.map(|name| dir.join(name)).filter(|path| !places.contains(path)).collect()
}

/// Returns the devices in a roster or a state of the network; none if the file is something else.
fn devices_of_network(context: &Context<'_>, path: &Path, kind: DaemonFile, id: &str) -> BTreeSet<String> {
    let bytes = context.disk.read(path, CONFIG_LIMIT).unwrap_or_default();
    let document = kind.mend(&bytes).map(|(document, _)| document);
    let is_of_network =
        |document: &Document| network_id::of(document.root()).is_some_and(|of| network_id::same(&of, id));
    document.filter(is_of_network).map_or_else(BTreeSet::new, |document| devices(&document.to_bytes()))
}

/// Returns the command that writes a file without its byte order mark, and keeps the previous one.
fn strip_byte_order_mark_command(path: &Path) -> String {
    let (path, previous) = (quote(path), quote(free_name(path, "with-mark")));
    for_any_shell(format!(
        "test -e {previous} || {{ mv -n {path} {previous} && umask 077 && tail -c +4 {previous} > {path}; }}"
    ))
}

/// Returns the command that gives a file its name. A file that cannot be used may have the name, or
/// the directory may be missing.
pub(crate) fn rename_command(path: &Path, expected: &Path, is_taken: bool) -> String {
    let aside = if is_taken { format!("{} && ", move_aside(expected, "empty")) } else { String::new() };
    format!("{aside}{}mv -n {} {}", make_dir(path, expected), quote(path), quote(expected))
}

/// Does what [`rename_command`] does for a daemon's file after the daemon has run: the daemon may
/// have written the file anew. The found file stays, as a daemon that another program starts would
/// write over the file in its place.
fn copy_command(path: &Path, expected: &Path) -> String {
    let make_dir = make_dir(path, expected);
    let [path, aside, expected] = [path, &free_name(expected, "aside"), expected].map(quote);
    for_any_shell(format!(
        "cmp -s {path} {expected} || {{ {{ test ! -e {expected} || mv -n {expected} {aside}; }} && \
         {make_dir}cp -pn {path} {expected}; }}"
    ))
}

fn make_dir(path: &Path, expected: &Path) -> String {
    mkdir_prefix(expected.parent().filter(|dir| path.parent() != Some(*dir)))
}
