//! `flowherd suggest` as a new user runs it: samples in, a configuration out that converts them.

mod hostile;
mod inferred;
mod malformed;

use std::{fs, path::Path};

use flowherd_tests::{
    command::{Ran, files_below, flowherd},
    objects::{FLOW, envelope, event, gzip},
};
use serde_json::Value;

use super::place::{PROGRAM, Place};

/// Runs `flowherd suggest` on the objects of a place.
fn suggest(place: &Place) -> Ran {
    flowherd(PROGRAM, [Path::new("suggest"), &place.path("in")])
}

/// Runs `flowherd suggest` and returns its rules; panics if it finds none.
fn suggested(place: &Place) -> String {
    let ran = suggest(place);
    assert_eq!(ran.status, 0, "{}{}", ran.stdout, ran.stderr);
    ran.stdout
}

/// Converts the objects of a place with suggested rules and returns the report.
fn convert_with(place: &Place, rules: &str) -> Value {
    place.file("flowherd.toml", rules.as_bytes());
    place.report_done(&["--config", place.path("flowherd.toml").to_str().unwrap(), "--run", "r"])
}

/// Asserts that the suggested rules take every record of the place, and returns the rules and the report.
fn converts_all(place: &Place) -> (String, Value) {
    let rules = suggested(place);
    let report = convert_with(place, &rules);
    assert_eq!(report["records"]["rejected"], 0, "{rules}\n{report}");
    (rules, report)
}

/// The directory with samples of the presets.
fn preset_samples() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("presets")
}

/// The sample of a preset: key and text of each object.
fn preset_sample(name: &str) -> Vec<(String, Vec<u8>)> {
    let directory = preset_samples().join(name).join("in");
    let files = files_below(&directory).into_iter();
    files.map(|key| (key.clone(), fs::read(directory.join(key)).unwrap())).collect()
}

#[test]
fn a_folder_of_several_kinds_of_logs_gets_rules_that_convert_all_of_them() {
    let place = Place::new();
    for hour in ["00", "01"] {
        let flows =
            envelope("vpc-flow-logs", &[event(1_771_372_800_000, FLOW), event(1_771_372_801_000, FLOW)]);
        place.object(&format!("firehose/2026/02/18/{hour}/flows-1"), &gzip(flows.as_bytes()));
    }
    for name in ["waf", "alb", "cloudtrail-s3"] {
        for (key, text) in preset_sample(name).into_iter().filter(|(key, _)| key.starts_with("AWSLogs/")) {
            place.object(&key, &gzip(&text));
        }
    }
    let orders = (0..50).map(|number| {
        format!(
            "{{\"time\":\"2026-02-18T00:00:{number:02}Z\",\"level\":\"info\",\"order\":{{\"id\":{number},\"total\":{number}.5}}}}\n"
        )
    });
    place.object("app/orders/2026-02-18.json", orders.collect::<String>().as_bytes());

    let (rules, report) = converts_all(&place);
    let tables: Vec<&String> = report["tables"].as_object().unwrap().keys().collect();
    assert_eq!(tables, ["alb", "app_orders", "cloudtrail", "vpc_flow", "waf"], "{rules}");
    for preset in ["vpc-flow", "waf", "alb", "cloudtrail-s3"] {
        assert!(rules.contains(&format!("preset = \"{preset}\"\n")), "{rules}");
    }
    assert!(rules.contains("timestamp = { path = \"/time\", unit = \"iso\" }"), "{rules}");
    assert!(rules.contains("# Takes 50 of "), "{rules}");
    let shown = suggest(&place).stderr;
    assert!(shown.starts_with("flowherd: sampled "), "{shown}");
    assert!(
        shown.lines().any(|line| line.starts_with("app-orders") && line.ends_with("50         0")),
        "{shown}"
    );
}

#[test]
fn logs_of_one_preset_in_log_groups_and_folders_do_not_take_the_records_of_others() {
    let samples = || {
        let place = Place::new();
        // A key of WAF has constant parts in its name alone, so the glob of its folder takes all keys.
        for name in ["waf", "route53-resolver", "alb", "nlb"] {
            for (key, text) in preset_sample(name) {
                place.object(&key, &text);
            }
        }
        place
    };
    let (rules, _) = converts_all(&samples());
    for preset in ["waf", "route53-resolver", "alb", "nlb"] {
        assert_eq!(rules.matches(&format!("preset = \"{preset}\"\n")).count(), 1, "{rules}");
    }
    assert!(!rules.contains("match = "), "{rules}");

    // With another group's name, the preset's own match does not take all of its records.
    let (key, text) = preset_sample("waf").into_iter().find(|(key, _)| key.starts_with("firehose/")).unwrap();
    let text = String::from_utf8(text).unwrap().replace("aws-waf-logs-shop", "web-firewall");
    let place = samples();
    place.object(&key, text.as_bytes());
    let (rules, _) = converts_all(&place);
    assert!(rules.contains("{ log_group = \"web-firewall\" }"), "{rules}");
}

