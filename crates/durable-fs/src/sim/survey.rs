//! Surveys a run: takes one guarantee of the simulated disk away at a time, and looks what reveals
//! it.

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use super::{
    disk::{Entry, SimDisk},
    fault::{OpRecord, Weakening},
};
use crate::{Op, PART_SUFFIX, TEMP_PREFIX};

/// The number of states of each power cut to try.
const CRASH_STATES: usize = 48;

/// The number of barriers before and after one that may sync the same.
const NEIGHBOURS: usize = 4;

/// The content that another program writes while a run is at work.
const FOREIGN: &[u8] = b"\"of another program\"";

/// Returns every weakening of a run that made these operations: of each barrier (the syncs between
/// two other changes), of each exclusive rename to a name that other programs know, and of the last
/// looks before each operation that can lose a file.
fn weakenings(ops: &[OpRecord]) -> Vec<Weakening> {
    let mut all: Vec<Weakening> = groups(ops, OpRecord::is_sync, OpRecord::is_read)
        .into_iter()
        .map(|(first, last)| Weakening::SkipSyncs(first, last))
        .collect();
    all.extend(ops.iter().filter(|op| is_exclusive(op)).map(|op| Weakening::PlainRename(op.number)));
    let looks = groups(ops, OpRecord::is_read, |op| op.op == Op::Pause);
    let checks = ops.iter().filter(|op| can_lose(op)).filter_map(|op| {
        let &(first, last) = looks.iter().rfind(|(first, _)| *first < op.number)?;
        Some(Weakening::StaleLooks(first, last))
    });
    all.extend(checks);
    all.dedup();
    all
}

/// Returns true for an operation after which the content of another file may be lost.
fn can_lose(op: &OpRecord) -> bool {
    let is_part = op.path.as_os_str().as_encoded_bytes().ends_with(PART_SUFFIX.as_bytes());
    match op.op {
        Op::Unlink => !op.failed && !is_part,
        Op::Rename | Op::Exchange => !op.failed && !op.other.as_deref().is_some_and(is_ours),
        _ => false,
    }
}

/// Returns true for an operation that gives a file a name that other programs know, and must not
/// replace.
fn is_exclusive(op: &OpRecord) -> bool {
    let gives_name = !op.failed && matches!(op.op, Op::RenameNoReplace | Op::HardLink);
    gives_name && op.other.as_deref().is_some_and(|to| !is_ours(to))
}

/// Returns the groups of operations of one kind. Operations that `passes` accepts do not end a
/// group.
fn groups(
    ops: &[OpRecord],
    kind: impl Fn(&OpRecord) -> bool,
    passes: impl Fn(&OpRecord) -> bool,
) -> Vec<(usize, usize)> {
    let mut found: Vec<(usize, usize)> = Vec::new();
    let mut open = false;
    for op in ops.iter().filter(|op| kind(op) || !passes(op)) {
        match found.last_mut().filter(|_| open && kind(op)) {
            Some(group) => group.1 = op.number,
            None if kind(op) => found.push((op.number, op.number)),
            None => {}
        }
        open = kind(op);
    }
    found
}

/// Returns true for a temporary name, which no other program chooses.
fn is_ours(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str().as_encoded_bytes().starts_with(TEMP_PREFIX.as_bytes()))
}

/// A write of another program right before an operation of a run, to a path of that operation.
#[derive(Clone, Copy)]
struct Writing {
    number: usize,
    /// True for the second path.
    to_other: bool,
    /// True if the program writes into the file, and does not put another file there.
    in_place: bool,
}

/// A run whose guarantees are taken away one at a time.
pub struct Sweep<'a> {
    /// The disk before the run.
    pub disk: &'a SimDisk,
    /// The run.
    pub run: &'a dyn Fn(&SimDisk),
    /// True if the disk that a power cut leaves is as the run promises; the second argument is true
    /// after the end of the run.
    pub holds: &'a dyn Fn(&SimDisk, bool) -> bool,
    /// A file that another program may write and sync while the run is at work.
    pub written: Option<&'a Path>,
}

