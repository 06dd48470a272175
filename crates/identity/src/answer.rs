//! Derives the answer from a scan. Pure.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use myownllm_durable_fs::{Disk, DiskError, PART_SUFFIX, TEMP_PREFIX, move_aside, quote};
use myownllm_paths::camino::{Utf8Path, Utf8PathBuf};
use serde::Serialize;

use crate::{
    file::{Flaw, Identity, KeyInfo, public_key_of},
    paths::Home,
    permit::Expected,
    refusal::{Candidate, FoundElsewhere, Problem, Refusal, Side, WayOut, lossy, make_dir},
    scan::{HomeScan, Misplaced, PlaceState, RenamedHome, Scan, dangling_peers, is_lost},
};

/// The placeholder for the user's own backup in a command.
const BACKUP: &str = "/path/to/backup/identity.json";

/// Says whether a daemon may be started, and with which key.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Answer {
    /// A sound identity file is where the daemon looks for it.
    Sound {
        /// The key of the file.
        key: KeyInfo,
        /// The file.
        path: Utf8PathBuf,
    },
    /// A sound identity file exists, and a move must bring it to the place where the daemon looks
    /// for it.
    Pending {
        /// The key of the file.
        key: KeyInfo,
        /// The file.
        #[serde(serialize_with = "lossy")]
        path: PathBuf,
        /// The reason why no daemon may be started before the move.
        refusal: Refusal,
    },
    /// No identity file exists, and nothing shows that there was one: a daemon may create one.
    NoneYet,
    /// No daemon may be started.
    Refused(Refusal),
}

impl Answer {
    /// Returns the sound key, active or pending.
    pub fn key(&self) -> Option<&KeyInfo> {
        match self {
            Self::Sound { key, .. } | Self::Pending { key, .. } => Some(key),
            _ => None,
        }
    }

    /// Returns the reason why no daemon may be started, either now or after a move.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }

    /// Returns the key that a running daemon must have now.
    ///
    /// # Errors
    /// Returns the reason why no daemon may be used or started.
    pub fn expected(&self) -> Result<Expected, Refusal> {
        match self {
            Self::Sound { key, .. } => Ok(Expected::key(&key.device_id)),
            Self::NoneYet => Ok(Expected::new_key()),
            Self::Pending { refusal, .. } | Self::Refused(refusal) => Err(refusal.clone()),
        }
    }

    pub(crate) fn has_key(&self) -> bool {
        self.key().is_some()
    }
}

/// One of the two homes, and what the scan found in it.
#[derive(Clone, Copy)]
struct ScannedHome<'a> {
    home: &'a Home,
    scan: &'a HomeScan,
}

