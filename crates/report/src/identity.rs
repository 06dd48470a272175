//! The Device ID that the peers of this device see, and every identity file. Never shows the secret
//! key.

use std::time::{Duration, UNIX_EPOCH};

use myownllm_identity::{
    Answer as KeyAnswer, Home, Identity, KeyInfo, Misplaced, PlaceState, Refusal, Scan, WayOut,
};
use myownllm_launch::Diagnostic;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use crate::screen::Page;
use crate::text::{long, rfc3339};
use crate::view::HomeView;

/// The column at which the texts begin.
const COLUMN: usize = 15;

/// The identity files of a home.
#[derive(Serialize, JsonSchema)]
pub(crate) struct IdentityFiles<'a> {
    /// The Device ID of the first valid file.
    device_id: Option<&'a str>,
    /// The label of the first valid file.
    label: Option<&'a str>,
    /// The path of the first valid file.
    path: Option<&'a str>,
    /// The files in their places, the one of the daemon home first.
    files: &'a [IdentityFile],
    /// Sound files under other names, and those that other configs name. They are looked for if no
    /// sound file is in its place.
    found: Vec<FoundFile>,
    /// The ways to bring the key back, the best first. Only the last gives up the peers.
    ways_out: &'a [WayOut],
}

#[derive(Serialize, JsonSchema)]
struct IdentityFile {
    state: FileState,
    path: String,
    /// The home that the file is in, for a person.
    place: &'static str,
    #[serde(flatten)]
    key: Option<ShownKey>,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum FileState {
    Valid,
    Newer,
    Damaged,
    Unknown,
}

/// The key of a valid file.
#[derive(Serialize, JsonSchema)]
struct ShownKey {
    device_id: String,
    label: String,
    /// The time at which the key was made, RFC 3339 in UTC; the text of the file if that is no
    /// time.
    #[schemars(extend("nullable" = true))]
    created_at: Option<String>,
}

#[derive(Serialize, JsonSchema)]
struct FoundFile {
    path: String,
    /// Null for a file of a newer version.
    device_id: Option<String>,
    /// The config that names the file.
    named_by: Option<String>,
}

/// Returns the Device ID and the identity files that `scan` found, and what is wrong with them.
pub fn identity(home: &HomeView<'_>, scan: &Scan) -> (Page, Value, Vec<Diagnostic>) {
    let verdict = scan.answer();
    let refusal = verdict.refusal();
    let mut diagnostics: Vec<Diagnostic> = refusal.map(Diagnostic::from).into_iter().collect();
    let mut page = Page::default();
    let mut list = Vec::new();
    let [daemon, app] = [scan.places.daemon(), scan.places.app()].map(Home::identity);
    for (seen, path, place) in
        [(&scan.daemon, daemon, "the daemon home"), (&scan.app, app, "the old location")]
    {
        let shown = home.short(path);
        let (state, key) = match key_at(&seen.state) {
            None => continue,
            Some(Ok(key)) => {
                page.row("Device ID", COLUMN, &key.device_id);
                page.row("label", COLUMN, if key.label.is_empty() { "(none)" } else { &key.label });
                page.row("identity file", COLUMN, format!("{shown}  ({place})"));
                (FileState::Valid, Some(ShownKey::from(key)))
            }
            Some(Err((state, code, what))) => {
                page.row("identity file", COLUMN, format!("{shown}  ({place}) {what}"));
                // The refusal reports this code already, and a move leaves an entry that is not a
                // regular file where it is.
                let is_told = diagnostics.iter().any(|diagnostic| diagnostic.code == code);
                if !is_told && !matches!(seen.state, PlaceState::NotAFile { .. }) {
                    let message = format!("the identity file {} {what}", long(path));
                    let diagnostic = Diagnostic::error(code, message).at(path).class(class_of(code));
                    diagnostics.push(diagnostic.hint("myownllm-mesh doctor"));
                }
                (state, None)
            }
        };
        list.push(IdentityFile { state, path: long(path), place, key });
    }
    if let KeyAnswer::NoneYet = verdict
        && list.is_empty()
    {
        page.line("There is no identity yet: the daemon makes one at its first start.");
    }
    if list.is_empty() && refusal.is_some() {
        page.line("The identity file is not in its place.");
    }
    page.page(ways_out(home, refusal));
    let active = list.iter().find(|file| file.key.is_some());
    let key = active.and_then(|file| file.key.as_ref());
    let document = IdentityFiles {
        device_id: key.map(|key| &*key.device_id),
        label: key.map(|key| &*key.label),
        path: active.map(|file| &*file.path),
        files: &list,
        found: scan.misplaced.iter().map(found).collect(),
        ways_out: refusal.map_or(&[][..], |refusal| &refusal.ways_out),
    };
    (page, json!(document), diagnostics)
}

/// Returns an identity file under another name.
fn found(found: &Misplaced) -> FoundFile {
    FoundFile {
        path: long(&found.path),
        device_id: found.key.as_ref().map(|key| key.device_id.clone()),
        named_by: found.named_by.as_deref().map(long),
    }
}

/// Lists the ways out of a refusal, the best first, if there are several. The hint has the first:
/// the page repeats it, so that nobody takes the next one for the only one. Each identity file to
/// choose from stands under its Device ID.
fn ways_out(home: &HomeView<'_>, refusal: Option<&Refusal>) -> Page {
    let mut page = Page::default();
    let ways = refusal.map_or(&[][..], |refusal| &refusal.ways_out);
    let must_choose = matches!(ways.first(), Some(WayOut::Choose));
    if must_choose {
        page.line("Choose the identity that your peers know:");
    }
    let mut heading = Some("The ways out, the best first:");
    for way in ways.iter().filter(|way| ways.len() > 1 && !matches!(way, WayOut::Choose)) {
        let Some(command) = way.command_of(home.program) else { continue };
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

impl From<&KeyInfo> for ShownKey {
    fn from(key: &KeyInfo) -> Self {
        Self {
            device_id: key.device_id.clone(),
            label: key.label.clone(),
            created_at: key.created_at.as_deref().map(created),
        }
    }
}

/// Returns the time at which a key was made. The daemon writes `@` and the seconds since 1970.
fn created(text: &str) -> String {
    let seconds = text.strip_prefix('@').and_then(|seconds| seconds.parse().ok());
    let time = seconds.and_then(|seconds| UNIX_EPOCH.checked_add(Duration::from_secs(seconds)));
    time.and_then(rfc3339).unwrap_or_else(|| text.to_owned())
}

/// Returns the key of the valid file that lies at one of the two places, or the state, the code and
/// the words of what else lies there; `None` if nothing does. A problem that does not keep a daemon
/// from starting is an error of its own: a move reports the same error.
fn key_at(found: &PlaceState) -> Option<Result<&KeyInfo, (FileState, &'static str, String)>> {
    Some(Err(match (found.identity(), found) {
        (Some(Identity::Valid(key)), _) => return Some(Ok(key)),
        (Some(Identity::Damaged { why, .. }), _) => {
            (FileState::Damaged, "migration.identity-damaged", format!("is damaged: {why}"))
        }
        (Some(Identity::Newer { version }), _) => {
            let what = format!("is of version {version}, which is newer than this program");
            (FileState::Newer, "migration.identity-newer", what)
        }
        (_, PlaceState::Dangling { .. }) => {
            (FileState::Damaged, "migration.identity-unreachable", "is a broken symlink".to_owned())
        }
        (_, PlaceState::NotAFile { what, .. }) => {
            (FileState::Unknown, "migration.identity-damaged", format!("is {what}"))
        }
        (_, PlaceState::Unreadable(error)) => {
            (FileState::Unknown, "migration.unreadable", format!("cannot be read: {}", error.io()))
        }
        _ => return None,
    }))
}

fn class_of(code: &str) -> myownllm_launch::Class {
    match code {
        "migration.identity-newer" => myownllm_launch::Class::Newer,
        "migration.identity-damaged" => myownllm_launch::Class::Refused,
        _ => myownllm_launch::Class::Failed,
    }
}
