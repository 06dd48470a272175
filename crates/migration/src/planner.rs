//! Decides the steps from the inventory and the user's options. Pure.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use myownllm_identity::{Identity, KeyInfo, Refusal};

use crate::{
    error::{MigrationError, Side},
    homes::{Direction, Homes, Keep, Options},
    inventory::{Aside, DestinationState, Inventory, Key, SingleFile, StateDir},
    plan::{Collision, IdentityState, Plan, Retarget, Step, parent},
};

/// Returns the plan for this inventory. Pure: the same inventory and options give the same plan.
pub fn plan(homes: &Homes, inventory: &Inventory, options: &Options) -> Plan {
    let dir_of = |path: &Path| path.parent().map(Path::to_owned);
    let mut plan = Plan {
        direction: inventory.direction,
        source: inventory.source.clone(),
        destination: inventory.destination.clone(),
        prepare: Vec::new(),
        state: Vec::new(),
        identity_steps: Vec::new(),
        tidy: Vec::new(),
        collisions: Vec::new(),
        left: inventory.left.clone(),
        errors: Vec::new(),
        refusals: Vec::new(),
        identity: IdentityState::Absent,
        loose: inventory.loose.clone(),
        secret_dirs: [homes.identity(), homes.custody()]
            .into_iter()
            .filter_map(|name| dir_of(&inventory.destination.join(name)))
            .collect(),
        owner: inventory.owner,
        homes: homes.clone(),
    };
    let mut planner = Planner {
        inventory,
        options,
        command: format!(
            "{} migrate{}",
            homes.program,
            if inventory.direction == Direction::Undo { " --undo" } else { "" }
        ),
        plan: &mut plan,
        modes: Vec::new(),
        kept_dirs: Vec::new(),
    };
    for dir in &inventory.dirs {
        planner.dir(dir);
    }
    if let Some(single) = &inventory.legacy_roster {
        planner.single(single, false);
    }
    if let Some(single) = &inventory.custody {
        planner.single(single, true);
    }
    planner.identity();
    planner.hold_back_the_identity();
    planner.add_setup_and_cleanup();
    plan
}

struct Planner<'a> {
    inventory: &'a Inventory,
    options: &'a Options,
    command: String,
    plan: &'a mut Plan,
    /// The modes to set on files before they move.
    modes: Vec<(PathBuf, u32)>,
    /// The directories of the source in which an entry stays.
    kept_dirs: Vec<PathBuf>,
}

impl<'a> Planner<'a> {
    fn keep_dir_of(&mut self, source: &Path) {
        self.kept_dirs.extend(source.parent().map(Path::to_owned));
    }

    /// Returns the decision on the pair of identity files. Only the decision on identities settles
    /// two different identities: a user who chooses between rosters has not said which device this
    /// is.
    fn key_decision(&self, here: &Key, there: &Key) -> Option<Keep> {
        match (&here.identity, &there.identity) {
            (Identity::Valid(mine), Identity::Valid(theirs)) if mine.public_key != theirs.public_key => {
                self.options.keep_identity
            }
            _ => self.options.keep_identity.or(self.options.keep),
        }
    }

    /// Returns the side that wins. Of a symlink and its target, the target wins: the other choice
    /// would leave a symlink to nothing.
    fn winner(pair: &DestinationState, keep: Option<Keep>) -> Option<Keep> {
        match pair {
            DestinationState::Differs { file: Some(file), .. } => keep.map(|_| *file),
            _ => keep,
        }
    }

    /// Returns the steps for two files that differ.
    fn collision(
        &mut self,
        winner: Option<Keep>,
        [source, destination]: [&Path; 2],
        pair: &DestinationState,
        step: Step,
    ) -> Vec<Step> {
        let DestinationState::Differs { aside_source, aside_destination, .. } = pair else {
            return Vec::new();
        };
        let set_aside = |from: &Path, aside: &Aside| Step::SetAside {
            from: from.to_owned(),
            to: aside.to.clone(),
            symlink: aside.symlink.clone(),
        };
        match winner {
            None => {
                self.keep_dir_of(source);
                self.plan
                    .collisions
                    .push(Collision { source: source.to_owned(), destination: destination.to_owned() });
                Vec::new()
            }
            Some(Keep::Source) => vec![set_aside(destination, aside_destination), step],
            Some(Keep::Destination) => vec![set_aside(source, aside_source)],
        }
    }

