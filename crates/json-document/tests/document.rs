//! The lossless document: grammar, limits, places of errors, and what an edit leaves alone.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use myownllm_json_document::{Document, Fragment, Kind, MAX_DEPTH, ParseErrorKind, secrets};
use proptest::prelude::*;
use serde_json::json;

fn doc(text: &str) -> Document {
    Document::parse(text.as_bytes()).unwrap().document
}

fn error(text: &[u8]) -> myownllm_json_document::ParseError {
    Document::parse(text).unwrap_err()
}

#[test]
fn what_is_not_changed_is_written_back_byte_for_byte() {
    for text in [
        "{}",
        " {\n} \n",
        "{\"a\":1e5,\"b\":0.10,\"c\":123456789012345678901234567890,\"d\":-0,\"e\":1E+2}",
        "{\r\n\t\"a\" : [ 1 , 2 ,\r\n 3 ] ,\"\\u0061b\":\"\\/\\ud83d\\ude00\\ud800\"}\r\n",
        "\u{feff}{\"a\": \"\u{e9}\"}",
        "{\"a\":1,\"a\":2}",
    ] {
        let doc = doc(text);
        assert!(!doc.is_modified());
        assert_eq!(doc.to_bytes(), text.as_bytes());
    }
}

#[test]
fn bytes_that_are_not_utf8_are_read_as_u_fffd_and_kept_until_something_changes() {
    // The table of the Unicode standard (3.9) for maximal subparts, and a Latin-1 hand edit.
    for (bytes, read) in [
        (&b"{\"l\":\"B\xfcro\"}"[..], "B\u{fffd}ro"),
        (
            b"{\"l\":\"\x61\xf1\x80\x80\xe1\x80\xc2\x62\x80\x63\x80\xbf\x64\"}",
            "a\u{fffd}\u{fffd}\u{fffd}b\u{fffd}c\u{fffd}\u{fffd}d",
        ),
        (b"{\"l\":\"\xed\xa0\x80\"}", "\u{fffd}\u{fffd}\u{fffd}"),
        (b"{\"l\":\"\xf0\x80\x80\x41\"}", "\u{fffd}\u{fffd}\u{fffd}A"),
        (b"{\"l\":\"\xe2\x82\"}", "\u{fffd}"),
    ] {
        let parsed = Document::parse(bytes).unwrap();
        let mut doc = parsed.document;
        assert_eq!(doc.get(&["l"]).unwrap().as_str().unwrap(), read);
        assert_eq!(parsed.diagnostics[0].code, "config.not-utf8");
        assert_eq!(parsed.diagnostics[0].path, "/l");
        assert_eq!(doc.to_bytes(), bytes);
        doc.set(&["x"], true);
        assert_eq!(doc.to_text(), format!("{{\"l\":\"{read}\",\"x\":true}}"));
    }
}

#[test]
fn one_byte_order_mark_is_accepted_and_named_a_second_is_not() {
    let parsed = Document::parse("\u{feff}{\"a\":1}".as_bytes()).unwrap();
    assert_eq!(parsed.diagnostics[0].code, "config.bom");
    assert_eq!(parsed.document.to_text(), "{\"a\":1}");
    let mut edited = parsed.document.clone();
    edited.set(&["a"], 2u64);
    assert_eq!(edited.to_bytes(), "\u{feff}{\"a\":2}".as_bytes());
    assert_eq!(edited.into_utf8().to_bytes(), b"{\"a\":2}");
    assert_eq!(error("\u{feff}\u{feff}{}".as_bytes()).offset, 3);
}

