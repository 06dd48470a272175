//! The consequences of lost settings for the user.

use std::collections::BTreeSet;
use std::iter::once;
use std::path::{Path, PathBuf};

use myownllm_config_model::app_config::NETWORK;
use myownllm_config_model::{AppConfig, Diagnostic as Finding, Document, network_id};
use myownllm_config_store::{
    BROUGHT_BACK, BackupKind, FileShape, LOST_NETWORKS, Loaded, Loss, Report, add_networks_command,
    lost_networks_message,
};
use myownllm_durable_fs::{for_any_shell, quote};
use myownllm_identity::{IdentityPaths, archived_homes, renamed_homes};

use crate::context::{Context, Options};
use crate::daemons::CONFIG_LIMIT;
use crate::files::misnamed::{lower_name, newest, other_entries, trashed};
use crate::words::count;
use crate::words::diagnostic::{Diagnostic, PROGRAM, unless_failed};
use crate::words::hints::edit;

/// The stable code of settings that a repair could not bring back.
pub const LOSSES: &str = "salvage.defaults";

const MESH: &str = "cloud_mesh.enabled";

/// Returns the network id that the key of a lost network stands for.
#[must_use]
pub fn lost_network(key: &str) -> Option<&str> {
    key.strip_prefix(NETWORK)
}

/// Returns the settings that a repair has left at their defaults because no backup has them, and
/// the networks that it could not bring back, or those that a backup has and the config lacks.
pub fn lost_keys(report: &Report) -> Vec<String> {
    let is_app = matches!(report.shape, FileShape::App | FileShape::Unknown);
    // A repair switches no network on, and the daemon's half of the config does not tell whether
    // the app had the mesh switched on. The app takes a mesh without a switch for one that is off.
    let is_mesh_reset =
        !is_app && report.restored_from.is_none() && !report.kept_keys.iter().any(|key| key == "cloud_mesh");
    let mesh = if is_app { "cloud_mesh." } else { "cloud_mesh" };
    let keys = report.reset_keys.iter().filter(|key| !key.starts_with(mesh));
    let networks = report.lost_networks.iter().map(|id| format!("{NETWORK}{id}"));
    let keys = keys.cloned().chain(is_mesh_reset.then(|| MESH.to_owned())).chain(networks);
    let mut all: Vec<String> = keys.chain(report.gone_keys.iter().cloned()).collect();
    let mut seen = BTreeSet::new();
    all.retain(|key| seen.insert(key.clone()));
    all
}

/// Returns true if the config may have lost networks: a launch leaves none then.
pub(crate) fn may_have_lost_networks(report: &Report, findings: &[Finding]) -> bool {
    let is_wiped = report.wiped.as_ref().is_some_and(|wipe| wipe.loss == Loss::Networks);
    is_wiped || findings.iter().any(|found| found.code == LOST_NETWORKS)
}

