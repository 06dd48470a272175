//! Judges the rosters and states in the daemon home before a daemon starts on them. A daemon that
//! cannot read one renames it to `*.corrupt`, over the file that has that name, and starts without
//! the peers that the user has approved, although often the whole content is there, behind a byte
//! order mark for example.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use myownllm_config_model::{DaemonFile, Document, Extent, JudgedFile, network_id, networks, recover};
use myownllm_durable_fs::{
    Disk, DiskError, FileKind, LockedDir, move_aside, publish_new, put_in_place, quote, rename_or_link,
    replace_symlink, set_aside_name, with_free_name,
};
use myownllm_identity::{IdentityPaths, empty_targets, ensure_reachable_peers};
use myownllm_migration::{MoveStep, Plan as MovePlan};
use myownllm_paths::Layout;
use myownllm_paths::camino::{Utf8Path, Utf8PathBuf};

use crate::context::Context;
use crate::daemons::CONFIG_LIMIT;
use crate::files::identity::restore_backup_command;
use crate::homes::closed::{not_a_file, unreadable_file};
use crate::words::diagnostic::{Class, Diagnostic, PROGRAM, unless_failed};

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
    judged: JudgedFile,
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
        let message = match &self.judged.unknown_word {
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
    let former = [path, &corrupt].into_iter().flat_map(|path| {
        (1..=MAX_FORMER).map_while(|number| disk.read(&set_aside_name(path, number), CONFIG_LIMIT).ok())
    });
    let mut damaged = former.filter(|former| !kind.is_readable(former));
    (known.is_empty() || damaged.any(|damaged| remaining(&damaged).as_ref() == Some(&known))).then_some(known)
}

/// Returns what a daemon lacks without a file of this kind.
fn loss_of(kind: DaemonFile) -> &'static str {
    match kind {
        DaemonFile::State => "the roles in it are out of use, and the network counts as open",
        _ => "the devices in it have to be approved again",
    }
}

/// Returns the network id of a file's name if the file has another spelling of it.
fn wanted_id(bytes: &[u8], path: &Path) -> Option<String> {
    let document = Document::parse(bytes).ok()?.document;
    let (id, wanted) = (network_id::of(document.root())?, path.file_stem()?.to_str()?);
    (id != wanted && network_id::normal_form(&id) == wanted).then(|| wanted.to_owned())
}

