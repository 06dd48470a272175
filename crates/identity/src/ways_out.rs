//! The ways out of a refusal: shell commands that lose nothing and may run twice.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use myownllm_durable_fs::{mkdir_prefix, move_aside, quote, rename_unless_taken};
use myownllm_paths::camino::{Utf8Path, Utf8PathBuf};

use crate::{
    file::{Flaw, Identity, KeyInfo, is_lost},
    paths::Home,
    refusal::WayOut,
    scan::{HomeScan, Misplaced, RenamedHome, Scan},
};

/// The placeholder for the user's own backup of the identity file in a printed command.
pub const BACKUP_PLACEHOLDER: &str = "/path/to/backup/identity.json";

impl Scan {
    /// Returns the command that activates the identity file at the old location, although its
    /// Device ID is not the one that this home had.
    pub(crate) fn use_other_device(&self, key: &KeyInfo) -> WayOut {
        let (from, to) = (&self.places.app.identity, &self.places.daemon.identity);
        let command = format!("{}mv -n {} {}", self.make_dir_of(to), quote(from), quote(to));
        let device_id = Some(key.device_id.clone());
        WayOut::BringBack { from: from.clone().into(), to: to.clone(), device_id, command }
    }

    pub(crate) fn home_of(&self, path: &Path) -> Option<&Home> {
        self.places.homes().into_iter().find(|home| path.starts_with(&home.path))
    }

    /// Returns the commands that bring the found files back: each to `to`, or else to the identity
    /// file's place in its own home. Sets the present entry aside first. Starts with
    /// [`WayOut::Choose`] if the files hold different keys and the rosters and states do not
    /// decide.
    pub(crate) fn bring_back(&self, to: Option<&Utf8Path>, aside: Option<&Path>) -> Vec<WayOut> {
        let way = |from: &Misplaced| {
            let home = self.home_of(&from.path).unwrap_or(&self.places.daemon);
            let own = match &from.renamed_home {
                Some(renamed) if renamed.was_in_secrets_of(&self.places.app, &from.path) => {
                    &self.places.app.identity
                }
                Some(_) => &self.places.daemon.identity,
                None => &home.identity,
            };
            // The key of another device may have the place.
            let is_taken = *own == self.places.app.identity && self.app.state.identity().is_some();
            let to = to.unwrap_or(if is_taken { &self.places.daemon.identity } else { own });
            let command = self.bring_back_to(from, to, aside)?;
            let device_id = from.key.as_ref().map(|key| key.device_id.clone());
            Some(WayOut::BringBack { from: from.path.clone(), to: to.to_owned(), device_id, command })
        };
        let mut ways: Vec<WayOut> = self.misplaced.iter().filter_map(way).collect();
        // A whole home comes back with each of its files.
        let mut known = BTreeSet::new();
        ways.retain(|way| known.insert(way.command().map(str::to_owned)));
        if ways.len() > 1 && self.must_choose() {
            ways.insert(0, WayOut::Choose);
        }
        ways
    }

    /// Returns the command that brings a found file back to `to`: with the whole renamed home, if
    /// the home is gone. Before the file come the custody file beside it, and its rosters
    /// and states.
    fn bring_back_to(&self, from: &Misplaced, to: &Utf8Path, aside: Option<&Path>) -> Option<String> {
        if is_lost(&from.identity) {
            return None;
        }
        if let Some(renamed) = from.renamed_home.as_ref().filter(|renamed| renamed.is_gone) {
            return Some(give_name_back(renamed));
        }
        let command = match &from.identity {
            Identity::Valid(_) => self.move_command(from, to, aside),
            Identity::Damaged { flaw: Some(flaw), .. } => self.rewrite_command(from, flaw, to, aside),
            _ => return None,
        };
        let Some(HomeScan { home, has_peers_dir, .. }) =
            self.homes().into_iter().find(|scan| scan.home.identity == to)
        else {
            return Some(command);
        };
        let verb = if self.home_of(&from.path).is_some() { "mv -n" } else { "cp -Rpn" };
        let custody = from.custody.as_ref().map(|custody| {
            let [custody, there] = [custody.as_path(), home.custody.as_std_path()].map(quote);
            format!("{{ test -e {there} || {verb} {custody} {there}; }} && ")
        });
        let peers = from.peers.as_ref().map(|peers| {
            if !has_peers_dir {
                return format!("{verb} {} {}/ && ", quote(peers), quote(&home.path));
            }
            // The key stays where a file could not be moved: a daemon would start without it.
            let bring = |dir: &Utf8PathBuf| {
                let from = quote(peers.join(dir.file_name().unwrap_or_default()));
                let dir = quote(dir);
                let may_list = "test ! -e \"$0\" || test -r \"$0\" || exit";
                let is_done = "test ! -e \"$f\" || test -e \"$1/${f##*/}\"";
                let each = format!("{is_done} || {verb} \"$f\" \"$1/\" || exit");
                format!(
                    "mkdir -p -m 700 {dir} && sh -c '{may_list}; for f in \"$0\"/*.json; do {each}; done' \
                     {from} {dir} && "
                )
            };
            bring(&home.rosters) + &bring(&home.states)
        });
        let before: Vec<String> = [custody, peers].into_iter().flatten().collect();
        // `cp` and `mv` would give the name of a missing home to what goes into it.
        let make_dir = if before.is_empty() { String::new() } else { self.make_dir_of(to) };
        Some(make_dir + &before.concat() + &command)
    }

