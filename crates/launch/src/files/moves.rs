//! The plan of a move of the daemon's state as a launch sees it, and the diagnostics of a move.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use myownllm_config_model::Document;
use myownllm_durable_fs::{Disk, LockedDir, SYNC_UNCONFIRMED, Timestamp, quote, sync_unconfirmed_message};
use myownllm_migration::{Collision, Direction, Keep, MoveStep, Options, Plan};
use myownllm_paths::camino::Utf8Path;

use crate::context::Context;
use crate::daemons::CONFIG_LIMIT;
use crate::files::misnamed::is_damaged_custody;
use crate::files::peers::devices;
use crate::words::count;
use crate::words::diagnostic::{Class, Diagnostic};

/// The last second that a date of four digits has.
const LAST_SECOND: u64 = 253_402_300_799;

/// The stable code of files that differ.
pub const COLLISION: &str = "migration.collision";

pub(crate) fn forward_plan(context: &Context<'_>) -> Plan {
    context.migrator.plan(&context.migrator.inspect(Direction::Forward), &Options::forward())
}

/// Does what [`forward_plan`] does under the lock, for a move that follows.
pub(crate) fn locked_forward_plan(context: &Context<'_>, lock: &LockedDir) -> Plan {
    let inventory = context.migrator.inspect_locked(lock, Direction::Forward);
    context.migrator.plan(&inventory, &Options::forward())
}

pub(crate) fn plan_diagnostics(disk: &dyn Disk, plan: &Plan, program: &str) -> Vec<Diagnostic> {
    let troubles = plan.refusals.iter().chain(&plan.errors).map(Diagnostic::from);
    let program = Some(program).filter(|_| plan.refusals.is_empty());
    troubles.chain(collision_diagnostics(disk, &plan.collisions, plan.direction, program)).collect()
}

/// Files that differ only warn in a launch: they wait for the user's decision, and the app goes on
/// without them.
pub(crate) fn collision_as_warning(diagnostic: Diagnostic) -> Diagnostic {
    if diagnostic.code == COLLISION { diagnostic.as_warning() } else { diagnostic }
}

/// Returns true for an error of a move about a path that the check of the homes refuses: that check
/// knows which command mends it.
pub(crate) fn is_about_overlap(context: &Context<'_>, diagnostic: &Diagnostic) -> bool {
    let path = context.checked.err().and_then(|error| error.path()?.to_str());
    path.is_some() && path == diagnostic.path.as_deref()
}

pub(crate) fn move_diagnostics<'a>(
    disk: &dyn Disk,
    report: &'a myownllm_migration::MoveReport,
    program: &str,
) -> impl Iterator<Item = Diagnostic> + 'a {
    let troubles = report.refusals.iter().chain(&report.errors).map(Diagnostic::from);
    let program = Some(program).filter(|_| report.refusals.is_empty());
    let collisions = collision_diagnostics(disk, &report.collisions, report.direction, program);
    let lost = report.attributes_lost.iter().map(|lost| {
        let message = format!(
            "{} was copied without its attributes {}: the file system there does not take them",
            lost.path.display(),
            lost.names.join(", ")
        );
        Diagnostic::warning("migration.attributes-lost", message).at(&lost.path)
    });
    let unconfirmed = report.sync_unconfirmed.first().map(|home| sync_unconfirmed(home));
    troubles.chain(collisions).chain(lost).chain(unconfirmed)
}

/// Reports that the file system of a home does not confirm that a change is on the disk.
pub(crate) fn sync_unconfirmed(home: &Utf8Path) -> Diagnostic {
    Diagnostic::warning(SYNC_UNCONFIRMED, sync_unconfirmed_message(home))
        .at(home)
        .hint(format!("findmnt --target {}", quote(home)))
}

/// The facts by which one of two files is kept.
struct Content {
    devices: BTreeSet<String>,
    /// The size; zero for a damaged file.
    size: usize,
    modified: Timestamp,
}

impl Content {
    fn of(disk: &dyn Disk, path: &Path) -> Self {
        let bytes = disk.read(path, CONFIG_LIMIT).unwrap_or_default();
        let parsed = Document::parse(&bytes);
        let is_sound = parsed.is_ok_and(|parsed| !is_damaged_custody(&parsed.document, &bytes));
        let modified = disk.stat_follow(path).map(|meta| meta.modified).unwrap_or_default();
        Self { devices: devices(&bytes), size: if is_sound { bytes.len() } else { 0 }, modified }
    }

