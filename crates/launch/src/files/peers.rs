//! Judges the rosters and states in the daemon home before a daemon starts on them. A daemon that
//! cannot read one renames it to `*.corrupt`, over the file that has that name, and starts without
//! the peers that the user has approved, although often the whole content is there, behind a byte
//! order mark for example.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use myownllm_config_model::{DaemonFile, Document, Extent, ReadCheck, network_id, recover};
use myownllm_durable_fs::{
    Disk, DiskError, FileKind, LockedDir, move_aside, publish_new, put_in_place, quote, rename_or_link,
    set_aside_name, with_free_name,
};
use myownllm_migration::{MoveStep, Plan as MovePlan};
use myownllm_paths::Layout;
use myownllm_paths::camino::Utf8Path;

use crate::context::Context;
use crate::daemons::CONFIG_LIMIT;
use crate::files::identity::restore_backup_command;
use crate::homes::no_access::{not_a_file, unreadable_file};
use crate::words::diagnostic::{Diagnostic, PROGRAM};
use crate::words::network_id_of;

pub(crate) const DAMAGED: &str = "state.damaged";
pub(crate) const UNREADABLE: &str = "state.unreadable";
const NEWER: &str = "state.newer";
/// The number of set-aside files of one name that are compared with a file: a start reads each.
const MAX_FORMER: u64 = 16;
pub(crate) const STATE_SET_ASIDE: &str = "state.set-aside";

/// A roster or a state.
#[derive(Clone, Debug)]
pub(crate) struct PeerFile {
    kind: DaemonFile,
    pub(crate) path: PathBuf,
    /// The path at which a daemon would read the file.
    pub(crate) path_after_move: PathBuf,
    bytes: Vec<u8>,
    judged: ReadCheck,
    /// The network id that a daemon wants in the file, if the file spells it otherwise: a daemon
    /// reads nothing of such a file, and writes over it.
    wanted_id: Option<String>,
}

impl PeerFile {
    /// Reads a file; returns `None` if it is gone. Fails if a daemon cannot open the file: a daemon
    /// hangs on a pipe, does not join the network, or takes a broken symlink for a missing file.
    fn read(
        context: &Context<'_>,
        kind: DaemonFile,
        (path, path_after_move): (PathBuf, PathBuf),
    ) -> Result<Option<Self>, Diagnostic> {
        let disk = context.disk;
        let unreadable = |error: &DiskError| unreadable_file(disk, context.layout, error).at(&path);
        if let Some(is) = not_a_file(disk, &path).map_err(|error| unreadable(&error))? {
            let message = format!("cannot read {}: it is {is}", path.display());
            // The disk with the target of a symlink may be missing.
            let hint = match disk.stat_follow(&path) {
                Ok(_) => move_aside(&path, "aside"),
                Err(_) => format!("ls -ld {}", quote(&path)),
            };
            return Err(Diagnostic::error(UNREADABLE, message).at(&path).hint(hint));
        }
        match disk.read(&path, CONFIG_LIMIT) {
            Ok(bytes) => {
                let (judged, wanted_id) = (kind.judge(&bytes), wanted_id(&bytes, &path_after_move));
                Ok(Some(Self { kind, path, path_after_move, bytes, judged, wanted_id }))
            }
            Err(error) if error.is_absent() => Ok(None),
            Err(error) => Err(unreadable(&error)),
        }
    }

    /// Reads a file in the daemon home.
    fn read_in_daemon_home(context: &Context<'_>, path: &Path) -> Result<Option<Self>, Diagnostic> {
        let is_roster = path.parent() == Some(context.layout.daemon_rosters.as_std_path());
        let kind = if is_roster { DaemonFile::Roster } else { DaemonFile::State };
        Self::read(context, kind, (path.to_owned(), path.to_owned()))
    }

    fn is_damaged(&self) -> bool {
        !self.judged.is_readable || (self.wanted_id.is_some() && !self.judged.is_newer)
    }

    /// Returns the part of a damaged file that a daemon can read.
    fn mended(&self) -> Option<Vec<u8>> {
        let (mut mended, _) = self.kind.mend(&self.bytes)?;
        if let Some(id) = &self.wanted_id {
            mended.set(&["network_id"], id.as_str());
        }
        Some(mended.to_bytes())
    }

