//! `migrate`: the move alone.

use myownllm_migration::{
    Direction, Keep, MigrationError, Options as MoveOptions, Outcome, Plan, Report, StateMigrator, Step,
};
use serde_json::{Value, json};

use super::config::utc_minutes;
use super::launch::count;
use crate::cli::{KeepSide, MigrateArgs};
use crate::exit::ExitCode;
use crate::launch::{Watch, check_socket, move_notices};
use crate::notice::{Notice, exit_of};
use crate::output::{Answer, short};
use crate::world::World;

/// More lines than this are not read by anybody.
const SHOWN: usize = 12;

pub(crate) fn run(world: &World, args: &MigrateArgs) -> Result<Answer, Notice> {
    let wired = world.wire();
    let parts = wired.parts();
    parts.checked.map_err(Notice::from)?;
    let direction = if args.undo { Direction::Undo } else { Direction::Forward };
    let wanted = if args.undo { MoveOptions::undo() } else { MoveOptions::forward() }
        .keeping(args.keep.map(|side| match side {
            KeepSide::Source => Keep::Source,
            KeepSide::Destination => Keep::Destination,
        }))
        .stopping_legacy_daemon(args.stop_legacy_daemon);
    let leaked = crate::launch::leaked_socket(&parts)?;
    let plan = wired.migrator.plan(&wired.migrator.inspect(direction), &wanted);
    let socket = (direction == Direction::Forward && !plan.is_empty())
        .then(|| check_socket(&parts, leaked.as_deref()).err())
        .flatten();
    if args.dry_run || args.check {
        let live = if plan.is_empty() { Vec::new() } else { parts.daemons.live(leaked.as_deref()) };
        let live = crate::launch::settle_live(parts.daemons, live, &world.options()).err();
        return Ok(dry(world, &plan, args, socket.into_iter().chain(live).collect()));
    }
    if plan.is_empty() {
        // Nothing to move takes no lock; what waits for a decision is told all the same.
        return Ok(told(world, &plan));
    }
    if let Some(refused) = socket {
        return Err(refused);
    }
    let lock = parts
        .disk
        .lock(&world.layout.app_home, world.options().lock_wait)
        .map_err(|error| Notice::from(&error))?;
    let watch = Watch { daemons: parts.daemons, leaked: leaked.as_deref() };
    let report = wired.migrator.run(&lock, &wanted, &watch);
    Ok(done(world, &report))
}

/// What is there although nothing would be moved.
fn told(world: &World, plan: &Plan) -> Answer {
    let notices = plan_notices(world, plan);
    let mut text = String::new();
    if exit_of(&notices).is_ok() {
        text.push_str("Nothing to move.\n");
    }
    text.push_str(&choice(world, plan.refusals.iter().chain(&plan.errors)));
    text.push_str(&left_lines(world, &plan.left));
    let data = json!({ "moved": [], "identical_removed": [], "set_aside": [], "collisions": plan.collisions, "left": plan.left, "pending": [], "errors": plan.errors, "refusals": plan.refusals, "identity": plan.identity, "outcome": "nothing-to-do" });
    let exit = exit_of(&notices);
    Answer { notices, ..Answer::done(text, data) }.exit(exit)
}

fn dry(world: &World, plan: &Plan, args: &MigrateArgs, refusals: Vec<Notice>) -> Answer {
    let mut notices = plan_notices(world, plan);
    notices.extend(refusals);
    let mut text = String::new();
    let moves = moves_of(plan);
    text.push_str(&choice(world, plan.refusals.iter().chain(&plan.errors)));
    if !plan.refusals.is_empty() {
        text.push_str("Nothing would be moved before this is settled.\n");
    } else if plan.is_empty() {
        text.push_str("Nothing to move.\n");
    } else {
        for (from, to, files) in moves.iter().take(SHOWN) {
            let count = if *files == 1 { String::new() } else { format!("  ({files} files)") };
            text.push_str(&format!("would move  {}  ->  {}{count}\n", home(world, from), home(world, to)));
        }
        if moves.len() > SHOWN {
            text.push_str(&format!("            and {} more\n", moves.len() - SHOWN));
        }
        for step in plan.steps() {
            match step {
                Step::RemoveIdentical { source, destination } => text.push_str(&format!(
                    "would remove  {}  (the same is at {})\n",
                    short(source, &world.layout.user_home),
                    short(destination, &world.layout.user_home),
                )),
                Step::SetAside { from, to } => text.push_str(&format!(
                    "would set aside  {}  as  {}\n",
                    short(from, &world.layout.user_home),
                    short(to, &world.layout.user_home),
                )),
                _ => {}
            }
        }
    }
    text.push_str(&left_lines(world, &plan.left));
    let data = json!({
        "moved": [],
        "identical_removed": [],
        "collisions": plan.collisions,
        "left": plan.left,
        "pending": plan.steps().collect::<Vec<_>>(),
        "errors": plan.errors,
        "refusals": plan.refusals,
        "identity": plan.identity,
    });
    let trouble = exit_of(&notices);
    let exit = if args.check && trouble.is_ok() && !plan.is_empty() { ExitCode::Pending } else { trouble };
    Answer { notices, ..Answer::done(text, data) }.exit(exit)
}

