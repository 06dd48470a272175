//! The user's own settings of a config, and the loss of them.
#![expect(clippy::unwrap_used, reason = "a test stops when its scene cannot be set")]

use myownllm_config_model::Document;
use myownllm_config_model::app_config::{Loss, OwnSettings, defaults};
use rstest::rstest;
use serde_json::{Value, json};

/// Ten sections with something of the user's, and two networks.
fn rich() -> Value {
    json!({
        "active_provider": "Mine", "active_family": "qwen3", "active_mode": "text", "model_cleanup_days": 7,
        "kept_models": ["qwen3:8b"], "tracked_modes": ["text"], "conversation_dir": "/c",
        "auto_cleanup": {"models": false, "transcribe_buffer": true, "legacy": true, "updates": true,
        "conversations": false},
        "api": {"enabled": true, "host": "127.0.0.1", "port": 1473, "cors_allow_all": false,
        "bearer_token": "s3cret"},
        "auto_update": {"enabled": true, "channel": "beta", "auto_apply": "patch",
        "check_interval_hours": 12},
        "cloud_mesh": {"enabled": true, "active_network_id": "a", "networks": [
            {"id": "a", "network_id": "Home", "turn_servers": [{"url": "turn:t"}]},
            {"id": "b", "network_id": "office"}]},
        "providers": [{"name": "Mine", "url": "https://example.org/mine.json"}],
    })
}

fn own(value: &Value) -> OwnSettings {
    OwnSettings::of(&Document::of(value.clone()), "/c")
}

/// The document as it is once it is completed.
fn completed(value: Value) -> Value {
    let mut all = defaults("/c").root().to_value();
    for (key, value) in value.as_object().unwrap() {
        match (all[key].as_object_mut(), value.as_object()) {
            (Some(section), Some(members)) => section.extend(members.clone()),
            _ => all[key] = value.clone(),
        }
    }
    all
}

fn edited(edit: impl Fn(&mut Value)) -> Value {
    let mut value = rich();
    edit(&mut value);
    completed(value)
}

#[rstest]
#[case::nothing(json!({}), &[], &[])]
#[case::the_defaults(completed(json!({})), &[], &[])]
#[case::a_key(json!({"active_family": "qwen3"}), &["active_family"], &[])]
#[case::a_member_of_a_section(json!({"api": {"port": 1, "enabled": true}}), &["api/port"], &[])]
#[case::two_members(json!({"api": {"port": 1, "bearer_token": "t"}}), &["api/bearer_token", "api/port"], &[])]
#[case::the_mesh_switched_on(json!({"cloud_mesh": {"enabled": true}}), &["cloud_mesh/enabled"], &[])]
#[case::an_unknown_key(json!({"theme": {"dark": true}}), &["theme"], &[])]
#[case::unknown_and_empty(json!({"theme": {"dark": null}, "x": [], "y": ""}), &[], &[])]
#[case::keys_of_the_daemon(json!({"version": 3, "daemon": {"log_level": "info"}, "services": {"node": 1},
    "identity_path": "/k", "networks": [{"network_id": "x"}]}), &[], &[])]
#[case::an_emptied_list(json!({"providers": [], "kept_models": []}), &[], &[])]
#[case::a_wrong_type_reads_as_the_default(json!({"active_family": 5, "api": {"port": "x"}}), &[], &[])]
#[case::modes_that_follow_the_mode(json!({"active_mode": "text", "tracked_modes": ["text"]}),
    &["active_mode"], &[])]
#[case::modes_of_ones_own(json!({"tracked_modes": ["text", "transcribe"]}), &["tracked_modes"], &[])]
#[case::networks(json!({"cloud_mesh": {"networks": [{"network_id": "B"}, {"network_id": "a"}, {}, 5]}}),
    &[], &["b", "a"])]
#[case::a_flat_network(json!({"cloud_mesh": {"network_id": "Flat", "locked": true}}), &[], &["flat"])]
#[case::a_legacy_speech_model(json!({"mic": {"whisper_model": "w"}}), &["mode_overrides"], &[])]
fn values_other_than_the_defaults_are_the_users_own(
    #[case] value: Value,
    #[case] options: &[&str],
    #[case] networks: &[&str],
) {
    let own = own(&value);
    let paths: Vec<String> = own.options.iter().map(|path| path.join("/")).collect();
    assert_eq!(
        (paths.as_slice(), own.networks.as_slice()),
        (&options.map_owned()[..], &networks.map_owned()[..])
    );
}

trait MapOwned {
    fn map_owned(&self) -> Vec<String>;
}

impl MapOwned for &[&str] {
    fn map_owned(&self) -> Vec<String> {
        self.iter().map(|text| (*text).to_owned()).collect()
    }
}

#[rstest]
#[case::empty_object(json!({}), Some(Loss::Settings))]
#[case::only_the_defaults(completed(json!({})), Some(Loss::Settings))]
#[case::one_key_left(json!({"active_family": "qwen3"}), Some(Loss::Settings))]
#[case::one_key_left_among_the_defaults(completed(json!({"active_family": "qwen3"})), Some(Loss::Settings))]
#[case::one_other_key(completed(json!({"active_family": "llama"})), Some(Loss::Settings))]
#[case::an_empty_catalogue(json!({"cloud_mesh": {"networks": []}}), Some(Loss::Settings))]
#[case::empty_lists(json!({"providers": [], "kept_models": [], "cloud_mesh": {}}), Some(Loss::Settings))]
#[case::settings_gone_networks_there(completed(json!({"cloud_mesh": rich()["cloud_mesh"]})),
    Some(Loss::Settings))]
