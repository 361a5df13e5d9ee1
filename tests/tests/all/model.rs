//! The pipeline against the reference model.

use std::collections::BTreeMap;

use flowherd_shared::{config::Config, names::NameIndex, pipeline::RunConfig};
use flowherd_tests::{
    model::{Model, Outcome},
    objects::{NAMES, Portions, convert, gunzip, outcome},
};
use proptest::prelude::*;

use super::generate::{CONFIG, cases, items, key, language::language, object};

pub(crate) fn plan() -> RunConfig {
    RunConfig::new(Config::parse(CONFIG).unwrap(), NameIndex::parse(NAMES.as_bytes()).unwrap())
}

/// Converts an object with the pipeline. Returns the model's form of the result, or `None` if the object fails.
fn pipeline(plan: &RunConfig, object: &[u8], key: &str, portion: usize) -> Option<Outcome> {
    outcome(object, portion, key, plan).ok()
}

/// The text of an object below its gzip layers, to print it.
fn decompressed(object: &[u8]) -> String {
    let mut bytes = object.to_vec();
    while bytes.starts_with(&[0x1f, 0x8b]) {
        bytes = gunzip(&bytes);
    }
    bytes.escape_ascii().to_string().replace("\\n", "\n").replace("\\\"", "\"")
}

proptest! {
    #![proptest_config(cases(1500))]

    #[test]
    fn any_object_in_any_portions_is_converted_as_by_the_model((object, key, portion) in object()) {
        let plan = plan();
        let expected = Model::new(CONFIG, NAMES).convert(&object, key);
        let ours = pipeline(&plan, &object, key, portion);
        prop_assert_eq!(ours, expected, "{:?}", convert(Portions::new(&object, portion), key, &plan).err());
    }

    #[test]
    fn any_object_under_small_limits_and_the_guard_is_converted_as_by_the_model(
        (object, key, portion) in object(),
        max_rejects in prop_oneof![0_u64..8, Just(100_000)],
        max_reject_percent in 0_u64..=100,
        max_reject_bytes in prop_oneof![1024_u64..4096, Just(1 << 20)],
        guard in any::<bool>(),
    ) {
        let config = CONFIG.replace(r#"path = "/action" }"#, r#"path = "/action", type = "double" }"#)
            + &format!("[csv]\nguard_formulas = {guard}\n[limits]\nmax_rejects = {max_rejects}\nmax_reject_percent = {max_reject_percent}\nmax_reject_bytes = {max_reject_bytes}\n");
        let names = NAMES.replace("\"stage\"", "\"=stage, x\"").replace("\"db\"", "\"-db\"").replace("\"a\"", "\"@a\"");
        let plan = RunConfig::new(Config::parse(&config).unwrap(), NameIndex::parse(names.as_bytes()).unwrap());
        let expected = Model::new(&config, &names).convert(&object, key);
        let ours = pipeline(&plan, &object, key, portion);
        prop_assert_eq!(ours, expected, "{:?}", convert(Portions::new(&object, portion), key, &plan).err());
    }
}

/// Records of an object without their ordinals: rows by table, rejects, then read, control, dropped and repaired.
type Records = (BTreeMap<String, Vec<Vec<String>>>, Vec<(Option<i64>, String, String)>, [u64; 4]);

fn records(outcome: Outcome) -> Records {
    let tables = outcome.tables.into_iter().map(|(table, rows)| (table, rows[1..].to_vec()));
    let tables = tables.filter(|(_, rows)| !rows.is_empty()).collect();
    let rejects =
        outcome.rejects.into_iter().map(|(_, timestamp, reason, message)| (timestamp, reason, message));
    (tables, rejects.collect(), [outcome.read, outcome.control, outcome.dropped, outcome.repaired])
}

proptest! {
    #![proptest_config(cases(800))]

    #[test]
    fn any_rules_convert_any_object_as_the_model_does((config, object, key, portion) in language()) {
        let plan = RunConfig::new(
            Config::parse(&config).unwrap_or_else(|error| panic!("{error}\n{config}")),
            NameIndex::parse(NAMES.as_bytes()).unwrap(),
        );
        let expected = Model::new(&config, NAMES).convert(&object, key);
        let ours = pipeline(&plan, &object, key, portion);
        prop_assert_eq!(
            ours, expected, "{:?}\n{}\n{}", convert(Portions::new(&object, portion), key, &plan).err(), config,
            decompressed(&object)
        );
    }
}

proptest! {
    #![proptest_config(cases(500))]

    #[test]
    fn items_in_any_order_give_the_records_of_each(
        (items, order) in items().prop_flat_map(|items| {
            let order: Vec<usize> = (0..items.len()).collect();
            (Just(items), Just(order).prop_shuffle())
        }),
        key in key(),
        portion in 1_usize..500,
    ) {
        let mut plan = plan();
        // This limit applies to the whole object.
        plan.config.limits.max_reject_percent = 100;
        let separate: Vec<Option<Records>> =
            items.iter().map(|item| pipeline(&plan, item, key, usize::MAX).map(records)).collect();
        let order: Vec<usize> = order.into_iter().filter(|at| separate[*at].is_some()).collect();
        let mut expected = Records::default();
        for at in &order {
            let (tables, rejects, counts) = separate[*at].clone().unwrap();
            for (table, rows) in tables {
                expected.0.entry(table).or_default().extend(rows);
            }
            expected.1.extend(rejects);
            (0..4).for_each(|at| expected.2[at] += counts[at]);
        }
        let object: Vec<u8> = order.iter().flat_map(|at| items[*at].clone()).collect();
        let ours = pipeline(&plan, &object, key, portion).map(records);
        prop_assert_eq!(ours, Some(expected), "{}", object.escape_ascii());
    }
}

#[test]
fn one_object_gives_the_same_outputs_at_every_portion_size() {
    use flowherd_tests::objects::{FLOW, envelope, event, gzip};
    let events: Vec<String> = (0..40).map(|at| event(1_580_515_200_000 + at, FLOW)).collect();
    let text =
        [envelope("vpc-flow-logs", &events), envelope("/ids/x", &[event(1, "WARN a -> b"), event(2, "no")])]
            .concat();
    let inner = [gzip(&text.as_bytes()[..700]), gzip(&text.as_bytes()[700..])].concat();
    let object = gzip(&inner);
    let plan = plan();
    let expected = Model::new(CONFIG, NAMES).convert(&object, "k").unwrap();
    assert_eq!((expected.read, expected.rejects.len()), (42, 1));
    for portion in 1..=object.len() {
        assert_eq!(
            pipeline(&plan, &object, "k", portion).as_ref(),
            Some(&expected),
            "{portion} bytes per read"
        );
    }
}

#[test]
fn random_rules_meet_every_reason_and_most_objects_are_done() {
    use proptest::{strategy::ValueTree, test_runner::TestRunner};
    let mut runner = TestRunner::deterministic();
    let strategy = language();
    let mut met: BTreeMap<String, u32> = BTreeMap::new();
    for _ in 0..1000 {
        let (config, object, key, _) = strategy.new_tree(&mut runner).unwrap().current();
        let Some(outcome) = Model::new(&config, NAMES).convert(&object, key) else {
            *met.entry("failed".to_owned()).or_default() += 1;
            continue;
        };
        let rows = outcome.tables.values().any(|rows| rows.len() > 1);
        let counts = [("rows", rows), ("control", outcome.control > 0), ("dropped", outcome.dropped > 0)];
        let counts = counts.into_iter().chain([("repaired", outcome.repaired > 0)]);
        let reasons = outcome.rejects.iter().map(|(_, _, reason, _)| (&**reason, true));
        for (what, is_met) in counts.chain(reasons) {
            *met.entry(what.to_owned()).or_default() += u32::from(is_met);
        }
    }
    for what in [
        "rows",
        "control",
        "dropped",
        "repaired",
        "no-rule",
        "no-match",
        "not-json",
        "no-columns",
        "missing-required",
        "field-count",
        "no-header",
        "bad-timestamp",
        "bad-event",
        "bad-encoding",
        "bad-payload",
        "no-records",
        "no-message",
        "unknown-message-type",
        "glued-envelope",
    ] {
        assert!(met.get(what).is_some_and(|count| *count >= 5), "{what}: {met:?}");
    }
    assert!(met["failed"] < 300 && met["rows"] > 250, "{met:?}");
}