fn done(world: &World, report: &Report) -> Answer {
    let notices: Vec<Notice> = move_notices(report, &world.program).collect();
    let mut text = String::new();
    match report.outcome {
        Outcome::NothingToDo if notices.is_empty() => text.push_str("Nothing to move.\n"),
        Outcome::Refused => text.push_str("Nothing was moved.\n"),
        _ => {
            for moved in report.moved.iter().take(SHOWN) {
                text.push_str(&format!(
                    "moved  {}  ->  {}\n",
                    short(&moved.from, &world.layout.user_home),
                    short(&moved.to, &world.layout.user_home)
                ));
            }
            if report.moved.len() > SHOWN {
                text.push_str(&format!("       and {} more\n", report.moved.len() - SHOWN));
            }
            for path in &report.identical_removed {
                text.push_str(&format!(
                    "removed  {}  (the same was there already)\n",
                    short(path, &world.layout.user_home)
                ));
            }
            for aside in &report.set_aside {
                text.push_str(&format!(
                    "set aside  {}  as  {}\n",
                    short(&aside.from, &world.layout.user_home),
                    short(&aside.to, &world.layout.user_home)
                ));
            }
        }
    }
    text.push_str(&choice(world, report.refusals.iter().chain(&report.errors)));
    text.push_str(&left_lines(world, &report.left));
    if let Some(key) = report.identity.key() {
        text.push_str(&format!("Device ID  {}\n", key.device_id));
    }
    if report.direction == Direction::Undo && exit_of(&notices).is_ok() {
        text.push_str(
            "The daemon's own config.json stays in its home.\n\
             The next launch of a version that knows the daemon's own home moves all of this again.\n",
        );
    }
    let exit = exit_of(&notices);
    Answer { notices, ..Answer::done(text, report_data(report)) }.exit(exit)
}

/// Two keys, side by side: what a person needs to know to choose.
pub(crate) fn choice<'a>(world: &World, errors: impl Iterator<Item = &'a MigrationError>) -> String {
    let mut text = String::new();
    for error in errors {
        let MigrationError::TwoIdentities { source_side, destination_side, .. } = error else { continue };
        for (name, side) in [("source", source_side), ("destination", destination_side)] {
            text.push_str(&format!(
                "{name:<12} {}\n{:<13}{}, made {}, with {} and {}\n",
                side.key.device_id,
                "",
                home(world, &side.path),
                made(side.key.created_at.as_deref()),
                count(side.rosters, "roster"),
                count(side.states, "state"),
            ));
        }
        text.push_str(&format!(
            "Keep the one that your peers know; it is the one that lies with the rosters as a rule:\n  \
             {0} migrate --keep source\n  {0} migrate --keep destination\n\
             The other is set aside beside it, and can be put back.\n\n",
            world.program
        ));
    }
    text
}

/// When a key was made, as its file says: `@` and seconds since 1970.
fn made(created_at: Option<&str>) -> String {
    let Some(text) = created_at else { return "at an unknown time".to_owned() };
    match text.strip_prefix('@').and_then(|seconds| seconds.parse::<u64>().ok()) {
        Some(seconds) => utc_minutes(seconds.saturating_mul(1000)),
        None => text.to_owned(),
    }
}

/// A report as `data`: what was promised to programs, and the rest of it.
pub(crate) fn report_data(report: &Report) -> Value {
    let mut data = serde_json::to_value(report).unwrap_or(Value::Null);
    data["pending"] = json!([]);
    data
}

/// The troubles that a plan names before anything is done.
pub(crate) fn plan_notices(world: &World, plan: &Plan) -> Vec<Notice> {
    let mut notices: Vec<Notice> = plan.refusals.iter().chain(&plan.errors).map(Notice::from).collect();
    notices.extend(
        plan.collisions
            .iter()
            .map(|both| crate::launch::collision_notice(&both.source, &both.destination, &world.program)),
    );
    notices
}

/// What would move: from, to, how many files.
pub(crate) fn moves_of(plan: &Plan) -> Vec<(std::path::PathBuf, std::path::PathBuf, usize)> {
    let mut moves = Vec::new();
    for step in plan.steps() {
        match step {
            Step::MoveFolder { from, to, files } => moves.push((from.clone(), to.clone(), *files)),
            Step::MoveFile { from, to } | Step::MoveLink { from, to, .. } => {
                moves.push((from.clone(), to.clone(), 1))
            }
            Step::MoveFiles { from, to, names } => {
                moves.extend(names.iter().map(|name| (from.join(name), to.join(name), 1)));
            }
            _ => {}
        }
    }
    moves
}

fn left_lines(world: &World, left: &[myownllm_migration::Left]) -> String {
    left.iter()
        .map(|left| format!("left  {}  ({})\n", short(&left.path, &world.layout.user_home), left.reason))
        .collect()
}

fn home(world: &World, path: &std::path::Path) -> String {
    short(path, &world.layout.user_home)
}
