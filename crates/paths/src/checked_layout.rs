//! Checks that the homes of a layout are apart.

use std::io::{self, ErrorKind};
use std::ops::Deref;
use std::path::{Component, Path, PathBuf};

use camino::{Utf8Component, Utf8Path, Utf8PathBuf};

use crate::error::{BROKEN_SYMLINK, HomeRelation};
use crate::resolver::{app_homes, invalid_name, is_in_one};
use crate::spelling::{inside, is_same, is_same_or_inside, normalize_lexically};
use crate::{FileInfo, Kind, Layout, LayoutPaths, Lookup, MYOWNLLM, PathsError, Platform, Rule};

/// A [`Layout`] whose homes were looked at and found apart. Only [`CheckedLayout::new`] creates
/// one, and nothing can change it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedLayout(Layout);

impl Deref for CheckedLayout {
    type Target = Layout;

    fn deref(&self) -> &Layout {
        &self.0
    }
}

impl Layout {
    /// Checks the homes as [`CheckedLayout::new`] does. Returns the layout as the check corrected
    /// it: with another shared home if that led into the app's home.
    pub fn into_checked(self, lookup: &dyn Lookup) -> (Self, Result<CheckedLayout, PathsError>) {
        let checked = CheckedLayout::new(self.clone(), lookup);
        (checked.as_ref().map_or(self, |checked| checked.0.clone()), checked)
    }

    /// Returns true if a program that writes a file of its own must not take this path: the path is
    /// one that the layout names, or leads into a directory that it names, where a launch, a move or
    /// a daemon would take the file for one of its own. If the stand-alone daemon lives in the
    /// user's home itself, only the names of that daemon's files count there.
    pub fn reserves(&self, path: impl AsRef<Path>, lookup: &dyn Lookup) -> bool {
        let ignore_case = self.platform.usually_ignores_case();
        let leads_inside =
            |path: &Path, dir: &Utf8Path| leads_inside(path, dir, lookup, ignore_case).unwrap_or(false);
        let is_user_home = |dir: &Utf8Path| leads_inside(self.user_home.as_ref(), dir);
        self.entries()
            .into_iter()
            .any(|entry| leads_inside(path.as_ref(), entry.path) && !is_user_home(entry.path))
    }
}

impl CheckedLayout {
    /// Checks that the daemon home is a directory of its own inside the app's home, and that the
    /// stand-alone daemon does not live in the app's home under another name.
    ///
    /// The daemon's variable may name a shared home that is, by a symlink or another spelling, the
    /// app's home or inside it. The default replaces such a home, as [`Resolver`](crate::Resolver)
    /// does for the plain spelling.
    ///
    /// In the ordinary case this costs one look at the daemon home, one at each directory from the
    /// app's home up to the root, and one at the shared home.
    ///
    /// # Errors
    /// The errors of [`check_overlap`], and [`PathsError::HostApp`] for another app whose home leads to
    /// MyOwnLLM's, and for a shared home inside an app's home.
    pub fn new(mut layout: Layout, lookup: &dyn Lookup) -> Result<Self, PathsError> {
        let ignore_case = layout.platform.usually_ignores_case();
        refuse_home_by_name(&layout, &layout.user_home)?;
        refuse_home_of_myownllm(&layout, lookup)?;
        match check_homes(&layout.app_home, &layout.daemon_home, lookup, ignore_case) {
            Ok(true) => {}
            Ok(false) => refuse_home_by_content(&layout, lookup)?,
            Err(PathsError::Overlap {
                app_home,
                daemon_home,
                relation: HomeRelation::Outside,
                canonical_home: Some(target),
            }) => {
                let relation = relation_outside(&layout, &target, lookup);
                let canonical_home = Some(target);
                return Err(PathsError::Overlap { app_home, daemon_home, relation, canonical_home });
            }
            Err(error) => return Err(error),
        }
        // A shared home that cannot be looked at is no reason to refuse: own mode does not use it,
        // and no program can talk to a daemon there either.
        let homes = app_homes(&layout.app, &layout.user_home);
        if layout.shared_home_rule == Rule::MeshHomeVariable
            && homes
                .iter()
                .any(|home| leads_inside(&layout.shared_home, home, lookup, ignore_case).unwrap_or(false))
        {
            let home = inside(&layout.user_home, &layout.app.shared_dir);
            let LayoutPaths { app, shared_config, shared_socket, shared_home, shared_home_rule, .. } =
                &mut layout.0;
            *shared_config = inside(&home, &app.daemon_files.config);
            *shared_socket = inside(&home, &app.daemon_files.socket);
            *shared_home = home;
            *shared_home_rule = Rule::MeshHomeVariableInsideApp;
        }
        if is_in_one(&layout.shared_home, &homes, ignore_case) {
            let why = "in the home of an app: the stand-alone daemon would rewrite the app's config";
            return Err(invalid_name("shared_dir", layout.shared_home.as_str(), why));
        }
        // If `~/.myownmesh` is a symlink to the app's home (or the reverse), the two daemons share
        // one directory: a move would take the stand-alone daemon's identity file away from it.
        if let Ok(Some(directory)) =
            same_directory(&layout.shared_home, &layout.app_home, lookup, ignore_case)
        {
            return Err(PathsError::Overlap {
                app_home: layout.0.app_home,
                daemon_home: layout.0.shared_home,
                relation: HomeRelation::Same,
                canonical_home: Some(directory),
            });
        }
        Ok(Self(layout))
    }