    fn dir(&mut self, dir: &StateDir) {
        let Some(items) = &dir.items else { return };
        if dir.whole {
            if dir.mode & 0o777 != 0o700 && self.inventory.owner.is_some() {
                self.modes.push((dir.source.clone(), 0o700));
            }
            self.plan.state.push(Step::MoveDir {
                from: dir.source.clone(),
                to: dir.destination.clone(),
                names: items.iter().map(|item| item.name.clone()).collect(),
            });
            return;
        }
        let mut names = Vec::new();
        let mut others = Vec::new();
        for item in items {
            let (source, destination) = (dir.source.join(&item.name), dir.destination.join(&item.name));
            match &item.pair {
                DestinationState::Free => names.push(item.name.clone()),
                DestinationState::Same => {
                    others.push(Step::RemoveIdentical { source, destination, link: None })
                }
                pair => {
                    let step = Step::MoveFile { from: source.clone(), to: destination.clone() };
                    let winner = Self::winner(pair, self.options.keep);
                    others.extend(self.collision(winner, [&source, &destination], pair, step));
                }
            }
        }
        if !names.is_empty() {
            self.plan.state.push(Step::MoveFiles {
                from: dir.source.clone(),
                to: dir.destination.clone(),
                names,
            });
        }
        self.plan.state.extend(others);
    }

    fn single(&mut self, single: &SingleFile, secret: bool) {
        let (source, destination) = (&single.source, &single.destination);
        let step = Step::MoveFile { from: source.clone(), to: destination.clone() };
        let steps = match &single.pair {
            DestinationState::Free => vec![step],
            DestinationState::Same => {
                vec![Step::RemoveIdentical {
                    source: source.clone(),
                    destination: destination.clone(),
                    link: None,
                }]
            }
            pair => {
                // The second-factor lock of an identity moves with the identity.
                let keep =
                    if secret { self.options.keep_identity.or(self.options.keep) } else { self.options.keep };
                self.collision(Self::winner(pair, keep), [source, destination], pair, step)
            }
        };
        if secret && !steps.is_empty() {
            self.private(source, single.mode);
            if let Some(mode) = single.mode_there {
                self.private(destination, mode);
            }
        }
        self.plan.state.extend(steps);
    }

    /// A file of `.secrets` ends with mode 0600. The mode is set at the source, so that the file is
    /// never wider at the destination.
    fn private(&mut self, path: &Path, mode: u32) {
        if self.inventory.owner.is_some() && mode & 0o777 != 0o600 {
            self.modes.push((path.to_owned(), 0o600));
        }
    }

    fn damaged(&self, key: &Key, why: &str, keep: Option<Keep>) -> MigrationError {
        let remedy = match keep {
            Some(keep) => {
                let place = keep.place(self.inventory.direction);
                Some(format!("{} --keep-identity {place}", self.command))
            }
            None => self.refusal().filter(|refusal| refusal.path() == key.path).and_then(Refusal::hint),
        };
        MigrationError::IdentityDamaged { path: key.path.clone(), why: why.to_owned(), remedy }
    }