impl Sweep<'_> {
    fn ops(&self) -> Vec<OpRecord> {
        let disk = self.start();
        (self.run)(&disk);
        disk.ops()
    }

    /// Returns true if a power cut, or a write of another program, reveals the weakening. `ops` are
    /// the operations of the undisturbed run.
    fn reveals(&self, weakening: Weakening, ops: &[OpRecord]) -> bool {
        match weakening {
            Weakening::SkipSyncs(_, last) => {
                let later = ops[last..].iter().filter(|op| op.is_change()).map(|op| op.number);
                self.cut_after(&self.weakened(weakening), last, self.holds)
                    || self.written.is_some_and(|path| {
                        later.into_iter().any(|number| self.loses_synced(weakening, path, number))
                    })
            }
            Weakening::PlainRename(number) => {
                self.loses(weakening, Writing { number, to_other: true, in_place: false })
            }
            Weakening::StaleLooks(first, last) => (first..=last).any(|number| {
                let kinds = [(false, false), (false, true), (true, false), (true, true)];
                kinds.into_iter().any(|(to_other, in_place)| {
                    (!to_other || ops[number].other.is_some())
                        && self.loses(weakening, Writing { number, to_other, in_place })
                })
            }),
        }
    }

    /// Returns true if nothing reveals the lack of a barrier because barriers right before or after
    /// it sync the same: without these, something reveals it.
    fn is_doubled(&self, weakening: Weakening, all: &[Weakening], ops: &[OpRecord]) -> bool {
        let is_barrier = |other: &&Weakening| matches!(other, Weakening::SkipSyncs(..));
        let barriers: Vec<_> = all.iter().filter(is_barrier).map(|barrier| barrier.span()).collect();
        let Some(at) = barriers.iter().position(|span| Weakening::SkipSyncs(span.0, span.1) == weakening)
        else {
            return false;
        };
        let skips = |from: usize, to: usize| {
            self.reveals(Weakening::SkipSyncs(barriers[from].0, barriers[to].1), ops)
        };
        let last = barriers.len().min(at + NEIGHBOURS + 1);
        (at + 1..last).any(|to| skips(at, to) && !skips(at + 1, to))
            || (at.saturating_sub(NEIGHBOURS)..at).any(|from| skips(from, at) && !skips(from, at - 1))
    }

    /// Returns true if a power cut reveals the lack of a barrier when another program writes
    /// `path`, and syncs it, before operation `number`: the file is lost.
    fn loses_synced(&self, weakening: Weakening, path: &Path, number: usize) -> bool {
        let (disk, path) = (self.weakened(weakening), path.to_owned());
        disk.set_hook(move |record, foreign| {
            if record.number == number && foreign.put(&path, FOREIGN) {
                foreign.flush();
            }
        });
        self.cut_after(&disk, weakening.span().1.max(number), &|after, _| has_foreign(after))
    }

    fn start(&self) -> SimDisk {
        let disk = self.disk.clone();
        disk.reset_ops();
        disk
    }

    fn weakened(&self, weakening: Weakening) -> SimDisk {
        let disk = self.start();
        disk.weaken(weakening);
        disk
    }

    /// Returns true if `holds` is false for a disk that a power cut after operation `last` leaves.
    fn cut_after(&self, disk: &SimDisk, last: usize, holds: &dyn Fn(&SimDisk, bool) -> bool) -> bool {
        disk.record();
        (self.run)(disk);
        let is_broken = |disk: &SimDisk, number: usize, done: bool| {
            disk.crash_states(CRASH_STATES, number as u64).iter().any(|after| !holds(after, done))
        };
        let mut cuts = disk.recorded().into_iter().filter(|(op, _)| op.number > last);
        cuts.any(|(op, before)| is_broken(&before, op.number, false))
            || is_broken(disk, disk.op_count(), true)
    }

    /// Returns true if what another program writes is lost, and is not lost without the weakening.
    fn loses(&self, weakening: Weakening, writing: Writing) -> bool {
        keeps(&self.start(), &self.run, writing) == Some(true)
            && keeps(&self.weakened(weakening), &self.run, writing) == Some(false)
    }
}

