//! What must hold for any input: a function for each fuzz target. libFuzzer makes up the inputs in `tests/fuzz`; on the
//! inputs that are kept there `tests/all/fuzzed.rs` calls the same functions, with the stable toolchain.

mod codecs;
mod formats;
mod messages;
mod records;
mod settings;

use flowherd_shared::{
    config::Config,
    limits::Limits,
    lookups::Lookups,
    pipeline::{RunConfig, layers::Layers},
};

use crate::model::Model;

/// What a target holds its inputs to. A panic is a finding.
pub type Check = fn(&[u8]);

/// Each target by its name.
pub const TARGETS: [(&str, Check); 15] = [
    ("codecs", codecs::codecs),
    ("config", settings::config),
    ("deflate", codecs::deflate),
    ("envelope", records::envelope),
    ("event", messages::event),
    ("flow", formats::flow),
    ("json", formats::json),
    ("layers", codecs::layers),
    ("ledger", messages::ledger),
    ("lines", records::lines),
    ("lookups", settings::lookups),
    ("object", records::object),
    ("regex", formats::regex),
    ("task", messages::task),
    ("timestamp", codecs::timestamp),
];

/// Calls the function of a target.
pub fn check(target: &str, input: &[u8]) {
    let (_, check) = TARGETS.iter().find(|(name, _)| *name == target).expect("a target of that name");
    check(input);
}

/// The pipeline and the model with the same rules and names.
struct Pair {
    plan: RunConfig,
    model: Model,
}

impl Pair {
    fn new(config: &str, lookups: &str) -> Self {
        let plan = RunConfig::new(
            Config::parse(config).expect("valid"),
            Lookups::parse(lookups.as_bytes()).expect("valid"),
        );
        Self { plan, model: Model::new(config, lookups) }
    }
}

/// Whether the model can represent the text: it keeps invalid bytes and control characters as U+E100 to U+E2FF, and knows
/// no codec but gzip and no format but text.
fn is_within_model(text: &[u8]) -> bool {
    let is_text = Layers::open(text, Limits::default()).is_ok_and(|layers| layers.depth() == 0);
    let text = String::from_utf8_lossy(text);
    let has = |of: &str| text.to_ascii_lowercase().contains(of);
    is_text && !text.contains(|c| ('\u{e100}'..'\u{e300}').contains(&c)) && !has("\\ue1") && !has("\\ue2")
}

/// A number from the first byte, and the rest.
fn numbered(data: &[u8]) -> Option<(usize, &[u8])> {
    data.split_first().map(|(number, rest)| (usize::from(*number), rest))
}

/// The same, where the rest is text.
fn numbered_text(data: &[u8]) -> Option<(usize, &str)> {
    let (number, rest) = numbered(data)?;
    Some((number, std::str::from_utf8(rest).ok()?))
}
