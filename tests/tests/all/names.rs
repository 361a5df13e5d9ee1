//! The names of rows at different times.

mod command;
mod history;
mod organization;

use std::fs;

use flowherd_shared::{config::Config, names::NameIndex, pipeline::RunConfig};
use flowherd_tests::{
    model::Model,
    objects::{convert, envelope, event, outcome},
};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::place::{PROGRAM, Place};

const CONFIG: &str = "[[rule]]\nname = \"r\"\ntable = \"t\"\nformat = { kind = \"vpc-flow\", \
    fields = \"${interface-id} ${srcaddr} ${start}\" }\n";

/// 2026-02-18T00:00:00Z.
const MIDNIGHT: i64 = 1_771_372_800_000;

/// An interface that a load balancer gives to an instance and gets back, and two subnets that have an address in turn.
const MOVING: &str = r#"{
    "interfaces": {"eni-1": [
        {"description": "balancer", "subnet_id": "subnet-1", "until": "2026-02-18T06:00:00Z"},
        {"description": "web", "from": "2026-02-18T06:00:00Z", "until": "2026-02-18T18:00:00Z"},
        {"description": "balancer again", "from": "2026-02-18T19:00:00Z"}
    ]},
    "subnets": {
        "subnet-1": {"name": "public", "vpc_id": "vpc-1", "cidrs": ["10.0.0.0/16"]},
        "subnet-2": {"name": "old", "vpc_id": "vpc-1", "cidrs": ["10.0.7.0/24"], "until": "2026-02-18T06:00:00Z"},
        "subnet-3": {"name": "new", "vpc_id": "vpc-1", "cidrs": ["10.0.7.0/24"], "from": "2026-02-18T18:00:00Z"},
        "subnet-4": {"name": "apart", "vpc_id": "vpc-1", "cidrs": ["10.9.0.0/24"], "from": "2026-02-18T06:00:00Z"}
    },
    "vpcs": {"vpc-1": [{"name": "shop", "until": "2026-02-18T12:00:00Z"}, {"name": "store", "from": "2026-02-18T12:00:00Z"}]}
}"#;

fn plan(names: &str) -> RunConfig {
    RunConfig::new(Config::parse(CONFIG).unwrap(), NameIndex::parse(names.as_bytes()).unwrap())
}

#[test]
fn a_row_has_the_names_of_its_own_time() {
    let hours = [0.0, 5.999, 6.0, 11.999, 12.0, 17.999, 18.0, 18.5, 19.0, 23.0];
    let time = |hour: &f64| MIDNIGHT + (hour * 3_600_000.0) as i64;
    let events: Vec<String> = hours
        .iter()
        .flat_map(|hour| [event(time(hour), "eni-1 10.0.7.9 1"), event(time(hour), "eni-1 10.9.0.1 1")])
        .collect();
    let (counts, outputs) = convert(envelope("g", &events).as_bytes(), "k", &plan(MOVING)).unwrap();
    let text = outputs[0].1.lines().map(|line| {
        let cells: Vec<&str> = line.split(',').collect();
        [&cells[..1], &cells[2..3], &cells[4..]].concat().join(",") + "\n"
    });
    insta::assert_snapshot!(text.collect::<String>());
    // Between the last two owners, and where the last subnet did not exist yet.
    assert_eq!((counts.rows, counts.named_by_guess), (20, 6));
    // A row without a time has the last name.
    let (counts, outputs) = convert(&b"eni-1 10.0.7.9 -\n"[..], "k", &plan(MOVING)).unwrap();
    assert!(
        outputs[0].1.ends_with("-,eni-1,10.0.7.9,-,balancer again,public,store,new,-\n"),
        "{}",
        outputs[0].1
    );
    assert_eq!(counts.named_by_guess, 1);
}

#[test]
fn a_row_older_than_the_first_reading_is_named_by_guess() {
    // The interface has no name, and the subnet begins after the second row.
    let names = r#"{
        "interfaces": {"eni-1": {"subnet_id": "subnet-1", "from": "2026-02-18T20:00:00Z"}},
        "subnets": {"subnet-1": {"name": "a", "vpc_id": "vpc-1", "cidrs": ["10.0.0.0/24"], "from": "2026-02-18T06:00:00Z"}},
        "vpcs": {"vpc-1": {"name": "shop"}}
    }"#;
    let event = |hour: i64, line: &str| event(MIDNIGHT + hour * 3_600_000, line);
    let rows = [event(5, "eni-1 10.0.0.9 1"), event(6, "eni-1 10.0.0.9 1"), event(21, "eni-1 10.0.0.9 1")];
    // A row with an interface that is not in the file has a guess by its address.
    let address = [event(5, "eni-2 10.0.0.9 1"), event(7, "eni-2 10.0.0.9 1"), event(5, "eni-2 10.9.0.9 1")];
    for (rows, names_of_all) in [(&rows, "-,a,shop,a,-"), (&address, "-,-,-,")] {
        let (counts, outputs) = convert(envelope("g", rows).as_bytes(), "k", &plan(names)).unwrap();
        assert_eq!((counts.rows, counts.named_by_guess), (3, 1));
        assert!(outputs[0].1.lines().skip(1).all(|line| line.contains(names_of_all)), "{}", outputs[0].1);
    }
}