#[test]
fn every_preset_is_recognized_by_content_alone() {
    let samples: Vec<String> = fs::read_dir(preset_samples())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(samples.len() > 15, "{samples:?}");
    let mut wrong = Vec::new();
    for name in &samples {
        let place = Place::new();
        for (number, (_, text)) in preset_sample(name).into_iter().enumerate() {
            place.object(&format!("unknown/{number}"), &gzip(&text));
        }
        let ran = suggest(&place);
        if !ran.stdout.contains(&format!("\npreset = \"{name}\"\n")) {
            wrong.push(format!("{name}:\n{}{}", ran.stdout, ran.stderr));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_same_samples_give_the_same_file() {
    let place = Place::synth(4, 50, &["--malformed", "3"]);
    place.object("app/a.json", b"{\"a\":1,\"b\":{\"c\":\"x\"}}\n{\"a\":2}\n");
    let (first, second) = (suggest(&place), suggest(&place));
    assert_eq!((first.status, first.stdout), (0, second.stdout));
}

#[test]
fn log_groups_of_one_kind_share_a_rule_and_a_glob_only_with_a_common_shape() {
    let place = Place::new();
    let json = |group: &str| {
        envelope(group, &[event(1, "{\"a\":1,\"b\":\"x\"}"), event(2, "{\"a\":2,\"b\":\"y\"}")])
    };
    let flows = envelope("vpc-flow", &[event(1, FLOW)]);
    let text = [json("/shop/orders-1"), json("/shop/orders-2"), flows.clone()].concat();
    place.object("x", text.as_bytes());
    let (rules, _) = converts_all(&place);
    assert!(rules.contains("match = { log_group = \"/shop/orders-*\" }\n"), "{rules}");
    assert!(rules.contains("metadata = [\"log_group\"]\n"), "{rules}");
    assert_eq!(rules.matches("\n[[rule]]\n").count(), 2, "{rules}");
}

#[test]
fn two_kinds_in_one_log_group_get_rules_in_sequence() {
    let place = Place::new();
    let events: Vec<String> = (0..20)
        .map(|number| if number % 2 == 0 { FLOW.to_owned() } else { format!("{{\"number\":{number}}}") })
        .map(|message| event(1, &message))
        .collect();
    place.object("x", envelope("mixed", &events).as_bytes());
    let (rules, report) = converts_all(&place);
    assert!(rules.contains("on_mismatch = \"next\"\n"), "{rules}");
    assert_eq!(
        (&report["tables"]["vpc_flow"], &report["tables"]["mixed"]),
        (&10.into(), &10.into()),
        "{rules}"
    );
}

#[test]
fn files_of_different_kinds_in_one_folder_get_rules_by_name_or_by_content() {
    let by_name = Place::new();
    by_name.object("logs/orders-1.json", b"{\"order\":1}\n").object("logs/orders-2.json", b"{\"order\":2}\n");
    by_name
        .object("logs/users-1.json", b"{\"user\":\"a\"}\n")
        .object("logs/flow-1", format!("{FLOW}\n").as_bytes());
    let (rules, report) = converts_all(&by_name);
    let tables: Vec<&String> = report["tables"].as_object().unwrap().keys().collect();
    assert_eq!(tables, ["logs_orders", "logs_users", "vpc_flow"], "{rules}");

    let by_content = Place::new();
    by_content
        .object("logs/1", b"{\"order\":1}\n{\"order\":2}\n")
        .object("logs/2", format!("{FLOW}\n").as_bytes());
    let (rules, report) = converts_all(&by_content);
    let tables: Vec<&String> = report["tables"].as_object().unwrap().keys().collect();
    assert_eq!(tables, ["logs", "vpc_flow"], "{rules}");
}

#[test]
fn explain_names_suggest_for_a_file_without_a_fitting_rule() {
    let place = Place::new();
    place.object("app.json", b"{\"a\":1}\n{\"a\":2}\n").object("flow", format!("{FLOW}\n").as_bytes());
    let explained = |name: &str, more: &[&str]| {
        let path = place.path(&format!("in/{name}"));
        let ran = flowherd(PROGRAM, [&["explain", path.to_str().unwrap()], more].concat());
        assert_eq!(ran.status, 0, "{}", ran.stderr);
        (ran.stderr, path)
    };
    let (message, path) = explained("app.json", &[]);
    assert_eq!(
        message,
        format!(
            "flowherd: most records fit no rule: `flowherd suggest {}` prints rules for them\n",
            path.display()
        )
    );
    assert_eq!(explained("flow", &[]).0, "");
    place.file("rules.toml", suggested(&place).as_bytes());
    let rules = place.path("rules.toml");
    assert_eq!(explained("app.json", &["--config", rules.to_str().unwrap(), "--key", "app.json"]).0, "");
}