impl Scan {
    fn scanned_daemon_home(&self) -> ScannedHome<'_> {
        ScannedHome { home: &self.places.daemon, scan: &self.daemon }
    }

    fn scanned_app_home(&self) -> ScannedHome<'_> {
        ScannedHome { home: &self.places.app, scan: &self.app }
    }

    /// Returns both homes, the daemon home first: it lies in the app's home.
    fn scanned_homes(&self) -> [ScannedHome<'_>; 2] {
        [self.scanned_daemon_home(), self.scanned_app_home()]
    }

    /// Decides if a daemon may be started, and with which key. Depends on the scan alone.
    #[must_use]
    pub fn answer(&self) -> Answer {
        if let Some(refusal) = self.problem_in_place() {
            return Answer::Refused(refusal);
        }
        let in_home = |scan: &HomeScan| scan.state.identity().and_then(Identity::key).cloned();
        let (daemon, app) = (in_home(&self.daemon), in_home(&self.app));
        match (&self.daemon.state, daemon, app) {
            (PlaceState::File(_), Some(key), _) => {
                Answer::Sound { key, path: self.places.daemon.identity.clone() }
            }
            (_, Some(key), _) => self.pending_answer(key, self.places.daemon.identity.as_std_path()),
            (_, None, Some(key)) => self.pending_answer(key, self.places.app.identity.as_std_path()),
            (_, None, None) => self.answer_without_file(),
        }
    }

    /// Returns the problem at the two places themselves.
    fn problem_in_place(&self) -> Option<Refusal> {
        for ScannedHome { home, scan } in self.scanned_homes() {
            if let Some(Identity::Newer { version }) = scan.state.identity() {
                return Some(newer_refusal(home.identity.as_std_path(), *version));
            }
        }
        if let (Some(Identity::Valid(daemon)), Some(Identity::Valid(app))) =
            (self.daemon.state.identity(), self.app.state.identity())
            && daemon.public_key != app.public_key
        {
            return Some(self.two_identities_refusal(app, daemon));
        }
        for ScannedHome { scan, .. } in self.scanned_homes() {
            match &scan.state {
                PlaceState::Unreadable(error) => return Some(unreadable_refusal(error)),
                PlaceState::Dangling { symlink, target } => return Some(dangling_refusal(symlink, target)),
                _ => {}
            }
        }
        match (self.daemon.state.identity(), self.app.state.identity()) {
            (Some(Identity::Damaged { why, flaw }), app) => {
                let keep = matches!(app, Some(Identity::Valid(_))).then_some(Side::OldLocation);
                Some(self.damaged_refusal(self.scanned_daemon_home(), why, flaw.as_ref(), keep))
            }
            (Some(_), _) => None,
            (None, Some(Identity::Damaged { why, flaw })) => {
                Some(self.damaged_refusal(self.scanned_app_home(), why, flaw.as_ref(), None))
            }
            (None, app) => match (&self.daemon.state, &self.app.state) {
                (PlaceState::NotAFile { path, what }, _) => {
                    Some(self.not_a_file_refusal(self.scanned_daemon_home(), path, what, app.is_some()))
                }
                (_, PlaceState::NotAFile { path, what }) => {
                    Some(self.not_a_file_refusal(self.scanned_app_home(), path, what, false))
                }
                _ => None,
            },
        }
    }

    /// Returns true if the run log shows that this home had another Device ID.
    fn is_other_device(&self, device_id: &str) -> bool {
        let logged = self.logged.as_ref().map(|(_, logged)| public_key_of(logged));
        logged.is_some_and(|logged| logged != public_key_of(device_id))
    }

    fn pending_answer(&self, key: KeyInfo, path: &Path) -> Answer {
        if self.is_other_device(&key.device_id) {
            return Answer::Refused(self.missing_refusal());
        }
        let (path, place) = (path.to_owned(), self.places.daemon.identity.clone());
        let refusal = Refusal::new(Problem::Pending { path: path.clone(), place }, vec![WayOut::Migrate]);
        Answer::Pending { key, path, refusal }
    }

    /// Returns the temporary file of a killed move that holds the only copy of the key: the next
    /// move renames it back.
    fn interrupted_move(&self) -> Option<(&Misplaced, &KeyInfo)> {
        let mut in_homes = self.misplaced.iter().filter(|found| found.renamed_home.is_none()).peekable();
        let first = *in_homes.peek()?;
        let key = first.identity.key()?;
        let is_interrupted_move_of_key = |found: &&Misplaced| {
            let name = found.path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with(TEMP_PREFIX)
                && name.ends_with(PART_SUFFIX)
                && !found.is_symlink
                && self
                    .places
                    .homes()
                    .iter()
                    .any(|home| found.path.parent() == Some(home.secrets().as_std_path()))
                && found.identity.key().is_some_and(|other| other.public_key == key.public_key)
        };
        // If another file holds the key too, the next move treats the temporary file as
        // superfluous.
        in_homes.all(|found| is_interrupted_move_of_key(&found)).then_some((first, key))
    }

    /// Decides if neither home has an identity file.
    fn answer_without_file(&self) -> Answer {
        if let Some((found, key)) = self.interrupted_move() {
            return self.pending_answer(key.clone(), &found.path);
        }
        if let Some(found) = self.misplaced.first()
            && self.misplaced.iter().all(|found| matches!(found.identity, Identity::Newer { .. }))
            && let Identity::Newer { version } = found.identity
        {
            return Answer::Refused(newer_refusal(&found.path, version));
        }
        if !self.misplaced.is_empty() || !self.homes_with_peers().is_empty() {
            return Answer::Refused(self.missing_refusal());
        }
        if let Some((symlink, target)) = self.dangling.first() {
            let mut refusal = dangling_refusal(symlink, target);
            refusal.ways_out.extend(self.give_up());
            return Answer::Refused(refusal);
        }
        if let Some((symlink, target)) = self.dangling_peers.first() {
            return Answer::Refused(hidden_peers_refusal(symlink, target, self.give_up()));
        }
        match self.unreadable.first() {
            Some(error) => Answer::Refused(unreadable_refusal(error)),
            None if self.logged.is_some() || self.used_config.is_some() => {
                Answer::Refused(self.missing_refusal())
            }
            None => Answer::NoneYet,
        }
    }

    fn homes_with_peers(&self) -> Vec<ScannedHome<'_>> {
        self.scanned_homes().into_iter().filter(|place| !place.scan.known_by.is_empty()).collect()
    }

    fn missing_refusal(&self) -> Refusal {
        let known_by = self.homes_with_peers();
        // Prefers the home whose rosters or states know the device.
        let home = match known_by.first() {
            Some(place) if self.misplaced.is_empty() => place.home,
            _ => &self.places.daemon,
        };
        let mut ways = self.bring_back(None, None);
        let at_old_location = match &self.app.state {
            PlaceState::File(Identity::Valid(key)) => Some(key),
            _ => None,
        };
        ways.extend(at_old_location.map(|key| self.use_other_device(key)));
        let brought = ways.iter().find_map(|way| match way {
            WayOut::BringBack { to, .. } => Some(to.clone()),
            _ => None,
        });
        let place = brought.unwrap_or_else(|| home.identity.clone());
        let is_other = |way: &WayOut| match way {
            WayOut::BringBack { device_id: Some(id), .. } => self.is_other_device(id),
            _ => false,
        };
        if ways.iter().all(is_other) {
            ways.insert(0, restore(&place, &self.make_dir_of(&place), None));
        }
        ways.extend(self.give_up());
        let at_old_location = at_old_location.map(|key| FoundElsewhere {
            path: self.places.app.identity.clone().into(),
            device_id: Some(key.device_id.clone()),
            damaged: None,
            named_by: None,
        });
        let found = self.misplaced.iter().map(|found| FoundElsewhere {
            path: found.path.clone(),
            device_id: found.key.as_ref().map(|key| key.device_id.clone()),
            damaged: match &found.identity {
                Identity::Damaged { why, .. } => Some(why.clone()),
                _ => None,
            },
            named_by: found.named_by.clone(),
        });
        let found = at_old_location.into_iter().chain(found).collect();
        // Names the directory of peers that lie where no daemon looks for them.
        let dir_of = |ScannedHome { home, scan }: &ScannedHome<'_>| match scan.evidence.as_slice() {
            [dir] if scan.known_by.custody == 0 && dir.parent() != Some(home.path.as_std_path()) => {
                Utf8PathBuf::from_path_buf(dir.clone()).ok()
            }
            _ => None,
        };
        let of = |place: &ScannedHome<'_>| {
            (dir_of(place).unwrap_or_else(|| place.home.path.clone()), place.scan.known_by.clone())
        };
        let known_by = known_by.iter().map(of).collect();
        let (logged, used_config) = (self.logged.clone(), self.used_config.clone());
        Refusal::new(Problem::Missing { place, found, known_by, logged, used_config }, ways)
    }

    /// Returns the command that activates the identity file at the old location, although its
    /// Device ID is not the one that this home had.
    fn use_other_device(&self, key: &KeyInfo) -> WayOut {
        let (from, to) = (&self.places.app.identity, &self.places.daemon.identity);
        let command = format!("{}mv -n {} {}", self.make_dir_of(to), quote(from), quote(to));
        let device_id = Some(key.device_id.clone());
        WayOut::BringBack { from: from.clone().into(), to: to.clone(), device_id, command }
    }

    /// Returns the home that contains a file, if one does.
    fn home_of(&self, path: &Path) -> Option<&Home> {
        self.scanned_homes().into_iter().map(|place| place.home).find(|home| path.starts_with(&home.path))
    }

    /// Returns the commands that bring the found files back: each to `to`, or else to the identity
    /// file's place in its own home. Sets the present entry aside first. Starts with
    /// [`WayOut::Choose`] if the files hold different keys and the rosters and states do not
    /// decide.
    fn bring_back(&self, to: Option<&Utf8Path>, aside: Option<&Path>) -> Vec<WayOut> {
        let way = |from: &Misplaced| {
            let home = self.home_of(&from.path).unwrap_or(&self.places.daemon);
            let own = from.renamed_home.as_ref().map_or(&home.identity, |renamed| &renamed.place);
            let to = to.unwrap_or(own);
            let command = self.bring_back_to(from, to, aside)?;
            let device_id = from.key.as_ref().map(|key| key.device_id.clone());
            Some(WayOut::BringBack { from: from.path.clone(), to: to.to_owned(), device_id, command })
        };
        let ways = self.misplaced.iter().filter_map(way);
        let choose = self.must_choose().then_some(WayOut::Choose);
        choose.into_iter().chain(ways).collect()
    }

    /// Returns the command that brings a found file back to `to`: with the whole renamed home, if
    /// the home is gone. Before the file come the custody file beside it, and its rosters
    /// and states.
    fn bring_back_to(&self, from: &Misplaced, to: &Utf8Path, aside: Option<&Path>) -> Option<String> {
        if let Some(RenamedHome { path, gone: Some(gone), .. }) = &from.renamed_home {
            let [renamed, gone] = [path, gone].map(quote);
            return Some(format!("test -e {gone} || mv -n {renamed} {gone}"));
        }
        let command = match &from.identity {
            Identity::Valid(_) => self.move_command(from, to, aside),
            Identity::Damaged { flaw: Some(flaw), .. } => self.rewrite_command(from, flaw, to, aside),
            _ => return None,
        };
        let Some(place) = self.scanned_homes().into_iter().find(|place| place.home.identity == to) else {
            return Some(command);
        };
        let home = place.home;
        let verb = if self.home_of(&from.path).is_some() { "mv -n" } else { "cp -Rpn" };
        let custody = from.custody.as_ref().map(|custody| {
            let [custody, there] = [custody.as_path(), home.custody.as_std_path()].map(quote);
            format!("{{ test -e {there} || {verb} {custody} {there}; }} && ")
        });
        let peers = from.peers.as_ref().map(|peers| {
            if !place.scan.has_peers_dir {
                return format!("{verb} {} {}/ && ", quote(peers), quote(&home.path));
            }
            let bring = |dir: &Utf8PathBuf| {
                let name = dir.file_name().unwrap_or_default();
                let [files, dir] = [format!("*/{name}/*.json"), dir.to_string()].map(quote);
                let peers = quote(peers);
                format!(
                    "mkdir -p -m 700 {dir} && find {peers} -path {files} -exec {verb} {{}} {dir}/ \\; && "
                )
            };
            bring(&home.rosters) + &bring(&home.states)
        });
        let before: Vec<String> = [custody, peers].into_iter().flatten().collect();
        // `cp` and `mv` would give the name of a missing home to what goes into it.
        let make_dir = if before.is_empty() { String::new() } else { self.make_dir_of(to) };
        Some(make_dir + &before.concat() + &command)
    }

    /// Returns true if the found files hold different keys, and the rosters and states do not name
    /// exactly one of them. The key of a newer version is unknown, so it counts as another one.
    fn must_choose(&self) -> bool {
        let usable = self.misplaced.iter().filter(|found| !is_lost(&found.identity));
        let keys: BTreeSet<Option<&str>> =
            usable.map(|found| found.key.as_ref().map(|key| key.public_key.as_str())).collect();
        let named = keys.iter().flatten().filter(|key| self.named.contains(**key)).count();
        keys.len() > 1 && named != 1
    }

    /// Returns a found identity file that the rosters and states name as an owner, if they do not
    /// name the active one, and the command that swaps them. Needs a
    /// [`scan_everywhere`](crate::scan_everywhere).
    #[must_use]
    pub fn better_known(&self) -> Option<(&Misplaced, String)> {
        let (path, scan) = match self.answer() {
            Answer::Sound { key, path } if !self.named.contains(&key.public_key) => (path, &self.daemon),
            _ => return None,
        };
        let first = self.misplaced.first().filter(|found| found.is_named)?;
        let command = match self.bring_back(Some(&path), Some(&scan.aside)).into_iter().next()? {
            WayOut::BringBack { command, .. } => command,
            _ => return None,
        };
        Some((first, command))
    }

    /// Returns a command that renames a file inside a home, and copies a file outside of both: that
    /// file may belong to another program.
    fn move_command(&self, from: &Misplaced, to: &Utf8Path, aside: Option<&Path>) -> String {
        let make_dir = || self.make_dir_of(to);
        let to = to.as_std_path();
        let in_home = self.home_of(&from.path).is_some();
        let verb = if in_home && !from.is_symlink { "mv -n" } else { "cp -pn" };
        if to.starts_with(&from.path) {
            // The found file has the name of a directory on the way to the place.
            let dir = to.parent().unwrap_or(to);
            let [from, made, dir, to] = [from.path.as_path(), &from.aside, dir, to].map(quote);
            return format!(
                "test -d {from} || {{ mv -n {from} {made} && mkdir -p -m 700 {dir} && {verb} {made} {to}; }}"
            );
        }
        let Some(aside) = aside else {
            return format!("{}{verb} {} {}", make_dir(), quote(&from.path), quote(to));
        };
        match from.path.strip_prefix(to) {
            // The found file lies in a directory that has the name of the identity file.
            Ok(inside) => {
                let [to, aside, inside] = [to, aside, &aside.join(inside)].map(quote);
                format!("test -f {to} || {{ mv -n {to} {aside} && {verb} {inside} {to}; }}")
            }
            Err(_) => {
                let [from, to, aside] = [&from.path, to, aside].map(quote);
                format!("mv -n {to} {aside} && cp -pn {from} {to}")
            }
        }
    }

    /// Returns a command that writes the key of a found file in the encoding that a daemon reads.
    /// The found file stays.
    fn rewrite_command(&self, from: &Misplaced, flaw: &Flaw, to: &Utf8Path, aside: Option<&Path>) -> String {
        let write = |from: &Path| {
            let [part, to] = [format!("{to}.tmp"), to.to_string()].map(quote);
            format!("(umask 077; {} > {part}) && mv -n {part} {to}", flaw.filter(from))
        };
        let [place, dir] = [to, to.parent().unwrap_or(to)].map(quote);
        match (aside, from.path.strip_prefix(to)) {
            _ if to.starts_with(&from.path) => {
                let [found, made] = [from.path.as_path(), &from.aside].map(quote);
                let write = write(&from.aside);
                format!("test -d {found} || {{ mv -n {found} {made} && mkdir -p -m 700 {dir} && {write}; }}")
            }
            (None, _) => {
                format!("test -e {place} || {{ {}{}; }}", self.make_dir_of(to), write(&from.path))
            }
            (Some(aside), Ok(inside)) => {
                let (write, aside) = (write(&aside.join(inside)), quote(aside));
                format!("test -f {place} || {{ mv -n {place} {aside} && {write}; }}")
            }
            (Some(aside), Err(_)) => {
                format!("mv -n {place} {} && {}", quote(aside), write(&from.path))
            }
        }
    }

    /// Returns a command that creates the directory of a file, to put before another command. An
    /// entry that blocks the directory is set aside first.
    fn make_dir_of(&self, file: &Utf8Path) -> String {
        let Some(dir) = file.parent() else { return String::new() };
        let home = self.scanned_homes().into_iter().find(|place| place.home.secrets() == dir);
        match home.map(|place| (&place.scan.blocked, place.scan.has_secrets)) {
            Some((Some((blocked, aside)), _)) => {
                let [blocked, aside, dir] = [blocked, aside, dir.as_std_path()].map(quote);
                format!("{{ test -d {dir} || {{ mv -n {blocked} {aside} && mkdir -p -m 700 {dir}; }}; }} && ")
            }
            Some((None, true)) => String::new(),
            _ => make_dir(Some(dir)),
        }
    }

    /// Returns a command that sets aside every file that knows this device, every found identity
    /// file, and every renamed home with such a file. Returns `None` if one of these lies outside
    /// the homes: the next scan would find it again.
    fn give_up(&self) -> Option<WayOut> {
        let links = self.dangling.iter().chain(&self.dangling_peers).map(|(symlink, _)| symlink);
        let renamed = || self.misplaced.iter().filter_map(|found| found.renamed_home.as_ref());
        let found = self.misplaced.iter().filter(|found| found.renamed_home.is_none());
        let files: Vec<&PathBuf> = found.map(|found| &found.path).chain(links).collect();
        let of_home = |ScannedHome { home, scan }: ScannedHome<'_>| {
            let files = files.iter().copied().filter(move |path| self.home_of(path) == Some(home));
            let renamed = renamed().filter(|_| *home == self.places.app).map(|renamed| &renamed.path);
            scan.evidence.iter().chain(files).chain(renamed).cloned().collect::<BTreeSet<PathBuf>>()
        };
        let all: BTreeSet<PathBuf> = self.scanned_homes().into_iter().flat_map(of_home).collect();
        let is_renamed = |path: &Path| renamed().any(|renamed| renamed.path == path);
        if files.iter().copied().chain(&all).any(|path| self.home_of(path).is_none() && !is_renamed(path)) {
            return None;
        }
        // A file in a directory that is set aside goes with the directory.
        let is_inside = |path: &PathBuf| all.iter().any(|dir| dir != path && path.starts_with(dir));
        let commands = self.scanned_homes().into_iter().flat_map(|place| {
            let paths = of_home(place).into_iter().filter(|path| !is_inside(path));
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
                let mut dir = place.scan.given_up.clone();
                dir.extend((number > 0).then(|| (number + 1).to_string()));
                let names: Vec<String> = batch.iter().map(quote).collect();
                format!("{}mv -n {} {}/", make_dir(Some(&dir)), names.join(" "), quote(&dir))
            })
        });
        let mut commands: Vec<String> = commands.collect();
        if commands.is_empty() && self.used_config.is_some() {
            // The configs stay: the directory alone says that the key is given up.
            commands.push(format!("mkdir -p -m 700 {}", quote(&self.app.given_up)));
        }
        (!commands.is_empty()).then(|| WayOut::GiveUpPeers { command: commands.join(" && ") })
    }

    fn damaged_refusal(
        &self,
        place: ScannedHome<'_>,
        why: &str,
        flaw: Option<&Flaw>,
        keep: Option<Side>,
    ) -> Refusal {
        let ScannedHome { home, scan } = place;
        let path = &home.identity;
        let mut ways: Vec<WayOut> =
            flaw.map(|flaw| rewrite_in_place(path, &scan.aside, flaw)).into_iter().collect();
        ways.extend(keep.map(|side| WayOut::Keep { side: Some(side) }));
        ways.extend(self.bring_back(Some(path), Some(&scan.aside)));
        if ways.is_empty() {
            ways.push(restore(path, "", Some(&scan.aside)));
        }
        ways.push(self.start_anew(path.as_std_path(), &scan.aside));
        Refusal::new(Problem::Damaged { path: path.clone(), why: why.to_owned() }, ways)
    }

    /// Returns a way out that sets aside the entry in the place of the identity file, and gives up
    /// the peers that know the device.
    fn start_anew(&self, path: &Path, aside: &Path) -> WayOut {
        let first = format!("test -e {1} || mv -n {0} {1}", quote(path), quote(aside));
        match self.give_up() {
            Some(WayOut::GiveUpPeers { command }) => {
                WayOut::GiveUpPeers { command: format!("{{ {first}; }} && {command}") }
            }
            _ => WayOut::SetAside { path: path.to_owned(), command: first },
        }
    }

    fn not_a_file_refusal(
        &self,
        place: ScannedHome<'_>,
        path: &Path,
        what: &'static str,
        has_key: bool,
    ) -> Refusal {
        let ScannedHome { home, scan } = place;
        let mut ways = Vec::new();
        if !has_key {
            // The command that creates the directory sets aside an entry in its place.
            let aside = (path == home.identity).then_some(scan.aside.as_path());
            ways = self.bring_back(Some(&home.identity), aside);
            if ways.is_empty() && !self.homes_with_peers().is_empty() {
                ways.push(restore(&home.identity, &self.make_dir_of(&home.identity), aside));
            }
        }
        ways.push(if has_key {
            let command = format!("test -e {1} || mv -n {0} {1}", quote(path), quote(&scan.aside));
            WayOut::SetAside { path: path.to_owned(), command }
        } else {
            self.start_anew(path, &scan.aside)
        });
        Refusal::new(Problem::NotAFile { path: path.to_owned(), what }, ways)
    }

    fn two_identities_refusal(&self, app: &KeyInfo, daemon: &KeyInfo) -> Refusal {
        let candidate = |ScannedHome { home, scan }: ScannedHome<'_>, key: &KeyInfo| {
            let (path, key, known_by) = (home.identity.clone(), key.clone(), scan.known_by.clone());
            Box::new(Candidate { path, key, known_by })
        };
        // A key without peers was probably just created, so the other key wins. Without evidence
        // the user chooses.
        let is_named = |key: &KeyInfo| self.named.contains(&key.public_key);
        let has_peers = |scan: &HomeScan| !scan.known_by.is_empty();
        let side = match (is_named(app), is_named(daemon), has_peers(&self.app), has_peers(&self.daemon)) {
            (true, false, ..) => Some(Side::OldLocation),
            (false, true, ..) => Some(Side::DaemonHome),
            (_, _, true, false) => Some(Side::OldLocation),
            (_, _, false, true) => Some(Side::DaemonHome),
            _ => None,
        };
        let problem = Problem::TwoIdentities {
            old_location: candidate(self.scanned_app_home(), app),
            daemon_home: candidate(self.scanned_daemon_home(), daemon),
        };
        Refusal::new(problem, vec![WayOut::Keep { side }])
    }
}

