//! Tests identity files of real daemons, and every kind of a damaged one.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::disallowed_methods, reason = "tests may read as they like")]

mod common;

use common::key_file;
use myownllm_identity::{Flaw, Identity, KeyInfo, inspect};
use rstest::rstest;

fn fixture(version: &str) -> Vec<u8> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/daemon-");
    std::fs::read(format!("{root}{version}/home/.myownllm/.secrets/identity.json"))
        .expect("the fixture is there")
}

fn transcript(version: &str) -> String {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/daemon-");
    std::fs::read_to_string(format!("{root}{version}/control-transcript.jsonl"))
        .expect("the fixture is there")
}

#[test]
fn the_device_id_is_what_the_real_daemon_says() {
    for version in ["0.1.2", "0.3.8"] {
        let found = inspect(&fixture(version));
        let key = found.key().expect("a sound key");
        assert_eq!(key.label, "my laptop");
        let said = format!("\"device_id\": \"{}\"", key.device_id);
        assert!(transcript(version).contains(&said), "{version}: {}", key.device_id);
    }
}

#[test]
fn whatever_is_no_sound_key_is_damaged() {
    let good = String::from_utf8(key_file(1, "x")).expect("text");
    let (other_public, secret) = {
        let other = serde_json::from_slice::<serde_json::Value>(&key_file(2, "x")).expect("JSON");
        let own = serde_json::from_str::<serde_json::Value>(&good).expect("JSON");
        let text = |value: &serde_json::Value, key: &str| value[key].as_str().expect("a text").to_owned();
        (text(&other, "public_key"), text(&own, "secret_key"))
    };
    let own_public =
        serde_json::from_str::<serde_json::Value>(&good).expect("JSON")["public_key"].to_string();
    let mut odd = vec![
        Vec::new(),
        vec![0; 217],
        b"null".to_vec(),
        b"[]".to_vec(),
        b"{}".to_vec(),
        good.replace(&own_public, &format!("{other_public:?}")).into_bytes(),
        good.replace(&secret, &secret[..51]).into_bytes(),
        good.replace(&secret, &format!("{secret}a")).into_bytes(),
        good.replace(&secret, "").into_bytes(),
        good.replace("\"version\": 1", "\"version\": \"1\"").into_bytes(),
        good.replace("\"version\": 1", "\"version\": 0").into_bytes(),
        good.replace("\"version\": 1,", "").into_bytes(),
        [&good.as_bytes()[..good.len() - 3], b"\xff\n}\n"].concat(),
        good.replace("\"version\": 1", "\"version\": 1, \"label\": 5").into_bytes(),
    ];
    odd.extend((0..good.trim_end().len()).map(|end| good.as_bytes()[..end].to_vec()));
    for bytes in odd {
        let found = inspect(&bytes);
        assert!(
            matches!(found, Identity::Damaged { .. }),
            "{:?}: {found:?}",
            String::from_utf8_lossy(&bytes)
        );
        assert!(!format!("{found:?}").contains(&secret), "the secret is not told");
    }
}

#[test]
fn a_newer_version_is_not_damaged() {
    let newer =
        String::from_utf8(key_file(1, "x")).expect("text").replace("\"version\": 1", "\"version\": 2");
    assert_eq!(inspect(newer.as_bytes()), Identity::Newer { version: 2 });
    assert_eq!(inspect(b"{\"version\": 7, \"sealed\": true}"), Identity::Newer { version: 7 });
}

fn utf16(text: &str, unit: fn(u16) -> [u8; 2]) -> Vec<u8> {
    text.encode_utf16().flat_map(unit).collect()
}

fn utf32(text: &str, unit: fn(u32) -> [u8; 4]) -> Vec<u8> {
    text.chars().map(u32::from).flat_map(unit).collect()
}

fn text() -> String {
    String::from_utf8(key_file(1, "x")).expect("text")
}

fn marked() -> String {
    format!("\u{feff}{}", text())
}

/// For a sound key that no daemon can read, the refusal names the flaw, and its command makes the
/// key readable.
#[rstest]
#[case::byte_order_mark(marked().into_bytes(), Flaw::ByteOrderMark)]
#[case::byte_order_mark_and_crlf(marked().replace('\n', "\r\n").into_bytes(), Flaw::ByteOrderMark)]
#[case::utf16_of_a_windows_editor(utf16(&marked().replace('\n', "\r\n"), u16::to_le_bytes), Flaw::Utf16)]
#[case::utf16_big_endian(utf16(&marked(), u16::to_be_bytes), Flaw::Utf16)]
#[case::utf16_without_a_mark(utf16(&text(), u16::to_le_bytes), Flaw::Utf16Le)]
#[case::utf16_big_endian_without_a_mark(utf16(&text(), u16::to_be_bytes), Flaw::Utf16Be)]
#[case::utf32(utf32(&marked(), u32::to_le_bytes), Flaw::Utf32)]
#[case::utf32_without_a_mark(utf32(&text(), u32::to_be_bytes), Flaw::Utf32Be)]
#[case::zero_bytes_behind([text().as_bytes(), &[0; 99]].concat(), Flaw::ZeroBytes)]
#[case::zero_bytes_before([&[0; 99], text().as_bytes()].concat(), Flaw::ZeroBytes)]
#[case::tail_of_a_longer_file([text().as_bytes(), b"abel\": \"y\"\n}\n"].concat(),
    Flaw::Tail { length: text().trim_end().len() })]
