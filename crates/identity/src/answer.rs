//! Derives the answer from a scan. Pure.

use std::io;
use std::path::{Path, PathBuf};

use myownllm_durable_fs::{
    Disk, DiskError, PART_SUFFIX, TEMP_PREFIX, move_aside, quote, rename_unless_taken,
};
use myownllm_paths::camino::Utf8PathBuf;
use serde::Serialize;

use crate::{
    file::{Flaw, Identity, KeyInfo, is_id_of, public_key_of},
    paths::{Home, Side},
    permit::Expected,
    refusal::{FoundElsewhere, KnownIdentity, Problem, Refusal, WayOut, lossy},
    scan::{HomeScan, Misplaced, PlaceState, Scan, dangling_peers},
    ways_out::{restore, rewrite_in_place, show_entry},
};

/// Says whether a daemon may be started, and with which key.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
#[non_exhaustive]
#[allow(missing_docs, reason = "the doc of each variant names its fields")]
pub enum Answer {
    /// A sound identity file is where the daemon looks for it.
    Sound { key: KeyInfo, path: Utf8PathBuf },
    /// A sound identity file exists, and a move must bring it to the place where the daemon looks
    /// for it. The refusal says why no daemon may be started before the move.
    Pending {
        key: KeyInfo,
        #[serde(serialize_with = "lossy")]
        path: PathBuf,
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

    /// Returns the reason why no daemon may be started, neither now nor after a move.
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

    pub(crate) fn is_active(&self) -> bool {
        matches!(self, Self::Sound { .. })
    }
}

impl Scan {
    /// Decides if a daemon may be started, and with which key. Depends on the scan alone.
    pub fn answer(&self) -> Answer {
        let mut answer = self.answer_without_unprotect();
        if let (Answer::Refused(refusal), Some(unprotect)) = (&mut answer, &self.unprotect) {
            refusal.begin_commands_with(unprotect);
        }
        answer
    }

    fn answer_without_unprotect(&self) -> Answer {
        if let Some(refusal) = self.refusal_at_places() {
            return Answer::Refused(refusal);
        }
        match (&self.daemon.state, self.daemon.key().cloned(), self.app.key().cloned()) {
            (PlaceState::File(_), Some(key), _) => {
                Answer::Sound { key, path: self.places.daemon.identity.clone() }
            }
            (_, Some(key), _) => self.pending_answer(key, self.places.daemon.identity.as_std_path()),
            (_, None, Some(key)) => self.pending_answer(key, self.places.app.identity.as_std_path()),
            (_, None, None) => self.answer_without_file(),
        }
    }

    /// Returns the refusal that the two places alone decide.
    fn refusal_at_places(&self) -> Option<Refusal> {
        for scan in self.homes() {
            if let Some(Identity::Newer { version }) = scan.state.identity() {
                return Some(newer_refusal(scan.home.identity.as_std_path(), *version));
            }
        }
        if let (Some(daemon), Some(app)) = (self.daemon.key(), self.app.key())
            && daemon.public_key != app.public_key
        {
            return Some(self.two_identities_refusal(app, daemon));
        }
        for scan in self.homes() {
            match &scan.state {
                PlaceState::Unreadable(error) => return Some(unreadable_refusal(error)),
                PlaceState::Dangling { symlink, target } => {
                    return Some(self.unreachable_refusal(scan, symlink, target));
                }
                _ => {}
            }
        }
        match (self.daemon.state.identity(), self.app.state.identity()) {
            (Some(Identity::Damaged { why, flaw }), app) => {
                let keep = app.and_then(Identity::key);
                Some(self.damaged_refusal(&self.daemon, why, flaw.as_ref(), keep))
            }
            (Some(Identity::Valid(daemon)), Some(Identity::Damaged { why, flaw }))
                if self.is_stranger(daemon) =>
            {
                Some(self.damaged_refusal(&self.app, why, flaw.as_ref(), Some(daemon)))
            }
            (Some(_), _) => None,
            (None, Some(Identity::Damaged { why, flaw })) => {
                Some(self.damaged_refusal(&self.app, why, flaw.as_ref(), None))
            }
            (None, app) => match (&self.daemon.state, &self.app.state) {
                (PlaceState::NotAFile { path, what }, _) => {
                    Some(self.not_a_file_refusal(&self.daemon, path, what, app.is_some()))
                }
                (_, PlaceState::NotAFile { path, what }) => {
                    Some(self.not_a_file_refusal(&self.app, path, what, false))
                }
                _ => None,
            },
        }
    }

    /// Returns true if the run log shows that this home had another Device ID.
    fn is_other_device(&self, device_id: &str) -> bool {
        let public_key = public_key_of(device_id);
        self.logged.as_ref().is_some_and(|(_, logged)| !is_id_of(logged, &public_key))
    }

