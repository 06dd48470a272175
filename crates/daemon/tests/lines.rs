//! The lines of the protocol, without a connection.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use myownllm_daemon::lines::{BadLine, Line, Lines};
use proptest::prelude::*;
use rstest::rstest;
use serde_json::Value;

fn all(limit: usize, portions: &[&[u8]]) -> Vec<Result<Line, BadLine>> {
    let mut lines = Lines::new(limit);
    let mut found = Vec::new();
    for portion in portions {
        lines.push(portion);
        found.extend(lines.by_ref());
    }
    found
}

#[test]
fn lines_are_split_across_portions() {
    let found = all(100, &[b"{\"ok\":tr", b"ue,\"data\":1}\n{\"ok\":true,\"da", b"ta\":2}\r\n\n"]);
    assert_eq!(found, [Ok(Line::Yes(1.into())), Ok(Line::Yes(2.into()))]);
}

#[test]
fn long_line_is_reported_once_and_skipped() {
    let yes = b"{\"ok\":true}";
    let long = [b"x".repeat(20).as_slice(), yes, b"\n", yes, b"\n"].concat();
    let whole = all(15, &[&long]);
    assert_eq!(whole, [Err(BadLine::TooLong { limit: 15 }), Ok(Line::Yes(Value::Null))]);
    let mut lines = Lines::new(15);
    for _ in 0..1000 {
        lines.push(&[b'x'; 1000]);
        let _ = lines.next();
        assert!(lines.begun() == 0 && lines.next().is_none(), "the rest of a long line is not kept");
    }
}

#[rstest]
#[case::garbage(b"garbage\n", BadLine::NotJson { column: 1, what: "malformed" })]
#[case::cut_off(b"{\"ok\":\n", BadLine::NotJson { column: 6, what: "cut off" })]
#[case::not_utf8(b"{\"ok\":true,\"data\":\"\xff\"}\n", BadLine::NotUtf8 { at: 19 })]
#[case::huge_number(b"[1e999]\n", BadLine::NotJson { column: 6, what: "a number out of range" })]
#[case::array(b"[1]\n", BadLine::NotAnObject)]
#[case::no_ok(b"{\"data\":1}\n", BadLine::NotAnAnswer)]
#[case::ok_is_a_string(b"{\"ok\":\"true\"}\n", BadLine::NotAnAnswer)]
#[case::ok_is_null(b"{\"ok\":null,\"kind\":\"event\"}\n", BadLine::NotAnAnswer)]
fn malformed_lines_have_different_errors(#[case] line: &[u8], #[case] error: BadLine) {
    assert_eq!(all(100, &[line]), [Err(error)]);
}

#[rstest]
#[case::absent("", "no reason given")]
#[case::null(r#","error":null"#, "no reason given")]
#[case::blank(r#","error":" ""#, "no reason given")]
#[case::empty_object(r#","error":{}"#, "{}")]
#[case::object_with_message(r#","error":{"code":7,"message":"the disk is full"}"#, "the disk is full")]
#[case::message_is_a_number(r#","error":{"message":7}"#, r#"{"message":7}"#)]
#[case::array(r#","error":["a"]"#, r#"["a"]"#)]
#[case::boolean(r#","error":false"#, "false")]
fn refusal_without_a_text_gets_one(#[case] error: &str, #[case] reason: &str) {
    let line = format!("{{\"ok\":false{error}}}\n");
    assert_eq!(all(100, &[line.as_bytes()]), [Ok(Line::No(reason.to_owned()))]);
}

#[test]
fn success_without_data_has_null() {
    assert_eq!(all(100, &[b"{\"ok\":true}\n"]), [Ok(Line::Yes(Value::Null))]);
}

#[test]
fn deep_nesting_is_an_error() {
    let line = [b"{\"ok\":true,\"data\":".as_slice(), &vec![b'['; 100_000], b"\n"].concat();
    assert!(matches!(all(1 << 20, &[&line])[0], Err(BadLine::NotJson { .. })));
}

/// Generates bytes that hold valid lines, invalid lines, and fragments.
fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
    let pieces: &[&[u8]] = &[
        b"\n",
        b"\n",
        b"\r\n",
        b" ",
        b"{\"ok\":true}",
        b"{\"ok\":true,\"data\":",
        b"[[1,2]]}",
        b"\xff\xfe",
        b"{\"ok\":false,\"error\":\"no\"}",
        b"{\"kind\":\"event\",\"event\":{}}",
        b"{",
        b"}",
        b"\"",
        b"x",
        b"\0",
    ];
    prop::collection::vec(prop::sample::select(pieces), 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None,
        ..ProptestConfig::default() })]

    #[test]
    fn portions_do_not_change_the_lines(
        bytes in any_bytes(),
        cuts in prop::collection::vec(0_usize..200, 0..8),
        limit in 0_usize..60,
    ) {
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let portions: Vec<&[u8]> = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]).collect();
        prop_assert_eq!(all(limit, &portions), all(limit, &[&bytes]));
    }
}