#[test]
fn the_grammar_is_strict() {
    for bad in [
        "{\"a\":01}",
        "{\"a\":1.}",
        "{\"a\":.5}",
        "{\"a\":+1}",
        "{\"a\":1e}",
        "{\"a\":-}",
        "{\"a\":NaN}",
        "{\"a\":tru}",
        "{\"a\":\"\\x\"}",
        "{\"a\":\"\\u12g4\"}",
        "{\"a\":\"\n\"}",
        "{\"a\":\"\u{0}\"}",
        "{'a':1}",
        "{a:1}",
        "{\"a\" 1}",
        "{\"a\":1,}",
        "{,}",
        "{\"a\":[1,]}",
        "{\"a\":[,1]}",
        "{\"a\":[1 2]}",
        "{\"a\":1}}",
        "{\"a\":1} x",
        "{}{}",
        "// c\n{}",
        "{\"a\":1 /* c */}",
        "{\"a\":]}",
        "{\"a\":[}",
        "{\u{a0}}",
        "{\u{b}}",
        "\u{0}",
        "{\"a\":1,\"b\"}",
        "{\"a\":\"\u{1f}\"}",
        "{\"a\":-01}",
        "{\"a\":0x1}",
        "{\"a\":1.e5}",
    ] {
        assert_eq!(error(bad.as_bytes()).code(), "config.syntax", "{bad:?}");
    }
    for bad in ["", "  \n", "\u{feff}"] {
        assert_eq!(error(bad.as_bytes()).kind, ParseErrorKind::Empty, "{bad:?}");
    }
    for bad in ["[1]", "\"x\"", "3", "true", "null", " null "] {
        assert_eq!(error(bad.as_bytes()).kind, ParseErrorKind::NotAnObject, "{bad:?}");
    }
    for good in
        ["{\"\":\"\\u0000\"}", "{\"a\":-0.0e-0}", "{\"a\":\"\u{7f}\u{2028}\"}", "\t\r\n {\"a\":[[],{}]}\n"]
    {
        assert_eq!(doc(good).to_text(), good);
    }
}

#[test]
fn every_cut_of_a_document_is_an_error_that_says_too_early_or_where() {
    let text = "{\"a\":[1,2,{\"b\":\"c\\u00e9\"}],\"d\":null,\"e\":-1.5e+3}";
    for cut in 0..text.len() {
        let e = error(&text.as_bytes()[..cut]);
        assert!(matches!(e.kind, ParseErrorKind::UnexpectedEnd | ParseErrorKind::Empty), "{cut}: {e}");
        assert!(e.may_be_half_written());
        assert_eq!(e.offset, cut);
    }
}

#[test]
fn errors_name_line_column_byte_and_path_but_not_what_stands_there() {
    let e = error("{\n  \"mesh\": {\"\u{e9}\": [0, s3cret]}\n}".as_bytes());
    assert_eq!((e.line, e.column, e.path.as_str()), (2, 21, "/mesh/\u{e9}/1"));
    assert_eq!(e.offset, 23);
    assert_eq!(
        e.to_string(),
        "read a JSON document: not JSON: expected a value, at line 2, column 21 (byte 23), in /mesh/\u{e9}/1"
    );
    let e = error(b"{\"a\":\"\xfc\"?}");
    assert_eq!(e.offset, 8);
    // The usual slip of a hand: the way out is at the comma, not behind it.
    for slip in ["{\"a\":1, }", "{\"a\":[1,]}"] {
        let e = error(slip.as_bytes());
        assert_eq!(slip.as_bytes()[e.offset], b',');
        assert_eq!(e.code(), "config.syntax");
        assert_eq!(e.hint(), Some(format!("take out the comma at line 1, column {}", e.column)));
    }
    assert!(error(b"\xff\xfe{\x00}\x00").to_string().contains("UTF-16"));
}

#[test]
fn nesting_is_bounded_and_never_overflows_the_stack() {
    let nested = |n: usize| format!("{{\"a\":{}{}}}", "[".repeat(n), "]".repeat(n));
    for depth in [126, 127, 128, 129, MAX_DEPTH - 1] {
        let text = nested(depth);
        let mut doc = doc(&text);
        doc.set(&["b"], true);
        assert!(doc.to_text().starts_with(&text[..text.len() - 1]));
        doc.root().to_value();
        assert!(doc.root().same_json(&doc.clone().root()));
    }
    for depth in [MAX_DEPTH, 100_000, 3_000_000] {
        assert_eq!(error(nested(depth).as_bytes()).kind, ParseErrorKind::TooDeep);
    }
    assert_eq!(error("{\"a\":".repeat(100_000).as_bytes()).code(), "config.too-deep");
}