/// Returns the paths in a directory whose names end in `ending`. A directory that cannot be listed
/// is refused elsewhere.
fn names(context: &Context<'_>, directory: &Utf8Path, ending: &str) -> Vec<PathBuf> {
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
fn peer_dirs(layout: &Layout) -> [(DaemonFile, &Utf8Path); 2] {
    [(DaemonFile::Roster, &layout.daemon_rosters), (DaemonFile::State, &layout.daemon_states)]
}

/// Does what [`names_after_move`] does for the rosters and states.
fn states_after_move<'b>(
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

/// Reports rosters, states or the custody file that stay behind a symlink at the old location: a
/// daemon would start without them.
pub(crate) fn peers_behind_symlink(context: &Context<'_>, migration: &MovePlan) -> Option<Diagnostic> {
    let (disk, layout) = (context.disk, context.layout);
    let is_symlink = |path: &&PathBuf| disk.stat(path).is_ok_and(|meta| meta.is_symlink());
    let mut symlinks = migration.left.iter().map(|left| &left.path).filter(is_symlink).peekable();
    symlinks.peek()?;
    if let Err(refusal) = ensure_reachable_peers(disk, IdentityPaths::of(layout).app()) {
        return Some(Diagnostic::from(&refusal));
    }
    let in_dir = |dir: &Utf8Path| {
        let real =
            disk.canonicalize(dir.as_ref()).ok().and_then(|real| Utf8PathBuf::from_path_buf(real).ok());
        let files = names(context, &real?, ".json").into_iter();
        Some(files.filter_map(|file| Some(dir.as_std_path().join(file.file_name()?))).collect::<Vec<_>>())
    };
    let dirs = [&layout.legacy_rosters, &layout.legacy_states].into_iter();
    let listed = dirs.filter_map(|dir| in_dir(dir)).flatten();
    let peers = listed.chain([layout.legacy_roster.clone().into()]).filter(|file| {
        let bytes = disk.read(file, CONFIG_LIMIT).unwrap_or_default();
        Document::parse(&bytes).is_ok_and(|parsed| network_id::of(parsed.document.root()).is_some())
    });
    let custody = layout.legacy_custody.clone().into_std_path_buf();
    let custody = Some(custody).filter(|file| disk.stat_follow(file).is_ok_and(|meta| meta.is_file()));
    // A symlink into the daemon home, made for an older program, hides no file from the daemon.
    let daemon_home = disk.canonicalize(layout.daemon_home.as_ref()).ok();
    let is_daemons = |file: &PathBuf| {
        let real = disk.canonicalize(file).ok();
        real.zip(daemon_home.as_ref()).is_some_and(|(real, home)| real.starts_with(home))
    };
    let known: Vec<PathBuf> = peers.chain(custody).filter(|file| !is_daemons(file)).collect();
    let symlink = symlinks.find(|symlink| known.iter().any(|file| file.starts_with(symlink)))?;
    let message = format!(
        "cannot start a daemon: {} is a symlink, which a move leaves in place, and the daemon would start \
         without the files behind it",
        symlink.display()
    );
    let hint = replace_symlink(symlink);
    Some(Diagnostic::error("migration.peers-link", message).at(symlink).hint(hint).class(Class::Refused))
}

/// Warns of the symlinks in the daemon home that lead to an empty directory while networks are
/// saved: the user may have just made the directory, or the disk with the rosters is missing.
pub(crate) fn empty_directories(context: &Context<'_>, document: &Document) -> Vec<Diagnostic> {
    if networks::list(document).is_empty() {
        return Vec::new();
    }
    let found = empty_targets(context.disk, &IdentityPaths::of(context.layout));
    let mut symlinks =
        unless_failed(found, "the look at the symlinks to the daemon's files").unwrap_or_default();
    symlinks.retain(|(symlink, _)| symlink.starts_with(&context.layout.daemon_home));
    let warn = |(symlink, target): (PathBuf, PathBuf)| {
        let message = format!(
            "{} leads to an empty directory, {}; its disk may be missing, and a daemon would start without the \
             files on it",
            symlink.display(),
            target.display()
        );
        let hint = format!("readlink {}", quote(&symlink));
        Diagnostic::warning("identity.disk-missing", message).at(&symlink).hint(hint)
    };
    symlinks.into_iter().map(warn).collect()
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

/// Returns the files that a daemon has put aside as `*.corrupt`: a daemon would rename the next
/// such file over them.
pub(crate) fn corrupt_files(context: &Context<'_>, moved: &[(PathBuf, PathBuf)]) -> Vec<PathBuf> {
    let layout = context.layout;
    let directories = [&layout.daemon_home, &layout.daemon_rosters, &layout.daemon_states].into_iter();
    let names = directories.flat_map(|dir| names_after_move(context, dir, ".json.corrupt", moved));
    names.map(|(_, path_after_move)| path_after_move).collect()
}

/// Renames a file to a name that is free, and returns the name.
fn set_aside(dir: &LockedDir, path: &Path) -> Result<PathBuf, DiskError> {
    let aside = with_free_name(path, |aside| rename_or_link(dir, path, aside))?;
    sync(dir, path)?;
    Ok(aside)
}

/// Puts the part that a daemon can read in the place of a damaged file, and returns the name of the
/// damaged file. At no instant is the place empty.
fn replace(dir: &LockedDir, (path, damaged): (&Path, &[u8]), mended: &[u8]) -> Result<PathBuf, DiskError> {
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

fn sync(dir: &LockedDir, path: &Path) -> Result<(), DiskError> {
    path.parent().map_or(Ok(()), |parent| dir.sync_dir(parent))
}

const MAX_NAMED: usize = 3;

/// A roster or a state that a daemon has put aside.
#[derive(Debug)]
pub(crate) struct CorruptPeerFile {
    kind: DaemonFile,
    path: PathBuf,
    /// The place in which a daemon reads the file.
    place: PathBuf,
    content: Content,
}

/// The use that a launch has for the content of the file.
#[derive(Debug)]
enum Content {
    /// The place of the file is free, or holds a file without devices. `part` is the content that a
    /// daemon can read, `instead_of` the content of the file in the place.
    GoesBack { part: Vec<u8>, instead_of: Option<Vec<u8>> },
    /// Nothing of the file can be read.
    Unreadable,
    /// The file in its place lacks these devices.
    Lacking(BTreeSet<String>),
}

impl CorruptPeerFile {
    /// Returns the file if its content is of use, or unknown. `place` is the path at which the file
    /// in its place can be read now.
    fn of(
        context: &Context<'_>,
        kind: DaemonFile,
        (path, path_after_move): (&Path, &Path),
        place: &Path,
    ) -> Option<Self> {
        let doing = "the look at a file that a daemon has put aside";
        let bytes = unless_failed(context.disk.read(path, CONFIG_LIMIT), doing)?;
        let there = match context.disk.read(place, CONFIG_LIMIT) {
            Ok(there) => Some(there),
            Err(error) if error.is_not_found() => None,
            // The check of the file in its place reports it.
            Err(_) => return None,
        };
        let judged = kind.judge(&bytes);
        let part = match judged.is_readable {
            // With an unknown value in the file, the same daemon would rename it again.
            true => Some(bytes).filter(|_| judged.unknown_word.is_none()),
            false => kind.mend(&bytes).map(|(mended, _)| mended.to_bytes()),
        };
        let known = there.as_deref().map(devices);
        let content = match (part, known) {
            (None, _) => Content::Unreadable,
            (Some(part), known) => {
                let lacking: BTreeSet<String> =
                    devices(&part).difference(known.as_ref().unwrap_or(&BTreeSet::new())).cloned().collect();
                match known {
                    _ if lacking.is_empty() => return None,
                    Some(known)
                        if !known.is_empty()
                            || there.as_deref().is_some_and(|there| !kind.is_readable(there)) =>
                    {
                        Content::Lacking(lacking)
                    }
                    _ => Content::GoesBack { part, instead_of: there },
                }
            }
        };
        let place = path_after_move.with_extension("");
        Some(Self { kind, path: path.to_owned(), place, content })
    }

    /// Reports the file before a launch settles it.
    pub(crate) fn diagnostic(&self) -> Diagnostic {
        let goes_back =
            format!("a launch writes the part that a daemon can read to {}", self.place.display());
        let outcome = self.consequence(goes_back);
        self.unreadable_warning(DAMAGED, &format!("a launch keeps it; {outcome}"))
            .hint(format!("{PROGRAM} repair"))
    }

    /// Returns the consequence of what a launch does with the file; `goes_back` if it uses the
    /// content.
    fn consequence(&self, goes_back: String) -> String {
        let devices = match &self.content {
            Content::GoesBack { .. } => return goes_back,
            Content::Unreadable => return loss_of(self.kind).to_owned(),
            Content::Lacking(devices) => devices,
        };
        let named: Vec<&str> = devices.iter().take(MAX_NAMED).map(String::as_str).collect();
        let more = match devices.len() - named.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let (names, place) = (named.join(", "), self.place.display());
        format!("{place} lacks {names}{more}, which have to be approved again if they are still wanted")
    }

    fn unreadable_warning(&self, code: &str, outcome: &str) -> Diagnostic {
        let message =
            format!("a daemon could not read {}, and goes on without it; {outcome}", self.path.display());
        Diagnostic::warning(code, message).at(&self.path)
    }
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

/// Returns the rosters and states that a daemon has put aside, and whose content is of use or
/// unknown. `moved` are the files that a move brings.
pub(crate) fn corrupt_states(context: &Context<'_>, moved: &[(PathBuf, PathBuf)]) -> Vec<CorruptPeerFile> {
    let files = states_after_move(context, ".json.corrupt", moved);
    let found = files.filter_map(|(kind, (path, path_after_move))| {
        let place = path_after_move.with_extension("");
        let now = moved.iter().find(|(_, to)| *to == place).map_or(&place, |(from, _)| from);
        CorruptPeerFile::of(context, kind, (&path, &path_after_move), now)
    });
    found.collect()
}

pub(crate) fn corrupt_config_path(context: &Context<'_>) -> PathBuf {
    format!("{}.corrupt", context.layout.daemon_config).into()
}

/// Reports the daemon's config that a daemon could not read and has put aside, if the config in its
/// place has other settings. `aside` is the name that a launch has given the file.
pub(crate) fn corrupt_config(context: &Context<'_>, aside: Option<&Path>) -> Option<Diagnostic> {
    let (place, path) = (&context.layout.daemon_config, corrupt_config_path(context));
    let file = aside.unwrap_or(&path);
    let bytes = unless_failed(context.disk.read(file, CONFIG_LIMIT), "the look at a daemon's former config")?;
    let now = context.disk.read(place.as_ref(), CONFIG_LIMIT).unwrap_or_default();
    let now = Document::parse(&now).map_or_else(|_| Document::empty(), |parsed| parsed.document);
    let former = match Document::parse(&bytes) {
        Ok(parsed) => Some(parsed.document),
        Err(_) => recover(&bytes).map(|found| found.document),
    };
    let differs = |key: &&str| {
        let former = former.as_ref().and_then(|former| former.get(&[key]));
        former.is_some_and(|former| !now.get(&[key]).is_some_and(|now| now.same_json(&former)))
    };
    let keys = ["identity_path", "daemon", "services", "networks", "auto_update", "auto_cleanup"].into_iter();
    let keys: Vec<&str> = keys.filter(differs).collect();
    let what = match (former.is_some(), keys.as_slice()) {
        (false, _) => "nothing in it can be read".to_owned(),
        (true, []) => return None,
        (true, keys) => format!("its settings are not in use ({})", keys.join(", ")),
    };
    let message = format!("a daemon could not read its config, now {}; {what}", file.display());
    let code = if aside.is_some() { STATE_SET_ASIDE } else { DAMAGED };
    Some(Diagnostic::warning(code, message).at(file).hint(format!("diff {} {}", quote(file), quote(place))))
}

/// Renames a `*.corrupt` file to a name that no daemon uses. If the place of the file holds no
/// device, first writes the part that a daemon can read to that place.
pub(crate) fn keep_corrupt_file(
    context: &Context<'_>,
    dir: &LockedDir,
    path: &Path,
) -> Result<Option<Diagnostic>, Diagnostic> {
    let kind =
        peer_dirs(context.layout).into_iter().find(|(_, dir)| path.parent() == Some(dir.as_std_path()));
    let found =
        kind.and_then(|(kind, _)| CorruptPeerFile::of(context, kind, (path, path), &path.with_extension("")));
    let failed = |error: DiskError| Diagnostic::from(error).at(path);
    // Writes the content before it renames the file: after a kill between the two, the next launch
    // finds the file again.
    if let Some(CorruptPeerFile { place, content: Content::GoesBack { part, instead_of }, .. }) = &found {
        match instead_of {
            Some(former) => replace(dir, (place, former), part).map(drop),
            None => {
                let owner = dir.stat(path).map_err(failed)?.owner;
                publish_new(dir, place, part, 0o600, owner).and_then(|()| sync(dir, place))
            }
        }
        .map_err(failed)?;
    }
    let aside = set_aside(dir, path).map_err(failed)?;
    tracing::info!(from = %path.display(), to = %aside.display(), "kept what a daemon could not read");
    if path == corrupt_config_path(context) {
        return Ok(corrupt_config(context, Some(&aside)));
    }
    Ok(found.map(|found| {
        let goes_back = format!("{} has the part that a daemon can read", found.place.display());
        let outcome = found.consequence(goes_back);
        found.unreadable_warning(STATE_SET_ASIDE, &format!("it is {} now; {outcome}", aside.display()))
    }))
}
