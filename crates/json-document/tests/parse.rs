//! The grammar, the limits, and the places of errors.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use myownllm_json_document::{Document, Fragment, MAX_DEPTH, ParseError, ParseErrorKind, masking};
use rstest::rstest;
use serde_json::json;

fn doc(text: &str) -> Document {
    Document::parse(text.as_bytes()).unwrap().document
}

fn error(text: &[u8]) -> ParseError {
    Document::parse(text).unwrap_err()
}

#[rstest]
#[case::leading_zero("{\"a\":01}")]
#[case::leading_zero_after_minus("{\"a\":-01}")]
#[case::nothing_after_the_point("{\"a\":1.}")]
#[case::exponent_after_the_point("{\"a\":1.e5}")]
#[case::nothing_before_the_point("{\"a\":.5}")]
#[case::plus("{\"a\":+1}")]
#[case::empty_exponent("{\"a\":1e}")]
#[case::minus_alone("{\"a\":-}")]
#[case::hexadecimal("{\"a\":0x1}")]
#[case::nan("{\"a\":NaN}")]
#[case::half_a_word("{\"a\":tru}")]
#[case::unknown_escape("{\"a\":\"\\x\"}")]
#[case::three_hex_digits("{\"a\":\"\\u12g4\"}")]
#[case::line_end_in_a_string("{\"a\":\"\n\"}")]
#[case::nul_in_a_string("{\"a\":\"\u{0}\"}")]
#[case::control_character_in_a_string("{\"a\":\"\u{1f}\"}")]
#[case::single_quotes("{'a':1}")]
#[case::bare_key("{a:1}")]
#[case::missing_colon("{\"a\" 1}")]
#[case::missing_value("{\"a\":1,\"b\"}")]
#[case::trailing_comma("{\"a\":1,}")]
#[case::comma_alone("{,}")]
#[case::trailing_comma_in_an_array("{\"a\":[1,]}")]
#[case::leading_comma_in_an_array("{\"a\":[,1]}")]
#[case::missing_comma_in_an_array("{\"a\":[1 2]}")]
#[case::one_brace_too_many("{\"a\":1}}")]
#[case::text_behind_the_document("{\"a\":1} x")]
#[case::two_documents("{}{}")]
#[case::line_comment("// c\n{}")]
#[case::block_comment("{\"a\":1 /* c */}")]
#[case::bracket_as_value("{\"a\":]}")]
#[case::unbalanced("{\"a\":[}")]
#[case::no_break_space("{\u{a0}}")]
#[case::vertical_tab("{\u{b}}")]
#[case::nul("\u{0}")]
fn parse_rejects_what_json_rejects(#[case] text: &str) {
    assert_eq!(error(text.as_bytes()).code(), "config.syntax");
}

#[rstest]
#[case("")]
#[case("  \n")]
#[case::byte_order_mark_alone("\u{feff}")]
fn parse_rejects_empty_texts(#[case] text: &str) {
    assert_eq!(error(text.as_bytes()).kind, ParseErrorKind::Empty);
}

#[rstest]
#[case("[1]")]
#[case("\"x\"")]
#[case("3")]
#[case("true")]
#[case("null")]
#[case(" null ")]
fn parse_rejects_other_roots(#[case] text: &str) {
    assert_eq!(error(text.as_bytes()).kind, ParseErrorKind::NotAnObject);
}

#[rstest]
#[case::empty("{}")]
#[case::white_space(" {\n} \n")]
#[case::numbers("{\"a\":1e5,\"b\":0.10,\"c\":123456789012345678901234567890,\"d\":-0,\"e\":1E+2}")]
#[case::line_ends_and_escapes(
    "{\r\n\t\"a\" : [ 1 , 2 ,\r\n 3 ] ,\"\\u0061b\":\"\\/\\ud83d\\ude00\\ud800\"}\r\n"
)]
#[case::byte_order_mark("\u{feff}{\"a\": \"\u{e9}\"}")]
#[case::duplicate_key("{\"a\":1,\"a\":2}")]
#[case::empty_key("{\"\":\"\\u0000\"}")]
#[case::zeros("{\"a\":-0.0e-0}")]
#[case::delete_and_line_separator("{\"a\":\"\u{7f}\u{2028}\"}")]
#[case::empty_containers("\t\r\n {\"a\":[[],{}]}\n")]
fn unchanged_document_is_written_byte_for_byte(#[case] text: &str) {
    let doc = doc(text);
    assert!(!doc.is_modified());
    assert_eq!(doc.to_bytes(), text.as_bytes());
}

