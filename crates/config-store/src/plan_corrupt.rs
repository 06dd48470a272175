//! Plans for a config that is not JSON: takes its complete part if there is no good backup, else
//! offers it.

use myownllm_config_model::{Ids, Recovered};
use myownllm_durable_fs::DiskError;
use myownllm_salvage::Shape;

use crate::backups::Listing;
use crate::plan::Plan;
use crate::recover::is_complete;
use crate::{FileShape, Report, Store, StoreError};

impl Store<'_> {
    /// Plans for a file that is not JSON. A complete document in the file is used as the config,
    /// and a daemon's document is repaired. If the text breaks off or has typing errors, a good
    /// backup goes first, and the complete members are offered.
    pub(crate) fn plan_corrupt(
        &self,
        bytes: &[u8],
        listing: &Result<Listing, DiskError>,
        ids: &mut dyn Ids,
    ) -> Result<Plan, StoreError> {
        let found = self.recover_config(bytes);
        let shape = found.as_ref().map(|found| self.schema.shape(&found.document));
        let mut plan = match (&found, shape) {
            (Some(found), Some(shape @ (Shape::Daemon | Shape::Mixed))) => {
                let mut plan = self.plan_overwritten(&found.document, shape, listing, ids)?;
                plan.loaded.diagnostics.insert(0, self.recovered_diagnostic(found));
                plan
            }
            (Some(found), Some(Shape::App)) if is_complete(found) => {
                self.plan_complete_document(found, listing, ids)?
            }
            (found, _) => {
                let mut plan = self.plan_from_source(FileShape::Corrupt, listing, ids)?;
                if let Some(found) = found {
                    if plan.loaded.report.restored_from.is_some() {
                        plan.loaded.diagnostics.extend(self.offer(found, &plan.loaded.document));
                        return Ok(plan);
                    }
                    plan = self.plan_complete_members(found, ids);
                }
                plan
            }
        };
        self.report_lost_networks(&mut plan);
        Ok(plan)
    }

    fn plan_complete_document(
        &self,
        found: &Recovered,
        listing: &Result<Listing, DiskError>,
        ids: &mut dyn Ids,
    ) -> Result<Plan, StoreError> {
        let mut plan = self.plan_app_config(&found.document, Shape::App, listing, ids)?;
        // Writes the document even if nothing in it changes: the trailing bytes must go.
        plan.config.get_or_insert_with(|| found.document.to_bytes());
        plan.loaded.shape = FileShape::Corrupt;
        let report = &mut plan.loaded.report;
        report.shape = FileShape::Corrupt;
        if report.restored_from.is_none() {
            report.kept_keys = keys_of(found);
        }
        plan.loaded.diagnostics.insert(0, self.recovered_diagnostic(found));
        Ok(plan)
    }

    /// Plans for a config of the complete members, with defaults for the others.
    fn plan_complete_members(&self, found: &Recovered, ids: &mut dyn Ids) -> Plan {
        let mut document = found.document.clone();
        let mut diagnostics = vec![self.recovered_diagnostic(found)];
        diagnostics.extend(found.diagnostics.iter().cloned());
        diagnostics.extend(self.schema.complete(&mut document, ids));
        // The places of these diagnostics are not places in the file.
        diagnostics.iter_mut().for_each(|diagnostic| diagnostic.place = None);
        let report = Report {
            kept_keys: keys_of(found),
            reset_keys: self.schema.missing_keys(&found.document),
            ..Report::new(FileShape::Corrupt)
        };
        Plan::writing_config(document, FileShape::Corrupt, report, diagnostics)
    }
}

fn keys_of(found: &Recovered) -> Vec<String> {
    found.whole.iter().chain(&found.partial).cloned().collect()
}
