//! Directories and files of the homes that the runner may not use: one cause for all failures in
//! them.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use myownllm_durable_fs::{Disk, FileKind, quote};
use myownllm_paths::Layout;

use crate::diagnostic::Diagnostic;

/// The directories and files that the runner may not use, and the one command that gives access
/// back.
#[derive(Clone, Debug)]
pub struct Closed {
    /// The topmost directories and files that may not be used.
    paths: Vec<PathBuf>,
    /// The one problem that stands for all errors.
    pub diagnostic: Diagnostic,
}

impl Closed {
    /// Looks for directories and files of the homes that may not be used, from the top.
    fn look(disk: &dyn Disk, layout: &Layout) -> Option<Self> {
        let mut paths: Vec<PathBuf> = Vec::new();
        for path in places(layout) {
            if !paths.iter().any(|closed| path.starts_with(closed)) && is_closed(disk, path) {
                paths.push(path.to_owned());
            }
        }
        let causes = causes(disk, layout, &paths);
        let diagnostic = diagnostic(disk, layout, &causes)?;
        Some(Self { paths, diagnostic })
    }

    /// Looks for one cause of several errors. Returns `None` unless the cause covers at least two
    /// errors.
    pub fn of_errors<'n>(
        disk: &dyn Disk,
        layout: &Layout,
        errors: impl Iterator<Item = &'n Diagnostic> + Clone,
    ) -> Option<Self> {
        // A single error needs no common cause.
        errors.clone().nth(1)?;
        let mut closed = Self::look(disk, layout)?;
        let covered: Vec<_> = errors.filter(|error| closed.covers(error)).collect();
        // The one problem is as grave as the gravest of the errors that it stands for.
        closed.diagnostic.class = covered.iter().map(|error| error.class).max()?;
        if !covered.iter().any(|error| error.is_error()) {
            closed.diagnostic = closed.diagnostic.as_warning();
        }
        (covered.len() > 1).then_some(closed)
    }

    /// True if the path of a diagnostic may not be used.
    #[must_use]
    pub fn covers(&self, diagnostic: &Diagnostic) -> bool {
        let path = diagnostic.path.as_deref().map(Path::new);
        path.is_some_and(|path| self.paths.iter().any(|closed| path.starts_with(closed)))
    }
}

/// Returns the paths of the homes. Each directory comes before its entries.
fn places(layout: &Layout) -> Vec<&Path> {
    let files = [&layout.app_config, &layout.backups, &layout.legacy_socket]
        .into_iter()
        .chain([&layout.legacy_identity, &layout.legacy_custody, &layout.legacy_rosters])
        .chain([&layout.legacy_states, &layout.legacy_roster, &layout.daemon_config])
        .chain([&layout.daemon_identity, &layout.daemon_custody, &layout.daemon_rosters])
        .chain([&layout.daemon_states, &layout.daemon_socket]);
    let mut places: Vec<&Path> =
        files.flat_map(|file| file.ancestors()).filter(|path| path.starts_with(&layout.app_home)).collect();
    places.sort_by_key(|path| (path.components().count(), path.to_path_buf()));
    places.dedup();
    places
}

fn is_closed(disk: &dyn Disk, path: &Path) -> bool {
    let denied = |kind| kind == ErrorKind::PermissionDenied;
    match disk.stat_follow(path).map(|meta| meta.kind) {
        Ok(FileKind::Dir) => {
            let search = disk.stat(&path.join("config.json"));
            disk.list(path).is_err_and(|error| denied(error.kind()))
                || search.is_err_and(|error| denied(error.kind()))
        }
        Ok(FileKind::File) => disk.read(path, 0).is_err_and(|error| denied(error.kind())),
        _ => false,
    }
}

/// Returns the topmost directories of another owner above the closed paths, or, if there are none,
/// the closest common ancestor of the closed paths.
fn causes(disk: &dyn Disk, layout: &Layout, closed: &[PathBuf]) -> Vec<PathBuf> {
    let ours = disk.runner().map(|runner| runner.uid);
    let is_foreign = |path: &&Path| {
        let owner = disk.stat_follow(path).ok().and_then(|meta| meta.owner);
        owner.is_some_and(|owner| Some(owner.uid) != ours)
    };
    let is_inside = |path: &&Path| path.starts_with(&layout.app_home);
    let topmost =
        closed.iter().filter_map(|path| path.ancestors().filter(is_inside).filter(is_foreign).last());
    let mut foreign: Vec<PathBuf> = topmost.map(Path::to_owned).collect();
    foreign.sort();
    foreign.dedup();
    if !foreign.is_empty() {
        return foreign;
    }
    let holds_all = |above: &&Path| closed.iter().all(|path| path.starts_with(above));
    closed
        .first()
        .and_then(|first| first.ancestors().find(holds_all))
        .map(Path::to_owned)
        .into_iter()
        .collect()
}

fn diagnostic(disk: &dyn Disk, layout: &Layout, causes: &[PathBuf]) -> Option<Diagnostic> {
    let first = causes.first()?;
    let meta = disk.stat_follow(first).ok();
    let owner = meta.as_ref().and_then(|meta| meta.owner);
    let shown = causes.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" and ");
    let quoted = causes.iter().map(|path| quote(path)).collect::<Vec<_>>().join(" ");
    let (message, hint) = match (owner, disk.runner()) {
        (Some(owner), Some(runner)) if owner.uid != runner.uid => (
            format!("cannot use {shown}: the owner is user {}, and not user {}", owner.uid, runner.uid),
            format!("sudo chown -R {}{} {quoted}", runner.uid, group(disk, layout, runner.uid)),
        ),
        _ => {
            let mode = meta.map_or(0, |meta| meta.mode & 0o7777);
            let message =
                format!("cannot use {shown}, or what is in it: its owner may not (mode {mode:04o})");
            (message, format!("chmod -R u+rwX {quoted}"))
        }
    };
    Some(Diagnostic::error("homes.no-access", message).at(first).hint(hint))
}

/// Returns `:` and the group of the user's home, if the runner owns that home.
fn group(disk: &dyn Disk, layout: &Layout, runner: u32) -> String {
    let owner = disk.stat_follow(&layout.user_home).ok().and_then(|meta| meta.owner);
    owner.filter(|owner| owner.uid == runner).map_or_else(String::new, |owner| format!(":{}", owner.gid))
}
