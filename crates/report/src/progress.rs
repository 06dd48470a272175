//! The progress of a long move: one line that is overwritten again and again, or JSON lines.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use myownllm_migration::{Phase, Progress};
use serde_json::json;

/// A shorter run shows no progress.
const SHOWN_AFTER: Duration = Duration::from_millis(400);
const REFRESH_INTERVAL: Duration = Duration::from_millis(100);

/// The form in which progress is shown.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Form {
    /// No progress.
    None,
    /// One line of a terminal.
    Line,
    /// One JSON object per line.
    Json,
}

/// The texts about the progress of a move.
#[derive(Debug)]
pub struct ProgressText {
    form: Form,
    begun: Instant,
    /// The time of the last line; `None` while nothing is shown.
    shown: Cell<Option<Instant>>,
    /// The current phase, its start, and the amount that was already done at its start.
    phase: RefCell<Option<(Phase, Instant, usize)>>,
}

impl ProgressText {
    /// Returns the texts of this form for a move that starts now.
    pub fn new(form: Form) -> Self {
        Self { form, begun: Instant::now(), shown: Cell::new(None), phase: RefCell::new(None) }
    }

    /// Returns the line to write at the time `now`: nothing until the move has taken `SHOWN_AFTER`,
    /// then at most one line per `REFRESH_INTERVAL`.
    pub fn text(&self, progress: Progress, now: Instant) -> Option<String> {
        let mut phase = self.phase.borrow_mut();
        if phase.is_none_or(|(last, ..)| last != progress.phase) {
            *phase = Some((progress.phase, now, progress.phase_done));
            // A new phase is shown at once if a line is already shown.
            if let Some(shown) = self.shown.get() {
                self.shown.set(shown.checked_sub(REFRESH_INTERVAL));
            }
        }
        let (since, least) =
            self.shown.get().map_or((self.begun, SHOWN_AFTER), |last| (last, REFRESH_INTERVAL));
        if self.form == Form::None || now.duration_since(since) < least {
            return None;
        }
        self.shown.set(Some(now));
        let (_, began, before) = (*phase)?;
        let rate = rate(progress, before, now.duration_since(began));
        Some(match self.form {
            Form::Json => format!("{}\n", as_json(progress, rate)),
            _ => format!("\r\x1b[K{}", as_line(progress, rate)),
        })
    }

    /// Returns the text that clears the line; `None` if no line is shown.
    pub fn cleared(&self) -> Option<&'static str> {
        (self.shown.take().is_some() && self.form == Form::Line).then_some("\r\x1b[K")
    }
}

/// Returns the files per second, and the seconds that are left at that rate.
fn rate(progress: Progress, before: usize, took: Duration) -> Option<(f64, f64)> {
    let done = progress.phase_done.checked_sub(before).filter(|done| *done > 0)?;
    #[allow(clippy::cast_precision_loss, reason = "a rate for people")]
    let rate = done as f64 / took.as_secs_f64().max(0.001);
    #[allow(clippy::cast_precision_loss, reason = "a rest for people")]
    let rest = progress.phase_total.saturating_sub(progress.phase_done) as f64 / rate;
    (progress.phase_total > 0).then_some((rate, rest))
}

fn percent(progress: Progress) -> Option<usize> {
    (progress.phase_done * 100).checked_div(progress.phase_total)
}

fn as_line(progress: Progress, rate: Option<(f64, f64)>) -> String {
    let phase = match progress.phase {
        Phase::Moving => "moving",
        Phase::Syncing => return "syncing to the disk…".to_owned(),
        Phase::Comparing => "comparing",
        Phase::Removing => "removing the originals",
        _ => "working",
    };
    let percent = percent(progress).map_or_else(String::new, |percent| format!(" ({percent} %)"));
    let rate = rate.map_or_else(String::new, |(rate, rest)| {
        let rest = if rest < 1.0 { "under 1 s left".to_owned() } else { format!("about {rest:.0} s left") };
        format!(", {rate:.0} files/s, {rest}")
    });
    format!("{phase}: {} of {} files{percent}{rate}", progress.phase_done, progress.phase_total)
}

fn as_json(progress: Progress, rate: Option<(f64, f64)>) -> String {
    let mut line = json!(progress);
    line["percent"] = json!(percent(progress));
    line["files_per_s"] = json!(rate.map(|(rate, _)| rate.round()));
    line["rest_s"] = json!(rate.map(|(_, rest)| rest.round()));
    json!({ "progress": line }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(phase: &str, done: usize, total: usize) -> Progress {
        let phase = match phase {
            "moving" => Phase::Moving,
            "syncing" => Phase::Syncing,
            _ => Phase::Removing,
        };
        Progress::new(phase, done, total)
    }

    #[test]
    fn only_a_long_move_has_a_line_and_only_where_it_is_wanted() {
        let line = ProgressText::new(Form::Line);
        let at = |ms| line.begun + Duration::from_millis(ms);
        assert_eq!(line.text(progress("moving", 1, 900), at(0)), None);
        assert_eq!(line.text(progress("moving", 1, 900), at(399)), None);
        let said = line.text(progress("moving", 201, 900), at(400));
        assert_eq!(
            said.as_deref(),
            Some("\r\x1b[Kmoving: 201 of 900 files (22 %), 500 files/s, about 1 s left")
        );
        assert_eq!(line.text(progress("moving", 250, 900), at(499)), None);
        // A new phase is shown at once, and has a rate of its own.
        let said = line.text(progress("syncing", 0, 0), at(499));
        assert_eq!(said.as_deref(), Some("\r\x1b[Ksyncing to the disk…"));
        let said = line.text(progress("removing", 0, 900), at(9_000));
        assert_eq!(said.as_deref(), Some("\r\x1b[Kremoving the originals: 0 of 900 files (0 %)"));
        let quiet = ProgressText::new(Form::None);
        assert_eq!(quiet.text(progress("moving", 5, 900), quiet.begun + Duration::from_secs(9)), None);
    }

    #[test]
    fn json_lines_have_phase_percent_rate_and_rest() {
        let lines = ProgressText::new(Form::Json);
        let at = |ms| lines.begun + Duration::from_millis(ms);
        lines.text(progress("moving", 0, 1000), at(0));
        let said = lines.text(progress("moving", 500, 1000), at(1000)).unwrap();
        let said: serde_json::Value = serde_json::from_str(&said).unwrap();
        let progress = &said["progress"];
        assert_eq!(progress["phase"], "moving");
        assert_eq!(
            (&progress["percent"], &progress["files_per_s"], &progress["rest_s"]),
            (&json!(50), &json!(500.0), &json!(1.0))
        );
    }
}