/// Returns the consequences of settings that a repair has left at their defaults, the worst first,
/// and the command that undoes them. Names the defaults that do harm without the user's notice:
/// that delete, open, or switch something off. They are known for MyOwnLLM's config alone. `backup`
/// has the lost settings, if a backup has them.
fn consequences(
    context: &Context<'_>,
    document: &Document,
    lost: &[String],
    backup: Option<&Document>,
) -> Option<(String, String)> {
    context.store.schema().filter(|schema| schema.is_myownllm())?;
    let config = AppConfig::view(document);
    let is_reset = |section: &str, member: &str| {
        let of = |key: &String| key == section || key.strip_prefix(section) == Some(&format!(".{member}"));
        lost.iter().any(of)
    };
    let cleanup = &config.auto_cleanup;
    let days = config.model_cleanup_days;
    let (mut harm, mut undo) = (Vec::new(), Vec::new());
    let mut add = |consequence: &str, setting: &str| {
        harm.push(consequence.to_owned());
        undo.push(setting.to_owned());
    };
    if cleanup.conversations && is_reset("auto_cleanup", "conversations") {
        add("the app deletes old conversations", "auto_cleanup.conversations=false");
    }
    let are_days_reset = is_reset("model_cleanup_days", "");
    let is_kept_reset = backup.is_some() && is_reset("kept_models", "");
    if cleanup.models && (is_reset("auto_cleanup", "models") || are_days_reset || is_kept_reset) {
        let previous = backup.filter(|_| are_days_reset && !is_kept_reset).map(AppConfig::view);
        let previous = previous
            .filter(|previous| previous.auto_cleanup.models)
            .map(|previous| previous.model_cleanup_days);
        let after = if days == 1.0 { "a day".to_owned() } else { format!("{days} days") };
        let consequence = format!("the app deletes models that are not used for {after}");
        let undo = previous.map(|days| format!("model_cleanup_days={days}"));
        add(&consequence, undo.as_deref().unwrap_or("auto_cleanup.models=false"));
    }
    if config.api.enabled && config.api.bearer_token.is_none() && is_reset("api", "bearer_token") {
        add("the app's API answers without a token", "api.enabled=false");
    }
    if !config.cloud_mesh.enabled && is_reset("cloud_mesh", "enabled") {
        add("the mesh is switched off", "cloud_mesh.enabled=true");
    }
    (!harm.is_empty()).then(|| (harm.join("; "), format!("{PROGRAM} config set {}", undo.join(" "))))
}

/// Returns the newest file with more settings of the user's than the config that no repair takes: a
/// config, or a backup of one, in the trash of a desktop, in a copy of the app's home, or in a
/// directory of that home.
fn settings_elsewhere(context: &Context<'_>, config: &Document) -> Option<PathBuf> {
    let (disk, layout) = (context.disk, context.layout);
    let schema = context.store.schema()?;
    let stem = layout.app_config.file_stem()?;
    // The backups were looked at by the repair, and a later one has later settings.
    let places = [layout.backups.clone().into_std_path_buf()];
    let dirs = other_entries(context, layout.app_home.as_ref(), &places).into_iter();
    let dirs = dirs.chain(renamed_homes(disk, &IdentityPaths::of(layout)));
    // The trash of a file manager may lie in the app's home.
    let dirs = dirs.flat_map(|dir| [dir.join("files"), dir]);
    let copied = dirs.flat_map(|dir| other_entries(context, &dir, &[]));
    let named = trashed(context).into_iter().chain(copied).filter(|path| lower_name(path).contains(stem));
    let files = named.flat_map(|path| other_entries(context, &path, &[]).into_iter().chain(once(path)));
    let present = schema.own_settings(config).count();
    let has_more = |path: &PathBuf| {
        let bytes = disk.read(path, CONFIG_LIMIT).unwrap_or_default();
        Document::parse(&bytes).is_ok_and(|parsed| {
            let document = &parsed.document;
            matches!(FileShape::from(schema.shape(document)), FileShape::App | FileShape::Mixed)
                && schema.own_settings(document).count() > present
        })
    };
    newest(context, files.filter(has_more))
}

/// Returns the program, with its options, that prints the content of a compressed file.
fn unpacking(path: &Path) -> Option<&'static str> {
    match path.extension()?.to_str()? {
        "bz2" => Some("bzip2 -dc"),
        "gz" => Some("gzip -dc"),
        "xz" => Some("xz -dc"),
        "zip" => Some("unzip -p"),
        "zst" => Some("zstd -dc"),
        _ => None,
    }
}