    /// Returns the reason why no daemon may be started.
    fn refusal(&self) -> Option<&'a Refusal> {
        self.inventory.answer.refusal()
    }

    fn side(&self, key: &Key, info: &KeyInfo, counts: (usize, usize)) -> Box<Side> {
        Box::new(Side { path: key.path.clone(), key: info.clone(), rosters: counts.0, states: counts.1 })
    }

    fn move_key(&mut self, key: &Key) -> Step {
        let (from, to) = (self.inventory.source_key_path(key), self.inventory.key_destination.clone());
        match (&key.link, &self.inventory.key_target) {
            (Some(old), Some(target)) => Step::MoveLink {
                from,
                to,
                symlink: Retarget { old_target: old.clone(), target: target.clone() },
            },
            _ => {
                self.private(&from.clone(), key.meta.mode);
                Step::MoveFile { from, to }
            }
        }
    }

    fn identity(&mut self) {
        let inventory = self.inventory;
        let (source, destination) = (&inventory.source_key, &inventory.destination_key);
        for key in [source, destination].into_iter().flatten() {
            if let Identity::Newer { version } = key.identity {
                self.plan.refusals.push(MigrationError::IdentityNewer { path: key.path.clone(), version });
            }
        }
        self.plan.identity = match (source, destination) {
            _ if inventory.key_trouble => {
                IdentityState::Blocked { why: "it cannot be read, see the errors".to_owned() }
            }
            (None, None) => self.refusal().map_or(IdentityState::Absent, IdentityState::refused),
            (_, Some(there)) => IdentityState::of(&there.identity, true),
            (Some(here), None) => IdentityState::of(&here.identity, false),
        };
        match (source, destination) {
            (None, None) => {
                let gone = self.refusal().filter(|refusal| Refusal::is_missing(refusal));
                self.plan
                    .refusals
                    .extend(gone.map(|refusal| MigrationError::Identity(Box::new(refusal.clone()))));
            }
            (None, Some(there)) => {
                if let Identity::Damaged { why, .. } = &there.identity {
                    let error = self.damaged(there, why, None);
                    self.plan.errors.push(error);
                }
            }
            (Some(here), None) => match &here.identity {
                Identity::Damaged { why, .. } => {
                    let error = self.damaged(here, why, None);
                    self.plan.errors.push(error);
                    self.keep_dir_of(&inventory.source_key_path(here));
                }
                // The destination holds something that could not be inspected.
                _ if inventory.key_trouble => self.keep_dir_of(&inventory.source_key_path(here)),
                _ => {
                    let step = self.move_key(here);
                    self.plan.identity_steps.push(step);
                }
            },
            (Some(here), Some(there)) => self.resolve_two_identities(here, there),
        }
    }

    /// Handles an identity file on both sides.
    fn resolve_two_identities(&mut self, here: &Key, there: &Key) {
        let from = self.inventory.source_key_path(here);
        let to = self.inventory.key_destination.clone();
        let pair = &self.inventory.key_pair;
        match pair {
            DestinationState::Same => {
                if let Identity::Damaged { why, .. } = &there.identity {
                    let error = self.damaged(there, why, None);
                    self.plan.errors.push(error);
                    return self.keep_dir_of(&from);
                }
                if there.link.is_none() {
                    self.private(&to, there.meta.mode);
                }
                let same = Step::RemoveIdentical { source: from, destination: to, link: here.link.clone() };
                return self.plan.identity_steps.push(same);
            }
            // The two could not be compared.
            DestinationState::Free => return self.keep_dir_of(&from),
            DestinationState::Differs { .. } => {}
        }
        let winner = Self::winner(pair, self.key_decision(here, there));
        match (&here.identity, &there.identity, winner) {
            (Identity::Newer { .. }, ..) | (_, Identity::Newer { .. }, _) => {}
            (Identity::Valid(_), Identity::Valid(_), Some(_))
            | (Identity::Valid(_), Identity::Damaged { .. }, Some(Keep::Source))
            | (Identity::Damaged { .. }, Identity::Valid(_), Some(Keep::Destination)) => {
                let step = match winner {
                    Some(Keep::Source) => self.move_key(here),
                    _ => Step::MoveFile { from: from.clone(), to: to.clone() },
                };
                for (key, path) in [(here, &from), (there, &to)] {
                    if key.link.is_none() {
                        self.private(path, key.meta.mode);
                    }
                }
                let steps = self.collision(winner, [&from, &to], pair, step);
                self.plan.identity_steps.extend(steps);
            }
            (Identity::Valid(mine), Identity::Valid(theirs), None) => {
                if mine.public_key == theirs.public_key {
                    // The same identity in different bytes: no identity is at stake.
                    let _ = self.collision(None, [&from, &to], pair, Step::RemoveDir { path: from.clone() });
                    return;
                }
                let why = "two different identities".to_owned();
                self.plan.identity = IdentityState::Blocked { why };
                let error = MigrationError::TwoIdentities {
                    source_side: self.side(here, mine, self.inventory.counts[0]),
                    destination_side: self.side(there, theirs, self.inventory.counts[1]),
                    command: self.command.clone(),
                    direction: self.inventory.direction,
                };
                self.plan.refusals.push(error);
            }
            (Identity::Valid(_), Identity::Damaged { why, .. }, _) => {
                // A damaged destination does not hide a valid source.
                let error = self.damaged(there, why, Some(Keep::Source));
                self.plan.refusals.push(error);
            }
            (Identity::Damaged { why, .. }, Identity::Valid(_), keep) => {
                let error = self.damaged(here, why, Some(Keep::Destination));
                if keep.is_some() {
                    self.plan.refusals.push(error);
                } else {
                    self.plan.errors.push(error);
                    let _ = self.collision(None, [&from, &to], pair, Step::RemoveDir { path: from.clone() });
                }
            }
            (Identity::Damaged { why: mine, .. }, Identity::Damaged { why: theirs, .. }, _) => {
                let errors = [self.damaged(here, mine, None), self.damaged(there, theirs, None)];
                self.plan.errors.extend(errors);
                self.keep_dir_of(&from);
            }
        }
    }

    /// Keeps the identity file at the source while anything that belongs with it cannot be read: its
    /// presence at the destination means "done".
    fn hold_back_the_identity(&mut self) {
        let Some(key) = self.inventory.source_key.as_ref() else { return };
        let has_failed = !self.inventory.errors.is_empty() || !self.plan.errors.is_empty();
        if has_failed && !self.plan.identity_steps.is_empty() {
            self.plan.identity_steps.clear();
            let path = self.inventory.source_key_path(key);
            self.keep_dir_of(&path);
            self.plan.errors.push(MigrationError::IdentityHeldBack { path });
        }
    }

    /// Adds the steps before and after the moves, if there are any moves.
    fn add_setup_and_cleanup(&mut self) {
        let inventory = self.inventory;
        let plan = &mut *self.plan;
        // Removes emptied directories, deepest first. A directory that moves as a whole is gone by
        // then.
        let whole: Vec<&PathBuf> = inventory.dirs.iter().filter(|f| f.whole).map(|f| &f.source).collect();
        let mut kept: Vec<&Path> = Vec::new();
        for (path, foreign) in inventory.source_dirs.iter().rev() {
            if whole.contains(&path) {
                continue;
            }
            let stays = *foreign > 0
                || self.kept_dirs.contains(path)
                || kept.iter().any(|below| below.starts_with(path));
            if stays {
                kept.push(path);
            } else {
                plan.tidy.push(Step::RemoveDir { path: path.clone() });
            }
        }
        let moves = !plan.state.is_empty() || !plan.identity_steps.is_empty();
        let mut prepare: Vec<Step> =
            inventory.leftovers.iter().map(|path| Step::RemoveLeftover { path: path.clone() }).collect();
        prepare.extend(
            inventory
                .quarantines
                .iter()
                .map(|(from, to)| Step::RestoreQuarantined { from: from.clone(), to: to.clone() }),
        );
        // The restored names must be durable before the directory that held them is removed.
        let restored: BTreeSet<_> = inventory.quarantines.iter().map(|(_, to)| parent(to)).collect();
        let emptied: BTreeSet<_> = inventory.quarantine_dirs.iter().map(|path| parent(path)).collect();
        prepare.extend(barrier(restored.intersection(&emptied).cloned().collect()));
        prepare.extend(inventory.quarantine_dirs.iter().map(|path| Step::RemoveDir { path: path.clone() }));
        if moves {
            let targets: Vec<&Path> = plan
                .state
                .iter()
                .chain(&plan.identity_steps)
                .filter_map(|step| match step {
                    Step::MoveFiles { to, .. } => Some(to.as_path()),
                    Step::MoveDir { to, .. }
                    | Step::MoveFile { to, .. }
                    | Step::MoveLink { to, .. }
                    | Step::SetAside { to, .. } => to.parent(),
                    _ => None,
                })
                .collect();
            for path in &inventory.missing_dirs {
                let replaced =
                    plan.state.iter().any(|step| matches!(step, Step::MoveDir { to, .. } if to == path));
                if !replaced && targets.iter().any(|target| target.starts_with(path)) {
                    prepare.push(Step::MakeDir { path: path.clone() });
                }
            }
            prepare
                .extend(inventory.owners.iter().map(|(path, owner)| Step::set_owner(path.clone(), *owner)));
            let mut modes: Vec<_> = inventory.modes.iter().chain(&self.modes).cloned().collect();
            modes.sort();
            modes.dedup();
            prepare.extend(modes.into_iter().map(|(path, mode)| Step::SetMode { path, mode }));
        }
        plan.prepare = prepare;
        if !plan.is_empty() {
            add_barriers(plan, &inventory.destination_dirs);
        }
        plan.errors.splice(0..0, inventory.errors.iter().cloned());
        if !plan.is_empty() || !plan.collisions.is_empty() || inventory.foreign {
            plan.refusals.splice(0..0, inventory.refusals.iter().cloned());
        } else if let Some(error) = inventory.refusals.iter().find(|error| error.is_about_source()) {
            // There is nothing to do, but only because the identity file could not be reached.
            plan.refusals.push(error.clone());
        }
    }
}

