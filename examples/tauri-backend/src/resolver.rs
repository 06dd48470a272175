//! The app's config, for its `resolver.rs`.

use myownllm_config_model::{Document, Fragment};
use myownllm_config_store::{ConfigStore as _, EditError, FileShape};
use myownllm_launch::{LOCK_WAIT, fresh_ids};
use serde_json::Value;

use crate::error::{Result, to_mesh_error};
use crate::home::Home;

/// Returns the config to run on: the file's, completed with the defaults, and repaired in memory if
/// a daemon has overwritten it. Writes nothing.
pub fn load_config_value() -> Result<Value> {
    load(&Home::of_user()?)
}

/// Saves a whole config. Members that are equal in the file keep their bytes; members that `config`
/// lacks are removed, also those that another program added since `config` was loaded. Prefer
/// [`patch_config_value`], which takes back no change of another program.
pub fn save_config_value(config: &Value) -> Result<()> {
    save(&Home::of_user()?, config)
}

/// Saves the parts that a front end sends, as a JSON merge patch: `{"remote_ui": {"enabled":
/// true}}`.
pub fn patch_config_value(patch: &Value) -> Result<()> {
    let patch = Document::of(patch.clone());
    edit(&Home::of_user()?, &mut |document| Ok(document.merge_patch(&patch)))
}

fn load(home: &Home) -> Result<Value> {
    Ok(home.store().load(&mut fresh_ids()).map_err(to_mesh_error)?.document.root().to_value())
}

fn save(home: &Home, config: &Value) -> Result<()> {
    edit(home, &mut |document| {
        let wanted = config.as_object().ok_or("the config is not an object")?;
        let there: Vec<_> = document.root().members().map(|(key, _)| key.into_owned()).collect();
        let mut changed = false;
        for key in there.iter().filter(|key| !wanted.contains_key(*key)) {
            changed |= document.remove(&[key]);
        }
        for (key, value) in wanted {
            changed |= document.set(&[key], Fragment::from(value.clone())).is_changed();
        }
        Ok(changed)
    })
}

type Edit<'e> = dyn FnMut(&mut Document) -> std::result::Result<bool, EditError> + 'e;

/// Changes the file under the lock. The edit is called again if another program wrote meanwhile.
fn edit(home: &Home, edit: &mut Edit<'_>) -> Result<()> {
    let store = home.store();
    store.ensure_home().map_err(to_mesh_error)?;
    let locked = store.lock(LOCK_WAIT).map_err(to_mesh_error)?;
    // An edit that changes nothing writes nothing: the file of a fresh install has to be there
    // first.
    if store.load(&mut fresh_ids()).map_err(to_mesh_error)?.shape == FileShape::Missing {
        locked.apply(&mut fresh_ids()).map_err(to_mesh_error)?;
    }
    locked.update(&mut fresh_ids(), edit).map_err(to_mesh_error)?;
    Ok(())
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test")]
mod tests {
    use myownllm_paths::Env;
    use serde_json::json;

    use super::*;

    #[test]
    fn save_changes_one_member_and_keeps_the_bytes_of_the_others() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::of(&Env::explicit(dir.path().canonicalize().unwrap())).unwrap();
        std::fs::create_dir(&home.layout.app_home).unwrap();
        let text = r#"{"active_family":   "gemma4", "mine": 1.50e1, "gone": [1],  "kept_models": ["a"]}"#;
        std::fs::write(&home.layout.app_config, text).unwrap();

        let mut config = load(&home).unwrap();
        config["active_family"] = json!("qwen3");
        config.as_object_mut().unwrap().remove("gone");
        save(&home, &config).unwrap();

        let saved = std::fs::read_to_string(&home.layout.app_config).unwrap();
        assert!(saved.contains(r#""active_family":   "qwen3", "mine": 1.50e1"#), "{saved}");
        assert!(!saved.contains("gone") && saved.contains(r#""kept_models": ["a"]"#), "{saved}");
        assert_eq!(load(&home).unwrap(), config);
    }

    #[test]
    fn save_refuses_what_is_no_object() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::of(&Env::explicit(dir.path().canonicalize().unwrap())).unwrap();
        save(&home, &load(&home).unwrap()).unwrap();
        let before = std::fs::read(&home.layout.app_config).unwrap();
        let error = save(&home, &json!([1])).unwrap_err();
        assert_eq!(serde_json::to_value(&error).unwrap()["code"], "store.edit");
        assert_eq!(std::fs::read(&home.layout.app_config).unwrap(), before);
    }
}
