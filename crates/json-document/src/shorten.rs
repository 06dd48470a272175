//! Texts of any length, cut to one that can be shown.

use std::borrow::Cow;

/// What stands for the part that was left out.
const CUT: &str = "…";

/// The text, or a longer one without its middle, so that it has at most `most` characters.
///
/// ```
/// use myownllm_json_document::shorten::shortened;
/// assert_eq!(shortened("short enough", 12), "short enough");
/// assert_eq!(shortened("what somebody said without an end", 13), "what s…an end");
/// ```
pub fn shortened(text: &str, most: usize) -> Cow<'_, str> {
    let length = if text.len() <= most { text.len() } else { text.chars().count() };
    if length <= most {
        return Cow::Borrowed(text);
    }
    let kept = most.saturating_sub(1);
    let at = |character: usize| text.char_indices().nth(character).map_or(text.len(), |(byte, _)| byte);
    let (head, tail) = (at(kept / 2), at(length - kept.div_ceil(2)));
    Cow::Owned(format!("{}{CUT}{}", &text[..head], &text[tail..]))
}

/// A JSON Pointer with at most `most` names: of a longer one, the first and the last of them, with `…` for those in between.
///
/// ```
/// use myownllm_json_document::shorten::shortened_pointer;
/// assert_eq!(shortened_pointer("/a/b", 4), "/a/b");
/// assert_eq!(shortened_pointer("/a/b/c/d/e/f", 4), "/a/b/…/e/f");
/// ```
pub fn shortened_pointer(pointer: &str, most: usize) -> Cow<'_, str> {
    let starts: Vec<usize> = pointer.match_indices('/').map(|(at, _)| at).collect();
    if starts.len() <= most {
        return Cow::Borrowed(pointer);
    }
    let (head, tail) = (starts[most / 2], starts[starts.len() - most.div_ceil(2)]);
    Cow::Owned(format!("{}/{CUT}{}", &pointer[..head], &pointer[tail..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_counted_in_characters() {
        let text = "ü".repeat(20);
        assert_eq!(shortened(&text, 20), text);
        for most in 1..20 {
            let short = shortened(&text, most);
            assert_eq!(short.chars().count(), most, "{short}");
            assert!(short.contains(CUT));
        }
    }

    #[test]
    fn a_pointer_is_cut_between_names() {
        let pointer = "/name".repeat(1000);
        assert_eq!(shortened_pointer(&pointer, 5), "/name/name/…/name/name/name");
        assert_eq!(shortened_pointer("", 4), "");
    }
}