    /// Returns true if the rosters and states name this public key as an owner, or the run log
    /// shows its Device ID.
    pub(crate) fn knows_key(&self, public_key: &str) -> bool {
        let is_logged = |(_, device_id): &(_, String)| is_id_of(device_id, public_key);
        self.owners.contains(public_key) || self.logged.as_ref().is_some_and(is_logged)
    }

    /// Returns true if the run log shows another Device ID than this key's, or the rosters and
    /// states name another found key as an owner and not this one.
    fn is_stranger(&self, key: &KeyInfo) -> bool {
        let is_known_elsewhere = self.misplaced.iter().any(|found| found.is_named);
        self.is_other_device(&key.device_id) || (is_known_elsewhere && !self.knows_key(&key.public_key))
    }

    /// Answers for a key that waits for a move: refuses a key that this home does not know.
    fn pending_answer(&self, key: KeyInfo, path: &Path) -> Answer {
        if self.is_stranger(&key) {
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
        let show_or_give_up = |symlink| [show_target(symlink)].into_iter().chain(self.give_up()).collect();
        if let Some((symlink, target)) = self.empty.first() {
            let problem = Problem::DiskMissing { path: symlink.clone(), target: target.clone() };
            return Answer::Refused(Refusal::new(problem, show_or_give_up(symlink)));
        }
        if !self.misplaced.is_empty() {
            return Answer::Refused(self.missing_refusal());
        }
        if let Some((symlink, target)) = self.dangling.first() {
            let problem = Problem::Unreachable { path: symlink.clone(), target: target.clone() };
            return Answer::Refused(Refusal::new(problem, show_or_give_up(symlink)));
        }
        if let Some((symlink, target)) = self.dangling_peers.first() {
            return Answer::Refused(hidden_peers_refusal(symlink, target, self.give_up()));
        }
        match self.unreadable.first() {
            Some(error) => Answer::Refused(unreadable_refusal(error)),
            None if self.is_known() || !self.renamed.is_empty() => Answer::Refused(self.missing_refusal()),
            None => Answer::NoneYet,
        }
    }

    pub(crate) fn homes_with_peers(&self) -> Vec<&HomeScan> {
        self.homes().into_iter().filter(|scan| !scan.known_by.is_empty()).collect()
    }

    fn missing_refusal(&self) -> Refusal {
        let known_by = self.homes_with_peers();
        // Prefers the home whose rosters or states know the device.
        let home = match known_by.first() {
            Some(scan) if self.misplaced.is_empty() => &scan.home,
            _ => &self.places.daemon,
        };
        let mut ways = self.bring_back(None, None);
        let at_old_location = match &self.app.state {
            PlaceState::File(Identity::Valid(key)) => Some(key),
            _ => None,
        };
        ways.extend(at_old_location.map(|key| self.use_other_device(key)));
        ways.extend(self.bring_homes_back());
        let brought = ways.iter().find_map(|way| match way {
            WayOut::BringBack { to, .. } => Some(to.clone()),
            _ => None,
        });
        let place = brought.unwrap_or_else(|| home.identity.clone());
        let is_other = |way: &WayOut| match way {
            WayOut::BringBack { device_id: Some(id), .. } => self.is_other_device(id),
            _ => false,
        };
        // Only keys of other devices were found, or none: the user's own backup comes first.
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
        let dir_of = |scan: &HomeScan| match scan.evidence.as_slice() {
            [dir] if scan.known_by.custody == 0 && dir.parent() != Some(scan.home.path.as_std_path()) => {
                Utf8PathBuf::from_path_buf(dir.clone()).ok()
            }
            _ => None,
        };
        let evidence_of = |scan: &&HomeScan| {
            (dir_of(scan).unwrap_or_else(|| scan.home.path.clone()), scan.known_by.clone())
        };
        let renamed = self.renamed.iter().filter_map(|renamed| {
            Some((Utf8PathBuf::from_path_buf(renamed.path.clone()).ok()?, renamed.known_by.clone()))
        });
        let known_by = known_by.iter().map(evidence_of).chain(renamed).collect();
        let (logged, used_config) = (self.logged.clone(), self.used_config.clone());
        Refusal::new(Problem::Missing { place, found, known_by, logged, used_config }, ways)
    }

    /// Returns a found identity file that this home knows better than the active one, and the
    /// command that swaps the two: rosters or states name the found key as an owner and not the
    /// active one, or they name neither and only the found key is in the run log. Needs a
    /// [`scan_everywhere`](crate::scan_everywhere).
    pub fn better_known(&self) -> Option<(&Misplaced, String)> {
        let Answer::Sound { key, path } = self.answer() else { return None };
        let first = self.misplaced.first().filter(|found| found.is_named)?;
        // From its first launch on, the run log shows the active key as well, so an entry there
        // does not make it the home's own.
        let is_owner = |key: &KeyInfo| self.owners.contains(&key.public_key);
        let names_found = first.key.as_ref().is_some_and(is_owner);
        if is_owner(&key) || (self.knows_key(&key.public_key) && !names_found) {
            return None;
        }
        let command = match self.bring_back(Some(&path), Some(&self.daemon.aside)).into_iter().next()? {
            WayOut::BringBack { command, .. } => command,
            _ => return None,
        };
        Some((first, command))
    }

    /// Returns the refusal of a damaged file. `other` is the sound key at the other place.
    fn damaged_refusal(
        &self,
        scan: &HomeScan,
        why: &str,
        flaw: Option<&Flaw>,
        other: Option<&KeyInfo>,
    ) -> Refusal {
        let path = &scan.home.identity;
        let mut ways: Vec<WayOut> =
            flaw.map(|flaw| rewrite_in_place(path, &scan.aside, flaw)).into_iter().collect();
        let other_side = match scan.home == self.places.app {
            true => Side::DaemonHome,
            false => Side::OldLocation,
        };
        let keep = other.map(|_| WayOut::Keep { side: Some(other_side) });
        let is_stranger = other.is_some_and(|key| self.is_stranger(key));
        ways.extend(keep.clone().filter(|_| !is_stranger));
        ways.extend(self.bring_back(Some(path), Some(&scan.aside)));
        if ways.is_empty() {
            ways.push(restore(path, "", Some(&scan.aside)));
        }
        ways.extend(keep.filter(|_| is_stranger));
        ways.push(self.start_anew(path.as_std_path(), &scan.aside));
        Refusal::new(Problem::Damaged { path: path.clone(), why: why.to_owned() }, ways)
    }

    /// Returns the refusal of a broken symlink on the way to an identity file. A sound key comes
    /// before the symlink, unless it is another device's: the disk of the home's own may be missing.
    fn unreachable_refusal(&self, scan: &HomeScan, symlink: &Path, target: &Path) -> Refusal {
        let HomeScan { home, .. } = scan;
        let active = self.daemon.key().filter(|_| *home == self.places.app);
        let aside = (symlink == home.identity).then_some(scan.aside.as_path());
        let mut ways = match active {
            Some(_) => vec![WayOut::Keep { side: Some(Side::DaemonHome) }],
            None => self.bring_back(Some(&home.identity), aside),
        };
        let key = active.or_else(|| self.misplaced.first()?.key.as_ref());
        let is_own = key.is_some_and(|key| !self.is_stranger(key));
        let is_first = is_own || matches!(ways.first(), Some(WayOut::Choose));
        ways.insert(if is_first { ways.len() } else { 0 }, show_target(symlink));
        let problem = Problem::Unreachable { path: symlink.to_owned(), target: target.to_owned() };
        Refusal::new(problem, ways)
    }

    fn not_a_file_refusal(&self, scan: &HomeScan, path: &Path, what: &'static str, has_key: bool) -> Refusal {
        let HomeScan { home, .. } = scan;
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
            WayOut::SetAside { path: path.to_owned(), command: rename_unless_taken(path, &scan.aside) }
        } else {
            self.start_anew(path, &scan.aside)
        });
        Refusal::new(Problem::NotAFile { path: path.to_owned(), what }, ways)
    }

