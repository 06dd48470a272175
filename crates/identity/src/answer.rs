//! Derives the answer from a look. Pure.

use std::path::{Path, PathBuf};

use myownllm_durable_fs::{DiskError, PART_SUFFIX, TEMP_PREFIX, quote};
use serde::Serialize;

use crate::{
    file::{Flaw, Identity, KeyInfo},
    look::{Look, Misplaced, Named, Seen, Spot},
    permit::Expected,
    places::Home,
    refusal::{Candidate, FoundElsewhere, Problem, Refusal, Side, WayOut, lossy, make_dir},
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
        #[serde(serialize_with = "lossy")]
        path: PathBuf,
        /// True if the daemon's config names the file, and the file is not the one in the daemon
        /// home.
        named: bool,
    },
    /// A sound identity file exists, and must be brought to the place where the daemon looks for
    /// it.
    Pending {
        /// The key of the file.
        key: KeyInfo,
        /// The file.
        #[serde(serialize_with = "lossy")]
        path: PathBuf,
        /// The step that brings the file there.
        by: Pending,
        /// The reason why no daemon may be started before that step.
        refusal: Refusal,
    },
    /// No identity file exists, and nothing shows that there was one: a daemon may create one.
    NoneYet,
    /// No daemon may be started.
    Refused(Refusal),
}

/// The step that brings the identity file to the place where the daemon looks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Pending {
    /// The move.
    Move,
    /// A change of the daemon's config, which still names the path that the file has moved from.
    Config,
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
    ///
    /// Returns the reason why no daemon may be used or started.
    pub fn expected(&self) -> Result<Expected, Refusal> {
        match self {
            Self::Sound { key, .. } => Ok(Expected::key(&key.device_id)),
            Self::NoneYet => Ok(Expected::new_key()),
            Self::Pending { refusal, .. } | Self::Refused(refusal) => Err(refusal.clone()),
        }
    }

    pub(crate) fn is_key(&self) -> bool {
        self.key().is_some()
    }
}

/// One of the two places of the identity file, and the state of that place.
#[derive(Clone, Copy)]
struct Place<'a> {
    home: &'a Home,
    seen: &'a Seen,
}

