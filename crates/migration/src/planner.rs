//! Decides the steps from the inventory and the user's options. Pure.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use myownllm_identity::{Answer, Identity, KeyInfo, KnownBy, KnownIdentity, Refusal};

use crate::{
    error::{MigrationError, Side},
    homes::{Direction, Homes, Keep, Options},
    inventory::{Aside, DestinationState, IdentityFile, Inventory, SingleFile, StateDir},
    plan::{Collision, IdentityState, MoveStep, Plan, PlanSteps, Retarget, parent},
};

pub(crate) fn plan(homes: &Homes, inventory: &Inventory, options: &Options) -> Plan {
    let mut plan = PlanSteps {
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
        writable_by_others: inventory.writable_by_others.clone(),
        secret_dirs: [homes.identity(), homes.custody()]
            .map(|name| parent(&inventory.destination.join(name)))
            .to_vec(),
        owner: inventory.owner,
        homes: homes.clone(),
    };
    let mut planner = Planner {
        inventory,
        options,
        command: command(homes, inventory.direction),
        plan: &mut plan,
        modes: Vec::new(),
        kept_dirs: Vec::new(),
    };
    for dir in &inventory.dirs {
        planner.plan_dir(dir);
    }
    for file in &inventory.files {
        planner.plan_single_file(file);
    }
    planner.plan_identity();
    planner.hold_back_identity();
    planner.plan_tidy();
    planner.plan_prepare();
    planner.add_findings();
    if !plan.is_empty() {
        add_barriers(&mut plan, &inventory.destination_dirs);
    }
    Plan(plan)
}

pub(crate) fn command(homes: &Homes, direction: Direction) -> String {
    format!("{} migrate{}", homes.program, if direction == Direction::Undo { " --undo" } else { "" })
}

struct Planner<'a> {
    inventory: &'a Inventory,
    options: &'a Options,
    command: String,
    plan: &'a mut PlanSteps,
    /// The modes to set on files before they move.
    modes: Vec<(PathBuf, u32)>,
    /// The directories of the source in which an entry stays.
    kept_dirs: Vec<PathBuf>,
}

impl<'a> Planner<'a> {
    fn keep_dir_of(&mut self, source: &Path) {
        self.kept_dirs.extend(source.parent().map(Path::to_owned));
    }

    /// Returns the decision on the two identity files. `--keep` alone does not choose between two
    /// different keys: a user who chooses between rosters has not said which device this is.
    fn keep_for_two_identities(&self, source: &IdentityFile, destination: &IdentityFile) -> Option<Keep> {
        match (&source.identity, &destination.identity) {
            (Identity::Valid(source_key), Identity::Valid(destination_key))
                if source_key.public_key != destination_key.public_key =>
            {
                self.options.keep_identity
            }
            _ => self.keep_for_identity(),
        }
    }

    /// Returns the side whose identity the user keeps. A decision on all files counts too.
    fn keep_for_identity(&self) -> Option<Keep> {
        self.options.keep_identity.or(self.options.keep)
    }

    /// Returns the side that wins. Of a symlink and its target, the target wins: the other choice
    /// would leave a broken symlink.
    fn winner(state: &DestinationState, keep: Option<Keep>) -> Option<Keep> {
        match state {
            DestinationState::Differs { target_side: Some(side), .. } => keep.map(|_| *side),
            _ => keep,
        }
    }

    /// Records two files that differ. Both stay until the user decides.
    fn record_collision(&mut self, source: &Path, destination: &Path) {
        self.keep_dir_of(source);
        let collision = Collision { source: source.to_owned(), destination: destination.to_owned() };
        self.plan.collisions.push(collision);
    }

    /// Returns the steps for a file that is no identity file.
    fn file_steps(
        &mut self,
        [source, destination]: [&Path; 2],
        state: &DestinationState,
        keep: Option<Keep>,
    ) -> Vec<MoveStep> {
        let (from, to) = (source.to_owned(), destination.to_owned());
        match state {
            DestinationState::Free => vec![MoveStep::MoveFile { from, to }],
            DestinationState::Same => {
                vec![MoveStep::RemoveIdentical { source: from, destination: to, symlink_target: None }]
            }
            DestinationState::Differs { .. } => {
                let step = MoveStep::MoveFile { from, to };
                self.resolve_collision(Self::winner(state, keep), [source, destination], state, step)
            }
        }
    }