/// The table of the Unicode standard (3.9) for maximal subparts, and a Latin-1 hand edit.
#[rstest]
#[case::latin_1(b"{\"l\":\"B\xfcro\"}", "B\u{fffd}ro")]
#[case::maximal_subparts(
    b"{\"l\":\"\x61\xf1\x80\x80\xe1\x80\xc2\x62\x80\x63\x80\xbf\x64\"}",
    "a\u{fffd}\u{fffd}\u{fffd}b\u{fffd}c\u{fffd}\u{fffd}d"
)]
#[case::surrogate(b"{\"l\":\"\xed\xa0\x80\"}", "\u{fffd}\u{fffd}\u{fffd}")]
#[case::overlong(b"{\"l\":\"\xf0\x80\x80\x41\"}", "\u{fffd}\u{fffd}\u{fffd}A")]
#[case::cut_off(b"{\"l\":\"\xe2\x82\"}", "\u{fffd}")]
fn bytes_that_are_not_utf8_stay_until_the_first_edit(#[case] bytes: &[u8], #[case] text: &str) {
    let parsed = Document::parse(bytes).unwrap();
    let mut doc = parsed.document;
    assert_eq!(doc.get(&["l"]).unwrap().as_str().unwrap(), text);
    assert_eq!(parsed.diagnostics[0].code, "config.not-utf8");
    assert_eq!(parsed.diagnostics[0].path, "/l");
    assert_eq!(doc.to_bytes(), bytes);
    doc.set(&["x"], true);
    assert_eq!(doc.to_text(), format!("{{\"l\":\"{text}\",\"x\":true}}"));
}

#[test]
fn parse_accepts_one_byte_order_mark() {
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
fn every_cut_of_a_document_ends_too_early() {
    let text = "{\"a\":[1,2,{\"b\":\"c\\u00e9\"}],\"d\":null,\"e\":-1.5e+3}";
    for cut in 0..text.len() {
        let e = error(&text.as_bytes()[..cut]);
        assert!(matches!(e.kind, ParseErrorKind::UnexpectedEnd | ParseErrorKind::Empty), "{cut}: {e}");
        assert_eq!(e.offset, cut);
    }
}

#[test]
fn error_names_the_place_and_not_its_text() {
    let e = error("{\n  \"mesh\": {\"\u{e9}\": [0, s3cret]}\n}".as_bytes());
    assert_eq!((e.line, e.column, e.path.as_str()), (2, 21, "/mesh/\u{e9}/1"));
    assert_eq!(e.offset, 23);
    assert_eq!(
        e.to_string(),
        "cannot parse JSON: expected a value at line 2, column 21 (byte 23), in /mesh/\u{e9}/1"
    );
}

#[test]
fn error_counts_bytes_that_are_not_utf8() {
    assert_eq!(error(b"{\"a\":\"\xfc\"?}").offset, 8);
}

#[rstest]
#[case("{\"a\":1, }")]
#[case("{\"a\":[1,]}")]
fn error_of_a_trailing_comma_points_at_the_comma(#[case] text: &str) {
    let e = error(text.as_bytes());
    assert_eq!(text.as_bytes()[e.offset], b',');
    assert_eq!(e.code(), "config.syntax");
    assert_eq!(e.hint(), Some(format!("take out the comma at line 1, column {}", e.column)));
}

#[test]
fn error_names_utf16() {
    assert!(error(b"\xff\xfe{\x00}\x00").to_string().contains("UTF-16"));
}

#[test]
fn error_in_a_deep_or_long_place_fits_a_line() {
    let deep = format!("{}1", "{\"member\":[".repeat(600));
    let e = error(deep.as_bytes());
    assert!(e.to_string().len() < 600, "{e}");
    assert!(e.path.starts_with("/member/0/member/0/") && e.path.contains("/…/"), "{}", e.path);
    let long = format!("{{\"{}\": x}}", "n".repeat(100_000));
    let e = error(long.as_bytes());
    assert!(e.to_string().len() < 600, "{e}");
}

fn nested(depth: usize) -> String {
    format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth))
}