#[case::settings_gone_bare(json!({"cloud_mesh": rich()["cloud_mesh"]}), Some(Loss::Settings))]
#[case::settings_under_new_names(
    completed(json!({"theme": 1, "look": 2, "family": "x", "mode": "y", "cloud_mesh": rich()["cloud_mesh"]})), None)]
#[case::all_networks_gone(edited(|v| v["cloud_mesh"]["networks"] = json!([])), Some(Loss::Networks))]
#[case::the_list_itself_gone(edited(|v| drop(v["cloud_mesh"].as_object_mut().unwrap().remove("networks"))),
    Some(Loss::Networks))]
#[case::the_catalogue_gone(edited(|v| drop(v.as_object_mut().unwrap().remove("cloud_mesh"))),
    Some(Loss::Networks))]
#[case::nothing_gone(rich(), None)]
#[case::one_of_two_networks_removed(edited(|v|
    drop(v["cloud_mesh"]["networks"].as_array_mut().unwrap().remove(0))), None)]
#[case::a_section_reset(edited(|v| drop(v.as_object_mut().unwrap().remove("auto_cleanup"))), None)]
#[case::providers_emptied(edited(|v| v["providers"] = json!([])), None)]
#[case::something_else_in_its_place(completed(json!({"active_family": "llama", "active_mode": "x",
    "model_cleanup_days": 9,
    "kept_models": ["m"], "cloud_mesh": {"networks": [{"id": "z", "network_id": "new"}]}})), None)]
fn a_loss_is_what_is_gone_with_nothing_in_its_place(#[case] now: Value, #[case] loss: Option<Loss>) {
    assert_eq!(own(&now).loss_since(&own(&rich())), loss);
}

/// Of a few settings it is soon a user's own doing that none is left.
#[rstest]
#[case::the_only_network_gone_with_its_pointer(
    json!({"cloud_mesh": {"networks": [{"id": "a", "network_id": "home"}], "active_network_id": "a"}}),
    completed(json!({})), Some(Loss::Networks))]
#[case::the_only_network_gone_and_its_pointer_left(
    json!({"cloud_mesh": {"networks": [{"id": "a", "network_id": "home"}], "active_network_id": "a"}}),
    completed(json!({"cloud_mesh": {"networks": [], "active_network_id": "a"}})), Some(Loss::Networks))]
#[case::the_only_section_reset(json!({"api": {"port": 1, "host": "::1", "bearer_token": "t"}}),
    completed(json!({})), None)]
#[case::the_only_setting_gone_with_all_keys(json!({"active_family": "qwen3"}), json!({}),
    Some(Loss::Settings))]
#[case::one_of_two_networks_and_nothing_else(
    json!({"cloud_mesh": {"networks": [{"network_id": "one"}, {"network_id": "two"}]}}),
    completed(json!({"cloud_mesh": {"networks": [{"network_id": "two"}]}})), None)]
#[case::three_settings_reset_beside_networks(
    json!({"active_family": "x", "active_mode": "text", "kept_models": ["m"],
        "cloud_mesh": {"networks": [{"network_id": "one"}]}}),
    completed(json!({"cloud_mesh": {"networks": [{"network_id": "one"}]}})), Some(Loss::Settings))]
#[case::few_settings_beside_keys_of_a_newer_app(
    json!({"active_family": "qwen3", "theme": "dark"}),
    completed(json!({"active_family": "llama", "theme": "dark", "look": 1, "feel": 2})), None)]
#[case::unknown_keys_that_were_there(
    json!({"active_family": "qwen3", "theme": "dark"}), completed(json!({"theme": "light"})), None)]
#[case::there_was_nothing_to_lose(completed(json!({})), json!({}), None)]
fn few_settings_prove_no_loss(#[case] before: Value, #[case] now: Value, #[case] loss: Option<Loss>) {
    assert_eq!(own(&now).loss_since(&own(&before)), loss);
}

/// The app writes its defaults, and the user goes on from them. Single edits leave more.
#[rstest]
#[case::none_of_two(2, 0, false)]
#[case::none_of_three(3, 0, true)]
#[case::one_of_four(4, 1, false)]
#[case::one_of_five(5, 1, true)]
#[case::four_of_eleven(11, 4, true)]
#[case::four_of_ten(10, 4, false)]
fn reset_is_known_by_the_settings_that_are_gone_at_once(
    #[case] before: usize,
    #[case] left: usize,
    #[case] is_reset: bool,
    #[values(0, 9)] new: usize,
) {
    let with = |keys: Vec<String>| own(&keys.into_iter().map(|key| (key, json!("x"))).collect());
    let old = |count| (0..count).map(|n| format!("old-{n}")).collect::<Vec<_>>();
    let now = with([old(left), (0..new).map(|n| format!("new-{n}")).collect()].concat());
    assert_eq!(now.is_reset_since(&with(old(before))), is_reset);
}

#[test]
fn documents_are_ordered_by_settings_and_by_networks_apart() {
    let many_networks = json!({
        "cloud_mesh": {"networks": (0..22)
            .map(|n| json!({"network_id": format!("n{n}")}))
            .collect::<Vec<_>>()}});
    let (rich, many) = (own(&rich()), own(&many_networks));
    assert!(rich.settings_rank() > many.settings_rank());
    assert!(rich.networks_rank() < many.networks_rank());
    let one_more_value = own(&json!({"api": {"port": 1, "host": "::1"}}));
    assert!(one_more_value.settings_rank() > own(&json!({"api": {"port": 1}})).settings_rank());
}