    /// Returns the commands that give renamed homes without a key their names back.
    pub(crate) fn bring_homes_back(&self) -> impl Iterator<Item = WayOut> {
        self.renamed.iter().map(|renamed| WayOut::BringBack {
            from: renamed.path.clone(),
            to: self.places.daemon.identity.clone(),
            device_id: None,
            command: give_name_back(renamed),
        })
    }

    /// Returns true if the found files hold different keys, and the rosters and states do not name
    /// exactly one of them. The key of a newer version is unknown, so it counts as another one.
    fn must_choose(&self) -> bool {
        let usable = self.misplaced.iter().filter(|found| !is_lost(&found.identity));
        let keys: BTreeSet<Option<&str>> =
            usable.map(|found| found.key.as_ref().map(|key| key.public_key.as_str())).collect();
        let named = keys.iter().flatten().filter(|key| self.knows_key(key)).count();
        keys.len() > 1 && named != 1
    }

    /// Returns a command that renames a file inside a home, and copies a file outside of both: that
    /// file may belong to another program.
    fn move_command(&self, from: &Misplaced, to: &Utf8Path, aside: Option<&Path>) -> String {
        let in_home = self.home_of(&from.path).is_some() && !from.is_symlink;
        let is_beside = aside.is_some_and(|_| !from.path.starts_with(to)) && !to.starts_with(&from.path);
        let verb = if in_home && !is_beside { "mv -n" } else { "cp -pn" };
        let bring = |from: &Path| format!("{verb} {} {}", quote(from), quote(to));
        let free_place = || format!("{}{}", self.make_dir_of(to), bring(&from.path));
        take_place(from, to, aside, &bring).unwrap_or_else(free_place)
    }

    /// Returns a command that writes the key of a found file in the encoding that a daemon reads.
    /// The found file stays.
    fn rewrite_command(&self, from: &Misplaced, flaw: &Flaw, to: &Utf8Path, aside: Option<&Path>) -> String {
        let [part, place] = [format!("{to}.tmp"), to.to_string()].map(quote);
        let write =
            |from: &Path| format!("(umask 077; {} > {part}) && mv -n {part} {place}", flaw.filter(from));
        let free_place =
            || format!("test -e {place} || {{ {}{}; }}", self.make_dir_of(to), write(&from.path));
        take_place(from, to, aside, &write).unwrap_or_else(free_place)
    }

    /// Returns a command that creates the directory of a file, to put before another command. An
    /// entry that blocks the directory is set aside first.
    pub(crate) fn make_dir_of(&self, file: &Utf8Path) -> String {
        let Some(dir) = file.parent() else { return String::new() };
        let scan = self.homes().into_iter().find(|scan| scan.home.secrets() == dir);
        match scan.map(|scan| (&scan.blocked, scan.has_secrets)) {
            Some((Some((blocked, aside)), _)) => {
                let [blocked, aside, dir] = [blocked, aside, dir.as_std_path()].map(quote);
                format!("{{ test -d {dir} || {{ mv -n {blocked} {aside} && mkdir -p -m 700 {dir}; }}; }} && ")
            }
            Some((None, true)) => String::new(),
            _ => mkdir_prefix(Some(dir)),
        }
    }