/// Returns a command that writes the file anew in the encoding that the daemon reads. The previous
/// file stays beside it.
fn rewrite_in_place(path: &Utf8Path, aside: &Path, flaw: &Flaw) -> WayOut {
    let copy = format!("cp -pn {} {}", quote(path), quote(aside));
    let command = format!("{copy} && {} > {}", flaw.filter(aside), quote(path));
    WayOut::Rewrite { path: path.to_owned(), command }
}

fn restore(to: &Utf8Path, make_dir: &str, aside: Option<&Path>) -> WayOut {
    let first = aside.map_or_else(String::new, |aside| format!("mv -n {} {} && ", quote(to), quote(aside)));
    let command = format!("{make_dir}{first}cp -pn {BACKUP} {}", quote(to));
    WayOut::Restore { to: to.to_owned(), command }
}

fn show_entry(path: &Path) -> WayOut {
    WayOut::ShowEntry { path: path.to_owned(), command: format!("ls -ld {}", quote(path)) }
}

fn newer_refusal(path: &Path, version: u64) -> Refusal {
    Refusal::new(Problem::Newer { path: path.to_owned(), version }, vec![WayOut::Update])
}

fn unreadable_refusal(error: &DiskError) -> Refusal {
    let path = error.path().to_owned();
    let ways = vec![show_entry(&path)];
    Refusal::new(Problem::Unreadable { path, source: error.clone() }, ways)
}

