//! Finds the name that a person meant by a mistyped one.

/// Returns the candidate closest to a mistyped name, at most a third of its characters apart; else
/// the only candidate that begins with it.
///
/// ```
/// use myownllm_config_model::similar::closest;
/// assert_eq!(closest("hmoe-mesh", ["office-mesh", "home-mesh"]), Some("home-mesh"));
/// assert_eq!(closest("hoem", ["home", "room"]), Some("home"));
/// assert_eq!(closest("office", ["office-mesh", "home-mesh"]), Some("office-mesh"));
/// assert_eq!(closest("garden", ["office-mesh", "home-mesh"]), None);
/// ```
pub fn closest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_lowercase();
    let most = (name.chars().count() / 3).max(1);
    let candidates: Vec<&str> = candidates.into_iter().collect();
    let measured = candidates.iter().map(|other| (distance(&name, &other.to_lowercase()), *other));
    let close = measured.filter(|(distance, _)| *distance <= most).min_by_key(|(distance, _)| *distance);
    let mut longer = candidates.iter().filter(|other| other.to_lowercase().starts_with(&name));
    let only = longer.next().filter(|_| !name.is_empty() && longer.next().is_none());
    close.map(|(_, it)| it).or(only.copied())
}

/// Counts the characters to add, remove or change, and the neighbours to exchange.
fn distance(one: &str, other: &str) -> usize {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=other.len()).collect()];
    for (at, c) in one.iter().enumerate() {
        let mut row = vec![at + 1];
        for (column, d) in other.iter().enumerate() {
            let changed = rows[at][column] + usize::from(c != d);
            let mut least = changed.min(rows[at][column + 1] + 1).min(row[column] + 1);
            if at > 0 && column > 0 && *c == other[column - 1] && one[at - 1] == *d {
                least = least.min(rows[at - 1][column - 1] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[one.len()][other.len()]
}
