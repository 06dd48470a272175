//! Checks who else can change the homes, before anything is made in them.

use std::path::{Path, PathBuf};

use myownllm_config_model::masking::secrets_in;
use myownllm_config_model::{Document, is_key_or_custody};
use myownllm_durable_fs::trust::{
    HomeTrust, OwnershipProblem, OwnershipProblemKind, check_below_home, foreign_part,
};
use myownllm_durable_fs::{Disk, LockedDir, Owner, quote};
use myownllm_migration::Homes;
use myownllm_paths::camino::{Utf8Path, Utf8PathBuf};

use crate::context::{Context, Options};
use crate::daemons::CONFIG_LIMIT;
use crate::homes::checked_layout;
use crate::words::diagnostic::{Class, Diagnostic};

/// Checks that a change reaches the app's home and no other place, and that its owner can use it.
/// Fails if another user decides where the app's home is, or if the owner of the home could not use
/// what this process makes there.
/// Returns what it saw: a daemon is refused some homes that may be changed.
pub(crate) fn ensure_changeable(context: &Context<'_>) -> Result<HomeTrust, Diagnostic> {
    let trust = inspect_trust(context)?;
    match trust.forbids_change() {
        Some(problem) => Err(refusal(context, problem)),
        None => Ok(trust),
    }
}

/// Checks that the home may be changed at all.
/// Fails if the caller refuses, if another user controls the home, if the two homes are not apart,
/// or were not checked, or if the daemons of other homes are looked for.
pub(crate) fn ensure_permitted(
    context: &Context<'_>,
    options: &Options<'_>,
) -> Result<HomeTrust, Diagnostic> {
    if let Some(refusal) = options.refusal {
        return Err(refusal.clone());
    }
    let trust = ensure_changeable(context)?;
    let checked = checked_layout(context)?;
    let layout = context.layout;
    let other = if (&checked.app_home, &checked.daemon_home) != (&layout.app_home, &layout.daemon_home) {
        format!("the checked layout has the homes {} and {}", checked.app_home, checked.daemon_home)
    } else if !context.daemons.are_of(&Homes::of(layout)) {
        "the daemons are those of other homes".to_owned()
    } else {
        return Ok(trust);
    };
    let message = format!("cannot use the homes {} and {}: {other}", layout.app_home, layout.daemon_home);
    Err(Diagnostic::error("launch.other-home", message).at(&layout.app_home))
}

/// Checks that only the owner and root can replace the files and directories that a daemon is to
/// work with. `moved` are the files that a move brings there first.
/// Fails with the topmost directory or symlink that another user can replace. `closes_backups` is
/// true if the launch makes a backup first: that closes the directory of the backups to others.
pub(crate) fn trusted_home(
    context: &Context<'_>,
    closes_backups: bool,
    moved: &[(PathBuf, PathBuf)],
) -> Result<(), Diagnostic> {
    let trust = inspect_trust(context)?;
    if let Some(problem) = trust.forbids_change().or(trust.problems.first()) {
        return Err(refusal(context, problem));
    }
    let layout = context.layout;
    let directories = [Some(&*layout.daemon_home), layout.daemon_identity.parent()];
    directories.into_iter().flatten().try_for_each(|directory| trusted_way(context, directory))?;
    trusted_target(context, layout.daemon_identity.as_ref())?;
    trusted_peers_and_configs(context, closes_backups, moved)
}

