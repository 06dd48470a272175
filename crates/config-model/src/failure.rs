//! The errors in the shape of the errors of the crates that build on this one.

use std::path::Path;

use myownllm_paths::{Class, Failure};

use crate::convert::ConvertError;
use crate::envelope::EnvelopeError;
use crate::network_id::InvalidNetworkId;
use crate::networks::NetworksError;
use crate::settings::SettingError;

macro_rules! impl_failure {
    ($($error:ty: $class:expr),+) => {$(
        impl Failure for $error {
            fn code(&self) -> &'static str {
                <$error>::code(self)
            }

            fn class(&self) -> Class {
                let class: fn(&$error) -> Class = $class;
                class(self)
            }

            fn path(&self) -> Option<&Path> {
                None
            }

            fn hint(&self) -> Option<String> {
                <$error>::hint(self)
            }
        }
    )+};
}

impl_failure!(
    ConvertError: |_| Class::Failed,
    EnvelopeError: |_| Class::Failed,
    InvalidNetworkId: |_| Class::Failed,
    NetworksError: |_| Class::Failed,
    SettingError: |error| match error {
        SettingError::WrongType { .. } | SettingError::Unusable { .. } => Class::Usage,
        SettingError::Unknown { .. } => Class::Failed,
    }
);