    /// Returns the file at the old location that takes the place of a damaged file: a daemon can read
    /// it, and it has the devices of the damaged file, or that file has none any more. Others in it
    /// may have been removed by the user since.
    fn successor(&self, context: &Context<'_>) -> Option<PathBuf> {
        let layout = context.layout;
        let dir =
            if self.kind == DaemonFile::Roster { &layout.legacy_rosters } else { &layout.legacy_states };
        let old = dir.as_std_path().join(self.path_after_move.file_name()?);
        let bytes = context.disk.read(&old, CONFIG_LIMIT).ok()?;
        let is_sound = self.kind.is_readable(&bytes) && wanted_id(&bytes, &old).is_none();
        let known = self.mended().map_or_else(BTreeSet::new, |mended| devices(&mended));
        let is_alike = known.is_empty() || devices(&bytes) == known;
        (old != self.path && is_sound && is_alike).then_some(old)
    }

    /// Returns what the part that a daemon can read lacks, if that is not known.
    fn missing_part(&self) -> &'static str {
        match self.kind {
            _ if !is_torn(&self.bytes) => "",
            DaemonFile::State => ", without what stood behind the damage: roles may be missing",
            _ => {
                ", without what stood behind the damage: devices may be missing, and have to be approved again"
            }
        }
    }

    /// Returns the path of the copy of a newer file.
    fn copy_path(&self) -> PathBuf {
        set_aside_name(&self.path_after_move, 1)
    }

    /// Returns true if a newer daemon wrote the file and no copy of it was made: an older daemon
    /// refuses the network, or drops the file. One copy is enough: it shows the file as the newer
    /// daemon left it.
    pub(crate) fn needs_copy(&self, disk: &dyn Disk) -> bool {
        self.judged.is_newer && disk.stat(&self.copy_path()).is_err_and(|error| error.is_not_found())
    }

    /// Reports a damaged file before a launch mends it.
    pub(crate) fn damaged_diagnostic(&self, context: &Context<'_>) -> Diagnostic {
        let outcome = match (self.successor(context), self.mended()) {
            (Some(old), _) => format!("sets it aside, and moves {} to its place", old.display()),
            (None, Some(_)) => {
                format!("keeps it and writes the part that a daemon can read{}", self.missing_part())
            }
            (None, None) => format!("sets it aside, and {}", loss_of(self.kind)),
        };
        let message = format!("{} cannot be read by a daemon; a launch {outcome}", self.path.display());
        Diagnostic::warning(DAMAGED, message).at(&self.path).hint(format!("{PROGRAM} repair"))
    }

    /// Reports a file that was damaged after the running daemon had read it. The daemon may have
    /// the only copy of these peers, so the hint does not end the daemon.
    pub(crate) fn damaged_beside_daemon_diagnostic(&self) -> Diagnostic {
        let path = &self.path;
        let message = format!(
            "{} cannot be read by a daemon; the running daemon read it before the damage, and the next one \
             would start without its content: restore the file from a backup",
            path.display()
        );
        let backup = quote(Path::new("/path/to/backup").join(path.file_name().unwrap_or_default()));
        let hint = restore_backup_command(&backup, path, "damaged");
        Diagnostic::warning(DAMAGED, message).at(path).hint(hint)
    }

    /// Reports a newer file: before a launch copies it, or after.
    pub(crate) fn newer_diagnostic(&self, is_copied: bool) -> Diagnostic {
        let outcome = match is_copied {
            true => format!("{} is a copy of it", self.copy_path().display()),
            false => "a launch copies it before it starts a daemon".to_owned(),
        };
        let path = self.path.display();
        let message = match &self.judged.unknown_value {
            None => format!(
                "{path} is of a newer version: a daemon that does not know this version refuses the \
                 network; {outcome}"
            ),
            Some(word) => format!(
                "{path} has an unknown value at {word}: a daemon that does not know this value renames the \
                 file to *.corrupt, and goes on without it; {outcome}"
            ),
        };
        Diagnostic::warning(NEWER, message).at(&self.path)
    }
}

