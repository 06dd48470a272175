use myownllm_config_model::Document;
use serde::Serialize;

/// One path that pointed into the old home.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Rebased {
    /// JSON Pointer to it.
    pub pointer: String,
    /// In which document: `app` or `daemon`.
    pub half: &'static str,
    /// The path as it was.
    pub from: String,
    /// The path in the new home.
    pub to: String,
    /// The document says `to` now; else the file is not there, and the old path stays.
    pub rebased: bool,
}

/// Points the paths that lead into the home `from` to the home `to`: `identity_path` and `daemon.control_socket` of the
/// daemon's half, `daemon_settings.roster_path` of each network in the app's.
///
/// A path is changed where `is_at_new_place` says of the new path that the file is there; else it is kept, and
/// reported so. Paths that lead elsewhere, or into the new home already, are not touched. Paths are compared by
/// their components, as text; both kinds of slashes separate.
pub fn rebase_paths(
    app: &mut Document,
    daemon: Option<&mut Document>,
    from: &str,
    to: &str,
    is_at_new_place: &dyn Fn(&str) -> bool,
) -> Vec<Rebased> {
    let mut found = Vec::new();
    if let Some(daemon) = daemon {
        for path in [&["identity_path"][..], &["daemon", "control_socket"]] {
            rebase(daemon, "daemon", path, (from, to), is_at_new_place, &mut found);
        }
    }
    let count = app.get(&["cloud_mesh", "networks"]).map_or(0, |n| n.items().count());
    for n in 0..count {
        let path = ["cloud_mesh", "networks", &n.to_string(), "daemon_settings", "roster_path"];
        rebase(app, "app", &path, (from, to), is_at_new_place, &mut found);
    }
    found
}

fn rebase(
    doc: &mut Document,
    half: &'static str,
    path: &[&str],
    (from, to): (&str, &str),
    is_at_new_place: &dyn Fn(&str) -> bool,
    found: &mut Vec<Rebased>,
) {
    let Some(old) = doc.get(path).and_then(|p| p.as_str()).map(|p| p.into_owned()) else { return };
    // The new home is often inside the old one.
    if below(&old, to).is_some() {
        return;
    }
    let Some(rest) = below(&old, from) else { return };
    let new = format!("{}{rest}", to.trim_end_matches(is_slash));
    let rebased = is_at_new_place(&new);
    if rebased {
        doc.set(path, new.as_str());
    }
    found.push(Rebased { pointer: format!("/{}", path.join("/")), half, from: old, to: new, rebased });
}

fn is_slash(c: char) -> bool {
    c == '/' || c == '\\'
}

/// What is left of a path below a home, with the slash in front; `None` for a path that is not below it.
fn below<'p>(path: &'p str, home: &str) -> Option<&'p str> {
    let home = home.trim_end_matches(is_slash);
    let rest = path.strip_prefix(home)?;
    (!home.is_empty() && rest.starts_with(is_slash) && !rest.trim_start_matches(is_slash).is_empty())
        .then_some(rest)
}
