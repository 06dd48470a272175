//! `cargo xtask ci`: what has to be green before a change goes in.

use std::time::Instant;

use crate::workspace::{cargo, step};
use crate::{Fallible, crash, scenario, style, test};

#[derive(clap::Args)]
pub(crate) struct Args {}

type Step = (&'static str, fn() -> Fallible<bool>);

const STEPS: [Step; 6] = [
    ("format", || step(cargo().args(["fmt", "--all", "--check"]))),
    ("lints", || {
        let clippy =
            ["clippy", "--workspace", "--all-targets", "--all-features", "--quiet", "--", "-D", "warnings"];
        step(cargo().args(clippy))
    }),
    // Outside the workspace, so no other step sees it; it shares the target folder, and takes seconds.
    ("sibling app", || {
        let manifest = "examples/sibling-app/Cargo.toml";
        step(cargo().args([
            "check",
            "--locked",
            "--quiet",
            "--target-dir",
            "target",
            "--manifest-path",
            manifest,
        ]))
    }),
    ("tests", || test::run(&test::Args::default())),
    ("scenarios", || scenario::run(&scenario::Args::default())),
    ("crash sweep, short", || crash::run(&crash::Args::short())),
];

pub(crate) fn run(_: &Args) -> Fallible<bool> {
    let signs = style::signs();
    let mut failed = Vec::new();
    for (name, step) in STEPS {
        crate::say!("\n{}", style::paint(style::TITLE, format!("{0}{0} {name} ", signs.rule)));
        let started = Instant::now();
        // All steps run: whoever reads the log wants every finding, not the first.
        let good = step().unwrap_or_else(|why| {
            crate::say!("{why}");
            false
        });
        let (style, sign) = if good { (style::GOOD, signs.yes) } else { (style::BAD, signs.no) };
        crate::say!("{} {name} ({})", style::paint(style, sign), style::took(started.elapsed()));
        if !good {
            failed.push(name);
        }
    }
    if failed.is_empty() {
        crate::say!("\n{}", style::paint(style::GOOD, "all green"));
    } else {
        crate::say!("\n{}", style::paint(style::BAD, format!("not green: {}", failed.join(", "))));
    }
    Ok(failed.is_empty())
}
