//! Finds the name that a person meant by a mistyped one.

/// Returns the candidate closest to a mistyped name, at most a third of its characters apart.
///
/// ```
/// use myownllm_config_model::close::closest;
/// assert_eq!(closest("hmoe-mesh", ["office-mesh", "home-mesh"]), Some("home-mesh"));
/// assert_eq!(closest("garden", ["office-mesh", "home-mesh"]), None);
/// ```
pub fn closest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_lowercase();
    let most = (name.chars().count() / 3).max(1);
    let measured = candidates.into_iter().map(|other| (distance(&name, &other.to_lowercase()), other));
    measured.filter(|(distance, _)| *distance <= most).min_by_key(|(distance, _)| *distance).map(|(_, it)| it)
}

/// Counts the characters to add, remove or change.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, c) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = at + 1;
        for (column, d) in other.iter().enumerate() {
            let changed = diagonal + usize::from(c != *d);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
}
