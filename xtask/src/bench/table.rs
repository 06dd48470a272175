//! The table of measurements, with the ratio and the aim of each.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

/// One comparison.
pub(super) struct Line {
    pub(super) what: String,
    pub(super) against: &'static str,
    pub(super) ours: f64,
    pub(super) theirs: f64,
    pub(super) unit: Unit,
    pub(super) aim: Aim,
}

/// The unit of a number.
#[derive(Clone, Copy)]
pub(super) enum Unit {
    Nanoseconds,
    Instructions,
    Calls,
    Bytes,
    Blocks,
    Requests,
    Connections,
}

/// The aim of a comparison.
#[derive(Clone, Copy)]
pub(super) enum Aim {
    /// No aim; the line shows the growth.
    None,
    /// Ours is at most this many times theirs.
    AtMost(f64),
    /// Ours takes at most this much longer than theirs.
    Beyond(Duration),
}

/// The result of a run.
pub(super) struct Table {
    pub(super) lines: Vec<Line>,
    /// The measurements that could not be taken, with the reasons.
    pub(super) missing: Vec<String>,
    pub(super) machine: String,
    pub(super) program_bytes: u64,
}

const HEAD: [&str; 7] = ["what", "ours", "against", "theirs", "ratio", "aim", ""];

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Unit::Nanoseconds => "ns",
            Unit::Instructions => "instructions",
            Unit::Calls => "calls",
            Unit::Bytes => "bytes",
            Unit::Blocks => "blocks",
            Unit::Requests => "requests",
            Unit::Connections => "connections",
        }
    }

    fn show(self, number: f64) -> String {
        let scaled = |steps: &[(f64, &str)]| {
            let (step, name) = steps.iter().rfind(|(step, _)| number >= *step).unwrap_or(&steps[0]);
            let digits = if number / step >= 100.0 {
                0
            } else if number / step >= 10.0 {
                1
            } else {
                2
            };
            format!("{:.digits$} {name}", number / step)
        };
        match self {
            Unit::Nanoseconds => scaled(&[(1.0, "ns"), (1e3, "µs"), (1e6, "ms"), (1e9, "s")]),
            Unit::Instructions => scaled(&[(1e3, "k instr."), (1e6, "M instr.")]),
            Unit::Bytes => scaled(&[(1e3, "kB"), (1e6, "MB")]),
            Unit::Calls | Unit::Blocks | Unit::Requests | Unit::Connections => {
                format!("{number:.0} {}", self.name())
            }
        }
    }
}

impl Line {
    fn ratio(&self) -> f64 {
        self.ours / self.theirs
    }

    fn aim(&self) -> String {
        match self.aim {
            Aim::None => String::new(),
            Aim::AtMost(ratio) => format!("≤ {ratio}"),
            Aim::Beyond(more) => format!("≤ {more:?} more"),
        }
    }

    /// Returns whether the aim was met; `None` without an aim.
    fn met(&self) -> Option<bool> {
        match self.aim {
            Aim::None => None,
            Aim::AtMost(ratio) => Some(self.ratio() <= ratio),
            Aim::Beyond(more) => Some(self.ours - self.theirs <= more.as_nanos() as f64),
        }
    }

    fn cells(&self) -> [String; 7] {
        let met = self.met().map_or("", |met| if met { "met" } else { "missed" });
        [
            self.what.clone(),
            self.unit.show(self.ours),
            self.against.to_owned(),
            self.unit.show(self.theirs),
            if self.theirs > 0.0 { format!("{:.2}", self.ratio()) } else { String::new() },
            self.aim(),
            met.to_owned(),
        ]
    }
}

impl Table {
    /// Renders the table as Markdown that is readable as plain text.
    pub(super) fn text(&self) -> String {
        let rows: Vec<[String; 7]> =
            std::iter::once(HEAD.map(str::to_owned)).chain(self.lines.iter().map(Line::cells)).collect();
        let width = |n: usize| rows.iter().map(|row| row[n].chars().count()).max().unwrap_or(0);
        let widths: [usize; 7] = std::array::from_fn(width);
        let mut text = String::new();
        for (n, row) in rows.iter().enumerate() {
            for (cell, width) in row.iter().zip(widths) {
                let _ = write!(text, "| {cell:<width$} ");
            }
            text.push_str("|\n");
            if n == 0 {
                text.extend(widths.map(|width| format!("| {} ", "-".repeat(width.max(3)))));
                text.push_str("|\n");
            }
        }
        let _ = write!(text, "\nMeasured on: {}. The program: {} bytes.\n", self.machine, self.program_bytes);
        for missing in &self.missing {
            let _ = writeln!(text, "Not measured: {missing}.");
        }
        text
    }

    pub(super) fn json(&self) -> Value {
        let line = |line: &Line| {
            json!({
                "what": line.what, "ours": line.ours, "against": line.against, "theirs": line.theirs,
                "unit": line.unit.name(), "ratio": line.ratio(), "aim": line.aim(), "met": line.met(),
            })
        };
        json!({
            "lines": self.lines.iter().map(line).collect::<Vec<_>>(),
            "not_measured": self.missing, "machine": self.machine, "program_bytes": self.program_bytes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_aim_is_met_or_missed_by_ratio_or_by_difference() {
        let line = |ours, aim| Line {
            what: String::new(),
            against: "",
            ours,
            theirs: 1e6,
            unit: Unit::Nanoseconds,
            aim,
        };
        assert_eq!(line(1.9e6, Aim::AtMost(2.0)).met(), Some(true));
        assert_eq!(line(2.1e6, Aim::AtMost(2.0)).met(), Some(false));
        assert_eq!(line(1.04e6, Aim::Beyond(Duration::from_micros(50))).met(), Some(true));
        assert_eq!(line(1.06e6, Aim::Beyond(Duration::from_micros(50))).met(), Some(false));
        assert_eq!(line(9e9, Aim::None).met(), None);
    }
}