    /// Returns a command that sets aside every file that knows this device, every found identity
    /// file, and every renamed home with such a file. Returns `None` if one of these lies outside
    /// the homes: the next scan would find it again.
    pub(crate) fn give_up(&self) -> Option<WayOut> {
        let links =
            self.dangling.iter().chain(&self.dangling_peers).chain(&self.empty).map(|(symlink, _)| symlink);
        let with_key = || self.misplaced.iter().filter_map(|found| found.renamed_home.as_ref());
        let renamed = || with_key().chain(&self.renamed);
        let found = self.misplaced.iter().filter(|found| found.renamed_home.is_none());
        let files: Vec<&PathBuf> = found.map(|found| &found.path).chain(links).collect();
        let of_home = |scan: &HomeScan| {
            let files = files.iter().copied().filter(|path| self.home_of(path) == Some(&scan.home));
            let renamed = renamed().filter(|_| scan.home == self.places.app).map(|renamed| &renamed.path);
            scan.evidence.iter().chain(files).chain(renamed).cloned().collect::<BTreeSet<PathBuf>>()
        };
        let all: BTreeSet<PathBuf> = self.homes().into_iter().flat_map(of_home).collect();
        let is_renamed = |path: &Path| renamed().any(|renamed| renamed.path == path);
        if files.iter().copied().chain(&all).any(|path| self.home_of(path).is_none() && !is_renamed(path)) {
            return None;
        }
        // A file in a directory that is set aside goes with the directory.
        let is_inside = |path: &PathBuf| all.iter().any(|dir| dir != path && path.starts_with(dir));
        let commands = self.homes().into_iter().flat_map(|scan| {
            let paths = of_home(scan).into_iter().filter(|path| !is_inside(path));
            // Files of one name from several directories need a directory each.
            let mut batches: Vec<Vec<PathBuf>> = Vec::new();
            for path in paths {
                let has_name = |other: &PathBuf| other.file_name() == path.file_name();
                match batches.iter_mut().find(|batch| !batch.iter().any(has_name)) {
                    Some(batch) => batch.push(path),
                    None => batches.push(vec![path]),
                }
            }
            batches.into_iter().enumerate().map(move |(number, batch)| {
                let mut dir = scan.given_up.clone();
                dir.extend((number > 0).then(|| (number + 1).to_string()));
                let names: Vec<String> = batch.iter().map(quote).collect();
                format!("{}mv -n {} {}/", mkdir_prefix(Some(&dir)), names.join(" "), quote(&dir))
            })
        });
        let mut commands: Vec<String> = commands.collect();
        if commands.is_empty() && self.used_config.is_some() {
            // The configs stay: the directory alone says that the key is given up.
            commands.push(format!("mkdir -p -m 700 {}", quote(&self.app.given_up)));
        }
        (!commands.is_empty()).then(|| WayOut::GiveUpPeers { command: commands.join(" && ") })
    }

    /// Returns a way out that sets aside the entry in the place of the identity file, and gives up
    /// the peers that know the device.
    pub(crate) fn start_anew(&self, path: &Path, aside: &Path) -> WayOut {
        let first = rename_unless_taken(path, aside);
        match self.give_up() {
            Some(WayOut::GiveUpPeers { command }) => {
                WayOut::GiveUpPeers { command: format!("{{ {first}; }} && {command}") }
            }
            _ => WayOut::SetAside { path: path.to_owned(), command: first },
        }
    }
}

/// Returns a command that sets aside the entry that blocks the place `to`, and then brings a found
/// file there by the command that `bring` returns for the path of the file. Returns `None` if no
/// entry blocks the place.
fn take_place(
    from: &Misplaced,
    to: &Utf8Path,
    aside: Option<&Path>,
    bring: &dyn Fn(&Path) -> String,
) -> Option<String> {
    let place = quote(to);
    if to.starts_with(&from.path) {
        // The found file has the name of a directory on the way to the place.
        let dir = quote(to.parent().unwrap_or(to));
        let ([found, made], bring) = ([&from.path, &from.aside].map(quote), bring(&from.aside));
        return Some(format!(
            "test -d {found} || {{ mv -n {found} {made} && mkdir -p -m 700 {dir} && {bring}; }}"
        ));
    }
    let aside = aside?;
    let set_aside = format!("mv -n {place} {}", quote(aside));
    Some(match from.path.strip_prefix(to) {
        // The found file lies in a directory that has the name of the identity file.
        Ok(inside) => {
            format!("test -f {place} || {{ {set_aside} && {}; }}", bring(&aside.join(inside)))
        }
        Err(_) => format!("{set_aside} && {}", bring(&from.path)),
    })
}

/// Returns the command that gives a renamed home its name back, and the home in its place another.
fn give_name_back(home: &RenamedHome) -> String {
    if home.is_gone {
        return rename_unless_taken(&home.path, &home.original);
    }
    let [renamed, original] = [home.path.as_path(), home.original.as_std_path()].map(quote);
    format!("test -e {renamed} && {} && mv -n {renamed} {original}", move_aside(&home.original, "new"))
}

/// Returns a command that writes the file anew in the encoding that the daemon reads. The previous
/// file stays beside it.
pub(crate) fn rewrite_in_place(path: &Utf8Path, aside: &Path, flaw: &Flaw) -> WayOut {
    let copy = format!("cp -pn {} {}", quote(path), quote(aside));
    // Its owner may have made the file read-only.
    let command = format!("{copy} && chmod 600 {0} && {1} > {0}", quote(path), flaw.filter(aside));
    WayOut::Rewrite { path: path.to_owned(), command }
}

pub(crate) fn restore(to: &Utf8Path, make_dir: &str, aside: Option<&Path>) -> WayOut {
    let first = aside.map_or_else(String::new, |aside| format!("mv -n {} {} && ", quote(to), quote(aside)));
    let command = format!("{make_dir}{first}cp -pn {BACKUP_PLACEHOLDER} {}", quote(to));
    WayOut::Restore { to: to.to_owned(), command }
}

pub(crate) fn show_entry(path: &Path) -> WayOut {
    WayOut::ShowEntry { path: path.to_owned(), command: format!("ls -ld {}", quote(path)) }
}