/// Returns the newest compressed copy of the config, and the command that unpacks it; or else the
/// newest archive of the app's home, and the command that lists it. No launch reads their content.
fn compressed_settings(context: &Context<'_>, program: &str) -> Option<(PathBuf, String)> {
    let layout = context.layout;
    let config = layout.app_config.as_std_path();
    let is_copy = |path: &PathBuf| lower_name(path).starts_with(&lower_name(config));
    let beside = other_entries(context, layout.app_home.as_ref(), &[]).into_iter();
    let copies = beside.filter(|path| is_copy(path) && unpacking(path).is_some());
    if let Some(copy) = newest(context, copies) {
        let unpack = format!("{} {}", unpacking(&copy)?, quote(&copy));
        // A damaged copy leaves no part of a config behind.
        let unpack_to = |place: &str| {
            format!("{{ umask 077 && {{ {unpack} > {place} || {{ rm -f {place}; false; }}; }}; }}")
        };
        let command = bring_back_command(config, &unpack_to, program);
        return Some((copy, command));
    }
    let archive = newest(context, archived_homes(context.disk, &IdentityPaths::of(layout)).into_iter())?;
    let list = match archive.extension()?.to_str()? {
        "zip" => "unzip -l",
        "7z" | "age" | "gpg" | "rar" => "ls -l",
        _ => "tar -tf",
    };
    let command = format!("{list} {}", quote(&archive));
    Some((archive, command))
}

/// Returns the command that brings a config back: `copy` returns the command that makes the file,
/// from which a repair restores the settings.
fn bring_back_command(config: &Path, copy: &dyn Fn(&str) -> String, program: &str) -> String {
    let place = quote(format!("{}{BROUGHT_BACK}", config.display()));
    for_any_shell(format!("test -e {place} || {} && {program} repair", copy(&place)))
}

/// Names the file that may hold the lost settings, and the command that brings it back.
fn with_source(
    context: &Context<'_>,
    options: &Options<'_>,
    document: &Document,
    lost: Diagnostic,
) -> Diagnostic {
    let program = options.of(context).program;
    let config = context.layout.app_config.as_std_path();
    let found = settings_elsewhere(context, document).map(|path| {
        // The file may be the user's own backup, which stays.
        let copy_to = |place: &str| format!("cp -pn {} {place}", quote(&path));
        let command = bring_back_command(config, &copy_to, program);
        (path, command)
    });
    let Some((path, hint)) = found.or_else(|| compressed_settings(context, program)) else { return lost };
    let message = format!("{} may hold the lost settings: {}", path.display(), lost.message);
    Diagnostic { message, ..lost }.at(path).hint(hint)
}

/// Reports the lost networks that still have a roster, and that the config has not had since.
pub(crate) fn lasting_network_losses(
    context: &Context<'_>,
    options: &Options<'_>,
    loaded: &Loaded,
) -> Option<Diagnostic> {
    let is_told = loaded.diagnostics.iter().any(|found| found.code == LOST_NETWORKS);
    let schema = context.store.schema().filter(|_| !is_told && !loaded.pending.repairs())?;
    let layout = context.layout;
    let keys = (options.last_losses)(layout);
    let mut lost: Vec<String> = keys.iter().filter_map(|key| lost_network(key)).map(str::to_owned).collect();
    lost.sort();
    lost.dedup();
    lost.retain(|id| {
        let roster = format!("{id}.json");
        let rosters = [&layout.daemon_rosters, &layout.legacy_rosters];
        rosters.into_iter().any(|dir| context.disk.stat(dir.join(&roster).as_ref()).is_ok())
    });
    let saved = schema.saved_networks(&loaded.document)?;
    lost.retain(|id| !saved.iter().any(|saved| network_id::same(&saved.network_id, id)));
    let accept = format!("; if that is intended, say so once: {} config accept", options.program);
    (!lost.is_empty()).then(|| {
        Diagnostic::warning(LOST_NETWORKS, lost_networks_message(&lost) + &accept)
            .at(&layout.app_config)
            .hint(add_networks_command(options.program, &lost))
    })
}

