//! Edits, and the bytes that they leave alone.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use myownllm_json_document::{Blocked, Document, Fragment, SetOutcome};
use rstest::rstest;
use serde_json::{Value, json};

fn doc(text: &str) -> Document {
    Document::parse(text.as_bytes()).unwrap().document
}

#[test]
fn edited_duplicates_stay_shadowed() {
    let mut doc = doc(r#"{"a":1,"b":{"x":1,"\u0078":2},"a":"two","a":3}"#);
    assert!(doc.set(&["c"], 4u64).is_changed());
    assert_eq!(doc.to_text(), r#"{"a":1,"b":{"x":1,"\u0078":2},"a":"two","a":3,"c":4}"#);
    assert!(doc.set(&["a"], 5u64).is_changed());
    assert_eq!(doc.to_text(), r#"{"a":1,"b":{"x":1,"\u0078":2},"a":"two","a":5,"c":4}"#);
    assert_eq!(doc.get(&["a"]).unwrap().as_f64(), Some(5.0));
    // A removed key must not come back to life with an older value.
    assert!(doc.remove(&["a"]));
    assert_eq!(doc.to_text(), r#"{"b":{"x":1,"\u0078":2},"c":4}"#);
}

#[test]
fn edit_keeps_tabs_and_line_ends() {
    let mut d = doc("{\r\n\t\"a\": {\r\n\t\t\"b\": 1\r\n\t}\r\n}\r\n");
    d.set(&["a", "c"], json!({"x": [1, {}], "y": []}));
    d.set(&["z"], "\u{1}\"");
    assert_eq!(
        d.to_text(),
        "{\r\n\t\"a\": {\r\n\t\t\"b\": 1,\r\n\t\t\"c\": {\r\n\t\t\t\"x\": \
            [\r\n\t\t\t\t1,\r\n\t\t\t\t{}\r\n\t\t\t],\r\n\t\t\t\"y\": \
            []\r\n\t\t}\r\n\t},\r\n\t\"z\": \"\\u0001\\\"\"\r\n}\r\n"
    );
}

#[test]
fn edit_keeps_the_indentation_of_arrays() {
    let mut d = doc("{\n    \"a\": [\n        1\n    ]\n}");
    d.set(&["a", "1"], json!({"k": true}));
    assert_eq!(
        d.to_text(),
        "{\n    \"a\": [\n        1,\n        {\n            \"k\": true\n        }\n    ]\n}"
    );
}

#[test]
fn edit_keeps_a_document_on_one_line() {
    let mut d = doc(r#"{"a": 1, "b": [1, 2], "c": {}}"#);
    d.set(&["b", "2"], json!([3, {"x": 1}]));
    d.set(&["c", "d"], true);
    d.remove(&["a"]);
    assert_eq!(d.to_text(), r#"{"b": [1, 2, [3, {"x": 1}]], "c": {"d": true}}"#);

    let mut d = doc(r#"{"a":1}"#);
    d.remove(&["a"]);
    assert_eq!(d.to_text(), "{}");
    d.set(&["b"], 2u64);
    assert_eq!(d.to_text(), r#"{"b":2}"#);

    let mut d = doc("{ \"a\" : 1 ,\n  \"b\" : 2 }");
    d.remove(&["b"]);
    assert_eq!(d.to_text(), "{ \"a\" : 1 }");
}

#[test]
fn new_document_has_two_space_indentation_and_no_newline_at_its_end() {
    let mut d = Document::empty();
    assert!(!d.is_modified());
    d.set(&["a", "b"], json!([1, "x"]));
    d.set(&["c"], Fragment::object([("d", Fragment::from(doc("{\"n\":1e5}").root()))]));
    assert_eq!(
        d.to_text(),
        "{\n  \"a\": {\n    \"b\": [\n      1,\n      \"x\"\n    ]\n  },\n  \"c\": {\n    \"d\": \
            {\n      \"n\": 1e5\n    }\n  }\n}"
    );
    assert_eq!(Document::of(json!({"a": {"b": 1}})).to_text(), "{\n  \"a\": {\n    \"b\": 1\n  }\n}");
}

#[test]
fn indented_text_keeps_its_tokens() {
    let text = r#"{"a":[1,-0.50,{"b\\":"},{\" :"}], "c" : [ ],"d":{}}"#;
    let laid_out = doc(text).to_indented_text();
    let lines =
        ["{", "  \"a\": [", "    1,", "    -0.50,", "    {", r#"      "b\\": "},{\" :""#, "    }", "  ],"];
    assert_eq!(laid_out.lines().take(8).collect::<Vec<_>>(), lines);
    assert!(laid_out.ends_with("\n  \"c\": [],\n  \"d\": {}\n}"), "{laid_out}");
    assert_eq!(doc(&laid_out).to_indented_text(), laid_out);
}

const FULL: &str = r#"{"a":1.0,"s":"\u0061","o":{"x":1,"y":[2]},"l":[1,2]}"#;

#[rstest]
#[case::number(&["a"], json!(1))]
#[case::string(&["s"], json!("a"))]
#[case::object(&["o"], json!({"y": [2], "x": 1}))]
#[case::item(&["l", "1"], json!(2))]
fn set_reports_an_equal_value(#[case] path: &[&str], #[case] value: Value) {
    let mut d = doc(FULL);
    let outcome = d.set(path, value);
    assert_eq!((outcome, outcome.changed()), (SetOutcome::Equal, Ok(false)));
    assert!(!d.is_modified());
    assert_eq!(d.to_text(), FULL);
}

#[rstest]
#[case::below_a_number(&["a", "b"], json!(1))]
#[case::beyond_the_end(&["l", "9"], json!(1))]
#[case::no_index(&["l", "x"], json!(1))]
#[case::root_that_is_no_object(&[], json!("not an object"))]
fn set_reports_a_blocked_path(#[case] path: &[&str], #[case] value: Value) {
    let mut d = doc(FULL);
    let outcome = d.set(path, value);
    assert_eq!((outcome, outcome.changed()), (SetOutcome::Blocked, Err(Blocked)));
    assert!(!d.is_modified());
    assert_eq!(d.to_text(), FULL);
}

#[rstest]
#[case::member(&["a"], json!(2), r#"{"a":2,"#)]
#[case::new_objects(&["n", "m"], json!(2), r#""n":{"m":2}}"#)]
#[case::new_item(&["l", "2"], json!(3), r#""l":[1,2,3]}"#)]
#[case::root(&[], json!({}), "{}")]
fn set_reports_a_change(#[case] path: &[&str], #[case] value: Value, #[case] written: &str) {
    let mut d = doc(FULL);
    let outcome = d.set(path, value);
    assert_eq!((outcome, outcome.changed()), (SetOutcome::Changed, Ok(true)));
    assert!(d.is_modified());
    assert!(d.to_text().contains(written), "{}", d.to_text());
}

#[test]
fn set_tells_whole_numbers_apart_that_f64_cannot() {
    let mut d = doc(r#"{"n":9007199254740993}"#);
    assert_eq!(d.set(&["n"], 9_007_199_254_740_992u64), SetOutcome::Changed);
}

#[rstest]
#[case::member(&["nope"])]
#[case::item(&["l", "2"])]
#[case::root(&[])]
fn remove_of_nothing_changes_nothing(#[case] path: &[&str]) {
    let mut d = doc(FULL);
    assert!(!d.remove(path));
    assert!(!d.is_modified());
}

#[test]
fn edit_of_one_item_leaves_the_bytes_of_the_others() {
    let text = "{\"n\":[ {\"id\":1 ,\"x\":0.10},\n {\"id\":2,  \"x\":1e5},{\"id\":3}]}";
    let mut d = doc(text);
    assert!(d.set(&["n", "1", "id"], "two").is_changed());
    assert_eq!(d.to_text(), text.replace("\"id\":2,", "\"id\":\"two\","));
    assert!(d.remove(&["n", "0"]));
    assert_eq!(d.get(&["n", "0", "id"]).unwrap().as_str().unwrap(), "two");
    assert!(d.set(&["n", "0", "y"], true).is_changed());
    assert!(d.append(&["n"], [Fragment::from("last")]));
    assert!(!d.append(&["n", "0"], [Fragment::from("last")]));
    assert_eq!(d.root().to_value(), json!({"n": [{"id": "two", "x": 1e5, "y": true}, {"id": 3}, "last"]}));
}

#[test]
fn clones_do_not_share_later_edits() {
    let mut one = doc(r#"{"a":1}"#);
    assert!(one.set(&["b"], "of both").is_changed());
    let mut two = one.clone();
    assert!(one.set(&["c"], "of one").is_changed());
    assert!(two.set(&["c"], "of two").is_changed());
    assert!(two.set(&["d"], "also of two").is_changed());
    assert_eq!(one.to_text(), r#"{"a":1,"b":"of both","c":"of one"}"#);
    assert_eq!(two.to_text(), r#"{"a":1,"b":"of both","c":"of two","d":"also of two"}"#);
}

#[test]
fn inserted_values_stay_apart() {
    // With duplicates, with an index, and one too deep to be kept.
    let twice = doc(r#"{"v":{"k":1,"k":2}}"#);
    let members: Vec<String> = (0..100).map(|n| format!("\"k{n}\":{n}")).collect();
    let many = doc(&format!("{{\"v\":{{{}}}}}", members.join(",")));
    let deep = (0..2000).fold(json!([]), |inner, _| json!([inner]));
    let mut d = doc("{}");
    for (key, value) in [("a", &twice), ("b", &many), ("c", &twice), ("d", &many)] {
        assert!(d.set(&[key], value.get(&["v"]).unwrap()).is_changed());
    }
    assert!(d.set(&["deep"], deep).is_changed());
    assert!(d.set(&["e"], twice.get(&["v"]).unwrap()).is_changed());
    for key in ["a", "c", "e"] {
        assert_eq!(d.get(&[key, "k"]).unwrap().raw(), "2", "{key}");
        assert!(d.set(&[key, "k"], 3u64).is_changed());
        assert_eq!(d.get(&[key]).unwrap().to_value(), json!({"k": 3}), "{key}");
    }
    for key in ["b", "d"] {
        assert_eq!(d.get(&[key, "k99"]).unwrap().raw(), "99", "{key}");
    }
    assert!(d.get(&["deep"]).unwrap().is_null());
    let again = doc(&d.to_text());
    assert_eq!(again.root().to_value(), d.root().to_value());
}

#[test]
fn set_in_items_leaves_the_bytes_of_other_items() {
    let text = r#"{"n": [{"p": {"x": 1, "y": 0.10}}, 5, {"p": {}}, {"p": {"x": 2}}, {"p": {"x" : 3}}]}"#;
    let mut d = doc(text);
    let mut seen = Vec::new();
    assert!(d.set_in_items(&["n"], &["p", "x"], |n, x| {
        seen.push((n, x.raw().into_owned()));
        (n != 3).then(|| Fragment::from("new"))
    }));
    assert_eq!(seen, [(0, "1".to_owned()), (3, "2".to_owned()), (4, "3".to_owned())]);
    let new = text.replace(r#""x": 1"#, r#""x": "new""#).replace(r#""x" : 3"#, r#""x" : "new""#);
    assert_eq!(d.to_text(), new);
    // Nothing new, no array, nothing at the path.
    assert!(!d.set_in_items(&["n"], &["p", "x"], |n, _| (n == 0).then(|| Fragment::from("new"))));
    assert!(!d.set_in_items(&["m"], &["p"], |_, _| Some(Fragment::from("new"))));
    assert!(!d.set_in_items(&["n"], &["q"], |_, _| Some(Fragment::from("new"))));
    assert_eq!(d.to_text(), new);
}

/// The examples of RFC 7396, appendix A, but for those whose target or patch is not an object.
#[rstest]
#[case::replaces(json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"}))]
#[case::adds(json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"}))]
#[case::removes(json!({"a": "b"}), json!({"a": null}), json!({}))]
#[case::removes_one(json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"}))]
#[case::replaces_an_array(json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"}))]
#[case::replaces_by_an_array(json!({"a": "c"}), json!({"a": ["b"]}), json!({"a": ["b"]}))]
#[case::patches_below(json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}),
    json!({"a": {"b": "d"}}))]
#[case::replaces_items_as_a_whole(json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]}))]
#[case::keeps_null(json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1}))]
#[case::keeps_nulls_in_arrays(json!({}), json!({"a": [null, {"b": null}]}),
    json!({"a": [null, {"b": null}]}))]
#[case::strips_nulls_of_new_objects(json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}}))]
#[case::replaces_a_scalar_by_an_object(json!({"a": 1}), json!({"a": {"b": null, "c": 2}}),
    json!({"a": {"c": 2}}))]
fn merge_patch_does_as_rfc_7396_says(#[case] target: Value, #[case] patch: Value, #[case] result: Value) {
    let mut d = Document::of(target.clone());
    let patch = Document::of(patch);
    assert_eq!(d.merge_patch(&patch), target != result);
    assert_eq!(d.root().to_value(), result);
    assert!(!d.merge_patch(&patch), "a patch that was applied changes nothing");
    assert_eq!(doc(&d.to_text()).root().to_value(), result);
}

#[rstest]
#[case::nothing(json!({}))]
#[case::equal_values(json!({"a": 1, "o": {"x": 1.0}, "l": [1, 2]}))]
#[case::nothing_to_remove(json!({"b": null, "o": {"z": null}}))]
fn merge_patch_without_a_difference_changes_nothing(#[case] patch: Value) {
    let mut d = doc(FULL);
    assert!(!d.merge_patch(&Document::of(patch)));
    assert!(!d.is_modified());
    assert_eq!(d.to_text(), FULL);
}

#[test]
fn merge_patch_leaves_the_bytes_of_other_members() {
    let mut d = doc("{\n  \"n\": 1e5,\n  \"o\": {\"x\" : 0.10, \"y\": 2}\n}\n");
    let patch = doc(r#"{"o": {"y": 3e0, "x": 0.1}, "new": {"k": 1E1, "gone": null}, "new": {"k": 2E1}}"#);
    assert!(d.merge_patch(&patch));
    assert_eq!(
        d.to_text(),
        "{\n  \"n\": 1e5,\n  \"o\": {\"x\" : 0.10, \"y\": 3e0},\n  \"new\": {\n    \"k\": 2E1\n  }\n}\n"
    );
}