    fn resolve_collision(
        &mut self,
        winner: Option<Keep>,
        [source, destination]: [&Path; 2],
        state: &DestinationState,
        step: MoveStep,
    ) -> Vec<MoveStep> {
        let DestinationState::Differs { aside_source, aside_destination, .. } = state else {
            return Vec::new();
        };
        match winner {
            None => {
                self.record_collision(source, destination);
                Vec::new()
            }
            Some(Keep::Source) => vec![aside_destination.step(destination), step],
            Some(Keep::Destination) => vec![aside_source.step(source)],
        }
    }

    fn plan_dir(&mut self, dir: &StateDir) {
        if dir.moves_as_whole {
            if dir.mode & 0o777 != 0o700 && self.inventory.owner.is_some() {
                self.modes.push((dir.source.clone(), 0o700));
            }
            self.plan.state.push(MoveStep::MoveDir {
                from: dir.source.clone(),
                to: dir.destination.clone(),
                names: dir.items.iter().map(|item| item.name.clone()).collect(),
            });
            return;
        }
        let mut names = Vec::new();
        let mut others = Vec::new();
        for item in &dir.items {
            let [source, destination] = [&dir.source, &dir.destination].map(|dir| dir.join(&item.name));
            match &item.destination_state {
                DestinationState::Free => names.push(item.name.clone()),
                state => others.extend(self.file_steps([&source, &destination], state, self.options.keep)),
            }
        }
        if !names.is_empty() {
            self.plan.state.push(MoveStep::MoveFiles {
                from: dir.source.clone(),
                to: dir.destination.clone(),
                names,
            });
        }
        self.plan.state.extend(others);
    }

    fn plan_single_file(&mut self, file: &SingleFile) {
        let (source, destination) = (&file.source, &file.destination);
        // The custody file follows the decision on the identity: it locks that identity.
        let keep = if file.is_secret { self.keep_for_identity() } else { self.options.keep };
        let steps = self.file_steps([source, destination], &file.destination_state, keep);
        if file.is_secret && !steps.is_empty() {
            self.plan_private_mode(source, file.mode);
            if let Some(mode) = file.destination_mode {
                self.plan_private_mode(destination, mode);
            }
        }
        self.plan.state.extend(steps);
    }

    /// Plans mode 0600 for a file of `.secrets`. Sets the mode before the move: the file must never
    /// be readable to others at the destination.
    fn plan_private_mode(&mut self, path: &Path, mode: u32) {
        if self.inventory.owner.is_some() && mode & 0o777 != 0o600 {
            self.modes.push((path.to_owned(), 0o600));
        }
    }

    /// Returns the error of a damaged identity file. `keep` is the side that the remedy keeps.
    fn damaged_error(&self, file: &IdentityFile, why: &str, keep: Option<Keep>) -> MigrationError {
        let hint = self.refusal().filter(|refusal| refusal.path() == file.path).and_then(Refusal::hint);
        let remedy = hint.or_else(|| {
            let place = keep?.place(self.inventory.direction);
            Some(format!("{} --keep-identity {place}", self.command))
        });
        MigrationError::IdentityDamaged { path: file.path.clone(), why: why.to_owned(), remedy }
    }

    /// Adds the error of a damaged identity file. Returns true if the file is damaged.
    fn push_damaged(&mut self, file: &IdentityFile) -> bool {
        let Identity::Damaged { why, .. } = &file.identity else { return false };
        let error = self.damaged_error(file, why, None);
        self.plan.errors.push(error);
        true
    }

