//! Byte scans that read eight bytes at a time.

#[inline]
fn word_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[inline]
pub(crate) fn skip_white_space(bytes: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\n' | b'\r' | b'\t') = bytes.get(at) {
        at += 1;
        // Indentation is a run of spaces.
        if let Some(word) = word_at(bytes, at) {
            at += ((word ^ u64::from_le_bytes([b' '; 8])).trailing_zeros() / 8) as usize;
        }
    }
    at
}

/// Returns the first position from `at` on that holds a quote, a backslash or a control character;
/// the end if none does.
#[inline]
pub(crate) fn plain_end(bytes: &[u8], mut at: usize) -> usize {
    let is_plain = |b: u8| (b >= 0x20) & (b != b'"') & (b != b'\\');
    // Keys and names end within the first words. Prompts pay for the wider step, which compilers
    // turn into vector instructions.
    for _ in 0..2 {
        match word_at(bytes, at).map(plain_bytes) {
            Some(8) => at += 8,
            Some(plain) => return at + plain,
            None => break,
        }
    }
    while let Some(block) = bytes.get(at..).and_then(<[u8]>::first_chunk::<32>)
        && block.iter().fold(true, |plain, &b| plain & is_plain(b))
    {
        at += 32;
    }
    while let Some(word) = word_at(bytes, at) {
        let plain = plain_bytes(word);
        at += plain;
        if plain < 8 {
            return at;
        }
    }
    at + bytes.get(at..).map_or(0, |rest| rest.iter().take_while(|&&b| is_plain(b)).count())
}

/// Counts the bytes of `word` before the first quote, backslash or control character.
#[inline]
fn plain_bytes(word: u64) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    // The classic "has a zero byte" trick on word ^ pattern. A byte below 0x20 borrows when 0x20 is
    // taken from it.
    let quote = word ^ (ONES * u64::from(b'"'));
    let backslash = word ^ (ONES * u64::from(b'\\'));
    let special = word.wrapping_sub(ONES * 0x20) | quote.wrapping_sub(ONES) | backslash.wrapping_sub(ONES);
    // None of the three patterns has the high bit, so a byte with the high bit is plain. Borrows
    // spread upwards only, so the lowest hit is a true one.
    ((special & !word & HIGHS).trailing_zeros() / 8) as usize
}

/// Mixes the first bytes of `bytes[from..to]` with its length. Equal names have equal fingerprints,
/// and different names mostly have different ones.
#[inline]
pub(crate) fn fingerprint(bytes: &[u8], from: usize, to: usize) -> u64 {
    let length = to - from;
    let first = match word_at(bytes, from) {
        Some(word) if length >= 8 => word,
        Some(word) => word & ((1 << (8 * length)) - 1),
        None => bytes[from..to].iter().rev().fold(0, |print, &b| print << 8 | u64::from(b)),
    };
    first ^ (length as u64) << 56
}
