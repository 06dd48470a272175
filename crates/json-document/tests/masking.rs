//! Masking by an allow-list, and inside of texts.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use myownllm_json_document::masking::{
    MASK, Secret, Shown, is_secret_name, mask, mask_line, mask_text, mask_value, secrets_in, strip_secrets,
};
use myownllm_json_document::{Document, Fragment};
use rstest::rstest;
use serde_json::{Value, json};

const SHOWN: Shown = Shown::Members(&[
    ("name", Shown::Scalar),
    ("names", Shown::Items(&Shown::Scalar)),
    ("by_name", Shown::Entries(&Shown::Scalar)),
    ("server", SERVER),
    ("servers", Shown::Items(&SERVER)),
]);
const SERVER: Shown = Shown::Members(&[("host", Shown::Scalar), ("port", Shown::Scalar)]);

/// Masks a document, and checks that its value is masked alike.
fn masked(document: &Document) -> Document {
    let masked = mask(document, &SHOWN);
    let mut value = document.root().to_value();
    mask_value(&mut value, &SHOWN);
    assert_eq!(masked.root().to_value(), value);
    masked
}

#[rstest]
#[case::scalar(json!({"name": "a"}))]
#[case::number(json!({"name": 17}))]
#[case::items(json!({"names": ["a", 17]}))]
#[case::entries(json!({"by_name": {"anything": "a", "else": 17}}))]
#[case::members_of_members(json!({"server": {"host": "h", "port": 1}}))]
#[case::members_of_items(json!({"servers": [{"host": "h"}, {"port": 1}]}))]
#[case::unknown_booleans_and_nothings(json!({"new": true, "newer": {"a": [null, false, "", 0, 0.0]}}))]
fn known_members_are_shown(#[case] value: Value) {
    let document = Document::of(value);
    assert!(!masked(&document).is_modified(), "{}", masked(&document).to_text());
}

#[rstest]
#[case::unknown_string(json!({"new": "s3cret"}))]
#[case::unknown_number(json!({"new": 53_637_265}))]
#[case::unknown_items(json!({"new": ["s3cret", 53_637_265, ["s3cret"]]}))]
#[case::unknown_members(json!({"new": {"name": "s3cret", "server": {"host": "s3cret"}}}))]
#[case::unknown_member_of_a_known_object(json!({"server": {"new": "s3cret"}}))]
#[case::unknown_member_of_an_item(json!({"servers": [{"new": 53_637_265}]}))]
#[case::scalar_instead_of_an_array(json!({"names": "s3cret"}))]
#[case::scalar_instead_of_an_object(json!({"server": "s3cret", "by_name": "s3cret"}))]
#[case::scalar_instead_of_an_item(json!({"servers": ["s3cret", 53_637_265]}))]
#[case::object_instead_of_a_scalar(json!({"name": {"name": "s3cret"}}))]
#[case::array_instead_of_a_scalar(json!({"name": ["s3cret"]}))]
#[case::array_in_an_array(json!({"names": [["s3cret"]]}))]
#[case::entry_that_announces_a_secret(json!({"by_name": {"api_key": "s3cret"}}))]
#[case::login_in_a_known_string(json!({"name": "https://u:s3cret@h/"}))]
#[case::parameter_in_a_known_string(json!({"names": ["wss://h/?session=s3cret"]}))]
#[case::login_in_a_name(json!({"https://u:s3cret@h/": true}))]
#[case::header_in_a_known_string(json!({"name": "Authorization: Bearer s3cret"}))]
fn everything_else_is_masked(#[case] value: Value) {
    let text = masked(&Document::of(value)).to_text();
    assert!(!text.contains("s3cret") && !text.contains("53637265") && text.contains(MASK), "{text}");
}

#[test]
fn masking_leaves_the_other_bytes_alone() {
    let text = r#"{"name": "\u0061", "new" : "s3cret", "server": {"port": 1e3, "n\u0065w": [ 5e1 ,null]} }"#;
    let document = Document::parse(text.as_bytes()).unwrap().document;
    let expected = text.replace("s3cret", MASK).replace("5e1", &format!("\"{MASK}\""));
    assert_eq!(mask(&document, &SHOWN).to_text(), expected);
    assert!(!document.is_modified());
}

