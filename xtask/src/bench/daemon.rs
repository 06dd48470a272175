//! The requests to a daemon, as the stand-in counts them, and the delay until a launch notices a
//! started daemon.

use std::process::Command;
use std::time::Duration;

use super::table::{Aim, Line, Unit};
use super::{Args, Programs, said};
use crate::Fallible;

const ATTACH: &str = "attach to a daemon";
const SWITCH: &str = "switch of networks";
const SPAWN: &str = "start of a daemon, from ready to noticed";

pub(super) fn measure(args: &Args, programs: &Programs) -> Fallible<Vec<Line>> {
    let mut lines = Vec::new();
    if cfg!(not(unix)) || ![ATTACH, SWITCH, SPAWN].iter().any(|what| args.wants(what)) {
        return Ok(lines);
    }
    let times = if args.quick { "5" } else { "50" };
    let text = said(Command::new(&programs.daemon).arg(&programs.stand_in).arg(times))?;
    let mut rows = text.lines().map(|line| line.split(' ').filter_map(|n| n.parse().ok()).collect());
    let mut row = || -> Vec<f64> { rows.next().unwrap_or_default() };
    let asked = [(ATTACH, row(), "status", 1.0), (SWITCH, row(), "status, the config, a join, a leave", 4.0)];
    for (what, asked, needed, count) in asked {
        let [requests, connections] = asked[..] else { return Err(format!("bench-daemon says: {text}")) };
        for (ours, against, theirs, unit) in
            [(requests, needed, count, Unit::Requests), (connections, "one for all", 1.0, Unit::Connections)]
        {
            lines.push(Line { what: what.to_owned(), against, ours, theirs, unit, aim: Aim::AtMost(1.0) });
        }
    }
    let mut noticed = row();
    noticed.sort_by(f64::total_cmp);
    for (which, at) in [("half the times", noticed.len() / 2), ("always", noticed.len() - 1)] {
        lines.push(Line {
            what: format!("{SPAWN}, {which} within"),
            against: "the moment itself",
            ours: noticed[at],
            theirs: 0.0,
            unit: Unit::Nanoseconds,
            aim: Aim::Beyond(Duration::from_millis(5)),
        });
    }
    lines.retain(|line| args.wants(&line.what));
    Ok(lines)
}