/// Returns the rosters and states in the daemon home that no daemon can read, and that the file at
/// the old location with which they collide replaces. A running daemon may have read the files
/// before the damage: none is replaced then.
pub(crate) fn replaced_states(context: &Context<'_>, migration: &MovePlan) -> Vec<PathBuf> {
    let is_settled = migration.refusals.is_empty() && migration.errors.is_empty();
    let destinations = migration.collisions.iter().filter(|_| is_settled).map(|both| &both.destination);
    let is_replaced = |path: &&PathBuf| {
        peer_dirs(context.layout).iter().any(|(_, dir)| path.parent() == Some(dir.as_std_path()))
            && PeerFile::read_in_daemon_home(context, path)
                .is_ok_and(|state| state.is_some_and(|it| it.is_damaged() && it.successor(context).is_some()))
    };
    let replaced: Vec<PathBuf> = destinations.filter(is_replaced).cloned().collect();
    let is_free = replaced.is_empty() || context.daemons.live(None).is_empty();
    if is_free { replaced } else { Vec::new() }
}

/// Returns true if something may be missing from the complete part of a text.
fn is_torn(bytes: &[u8]) -> bool {
    let lacks_part = |extent| matches!(extent, Extent::Torn { .. } | Extent::Around { .. });
    Document::parse(bytes).is_err() && recover(bytes).is_none_or(|found| lacks_part(found.extent))
}

/// Returns the devices that a daemon knows from the file in its place, if others may have been lost:
/// the file has none, it is damaged, or it is as a launch has cut it.
pub(crate) fn remaining_devices(disk: &dyn Disk, kind: DaemonFile, path: &Path) -> Option<BTreeSet<String>> {
    let bytes = disk.read(path, CONFIG_LIMIT).ok()?;
    let remaining = |damaged: &[u8]| {
        let part = kind.mend(damaged).map_or_else(BTreeSet::new, |(part, _)| devices(&part.to_bytes()));
        (is_torn(damaged) || part != devices(damaged)).then_some(part)
    };
    if !kind.is_readable(&bytes) {
        return remaining(&bytes);
    }
    let known = devices(&bytes);
    let corrupt = PathBuf::from(format!("{}.corrupt", path.display()));
    let previous = [path, &corrupt].into_iter().flat_map(|path| {
        (1..=MAX_FORMER).map_while(|number| disk.read(&set_aside_name(path, number), CONFIG_LIMIT).ok())
    });
    let mut damaged = previous.filter(|previous| !kind.is_readable(previous));
    (known.is_empty() || damaged.any(|damaged| remaining(&damaged).as_ref() == Some(&known))).then_some(known)
}

/// Returns what a daemon lacks without a file of this kind.
pub(super) fn loss_of(kind: DaemonFile) -> &'static str {
    match kind {
        DaemonFile::State => "the roles in it are out of use, and the network counts as open",
        _ => "the devices in it have to be approved again",
    }
}

/// Returns the network id of a file's name if the file has another spelling of it.
fn wanted_id(bytes: &[u8], path: &Path) -> Option<String> {
    let (id, wanted) = (network_id_in(bytes)?, path.file_stem()?.to_str()?);
    (id != wanted && network_id::normal_form(&id) == wanted).then(|| wanted.to_owned())
}

/// Returns the network id that a roster or a state names; none if it cannot be read.
pub(super) fn network_id_in(bytes: &[u8]) -> Option<String> {
    network_id_of(Document::parse(bytes).ok()?.document.root())
}

/// Returns the paths in a directory whose names end in `ending`. A directory that cannot be listed
/// is refused elsewhere.
pub(super) fn names(context: &Context<'_>, directory: &Utf8Path, ending: &str) -> Vec<PathBuf> {
    let entries = context.disk.list(directory.as_ref()).unwrap_or_default().into_iter();
    let named = entries.filter(|entry| entry.name.to_string_lossy().ends_with(ending));
    named.map(|entry| directory.as_std_path().join(entry.name)).collect()
}