#[test]
fn shadowed_duplicates_are_masked() {
    let text = br#"{"new": "s3cret-1", "new": {"a": "s3cret-2"}, "name": "shown", "new": "s3cret-3"}"#;
    let document = Document::parse(text).unwrap().document;
    assert_eq!(
        mask(&document, &SHOWN).to_text(),
        format!(r#"{{"new": "{MASK}", "new": {{"a": "{MASK}"}}, "name": "shown", "new": "{MASK}"}}"#)
    );
}

#[test]
fn inserted_values_are_masked() {
    let mut document = Document::parse(br#"{"server": {"host": "h"}}"#).unwrap().document;
    document.set(&["server", "new"], "s3cret");
    document.set(&["other"], Fragment::array(["s3cret"]));
    assert!(!mask(&document, &SHOWN).to_text().contains("s3cret"));
}

#[test]
fn names_that_masking_makes_equal_get_a_number() {
    let value = masked(&Document::of(json!({"by_name": {
        "https://u:s3cret@h/": 1, "https://v:s3cret2@h/": 2, "wss://h/?token=s3cret": {"a": "b"}, "plain": 3,
    }})));
    let value = value.root().to_value();
    let members = value["by_name"].as_object().unwrap();
    assert!(!value.to_string().contains("s3cret"), "{value}");
    assert_eq!(members.len(), 4, "{value}");
    assert_eq!(members[&format!("https://{MASK}@h/ (2)")], 2);
    assert_eq!(members["plain"], 3);
}

#[test]
fn secret_is_neither_printed_nor_serialized() {
    let secret: Secret = serde_json::from_str(r#""s3cret""#).unwrap();
    assert_eq!(secret.expose(), "s3cret");
    assert_eq!(format!("{secret:?}"), MASK);
    assert_eq!(serde_json::to_string(&secret).unwrap(), format!("\"{MASK}\""));
}

#[rstest]
fn name_announces_a_secret(
    #[values(
        "api_key",
        "apiKey",
        "APIKey",
        "apikey",
        "X-Api-Key",
        "Authorization",
        "Proxy-Authorization",
        "Cookie",
        "Set-Cookie",
        "cookies",
        "pass",
        "db_pass2",
        "passwd",
        "pwd",
        "psk",
        "wifiPsk",
        "privKey",
        "priv_key",
        "auth_key",
        "join_key",
        "joinKey",
        "jwt",
        "bearer",
        "auth",
        "oauth2",
        "X-Auth",
        "key",
        "network_key",
        "pin",
        "creds",
        "otp",
        "pass_phrase",
        "PASSPHRASE",
        "turnCredential",
        "api_keys",
        "private_key_path",
        "refreshToken",
        "token_limit",
        "a.psk",
        "client-secret",
        "sharedKey",
        "basic_auth",
        "X-Amz-Signature",
        "key1"
    )]
    name: &str,
) {
    assert!(is_secret_name(name));
    let fields = json!({ name: "s3cret", "in": [{ name: ["s3cret", {"deep": "s3cret"}] }] });
    assert_eq!(secrets_in(fields.as_object().unwrap()), ["s3cret"; 3]);
    assert!(!mask_line(&format!("{name}=s3cret {name}: s3cret")).contains("s3cret"));
}

#[rstest]
fn name_announces_no_secret(
    #[values(
        "public_key",
        "publicKey",
        "pubKey",
        "keys",
        "kept_keys",
        "keyboard",
        "keymap",
        "passive",
        "bypass",
        "compass",
        "author",
        "authority",
        "authorized_keys",
        "pinned_peers",
        "id",
        "network_id",
        "device_id",
        "label",
        "username",
        "url",
        "key_id",
        "auth_type",
        "api_key_env",
        "cookie_name",
        "hotkey",
        "monkey",
        "spinner",
        "signaling",
        "signal",
        "host_key"
    )]
    name: &str,
) {
    assert!(!is_secret_name(name));
    assert!(secrets_in(json!({ name: "readable" }).as_object().unwrap()).is_empty());
}