    /// Returns the address of the daemon of that mode. Reads the daemon's config, and checks that a
    /// named socket is an address and that the final socket fits into the kernel's limit. The
    /// default socket is not checked if the config names another.
    ///
    /// # Errors
    /// [`PathsError::ControlSocket`], [`PathsError::SocketTooLong`]; [`PathsError::Lookup`] if the
    /// config cannot be read.
    #[cfg(feature = "control-socket")]
    pub fn socket(
        &self,
        mode: crate::Mode,
        lookup: &dyn Lookup,
    ) -> Result<(crate::Socket, Rule), PathsError> {
        let config = self.0.config_for_mode(mode);
        let control_socket = self.0.control_socket(mode, lookup)?;
        if let Some(named) = control_socket.named() {
            crate::check_control_socket(named, self.0.platform, config)?;
        }
        let (socket, rule) = self.0.socket_for_mode(mode, &control_socket);
        crate::check_socket(&socket, self.0.platform, config)?;
        Ok((socket, rule))
    }
}

/// Refuses a home of another app that leads to MyOwnLLM's by a symlink: the move would take
/// MyOwnLLM's identity file away.
fn refuse_home_of_myownllm(layout: &Layout, lookup: &dyn Lookup) -> Result<(), PathsError> {
    let (app, home) = (&layout.app, inside(&layout.user_home, &MYOWNLLM.app_dir));
    let ignore_case = layout.platform.usually_ignores_case();
    if app.name == MYOWNLLM.name
        || !leads_inside(&layout.app_home, &home, lookup, ignore_case).unwrap_or(false)
    {
        return Ok(());
    }
    let why = format!("which leads to the home of MyOwnLLM, and the app is {:?}", app.name);
    Err(PathsError::HostApp { field: "app_dir", value: app.app_dir.clone().into_owned(), why })
}

/// Refuses a daemon home that is the app's home, lies above it, or leads out of it, by any spelling
/// or symlink.
///
/// A path that does not exist yet is judged by its existing directory and the names that follow.
///
/// # Errors
/// [`PathsError::Overlap`], [`PathsError::NotADirectory`] (another kind of entry has the name),
/// [`PathsError::Lookup`].
pub fn check_overlap(
    app_home: &Utf8Path,
    daemon_home: &Utf8Path,
    lookup: &dyn Lookup,
) -> Result<(), PathsError> {
    check_homes(app_home, daemon_home, lookup, Platform::current().usually_ignores_case()).map(drop)
}

