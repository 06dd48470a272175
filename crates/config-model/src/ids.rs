/// The source of new ids, and of the present time.
///
/// This crate reads no clock and draws no random number: the caller passes both in, so that a run
/// can be repeated. An app with another source of time and randomness implements the trait.
pub trait Ids {
    /// Returns a new internal id of a network, in the app's form `net-<base 36 ms>-<6 base 36>`.
    fn network_id(&mut self) -> String;
    /// Returns a new id of a prompt, `prm-<base 36 ms>-<6 base 36>`.
    fn prompt_id(&mut self) -> String;
    /// Returns the milliseconds since the Unix epoch; the same ones during one load.
    fn now_ms(&self) -> u64;
}

/// [`Ids`] from a time and a seed: equal ones give the same ids in the same order.
///
/// ```
/// use myownllm_config_model::{Ids, SeededIds};
/// let mut ids = SeededIds::new(1_700_000_000_000, 7);
/// assert!(ids.network_id().starts_with("net-loyw3v28-"));
/// assert_ne!(ids.network_id(), ids.network_id());
/// ```
#[derive(Debug, Clone)]
pub struct SeededIds {
    now_ms: u64,
    state: u64,
}

impl SeededIds {
    /// Takes the present in milliseconds since the Unix epoch, and a seed that should differ from
    /// run to run.
    pub fn new(now_ms: u64, seed: u64) -> Self {
        Self { now_ms, state: seed }
    }

    fn make(&mut self, prefix: &str) -> String {
        // SplitMix64: every seed is a good one, and six base-36 digits need no better generator.
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        format!("{prefix}-{}-{:0>6}", base36(self.now_ms), base36(z % 36u64.pow(6)))
    }
}

impl Ids for SeededIds {
    fn network_id(&mut self) -> String {
        self.make("net")
    }

    fn prompt_id(&mut self) -> String {
        self.make("prm")
    }

    fn now_ms(&self) -> u64 {
        self.now_ms
    }
}

fn base36(mut n: u64) -> String {
    let mut digits = Vec::new();
    loop {
        digits.push(char::from_digit((n % 36) as u32, 36).unwrap_or('0'));
        n /= 36;
        if n == 0 {
            return digits.iter().rev().collect();
        }
    }
}