/// Returns whether a run keeps what another program writes; `None` if that program cannot write.
fn keeps(disk: &SimDisk, run: &dyn Fn(&SimDisk), writing: Writing) -> Option<bool> {
    let has_written = Arc::new(AtomicBool::new(false));
    let written = has_written.clone();
    disk.set_hook(move |record, foreign| {
        let path = if writing.to_other { record.other.as_deref() } else { Some(&*record.path) };
        if let Some(path) = path.filter(|_| record.number == writing.number) {
            let done = match writing.in_place {
                true => foreign.overwrite(path, FOREIGN),
                // No other program chooses a name of ours.
                false => !is_ours(path) && foreign.put(path, FOREIGN),
            };
            written.store(done, Ordering::Relaxed);
        }
    });
    run(disk);
    has_written.load(Ordering::Relaxed).then(|| has_foreign(disk))
}

/// Describes the calls of a weakening and the change before them: `Exchange * > SyncDir home`.
fn describe(weakening: Weakening, ops: &[OpRecord]) -> String {
    let describe = |op: &OpRecord| format!("{:?} {}", op.op, name(&op.path));
    let (first, last) = weakening.span();
    let is_weakened = |op: &&OpRecord| op.is_sync() || !matches!(weakening, Weakening::SkipSyncs(..));
    let before = ops[..first].iter().rfind(|op| op.is_change() && !op.is_sync());
    let mut calls: Vec<String> = ops[first..=last].iter().filter(is_weakened).map(describe).collect();
    calls.dedup();
    format!("{} > {}", before.map_or_else(|| "start".to_owned(), describe), calls.join(", "))
}

/// Returns the last part of a path without its numbers, or `*` for a temporary name.
fn name(path: &Path) -> String {
    if is_ours(path) {
        return "*".to_owned();
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    match name.split_once("-0") {
        Some((kind, _)) => format!("{kind}-…"),
        None => name.into_owned(),
    }
}

/// The failures that the sweeps over several runs have found, each as a sentence.
#[derive(Debug, Default)]
pub struct Survey {
    revealed: BTreeSet<String>,
    unrevealed: BTreeSet<String>,
}

impl Survey {
    /// Cuts the power at each change of a run, lets another program write right before each
    /// operation that may lose a file, and takes away each guarantee that `wanted` accepts.
    ///
    /// # Panics
    /// Panics if the run does not keep its promise although nothing is taken away.
    pub fn add(&mut self, sweep: &Sweep<'_>, wanted: impl Fn(&Weakening) -> bool) {
        let ops = sweep.ops();
        assert!(!sweep.cut_after(&sweep.start(), 0, sweep.holds), "a power cut breaks a promise");
        for op in ops.iter().filter(|op| can_lose(op) || is_exclusive(op)) {
            let loses = |to_other, in_place| {
                let writing = Writing { number: op.number, to_other, in_place };
                keeps(&sweep.start(), &sweep.run, writing) == Some(false)
            };
            if loses(true, false) || loses(true, true) {
                self.unrevealed.insert(format!("a write before {:?} of {}", op.op, name(&op.path)));
            }
        }
        let all = weakenings(&ops);
        for weakening in all.iter().copied().filter(wanted) {
            let is_revealed = sweep.reveals(weakening, &ops) || sweep.is_doubled(weakening, &all, &ops);
            let found = if is_revealed { &mut self.revealed } else { &mut self.unrevealed };
            found.insert(describe(weakening, &ops));
        }
    }

    /// Checks that in some run something reveals the lack of each call, except for the calls in
    /// `superfluous`: a part of their description, and the reason why they stay. Returns the number
    /// of calls whose lack something reveals.
    ///
    /// # Panics
    /// Panics if nothing reveals the lack of a call that is not named.
    pub fn check(&self, superfluous: &[(&str, &str)]) -> usize {
        let is_named = |call: &&String| superfluous.iter().any(|(named, _)| call.contains(named));
        let unnamed: Vec<_> =
            self.unrevealed.difference(&self.revealed).filter(|call| !is_named(call)).collect();
        assert!(
            unnamed.is_empty(),
            "neither a power cut nor another program reveals the lack of {unnamed:#?}"
        );
        self.revealed.len()
    }
}

fn has_foreign(disk: &SimDisk) -> bool {
    disk.tree().into_values().any(|entry| matches!(entry, Entry::File(bytes, _) if bytes == FOREIGN))
}
