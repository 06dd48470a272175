//! What a daemon will find: the key that its own config names.
//!
//! A daemon that finds no key where its config says makes one: so before one is started, there has to be a sound key in
//! that very place.

use std::path::Path;

use myownllm_config_model::daemon_config::DaemonConfig;
use myownllm_durable_fs::quote;
use myownllm_migration::identity::{self, Identity, KeyInfo};

use crate::daemons::read_document;
use crate::notice::{Class, Notice};
use crate::sequence::Parts;

/// A key file is a few hundred bytes.
pub(crate) const KEY_LIMIT: u64 = 1 << 20;

/// Where the daemon looks for its key.
#[derive(Debug, PartialEq, Eq)]
pub enum NamedKey {
    /// In its home.
    InItsHome,
    /// In its home, once its config is told that the key has moved there.
    Moved,
    /// In a file elsewhere, which holds this public key.
    Elsewhere(String),
}

impl NamedKey {
    /// The public key that the daemon has then; `in_its_home` is the key there.
    pub fn public_key(self, in_its_home: Option<&KeyInfo>) -> Option<String> {
        match self {
            Self::InItsHome | Self::Moved => in_its_home.map(|key| key.public_key.clone()),
            Self::Elsewhere(public_key) => Some(public_key),
        }
    }
}

/// What the daemon's config says of its key.
///
/// # Errors
/// There is no sound key where it says.
pub fn named_key(parts: &Parts<'_>) -> Result<NamedKey, Notice> {
    let config = &parts.layout.daemon_config;
    // One that cannot be read is the daemon's to complain about: it does not start on it.
    let document = read_document(parts.disk, config).ok().flatten();
    let Some(named) = document.as_ref().and_then(|config| DaemonConfig::view(config).identity_path) else {
        return Ok(NamedKey::InItsHome);
    };
    let path = Path::new(&named);
    let ours = &parts.layout.daemon_identity;
    let same =
        || matches!((parts.disk.canonicalize(path), parts.disk.canonicalize(ours)), (Ok(a), Ok(b)) if a == b);
    if path == ours || (path.is_absolute() && same()) {
        return Ok(NamedKey::InItsHome);
    }
    let why = if !path.is_absolute() {
        "is no absolute path".to_owned()
    } else {
        match parts.disk.read(path, KEY_LIMIT).map(|bytes| identity::inspect(&bytes)) {
            Ok(Identity::Valid(key)) => return Ok(NamedKey::Elsewhere(key.public_key)),
            Ok(Identity::Damaged { why }) => format!("is damaged: {why}"),
            Ok(_) => "is of a newer version than this program knows".to_owned(),
            Err(error) if error.is_not_found() => {
                if parts.store.stale_paths().iter().any(|path| path.pointer == "/identity_path") {
                    return Ok(NamedKey::Moved);
                }
                "is not there".to_owned()
            }
            Err(error) => format!("cannot be read: {error}"),
        }
    };
    let message = format!(
        "the key that the daemon's config names {why}: {named}; a daemon started now could make another. Put the key there, or take \
         identity_path out of {}",
        config.display()
    );
    Err(Notice::error("identity.named-elsewhere", message)
        .at(config)
        .hint(format!("ls -ld {}", quote(path)))
        .class(Class::Refused))
}
