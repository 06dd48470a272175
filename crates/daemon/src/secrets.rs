//! The secrets of a home or of a request, which no text of a daemon may show.

use std::cmp::Reverse;
use std::path::PathBuf;

use data_encoding::{BASE32_NOPAD, BASE64_NOPAD, BASE64URL_NOPAD, HEXLOWER, HEXUPPER};
use myownllm_config_model::masking::{MASK, mask_line, secrets_in};
use myownllm_durable_fs::Disk;
use myownllm_identity::IdentityPaths;
use serde_json::{Map, Value};

/// The forms in which a daemon may print secrets, each with its replacement. A daemon may print a
/// secret without the name before it by which a line by itself is masked.
#[derive(Default)]
pub(crate) struct Secrets(Vec<(String, String)>);

impl Secrets {
    /// Returns the secrets in the files of a home.
    pub(crate) fn of(disk: &dyn Disk, places: &IdentityPaths) -> Self {
        const LIMIT: u64 = 16 << 20;
        let homes = [places.app(), places.daemon()].into_iter();
        let files = homes.flat_map(|home| [home.config(), home.identity(), home.custody()]);
        let files = files.map(PathBuf::from);
        // A server takes a previous credential too.
        let backups = places.backups().as_std_path();
        let names = disk.list(backups).unwrap_or_default().into_iter().map(|entry| backups.join(entry.name));
        let members =
            files.chain(names).filter_map(|file| serde_json::from_slice(&disk.read(&file, LIMIT).ok()?).ok());
        Self::new(members.flat_map(|members| secrets_in(&members)).collect())
    }

    /// Returns the secrets in a request: a parser error quotes the value that it rejects.
    pub(crate) fn in_request(fields: &Map<String, Value>) -> Self {
        Self::new(secrets_in(fields))
    }

    fn new(secrets: Vec<String>) -> Self {
        // Of `Bearer TOKEN`, the token alone is a secret too.
        let tokens = secrets.iter().filter_map(|secret| secret.rsplit(' ').next().map(str::to_owned));
        let seeds = secrets.iter().flat_map(|secret| spellings_of_seed(secret));
        let all = seeds.chain(tokens).chain(secrets.iter().cloned());
        let mut forms: Vec<(String, String)> =
            all.filter(|text| !text.is_empty()).flat_map(|text| forms(&text)).collect();
        // The longest first: a form may be part of another, and the rest of that one would stay.
        forms.sort_by_cached_key(|(from, _)| (Reverse(from.len()), from.clone()));
        forms.dedup();
        Self(forms)
    }

    /// Masks these secrets, and those that a line names. These come first: `mask_line` masks only a
    /// part of a secret with a space in it, and the rest would stay.
    pub(crate) fn mask_line(&self, line: &str) -> String {
        /// Bounds the work of `mask_line`.
        const LONGEST: usize = 4096;
        let masked = self.0.iter().fold(line.to_owned(), |line, (from, to)| line.replace(from, to));
        mask_line(&masked.chars().take(LONGEST).collect::<String>())
    }
}

/// Returns the forms in which a secret may stand in a text, each with its replacement: raw, quoted
/// by Rust or JSON, and such a form quoted by JSON again. A short secret is replaced only between
/// quotation marks: it may be part of any word.
fn forms(secret: &str) -> Vec<(String, String)> {
    let inner = |quoted: String| quoted[1..quoted.len() - 1].to_owned();
    let json = |text: &str| inner(Value::from(text).to_string());
    let marked = |text: &str| if secret.len() < 4 { format!("\"{text}\"") } else { text.to_owned() };
    let mut forms = Vec::new();
    for form in [secret.to_owned(), inner(format!("{secret:?}")), json(secret)] {
        let (from, to) = (marked(&form), marked(MASK));
        forms.push((json(&from), json(&to)));
        forms.push((from, to));
    }
    forms
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn masked(fields: Value, line: &str) -> String {
        Secrets::in_request(fields.as_object().unwrap()).mask_line(line)
    }

    #[test]
    fn part_of_a_secret_that_is_masked_leaves_no_rest_of_it() {
        let fields = json!({"a": {"token": "horse"}, "b": {"token": "horse7battery"},
            "c": {"password": "correct horse battery"}, "d": {"Authorization": "Bearer horse"}});
        let line = "a horse, horse7battery, correct horse battery, Bearer horse";
        assert_eq!(masked(fields.clone(), line), "a ********, ********, ********, ********");
        let named = "password: correct horse battery";
        assert_eq!(masked(fields, named), "password: ********");
    }

    #[test]
    fn refusal_quotes_no_secret_of_the_request() {
        let fields = json!({"config": {"turn_servers": [{"urls": ["u"], "credential": "hunter2"},
            {"credential": "c"}]}});
        let message = "parse: invalid type: string \"hunter2\", expected c, not \"c\"";
        let masked_text = masked(fields, message);
        assert_eq!(
            masked_text,
            format!("parse: invalid type: string \"{MASK}\", expected c, not \"{MASK}\"")
        );
        // Member names of the shared allow-list, and URLs.
        let others =
            json!({"config": {"apiKey": "hunter3", "urls": ["turn:u:hunter4@h", "wss://r/?jwt=hunter5"]}});
        let masked_text = masked(others, "no hunter3, turn:u:hunter4@h, hunter4, hunter5, turn:");
        assert_eq!(masked_text, format!("no {MASK}, turn:{MASK}@h, {MASK}, {MASK}, turn:"));
        assert!(masked(json!({}), &"x".repeat(100_000)).len() < 5000);
        // In every form of quoting.
        for secret in ["ab\"c\\d", "a\tb\u{1}'c", "é\u{200b}xyz", "q\""] {
            let parser = format!("parse: invalid type: string {secret:?}, expected a map");
            for message in
                [parser.clone(), Value::from(parser.as_str()).to_string(), json!({"was": secret}).to_string()]
            {
                // The line alone has no sign of a secret.
                let message = message.replace("invalid type: string", "odd");
                let masked = masked(json!({"token": secret}), &message);
                assert!(masked.contains(MASK) && !masked.contains(&secret[..2]), "{message}: {masked}");
            }
        }
    }
}
