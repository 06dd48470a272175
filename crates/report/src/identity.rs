//! The Device ID that the peers of this device see, and every identity file. Never shows the secret
//! key.

use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use myownllm_identity::{Answer as KeyAnswer, Home, Identity, KeyInfo, PlaceState, Refusal, Scan, WayOut};
use myownllm_launch::Diagnostic;
use serde_json::{Value, json};

use crate::screen::Page;
use crate::text::{long, rfc3339};
use crate::view::HomeView;

/// The column at which the texts begin.
const COLUMN: usize = 15;

/// The entries of the page and of the document so far.
struct Files<'a> {
    home: &'a HomeView<'a>,
    page: Page,
    list: Vec<Value>,
    diagnostics: Vec<Diagnostic>,
}

/// Returns the Device ID and the identity files that `scan` found, and what is wrong with them.
#[must_use]
pub fn identity(home: &HomeView<'_>, scan: &Scan) -> (Page, Value, Vec<Diagnostic>) {
    let verdict = scan.answer();
    let mut files = Files { home, page: Page::default(), list: Vec::new(), diagnostics: Vec::new() };
    files.diagnostics.extend(verdict.refusal().map(Diagnostic::from));
    let [daemon, app] = [scan.places.daemon(), scan.places.app()].map(Home::identity);
    for (seen, path, place) in
        [(&scan.daemon, daemon, "the daemon home"), (&scan.app, app, "the old location")]
    {
        files.place(&seen.state, path.as_std_path(), place);
    }
    let Files { mut page, list, diagnostics, .. } = files;
    if let KeyAnswer::NoneYet = verdict
        && list.is_empty()
    {
        page.line("There is no identity yet: the daemon makes one at its first start.");
    }
    let refusal = verdict.refusal();
    if list.is_empty() && refusal.is_some() {
        page.line("The identity file is not in its place.");
    }
    page.page(ways_out(refusal));
    let active = list.iter().find(|entry| entry["state"] == "valid");
    let of_active = |name: &str| active.map_or(Value::Null, |entry| entry[name].clone());
    let data = json!({
        "device_id": of_active("device_id"), "label": of_active("label"), "path": of_active("path"),
        "files": list, "found": found(scan), "ways_out": refusal.map_or(&[][..], |refusal| &refusal.ways_out),
    });
    (page, data, diagnostics)
}

/// Returns the identity files under other names.
fn found(scan: &Scan) -> Vec<Value> {
    let entry = |found: &myownllm_identity::Misplaced| {
        json!({
            "path": long(&found.path),
            "device_id": found.key.as_ref().map(|key| &key.device_id),
            "named_by": found.named_by.as_deref().map(long),
        })
    };
    scan.misplaced.iter().map(entry).collect()
}

/// Lists the ways out of a refusal, the best first, if there are several. The hint has the first:
/// the page repeats it, so that nobody takes the next one for the only one. Each identity file to
/// choose from stands under its Device ID.
fn ways_out(refusal: Option<&Refusal>) -> Page {
    let mut page = Page::default();
    let ways = refusal.map_or(&[][..], |refusal| &refusal.ways_out);
    let must_choose = matches!(ways.first(), Some(WayOut::Choose));
    if must_choose {
        page.line("Choose the identity that your peers know:");
    }
    let mut heading = Some("The ways out, the best first:");
    for way in ways.iter().filter(|_| ways.len() > 1) {
        let Some(command) = way.command() else { continue };
        match way {
            WayOut::BringBack { device_id, .. } if must_choose => {
                page.line(device_id.as_deref().unwrap_or("(no readable Device ID)"));
            }
            WayOut::GiveUpPeers { .. } => {
                page.line("Only if it is lost for good (every peer has to approve this device anew):");
            }
            _ => heading.take().into_iter().for_each(|heading| page.line(heading)),
        }
        page.command(2, "", command);
    }
    page
}

/// Returns the time at which a key was made. The daemon writes `@` and the seconds since 1970.
fn created(text: &str) -> String {
    let seconds = text.strip_prefix('@').and_then(|seconds| seconds.parse().ok());
    let time = seconds.and_then(|seconds| UNIX_EPOCH.checked_add(Duration::from_secs(seconds)));
    time.and_then(rfc3339).unwrap_or_else(|| text.to_owned())
}

impl Files<'_> {
    fn valid(&mut self, key: &KeyInfo, path: &Path, place: &str) {
        self.list.push(json!({
            "state": "valid", "path": long(path), "place": place, "device_id": key.device_id,
            "label": key.label,
            "created_at": key.created_at.as_deref().map(created),
        }));
        let shown = self.home.short(path);
        self.page.row("Device ID", COLUMN, &key.device_id);
        self.page.row("label", COLUMN, if key.label.is_empty() { "(none)" } else { &key.label });
        self.page.row("identity file", COLUMN, format!("{shown}  ({place})"));
    }

    fn other(&mut self, state: &str, path: &Path, place: &str, what: &str) {
        let shown = self.home.short(path);
        self.page.row("identity file", COLUMN, format!("{shown}  ({place}) {what}"));
        self.list.push(json!({ "state": state, "path": long(path), "place": place }));
    }

    /// Adds what lies at one of the two places. A problem there that does not keep a daemon from
    /// starting is an error of its own: a move reports the same error.
    fn place(&mut self, found: &PlaceState, path: &Path, place: &str) {
        let (state, code, what) = match found {
            PlaceState::File(Identity::Valid(key)) | PlaceState::Quarantined(Identity::Valid(key)) => {
                return self.valid(key, path, place);
            }
            PlaceState::File(Identity::Damaged { why, .. })
            | PlaceState::Quarantined(Identity::Damaged { why, .. }) => {
                ("damaged", "migration.identity-damaged", format!("is damaged: {why}"))
            }
            PlaceState::File(Identity::Newer { version })
            | PlaceState::Quarantined(Identity::Newer { version }) => {
                let what = format!("is of version {version}, which is newer than this program");
                ("newer", "migration.identity-newer", what)
            }
            PlaceState::Dangling { .. } => {
                ("damaged", "migration.identity-unreachable", "is a symlink to nothing".to_owned())
            }
            PlaceState::NotAFile { what, .. } => {
                ("unknown", "migration.identity-damaged", format!("is {what}"))
            }
            PlaceState::Unreadable(error) => {
                ("unknown", "migration.unreadable", format!("cannot be read: {}", error.io()))
            }
            _ => return,
        };
        self.other(state, path, place, &what);
        // The refusal reports this code already, and a move leaves an entry that is not a regular
        // file where it is.
        if self.diagnostics.iter().any(|diagnostic| diagnostic.code == code)
            || matches!(found, PlaceState::NotAFile { .. })
        {
            return;
        }
        let diagnostic = Diagnostic::error(code, format!("the identity file {} {what}", long(path))).at(path);
        self.diagnostics.push(diagnostic.class(class_of(code)).hint("myownllm-mesh doctor"));
    }
}

fn class_of(code: &str) -> myownllm_launch::Class {
    match code {
        "migration.identity-newer" => myownllm_launch::Class::Newer,
        "migration.identity-damaged" => myownllm_launch::Class::Refused,
        _ => myownllm_launch::Class::Failed,
    }
}
