//! Detects a config that parses and has suddenly lost the user's settings.

use myownllm_config_model::app_config::{Loss, OwnSettings};
use myownllm_config_model::{Diagnostic, Document, Ids};
use myownllm_durable_fs::DiskError;
use myownllm_salvage::{Salvaged, app_half, own_part, with_app_half};

use crate::backups::Listing;
use crate::report::Wipe;
use crate::sources::Source;
use crate::{BackupId, BackupKind, FileShape, HistoryEntry, Report, Store, StoreError};

/// The loss of a config, and the backup that still holds the lost settings.
pub(crate) struct DetectedWipe {
    pub(crate) source: Source,
    pub(crate) wipe: Wipe,
    pub(crate) diagnostics: Vec<Diagnostic>,
}

impl DetectedWipe {
    /// Returns true if a repair restores the backup. Networks alone are not restored unasked: the
    /// user may have removed them, and only the user decides to join a network again.
    pub(crate) fn is_restored(&self) -> bool {
        self.wipe.loss == Loss::Settings
    }
}

impl Store<'_> {
    /// Measures a backup that can be restored.
    pub(crate) fn own_settings_of(&self, id: &BackupId, bytes: &[u8]) -> Option<OwnSettings> {
        let document = Document::parse(bytes).ok()?.document;
        (!self.has_daemon_half(&document) && id.kind() != BackupKind::DaemonPart)
            .then(|| self.schema.own_settings(&document))
    }

    /// Compares a config with the newest backup.
    /// Fails with [`StoreError::BackupUnreadable`] when a repair would have to restore an older
    /// backup than the newest.
    pub(crate) fn detect_wipe(
        &self,
        document: &Document,
        listing: &Result<Listing, DiskError>,
    ) -> Result<Option<DetectedWipe>, StoreError> {
        let Ok(present) = listing else { return Ok(None) };
        if present.newest_good().is_some_and(|id| self.is_accepted_as_bare(id)) {
            return Ok(None);
        }
        let mut diagnostics = Vec::new();
        let (source, unread) = self.readable_source(listing, &mut diagnostics);
        let Some(source) = source else { return Ok(None) };
        let Some(wipe) = self.loss_since(&source, document) else { return Ok(None) };
        let is_backup = source.name.parse::<BackupId>().is_ok();
        let lost = DetectedWipe { wipe, source, diagnostics };
        match unread {
            Some(source) if lost.is_restored() => Err(StoreError::BackupUnreadable { source }),
            _ => Ok(Some(lost).filter(|lost| lost.is_restored() || is_backup)),
        }
    }

    /// Returns the part of a source that a config has lost, if any.
    pub(crate) fn loss_since(&self, source: &Source, document: &Document) -> Option<Wipe> {
        let before = self.schema.own_settings(&source.document);
        let now = self.schema.own_settings(&own_part(document, &source.document, &self.schema.defaults()));
        let loss = now.loss_since(&before)?;
        let (before, left) = match loss {
            Loss::Networks => (before.networks.len(), now.networks.len()),
            _ => (before.count(), now.count_left_of(&before)),
        };
        Some(Wipe::new(loss, &source.name, before, left))
    }

    /// Returns the names of the settings and networks that a config lacks and that a good backup
    /// has: all of them if most are gone at once, else those of members that the config lacks.
    pub(crate) fn gone_keys(&self, source: &Source, document: &Document, missing: &[String]) -> Vec<String> {
        if source.name.parse::<BackupId>().ok().is_none_or(|id| id.kind() != BackupKind::Good) {
            return Vec::new();
        }
        let before = self.schema.own_settings(&source.document);
        let now = self.schema.own_settings(&own_part(document, &source.document, &self.schema.defaults()));
        let is_missing = |name: &String| {
            let of = |key: &String| {
                name.strip_prefix(key.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            };
            missing.iter().any(of)
        };
        let (is_reset, left) = (now.is_reset_since(&before), now.names());
        let gone = before.names().into_iter().filter(|name| !left.contains(name));
        gone.filter(|name| is_reset || is_missing(name)).collect()
    }

    /// Returns true if the user has accepted, or restored, a config without any key of the app's.
    /// Then there is nothing to lose.
    fn is_accepted_as_bare(&self, newest: &BackupId) -> bool {
        matches!(self.intact_bytes(newest), Ok(Some(bytes)) if self.shape_of(&bytes) == FileShape::Unknown)
    }

    /// Returns the backup's config with the settings of the user's that the wiped config still
    /// holds.
    pub(crate) fn restore_lost(
        &self,
        wiped: &Document,
        source: &Source,
        report: &mut Report,
        ids: &mut dyn Ids,
    ) -> (Document, Vec<Diagnostic>) {
        let backup = &source.document;
        let own = own_part(wiped, backup, &self.schema.defaults());
        let restored = self.schema.restore_wiped(&own, backup, ids);
        report.restored_from = Some(source.name.clone());
        report.restored_keys = backup.keys();
        report.kept_keys = restored.kept;
        (restored.app, restored.diagnostics)
    }

    /// Salvages a mixed document whose app half was wiped: the app's half comes from the backup.
    pub(crate) fn salvage_wiped_half(
        &self,
        mixed: &Document,
        lost: &DetectedWipe,
        report: &mut Report,
        ids: &mut dyn Ids,
    ) -> Salvaged {
        let (app, found) = self.restore_lost(&app_half(mixed), &lost.source, report, ids);
        report.wiped = Some(lost.wipe.clone());
        let mut salvaged = self.schema.salvage(&with_app_half(mixed, &app), None, ids);
        // The daemon's half comes from the file itself: the sections that both programs have come
        // from the backup in the salvaged document.
        salvaged.daemon = self.schema.salvage(mixed, None, ids).daemon;
        salvaged.diagnostics.splice(0..0, found);
        salvaged
    }

    pub(crate) fn no_backup_of_settings(&self) -> Diagnostic {
        let program = &self.paths.program;
        let message = format!(
            "the config has lost nearly all of its settings, and no backup has them: a repair sets them to \
             their defaults; if the loss is intended, say so once: {program} config accept"
        );
        self.wiped(message, format!("{program} repair"))
    }

    /// Returns a diagnostic that names the loss, the source of the restore, and the command that
    /// accepts an intended loss. `previous` is the backup of the wiped file, once the config is
    /// restored.
    pub(crate) fn wiped_diagnostic(
        &self,
        wipe: &Wipe,
        shape: FileShape,
        previous: Option<&str>,
    ) -> Diagnostic {
        let Wipe { loss, backup, before, left } = wipe;
        let program = &self.paths.program;
        let number_of =
            |id: &str| id.parse::<BackupId>().map_or_else(|_| id.to_owned(), |id| id.sequence.to_string());
        let number = number_of(backup);
        let accept = match (shape, previous) {
            // A mixed document cannot be the app's config, so there is nothing to accept.
            (FileShape::Mixed, _) => String::new(),
            (_, None) => format!("; if the loss is intended, say so once: {program} config accept"),
            (_, Some(kept)) => format!(
                "; the previous file is backup {0}: if the loss was intended, restore it once: {program} \
                 config restore {0}",
                number_of(kept)
            ),
        };
        let all_but = format!(
            "nearly all of its settings: {left} of the {before} settings and networks in backup {number}"
        );
        match (loss, previous) {
            (Loss::Networks, _) => self.wiped(
                format!(
                    "the config has lost all of its networks: {left} of the {before} in backup {number} are \
                     left{accept}"
                ),
                format!("{program} config restore {number}"),
            ),
            (_, None) => self.wiped(
                format!("the config has lost {all_but} are left; a repair restores that backup{accept}"),
                format!("{program} repair"),
            ),
            (_, Some(_)) => self.wiped(
                format!("the config had lost {all_but} were left; that backup is restored{accept}"),
                format!("{program} config history"),
            ),
        }
    }

    fn wiped(&self, message: String, hint: String) -> Diagnostic {
        Diagnostic { hint: Some(hint), ..self.warning(WIPED, message) }
    }
}

/// The stable code of a config that has lost nearly everything.
pub(crate) const WIPED: &str = "config.wiped";

/// Marks the backup to restore: the newest intact one that differs from the config and has not lost
/// (nearly) everything that the richest holds; if there is none, such a changed or torn one.
/// `measured` has the settings of each entry; the newest comes first.
pub(crate) fn recommend(entries: &mut [HistoryEntry], measured: &[Option<OwnSettings>]) {
    let rank = |own: &&OwnSettings| (own.settings_rank(), own.networks_rank());
    let Some(richest) = measured.iter().flatten().max_by_key(rank) else { return };
    let is_wiped = |own: &OwnSettings| own.loss_since(richest).is_some();
    let is_good = |own: &OwnSettings| !own.is_bare() && !is_wiped(own);
    let best = [true, false].into_iter().find_map(|intact| {
        entries.iter().zip(measured).position(|(entry, own)| {
            entry.intact == intact && !entry.current && own.as_ref().is_some_and(is_good)
        })
    });
    if let Some(at) = best {
        entries[at].recommended = true;
    }
}
