//! Keeps the files that a daemon could not read, and has put aside as `*.corrupt`: a daemon would
//! rename the next such file over them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use myownllm_config_model::{DaemonFile, Document};
use myownllm_durable_fs::{Disk, DiskError, LockedDir, publish_new, quote};

use crate::context::Context;
use crate::daemons::{CONFIG_LIMIT, readable_part};
use crate::files::peers::{
    DAMAGED, STATE_SET_ASIDE, devices, loss_of, names_after_move, peer_dirs, replace, set_aside,
    states_after_move, sync,
};
use crate::words::diagnostic::{Diagnostic, PROGRAM, unless_failed};

/// The number of devices that a message names.
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
            true => Some(bytes).filter(|_| judged.unknown_value.is_none()),
            false => kind.mend(&bytes).map(|(mended, _)| mended.to_bytes()),
        };
        let known = there.as_deref().map_or_else(BTreeSet::new, devices);
        let lacking = |part: &[u8]| devices(part).difference(&known).cloned().collect::<BTreeSet<_>>();
        let is_in_use = |there: &[u8]| !known.is_empty() || !kind.is_readable(there);
        let content = match part.map(|part| (lacking(&part), part)) {
            None => Content::Unreadable,
            Some((lacking, _)) if lacking.is_empty() => return None,
            Some((lacking, _)) if there.as_deref().is_some_and(is_in_use) => Content::Lacking(lacking),
            Some((_, part)) => Content::GoesBack { part, instead_of: there },
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
    let previous = readable_part(&bytes);
    let differs = |key: &&str| {
        let previous = previous.as_ref().and_then(|previous| previous.get(&[key]));
        previous.is_some_and(|previous| !now.get(&[key]).is_some_and(|now| now.same_json(&previous)))
    };
    let keys = ["identity_path", "daemon", "services", "networks", "auto_update", "auto_cleanup"].into_iter();
    let keys: Vec<&str> = keys.filter(differs).collect();
    let what = match (previous.is_some(), keys.as_slice()) {
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
            Some(previous) => replace(dir, (place, previous), part).map(drop),
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

/// Returns the files that a daemon has put aside as `*.corrupt`: a daemon would rename the next
/// such file over them.
pub(crate) fn corrupt_files(context: &Context<'_>, moved: &[(PathBuf, PathBuf)]) -> Vec<PathBuf> {
    let layout = context.layout;
    let directories = [&layout.daemon_home, &layout.daemon_rosters, &layout.daemon_states].into_iter();
    let names = directories.flat_map(|dir| names_after_move(context, dir, ".json.corrupt", moved));
    names.map(|(_, path_after_move)| path_after_move).collect()
}
