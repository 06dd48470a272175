//! The complete part of a text that is not JSON.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use myownllm_json_document::{Document, Extent, recover};
use proptest::prelude::*;
use serde_json::{Value, json};

const CONFIG: &str = r#"{
  "family": "qwen3",
  "days": 7,
  "auto": { "models": true, "updates": false },
  "mesh": {
    "enabled": true,
    "networks": [
      { "id": "a", "servers": ["x", "y"] },
      { "id": "b", "servers": [] }
    ]
  },
  "note": "a \"quoted\" { [ , text"
}
"#;

fn value(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn mends(text: &str) -> (Value, Vec<String>) {
    let recovered = recover(text.as_bytes()).unwrap_or_else(|| panic!("nothing recovered of {text}"));
    let Extent::Corrected(mends) = recovered.extent else { panic!("{:?}: {text}", recovered.extent) };
    (recovered.document.root().to_value(), mends.iter().map(ToString::to_string).collect())
}

#[test]
fn complete_document_with_a_tail_is_that_document() {
    for tail in ["}", "\0\0\0", "\n  \"stale\": 1\n}\n", "{\"a\": 2}", ", \"b\": 2}", "garbage", "\u{fffd}"] {
        let text = format!("{}{tail}", CONFIG.trim_end());
        let recovered = recover(text.as_bytes()).unwrap();
        assert_eq!(recovered.document.to_text(), CONFIG.trim_end(), "{tail:?}");
        let Extent::Leading { line, tail: bytes } = recovered.extent else { panic!("{tail:?}") };
        assert_eq!((line, recovered.partial), (13, None), "{tail:?}");
        assert!(bytes > 0 && bytes <= tail.len(), "{tail:?}: {bytes}");
    }
}

/// At every place where a text may break off, each member that is taken is one of the text's, and
/// none that is complete is left.
#[test]
fn text_that_breaks_off_gives_its_complete_members() {
    let whole = value(CONFIG);
    let members: Vec<_> = Document::parse(CONFIG.as_bytes())
        .unwrap()
        .document
        .root()
        .members()
        .map(|(key, member)| (key.into_owned(), CONFIG.find(&*member.raw()).unwrap() + member.raw().len()))
        .collect();
    for at in 0..CONFIG.trim_end().len() {
        let text = &CONFIG[..at];
        let recovered = recover(text.as_bytes());
        let complete: Vec<&String> =
            members.iter().filter(|(_, end)| *end < at).map(|(key, _)| key).collect();
        let Some(recovered) = recovered else {
            assert!(complete.is_empty(), "at {at}: {complete:?} is left");
            continue;
        };
        for key in complete {
            assert!(recovered.whole.contains(key), "at {at}: {key} is left");
        }
        for key in &recovered.whole {
            assert_eq!(recovered.document.get(&[key]).unwrap().to_value(), whole[key], "at {at}: {key}");
        }
        assert!(matches!(recovered.extent, Extent::Torn { .. }), "at {at}: {:?}", recovered.extent);
    }
}

#[test]
fn member_that_breaks_off_gives_its_complete_part() {
    let torn = |text: &str| {
        let recovered = recover(text.as_bytes()).unwrap();
        (recovered.document.root().to_value(), recovered.partial)
    };
    assert_eq!(torn(r#"{"a": {"b": 1, "c": 2"#), (json!({"a": {"b": 1}}), Some("a".into())));
    // Half a network is none; the ones before it are.
    let (found, partial) = torn(r#"{"a": {"n": [{"id": "x"}, {"id": "y", "s": ["1", "2""#);
    assert_eq!((found, partial), (json!({"a": {"n": [{"id": "x"}]}}), Some("a".into())));
    assert_eq!(torn(r#"{"k": 1, "l": ["m", "n"#), (json!({"k": 1, "l": ["m"]}), Some("l".into())));
    let item = |text: &str| recover(text.as_bytes()).unwrap().torn_item.map(|item| item.root().to_value());
    assert_eq!(item(r#"{"k": 1, "n": [{"id": "y", "s": {"t": 1, "u"#), Some(json!({"id": "y"})));
    assert_eq!(item(r#"{"k": 1, "n": [{"id": "y"}], "l"#), None);
    // An empty beginning says nothing.
    assert_eq!(torn(r#"{"k": 1, "l": ["#), (json!({"k": 1}), None));
    assert_eq!(torn(r#"{"k": 1, "a": {"n": [{"id": "x"#), (json!({"k": 1}), None));
    // A number may lack digits, and `t` may become anything.
    assert_eq!(torn(r#"{"k": 1, "n": 12"#), (json!({"k": 1}), None));
    assert_eq!(torn(r#"{"k": 1, "n": tru"#), (json!({"k": 1}), None));
    assert_eq!(torn(r#"{"k": 1, "n": true"#), (json!({"k": 1, "n": true}), None));
}

#[test]
fn nothing_is_recovered_where_nothing_is_whole() {
    for text in
        ["", " ", "\0\0", "{", "{\"a\": ", "[1, 2", "[1, 2]", "null", "{}", "{\"a\": 1}", "{}{}", "hello"]
    {
        assert!(recover(text.as_bytes()).is_none(), "{text:?}");
    }
}

#[test]
fn slip_of_a_hand_edit_is_mended_and_named() {
    let whole = value(CONFIG);
    let slips = [
        ("7,\n", "7\n", "insert `,` at line 3, column 12"),
        ("\"qwen3\",", "\"qwen3,", "insert `\"` at line 2, column 19"),
        ("\"qwen3\",", "qwen3\",", "insert `\"` at line 2, column 13"),
        ("\"family\": ", "\"family: ", "insert `\"` at line 2, column 10"),
        ("\"family\": ", "family\": ", "insert `\"` at line 2, column 3"),
        ("\"days\": 7", "\"days\" 7", "insert `:` at line 3, column 10"),
        ("[] }\n", "[] },\n", "remove `,` at line 9, column 35"),
        ("7,\n", "7,,\n", "remove `,` at line 3, column 13"),
        ("7,\n", "7, // a week\n", "remove the comment at line 3, column 14"),
        ("  \"days\"", "  /* a\n week */ \"days\"", "remove the comment at line 3, column 3"),
        ("[\"x\", \"y\"]", "[\"x\" \"y\"]", "insert `,` at line 8, column 35"),
        ("\"updates\": false }", "\"updates\": false, }", "remove `,` at line 4, column 45"),
        ("text\"\n", "text\n", "insert `\"` at line 12, column 35"),
    ];
    for (right, wrong, mend) in slips {
        assert!(CONFIG.contains(right), "the scene is not what it says: {right}");
        let text = CONFIG.replacen(right, wrong, 1);
        assert_eq!(mends(&text), (whole.clone(), vec![mend.to_owned()]), "{wrong}");
    }
}

#[test]
fn several_slips_are_mended_one_after_the_other() {
    let text = CONFIG.replace("7,", "7").replace("\"qwen3\"", "qwen3").replace("[] }\n    ]", "[] },\n    ]");
    let (found, slips) = mends(&text);
    assert_eq!(found, value(CONFIG));
    // The places are those of the text as it is.
    assert_eq!(
        slips,
        [
            "insert `\"` at line 2, column 13",
            "insert `\"` at line 2, column 18",
            "insert `,` at line 3, column 12",
            "remove `,` at line 9, column 35"
        ]
    );
    let hopeless = "{\"a\": 1,\n".to_owned() + &"b b b b b\n".repeat(20) + "}";
    assert!(!matches!(recover(hopeless.as_bytes()).unwrap().extent, Extent::Corrected(_)));
}

#[test]
fn text_in_utf16_is_read() {
    let units = |mark: u16| std::iter::once(mark).chain(CONFIG.encode_utf16());
    let little: Vec<u8> = units(0xfeff).flat_map(u16::to_le_bytes).collect();
    let big: Vec<u8> = units(0xfeff).flat_map(u16::to_be_bytes).collect();
    for bytes in [little, big] {
        let recovered = recover(&bytes).unwrap();
        assert_eq!((recovered.document.to_text(), recovered.extent), (CONFIG.to_owned(), Extent::Utf16));
    }
}

proptest! {
    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = recover(&bytes);
    }

    /// A part that is cut out or put in leaves a document of members of the text.
    #[test]
    fn damaged_text_is_survived(from in 0..300_usize, len in 0..30_usize, put in "[{}\\[\\]\",:a1 \n]{0,3}") {
        let from = from.min(CONFIG.len());
        let to = (from + len).min(CONFIG.len());
        let text = format!("{}{put}{}", &CONFIG[..from], &CONFIG[to..]);
        if let Some(recovered) = recover(text.as_bytes()) {
            prop_assert!(Document::parse(recovered.document.to_text().as_bytes()).is_ok());
            prop_assert!(Document::parse(text.as_bytes()).is_err());
        }
    }
}