/// Returns the relation of a daemon home that leads to `directory`, outside of the app's home.
/// `OtherDaemon`: a daemon listens in the directory, or it has the name of another app's daemon
/// home. Its identity file is in use there, and a copy would let two daemons appear as one device.
/// `StandAlone`: it is the home of the stand-alone daemon, in which none listens. If the app has no
/// identity file at the old location, the one there may be the app's; otherwise, or if that home
/// does not exist, the relation is `OtherDaemon`.
fn relation_outside(layout: &Layout, directory: &Path, lookup: &dyn Lookup) -> HomeRelation {
    let ignore_case = layout.platform.usually_ignores_case();
    let app = &layout.app;
    let shared = [layout.shared_home.clone(), inside(&layout.user_home, &app.shared_dir)];
    let is_shared = |home: &Utf8PathBuf| {
        canonicalize_allow_missing(home, lookup)
            .is_ok_and(|home| is_same_or_inside(directory, &home, ignore_case))
    };
    let above = directory.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
    let is_other_app = directory.file_name().is_some_and(|name| *name == *app.daemon_dir)
        && above.starts_with('.')
        && *above != *app.app_dir;
    #[cfg(unix)]
    let listens = std::os::unix::net::UnixStream::connect(directory.join(&*app.daemon_files.socket)).is_ok();
    #[cfg(not(unix))]
    let listens = false;
    let has_own_key = || lookup.stat(layout.legacy_identity.as_ref()).is_ok();
    let is_missing =
        |home: &Utf8PathBuf| lookup.stat(home.as_ref()).is_err_and(|e| e.kind() == ErrorKind::NotFound);
    match (is_other_app || listens, shared.iter().any(is_shared)) {
        (true, _) => HomeRelation::OtherDaemon,
        (false, true) if has_own_key() || shared.iter().all(is_missing) => HomeRelation::OtherDaemon,
        (false, true) => HomeRelation::StandAlone,
        (false, false) => HomeRelation::Outside,
    }
}

/// Refuses a user's home whose name is that of an app's home or of a daemon's.
fn refuse_home_by_name(layout: &Layout, home: impl AsRef<Path>) -> Result<(), PathsError> {
    match named_home(layout, home.as_ref()) {
        None => Ok(()),
        Some((user_home, what)) => Err(app_home_error(layout, what, Some(user_home))),
    }
}

/// Refuses a user's home inside an app's home or a daemon's, by the names of its ancestors.
fn refuse_home_inside(layout: &Layout, home: &Path) -> Result<(), PathsError> {
    let mut above = home.ancestors().skip(1);
    match above.find_map(|above| named_home(layout, above)) {
        None => Ok(()),
        Some((user_home, _)) => {
            let what = "is inside the home of the app, or of its daemon";
            Err(app_home_error(layout, what, Some(user_home)))
        }
    }
}

/// Returns the user's home to which a directory with the name of an app's or a daemon's home
/// belongs, and what that directory is.
fn named_home(layout: &Layout, home: &Path) -> Option<(PathBuf, &'static str)> {
    let app = &layout.app;
    let daemon = Path::new(app.app_dir.as_ref()).join(app.daemon_dir.as_ref());
    let homes = [
        (daemon.as_path(), "is the daemon home"),
        (Path::new(app.app_dir.as_ref()), "is the app's home"),
        (Path::new(app.shared_dir.as_ref()), "is the stand-alone daemon's home"),
    ];
    let ignore_case = layout.platform.usually_ignores_case();
    let user_home_of = |names: &Path| {
        let above = home.ancestors().nth(names.components().count())?;
        is_same(above.join(names), home, ignore_case).then(|| above.to_path_buf())
    };
    homes.into_iter().find_map(|(names, what)| Some((user_home_of(names)?, what)))
}

fn app_home_error(layout: &Layout, what: &'static str, user_home: Option<PathBuf>) -> PathsError {
    // A path that is not UTF-8 is no home.
    let user_home = user_home.and_then(|home| Utf8PathBuf::from_path_buf(home).ok());
    let (home, app) = (layout.user_home.clone(), Box::new(layout.app.clone()));
    PathsError::AppHome { home, what, user_home, app }
}

/// Refuses a user's home that, once symlinks are resolved, is an app's or a daemon's home or inside
/// one, or that has the content of an app's home: a copy of an app's home may have any name.
/// Refuses a broken symlink in the place of the app's home, or on the way to it from the user's;
/// checks nothing more if that home exists.
fn refuse_home_by_content(layout: &Layout, lookup: &dyn Lookup) -> Result<(), PathsError> {
    let is_there = |name: &str| lookup.stat(layout.user_home.join(name).as_ref()).is_ok();
    let app = &layout.app;
    // No directory can be created through a broken symlink.
    let is_symlink =
        |dir: &&Utf8Path| lookup.stat(dir.as_ref()).is_ok_and(|file_info| file_info.kind == Kind::Symlink);
    let mut dirs = layout.app_home.ancestors().take_while(|dir| *dir != layout.user_home);
    if let Some(symlink) = dirs.find(is_symlink)
        && lookup.stat_follow(symlink.as_ref()).is_err_and(|error| error.kind() == ErrorKind::NotFound)
    {
        return Err(not_a_directory(&layout.daemon_home, symlink, BROKEN_SYMLINK));
    }
    if lookup.stat(layout.app_home.as_ref()).is_ok() {
        return Ok(());
    }
    if let Ok(real) = lookup.canonicalize(layout.user_home.as_ref()) {
        refuse_home_by_name(layout, &real)?;
        refuse_home_inside(layout, &real)?;
    }
    let files = &app.daemon_files;
    let marks = [&files.identity, &files.rosters, &files.states, &app.backups_dir];
    // A stand-alone daemon may have the user's home as its own.
    let is_shared = layout.shared_home == layout.user_home;
    let holds_key = is_there(&files.identity);
    let holds_config = is_there(&app.config_file) && marks.into_iter().any(|name| is_there(name));
    let holds_peers = is_there(&files.rosters) && is_there(&files.states);
    if is_shared || !(holds_key || holds_config || holds_peers) {
        return Ok(());
    }
    Err(app_home_error(layout, "has the files of an app's home, but contains no app's home", None))
}