fn dangling_refusal(symlink: &Path, target: &Path) -> Refusal {
    let command = format!("readlink {}", quote(symlink));
    let ways = vec![WayOut::ShowEntry { path: symlink.to_owned(), command }];
    Refusal::new(Problem::Unreachable { path: symlink.to_owned(), target: target.to_owned() }, ways)
}

fn hidden_peers_refusal(symlink: &Path, target: &Path, give_up: Option<WayOut>) -> Refusal {
    let ways = [show_entry(symlink)].into_iter().chain(give_up).collect();
    Refusal::new(Problem::PeersUnreachable { path: symlink.to_owned(), target: target.to_owned() }, ways)
}

/// Fails if the rosters and states are behind a broken or circular symlink: a daemon would treat
/// the device as one without peers.
///
/// # Errors
/// Returns the refusal, also if a part of the path cannot be inspected.
pub fn ensure_reachable_peers(disk: &dyn Disk, home: &Home) -> Result<(), Refusal> {
    match dangling_peers(disk, home) {
        Ok(None) => Ok(()),
        Ok(Some((symlink, target))) => {
            let command = move_aside(&symlink, "set-aside");
            let aside = WayOut::SetAside { path: symlink.clone(), command };
            Err(hidden_peers_refusal(&symlink, &target, Some(aside)))
        }
        Err(error) => Err(unreadable_refusal(&error)),
    }
}