impl Look {
    fn daemon_place(&self) -> Place<'_> {
        Place { home: &self.places.daemon, seen: &self.daemon }
    }

    fn app_place(&self) -> Place<'_> {
        Place { home: &self.places.app, seen: &self.app }
    }

    /// Returns both places, the daemon home first: it lies in the app's home.
    fn both(&self) -> [Place<'_>; 2] {
        [self.daemon_place(), self.app_place()]
    }

    /// Says whether a daemon may be started, and with which key. The same look gives the same
    /// answer.
    #[must_use]
    pub fn answer(&self) -> Answer {
        if let Some(refusal) = self.trouble() {
            return Answer::Refused(refusal);
        }
        let in_home = |seen: &Seen| seen.spot.identity().and_then(Identity::key).cloned();
        let (daemon, app) = (in_home(&self.daemon), in_home(&self.app));
        match &self.named {
            Named::Home => {}
            Named::Elsewhere(path, Spot::File(Identity::Valid(key))) if *path != self.places.app.identity => {
                return Answer::Sound { key: key.clone(), path: path.clone(), named: true };
            }
            // The next move moves this file, and the config is changed to the new path then.
            Named::Elsewhere(path, Spot::File(Identity::Valid(_))) if *path == self.places.app.identity => {}
            Named::Unreadable(_) if daemon.is_some() || app.is_some() => {}
            Named::Unreadable(error) => return Answer::Refused(unreadable(error)),
            Named::Stale { named, moved, identity: Identity::Valid(key) } => {
                let refusal = self.named_elsewhere(named, "is not there");
                return Answer::Pending {
                    key: key.clone(),
                    path: moved.clone(),
                    by: Pending::Config,
                    refusal,
                };
            }
            Named::Stale { named, .. } => {
                return Answer::Refused(self.named_elsewhere(named, "is not there"));
            }
            Named::Relative(named) => {
                return Answer::Refused(self.named_elsewhere(named, "is no absolute path"));
            }
            Named::Elsewhere(named, spot) => {
                return Answer::Refused(self.named_elsewhere(named, &why_unusable(spot)));
            }
        }
        match (&self.daemon.spot, daemon, app) {
            (Spot::File(_), Some(key), _) => {
                Answer::Sound { key, path: self.places.daemon.identity.clone(), named: false }
            }
            (_, Some(key), _) => self.pending(key, &self.places.daemon.identity),
            (_, None, Some(key)) => self.pending(key, &self.places.app.identity),
            (_, None, None) => self.none(),
        }
    }

    /// Returns the problem at the two places themselves.
    fn trouble(&self) -> Option<Refusal> {
        for Place { home, seen } in self.both() {
            if let Some(Identity::Newer { version }) = seen.spot.identity() {
                return Some(newer(&home.identity, *version));
            }
        }
        if let (Some(Identity::Valid(daemon)), Some(Identity::Valid(app))) =
            (self.daemon.spot.identity(), self.app.spot.identity())
            && daemon.public_key != app.public_key
        {
            return Some(self.two(app, daemon));
        }
        for Place { seen, .. } in self.both() {
            match &seen.spot {
                Spot::Unreadable(error) => return Some(unreadable(error)),
                Spot::Dangling { link, target } => return Some(dangling(link, target)),
                _ => {}
            }
        }
        match (self.daemon.spot.identity(), self.app.spot.identity()) {
            (Some(Identity::Damaged { why, flaw }), app) => {
                let keep = matches!(app, Some(Identity::Valid(_))).then_some(Side::OldLocation);
                Some(self.damaged(self.daemon_place(), why, *flaw, keep))
            }
            (Some(_), _) => None,
            (None, Some(Identity::Damaged { why, flaw })) => {
                Some(self.damaged(self.app_place(), why, *flaw, None))
            }
            (None, app) => match (&self.daemon.spot, &self.app.spot) {
                (Spot::Odd { path, what }, _) => {
                    Some(self.odd(self.daemon_place(), path, what, app.is_some()))
                }
                (_, Spot::Odd { path, what }) => Some(self.odd(self.app_place(), path, what, false)),
                _ => None,
            },
        }
    }

    fn pending(&self, key: KeyInfo, path: &Path) -> Answer {
        let (path, place) = (path.to_owned(), self.places.daemon.identity.clone());
        let refusal = Refusal::new(Problem::Pending { path: path.clone(), place }, vec![WayOut::Migrate]);
        Answer::Pending { key, path, by: Pending::Move, refusal }
    }

    /// Returns the temporary file of a killed move that holds the only copy of the key: the next
    /// move renames it back.
    fn interrupted(&self) -> Option<(&Misplaced, &KeyInfo)> {
        let first = self.misplaced.first()?;
        let key = first.identity.key()?;
        let is_ours = |found: &Misplaced| {
            let name = found.path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with(TEMP_PREFIX)
                && name.ends_with(PART_SUFFIX)
                && !found.is_link
                && self.places.homes().iter().any(|home| found.path.parent() == Some(home.secrets()))
                && found.identity.key().is_some_and(|other| other.public_key == key.public_key)
        };
        // If another file holds the key too, the next move treats the temporary file as
        // superfluous.
        self.misplaced.iter().all(is_ours).then_some((first, key))
    }

    /// Answers for two empty places.
    fn none(&self) -> Answer {
        if let Some((found, key)) = self.interrupted() {
            return self.pending(key.clone(), &found.path);
        }
        if let Some(found) = self.misplaced.first()
            && self.misplaced.iter().all(|found| matches!(found.identity, Identity::Newer { .. }))
            && let Identity::Newer { version } = found.identity
        {
            return Answer::Refused(newer(&found.path, version));
        }
        if !self.misplaced.is_empty() || !self.known_by().is_empty() {
            return Answer::Refused(self.gone());
        }
        match self.unreadable.first() {
            Some(error) => Answer::Refused(unreadable(error)),
            None => Answer::NoneYet,
        }
    }

    fn known_by(&self) -> Vec<Place<'_>> {
        self.both().into_iter().filter(|place| !place.seen.known_by.is_nobody()).collect()
    }

    fn gone(&self) -> Refusal {
        let known_by = self.known_by();
        // Prefers the home whose rosters or states know the device.
        let home = match known_by.first() {
            Some(place) if self.misplaced.is_empty() => place.home,
            _ => &self.places.daemon,
        };
        let mut ways = self.bring_back(None, None);
        let place = match ways.first() {
            Some(WayOut::BringBack { to, .. }) => to.clone(),
            _ => home.identity.clone(),
        };
        if ways.is_empty() {
            ways.push(restore(&place, self.missing_dir(&place), None));
        }
        ways.extend(self.give_up());
        let found = self.misplaced.iter().map(|found| FoundElsewhere {
            path: found.path.clone(),
            device_id: found.identity.key().map(|key| key.device_id.clone()),
            named_by: found.named_by.clone(),
        });
        let found = found.collect();
        let of = |place: &Place<'_>| (place.home.path.clone(), place.seen.known_by.clone());
        let known_by = known_by.iter().map(of).collect();
        Refusal::new(Problem::Gone { place, found, known_by }, ways)
    }

    /// Returns the home that contains a file, if one does.
    fn home_of(&self, path: &Path) -> Option<&Home> {
        self.both().into_iter().map(|place| place.home).find(|home| path.starts_with(&home.path))
    }

    /// Returns the commands that bring the found files back: to `to`, or each to the place in its
    /// own home. The entry in that place is set aside first.
    fn bring_back(&self, to: Option<&Path>, aside: Option<&Path>) -> Vec<WayOut> {
        let sound = self.misplaced.iter().filter(|found| found.identity.key().is_some());
        let way = |from: &Misplaced| {
            let home = self.home_of(&from.path).unwrap_or(&self.places.daemon);
            let to = to.unwrap_or(&home.identity);
            let command = self.transfer(from, to, aside);
            WayOut::BringBack { from: from.path.clone(), to: to.to_owned(), command }
        };
        sound.map(way).collect()
    }

    /// Returns a command that renames a file inside a home, and copies a file outside of both: that
    /// file may belong to another program.
    fn transfer(&self, from: &Misplaced, to: &Path, aside: Option<&Path>) -> String {
        let in_home = self.home_of(&from.path).is_some();
        let verb = if in_home && !from.is_link { "mv -n" } else { "cp -pn" };
        let Some(aside) = aside else {
            return format!("{}{verb} {} {}", make_dir(self.missing_dir(to)), quote(&from.path), quote(to));
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

    /// Returns the directory of a file if the directory may be missing.
    fn missing_dir<'p>(&self, file: &'p Path) -> Option<&'p Path> {
        let dir = file.parent()?;
        let is_there =
            self.both().into_iter().any(|place| place.home.secrets() == dir && place.seen.has_secrets);
        (!is_there).then_some(dir)
    }

    /// Returns a command that sets aside the rosters and states that know the device, and the found
    /// files. Returns `None` if a found file lies outside the homes, because the next look would
    /// find that file again.
    fn give_up(&self) -> Option<WayOut> {
        if self.misplaced.iter().any(|found| self.home_of(&found.path).is_none()) {
            return None;
        }
        let commands = self.both().into_iter().filter_map(|Place { home, seen }| {
            let peers = home.rosters.parent().filter(|_| !seen.known_by.is_nobody());
            let files = self.misplaced.iter().map(|found| found.path.as_path());
            let files = files.filter(|path| self.home_of(path) == Some(home));
            let names: Vec<String> = peers.into_iter().chain(files).map(quote).collect();
            let (make, dir) = (make_dir(Some(&seen.given_up)), quote(&seen.given_up));
            (!names.is_empty()).then(|| format!("{make}mv -n {} {dir}/", names.join(" ")))
        });
        let commands: Vec<String> = commands.collect();
        (!commands.is_empty()).then(|| WayOut::GiveUpPeers { command: commands.join(" && ") })
    }

    fn damaged(&self, place: Place<'_>, why: &str, flaw: Option<Flaw>, keep: Option<Side>) -> Refusal {
        let Place { home, seen } = place;
        let path = &home.identity;
        let mut ways: Vec<WayOut> = flaw.map(|flaw| rewrite(path, &seen.aside, flaw)).into_iter().collect();
        ways.extend(keep.map(|side| WayOut::Keep { side: Some(side) }));
        ways.extend(self.bring_back(Some(path), Some(&seen.aside)));
        if ways.is_empty() {
            ways.push(restore(path, None, Some(&seen.aside)));
        }
        ways.push(self.start_anew(path, &seen.aside));
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

    fn odd(&self, place: Place<'_>, path: &Path, what: &'static str, has_key: bool) -> Refusal {
        let Place { home, seen } = place;
        let mut ways = Vec::new();
        // No file can be put below a file that stands in the place of a directory, and a pending
        // key needs no command.
        if path == home.identity && !has_key {
            ways.extend(self.bring_back(Some(path), Some(&seen.aside)));
            if ways.is_empty() && !self.known_by().is_empty() {
                ways.push(restore(path, None, Some(&seen.aside)));
            }
        }
        ways.push(if has_key {
            let command = format!("test -e {1} || mv -n {0} {1}", quote(path), quote(&seen.aside));
            WayOut::SetAside { path: path.to_owned(), command }
        } else {
            self.start_anew(path, &seen.aside)
        });
        Refusal::new(Problem::Odd { path: path.to_owned(), what }, ways)
    }

    fn two(&self, app: &KeyInfo, daemon: &KeyInfo) -> Refusal {
        let candidate = |Place { home, seen }: Place<'_>, key: &KeyInfo| {
            let (path, key, known_by) = (home.identity.clone(), key.clone(), seen.known_by.clone());
            Box::new(Candidate { path, key, known_by })
        };
        // A key without peers was just created. If both keys have peers, or neither has, no side is
        // chosen.
        let side = match (self.app.known_by.is_nobody(), self.daemon.known_by.is_nobody()) {
            (false, true) => Some(Side::OldLocation),
            (true, false) => Some(Side::DaemonHome),
            _ => None,
        };
        let problem = Problem::TwoIdentities {
            old_location: candidate(self.app_place(), app),
            daemon_home: candidate(self.daemon_place(), daemon),
        };
        Refusal::new(problem, vec![WayOut::Keep { side }])
    }

    /// Refuses a config that names a file that no daemon can use.
    fn named_elsewhere(&self, named: &Path, why: &str) -> Refusal {
        let config = &self.places.daemon_config;
        let in_home = [&self.daemon.spot, &self.app.spot].into_iter().find_map(|spot| spot.identity()?.key());
        let mut why = why.to_owned();
        let mut ways = Vec::new();
        if let Some(key) = in_home {
            why.push_str(&format!("; the identity file in its home is that of {}", key.device_id));
            ways.push(mend_config(config, &self.config_aside));
        }
        match &self.named {
            Named::Elsewhere(_, Spot::Absent) => {
                ways.extend(self.bring_back(Some(named), None));
                ways.push(restore(named, self.missing_dir(named), None));
            }
            Named::Elsewhere(_, Spot::File(Identity::Damaged { flaw, .. })) => {
                ways.extend(flaw.map(|flaw| rewrite(named, &self.named_aside, flaw)));
                ways.extend(self.bring_back(Some(named), Some(&self.named_aside)));
                ways.push(restore(named, None, Some(&self.named_aside)));
            }
            Named::Elsewhere(..) => ways.push(look_at(named)),
            _ if in_home.is_none() => ways.push(mend_config(config, &self.config_aside)),
            _ => {}
        }
        let problem = Problem::NamedElsewhere { config: config.clone(), named: named.to_owned(), why };
        Refusal::new(problem, ways)
    }
}