/// Checks the peers and the configs: who can write there approves a device, or leads the daemon to
/// another network. A path that cannot be looked at has diagnostics of its own.
fn trusted_peers_and_configs(
    context: &Context<'_>,
    closes_backups: bool,
    moved: &[(PathBuf, PathBuf)],
) -> Result<(), Diagnostic> {
    let (disk, layout) = (context.disk, context.layout);
    let home = layout.app_home.as_std_path();
    let (Some(runner), Ok(meta)) = (disk.runner(), disk.stat_follow(home)) else { return Ok(()) };
    let Some(owner) = meta.owner else { return Ok(()) };
    // To this user, the owner of the home is the one problem.
    if !runner.is_root() && runner.uid != owner.uid {
        return Ok(());
    }
    let inspect_path = |path: &Path| match check_below_home(disk, home, path) {
        Ok(Some(problem)) => Err(refusal(context, &problem)),
        _ => Ok(()),
    };
    let backups = Some(&layout.backups).filter(|_| !closes_backups);
    let directories = [&layout.daemon_rosters, &layout.daemon_states].into_iter().chain(backups);
    // The config store judges the symlink of a config.
    let is_file = |path: &&Utf8PathBuf| disk.stat(path.as_ref()).is_ok_and(|meta| meta.is_file());
    let configs = [&layout.daemon_config, &layout.app_config].into_iter().filter(is_file);
    directories.chain(configs).try_for_each(|path| inspect_path(path.as_ref()))?;
    let peers = [&layout.daemon_rosters, &layout.daemon_states];
    let is_foreign = |(from, to): &&(PathBuf, PathBuf)| {
        peers.iter().any(|dir| to.parent() == Some(dir.as_std_path()))
            && disk.stat(from).is_ok_and(|meta| foreign_part(from, &meta, owner).is_some())
    };
    moved.iter().filter(is_foreign).try_for_each(|(from, _)| inspect_path(from))?;
    // Nobody else reaches a file in a directory that is closed to others.
    let is_open = |path: &Utf8Path| disk.stat_follow(path.as_ref()).is_ok_and(|meta| meta.mode & 0o001 != 0);
    for directory in peers {
        let is_reached = directory.ancestors().take_while(|path| *path != layout.app_home).all(is_open);
        for entry in disk.list(directory.as_ref()).unwrap_or_default() {
            let path = directory.as_std_path().join(entry.name);
            let is_doubtful = disk.stat(&path).is_ok_and(|meta| {
                let is_open = is_reached && meta.mode & 0o002 != 0;
                meta.is_symlink() || is_open || foreign_part(&path, &meta, owner).is_some()
            });
            // Few files need the look at the whole way.
            if is_doubtful {
                inspect_path(&path)?;
            }
        }
    }
    Ok(())
}

/// A file with a secret, or a directory of such files, that other users may read or write.
#[derive(Debug)]
pub(crate) struct OpenSecret {
    path: PathBuf,
    mode: u32,
    /// The mode with which the owner alone may do so.
    private: u32,
}

impl OpenSecret {
    /// Reports the file before a launch makes it private.
    pub(crate) fn diagnostic(&self) -> Diagnostic {
        let Self { path, mode, private } = self;
        let message = format!("other users can read {} (mode {mode:04o})", path.display());
        Diagnostic::warning(OPEN_SECRET, message).at(path).hint(format!("chmod {private:o} {}", quote(path)))
    }
}

const OPEN_SECRET: &str = "homes.open-secret";

/// Returns the key and the custody file in the daemon home, or the files behind such symlinks, and
/// the backups of the configs, if other users may read or write them. The mount decides about its
/// modes.
pub(crate) fn open_secrets(context: &Context<'_>) -> Vec<OpenSecret> {
    let layout = context.layout;
    let secrets = [&layout.daemon_identity, &layout.daemon_custody, &layout.backups];
    let open = |path: &Utf8PathBuf| {
        let (mut path, mut meta) = (path.as_std_path().to_owned(), context.disk.stat(path.as_ref()).ok()?);
        if meta.is_symlink() {
            // The target may be anything. The mode of what holds no secret is not the home's affair.
            path = context.disk.canonicalize(&path).ok().filter(|path| is_reached(context.disk, path))?;
            meta = context.disk.stat(&path).ok().filter(|meta| meta.is_file())?;
            context.disk.read(&path, CONFIG_LIMIT).ok().filter(|bytes| is_key_or_custody(bytes))?;
        }
        let is_open = meta.owner.is_some() && meta.mode & 0o077 != 0;
        let private = if meta.is_dir() { 0o700 } else { 0o600 };
        let open = OpenSecret { path, mode: meta.mode & 0o7777, private };
        (is_open && !context.disk.has_modes_of_mount(&open.path)).then_some(open)
    };
    secrets.into_iter().filter_map(open).collect()
}

/// Returns the app's config if other users can read a secret of the user's in it. The app leaves
/// the mode of its config as it is, and so does a launch.
pub(crate) fn open_config(context: &Context<'_>, document: &Document) -> Option<OpenSecret> {
    let (disk, path) = (context.disk, context.layout.app_config.as_std_path());
    let meta = disk.stat(path).ok().filter(|meta| meta.is_file() && meta.owner.is_some())?;
    let is_open = meta.mode & 0o044 != 0 && !disk.has_modes_of_mount(path);
    disk.canonicalize(path).ok().filter(|real| is_open && is_reached(disk, real))?;
    let members = document.root().to_value();
    let secrets = members.as_object().map(secrets_in).unwrap_or_default();
    (!secrets.is_empty()).then(|| OpenSecret {
        path: path.to_owned(),
        mode: meta.mode & 0o7777,
        private: 0o600,
    })
}