#[rstest]
#[case(126)]
#[case(127)]
#[case(128)]
#[case(129)]
#[case(MAX_DEPTH - 1)]
fn parse_accepts_nesting_up_to_the_limit(#[case] depth: usize) {
    let text = nested(depth);
    let mut doc = doc(&text);
    doc.set(&["b"], true);
    assert!(doc.to_text().starts_with(&text[..text.len() - 1]));
    doc.root().to_value();
    assert!(doc.root().same_json(&doc.clone().root()));
}

#[rstest]
#[case::one_too_deep(nested(MAX_DEPTH))]
#[case::far_too_deep(nested(3_000_000))]
#[case::objects("{\"a\":".repeat(100_000))]
fn parse_rejects_nesting_beyond_the_limit(#[case] text: String) {
    assert_eq!(error(text.as_bytes()).kind, ParseErrorKind::TooDeep);
    assert_eq!(error(text.as_bytes()).code(), "config.too-deep");
}

#[rstest]
#[case::arrays("[", "]")]
#[case::objects("{\"token\":", "}")]
fn deepest_document_fits_the_smallest_main_thread(#[case] open: &str, #[case] close: &str) {
    let text = format!("{{\"a\":{}1{}}}", open.repeat(MAX_DEPTH - 1), close.repeat(MAX_DEPTH - 1));
    let is_object = open.starts_with('{');
    let work = move || {
        let mut doc = doc(&text);
        assert!(doc.root().same_json(&doc.clone().root()));
        let value = doc.root().to_value();
        let laid_out = Document::of(Fragment::from(value.clone()));
        assert!(laid_out.root().same_json(&doc.root()));
        assert!(masking::mask(&doc, &masking::Shown::Scalar).is_modified());
        doc.set(&["b"], true);
        assert!(doc.to_text().starts_with(&text[..text.len() - 1]));
        let mut patched = Document::empty();
        assert!(patched.merge_patch(&doc));
        assert!(patched.root().same_json(&doc.root()));
        assert!(!patched.merge_patch(&doc));
        if is_object {
            let path: Vec<&str> = std::iter::once("a").chain(vec!["token"; MAX_DEPTH - 1]).collect();
            assert!(doc.set(&path, 2u64).is_changed());
            assert!(patched.merge_patch(&doc));
            assert!(patched.to_text().contains("2"));
        }
    };
    // A program's main thread on Windows has 1 MiB.
    std::thread::Builder::new().stack_size(1 << 20).spawn(work).unwrap().join().unwrap();
}