#[rstest]
#[case::login("https://u:s3cret@h/p", "https://********@h/p")]
#[case::name_alone("https://s3cret@h", "https://********@h")]
#[case::parameter("https://h:1/p?a=1&api_key=s3cret&b=2#top", "https://h:1/p?a=1&api_key=********&b=2#top")]
#[case::login_and_parameter("wss://u:s3cret@r/?token=s3cret", "wss://********@r/?token=********")]
#[case::server("turn:u:s3cret@h:3478?transport=udp", "turn:********@h:3478?transport=udp")]
#[case::parameter_of_a_server("turn:t?credential=s3cret", "turn:t?credential=********")]
#[case::escaped_name("https://h/?access%5Ftoken=s3cret", "https://h/?access%5Ftoken=********")]
#[case::fragment("https://h/#id_token=s3cret", "https://h/#id_token=********")]
#[case::slash_in_the_password("https://u:s3/cr@et@h/p", "https://********@h/p")]
#[case::question_mark_in_the_password("https://u:s3?cr@h/p", "https://********@h/p")]
#[case::among_words("ask https://a/ or <wss://u:s3cret@b/>, é", "ask https://a/ or <wss://********@b/>, é")]
#[case::two_urls("https://a/,https://u:s3cret@b/", "https://a/,https://********@b/")]
#[case::url_in_a_parameter("https://a/?token=https://u:s3cret@b/", "https://a/?token=********")]
#[case::no_scheme("u:s3cret@h:3478", "u:********@h:3478")]
#[case::path_alone("/ws?key=s3cret", "/ws?key=********")]
#[case::unknown_parameter("wss://h/?room=s3cret&page=2", "wss://h/?room=********&page=2")]
#[case::unnamed_parameter("https://h/p?s3cret", "https://h/p?********")]
#[case::unnamed_parameter_behind_a_named_one("https://h/p?a=1&s3cret", "https://h/p?a=1&********")]
#[case::long_number("https://h/?id=53637265", "https://h/?id=********")]
fn mask_text_masks_the_secrets_of_a_url(#[case] text: &str, #[case] expected: &str) {
    assert_eq!(mask_text(text).unwrap(), expected);
    assert!(!mask_line(text).contains("s3cret"));
}

#[rstest]
#[case::authorization("Authorization: Bearer s3cret", "Authorization: ********")]
#[case::no_blank("authorization:Basic s3cret", "authorization:********")]
#[case::blanks_inside("Proxy-Authorization: s3cret with blanks", "Proxy-Authorization: ********")]
#[case::api_key("X-Api-Key: s3cret", "X-Api-Key: ********")]
#[case::among_headers(
    "Accept: text/html\r\nCookie: id=s3cret\nHost: h",
    "Accept: text/html\r\nCookie: ********\nHost: h"
)]
#[case::variable("API_KEY=s3cret", "API_KEY=********")]
#[case::option("--api-key=s3cret", "--api-key=********")]
#[case::bearer("Bearer s3cret", "Bearer ********")]
#[case::bearer_in_lower_case("bearer  s3cret.s3cret-_~+/=", "bearer  ********")]
#[case::basic("Basic dTpzM2NyZXQ=", "Basic ********")]
#[case::quoted(
    "curl -H 'Authorization: Bearer s3cret' https://h/",
    "curl -H 'Authorization: Bearer ********' https://h/"
)]
fn mask_text_masks_credentials(#[case] text: &str, #[case] expected: &str) {
    assert_eq!(mask_text(text).unwrap(), expected);
}

#[rstest]
fn mask_text_leaves_other_texts_alone(
    #[values(
        "https://h:8080/@user?q=1#x",
        "stun:h:3478",
        "turn:[::1]:3478",
        "turn:h:3478?transport=tcp",
        "mailto:me@h",
        "qwen3:8b",
        "C:\\Users\\me@home",
        "a@b",
        "https://h/?max=5&token=",
        "https://h/?",
        "Write: to me@home?",
        "what is a?b=c&d",
        "/home/u/a?b",
        "http://[::1]:80/",
        "Basic mesh",
        "Basic Mesh",
        "the bearer of this letter",
        "forbearer x",
        "Note: bearer",
        "label: home",
        "a:b",
        "author=me",
        "Token"
    )]
    text: &str,
) {
    assert_eq!(mask_text(text), None);
    assert_eq!(strip_secrets(text), None);
}