    fn has_more_devices(&self, other: &Self) -> bool {
        self.devices.is_superset(&other.devices) && self.devices != other.devices
    }

    /// Returns true if this file may be an old backup: the other one may lack devices that the user
    /// has removed since.
    fn may_be_outdated(&self, other: &Self) -> bool {
        self.has_more_devices(other) && !other.devices.is_empty() && self.modified < other.modified
    }

    /// Returns which of two files is to be kept; `None` if the user has to choose.
    fn richer(&self, other: &Self) -> Option<Ordering> {
        if self.may_be_outdated(other) || other.may_be_outdated(self) {
            None
        } else if self.devices == other.devices {
            Some(self.size.cmp(&other.size))
        } else if self.has_more_devices(other) {
            Some(Ordering::Greater)
        } else {
            other.has_more_devices(self).then_some(Ordering::Less)
        }
    }

    /// Returns the facts for a person.
    fn shown(&self) -> String {
        let (devices, seconds) = (count(self.devices.len(), "device"), self.modified.seconds);
        let since_1970 = Duration::from_secs(u64::try_from(seconds).unwrap_or_default().min(LAST_SECOND));
        let time = humantime::format_rfc3339_seconds(UNIX_EPOCH + since_1970).to_string();
        let (day, _) = time.split_once('T').unwrap_or_default();
        format!(" ({devices}, changed on {day})")
    }
}

/// Reports the files that differ. The hint keeps the richer ones: a daemon that was started too
/// early has written a roster without devices. A damaged file counts as empty. If neither side has
/// all the richer files, if a richer file is the older one, or without a `program`, because a move
/// would refuse, the hint shows the files.
pub(crate) fn collision_diagnostics(
    disk: &dyn Disk,
    collisions: &[Collision],
    direction: Direction,
    program: Option<&str>,
) -> Vec<Diagnostic> {
    let contents: Vec<[Content; 2]> = collisions
        .iter()
        .map(|both| [&both.source, &both.destination].map(|path| Content::of(disk, path)))
        .collect();
    let are = |is: fn(Ordering) -> bool| {
        contents.iter().all(|[source, destination]| source.richer(destination).is_some_and(is))
    };
    let undo = if direction == Direction::Undo { " --undo" } else { "" };
    let keep =
        |side: Keep| program.map(|name| format!("{name} migrate{undo} --keep {}", side.place(direction)));
    let common = if are(Ordering::is_le) {
        keep(Keep::Destination)
    } else if are(Ordering::is_ge) {
        keep(Keep::Source)
    } else {
        None
    };
    let diagnostic = |(both, contents): (&Collision, &[Content; 2])| {
        let (source, destination) = (&both.source, &both.destination);
        let real = disk.canonicalize(source).ok();
        let is_one = real.is_some() && real == disk.canonicalize(destination).ok();
        let differ = if is_one { "are one file, by a symlink" } else { "differ" };
        let [here, there] = contents;
        let mut facts = [here, there].map(|_| String::new());
        if here.may_be_outdated(there) || there.may_be_outdated(here) {
            facts = contents.each_ref().map(Content::shown);
        }
        if direction == Direction::Undo {
            facts.reverse();
        }
        let [old, new] = facts;
        let message = format!(
            "{} and {} {differ}; both stay until you choose: --keep old-location{old}, or --keep \
             daemon-home{new}",
            source.display(),
            destination.display()
        );
        let show = || format!("ls -l {} {}", quote(source), quote(destination));
        let hint = common.clone().unwrap_or_else(show);
        Diagnostic::error(COLLISION, message).at(source).hint(hint).class(Class::Refused)
    };
    collisions.iter().zip(&contents).map(diagnostic).collect()
}

/// Returns the files that a move brings to the daemon home, each with its path now and then.
pub(crate) fn moved_files(plan: &Plan) -> Vec<(PathBuf, PathBuf)> {
    let files = plan.steps().map(|step| match step {
        MoveStep::MoveDir { from, to, names } | MoveStep::MoveFiles { from, to, names } => {
            names.iter().map(|name| (from.join(name), to.join(name))).collect()
        }
        MoveStep::MoveFile { from, to } | MoveStep::MoveSymlink { from, to, .. } => {
            vec![(from.clone(), to.clone())]
        }
        _ => Vec::new(),
    });
    files.flatten().collect()
}