/// Refuses the relations of [`check_overlap`]. Returns true if the daemon home exists.
fn check_homes(
    app: &Utf8Path,
    daemon: &Utf8Path,
    lookup: &dyn Lookup,
    ignore_case: bool,
) -> Result<bool, PathsError> {
    let refuse = |relation, canonical_home| {
        let (app_home, daemon_home) = (app.into(), daemon.into());
        Err(PathsError::Overlap { app_home, daemon_home, relation, canonical_home })
    };
    // Looks at each name from the app's home down to the daemon's, if the spelling is plain. Only a
    // symlink, or another spelling, makes the real paths necessary.
    let names = daemon.strip_prefix(app).ok().map(|rest| rest.components().collect::<Vec<_>>());
    let plain_names =
        names.filter(|n| !n.is_empty() && n.iter().all(|part| matches!(part, Utf8Component::Normal(_))));
    // Windows reports a path below a file as a path that does not exist.
    let is_below_a_file = |path: &Utf8Path| {
        let above = || path.ancestors().skip(1).find_map(|above| lookup.stat_follow(above.as_ref()).ok());
        cfg!(windows) && above().is_some_and(|file_info| file_info.kind != Kind::Dir)
    };
    let mut names_suffice = plain_names.is_some();
    let mut exists = true;
    let mut id = None;
    let mut at = app.to_path_buf();
    for name in plain_names.into_iter().flatten() {
        at.push(name);
        match lookup.stat(at.as_ref()) {
            Ok(FileInfo { kind: Kind::Dir, id: seen }) => id = seen,
            Ok(FileInfo { kind: Kind::Symlink, .. }) => names_suffice = false,
            Ok(_) => return Err(not_a_directory(daemon, &at, "not a directory")),
            Err(error) if error.kind() == ErrorKind::NotFound && !is_below_a_file(&at) => exists = false,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                let mut above = at.ancestors().skip(1);
                let file = above.find(|above| lookup.stat_follow(above.as_ref()).is_ok()).unwrap_or(&at);
                return Err(not_a_directory(daemon, file, "not a directory"));
            }
            Err(source) => return Err(PathsError::Lookup { path: at.into(), source }),
        }
        if !exists || !names_suffice {
            break;
        }
    }
    if !names_suffice {
        let real_app = canonicalize_allow_missing(app, lookup)?;
        let real_daemon = canonicalize_allow_missing(daemon, lookup)?;
        let target = (real_daemon != normalize_lexically(daemon.as_std_path())).then(|| real_daemon.clone());
        if is_same(&real_daemon, &real_app, ignore_case) {
            return refuse(HomeRelation::Same, target);
        }
        if is_same_or_inside(&real_app, &real_daemon, ignore_case) {
            return refuse(HomeRelation::Above, target);
        }
        if !is_same_or_inside(&real_daemon, &real_app, ignore_case) {
            return refuse(HomeRelation::Outside, target);
        }
        match lookup.stat_follow(daemon.as_ref()) {
            Ok(FileInfo { kind: Kind::Dir, id: seen }) => {
                exists = true;
                id = seen;
            }
            Ok(_) => return Err(not_a_directory(daemon, daemon, "not a directory")),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                exists = false;
                // No directory can be created through a broken symlink.
                if matches!(lookup.stat(daemon.as_ref()), Ok(FileInfo { kind: Kind::Symlink, .. })) {
                    return Err(not_a_directory(daemon, daemon, BROKEN_SYMLINK));
                }
            }
            Err(source) => return Err(PathsError::Lookup { path: daemon.into(), source }),
        }
    }
    if !exists {
        return Ok(false);
    }
    // Detects one directory under two plain names: a mount, or letters that differ in case alone.
    let Some(id) = id else { return Ok(true) };
    for above in app.ancestors() {
        if id_of(above, lookup)? == Some(id) {
            let relation = if above == app { HomeRelation::Same } else { HomeRelation::Above };
            return refuse(relation, (above != app).then(|| above.into()));
        }
    }
    Ok(true)
}

