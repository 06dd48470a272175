//! Shows a played scenario, for people and for machines.

use std::time::Duration;

use serde_json::{Value, json};

use super::stage::{Event, Record};
use super::{Ending, Scenario, Tools};
use crate::style::{self, Signs, paint, took};
use crate::tree;

/// Longer lines are hard to read.
const WIDEST: usize = 120;

pub(crate) fn opening(tools: &Tools, signs: Signs) {
    crate::say!("{}", paint(style::TITLE, "What happens to a home"));
    let line = format!(
        "Each scenario builds a user's home in a temporary directory (shown as ~), runs the real program in \
            it, and \
         {}, as real processes, and looks at the disk and at what the daemon answers.",
        tools.name()
    );
    style::wrap(&line, style::width().min(WIDEST)).iter().for_each(|line| crate::say!("{line}"));
    let mark = |style, sign: &str, means: &str| format!("{} {means}", paint(style, sign));
    crate::say!(
        "Marks: {}   {}   {}   {}   {}",
        mark(style::MOVED, signs.to, "moved there"),
        mark(style::MOVED, signs.from, "came from there"),
        mark(style::GOOD, "+", "new"),
        mark(style::CHANGED, "~", "changed"),
        mark(style::DIM, "=", "same bytes as before"),
    );
}

pub(crate) fn scenario(scenario: &Scenario, record: &Record, ending: &Ending, time: Duration, signs: Signs) {
    let width = style::width().min(WIDEST);
    let rule = signs.rule.repeat(width.saturating_sub(scenario.name.len() + 4));
    crate::say!("\n{}", paint(style::TITLE, format!("{0}{0} {1} {rule}", signs.rule, scenario.name)));
    style::wrap(scenario.story, width - 3).iter().for_each(|line| crate::say!("   {line}"));
    crate::say!("");
    record.events.iter().for_each(|event| self::event(event, width, signs));
    if let Some(why) = &record.stopped {
        crate::say!(
            "   {} {}",
            paint(style::BAD, signs.no),
            paint(style::BAD, "the scenario could not go on")
        );
        why.lines().for_each(|line| crate::say!("       {line}"));
    }
    if let Ending::Skipped(why) = ending {
        crate::say!("   {} skipped: {why}", paint(style::CHANGED, signs.skip));
    }
    if let Some(kept) = &record.kept {
        crate::say!("   The home is kept: {}", kept.join("home").display());
    }
    crate::say!("   {}", summary(record, ending, time, signs));
}

fn event(event: &Event, width: usize, signs: Signs) {
    match event {
        Event::Part(title) => crate::say!("   {}", paint(style::TITLE, title)),
        Event::Drawn { before, after } => {
            let drawn = tree::picture(before, after, ["~ before", "~ after"], width - 3, signs.unicode);
            crate::say!("");
            drawn.iter().for_each(|line| crate::say!("{}", format!("   {line}").trim_end()));
            crate::say!("");
        }
        Event::Ran { command, outcome, took: time, said } => {
            let tail = format!("{outcome}, {}", took(*time));
            let used = 5 + command.chars().count() + tail.chars().count();
            let gap = " ".repeat(width.saturating_sub(used).max(2));
            crate::say!("   {} {command}{gap}{}", paint(style::DIM, "$"), paint(style::DIM, tail));
            said.iter().for_each(|line| crate::say!("       {}", paint(style::DIM, line)));
        }
        Event::Checked { what, good, expected, seen } => {
            let (style, sign) = if *good { (style::GOOD, signs.yes) } else { (style::BAD, signs.no) };
            let sign = paint(style, sign);
            if *good && what.chars().count() + seen.chars().count() + 8 <= width {
                crate::say!("   {sign} {what}: {}", paint(style::DIM, seen));
                return;
            }
            crate::say!("   {sign} {what}");
            if let Some(expected) = expected {
                crate::say!("       expected: {expected}");
            }
            let label = if *good { "" } else { "seen: " };
            for line in style::wrap(&format!("{label}{seen}"), width - 7) {
                crate::say!("       {}", if *good { paint(style::DIM, line) } else { line });
            }
        }
    }
}

fn summary(record: &Record, ending: &Ending, time: Duration, signs: Signs) -> String {
    let (all, good) = (record.checks().count(), record.checks().filter(|good| *good).count());
    match ending {
        Ending::Passed => format!("{} {all} checks hold ({})", paint(style::GOOD, signs.yes), took(time)),
        Ending::Failed => {
            format!("{} {} of {all} checks hold ({})", paint(style::BAD, signs.no), good, took(time))
        }
        Ending::Skipped(_) => format!("{} not played", paint(style::CHANGED, signs.skip)),
    }
}

pub(crate) fn closing(played: &[(&str, &Record, &Ending)], time: Duration, signs: Signs) {
    if played.len() < 2 {
        return;
    }
    crate::say!("\n{}", paint(style::TITLE, format!("{0}{0} all together", signs.rule)));
    for (name, record, ending) in played {
        let (style, sign, note) = match ending {
            Ending::Passed => (style::GOOD, signs.yes, format!("{} checks", record.checks().count())),
            Ending::Failed => {
                let bad = record.checks().filter(|good| !good).count();
                (
                    style::BAD,
                    signs.no,
                    if bad > 0 { format!("{bad} checks fail") } else { "could not go on".to_owned() },
                )
            }
            Ending::Skipped(why) => (style::CHANGED, signs.skip, format!("skipped: {why}")),
        };
        crate::say!("   {} {name:<24} {}", paint(style, sign), paint(style::DIM, note));
    }
    let checks: usize = played.iter().map(|(_, record, _)| record.checks().count()).sum();
    let failed = played.iter().filter(|(_, _, ending)| **ending == Ending::Failed).count();
    let skipped = played.iter().filter(|(_, _, ending)| matches!(ending, Ending::Skipped(_))).count();
    let verdict = if failed == 0 {
        paint(style::GOOD, "nothing failed")
    } else {
        paint(style::BAD, format!("{failed} failed"))
    };
    crate::say!(
        "   {} scenarios, {checks} checks, {skipped} skipped, {verdict}, {}",
        played.len(),
        took(time)
    );
}

pub(crate) fn as_json(scenario: &Scenario, record: &Record, ending: &Ending, time: Duration) -> Value {
    let steps: Vec<Value> = record
        .events
        .iter()
        .map(|event| match event {
            Event::Part(title) => json!({ "part": title }),
            Event::Drawn { before, after } => {
                let [before, after] = tree::as_json(before, after);
                json!({ "before": before, "after": after })
            }
            Event::Ran { command, outcome, took, said } => {
                json!({ "command": command, "outcome": outcome, "seconds": took.as_secs_f64(),
                    "stderr": said })
            }
            Event::Checked { what, good, expected, seen } => {
                json!({ "check": what, "ok": good, "expected": expected, "seen": seen })
            }
        })
        .collect();
    let skipped = if let Ending::Skipped(why) = ending { Some(why) } else { None };
    json!({
        "name": scenario.name,
        "story": scenario.story,
        "ok": *ending != Ending::Failed,
        "skipped": skipped,
        "stopped": record.stopped,
        "seconds": time.as_secs_f64(),
        "steps": steps,
        "kept": record.kept.as_ref().map(|path| path.to_string_lossy()),
    })
}
