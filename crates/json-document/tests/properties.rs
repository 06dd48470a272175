//! Properties of generated documents.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use myownllm_json_document::Document;
use proptest::prelude::*;
use serde_json::json;

fn doc(text: &str) -> Document {
    Document::parse(text.as_bytes()).unwrap().document
}

/// Generates JSON texts with unusual spellings: white space, escapes, numbers of every form,
/// duplicate keys.
fn json_text(depth: u32) -> BoxedStrategy<String> {
    let scalar = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,9})?([eE][+-]?[0-9]{1,3})?",
        "\"([ -!#-\\[\\]-~é漢😀]|\\\\[\"\\\\/bfnrt]|\\\\u[0-9a-fA-F]{4}){0,12}\"",
        // Longer than any step of the scanner.
        "\"[a-zé ]{0,90}(\\\\n)?[a-z]{0,40}\"",
    ];
    let space = "([ \\n\\t\\r]{0,3}|\\n {0,20})";
    scalar
        .prop_recursive(depth, 64, 6, move |inner| {
            let item = (space, inner.clone(), space).prop_map(|(a, v, b)| format!("{a}{v}{b}"));
            // Some names are equal, some nearly so.
            let key = prop_oneof![
                "\"[ab]{0,2}\"",
                "\"\\\\u006[0-9]\"",
                "\"the_same_beginning[ab]{0,2}\"",
                "\"the_same_\\\\u0062eginning[ab]\"",
            ];
            let member = (space, key, space, item.clone()).prop_map(|(a, k, b, v)| format!("{a}{k}{b}:{v}"));
            prop_oneof![
                prop::collection::vec(item, 0..6).prop_map(|v| format!("[{}]", v.join(","))),
                prop::collection::vec(member, 0..6).prop_map(|v| format!("{{{}}}", v.join(","))),
            ]
        })
        .boxed()
}

fn object_text() -> impl Strategy<Value = String> {
    (prop::collection::vec(("\"k[0-9]{1,2}\"", json_text(4)), 0..40), "[ \\n]{0,2}").prop_map(
        |(members, space)| {
            let members: Vec<_> =
                members.into_iter().map(|(k, v)| format!("{space}{k}:{space}{v}")).collect();
            format!("{{{}{space}}}", members.join(","))
        },
    )
}

/// Generates objects with few names, so that a patch meets its target.
fn small_object() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![Just(json!(null)), Just(json!(1)), Just(json!("s"))];
    let value = leaf.prop_recursive(3, 16, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(serde_json::Value::from),
            prop::collection::hash_map("[abc]", inner, 0..4).prop_map(|members| json!(members)),
        ]
    });
    prop::collection::hash_map("[abc]", value, 0..4).prop_map(|members| json!(members))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn unchanged_document_is_written_byte_for_byte(text in object_text()) {
        let doc = doc(&text);
        prop_assert_eq!(doc.to_text(), text);
    }

    #[test]
    fn reading_agrees_with_serde_json(text in object_text()) {
        // serde_json refuses lone surrogates and numbers beyond f64; everything else must read
        // alike.
        if let Ok(theirs) = serde_json::from_str::<serde_json::Value>(&text) {
            prop_assert!(close(&doc(&text).root().to_value(), &theirs), "{text}");
        }
    }

    #[test]
    fn parse_survives_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(parsed) = Document::parse(&bytes) {
            prop_assert_eq!(parsed.document.to_bytes(), bytes);
        }
    }

    #[test]
    fn parse_accepts_the_damaged_documents_that_serde_json_accepts(
        text in object_text(), at in any::<prop::sample::Index>(),
            byte in prop::sample::select(b"{}[]\",:\\ 0-.eutn\x00\x1f\xff".to_vec())
    ) {
        let mut bytes = text.into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(text) = std::str::from_utf8(&bytes) {
            let ours = Document::parse(&bytes);
            let theirs: Result<&serde_json::value::RawValue, _> = serde_json::from_str(text);
            let is_object = theirs.as_ref().is_ok_and(|t| t.get().starts_with('{'));
            prop_assert_eq!(ours.is_ok(), is_object, "{:?} / {:?}", ours.err(), theirs.err());
        }
    }

    #[test]
    fn merge_patch_changes_a_document_as_rfc_7396_changes_a_value(target in small_object(),
        patch in small_object()) {
        let (mut ours, mut theirs) = (Document::of(target.clone()), target);
        merge(&mut theirs, &patch);
        ours.merge_patch(&Document::of(patch));
        prop_assert_eq!(&ours.root().to_value(), &theirs);
        prop_assert_eq!(doc(&ours.to_text()).root().to_value(), theirs);
    }

    #[test]
    fn edits_change_a_document_as_they_change_a_value(
        text in object_text(),
        edits in prop::collection::vec(("k[0-9]{1,2}", prop::option::of("[a-c]{1,2}"),
            prop::option::of(json_text(2))), 1..12)
    ) {
        let mut ours = doc(&text);
        let mut theirs = ours.root().to_value();
        for (key, inner, value) in &edits {
            let mut path = vec![key.as_str()];
            path.extend(inner.as_deref());
            let wrapped = value.as_ref().map(|v| doc(&format!("{{\"v\":{v}}}")));
            match &wrapped {
                Some(v) => {
                    let v = v.get(&["v"]).unwrap();
                    ours.set(&path, v);
                    set(&mut theirs, &path, v.to_value());
                }
                None => {
                    ours.remove(&path);
                    remove(&mut theirs, &path);
                }
            }
            prop_assert_eq!(ours.root().to_value(), theirs.clone());
        }
        let again = doc(&ours.to_text());
        prop_assert!(again.root().same_json(&ours.root()), "{}", ours.to_text());
    }
}

/// Compares all but the last digit of numbers, where serde_json's default reader is not exact.
fn close(a: &serde_json::Value, b: &serde_json::Value) -> bool {
    use serde_json::Value;
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => match (a.as_f64(), b.as_f64()) {
            (Some(x), Some(y)) => a == b || (x - y).abs() <= x.abs() * 1e-14,
            _ => false,
        },
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| close(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(k, v)| b.get(k).is_some_and(|o| close(v, o)))
        }
        _ => a == b,
    }
}

fn set(at: &mut serde_json::Value, path: &[&str], value: serde_json::Value) {
    match (at, path) {
        (serde_json::Value::Object(map), [last]) => {
            map.insert((*last).to_owned(), value);
        }
        (serde_json::Value::Object(map), [first, rest @ ..]) => {
            set(map.entry(*first).or_insert_with(|| json!({})), rest, value);
        }
        _ => {}
    }
}

fn remove(at: &mut serde_json::Value, path: &[&str]) {
    match (at, path) {
        (serde_json::Value::Object(map), [last]) => {
            map.remove(*last);
        }
        (serde_json::Value::Object(map), [first, rest @ ..]) => {
            if let Some(inner) = map.get_mut(*first) {
                remove(inner, rest);
            }
        }
        _ => {}
    }
}

/// The algorithm in RFC 7396, section 2.
fn merge(target: &mut serde_json::Value, patch: &serde_json::Value) {
    let Some(patch) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let members = target.as_object_mut().unwrap();
    for (key, value) in patch {
        if value.is_null() {
            members.remove(key);
        } else {
            merge(members.entry(key.clone()).or_insert(serde_json::Value::Null), value);
        }
    }
}
