use myownllm_config_model::{Document, ValueRef};
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
        for keys in [&["identity_path"][..], &["daemon", "control_socket"]] {
            let Some(old) = daemon.get(keys) else { continue };
            let pointer = || format!("/{}", keys.join("/"));
            let Some(path) = Rebased::of(old, "daemon", (from, to), is_at_new_place, pointer) else {
                continue;
            };
            if path.rebased {
                daemon.set(keys, path.to.as_str());
            }
            found.push(path);
        }
    }
    app.set_in_items(&["cloud_mesh", "networks"], &["daemon_settings", "roster_path"], |n, old| {
        let path = Rebased::of(old, "app", (from, to), is_at_new_place, || {
            format!("/cloud_mesh/networks/{n}/daemon_settings/roster_path")
        })?;
        let new = path.rebased.then(|| path.to.as_str().into());
        found.push(path);
        new
    });
    found
}

impl Rebased {
    /// What becomes of a path; nothing for one that does not lead into the old home.
    fn of(
        old: ValueRef<'_>,
        half: &'static str,
        (from, to): (&str, &str),
        is_at_new_place: &dyn Fn(&str) -> bool,
        pointer: impl FnOnce() -> String,
    ) -> Option<Self> {
        let old = old.as_str()?;
        // The new home is often inside the old one.
        if below(&old, to).is_some() {
            return None;
        }
        let new = format!("{}{}", to.trim_end_matches(is_slash), below(&old, from)?);
        let rebased = is_at_new_place(&new);
        Some(Self { pointer: pointer(), half, from: old.into_owned(), to: new, rebased })
    }
}

fn is_slash(c: char) -> bool {
    c == '/' || c == '\\'
}

/// What is left of a path below a home, with one slash in front; `None` for a path that is not below it, or that goes upwards: where
/// that leads is not in its text.
fn below<'p>(path: &'p str, home: &str) -> Option<&'p str> {
    let rooted = |path: &str| path.starts_with(is_slash);
    if rooted(path) != rooted(home) || names(path).any(|(name, _)| name == "..") {
        return None;
    }
    let mut of_path = names(path);
    let mut end = 0;
    for (name, _) in names(home) {
        end = of_path.next().filter(|(its, _)| *its == name)?.1;
    }
    let (first, after) = of_path.next()?;
    (end > 0).then(|| &path[after - first.len() - 1..])
}

/// The names in a path, each with where it ends: without those that lead nowhere.
fn names(path: &str) -> impl Iterator<Item = (&str, usize)> {
    let mut end = 0;
    path.split_inclusive(is_slash).filter_map(move |piece| {
        end += piece.len();
        let name = piece.trim_end_matches(is_slash);
        (!name.is_empty() && name != ".").then_some((name, end - (piece.len() - name.len())))
    })
}
