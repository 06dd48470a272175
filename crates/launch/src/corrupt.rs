//! The rosters and states that a daemon has put aside as `*.corrupt`. The daemon goes on without
//! the peers in them, although often the whole content is there, behind a byte order mark for
//! example.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use myownllm_config_model::{DaemonFile, Document, recover};
use myownllm_durable_fs::{Disk as _, DiskError, LockedDir, publish_new, quote};

use crate::context::Context;
use crate::daemons::CONFIG_LIMIT;
use crate::diagnostic::{Diagnostic, PROGRAM, unless_failed};
use crate::peers::{DAMAGED, SET_ASIDE, kinds, replace, set_aside, states_after_move, sync};

const MAX_NAMED: usize = 3;

/// A roster or a state that a daemon has put aside.
#[derive(Debug)]
pub(crate) struct CorruptState {
    path: PathBuf,
    /// The place in which a daemon reads the file.
    place: PathBuf,
    content: Content,
}

/// The use that a launch has for the content of the file.
#[derive(Debug)]
enum Content {
    /// A daemon can read these bytes, and its place is free, or holds a file without devices: these
    /// bytes.
    GoesBack { part: Vec<u8>, instead_of: Option<Vec<u8>> },
    /// Nothing of the file can be read.
    Unreadable,
    /// The file in its place lacks these devices.
    Lacking(BTreeSet<String>),
}

impl CorruptState {
    /// Returns the file if its content is of use, or unknown. `place` is the path at which the file
    /// in its place can be read now.
    fn of(
        context: &Context<'_>,
        kind: DaemonFile,
        (path, then): (&Path, &Path),
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
        let part = match kind.is_readable(&bytes) {
            true => Some(bytes),
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
        let place = then.with_extension("");
        Some(Self { path: path.to_owned(), place, content })
    }

    /// Reports the file before a launch settles it.
    pub(crate) fn diagnostic(&self) -> Diagnostic {
        let goes_back =
            format!("a launch writes the part that a daemon can read to {}", self.place.display());
        let then = self.consequence(goes_back);
        self.unreadable_warning(DAMAGED, &format!("a launch keeps it; {then}"))
            .hint(format!("{PROGRAM} repair"))
    }

    /// Returns the consequence of what a launch does with the file; `goes_back` if it uses the
    /// content.
    fn consequence(&self, goes_back: String) -> String {
        let devices = match &self.content {
            Content::GoesBack { .. } => return goes_back,
            Content::Unreadable => return "the devices in it have to be approved again".to_owned(),
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

    fn unreadable_warning(&self, code: &str, then: &str) -> Diagnostic {
        let message =
            format!("a daemon could not read {}, and goes on without it; {then}", self.path.display());
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
pub(crate) fn corrupt_states(context: &Context<'_>, moved: &[(PathBuf, PathBuf)]) -> Vec<CorruptState> {
    let files = states_after_move(context, ".json.corrupt", moved);
    let found = files.filter_map(|(kind, (path, then))| {
        let place = then.with_extension("");
        let now = moved.iter().find(|(_, to)| *to == place).map_or(&place, |(from, _)| from);
        CorruptState::of(context, kind, (&path, &then), now)
    });
    found.collect()
}

fn corrupt_config_path(context: &Context<'_>) -> PathBuf {
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
    let keys = ["identity_path", "daemon", "networks"].into_iter();
    let keys: Vec<&str> = keys.filter(differs).collect();
    let what = match (former.is_some(), keys.as_slice()) {
        (false, _) => "nothing in it can be read".to_owned(),
        (true, []) => return None,
        (true, keys) => format!("its settings are not in use ({})", keys.join(", ")),
    };
    let message = format!("a daemon could not read its config, now {}; {what}", file.display());
    let code = if aside.is_some() { SET_ASIDE } else { DAMAGED };
    Some(Diagnostic::warning(code, message).at(file).hint(format!("diff {} {}", quote(file), quote(place))))
}

/// Gives a file that a daemon has put aside a name that no daemon uses, and writes the part that a
/// daemon can read to its place if no device is there.
pub(crate) fn keep_corrupt_file(
    context: &Context<'_>,
    dir: &LockedDir,
    path: &Path,
) -> Result<Option<Diagnostic>, Diagnostic> {
    let kind = kinds(context.layout).into_iter().find(|(_, dir)| path.parent() == Some(dir.as_std_path()));
    let found =
        kind.and_then(|(kind, _)| CorruptState::of(context, kind, (path, path), &path.with_extension("")));
    let failed = |error: DiskError| Diagnostic::from(error).at(path);
    // The content is in its place before the file loses its name: a killed launch is repeated.
    if let Some(CorruptState { place, content: Content::GoesBack { part, instead_of }, .. }) = &found {
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
        let then = found.consequence(goes_back);
        found.unreadable_warning(SET_ASIDE, &format!("it is {} now; {then}", aside.display()))
    }))
}
