//! Names that announce a secret.

/// Parts of names that announce a secret, regardless of the rest; without separators.
const ALWAYS: &str = "credential password passphrase secret token privatekey";
/// Compounds that announce a secret; without separators.
const COMPOUNDS: &str =
    "apikey authkey joinkey accesskey privkey sharedkey signingkey encryptionkey sessionkey masterkey";
/// Words that announce a secret.
const WORDS: &str = "pass passwd passcode passkey pw pwd psk pin jwt bearer auth oauth authorization \
    authentication cookie cookies cred creds otp totp mnemonic sig signature";
/// Words before `key` that make the key a public one.
const PUBLIC: &str =
    "public pub verify verifying authorized trusted host peer hot short shortcut sort primary foreign";
/// Last words that describe a secret without being one.
const ABOUT: &str = "id ids type kind method mode name label url urls uri host port path file dir env \
    enabled required limit";

/// Returns true if the name of a member, a header or a URL parameter announces a secret.
///
/// A name does so if it
///
/// 1. contains `credential`, `password`, `passphrase`, `secret`, `token` or `private_key`; or
/// 2. is not *about* a secret (`key_path`, `auth_type`, `cookie_name`: the last word decides), and
///    has a word like `pass`, `psk`, `jwt`, `bearer`, `auth`, `cookie`, contains a compound like
///    `api_key`, or ends in the word `key`.
///
/// Words end at every non-letter and at humps (`privKey`, `APIKey`). Neither case nor separators
/// inside a compound count (`apikey`, `X-Api-Key`). A `key` that is public by name (`public_key`)
/// is no secret; neither are `keys` that are no compound, nor words with the same beginning
/// (`keyboard`, `passive`, `author`).
pub fn is_secret_name(name: &str) -> bool {
    let words = words(name);
    let (compact, words): (String, Vec<&str>) = (words.concat(), words.iter().map(String::as_str).collect());
    let contains = |parts: &str| parts.split(' ').any(|part| compact.contains(part));
    let is_one_of = |word: &str, words: &str| words.split(' ').any(|other| other == word);
    contains(ALWAYS)
        || match *words.as_slice() {
            [] => false,
            [.., last] if is_one_of(last, ABOUT) => false,
            [.., before, "key"] if is_one_of(before, PUBLIC) => false,
            [.., "key"] => true,
            _ => contains(COMPOUNDS) || words.iter().any(|word| is_one_of(word, WORDS)),
        }
}

/// Splits a name into words in lower case: `X-Api-Key`, `apiKey2` and `APIKey` have two or three.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut chars = name.chars().peekable();
    let mut before = ' ';
    while let Some(c) = chars.next() {
        let ends_capitals = before.is_ascii_uppercase() && chars.peek().is_some_and(char::is_ascii_lowercase);
        let is_hump = c.is_ascii_uppercase() && (!before.is_ascii_uppercase() || ends_capitals);
        if is_hump || !c.is_ascii_alphabetic() {
            words.push(String::new());
        }
        if let (true, Some(word)) = (c.is_ascii_alphabetic(), words.last_mut()) {
            word.push(c.to_ascii_lowercase());
        }
        before = c;
    }
    words.retain(|word| !word.is_empty());
    words
}