/// Returns the paths in a directory of the daemon home whose names end in `ending`, each with its
/// path after the move that brings the files in `moved`.
pub(crate) fn names_after_move(
    context: &Context<'_>,
    directory: &Utf8Path,
    ending: &str,
    moved: &[(PathBuf, PathBuf)],
) -> Vec<(PathBuf, PathBuf)> {
    let is_in = |path: &Path| {
        path.parent() == Some(directory.as_std_path()) && path.to_string_lossy().ends_with(ending)
    };
    let there = names(context, directory, ending).into_iter().map(|path| (path.clone(), path));
    let mut all: Vec<_> = there.chain(moved.iter().filter(|(_, to)| is_in(to)).cloned()).collect();
    all.sort_by(|one, other| one.1.cmp(&other.1));
    all
}

/// Returns the directories of the daemon's rosters and states.
pub(super) fn peer_dirs(layout: &Layout) -> [(DaemonFile, &Utf8Path); 2] {
    [(DaemonFile::Roster, &layout.daemon_rosters), (DaemonFile::State, &layout.daemon_states)]
}

/// Does what [`names_after_move`] does for the rosters and states.
pub(super) fn states_after_move<'b>(
    context: &'b Context<'_>,
    ending: &'b str,
    moved: &'b [(PathBuf, PathBuf)],
) -> impl Iterator<Item = (DaemonFile, (PathBuf, PathBuf))> + 'b {
    peer_dirs(context.layout).into_iter().flat_map(move |(kind, directory)| {
        names_after_move(context, directory, ending, moved).into_iter().map(move |paths| (kind, paths))
    })
}

/// Reads every roster and state once. Returns those that no daemon understands, and those of newer
/// versions.
///
/// Beside a running daemon, a file that the daemon is writing may look damaged.
/// Fails if a daemon could not open one of the files.
pub(crate) fn unsettled_states(
    context: &Context<'_>,
    migration: &MovePlan,
    moved: &[(PathBuf, PathBuf)],
) -> Result<(Vec<PeerFile>, Vec<PeerFile>), Diagnostic> {
    if let Some(blocked) = blocked_temporary(context, moved) {
        return Err(blocked);
    }
    // A move opens a directory before it moves the files in it. Nobody can judge them before.
    let is_opened = |path: &Path| {
        let mut opened = migration.steps().filter(|step| matches!(step, MoveStep::SetMode { .. }));
        opened.any(|step| path.parent() == Some(step.path()))
    };
    let (mut damaged, mut newer) = (Vec::new(), Vec::new());
    for (kind, paths) in states_after_move(context, ".json", moved) {
        let is_opened = is_opened(&paths.0);
        let state = match PeerFile::read(context, kind, paths) {
            Err(diagnostic) if diagnostic.is_denied && is_opened => continue,
            state => state?,
        };
        let Some(state) = state else { continue };
        if state.is_damaged() {
            damaged.push(state.clone());
        }
        newer.extend(Some(state).filter(|state| state.judged.is_newer));
    }
    Ok((damaged, newer))
}

/// Reports an entry that is no file under the name of a temporary file of the daemon's: a daemon
/// cannot write its file, waits for a pipe, or writes over the target of a symlink.
fn blocked_temporary(context: &Context<'_>, moved: &[(PathBuf, PathBuf)]) -> Option<Diagnostic> {
    let (disk, layout) = (context.disk, context.layout);
    // A daemon writes its identity file once.
    let identity = Some(&layout.daemon_identity).filter(|path| disk.stat(path.as_ref()).is_err());
    let single = [&layout.daemon_config].into_iter().chain(identity);
    let single = single.map(|path| format!("{path}.tmp").into());
    let states = states_after_move(context, ".json.tmp", moved).map(|(_, (path, _))| path);
    let (path, meta) = single.chain(states).find_map(|path: PathBuf| {
        let meta = disk.stat(&path).ok().filter(|meta| !meta.is_file())?;
        Some((path, meta))
    })?;
    let is = match meta.kind {
        FileKind::Dir => "a directory",
        FileKind::Symlink => "a symlink",
        _ => "not a regular file",
    };
    let written = path.with_extension("");
    let message = format!("a daemon cannot write {}: {} is {is}", written.display(), path.display());
    Some(Diagnostic::error(UNREADABLE, message).at(&path).hint(move_aside(&path, "aside")))
}