fn not_a_directory(daemon: &Utf8Path, at: &Utf8Path, what: &'static str) -> PathsError {
    PathsError::NotADirectory { daemon_home: daemon.into(), at: at.into(), what }
}

/// Returns device and inode of the target of a name; `None` if it does not exist, or if the
/// platform has neither.
fn id_of(path: impl AsRef<Path>, lookup: &dyn Lookup) -> Result<Option<(u64, u64)>, PathsError> {
    let path = path.as_ref();
    match lookup.stat_follow(path) {
        Ok(file_info) => Ok(file_info.id),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(PathsError::Lookup { path: path.into(), source }),
    }
}

/// Returns true if `path` is `dir` or inside it, with symlinks followed.
fn leads_inside(
    path: impl AsRef<Path>,
    dir: &Utf8Path,
    lookup: &dyn Lookup,
    ignore_case: bool,
) -> Result<bool, PathsError> {
    let real = canonicalize_allow_missing(path, lookup)?;
    if is_same_or_inside(&real, &canonicalize_allow_missing(dir, lookup)?, ignore_case) {
        return Ok(true);
    }
    let Some(id) = id_of(dir, lookup)? else { return Ok(false) };
    for above in real.ancestors() {
        if id_of(above, lookup)? == Some(id) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Returns the real path of the directory that both names have; `None` for two different
/// directories.
fn same_directory(
    a: &Utf8Path,
    b: &Utf8Path,
    lookup: &dyn Lookup,
    ignore_case: bool,
) -> Result<Option<PathBuf>, PathsError> {
    let file_info = match lookup.stat(a.as_ref()) {
        Ok(file_info) => file_info,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(source) => return Err(PathsError::Lookup { path: a.into(), source }),
    };
    let same = match (file_info.kind, file_info.id) {
        (Kind::Dir, Some(id)) => id_of(b, lookup)? == Some(id),
        (Kind::Dir, None) | (Kind::Symlink, _) => is_same(
            &canonicalize_allow_missing(a, lookup)?,
            &canonicalize_allow_missing(b, lookup)?,
            ignore_case,
        ),
        _ => false,
    };
    if same { canonicalize_allow_missing(b, lookup).map(Some) } else { Ok(None) }
}

/// Returns the path without symlinks and `..`, also if its end does not exist yet: the system
/// resolves the existing directory, the names that follow are taken as they are, and a broken
/// symlink is replaced by its target.
fn canonicalize_allow_missing(path: impl AsRef<Path>, lookup: &dyn Lookup) -> Result<PathBuf, PathsError> {
    let path = path.as_ref();
    let failed = |at: &Path, source| PathsError::Lookup { path: at.into(), source };
    match lookup.canonicalize(path) {
        Ok(real) => return Ok(real),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
        Err(source) => return Err(failed(path, source)),
    }
    let parts = |p: &Path| p.components().rev().map(|c| c.as_os_str().to_owned()).collect::<Vec<_>>();
    let mut done = PathBuf::new();
    let mut rest = parts(path);
    let mut symlinks = 0;
    while let Some(part) = rest.pop() {
        match Path::new(&part).components().next() {
            None | Some(Component::CurDir) => continue,
            Some(Component::ParentDir) => {
                done.pop();
                continue;
            }
            Some(Component::Prefix(_) | Component::RootDir) => {
                done.push(&part);
                continue;
            }
            Some(Component::Normal(_)) => {}
        }
        let next = done.join(&part);
        match lookup.stat(&next) {
            Ok(FileInfo { kind: Kind::Symlink, .. }) => {
                symlinks += 1;
                // Linux follows the same number of symlinks.
                if symlinks > 40 {
                    return Err(failed(path, io::Error::other("too many symlinks, or a symlink loop")));
                }
                let target = lookup.read_link(&next).map_err(|e| failed(&next, e))?;
                if target.has_root() {
                    done = PathBuf::new();
                }
                rest.extend(parts(&target));
            }
            Ok(_) => done = next,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                done = next;
            }
            Err(source) => return Err(failed(&next, source)),
        }
    }
    Ok(done)
}