#[rstest]
#[case("turn:u:s3cret@h:3478?transport=udp", "turn:h:3478?transport=udp")]
#[case("https://u:s3cret@h/?a=1&token=s3cret#x", "https://h/?a=1&token=#x")]
fn strip_secrets_leaves_a_usable_url(#[case] text: &str, #[case] expected: &str) {
    assert_eq!(strip_secrets(text).unwrap(), expected);
}

#[rstest]
#[case::json(r#"loaded {"secret_key": "hunter2", "n": 1}"#, r#"loaded {"secret_key": "********", "n": 1}"#)]
#[case::quoted_json(r#"loaded {\"secret_key\":\"hunter2\"}"#, r#"loaded {\"secret_key\":\"********"}"#)]
#[case::login(
    "dialing turn:user:hunter2@host, credential=hunter3 now",
    "dialing turn:********@host, credential=******** now"
)]
#[case::header(
    "GET wss://h/?token=hunter2 Authorization: Bearer hunter3",
    "GET wss://h/?token=******** Authorization: ******** ********"
)]
#[case::array("tokens = [hunter2, hunter3]", "tokens = ********")]
#[case::integer(
    "invalid type: integer `918273645`, expected a string at line 1",
    "invalid type: integer `********`, expected a string at line 1"
)]
#[case::string(
    "x: invalid value: string \"hun\\\"ter2\", expected y",
    "x: invalid value: string \"********\", expected y"
)]
#[case::named("password: hunter2", "password: ********")]
#[case::broken_off("invalid type: string \"", "invalid type: string \"")]
#[case::plain(
    "listening at /tmp/a: ready, 3 peers, key_path=/x",
    "listening at /tmp/a: ready, 3 peers, key_path=/x"
)]
#[case::coloured(
    "\u{1b}[32m INFO\u{1b}[0m relay \u{1b}[3mcredential\u{1b}[0m\u{1b}[2m=\u{1b}[0mhunter2",
    " INFO relay credential=********"
)]
#[case::without_colour("plain [0m", "plain [0m")]
#[case::colour_that_is_cut("red\u{1b}[3", "red")]
#[case::colour_without_an_end("red\u{1b}[3é", "redé")]
#[case::colour_of_several_numbers("\u{1b}[1;38;5;9mred\u{1b}[0m end", "red end")]
#[case::name_alone("token:", "token:")]
#[case::empty("", "")]
fn mask_line_masks_the_secrets_of_a_log(#[case] line: &str, #[case] expected: &str) {
    assert_eq!(mask_line(line), expected);
}

#[rstest]
#[case::header(json!({"env": {"name": "Authorization", "value": "s3cret"}}))]
#[case::items(json!({"env": {"value": ["s3cret", {"a": "s3cret"}], "header": "X-Api-Key"}}))]
#[case::among_others(json!({"env": [{"name": "apiKey", "value": "s3cret"},
    {"name": "port", "value": "17"}]}))]
#[case::url(json!({"urls": ["turn:u:s3cret@h"]}))]
fn secrets_in_finds_what_a_receiver_may_not_quote(#[case] fields: Value) {
    let found = secrets_in(fields.as_object().unwrap());
    assert!(found.iter().any(|secret| secret == "s3cret"), "{found:?}");
    assert!(!found.iter().any(|secret| secret == "17"), "{found:?}");
}

#[test]
fn error_masks_the_secrets_in_its_path() {
    let error = Document::parse(br#"{"https://u:s3cret@h/a": {"x": tru}}"#).unwrap_err();
    assert_eq!(error.path, format!("/https:~1~1{MASK}@h~1a/x"));
    assert!(!error.to_string().contains("s3cret"), "{error}");
    assert!(!error.snippet.text.contains("s3cret"), "{:?}", error.snippet);
}