/// Sets a damaged roster or state aside, and writes the part that a daemon can read in its place.
/// Does nothing if a daemon can read the file by now.
/// Fails if the file cannot be set aside. No daemon may be started then.
pub(crate) fn mend_state(
    context: &Context<'_>,
    dir: &LockedDir,
    path: &Path,
) -> Result<Option<Diagnostic>, Diagnostic> {
    let Some(damaged) = PeerFile::read_in_daemon_home(context, path)?.filter(PeerFile::is_damaged) else {
        return Ok(None);
    };
    let successor = damaged.successor(context);
    let mended = damaged.mended().filter(|_| successor.is_none());
    let aside = match &mended {
        Some(mended) => replace(dir, (path, &damaged.bytes), mended),
        None => set_aside(dir, path),
    };
    let aside = aside.map_err(|error| Diagnostic::from(error).at(path))?;
    let lost = |mended| devices(&damaged.bytes).difference(&devices(mended)).cloned().collect::<Vec<_>>();
    let outcome = match mended.as_deref().map(lost).as_deref() {
        Some([]) => format!("the part that a daemon can read stays{}", damaged.missing_part()),
        Some(lost) => format!(
            "the part that a daemon can read stays, without the devices {}, which have to be approved again",
            lost.join(", ")
        ),
        None => successor.map_or_else(
            || loss_of(damaged.kind).to_owned(),
            |old| format!("{} takes its place", old.display()),
        ),
    };
    let message = format!(
        "{} could not be read by a daemon; it is {} now, and {outcome}",
        path.display(),
        aside.display()
    );
    Ok(Some(Diagnostic::warning(STATE_SET_ASIDE, message).at(path)))
}

/// Copies a roster or a state of a newer version. Does nothing if there is a copy by now.
/// Fails if the file cannot be copied. No daemon may be started then.
pub(crate) fn copy_newer_state(
    context: &Context<'_>,
    dir: &LockedDir,
    path: &Path,
) -> Result<Option<Diagnostic>, Diagnostic> {
    let newer = PeerFile::read_in_daemon_home(context, path)?.filter(|state| state.needs_copy(context.disk));
    let Some(newer) = newer else { return Ok(None) };
    let copy = newer.copy_path();
    dir.stat(path)
        .and_then(|meta| publish_new(dir, &copy, &newer.bytes, meta.mode & 0o700, meta.owner))
        .and_then(|_| sync(dir, &copy))
        .map_err(|error| Diagnostic::from(error).at(&copy))?;
    Ok(Some(newer.newer_diagnostic(true)))
}

/// Renames a file to a name that is free, and returns the name.
pub(super) fn set_aside(dir: &LockedDir, path: &Path) -> Result<PathBuf, DiskError> {
    let aside = with_free_name(path, |aside| rename_or_link(dir, path, aside))?;
    sync(dir, path)?;
    Ok(aside)
}

/// Puts the part that a daemon can read in the place of a damaged file, and returns the name of the
/// damaged file. At no instant is the place empty.
pub(super) fn replace(
    dir: &LockedDir,
    (path, damaged): (&Path, &[u8]),
    mended: &[u8],
) -> Result<PathBuf, DiskError> {
    let meta = dir.stat(path)?;
    let aside = with_free_name(path, |aside| publish_new(dir, aside, mended, meta.mode & 0o700, meta.owner))?;
    let is_expected = |file: &Path| dir.content_eq(file, damaged);
    match put_in_place(dir, &aside, mended, path, &is_expected)? {
        Some((_, displaced)) if displaced != aside => rename_or_link(dir, &displaced, &aside)?,
        _ => {}
    }
    sync(dir, path)?;
    Ok(aside)
}

pub(super) fn sync(dir: &LockedDir, path: &Path) -> Result<(), DiskError> {
    path.parent().map_or(Ok(()), |parent| dir.sync_dir(parent))
}

/// Returns the Device IDs that a roster or a state names: none if it cannot be read.
pub(crate) fn devices(bytes: &[u8]) -> BTreeSet<String> {
    let Ok(parsed) = Document::parse(bytes) else { return BTreeSet::new() };
    let value = parsed.document.root().to_value();
    let approved = value["authorized_devices"].as_array().into_iter().flatten();
    let approved = approved.filter_map(|device| Some(device["device_id"].as_str()?.to_owned()));
    let roles = value["roles"].as_object().into_iter().flatten().map(|(device, _)| device.clone());
    approved.chain(roles).collect()
}
