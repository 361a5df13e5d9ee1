//! The checks of the fuzz targets, one function each. libFuzzer generates the inputs in `tests/fuzz`. `tests/all/fuzzed.rs`
//! calls the same functions for the inputs of the corpus, with the stable toolchain.

mod codecs;
mod formats;
mod messages;
mod records;
mod settings;

use flowherd_shared::{
    config::Config,
    limits::Limits,
    names::NameIndex,
    pipeline::{RunConfig, layers::Layers},
};

use crate::model::Model;

/// Checks one input. A panic is a finding.
pub type Check = fn(&[u8]);

/// The name and the check of each target.
pub const TARGETS: [(&str, Check); 16] = [
    ("codecs", codecs::codecs),
    ("config", settings::config),
    ("deflate", codecs::deflate),
    ("envelope", records::envelope),
    ("event", messages::event),
    ("flow", formats::flow),
    ("json", formats::json),
    ("jsonpath", formats::jsonpath),
    ("layers", codecs::layers),
    ("ledger", messages::ledger),
    ("lines", records::lines),
    ("names", settings::names),
    ("object", records::object),
    ("regex", formats::regex),
    ("task", messages::task),
    ("timestamp", codecs::timestamp),
];

/// Runs the check of a target.
pub fn check(target: &str, input: &[u8]) {
    let (_, check) = TARGETS.iter().find(|(name, _)| *name == target).expect("the target exists");
    check(input);
}

/// The pipeline and the model with the same rules and names.
struct Pair {
    plan: RunConfig,
    model: Model,
}

impl Pair {
    fn new(config: &str, names: &str) -> Self {
        let plan = RunConfig::new(
            Config::parse(config).expect("valid"),
            NameIndex::parse(names.as_bytes()).expect("valid"),
        );
        Self { plan, model: Model::new(config, names) }
    }
}

/// Returns whether the model can represent the text. The model stores invalid bytes and control characters as U+E100 to
/// U+E2FF, and reads only gzip and text.
fn is_within_model(text: &[u8]) -> bool {
    let is_text = Layers::open(text, Limits::default()).is_ok_and(|layers| layers.depth() == 0);
    let text = String::from_utf8_lossy(text);
    let has = |of: &str| text.to_ascii_lowercase().contains(of);
    is_text && !text.contains(|c| ('\u{e100}'..'\u{e300}').contains(&c)) && !has("\\ue1") && !has("\\ue2")
}

/// Splits the input into a number, its first byte, and the other bytes.
fn numbered(data: &[u8]) -> Option<(usize, &[u8])> {
    data.split_first().map(|(number, rest)| (usize::from(*number), rest))
}

/// Splits the input into a number and text. Returns `None` if the text is not UTF-8.
fn numbered_text(data: &[u8]) -> Option<(usize, &str)> {
    let (number, rest) = numbered(data)?;
    Some((number, std::str::from_utf8(rest).ok()?))
}
