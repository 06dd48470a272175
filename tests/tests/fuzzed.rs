//! Runs the fuzz targets without a fuzzing engine, on their seeds, on inputs of former findings,
//! and on thousands of mutations of both. The mutations are the same in each run.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "test code")]
#![allow(unreachable_pub, reason = "the targets are modules of programs of their own, too")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

#[path = "../../fuzz/targets/control.rs"]
mod control;
#[path = "../../fuzz/targets/document.rs"]
mod document;

/// Fragments that mean something to one of the targets.
const WORDS: [&[u8]; 36] = [
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"\"",
    b"\\",
    b"\n",
    b"\r\n",
    b"\0",
    b"\xff",
    b"\xef\xbb\xbf",
    b"\\ud800",
    b"\\u0000",
    b"null",
    b"true",
    b"-0",
    b"1e400",
    b"0.5",
    b"18446744073709551616",
    b"\"ok\":true",
    b"\"ok\":false",
    b"\"data\":",
    b"\"error\":",
    b"\"kind\":\"event\"",
    b"\"networks\":[",
    b"\"id\":\"a\"",
    b"\"network_id\":\"home\"",
    b"\"cloud_mesh\":{",
    b"\"providers\":[]",
    b"\"version\":3",
    b"\"daemon\":{}",
    b"\"topology\":{\"kind\":\"ring\"}",
    b"\"turn_servers\":[{\"urls\":[\"turn:a\"]}]",
    b"{\"kind\":\"event\",\"event\":{}}\n",
];

/// A pseudo-random generator (xorshift) with a fixed sequence.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % end.max(1)
    }

    fn mutate(&mut self, mut bytes: Vec<u8>, seeds: &[Vec<u8>]) -> Vec<u8> {
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len() + 1);
            let end = (at + self.below(24)).min(bytes.len());
            match self.below(7) {
                0 => drop(bytes.drain(at..end)),
                1 => bytes.truncate(at),
                2 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                3 => {
                    let piece = bytes[at..end].to_vec();
                    let to = self.below(bytes.len() + 1);
                    bytes.splice(to..to, piece);
                }
                4 => {
                    let other = &seeds[self.below(seeds.len())];
                    let from = self.below(other.len());
                    bytes.splice(at..end, other[from..(from + 40).min(other.len())].iter().copied());
                }
                5 => drop(bytes.splice(at..end, WORDS[self.below(WORDS.len())].iter().copied())),
                _ => drop(bytes.splice(at..at, WORDS[self.below(WORDS.len())].iter().copied())),
            }
        }
        bytes
    }
}

fn seeds(name: &str) -> Vec<Vec<u8>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds").join(name);
    let mut files: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.into_iter().map(|file| std::fs::read(file).unwrap()).collect()
}

fn holds(target: fn(&[u8]), name: &str, mutations: usize) {
    let seeds = seeds(name);
    assert!(seeds.len() > 4);
    let hold = |bytes: &[u8]| {
        let held = catch_unwind(AssertUnwindSafe(|| target(bytes)));
        assert!(held.is_ok(), "{name} does not hold for {:?}", String::from_utf8_lossy(bytes));
    };
    seeds.iter().for_each(|seed| hold(seed));
    let mut chance = Chance(0x9e37_79b9_7f4a_7c15);
    for n in 0..mutations {
        hold(&chance.mutate(seeds[n % seeds.len()].clone(), &seeds));
    }
}

#[test]
fn documents() {
    holds(document::document, "document", 3000);
}

#[test]
fn control_lines() {
    holds(control::control, "control", 6000);
}
