//! The secrets of a home, which no text of its daemon may show.

use std::path::PathBuf;

use data_encoding::{BASE32_NOPAD, BASE64_NOPAD, BASE64URL_NOPAD, HEXLOWER, HEXUPPER};
use myownllm_config_model::masking::{MASK, secrets_in};
use myownllm_durable_fs::Disk;
use myownllm_identity::IdentityPaths;

/// The secrets in the files of a home. A daemon may print one without the name before it by which
/// a line by itself is masked.
#[derive(Default)]
pub(crate) struct Secrets(Vec<String>);

impl Secrets {
    pub(crate) fn of(disk: &dyn Disk, places: &IdentityPaths) -> Self {
        const LIMIT: u64 = 16 << 20;
        let homes = [places.app(), places.daemon()].into_iter();
        let files = homes.flat_map(|home| [home.config(), home.identity(), home.custody()]);
        let files = files.map(PathBuf::from);
        // A server takes a former credential too.
        let backups = places.backups().as_std_path();
        let names = disk.list(backups).unwrap_or_default().into_iter().map(|entry| backups.join(entry.name));
        let members =
            files.chain(names).filter_map(|file| serde_json::from_slice(&disk.read(&file, LIMIT).ok()?).ok());
        let secrets: Vec<String> = members.flat_map(|members| secrets_in(&members)).collect();
        // Of `Bearer TOKEN`, the token alone is a secret too.
        let tokens = secrets.iter().filter_map(|secret| secret.rsplit(' ').next().map(str::to_owned));
        let all = secrets.iter().flat_map(|secret| spellings_of_seed(secret)).chain(tokens);
        // A shorter text is a part of too many words.
        Self(all.chain(secrets.iter().cloned()).filter(|text| text.len() > 3).collect())
    }

    pub(crate) fn mask(&self, line: String) -> String {
        self.0.iter().fold(line, |line, secret| line.replace(secret, MASK))
    }
}

/// Returns the texts that show the seed of a key; none if the secret is no seed.
fn spellings_of_seed(secret: &str) -> Vec<String> {
    let upper = secret.to_uppercase();
    let Ok(seed) = BASE32_NOPAD.decode(upper.as_bytes()) else { return Vec::new() };
    if seed.len() != 32 {
        return Vec::new();
    }
    let encodings = [HEXLOWER, HEXUPPER, BASE64_NOPAD, BASE64URL_NOPAD];
    let mut spellings: Vec<String> = encodings.iter().map(|encoding| encoding.encode(&seed)).collect();
    spellings.extend([secret.to_lowercase(), upper, format!("{seed:?}")]);
    spellings
}
