//! Reading values.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use myownllm_json_document::{Document, Fragment, Kind, SetOutcome};
use rstest::rstest;
use serde_json::json;

fn doc(text: &str) -> Document {
    Document::parse(text.as_bytes()).unwrap().document
}

fn value(text: &str) -> Document {
    doc(&format!(r#"{{"v":{text}}}"#))
}

#[rstest]
#[case::beyond_f64_precision("9007199254740993", json!(9_007_199_254_740_993_u64))]
#[case::negative("-5", json!(-5))]
#[case::beyond_f64("1e400", json!(null))]
#[case::lone_surrogate(r#""\ud800x""#, json!("\u{fffd}x"))]
#[case::surrogate_pair(r#""\ud83d\ude00\n""#, json!("\u{1f600}\n"))]
#[case::boolean("false", json!(false))]
#[case::null("null", json!(null))]
fn to_value_reads_json(#[case] text: &str, #[case] expected: serde_json::Value) {
    let doc = value(text);
    let value = doc.get(&["v"]).unwrap();
    assert_eq!(value.to_value(), expected);
    assert_eq!(value.as_str().as_deref(), expected.as_str());
    assert_eq!(value.as_bool(), expected.as_bool());
    assert_eq!(value.is_null(), value.kind() == Kind::Null);
    assert!(value.get("x").is_none() && value.items().next().is_none());
}

#[test]
fn as_f64_reads_numbers_alone() {
    assert_eq!(value("1e400").get(&["v"]).unwrap().as_f64(), Some(f64::INFINITY));
    assert_eq!(value("false").get(&["v"]).unwrap().as_f64(), None);
}

#[test]
fn keys_that_look_alike_are_different_members() {
    let d = doc(r#"{"__proto__":1,"":2,"$serde_json::private::Number":"3","\ud800":4,"\ufffd":5}"#);
    assert_eq!(d.root().members().count(), 5);
    assert_eq!(d.get(&["\u{fffd}"]).unwrap().as_f64(), Some(5.0));
    assert_eq!(d.get(&[""]).unwrap().as_f64(), Some(2.0));
}

#[test]
fn names_differ_in_any_one_byte() {
    for length in 0..=40 {
        let name = "n".repeat(length);
        let document = doc(&format!(r#"{{"{name}":1}}"#));
        assert!(document.get(&[&name]).is_some(), "{length} bytes");
        for at in 0..length {
            let mut other = name.clone();
            other.replace_range(at..=at, "o");
            assert!(document.get(&[&other]).is_none(), "{length} bytes, another at {at}");
        }
        assert!(document.get(&[&format!("{name}n")]).is_none(), "{length} bytes and one more");
    }
}

#[test]
fn debug_prints_no_text() {
    let d = doc(r#"{"bearer_token":"s3cret"}"#);
    assert!(!format!("{:?}", d.root()).contains("s3cret"));
    assert!(!format!("{d:?}").contains("s3cret"));
    assert!(!format!("{:?}", Fragment::from(d.root())).contains("s3cret"));
}

#[test]
fn serialize_keeps_the_order_of_fields() {
    #[derive(serde::Serialize)]
    struct Fields {
        z: u64,
        a: Option<bool>,
    }
    let mut d = Document::empty();
    assert_eq!(d.set(&["v"], Fragment::serialize(&Fields { z: 1, a: None })), SetOutcome::Changed);
    assert_eq!(d.get(&["v"]).unwrap().raw(), r#"{"z":1,"a":null}"#);
}
