//! The identity: an ed25519 key, and its file format.

use std::{
    io,
    time::{SystemTime, UNIX_EPOCH},
};

use data_encoding::BASE32_NOPAD;
use ed25519_dalek::{Signer, SigningKey};
use sha2::{Digest, Sha256};

use super::shape::IdentityFile;

pub(crate) struct Key {
    signing: SigningKey,
    pub(crate) file: IdentityFile,
}

impl Key {
    pub(crate) fn mint() -> io::Result<Self> {
        let mut seed = [0; 32];
        random(&mut seed)?;
        let signing = SigningKey::from_bytes(&seed);
        let file = IdentityFile {
            version: 1,
            created_at: format!("@{}", now()),
            secret_key: base32(&seed),
            public_key: base32(signing.verifying_key().as_bytes()),
            label: String::new(),
        };
        Ok(Self { signing, file })
    }

    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let file: IdentityFile = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        if file.version != 1 {
            return Err(format!("identity version {} is not 1", file.version));
        }
        let seed: [u8; 32] = BASE32_NOPAD
            .decode(file.secret_key.to_uppercase().as_bytes())
            .ok()
            .and_then(|seed| seed.try_into().ok())
            .ok_or("the secret key is not 32 bytes of base32")?;
        // The daemon shows the public key as the file spells it, without a comparison.
        Ok(Self { signing: SigningKey::from_bytes(&seed), file })
    }

    /// Returns the Device ID in display form.
    pub(crate) fn device_id(&self) -> String {
        let digest = Sha256::digest(self.file.public_key.as_bytes());
        format!("{}-{:02X}{:02X}{:X}", self.file.public_key, digest[0], digest[1], digest[2] >> 4)
    }

    pub(crate) fn sign(&self, message: &[u8]) -> String {
        base32(&self.signing.sign(message).to_bytes())
    }
}

fn base32(bytes: &[u8]) -> String {
    BASE32_NOPAD.encode(bytes).to_lowercase()
}

pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(not(unix))]
pub(crate) fn random(bytes: &mut [u8]) -> io::Result<()> {
    use std::hash::{BuildHasher as _, RandomState};
    for chunk in bytes.chunks_mut(8) {
        let random = RandomState::new().hash_one(()).to_le_bytes();
        chunk.copy_from_slice(&random[..chunk.len()]);
    }
    Ok(())
}

#[cfg(unix)]
pub(crate) fn random(bytes: &mut [u8]) -> io::Result<()> {
    use std::io::Read as _;
    std::fs::File::open("/dev/urandom")?.read_exact(bytes)
}

/// Returns `count` characters of `[a-z0-9]`.
pub(crate) fn random_name(count: usize) -> io::Result<String> {
    const LETTERS: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    let mut bytes = vec![0; count];
    random(&mut bytes)?;
    Ok(bytes.iter().map(|byte| char::from(LETTERS[usize::from(*byte) % LETTERS.len()])).collect())
}