#[test]
fn the_deepest_document_fits_the_smallest_of_main_threads() {
    // What a program gets on Windows.
    let thread = std::thread::Builder::new().stack_size(1 << 20);
    let of = |open: &str, close: &str| {
        format!("{{\"a\":{}1{}}}", open.repeat(MAX_DEPTH - 1), close.repeat(MAX_DEPTH - 1))
    };
    let texts = [of("[", "]"), of("{\"token\":", "}")];
    let work = move || {
        for text in texts {
            let mut doc = doc(&text);
            assert!(doc.root().same_json(&doc.clone().root()));
            let value = doc.root().to_value();
            let laid_out = Document::of(Fragment::from(value));
            assert!(laid_out.root().same_json(&doc.root()));
            assert_eq!(secrets::mask(&doc).is_modified(), text.contains("token"));
            doc.set(&["b"], true);
            assert!(doc.to_text().starts_with(&text[..text.len() - 1]));
        }
    };
    thread.spawn(work).unwrap().join().unwrap();
}

#[test]
fn of_duplicate_keys_the_last_counts_and_the_others_stay_in_the_text() {
    let text = r#"{"a":1,"b":{"x":1,"\u0078":2},"a":"two","a":3}"#;
    let parsed = Document::parse(text.as_bytes()).unwrap();
    let paths: Vec<_> = parsed.diagnostics.iter().map(|d| (d.code, d.path.as_str())).collect();
    assert_eq!(
        paths,
        [("config.duplicate-key", "/a"), ("config.duplicate-key", "/b/x"), ("config.duplicate-key", "/a")]
    );
    let mut doc = parsed.document;
    assert_eq!(doc.root().to_value(), json!({"a": 3, "b": {"x": 2}}));
    assert!(doc.set(&["c"], 4u64));
    assert_eq!(doc.to_text(), r#"{"a":1,"b":{"x":1,"\u0078":2},"a":"two","a":3,"c":4}"#);
    assert!(doc.set(&["a"], 5u64));
    assert_eq!(doc.to_text(), r#"{"a":1,"b":{"x":1,"\u0078":2},"a":"two","a":5,"c":4}"#);
    assert_eq!(doc.get(&["a"]).unwrap().as_f64(), Some(5.0));
    // A removed key must not come back to life with an older value.
    assert!(doc.remove(&["a"]));
    assert_eq!(doc.to_text(), r#"{"b":{"x":1,"\u0078":2},"c":4}"#);
}

#[test]
fn duplicates_in_large_objects_are_found_without_comparing_all_pairs() {
    let mut text = String::from("{");
    for n in 0..200_000 {
        text.push_str(&format!("\"k{}\":{n},", n % 100_000));
    }
    text.push_str("\"end\":0}");
    let parsed = Document::parse(text.as_bytes()).unwrap();
    assert_eq!(parsed.document.root().members().count(), 100_001);
    assert_eq!(parsed.document.get(&["k7"]).unwrap().as_f64(), Some(100_007.0));
    assert_eq!(parsed.diagnostics.len(), 21);
    assert!(parsed.diagnostics[20].message.starts_with("99980 more"));
    // Looking up and editing each member in turn.
    let mut doc = parsed.document;
    for n in 0..2_000 {
        assert!(doc.get(&[&format!("k{n}")]).is_some());
    }
    for n in 0..200 {
        assert!(doc.set(&[&format!("new{n}")], true));
        assert!(doc.remove(&[&format!("k{n}")]));
    }
    assert!(doc.get(&["k5"]).is_none());
}

#[test]
fn names_of_every_length_differ_by_any_one_byte() {
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
fn duplicates_in_many_objects_are_found_without_looking_through_all_of_them() {
    let count = 500_000;
    let text = format!("{{\"all\":[{}{{}}]}}", r#"{"a":1,"a":2,"a":3},"#.repeat(count));
    let parsed = Document::parse(text.as_bytes()).unwrap();
    assert_eq!(parsed.diagnostics.len(), 21);
    assert!(parsed.diagnostics[20].message.starts_with(&format!("{} more", 2 * count - 20)));
    let last = parsed.document.get(&["all"]).unwrap().items().nth(count - 1).unwrap();
    assert_eq!(last.to_value(), json!({"a": 3}));
}

#[test]
fn an_edit_follows_the_layout_around_it() {
    let mut d = doc("{\r\n\t\"a\": {\r\n\t\t\"b\": 1\r\n\t}\r\n}\r\n");
    d.set(&["a", "c"], json!({"x": [1, {}], "y": []}));
    d.set(&["z"], "\u{1}\"");
    assert_eq!(
        d.to_text(),
        "{\r\n\t\"a\": {\r\n\t\t\"b\": 1,\r\n\t\t\"c\": {\r\n\t\t\t\"x\": [\r\n\t\t\t\t1,\r\n\t\t\t\t{}\r\n\t\t\t],\r\n\t\t\t\"y\": []\r\n\t\t}\r\n\t},\r\n\t\"z\": \"\\u0001\\\"\"\r\n}\r\n"
    );

    let mut d = doc("{\n    \"a\": [\n        1\n    ]\n}");
    d.set(&["a", "1"], json!({"k": true}));
    assert_eq!(
        d.to_text(),
        "{\n    \"a\": [\n        1,\n        {\n            \"k\": true\n        }\n    ]\n}"
    );

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
fn a_new_file_has_two_space_indentation_and_no_newline_at_its_end() {
    let mut d = Document::empty();
    assert!(!d.is_modified());
    d.set(&["a", "b"], json!([1, "x"]));
    d.set(&["c"], Fragment::object([("d", Fragment::from(doc("{\"n\":1e5}").root()))]));
    assert_eq!(
        d.to_text(),
        "{\n  \"a\": {\n    \"b\": [\n      1,\n      \"x\"\n    ]\n  },\n  \"c\": {\n    \"d\": {\n      \"n\": 1e5\n    }\n  }\n}"
    );
    assert_eq!(Document::of(json!({"a": {"b": 1}})).to_text(), "{\n  \"a\": {\n    \"b\": 1\n  }\n}");
}

#[test]
fn putting_in_what_is_there_changes_nothing() {
    let text = r#"{"a":1.0,"s":"\u0061","o":{"x":1,"y":[2]},"l":[1,2]}"#;
    let mut d = doc(text);
    assert!(!d.set(&["a"], 1u64));
    assert!(!d.set(&["s"], "a"));
    assert!(!d.set(&["o"], json!({"y": [2], "x": 1})));
    assert!(!d.set(&["l", "1"], 2u64));
    assert!(!d.remove(&["nope"]));
    assert!(!d.remove(&["l", "2"]));
    // Something in the way.
    assert!(!d.set(&["a", "b"], 1u64));
    assert!(!d.set(&["l", "9"], 1u64));
    assert!(!d.set(&["l", "x"], 1u64));
    assert!(!d.set(&[], "not an object"));
    assert!(!d.is_modified());
    assert_eq!(d.to_text(), text);
    // Whole numbers that an f64 cannot tell apart are different.
    let mut d = doc(r#"{"n":9007199254740993}"#);
    assert!(d.set(&["n"], 9_007_199_254_740_992u64));
}

#[test]
fn an_edit_of_one_item_leaves_the_bytes_of_the_others() {
    let text = "{\"n\":[ {\"id\":1 ,\"x\":0.10},\n {\"id\":2,  \"x\":1e5},{\"id\":3}]}";
    let mut d = doc(text);
    assert!(d.set(&["n", "1", "id"], "two"));
    assert_eq!(d.to_text(), text.replace("\"id\":2,", "\"id\":\"two\","));
    assert!(d.remove(&["n", "0"]));
    assert_eq!(d.get(&["n", "0", "id"]).unwrap().as_str().unwrap(), "two");
    assert!(d.set(&["n", "0", "y"], true));
    assert!(d.append(&["n"], [Fragment::from("last")]));
    assert!(!d.append(&["n", "0"], [Fragment::from("last")]));
    assert_eq!(d.root().to_value(), json!({"n": [{"id": "two", "x": 1e5, "y": true}, {"id": 3}, "last"]}));
}

#[test]
fn what_is_put_into_a_copy_of_a_document_is_in_no_other() {
    let mut one = doc(r#"{"a":1}"#);
    assert!(one.set(&["b"], "of both"));
    let mut two = one.clone();
    assert!(one.set(&["c"], "of one"));
    assert!(two.set(&["c"], "of two"));
    assert!(two.set(&["d"], "also of two"));
    assert_eq!(one.to_text(), r#"{"a":1,"b":"of both","c":"of one"}"#);
    assert_eq!(two.to_text(), r#"{"a":1,"b":"of both","c":"of two","d":"also of two"}"#);
}

#[test]
fn each_value_that_is_put_in_keeps_to_itself() {
    // With duplicates, with so many members that they are looked up, and one too deep to be kept.
    let twice = doc(r#"{"v":{"k":1,"k":2}}"#);
    let members: Vec<String> = (0..100).map(|n| format!("\"k{n}\":{n}")).collect();
    let many = doc(&format!("{{\"v\":{{{}}}}}", members.join(",")));
    let deep = (0..2000).fold(json!([]), |inner, _| json!([inner]));
    let mut d = doc("{}");
    for (key, value) in [("a", &twice), ("b", &many), ("c", &twice), ("d", &many)] {
        assert!(d.set(&[key], value.get(&["v"]).unwrap()));
    }
    assert!(d.set(&["deep"], deep));
    assert!(d.set(&["e"], twice.get(&["v"]).unwrap()));
    for key in ["a", "c", "e"] {
        assert_eq!(d.get(&[key, "k"]).unwrap().raw(), "2", "{key}");
        assert!(d.set(&[key, "k"], 3u64));
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
fn items_are_changed_in_one_go_and_the_others_keep_their_bytes() {
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
    // Nothing new, no list, nothing there.
    assert!(!d.set_in_items(&["n"], &["p", "x"], |n, _| (n == 0).then(|| Fragment::from("new"))));
    assert!(!d.set_in_items(&["m"], &["p"], |_, _| Some(Fragment::from("new"))));
    assert!(!d.set_in_items(&["n"], &["q"], |_, _| Some(Fragment::from("new"))));
    assert_eq!(d.to_text(), new);
}

#[test]
fn values_are_read_as_json_has_them() {
    let d = doc(
        r#"{"n":9007199254740993,"i":-5,"f":1e400,"s":"\ud800x","t":"\ud83d\ude00\n","b":false,"z":null}"#,
    );
    let get = |key: &str| d.get(&[key]).unwrap();
    assert_eq!(get("n").to_value(), json!(9_007_199_254_740_993u64));
    assert_eq!(get("f").as_f64(), Some(f64::INFINITY));
    assert_eq!(get("f").to_value(), json!(null));
    assert_eq!(get("i").to_value(), json!(-5));
    assert_eq!(get("s").as_str().unwrap(), "\u{fffd}x");
    assert_eq!(get("t").as_str().unwrap(), "\u{1f600}\n");
    assert_eq!(get("b").as_bool(), Some(false));
    assert_eq!(get("b").as_f64(), None);
    assert!(get("z").is_null() && get("z").is_falsy());
    assert_eq!(get("z").kind(), Kind::Null);
    assert!(get("n").get("x").is_none() && get("n").items().next().is_none());
    // Keys that only look alike.
    let d = doc(r#"{"__proto__":1,"":2,"$serde_json::private::Number":"3","\ud800":4,"\ufffd":5}"#);
    assert_eq!(d.root().members().count(), 5);
    assert_eq!(d.get(&["\u{fffd}"]).unwrap().as_f64(), Some(5.0));
    assert_eq!(d.get(&[""]).unwrap().as_f64(), Some(2.0));
}

#[test]
fn a_document_does_not_print_its_secrets_when_debugged() {
    let d = doc(r#"{"bearer_token":"s3cret"}"#);
    assert!(!format!("{:?}", d.root()).contains("s3cret"));
    assert!(!format!("{d:?}").contains("s3cret"));
    assert!(!format!("{:?}", Fragment::from(d.root())).contains("s3cret"));
}

/// JSON texts with odd spellings: white space, escapes, numbers of every form, doubled keys.
fn json_text(depth: u32) -> BoxedStrategy<String> {
    let scalar = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,9})?([eE][+-]?[0-9]{1,3})?",
        "\"([ -!#-\\[\\]-~é漢😀]|\\\\[\"\\\\/bfnrt]|\\\\u[0-9a-fA-F]{4}){0,12}\"",
        // Longer than any step of a scan.
        "\"[a-zé ]{0,90}(\\\\n)?[a-z]{0,40}\"",
    ];
    let space = "([ \\n\\t\\r]{0,3}|\\n {0,20})";
    scalar
        .prop_recursive(depth, 64, 6, move |inner| {
            let item = (space, inner.clone(), space).prop_map(|(a, v, b)| format!("{a}{v}{b}"));
            // Some of the same name, some nearly so.
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

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_document_comes_back(text in object_text()) {
        let doc = doc(&text);
        prop_assert_eq!(doc.to_text(), text);
    }

    #[test]
    fn reading_agrees_with_serde_json(text in object_text()) {
        // serde_json refuses lone surrogates and numbers beyond f64; everything else must read alike.
        if let Ok(theirs) = serde_json::from_str::<serde_json::Value>(&text) {
            prop_assert!(close(&doc(&text).root().to_value(), &theirs), "{text}");
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused_and_accepted_ones_are_json(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(parsed) = Document::parse(&bytes) {
            prop_assert_eq!(parsed.document.to_bytes(), bytes);
        }
    }

    #[test]
    fn damaged_documents_are_accepted_exactly_when_serde_json_accepts_them(
        text in object_text(), at in any::<prop::sample::Index>(), byte in prop::sample::select(b"{}[]\",:\\ 0-.eutn\x00\x1f\xff".to_vec())
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
    fn edits_do_to_the_document_what_they_do_to_a_value(
        text in object_text(),
        edits in prop::collection::vec(("k[0-9]{1,2}", prop::option::of("[a-c]{1,2}"), prop::option::of(json_text(2))), 1..12)
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
        // What is written reads as what is there.
        let again = doc(&ours.to_text());
        prop_assert!(again.root().same_json(&ours.root()), "{}", ours.to_text());
    }
}

/// Equal but for the last digit of numbers, where serde_json's default reader is not exact.
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

#[test]
fn the_place_of_a_value_is_where_it_stands_in_the_bytes_that_were_read() {
    let plain = b"{\n \"a~b\": [1, {\"c/d\": \"secret\"}],\n \"\": null, \"t\": true}";
    let bom = [&b"\xef\xbb\xbf"[..], plain].concat();
    let odd = [&b"{\"\xff\xfe\": \"\xff\","[..], &plain[1..]].concat();
    for bytes in [&plain[..], &bom, &odd] {
        let mut document = Document::parse(bytes).unwrap().document;
        let all: [(&str, &[u8]); 5] =
            [("", b"{"), ("/a~0b", b"["), ("/a~0b/1/c~1d", b"\"secret\""), ("/", b"null"), ("/t", b"true")];
        for (pointer, raw) in all {
            let place = document.place(pointer).unwrap();
            assert!(bytes[place.offset..].starts_with(raw), "{pointer}: {place:?}");
            assert_eq!(place.json_path, pointer);
            assert!(!place.snippet.text.contains("secret"), "{place:?}");
        }
        assert_eq!(document.place("/t").unwrap().line, 3);
        for pointer in ["/nothing", "/a~0b/7", "/a~0b/x", "/t/u"] {
            assert!(document.place(pointer).is_none(), "{pointer}");
        }
        // What was put in since has no place in what was read.
        document.set(&["t"], serde_json::json!([false]));
        assert!(document.place("/t").is_none() && document.place("/t/0").is_none());
    }
}