    fn refusal(&self) -> Option<&'a Refusal> {
        self.inventory.answer.refusal()
    }

    fn identity_move_step(&mut self, file: &IdentityFile) -> MoveStep {
        let (from, to) =
            (self.inventory.source_identity_path(file), self.inventory.identity_destination.clone());
        match (&file.symlink_target, &self.inventory.moved_symlink_target) {
            (Some(old), Some(target)) => MoveStep::MoveSymlink {
                from,
                to,
                symlink: Retarget { old_target: old.clone(), target: target.clone() },
            },
            _ => {
                self.plan_private_mode(&from, file.meta.mode);
                MoveStep::MoveFile { from, to }
            }
        }
    }

    /// Returns the broken symlink in the place of the source's identity file, if the user keeps the
    /// sound key of the destination.
    fn given_up_symlink(&self) -> Option<&'a (PathBuf, Aside)> {
        let keep = self.keep_for_identity();
        self.inventory.dangling_identity.as_ref().filter(|_| keep == Some(Keep::Destination))
    }

    fn plan_identity(&mut self) {
        let inventory = self.inventory;
        let given_up = self.given_up_symlink();
        let (source, destination) = (&inventory.source_identity, &inventory.destination_identity);
        for file in [source, destination].into_iter().flatten() {
            if let Identity::Newer { version } = file.identity {
                self.plan.refusals.push(MigrationError::IdentityNewer { path: file.path.clone(), version });
            }
        }
        self.plan.identity = match (source, destination) {
            _ if inventory.identity_failed && given_up.is_none() => {
                IdentityState::Blocked { why: "the identity file cannot be read (see the errors)".to_owned() }
            }
            (None, None) => self.refusal().map_or(IdentityState::Absent, IdentityState::refused),
            (_, Some(destination)) => IdentityState::of(&destination.identity, true),
            (Some(source), None) => IdentityState::of(&source.identity, false),
        };
        match (source, destination) {
            (None, None) => {
                let gone = self.refusal().filter(|refusal| refusal.is_missing());
                self.plan
                    .refusals
                    .extend(gone.map(|refusal| MigrationError::Identity(Box::new(refusal.clone()))));
            }
            (None, Some(destination)) => {
                self.push_damaged(destination);
                self.plan.identity_steps.extend(given_up.map(|(from, aside)| aside.step(from)));
            }
            (Some(source), None) => {
                // Or the destination holds something that could not be inspected.
                if self.push_damaged(source) || inventory.identity_failed {
                    return self.keep_dir_of(&inventory.source_identity_path(source));
                }
                let step = self.identity_move_step(source);
                self.plan.identity_steps.push(step);
            }
            (Some(source), Some(destination)) => self.resolve_two_identities(source, destination),
        }
    }

    /// Plans the identity file if both homes have one. Pushes a refusal if only the user can
    /// choose.
    fn resolve_two_identities(&mut self, source: &IdentityFile, destination: &IdentityFile) {
        let from = self.inventory.source_identity_path(source);
        let to = self.inventory.identity_destination.clone();
        let state = &self.inventory.identity_destination_state;
        match state {
            DestinationState::Same => {
                if self.push_damaged(destination) {
                    return self.keep_dir_of(&from);
                }
                if destination.symlink_target.is_none() {
                    self.plan_private_mode(&to, destination.meta.mode);
                }
                let same = MoveStep::RemoveIdentical {
                    source: from,
                    destination: to,
                    symlink_target: source.symlink_target.clone(),
                };
                return self.plan.identity_steps.push(same);
            }
            // The two files could not be compared: the inspection has recorded the error.
            DestinationState::Free => return self.keep_dir_of(&from),
            DestinationState::Differs { .. } => {}
        }
        let winner = Self::winner(state, self.keep_for_two_identities(source, destination));
        match (&source.identity, &destination.identity, winner) {
            (Identity::Newer { .. }, ..) | (_, Identity::Newer { .. }, _) => {}
            (Identity::Valid(_), Identity::Valid(_), Some(_))
            | (Identity::Valid(_), Identity::Damaged { .. }, Some(Keep::Source))
            | (Identity::Damaged { .. }, Identity::Valid(_), Some(Keep::Destination)) => {
                let step = match winner {
                    Some(Keep::Source) => self.identity_move_step(source),
                    _ => MoveStep::MoveFile { from: from.clone(), to: to.clone() },
                };
                for (file, path) in [(source, &from), (destination, &to)] {
                    if file.symlink_target.is_none() {
                        self.plan_private_mode(path, file.meta.mode);
                    }
                }
                let steps = self.resolve_collision(winner, [&from, &to], state, step);
                self.plan.identity_steps.extend(steps);
            }
            (Identity::Valid(source_key), Identity::Valid(destination_key), None) => {
                if source_key.public_key == destination_key.public_key {
                    // The same identity in different bytes: no identity is at stake.
                    self.record_collision(&from, &to);
                    return;
                }
                let why = "two different identities".to_owned();
                self.plan.identity = IdentityState::Blocked { why };
                let known = |key: &KeyInfo| self.refusal()?.identity_with(&key.public_key);
                let error = MigrationError::TwoIdentities {
                    source_side: side_of(source, source_key, known(source_key)),
                    destination_side: side_of(destination, destination_key, known(destination_key)),
                    command: self.command.clone(),
                    direction: self.inventory.direction,
                };
                self.plan.refusals.push(error);
            }
            (Identity::Valid(_), Identity::Damaged { why, .. }, _) => {
                // A damaged destination does not hide a valid source.
                let error = self.damaged_error(destination, why, Some(Keep::Source));
                self.plan.refusals.push(error);
            }
            (Identity::Damaged { why, .. }, Identity::Valid(_), keep) => {
                let error = self.damaged_error(source, why, Some(Keep::Destination));
                if keep.is_some() {
                    self.plan.refusals.push(error);
                } else {
                    self.plan.errors.push(error);
                    self.record_collision(&from, &to);
                }
            }
            (Identity::Damaged { .. }, Identity::Damaged { .. }, _) => {
                self.push_damaged(source);
                self.push_damaged(destination);
                self.keep_dir_of(&from);
            }
        }
    }

    /// Keeps the identity file at the source while a file that belongs with it cannot be read: an
    /// identity file at the destination means that the move is complete. Refuses an undo that would
    /// leave the identity file behind: the older app's daemon would make another key beside the
    /// rosters.
    fn hold_back_identity(&mut self) {
        let undoes = self.inventory.direction == Direction::Undo;
        let has_failed = !self.inventory.errors.is_empty() || !self.plan.errors.is_empty();
        let path = match &self.inventory.source_identity {
            Some(file) => self.inventory.source_identity_path(file),
            // The entry that cannot be read may be the key.
            None if undoes && has_failed && !matches!(self.inventory.answer, Answer::NoneYet) => {
                self.inventory.source.join(self.plan.homes.identity())
            }
            None => return,
        };
        if undoes {
            let is_left = has_failed || self.plan.identity_steps.is_empty();
            if is_left && !self.plan.state.is_empty() && self.plan.refusals.is_empty() {
                self.plan.refusals.push(MigrationError::IdentityHeldBack { path });
            }
        } else if has_failed && !self.plan.identity_steps.is_empty() {
            self.plan.identity_steps.clear();
            self.keep_dir_of(&path);
            self.plan.errors.push(MigrationError::IdentityHeldBack { path });
        }
    }

    /// Plans to remove the emptied directories of the source, deepest first.
    fn plan_tidy(&mut self) {
        let inventory = self.inventory;
        let mut kept: Vec<&Path> = Vec::new();
        for (path, staying) in inventory.source_dirs.iter().rev() {
            // A directory that moves as a whole is gone by then.
            if inventory.dirs.iter().any(|dir| dir.moves_as_whole && dir.source == *path) {
                continue;
            }
            let stays = *staying > 0
                || self.kept_dirs.contains(path)
                || kept.iter().any(|below| below.starts_with(path));
            if stays {
                kept.push(path);
            } else {
                self.plan.tidy.push(MoveStep::RemoveDir { path: path.clone() });
            }
        }
    }

    /// Plans the steps before the moves: clears what killed runs left, and, if anything moves,
    /// makes the directories and sets owners and modes.
    fn plan_prepare(&mut self) {
        let inventory = self.inventory;
        let PlanSteps { prepare, state, identity_steps, .. } = &mut *self.plan;
        prepare
            .extend(inventory.leftovers.iter().map(|path| MoveStep::RemoveLeftover { path: path.clone() }));
        prepare.extend(
            inventory
                .quarantines
                .iter()
                .map(|(from, to)| MoveStep::RestoreQuarantined { from: from.clone(), to: to.clone() }),
        );
        // The restored names must be durable before the directory that held them is removed.
        let restored: BTreeSet<_> = inventory.quarantines.iter().map(|(_, to)| parent(to)).collect();
        let emptied: BTreeSet<_> = inventory.quarantine_dirs.iter().map(|path| parent(path)).collect();
        prepare.extend(barrier(restored.intersection(&emptied).cloned().collect()));
        prepare
            .extend(inventory.quarantine_dirs.iter().map(|path| MoveStep::RemoveDir { path: path.clone() }));
        let moves: Vec<&MoveStep> = state.iter().chain(&*identity_steps).collect();
        if moves.is_empty() {
            return;
        }
        for path in &inventory.missing_dirs {
            let is_moved =
                moves.iter().any(|step| matches!(step, MoveStep::MoveDir { to, .. } if to == path));
            let is_needed =
                || moves.iter().any(|step| step.destination_dir().is_some_and(|dir| dir.starts_with(path)));
            if !is_moved && is_needed() {
                prepare.push(MoveStep::MakeDir { path: path.clone() });
            }
        }
        prepare
            .extend(inventory.owners.iter().map(|(path, owner)| MoveStep::set_owner(path.clone(), *owner)));
        let modes: BTreeSet<_> = inventory.modes.iter().chain(&self.modes).cloned().collect();
        prepare.extend(modes.into_iter().map(|(path, mode)| MoveStep::SetMode { path, mode }));
    }

    /// Puts the errors and refusals of the inspection before those of the plan. Leaves out an error
    /// that the user's choice settles, and the refusals of a plan that does nothing.
    fn add_findings(&mut self) {
        let (inventory, given_up) = (self.inventory, self.given_up_symlink());
        let plan = &mut *self.plan;
        let is_settled = |error: &&MigrationError| given_up.is_some_and(|(from, _)| error.path() == from);
        plan.errors.splice(0..0, inventory.errors.iter().filter(|error| !is_settled(error)).cloned());
        let is_source = |error: &&MigrationError| matches!(error, MigrationError::SourceSymlink { .. });
        if !plan.is_empty() || !plan.collisions.is_empty() || inventory.foreign {
            plan.refusals.splice(0..0, inventory.refusals.iter().cloned());
        } else if let Some(error) = inventory.refusals.iter().find(is_source) {
            // Without this refusal, an unreachable source would look like nothing to do.
            plan.refusals.push(error.clone());
        }
    }
}