/// Returns true if other users can enter every directory on the way to a path.
fn is_reached(disk: &dyn Disk, path: &Path) -> bool {
    let is_open = |dir: &Path| disk.stat(dir).is_ok_and(|meta| meta.mode & 0o011 != 0);
    path.ancestors().skip(1).all(is_open)
}

/// Makes the secrets private before a daemon uses them. Warns of those whose mode cannot be
/// changed, as outside of the app's home.
pub(crate) fn close_secrets(context: &Context<'_>, dir: &LockedDir) -> Vec<Diagnostic> {
    let close = |secret: &OpenSecret| match dir.set_mode(&secret.path, secret.private) {
        Ok(()) => tracing::info!(path = %secret.path.display(), "made a secret private"),
        Err(error) => tracing::debug!(%error, "cannot make a secret private"),
    };
    open_secrets(context).iter().for_each(close);
    open_secrets(context).iter().map(OpenSecret::diagnostic).collect()
}

fn trusted_way(context: &Context<'_>, path: impl AsRef<Path>) -> Result<(), Diagnostic> {
    let found = check_below_home(context.disk, context.layout.app_home.as_ref(), path.as_ref())?;
    found.map_or(Ok(()), |problem| Err(refusal(context, &problem)))
}

/// Checks the way to the target of a symlink: whoever can replace the target replaces the file.
fn trusted_target(context: &Context<'_>, file: &Path) -> Result<(), Diagnostic> {
    match context.disk.stat(file) {
        Ok(meta) if meta.is_symlink() && context.disk.stat_follow(file).is_ok() => trusted_way(context, file),
        _ => Ok(()),
    }
}

/// Returns the error of `trusted_home` as a warning, for a run that wrote there: other users may
/// read what the run wrote, or replace it.
pub(crate) fn wrote_where_others_can(context: &Context<'_>) -> Option<Diagnostic> {
    let config = || trusted_target(context, context.layout.app_config.as_ref());
    trusted_home(context, false, &[]).and_then(|()| config()).err().map(Diagnostic::as_warning)
}

/// Checks that a daemon of this process would run as the home's owner: the owner cannot read what
/// root's daemon writes.
///
/// `run_as` is the user that the process becomes before it starts a daemon.
pub(crate) fn ensure_own_daemon(context: &Context<'_>, run_as: Option<Owner>) -> Result<(), Diagnostic> {
    let trust = inspect_trust(context)?;
    let (Some(owner), Some(runner)) = (trust.owner, context.disk.runner()) else { return Ok(()) };
    if run_as.is_some() || !runner.is_root() || owner.uid == runner.uid || Some(owner.uid) == runner.unmapped
    {
        return Ok(());
    }
    let home = &context.layout.app_home;
    let message = format!("{home} belongs to user {}, and no daemon of root's is started there", owner.uid);
    Err(Diagnostic::error("paths.foreign-home", message)
        .at(home)
        .hint(as_user(context, owner.uid, "launch --no-daemon"))
        .class(Class::Refused))
}

fn inspect_trust(context: &Context<'_>) -> Result<HomeTrust, Diagnostic> {
    HomeTrust::inspect(context.disk, context.layout.app_home.as_ref()).map_err(|error| {
        match context.checked {
            // The check of the layout failed on the same path, and its error names what it looked
            // for.
            Err(error) => Diagnostic::from(error),
            Ok(_) => Diagnostic::from(error),
        }
    })
}

fn refusal(context: &Context<'_>, problem: &OwnershipProblem) -> Diagnostic {
    let hint = match &problem.kind {
        OwnershipProblemKind::NotTheRunners { owner, .. } => {
            as_user(context, owner.uid, "launch --no-daemon")
        }
        _ => problem.command(),
    };
    let message = format!("{} {}", problem.path.display(), problem.reason());
    Diagnostic::error("homes.unsafe-permissions", message).at(&problem.path).hint(hint).class(Class::Refused)
}

/// Returns the command that runs this program as another user, on this home.
fn as_user(context: &Context<'_>, uid: u32, command: &str) -> String {
    let layout = context.layout;
    format!("sudo -u '#{uid}' {} --home {} {command}", layout.app.program, quote(&layout.user_home))
}
