//! Text as envelopes: whatever the reference model accepts, the fast scanner reads the same way.
#![no_main]

use std::sync::LazyLock;

use flowherd_shared::{config::Config, lookups::Lookups, pipeline::Plan};
use flowherd_tests::{
    model::Model,
    objects::{Portions, convert},
};
use libfuzzer_sys::fuzz_target;

const CONFIG: &str = "[[rule]]\nname = \"all\"\ntable = \"all\"\nmetadata = [\"owner\", \"log_group\", \"log_stream\"]\nformat = { kind = \"vpc-flow\" }\n";
const LOOKUPS: &str = r#"{"interfaces":{},"subnets":{},"vpcs":{}}"#;

static PLAN: LazyLock<Plan> = LazyLock::new(|| Plan {
    config: Config::parse(CONFIG).expect("valid"),
    lookups: Lookups::parse(LOOKUPS.as_bytes()).expect("valid"),
});
static MODEL: LazyLock<Model> = LazyLock::new(|| Model::new(CONFIG, LOOKUPS));

fuzz_target!(|data: (u8, &str)| {
    let (portion, text) = data;
    // The model stands for broken UTF-8 by the replacement character, and cannot read raw control characters at all.
    let is_object = text.trim_start_matches([' ', '\n', '\r', '\t']).starts_with('{');
    if !is_object || text.contains('\u{fffd}') || text.bytes().any(|byte| byte < b' ') {
        return;
    }
    // Where the first object is damaged, the model takes the text for lines; the pipeline fails it.
    if !matches!(serde_json::Deserializer::from_str(text).into_iter::<serde::de::IgnoredAny>().next(), Some(Ok(_))) {
        return;
    }
    let expected = MODEL.convert(text.as_bytes(), "k");
    let ours = convert(Portions::new(text.as_bytes(), usize::from(portion)), "k", &PLAN);
    match (expected, ours) {
        (Some(expected), Ok((counts, _))) => {
            assert_eq!((counts.read, counts.control), (expected.read, expected.control));
            assert_eq!(counts.rejected, expected.rejects.len() as u64);
        }
        (None, Err(_)) => {}
        // A name of more than 4096 bytes fails; the model takes any.
        (Some(_), Err(_)) if text.len() > 4096 => {}
        // The pipeline asks nothing of values that it does not read; the model reads all as JSON.
        (None, Ok(_)) => {}
        (expected, ours) => panic!("{expected:?} but {ours:?}"),
    }
});