#[test]
fn receipt_report_and_summary_count_rows_named_by_guess() {
    let place = Place::new();
    let event = |hour: i64| event(MIDNIGHT + hour * 3_600_000, "eni-1 10.0.0.9 1");
    place.object("a", envelope("g", &[event(1), event(18)]).as_bytes());
    place.object("b", envelope("g", &[event(18), event(20)]).as_bytes());
    place.file("f.toml", CONFIG.as_bytes()).file("names", MOVING.as_bytes());
    let args = ["--config", "f.toml", "--names", "names"].map(|argument| {
        let path = place.path(argument);
        if path.exists() { path.to_str().unwrap().to_owned() } else { argument.to_owned() }
    });
    let args = args.each_ref().map(String::as_str);
    let report = place.report(&[&args[..], &["--run", "r"]].concat());
    assert_eq!(report["records"]["named_by_guess"], 2);
    let receipt = fs::read(place.path("out/runs/r/receipts/a.json")).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&receipt).unwrap()["records"]["named_by_guess"], 1);
    let summary = place.convert(&args).stdout;
    assert!(
        summary.contains(
            "  control  named by guess\nrecords       4     4         0        0               2\n"
        ),
        "{summary}"
    );
}

/// Entries of an id that do not overlap: each key at most once, the times from a small range.
fn entries(keys: &'static str, times: impl IntoIterator<Item = i64>, begins: bool) -> Vec<Value> {
    let mut times: Vec<i64> = times.into_iter().collect();
    times.sort_unstable();
    times.dedup();
    let mut bounds: Vec<Option<i64>> = times.into_iter().map(Some).collect();
    if begins {
        bounds.insert(0, None);
    }
    if !bounds.len().is_multiple_of(2) {
        bounds.push(None);
    }
    let entry = |(number, pair): (usize, &[Option<i64>])| {
        let mut entry = json!({ keys: format!("name {number}") });
        for (key, time) in ["from", "until"].iter().zip(pair) {
            if let Some(time) = time {
                entry[*key] = flowherd_shared::timestamp::iso(*time).unwrap().into();
            }
        }
        entry
    };
    bounds.chunks(2).enumerate().map(entry).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn names_at_any_time_are_those_of_the_model(
        interfaces in proptest::collection::vec((proptest::collection::btree_set(0_i64..12, 0..5), any::<bool>()), 3),
        subnets in proptest::collection::vec(
            (proptest::collection::btree_set(0_i64..12, 0..5), any::<bool>(), 0_usize..3, 0_u32..4), 0..7),
        records in proptest::collection::vec((0_usize..4, 0_u32..4, 0_i64..13, any::<bool>()), 1..30),
    ) {
        let mut file = json!({ "interfaces": {}, "subnets": {}, "vpcs": { "vpc-1": { "name": "one" }, "vpc-2": {} } });
        for (number, (times, begins)) in interfaces.into_iter().enumerate() {
            let mut entries = entries("description", times, begins);
            if let Some(first) = entries.first_mut() {
                first["vpc_id"] = json!(["vpc-1", "vpc-2"][number % 2]);
                file["interfaces"][format!("eni-{number}")] = entries.into();
            }
        }
        let mut taken = std::collections::BTreeSet::new();
        for (number, (times, begins, vpc, block)) in subnets.into_iter().enumerate() {
            let mut entries = entries("name", times, begins);
            // A block of a VPC belongs to one of these subnets.
            if entries.is_empty() || !taken.insert((vpc, block)) {
                continue;
            }
            let cidr = ["10.0.0.0/16", "10.0.0.0/24", "10.0.0.128/25", "10.0.1.0/24"][block as usize];
            for entry in &mut entries {
                entry["cidrs"] = json!([cidr]);
            }
            if vpc > 0 {
                entries[0]["vpc_id"] = format!("vpc-{vpc}").into();
            }
            file["subnets"][format!("subnet-{number}")] = entries.into();
        }
        let file = file.to_string();
        let line = |(interface, address, time, has_time): &(usize, u32, i64, bool)| {
            let address = ["10.0.0.1", "10.0.0.200", "10.0.1.1", "10.0.2.1"][*address as usize];
            let line = format!("eni-{interface} {address} {}", if *has_time { "0" } else { "-" });
            (*has_time, event(*time, &line), line)
        };
        let lines: Vec<_> = records.iter().map(line).collect();
        let events: Vec<String> =
            lines.iter().filter(|(has_time, ..)| *has_time).map(|(_, event, _)| event.clone()).collect();
        // Plain lines without a start have no time.
        let plain: String =
            lines.iter().filter(|(has_time, ..)| !has_time).map(|(.., line)| format!("{line}\n")).collect();
        let object = format!("{}\n{plain}", envelope("g", &events));
        let expected = Model::new(CONFIG, &file).convert(object.as_bytes(), "k");
        prop_assert_eq!(outcome(object.as_bytes(), usize::MAX, "k", &plan(&file)).ok(), expected);
    }
}
