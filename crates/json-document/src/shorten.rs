//! Cuts texts of any length to a length that can be shown.

use std::borrow::Cow;

/// Stands for the part that was cut out.
const CUT: &str = "…";

/// Returns `text`, or a longer one without its middle, in at most `at_most` characters.
///
/// ```
/// use myownllm_json_document::shorten::shortened;
/// assert_eq!(shortened("short enough", 12), "short enough");
/// assert_eq!(shortened("words that never come to an end", 13), "words …an end");
/// ```
pub fn shortened(text: &str, at_most: usize) -> Cow<'_, str> {
    let length = if text.len() <= at_most { text.len() } else { text.chars().count() };
    if length <= at_most {
        return Cow::Borrowed(text);
    }
    let kept = at_most.saturating_sub(1);
    let at = |character: usize| text.char_indices().nth(character).map_or(text.len(), |(byte, _)| byte);
    let (head, tail) = (at(kept / 2), at(length - kept.div_ceil(2)));
    Cow::Owned(format!("{}{CUT}{}", &text[..head], &text[tail..]))
}

/// Returns a JSON Pointer with at most `at_most` names: of a longer one the first and the last
/// names, with `…` between them.
pub(crate) fn shortened_pointer(pointer: &str, at_most: usize) -> Cow<'_, str> {
    let starts: Vec<usize> = pointer.match_indices('/').map(|(at, _)| at).collect();
    if starts.len() <= at_most {
        return Cow::Borrowed(pointer);
    }
    let (head, tail) = (starts[at_most / 2], starts[starts.len() - at_most.div_ceil(2)]);
    Cow::Owned(format!("{}/{CUT}{}", &pointer[..head], &pointer[tail..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shortened_counts_characters() {
        let text = "ü".repeat(20);
        assert_eq!(shortened(&text, 20), text);
        for at_most in 1..20 {
            let short = shortened(&text, at_most);
            assert_eq!(short.chars().count(), at_most, "{short}");
            assert!(short.contains(CUT));
        }
    }

    #[test]
    fn shortened_pointer_cuts_between_names() {
        let pointer = "/name".repeat(1000);
        assert_eq!(shortened_pointer(&pointer, 5), "/name/name/…/name/name/name");
        assert_eq!(shortened_pointer("/a/b/c/d/e/f", 4), "/a/b/…/e/f");
        assert_eq!(shortened_pointer("/a/b", 4), "/a/b");
        assert_eq!(shortened_pointer("", 4), "");
    }
}
