//! Finds renamed, copied and trashed homes, and the identity files in them.

use std::path::{Path, PathBuf};

use myownllm_durable_fs::{Disk, DiskError};
use myownllm_paths::{
    TRASH,
    camino::{Utf8Path, Utf8PathBuf},
};

use super::{
    findings::{KnownBy, RenamedHome},
    names::{IDENTITY, is_archived_copy, is_name_of_copy, name_of, stem_of},
    search::{MAX_NAMES, Search},
};
use crate::paths::IdentityPaths;

impl Search<'_> {
    /// Returns the renamed and copied homes, each with the files in it that may be identity files.
    /// Searches beside the app's home and in the trash for homes of the app. If the daemon home has
    /// no identity file (`has_file`), also searches for homes of the daemon: in the same
    /// directories, if a daemon has run (`has_run`) or a config saves networks, and in the app's
    /// home, if the daemon home is gone. The trash may hold the secrets directory or the identity
    /// file alone. With an identity file, checks only the usual places of a copy; without one, also
    /// records a directory that cannot be read.
    pub(super) fn find_renamed_homes(
        &mut self,
        has_run: bool,
        has_file: bool,
    ) -> Vec<(RenamedHome, Vec<PathBuf>)> {
        let [app, daemon] = [self.places.app.path.clone(), self.places.daemon.path.clone()];
        let mut dirs = self.dirs_of_copies();
        let mut found = self.find_copies_of(&app, &dirs, has_file);
        if has_file {
            return found;
        }
        let trash: Vec<_> = dirs.iter().filter(|dir| !app.starts_with(dir)).cloned().collect();
        let is_used = has_run || self.saves_networks || self.used_config.is_some() || self.has_peers();
        // A fresh home has no daemon home either, and a copy beside it is of another daemon.
        if !is_used {
            dirs.clear();
        }
        dirs.extend(self.disk.stat(daemon.as_std_path()).is_err().then_some(app));
        found.extend(self.find_copies_of(&daemon, &dirs, false));
        for thrown_away in [self.places.daemon.secrets(), &self.places.daemon.identity] {
            let in_trash = self.find_copies_of(thrown_away, &trash, false);
            // Beside a fresh home a sound key alone tells that the file was not another program's.
            found.extend(
                in_trash
                    .into_iter()
                    .filter(|(_, files)| is_used || files.iter().any(|file| self.is_sound(file))),
            );
        }
        found
    }

    /// Returns true if a home has a roster or a state at its place.
    fn has_peers(&self) -> bool {
        let dirs = self.places.homes().into_iter().flat_map(|home| [&home.rosters, &home.states]);
        dirs.into_iter().any(|dir| !self.list(dir.as_std_path(), 1).0.is_empty())
    }

    fn find_copies_of(
        &mut self,
        original: &Utf8Path,
        dirs: &[Utf8PathBuf],
        has_file: bool,
    ) -> Vec<(RenamedHome, Vec<PathBuf>)> {
        let is_gone = self.disk.stat(original.as_std_path()).is_err()
            && original.parent().is_some_and(|above| self.disk.stat(above.as_std_path()).is_ok());
        let mut found = Vec::new();
        for path in self.named_after(original, dirs) {
            if !(is_name_of_copy(&path, original) || self.is_copy_by_key(&path, original)) {
                continue;
            }
            let mut inside = Search::new(self.disk, self.places);
            if !has_file {
                self.record_closed(&path);
                // A source tree may have such a name too, and is not searched below the level of the
                // daemon home.
                inside.collect_by_name(&path, self.daemon_levels(), &mut { MAX_NAMES });
            }
            let usual = self.usual_places(&path, original).chain([path.clone()]);
            inside.files.extend(usual.filter(|file| self.leads_to_file(file)));
            inside.files.sort();
            inside.files.dedup();
            let mut known_by = KnownBy::default();
            let dirs = std::mem::take(&mut inside.peer_dirs);
            inside.count_strays(dirs, &mut Vec::new(), &mut known_by);
            self.unreadable.extend(inside.unreadable);
            let renamed = RenamedHome { path, original: original.to_owned(), is_gone, known_by };
            found.push((renamed, inside.files));
        }
        found
    }

    /// Records a renamed home in which nothing can be looked at: it may hold the identity file.
    fn record_closed(&mut self, home: &Path) {
        match self.disk.stat_follow(home) {
            Ok(meta) if meta.is_dir() => {
                let inside = self.disk.stat(&home.join(IDENTITY)).err();
                let closed = inside.filter(|error| !error.is_absent());
                // The error names the directory: an entry `identity` may not exist.
                self.unreadable
                    .extend(closed.map(|error| DiskError::new(error.op(), home, error.kind().into())));
            }
            Ok(_) => {}
            // A hint has moved the symlink out of the way, as its target is gone for good.
            Err(error) if error.is_absent() && name_of(home).contains(".aside") => {}
            Err(error) => self.record_unreadable(home, error),
        }
    }

    /// Returns true if a directory that is named after `original` has a sound key in the place of
    /// its key, and is no home of another app: the run log of this app lies in it.
    fn is_copy_by_key(&self, path: &Path, original: &Utf8Path) -> bool {
        let run_log = path.join(self.places.run_log.file_name().unwrap_or_default());
        self.leads_to_file(&run_log) && self.usual_places(path, original).any(|file| self.is_sound(&file))
    }

    /// Returns the entries in `dirs` whose names contain that of `original`, without its dot.
    fn named_after(&self, original: &Utf8Path, dirs: &[Utf8PathBuf]) -> Vec<PathBuf> {
        let (Some(beside), Some(name)) = (self.places.app.path.parent(), original.file_name()) else {
            return Vec::new();
        };
        // The stand-alone daemon has its home at this path.
        let own = [original.to_owned(), beside.join(name)];
        let names = dirs.iter().flat_map(|dir| self.list(dir.as_std_path(), MAX_NAMES).0);
        let others = names.map(|(path, _)| path).filter(|path| own.iter().all(|own| path != own));
        others.filter(|path| name_of(path).contains(&stem_of(original))).collect()
    }

    /// Returns the directories in which a renamed or trashed home may lie: the parent of the app's
    /// home, the trash, and, where the parent lies deeper in the user's home, copies of it.
    pub(super) fn dirs_of_copies(&self) -> Vec<Utf8PathBuf> {
        let (app, user_home) = (&self.places.app.path, &self.places.user_home);
        let trash = TRASH.map(|trash| user_home.join(trash));
        let Some(parent) = app.parent() else { return trash.into() };
        let is_below = |dir: &&Utf8Path| dir.starts_with(user_home) && dir != user_home;
        let copies = parent.ancestors().take_while(is_below).flat_map(|dir| {
            let dirs: Vec<_> =
                dir.parent().map(Utf8Path::to_owned).into_iter().chain(trash.clone()).collect();
            let mut named = self.named_after(dir, &dirs);
            named.retain(|path| is_name_of_copy(path, dir));
            let below = parent.strip_prefix(dir).unwrap_or(parent);
            named.into_iter().filter_map(move |copy| Some(Utf8PathBuf::from_path_buf(copy).ok()?.join(below)))
        });
        [parent.to_owned()].into_iter().chain(copies).chain(trash.clone()).collect()
    }
}

/// Returns the directories beside the app's home, and in the trash of a desktop, whose names are
/// those of a renamed or copied home of the app.
pub fn renamed_homes(disk: &dyn Disk, places: &IdentityPaths) -> Vec<PathBuf> {
    let search = Search::new(disk, places);
    let mut named = search.named_after(&places.app.path, &search.dirs_of_copies());
    named.retain(|path| is_name_of_copy(path, &places.app.path));
    named
}

/// Returns the archives beside the app's home, and in the trash of a desktop, whose names are those
/// of an archive of that home.
#[must_use]
pub fn archived_homes(disk: &dyn Disk, places: &IdentityPaths) -> Vec<PathBuf> {
    let mut archives = renamed_homes(disk, places);
    archives.retain(|path| is_archived_copy(path));
    archives
}
