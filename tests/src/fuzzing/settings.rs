//! Checks of the files that users write.

use std::fmt::Write as _;

use flowherd_shared::{
    config::{Config, ConfigError},
    names::NameIndex,
    pipeline::RunConfig,
};
use serde_json::Value;

use super::is_within_model;
use crate::{
    model::Model,
    objects::{FLOW, envelope, envelope_of, event, outcome},
};

/// Parses any text as `flowherd.toml`. Each problem must be one line. An accepted file must mean the same after it is written
/// without its layout, and must work on an object.
pub(super) fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let config = match Config::parse(text) {
        Ok(config) => config,
        Err(error) => return is_well_formed(&error),
    };
    let file: toml::Table = toml::from_str(text).expect("an accepted file is TOML");
    let members = file.iter().map(|(key, value)| format!("{} = {}\n", string(key), written(value)));
    let again = Config::parse(&members.collect::<String>()).expect("the rewritten file is accepted");
    assert_eq!(again.hash, config.hash);
    assert_eq!(again.limits, config.limits);
    assert_eq!(format!("{:?}", again.tables), format!("{:?}", config.tables));
    #[cfg(feature = "cloud")]
    let _ =
        flowherd_cli::query::schema::Schema::new(&config, &flowherd_cli::query::layout::Layouts::default());

    let plan = RunConfig::from(config);
    let sample = [
        envelope("g", &[event(1, FLOW), event(2, r#"{"a":{"b":[1,"x"]}}"#), event(3, "")]),
        envelope_of("CONTROL_MESSAGE", "vpc-flow-logs", &[event(1, "")]),
        envelope("", &[event(-1, "WARN a -> b")]),
    ];
    for object in [sample.concat(), format!("{FLOW}\n\nstart end\n1 2\n")] {
        // The object may fail, because its limits may be small.
        let _ = outcome(object.as_bytes(), usize::MAX, "k", &plan);
    }
}

pub(super) fn is_well_formed(error: &ConfigError) {
    assert!(!error.problems.is_empty());
    for problem in &error.problems {
        assert!(!problem.trim().is_empty() && !problem.contains('\n'), "{problem:?}");
    }
}

/// Writes a value as TOML on one line.
fn written(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => string(text),
        toml::Value::Integer(number) => number.to_string(),
        toml::Value::Array(values) => {
            let values: Vec<String> = values.iter().map(written).collect();
            format!("[{}]", values.join(","))
        }
        toml::Value::Table(members) => {
            let members: Vec<String> =
                members.iter().map(|(key, value)| format!("{}={}", string(key), written(value))).collect();
            format!("{{{}}}", members.join(","))
        }
        toml::Value::Boolean(whether) => whether.to_string(),
        other => panic!("no setting is a {}", other.type_str()),
    }
}

fn string(text: &str) -> String {
    let mut quoted = "\"".to_owned();
    for character in text.chars() {
        let _ = if character.is_control() || "\"\\".contains(character) {
            write!(quoted, "\\u{:04x}", u32::from(character))
        } else {
            write!(quoted, "{character}")
        };
    }
    quoted + "\""
}

const NAMED: &str = "[[rule]]\nname = \"r\"\ntable = \"t\"\nformat = { kind = \"vpc-flow\", \
    fields = \"${interface-id} ${vpc-id} ${subnet-id} ${srcaddr} ${dstaddr}\" }\n";

/// Parses any bytes as `names.json`. Each problem must be one line. With an accepted file, flow logs of its ids and
/// addresses must get the names of the model, which compares every subnet.
pub(super) fn names(data: &[u8]) {
    let names = match NameIndex::parse(data) {
        Ok(names) => names,
        Err(error) => return is_well_formed(&error),
    };
    let Ok(text) = std::str::from_utf8(data) else { return };
    let file: Value = serde_json::from_str(text).expect("an accepted file is JSON");
    let sizes =
        ["interfaces", "subnets", "vpcs"].map(|part| file[part].as_object().map_or(0, serde_json::Map::len));
    assert_eq!(<[usize; 3]>::from(names.sizes()), sizes);

    let fits = |id: &&str| !id.is_empty() && !id.contains([' ', '\0']) && is_within_model(id.as_bytes());
    let ids = |part: &str| -> Vec<String> {
        let ids = file[part].as_object().into_iter().flat_map(|ids| ids.keys()).map(String::as_str);
        ids.filter(fits).take(6).map(str::to_owned).chain(["-".to_owned(), "other".to_owned()]).collect()
    };
    let (interfaces, subnets, vpcs) = (ids("interfaces"), ids("subnets"), ids("vpcs"));
    let all = |part: &str| -> Vec<Value> {
        let ids = file[part].as_object().into_iter().flat_map(|ids| ids.values());
        ids.flat_map(|entries| entries.as_array().cloned().unwrap_or_else(|| vec![entries.clone()])).collect()
    };
    let subnets_of_file = all("subnets");
    let cidrs = subnets_of_file.iter().flat_map(|subnet| subnet["cidrs"].as_array().into_iter().flatten());
    // The times at which names change, and those before.
    let entries = ["interfaces", "subnets", "vpcs"].map(all).concat();
    let times = entries.iter().flat_map(|entry| [&entry["from"], &entry["until"]]);
    let times = times.filter_map(|time| time.as_str()?.parse::<jiff::Timestamp>().ok());
    let times = times.map(jiff::Timestamp::as_millisecond).flat_map(|ms| [ms, ms - 1]).filter(|ms| *ms >= 0);
    let times: Vec<i64> = times.take(23).chain([0]).collect();
    let first = |cidr: &Value| {
        cidr.as_str().and_then(|cidr| cidr.split_once('/')).map(|(address, _)| address.to_owned())
    };
    let mut addresses: Vec<String> = cidrs.filter_map(first).take(12).collect();
    addresses.extend(["10.0.0.200", "10.1.2.3", "255.255.255.255", "2001:db8::1", "::"].map(str::to_owned));
    let of = |ids: &[String], at: usize| ids[at % ids.len()].clone();
    let line = |at: usize| {
        [
            of(&interfaces, at),
            of(&vpcs, at + at / 3),
            of(&subnets, at / 2),
            of(&addresses, at),
            of(&addresses, at / 2 + 1),
        ]
        .join(" ")
    };
    let events: Vec<String> = (0..24).map(|at| event(times[at % times.len()], &line(at))).collect();
    let object = envelope("g", &events);
    let expected = Model::new(NAMED, text).convert(object.as_bytes(), "k");
    let plan = RunConfig::new(Config::parse(NAMED).expect("valid"), names);
    assert_eq!(outcome(object.as_bytes(), usize::MAX, "k", &plan).ok(), expected);
}
