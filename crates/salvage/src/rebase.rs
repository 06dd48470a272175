use myownllm_config_model::{Document, ValueRef};
use serde::Serialize;

use crate::{DAEMON_SETTINGS, NETWORKS};

/// A path of a config that leads into the old home.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Rebased {
    /// JSON Pointer to the path.
    pub pointer: String,
    /// The document that has the path: `app` or `daemon`.
    #[cfg_attr(feature = "schema", schemars(extend("enum" = ["app", "daemon"])))]
    pub half: &'static str,
    /// The path in the old home.
    pub from: String,
    /// The path in the new home.
    pub to: String,
    /// True if the document has `to` now; false if no file is there, and `from` stays.
    pub rebased: bool,
}

impl Rebased {
    /// Returns the path at `pointer` of the app's half, which now leads `to` the new home.
    pub fn in_app(pointer: String, from: String, to: String) -> Self {
        Self { pointer, half: "app", from, to, rebased: true }
    }
}

/// Replaces the paths that lead into the home `from` by paths in the home `to`: `identity_path` and
/// `daemon.control_socket` of the daemon's half, and `daemon_settings.roster_path` of each network
/// of the app's half.
///
/// Replaces a path only if `is_at_new_place` returns true for the new one. Returns the other paths
/// into the old home as well, with [`Rebased::rebased`] false. Paths that lead elsewhere, or into
/// the new home already, stay. Compares paths as text, component by component; both kinds of
/// slashes separate components.
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
    found.extend(rebase_app_paths(app, from, to, is_at_new_place));
    found
}

/// Replaces the paths of the app's half.
pub(crate) fn rebase_app_paths(
    app: &mut Document,
    from: &str,
    to: &str,
    is_at_new_place: &dyn Fn(&str) -> bool,
) -> Vec<Rebased> {
    let mut found = Vec::new();
    app.set_in_items(&NETWORKS, &[DAEMON_SETTINGS, "roster_path"], |n, old| {
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
    /// Returns the new path for `old`; `None` if `old` does not lead into the old home.
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
        let mut new = format!("{}{}", to.trim_end_matches(is_slash), below(&old, from)?);
        // A Windows path has one separator, as Windows writes it. Elsewhere `\` is part of a name.
        if to.contains('\\') && !to.contains('/') {
            new = new.replace('/', r"\");
        }
        let rebased = is_at_new_place(&new);
        Some(Self { pointer: pointer(), half, from: old.into_owned(), to: new, rebased })
    }
}

fn is_slash(c: char) -> bool {
    c == '/' || c == '\\'
}

/// Returns the part of a path below a home, with one slash in front. Returns `None` for a path that
/// is not below the home, and for a path with `..`, whose target its text does not tell.
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

/// Returns the names in a path with the position of their ends. Skips empty names and `.`.
fn names(path: &str) -> impl Iterator<Item = (&str, usize)> {
    let mut end = 0;
    path.split_inclusive(is_slash).filter_map(move |piece| {
        end += piece.len();
        let name = piece.trim_end_matches(is_slash);
        (!name.is_empty() && name != ".").then_some((name, end - (piece.len() - name.len())))
    })
}