#[test]
fn duplicate_keys_are_named_in_file_order() {
    let parsed = Document::parse(br#"{"a":1,"b":{"x":1,"\u0078":2},"a":"two","a":3}"#).unwrap();
    let paths: Vec<_> = parsed.diagnostics.iter().map(|d| (d.code, d.path.as_str())).collect();
    assert_eq!(
        paths,
        [("config.duplicate-key", "/a"), ("config.duplicate-key", "/b/x"), ("config.duplicate-key", "/a")]
    );
    assert_eq!(parsed.document.root().to_value(), json!({"a": 3, "b": {"x": 2}}));
}

#[test]
fn duplicates_in_large_objects_are_found_in_time() {
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
    // Comparing all pairs of names would take minutes, here as well.
    let mut doc = parsed.document;
    for n in 0..2_000 {
        assert!(doc.get(&[&format!("k{n}")]).is_some());
    }
    for n in 0..200 {
        assert!(doc.set(&[&format!("new{n}")], true).is_changed());
        assert!(doc.remove(&[&format!("k{n}")]));
    }
    assert!(doc.get(&["k5"]).is_none());
}

#[test]
fn duplicates_in_many_objects_are_found_in_time() {
    let count = 500_000;
    let text = format!("{{\"all\":[{}{{}}]}}", r#"{"a":1,"a":2,"a":3},"#.repeat(count));
    let parsed = Document::parse(text.as_bytes()).unwrap();
    assert_eq!(parsed.diagnostics.len(), 21);
    assert!(parsed.diagnostics[20].message.starts_with(&format!("{} more", 2 * count - 20)));
    let last = parsed.document.get(&["all"]).unwrap().items().nth(count - 1).unwrap();
    assert_eq!(last.to_value(), json!({"a": 3}));
}

#[test]
fn place_counts_the_bytes_that_were_read() {
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
        // An inserted value has no place in the bytes that were read.
        document.set(&["t"], serde_json::json!([false]));
        assert!(document.place("/t").is_none() && document.place("/t/0").is_none());
    }
}

fn drawn(text: &str) -> String {
    let error = Document::parse(text.as_bytes()).expect_err("not JSON");
    format!("{}\n{}^", error.snippet.text, " ".repeat(error.snippet.caret))
}

#[rstest]
#[case::in_the_second_line("{\n  \"api\": {,\n}", "  \"api\": {,\n          ^")]
#[case::at_the_end("{\"a\": 1", "{\"a\": 1\n       ^")]
#[case::inside_a_masked_word("{\"port\": 14x73}", "{\"port\": ********}\n         ^")]
#[case::behind_a_masked_word("{\"a\": tru}", "{\"a\": ********}\n              ^")]
#[case::in_nothing("", "\n^")]
fn caret_points_at_the_place(#[case] text: &str, #[case] expected: &str) {
    assert_eq!(drawn(text), expected);
}

#[rstest]
#[case("{\"Key-2\": x}", "\"Key-2\": ********")]
#[case("{\"é\": {\"b c\": x}}", "\"é\": {\"b c\": ********")]
#[case("{\"a\": x, \"plain\": 1}", "\"plain\": 1")]
fn names_are_shown(#[case] text: &str, #[case] expected: &str) {
    assert!(drawn(text).contains(expected), "{}", drawn(text));
}

#[rstest]
#[case("{\"bearer_token\": \"s3cret\" x}")]
#[case("{\"bearer_token\": s3cret}")]
#[case("{\"bearer_token\": \"s3cret")]
#[case("{\"bearer_token\": \"a\"s3cret\", \"b\": 1}")]
#[case("{\"bearer_token\": \"a\": \"s3cret\": 2}")]
#[case("{\"bearer_token\": 'a s3cret word'}")]
#[case("{\"bearer_token\": \"s3cret\\q\"}")]
#[case("{\"bearer_token\" \"s3cret\": 1}")]
#[case("{\"https://u:s3cret@h/\": x}")]
#[case("{\"a\": [\"s3cret\", x]}")]
#[case("{\"a\" x, \"s3cret\": 1}")]
fn values_are_masked(#[case] text: &str) {
    assert!(!drawn(text).contains("s3cret"), "{}", drawn(text));
}

#[rstest]
#[case("{\"pin\": 1234567 8}", "1234567")]
#[case("{\"pin\": 4711 x}", "4711")]
fn numbers_are_masked(#[case] text: &str, #[case] number: &str) {
    assert!(!drawn(text).contains(number), "{}", drawn(text));
}

#[test]
fn names_that_would_move_the_cursor_are_masked() {
    assert!(!drawn("{\"\u{9b}2J\": x}").contains('\u{9b}'));
    assert!(!drawn("{\"\u{202e}\": x}").contains('\u{202e}'));
}

#[test]
fn long_lines_are_cut_around_the_place() {
    let text =
        format!("{{\"a\": [{}], \"b\": x, \"c\": [{}]}}", "1, ".repeat(999) + "1", "2, ".repeat(999) + "2");
    let error = Document::parse(text.as_bytes()).expect_err("not JSON");
    assert!(error.snippet.text.chars().count() <= 2 * (32 + "...".len()));
    let after: String = error.snippet.text.chars().skip(error.snippet.caret).collect();
    assert!(after.starts_with("********, \"c\": ["), "{after}");
}