fn barrier(directories: BTreeSet<PathBuf>) -> Option<MoveStep> {
    let directories: Vec<PathBuf> = directories.into_iter().collect();
    (!directories.is_empty()).then_some(MoveStep::Sync { directories, sources: false })
}

/// Adds a barrier wherever a step relies on the results of earlier steps, and groups the steps that
/// share a barrier.
fn add_barriers(plan: &mut PlanSteps, destination_dirs: &[PathBuf]) {
    // Before the first move, every prepared directory is durable, and so is every source: a power
    // cut must not leave a name at the destination without its content. The directories of the
    // destination too: a run that was killed before its barrier may have written there.
    let mut prepared: BTreeSet<PathBuf> = destination_dirs.iter().cloned().collect();
    for step in &plan.prepare {
        match step {
            MoveStep::RemoveDir { path } => drop(prepared.insert(parent(path))),
            MoveStep::MakeDir { path } => prepared.extend([path.clone(), parent(path)]),
            _ => {}
        }
    }
    for step in plan.state.iter().chain(&plan.identity_steps).filter(|step| !removes_identical(step)) {
        prepared.extend(step.source_dir());
        if let MoveStep::MoveDir { from, .. } = step {
            prepared.insert(parent(from));
        }
    }
    plan.prepare.push(MoveStep::Sync { directories: prepared.into_iter().collect(), sources: true });
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
fn with_barriers(steps: Vec<MoveStep>) -> Vec<MoveStep> {
    let frees_name =
        |step: &MoveStep| matches!(step, MoveStep::SetAside { from, to, .. } if from.parent() == to.parent());
    let (asides, rest): (Vec<_>, Vec<_>) = steps.into_iter().partition(frees_name);
    let (removals, moves): (Vec<_>, Vec<_>) = rest.into_iter().partition(removes_identical);
    let changed_dirs =
        |steps: &[MoveStep]| steps.iter().flat_map(MoveStep::changed_dirs).collect::<BTreeSet<PathBuf>>();
    let source_dirs =
        |steps: &[MoveStep]| steps.iter().filter_map(MoveStep::source_dir).collect::<BTreeSet<PathBuf>>();
    let mut published = changed_dirs(&moves);
    published.extend(removals.iter().filter_map(|step| match step {
        MoveStep::RemoveIdentical { destination, .. } => Some(parent(destination)),
        _ => None,
    }));
    let mut emptied = source_dirs(&moves);
    emptied.extend(source_dirs(&removals));
    let (aside_dirs, aside_sources) = (changed_dirs(&asides), source_dirs(&asides));
    let mut ordered = asides;
    ordered.extend(barrier(aside_dirs));
    ordered.extend(remove_sources_step(aside_sources));
    ordered.extend(moves);
    ordered.extend(barrier(published));
    ordered.extend(removals);
    ordered.extend(remove_sources_step(emptied));
    ordered
}

fn removes_identical(step: &MoveStep) -> bool {
    matches!(step, MoveStep::RemoveIdentical { .. })
}

fn remove_sources_step(directories: BTreeSet<PathBuf>) -> Option<MoveStep> {
    (!directories.is_empty())
        .then(|| MoveStep::RemoveSources { directories: directories.into_iter().collect() })
}

/// Returns one side of a choice between two identities, with what the scan knows of its key.
fn side_of(file: &IdentityFile, key: &KeyInfo, known: Option<&KnownIdentity>) -> Box<Side> {
    let KnownBy { rosters, states, .. } = known.map(|known| known.known_by.clone()).unwrap_or_default();
    let is_known = known.is_some_and(|known| known.is_known);
    Box::new(Side { path: file.path.clone(), key: key.clone(), rosters, states, is_known })
}
