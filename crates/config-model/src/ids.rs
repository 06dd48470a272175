/// Where new ids and the present time come from.
///
/// This crate reads no clock and draws no random number: whoever runs it passes both in, so a run can be repeated.
pub trait Ids {
    /// A new internal id of a network, in the app's form `net-<base 36 ms>-<6 base 36>`.
    fn network_id(&mut self) -> String;
    /// A new id of a prompt, `prm-<base 36 ms>-<6 base 36>`.
    fn prompt_id(&mut self) -> String;
    /// Milliseconds since the Unix epoch; stands still during one load.
    fn now_ms(&self) -> u64;
}

/// [`Ids`] from a time and a seed: the same two give the same ids, in the same order.
#[derive(Debug, Clone)]
pub struct SeededIds {
    now_ms: u64,
    state: u64,
}

impl SeededIds {
    /// `now_ms` is the present in milliseconds since the Unix epoch; `seed` should differ from run to run.
    pub fn new(now_ms: u64, seed: u64) -> Self {
        Self { now_ms, state: seed }
    }
}

impl Ids for SeededIds {
    fn network_id(&mut self) -> String {
        let _ = self.state;
        todo!()
    }

    fn prompt_id(&mut self) -> String {
        todo!()
    }

    fn now_ms(&self) -> u64 {
        self.now_ms
    }
}