    fn two_identities_refusal(&self, app: &KeyInfo, daemon: &KeyInfo) -> Refusal {
        let candidate = |scan: &HomeScan, key: &KeyInfo, side| {
            let (path, key, known_by) = (scan.home.identity.clone(), key.clone(), scan.known_by.clone());
            Box::new(KnownIdentity { path, key, known_by, is_known: self.known_side == Some(side) })
        };
        // A key without peers was probably just created, so the other key wins. Without evidence
        // the user chooses.
        let has_peers = |scan: &HomeScan| !scan.known_by.is_empty();
        let side = self.known_side.or(match (has_peers(&self.app), has_peers(&self.daemon)) {
            (true, false) => Some(Side::OldLocation),
            (false, true) => Some(Side::DaemonHome),
            _ => None,
        });
        let problem = Problem::TwoIdentities {
            old_location: candidate(&self.app, app, Side::OldLocation),
            daemon_home: candidate(&self.daemon, daemon, Side::DaemonHome),
        };
        Refusal::new(problem, vec![WayOut::Keep { side }])
    }
}

fn newer_refusal(path: &Path, version: u64) -> Refusal {
    Refusal::new(Problem::Newer { path: path.to_owned(), version }, vec![WayOut::Update])
}

fn unreadable_refusal(error: &DiskError) -> Refusal {
    let path = error.path().to_owned();
    // A directory in the place of a file holds no key, so it can be set aside.
    let way = match error.kind() {
        io::ErrorKind::IsADirectory => {
            WayOut::SetAside { path: path.clone(), command: move_aside(&path, "set-aside") }
        }
        _ => show_entry(&path),
    };
    Refusal::new(Problem::Unreadable { path, source: error.clone() }, vec![way])
}

fn show_target(symlink: &Path) -> WayOut {
    WayOut::ShowEntry { path: symlink.to_owned(), command: format!("readlink {}", quote(symlink)) }
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