/// Returns the barrier for these directories; `None` if there are none.
fn barrier(directories: BTreeSet<PathBuf>) -> Option<Step> {
    let directories: Vec<PathBuf> = directories.into_iter().collect();
    (!directories.is_empty()).then_some(Step::Sync { directories, sources: false })
}

/// Adds a barrier wherever a step relies on the results of earlier steps, and groups the steps that
/// share a barrier.
fn add_barriers(plan: &mut Plan, destination_dirs: &[PathBuf]) {
    // Everything prepared is durable before anything moves, and so are the sources themselves: a
    // name at the destination must not appear before its content is safe. A run that was killed
    // before its barrier may have written the destination.
    let mut prepared: BTreeSet<PathBuf> = destination_dirs.iter().cloned().collect();
    for step in &plan.prepare {
        match step {
            Step::RemoveDir { path } => drop(prepared.insert(parent(path))),
            Step::MakeDir { path } => prepared.extend([path.clone(), parent(path)]),
            _ => {}
        }
    }
    for step in plan.state.iter().chain(&plan.identity_steps) {
        match step {
            Step::MoveDir { from, .. } => prepared.extend([from.clone(), parent(from)]),
            Step::MoveFiles { from, .. } => drop(prepared.insert(from.clone())),
            Step::MoveFile { from, .. } | Step::SetAside { from, .. } | Step::MoveLink { from, .. } => {
                prepared.insert(parent(from));
            }
            _ => {}
        }
    }
    plan.prepare.push(Step::Sync { directories: prepared.into_iter().collect(), sources: true });
    for steps in [&mut plan.state, &mut plan.identity_steps] {
        *steps = with_barriers(std::mem::take(steps));
    }
    let gone: BTreeSet<_> = plan.tidy.iter().map(|step| step.path().to_owned()).collect();
    let emptied: BTreeSet<_> = gone.iter().map(|path| parent(path)).collect();
    plan.tidy.extend(barrier(emptied.difference(&gone).cloned().collect()));
}