/// Returns a command that writes the file anew in the encoding that the daemon reads. The previous
/// file stays beside it.
fn rewrite(path: &Path, aside: &Path, flaw: Flaw) -> WayOut {
    let copy = format!("cp -pn {} {}", quote(path), quote(aside));
    let command = format!("{copy} && {} > {}", flaw.filter(aside), quote(path));
    WayOut::Rewrite { path: path.to_owned(), command }
}

fn restore(to: &Path, missing_dir: Option<&Path>, aside: Option<&Path>) -> WayOut {
    let first = aside.map_or_else(String::new, |aside| format!("mv -n {} {} && ", quote(to), quote(aside)));
    let command = format!("{}{first}cp -pn {BACKUP} {}", make_dir(missing_dir), quote(to));
    WayOut::Restore { to: to.to_owned(), command }
}

/// Returns a command that writes the config anew without the name of an identity file. The previous
/// config stays beside it.
fn mend_config(config: &Path, aside: &Path) -> WayOut {
    let [config_name, aside] = [config, aside].map(quote);
    let script = r#"s/"identity_path"[[:space:]]*:[[:space:]]*"([^"\\]|\\.)*"/"identity_path": null/"#;
    let command = format!("cp -pn {config_name} {aside} && sed -E '{script}' {aside} > {config_name}");
    WayOut::MendConfig { config: config.to_owned(), command }
}

