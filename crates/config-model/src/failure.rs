//! The errors in the shape of the errors of the crates that build on this one.

use myownllm_paths::{Class, impl_failure};

use crate::convert::ConvertError;
use crate::envelope::EnvelopeError;
use crate::network_id::InvalidNetworkId;
use crate::networks::NetworksError;
use crate::settings::SettingError;

impl_failure!(ConvertError, class: |_| Class::Failed);
impl_failure!(EnvelopeError, class: |_| Class::Failed);
impl_failure!(InvalidNetworkId, class: |_| Class::Failed);
impl_failure!(NetworksError, class: |_| Class::Failed);
impl_failure!(SettingError, class: |error| match error {
    SettingError::WrongType { .. } | SettingError::Unusable { .. } => Class::Usage,
    SettingError::Unknown { .. } => Class::Failed,
});
