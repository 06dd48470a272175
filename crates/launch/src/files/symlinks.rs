//! The symlinks at which a daemon finds no roster and no state: those that a move leaves behind, and
//! those whose disk may be missing.

use std::path::PathBuf;

use myownllm_config_model::{Document, networks};
use myownllm_durable_fs::{quote, replace_symlink};
use myownllm_identity::{IdentityPaths, empty_targets, ensure_reachable_peers};
use myownllm_migration::Plan as MovePlan;
use myownllm_paths::camino::{Utf8Path, Utf8PathBuf};

use crate::context::Context;
use crate::daemons::CONFIG_LIMIT;
use crate::files::peers::{names, network_id_in};
use crate::words::diagnostic::{Class, Diagnostic, unless_failed};

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
    let peers = listed
        .chain([layout.legacy_roster.clone().into()])
        .filter(|file| disk.read(file, CONFIG_LIMIT).is_ok_and(|bytes| network_id_in(&bytes).is_some()));
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