fn look_at(path: &Path) -> WayOut {
    WayOut::Look { path: path.to_owned(), command: format!("ls -ld {}", quote(path)) }
}

fn newer(path: &Path, version: u64) -> Refusal {
    Refusal::new(Problem::Newer { path: path.to_owned(), version }, vec![WayOut::Update])
}

fn unreadable(error: &DiskError) -> Refusal {
    let path = error.path().to_owned();
    let ways = vec![look_at(&path)];
    Refusal::new(Problem::Unreadable { path, source: error.clone() }, ways)
}

fn dangling(link: &Path, target: &Path) -> Refusal {
    let command = format!("readlink -f {}", quote(link));
    let ways = vec![WayOut::Look { path: link.to_owned(), command }];
    Refusal::new(Problem::Unreachable { path: link.to_owned(), target: target.to_owned() }, ways)
}

/// Returns the reason why a named file cannot be used, in words that follow the file's name.
fn why_unusable(spot: &Spot) -> String {
    match spot {
        Spot::Absent => "is not there".to_owned(),
        Spot::File(Identity::Damaged { why, .. }) => format!("is damaged: {why}"),
        Spot::File(Identity::Newer { version }) => {
            format!("is of version {version}, newer than this program knows")
        }
        Spot::Dangling { target, .. } => {
            format!("is behind a symlink to {}, where there is nothing", target.display())
        }
        Spot::Unreadable(error) => format!("cannot be read: {}", error.io()),
        Spot::Odd { what, .. } => format!("is {what}"),
        Spot::File(Identity::Valid(_)) | Spot::Quarantined(_) => "is pending".to_owned(),
    }
}