/// Orders a batch: files that are set aside at the destination; files that move; sources that are
/// at the destination already. The barriers between them make a name durably free before the winner
/// gets it, and make the destination durable before a source is removed.
fn with_barriers(steps: Vec<Step>) -> Vec<Step> {
    let frees_name =
        |step: &Step| matches!(step, Step::SetAside { from, to, .. } if from.parent() == to.parent());
    let (asides, rest): (Vec<_>, Vec<_>) = steps.into_iter().partition(frees_name);
    let (removals, moves): (Vec<_>, Vec<_>) =
        rest.into_iter().partition(|step| matches!(step, Step::RemoveIdentical { .. }));
    let changed = |steps: &[Step]| steps.iter().flat_map(directories_of).collect::<BTreeSet<PathBuf>>();
    let sources = |steps: &[Step]| steps.iter().filter_map(source_directory).collect::<BTreeSet<PathBuf>>();
    let mut published = changed(&moves);
    published.extend(removals.iter().filter_map(|step| match step {
        Step::RemoveIdentical { destination, .. } => Some(parent(destination)),
        _ => None,
    }));
    let mut emptied = sources(&moves);
    emptied.extend(sources(&removals));
    let (aside_dirs, aside_sources) = (changed(&asides), sources(&asides));
    let mut all = asides;
    all.extend(barrier(aside_dirs));
    all.extend(remove_sources(aside_sources));
    all.extend(moves);
    all.extend(barrier(published));
    all.extend(removals);
    all.extend(remove_sources(emptied));
    all
}

/// Returns the step that removes the sources that remain in these directories; `None` if there are
/// none.
fn remove_sources(directories: BTreeSet<PathBuf>) -> Option<Step> {
    (!directories.is_empty()).then(|| Step::RemoveSources { directories: directories.into_iter().collect() })
}

/// Returns the directory in which a step may leave a source to remove. A directory that moves as a
/// whole counts for its files, which move one by one where the directory cannot.
fn source_directory(step: &Step) -> Option<PathBuf> {
    match step {
        Step::MoveDir { from, .. } | Step::MoveFiles { from, .. } => Some(from.clone()),
        Step::MoveFile { from, .. } | Step::MoveLink { from, .. } | Step::SetAside { from, .. } => {
            Some(parent(from))
        }
        Step::RemoveIdentical { source, .. } => Some(parent(source)),
        _ => None,
    }
}

/// Returns the directories in which a moving step changes names.
fn directories_of(step: &Step) -> Vec<PathBuf> {
    match step {
        Step::MoveDir { from, to, .. } => vec![parent(from), parent(to), to.clone()],
        Step::MoveFiles { from, to, .. } => vec![from.clone(), to.clone()],
        Step::MoveFile { from, to } | Step::MoveLink { from, to, .. } | Step::SetAside { from, to, .. } => {
            vec![parent(from), parent(to)]
        }
        _ => Vec::new(),
    }
}