/// Reports the settings that a backup has, that the config lacks, and whose defaults do harm; `None`
/// if there are no such settings. `keys` are the lost ones.
fn gone_settings(
    context: &Context<'_>,
    options: &Options<'_>,
    document: &Document,
    keys: &[String],
) -> Option<Diagnostic> {
    let (store, program) = (context.store, options.of(context).program);
    let schema = store.schema().filter(|_| !keys.is_empty())?;
    let history = unless_failed(store.history(), "the list of the backups")?;
    let copies = history.into_iter().filter(|copy| copy.kind == BackupKind::Good);
    let (number, backup) = copies.filter(|copy| copy.intact).find_map(|copy| {
        let document = Document::parse(&store.read_backup(&copy.id).ok()?).ok()?.document;
        let has = |name: &String| keys.contains(name);
        let is_source = schema.own_settings(&document).names().iter().any(has);
        is_source.then(|| (copy.id.sequence(), document))
    })?;
    let (harm, undo) = consequences(context, document, keys, Some(&backup))?;
    let message = format!(
        "the config has lost settings that backup {number} has: {harm}. `{program} config diff {number}` shows \
         them, and `{program} config restore {number}` brings the whole backup back. Lost: {}; if that is \
         intended, say so once: {program} config accept",
        keys.join(", ")
    );
    Some(Diagnostic::warning(LOSSES, message).at(&context.layout.app_config).hint(undo))
}

/// Reports the settings that a launch would leave at their defaults, or else the losses of the last
/// repair that still do harm; `None` if there are none.
pub(crate) fn lasting_losses(
    context: &Context<'_>,
    options: &Options<'_>,
    loaded: &Loaded,
) -> Option<Diagnostic> {
    if loaded.newer.is_some() {
        return None;
    }
    let Loaded { document, report, .. } = loaded;
    let is_told = loaded.pending.writes_config() || !report.gone_keys.is_empty();
    let lost = is_told.then(|| lost_settings(context, options, document, report, false)).flatten();
    if lost.is_some() || loaded.pending.repairs() {
        return lost;
    }
    let keys = (options.last_losses)(context.layout);
    if let Some(gone) = gone_settings(context, options, document, &keys) {
        return Some(gone);
    }
    let (harm, undo) = consequences(context, document, &keys, None)?;
    let message = format!(
        "settings are lost, as no backup with them can be read (the command `logs` names them): {harm}; if \
         that is intended, say so once: {} config accept",
        options.program
    );
    let lost = Diagnostic::warning(LOSSES, message).at(&context.layout.app_config).hint(undo);
    Some(with_source(context, options, document, lost))
}

/// Reports settings that are at their defaults because no backup has them; `None` if there are no
/// such settings. `is_written` is true if the config on the disk already holds the defaults. Also
/// reports settings that only a backup has.
pub(crate) fn lost_settings(
    context: &Context<'_>,
    options: &Options<'_>,
    document: &Document,
    report: &Report,
    is_written: bool,
) -> Option<Diagnostic> {
    if !report.gone_keys.is_empty() {
        return gone_settings(context, options, document, &report.gone_keys);
    }
    let path = context.layout.app_config.as_std_path();
    let keys = &report.reset_keys;
    if keys.is_empty() {
        return None;
    }
    let consequences = consequences(context, document, &lost_keys(report), None);
    // A config of an older app lacks a few of today's keys: these are no losses.
    if consequences.is_none() && matches!(report.shape, FileShape::App | FileShape::Unknown) {
        return None;
    }
    let (harm, undo) = match consequences {
        Some((harm, undo)) => (format!(" Consequences: {harm}."), undo),
        None => (String::new(), edit(path, None)),
    };
    let be = match (is_written, keys.len()) {
        (false, _) => "would be",
        (true, 1) => "is",
        (true, _) => "are",
    };
    let (them, there) = if keys.len() == 1 { ("it", "its default") } else { ("them", "their defaults") };
    let message = format!(
        "{} {be} lost, as no backup has {them}, and {be} at {there}.{harm} Settings: {}",
        count(keys.len(), "setting"),
        keys.join(", ")
    );
    // Before the file is written, there is no setting in it to change.
    let hint = if is_written { undo } else { format!("{PROGRAM} config show") };
    let lost = Diagnostic::warning(LOSSES, message).at(path).hint(hint);
    Some(with_source(context, options, document, lost))
}
