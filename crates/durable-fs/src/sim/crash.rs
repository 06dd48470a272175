//! The states of the simulated disk that a power cut may leave.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    disk::SimDisk,
    file_system::{Change, Inode, Node, ROOT, State},
};

/// A small random generator (splitmix64) that yields the same states for the same seed, on every
/// machine.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit.max(1)
    }
}

impl SimDisk {
    /// Returns the disks that a power cut may leave, with each unsynced change kept or lost: all
    /// combinations if there are no more than `limit`, else `limit` combinations chosen by `seed`,
    /// the extremes among them.
    pub fn crash_states(&self, limit: usize, seed: u64) -> Vec<Self> {
        let state = self.state().content();
        // Each unit may be lost or kept; content may also be torn.
        let mut units: Vec<(u64, u64)> = Vec::new();
        for pending in &state.pending {
            let choices = if matches!(pending.change, Change::Content { .. }) { 3 } else { 2 };
            match units.iter_mut().find(|(unit, _)| *unit == pending.unit) {
                Some((_, most)) => *most = choices.max(*most),
                None => units.push((pending.unit, choices)),
            }
        }
        let total = units.iter().try_fold(1_u64, |total, (_, choices)| total.checked_mul(*choices));
        let mut picks: BTreeSet<Vec<u64>> = BTreeSet::new();
        if let Some(total) = total.filter(|&total| total <= limit as u64) {
            for mut number in 0..total {
                picks.insert(
                    units
                        .iter()
                        .map(|(_, choices)| {
                            let choice = number % choices;
                            number /= choices;
                            choice
                        })
                        .collect(),
                );
            }
        } else {
            let none = vec![0; units.len()];
            let all: Vec<u64> = units.iter().map(|(_, choices)| choices - 1).collect();
            picks.insert(none.clone());
            picks.insert(all.clone());
            let mut random = Random(seed);
            // Adds each change alone, and all changes but one, as far as they fit.
            for (index, (_, choices)) in units.iter().enumerate().take(limit / 4) {
                let (mut alone, mut without) = (none.clone(), all.clone());
                alone[index] = choices - 1;
                without[index] = 0;
                picks.insert(alone);
                picks.insert(without);
            }
            for _ in 0..limit * 4 {
                if picks.len() >= limit {
                    break;
                }
                picks.insert(units.iter().map(|(_, choices)| random.below(*choices)).collect());
            }
        }
        picks.into_iter().map(|pick| state.after_power_cut(&units, &pick)).map(Self::with).collect()
    }
}

impl State {
    fn after_power_cut(&self, units: &[(u64, u64)], pick: &[u64]) -> Self {
        let choice: BTreeMap<u64, (u64, u64)> =
            units.iter().zip(pick).map(|((unit, choices), pick)| (*unit, (*pick, *choices))).collect();
        let kept = |unit: u64| choice.get(&unit).is_none_or(|(pick, _)| *pick > 0);
        let mut after = self.content();
        for pending in &self.pending {
            if kept(pending.unit) && pending.requires.is_none_or(kept) {
                let torn = choice.get(&pending.unit).is_some_and(|(pick, choices)| pick + 1 < *choices);
                Self::apply(&mut after.durable, &pending.change, torn);
            }
        }
        after.pending.clear();
        // Removes the inodes that no name leads to.
        let mut reached = BTreeSet::from([ROOT]);
        let mut todo = vec![ROOT];
        while let Some(ino) = todo.pop() {
            if let Some(Inode { node: Node::Dir(entries), .. }) = after.durable.get(&ino) {
                todo.extend(entries.values().copied().filter(|&below| reached.insert(below)));
            }
        }
        after.durable.retain(|ino, _| reached.contains(ino));
        after.live = after.durable.clone();
        after
    }
}