#[case::label_in_latin_1(text().replace("\"x\"", "\"B\u{fc}ro\"").chars().map(|c| c as u8).collect(),
    Flaw::EightBit)]
fn a_sound_key_in_another_encoding_is_named_and_mended(#[case] bytes: Vec<u8>, #[case] wanted: Flaw) {
    let Identity::Damaged { why, flaw } = inspect(&bytes) else { panic!("{:?}", inspect(&bytes)) };
    assert_eq!(flaw, Some(wanted), "{why}");
    mends(&bytes, &why);
}

fn without_label(text: &str) -> String {
    text.replace("\"x\"", "null")
}

/// An editor that saves with a byte order mark can have lost a member as well.
#[rstest]
#[case::mark_and_member(without_label(&marked()).into_bytes(), "begins with a byte order mark")]
#[case::utf16_and_member(utf16(&without_label(&marked()), u16::to_le_bytes), "is UTF-16 text")]
#[case::mark_and_tail(
    format!("{}\"y\"}}", marked()).into_bytes(),
    "begins with a byte order mark, and goes on"
)]
#[case::tail_and_member(
    [without_label(&text()).as_bytes(), b"abel\": \"y\"\n}\n"].concat(),
    "goes on behind"
)]
fn a_sound_key_with_two_flaws_is_mended_by_one_command(#[case] bytes: Vec<u8>, #[case] wanted: &str) {
    let Identity::Damaged { why, flaw: Some(Flaw::Both(_)) } = inspect(&bytes) else {
        panic!("{:?}", inspect(&bytes))
    };
    assert!(why.contains(wanted), "{why}");
    mends(&bytes, &why);
}

/// Returns the key that the command of the refusal makes readable; `None` on Windows, which has no
/// POSIX shell.
fn mends(bytes: &[u8], why: &str) -> Option<KeyInfo> {
    let home = common::Home::new();
    home.put("mesh/.secrets/identity.json", bytes);
    let refusal = home.answer().refusal().expect("a refusal").clone();
    assert_eq!(refusal.code(), "migration.identity-damaged");
    assert!(refusal.to_string().contains(why), "{refusal}");
    let hint = refusal.hint().expect("a command");
    assert!(hint.chars().all(|c| c == ' ' || c.is_ascii_graphic()), "shown as it is: {hint:?}");
    if cfg!(windows) {
        return None;
    }
    for _ in 0..2 {
        sh(&refusal.hint().expect("a command"));
        assert_eq!(common::short(&home.answer()), format!("sound {}", common::public_key(1)), "{refusal:?}");
        assert!(home.contents().contains(&bytes.to_vec()), "the former bytes stay: {refusal:?}");
    }
    Some(home.answer().key().expect("a key").clone())
}

/// The daemon requires each member, and each as a string; and it shows the public key as the file
/// spells it, so that the peers would see another device.
#[rstest]
#[case::label_null("label", "null", "`label` is not a string")]
#[case::label_number("label", "5", "`label` is not a string")]
#[case::label_object("label", "{\"a\": [\"'\"]}", "`label` is not a string")]
#[case::label_missing("label", "", "`label` is not a string")]
#[case::created_at_number("created_at", "1795401083", "`created_at` is not a string")]
#[case::created_at_missing("created_at", "", "`created_at` is not a string")]
#[case::public_key_null("public_key", "null", "`public_key` is not a string")]
#[case::public_key_missing("public_key", "", "`public_key` is not a string")]
#[case::public_key_in_capitals("public_key", "UPPER", "`public_key` is not in lower case")]
fn member_that_the_daemon_would_not_read_is_damaged_and_mended(
    #[case] member: &str,
    #[case] value: &str,
    #[case] wanted: &str,
) {
    let sound =
        String::from_utf8(key_file(1, "Ann's B\u{fc}ro \u{202e}\u{1f600} $HOME \\\"x\\\" \\n 100%")).unwrap();
    assert!(inspect(sound.as_bytes()).key().is_some());
    let mut key: serde_json::Value = serde_json::from_str(&sound).unwrap();
    match value {
        "" => drop(key.as_object_mut().unwrap().remove(member)),
        "UPPER" => key[member] = common::public_key(1).to_uppercase().into(),
        value => key[member] = serde_json::from_str(value).unwrap(),
    }
    key["other"] = "kept in the copy".into();
    for bytes in [key.to_string().into_bytes(), serde_json::to_vec_pretty(&key).unwrap()] {
        let Identity::Damaged { why, flaw: Some(_) } = inspect(&bytes) else {
            panic!("{:?}", inspect(&bytes))
        };
        assert_eq!(why, wanted);
        if let Some(mended) = mends(&bytes, &why)
            && member != "label"
        {
            assert_eq!(mended.label, inspect(sound.as_bytes()).key().unwrap().label);
        }
    }
}

/// White space belongs to the JSON syntax.
#[test]
fn a_key_with_other_line_ends_is_sound() {
    for other in [text().replace('\n', "\r\n"), text().replace('\n', "\r"), format!("\r\n\t{}", text())] {
        assert!(inspect(other.as_bytes()).key().is_some(), "{other:?}");
    }
}

fn sh(command: &str) {
    let status = std::process::Command::new("sh").args(["-c", command]).status().expect("sh");
    assert!(status.success(), "{command}");
}
