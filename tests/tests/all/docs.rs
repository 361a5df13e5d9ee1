//! The documents say what the code says.

use std::{collections::BTreeSet, fs, path::Path};

use flowherd_cli::cost::{
    ALARM_METRICS, CUSTOM_METRICS, Estimate, LOG_BYTES, MAX_CONCURRENCY, Objects, S3_READS, SQS_REQUESTS,
};
use flowherd_shared::{error::Reason, flow_fields::FLOW_FIELDS, ledger::WarningKind, limits::Limits};
use flowherd_tests::command::{files_below, flowherd};
use flowherd_worker::telemetry::METRICS;

use super::place::PROGRAM;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn every_promise_has_its_test_and_every_such_test_its_promise() {
    let promised: BTreeSet<String> = read("docs/semantics.md")
        .lines()
        .filter_map(|line| line.strip_prefix("Test: `")?.strip_suffix('`').map(str::to_owned))
        .collect();
    let tests = read("tests/tests/all/promises.rs");
    let mut tested = BTreeSet::new();
    let mut is_test = false;
    for line in tests.lines().map(str::trim) {
        if line == "#[test]" {
            is_test = true;
        } else if is_test && let Some(name) = line.strip_prefix("fn ") {
            tested.insert(name.split('(').next().unwrap().to_owned());
            is_test = false;
        }
    }
    // Those of the fleet, of compression and of an object's items are in files of their own.
    let others = [
        "planning",
        "delivery",
        "functions",
        "batches",
        "start",
        "rerun",
        "protection",
        "cloud",
        "faults",
        "disks",
        "items",
        "limits",
        "limits/ledger",
        "codecs",
        "compressed",
        "warnings",
    ]
    .map(|file| read(&format!("tests/tests/all/{file}.rs")))
    .concat();
    let (of_fleet, of_command): (BTreeSet<_>, BTreeSet<_>) =
        promised.iter().cloned().partition(|name| others.contains(&format!("#[test]\nfn {name}()")));
    assert_eq!(of_command, tested);
    assert!(of_fleet.len() > 10, "{of_fleet:?}");
    let headings = read("docs/semantics.md").lines().filter(|line| line.starts_with("### ")).count();
    assert_eq!(headings, promised.len(), "a test for each heading");
}

#[test]
fn every_flag_key_and_field_is_in_the_configuration_document() {
    let document = read("docs/configuration.md");
    let commands = [
        "convert", "synth", "explain", "run", "rerun", "status", "runs", "report", "redrive", "estimate",
        "sql", "query",
    ];
    for command in commands {
        let help = flowherd(PROGRAM, [command, "--help"]).stdout;
        let flags = help.split_whitespace().filter(|word| word.starts_with("--") && *word != "--help");
        for word in flags {
            let flag = word.trim_end_matches(|end: char| !end.is_ascii_alphanumeric());
            assert!(document.contains(&format!("`{flag}")), "{command} {flag}");
        }
    }
    let settings = ["worker/src/settings.rs", "coordinator/src/settings.rs"].map(read).concat();
    let is_variable = |word: &&str| word.starts_with("FLOWHERD_") && !word.contains([' ', '=']);
    let variables: BTreeSet<&str> = settings.split('"').filter(is_variable).collect();
    assert!(variables.len() >= 9, "{variables:?}");
    for name in ["--poll", "--concurrency", "--grace"].into_iter().chain(variables) {
        assert!(document.contains(&format!("`{name}")), "{name}");
    }
    for key in [
        "name",
        "match",
        "log_group",
        "log_stream",
        "key",
        "table",
        "metadata",
        "format",
        "kind",
        "fields",
        "pattern",
        "types",
        "columns",
        "path",
        "type",
    ] {
        assert!(document.contains(&format!("`{key}`")), "{key}");
    }
    for field in FLOW_FIELDS {
        assert!(document.contains(&format!("`{}`", field.name)), "{}", field.name);
    }
    for metric in METRICS {
        let line = format!("| `{}` | {} | {} |", metric.name, metric.unit, metric.meaning);
        assert!(document.contains(&line), "{line}");
    }
    let limits = serde_json::to_value(Limits::default()).unwrap();
    for (name, value) in limits.as_object().unwrap() {
        assert!(document.contains(&format!("| `{name}` | {value} |")), "{name} {value}");
    }
}

#[test]
fn every_limit_stands_in_its_document_with_its_number_and_a_test_that_is_there() {
    let document = read("docs/limits.md");
    let code = read("shared/src/limits.rs");
    let constants: Vec<&str> = code.lines().filter_map(|line| line.strip_prefix("pub const MAX_")).collect();
    assert!(constants.len() > 20, "{constants:?}");
    for constant in constants {
        let (name, value) = constant.split_once(" = ").unwrap();
        let number = match value.trim_end_matches(';').split_once(" << ") {
            Some((number, by)) => number.parse::<u64>().unwrap() << by.parse::<u32>().unwrap(),
            None if value.starts_with("MAX_") => continue,
            None => value.trim_end_matches(';').replace('_', "").parse().unwrap(),
        };
        assert!(document.contains(&format!("| {number} |")), "{name}: {number}");
    }
    for (name, _) in serde_json::to_value(Limits::default()).unwrap().as_object().unwrap() {
        assert!(document.contains(&format!("| `{name}`, ")), "{name}");
    }
    let rust = ["shared", "worker", "coordinator", "cli", "tests"].map(|part| {
        let files = files_below(&root().join(part)).into_iter();
        files
            .filter(|file| Path::new(file).extension().is_some_and(|ending| ending == "rs"))
            .map(|file| read(&format!("{part}/{file}")))
            .collect::<String>()
    });
    let mut tests = 0;
    for row in document.lines().filter(|line| line.starts_with("| ")) {
        let last = row.trim_end_matches(" |").rsplit("| ").next().unwrap();
        if let Some((name, _)) = last.strip_prefix('`').and_then(|rest| rest.split_once('`')) {
            assert!(rust.iter().any(|code| code.contains(&format!("fn {name}("))), "{name}");
            tests += 1;
        }
    }
    assert!(tests > 20, "{tests}");
}

#[test]
fn the_runbook_has_a_page_for_every_reason_and_every_error() {
    let runbook = read("docs/operations.md");
    for reason in Reason::ALL {
        assert!(runbook.contains(&format!("### `{}`", reason.as_str())), "{}", reason.as_str());
    }
    for kind in WarningKind::ALL {
        let (heading, name) = (format!("### `{}`", kind.as_str()), kind.as_str());
        assert!(runbook.contains(&heading) || runbook.contains(&format!("### Warning `{name}`")), "{name}");
    }
    // The beginning of each message, as the enum's attributes give it.
    let errors = read("shared/src/error.rs");
    let messages: Vec<&str> =
        errors.split("#[error(").skip(1).filter_map(|rest| rest.split('"').nth(1)).collect();
    assert!(messages.len() >= 8);
    for message in messages {
        let front = message.split(['{', ':']).next().unwrap().trim();
        assert!(runbook.lines().any(|line| line.starts_with("### ") && line.contains(front)), "{front}");
    }
}

#[test]
fn the_runbook_has_a_page_for_every_alarm_and_every_line_of_the_logs() {
    let runbook = read("docs/operations.md");
    let alarms = read("cdk/lib/alarms.ts");
    let slugs: Vec<&str> =
        alarms.split("slug: '").skip(1).filter_map(|rest| rest.split('\'').next()).collect();
    assert!(slugs.len() >= 7, "{slugs:?}");
    for slug in slugs {
        assert!(runbook.contains(&format!("### alarm-{slug}\n")), "{slug}");
    }
    let of_fleet = read("docs/operations-fleet.md");
    let macros = regex::Regex::new(r#"(?s)\b(?:info|warn|error)!\(.*?"([^"]+)"\s*,?\s*\)"#).unwrap();
    let mut messages = 0;
    for file in [
        "worker/src/handler.rs",
        "worker/src/batch.rs",
        "worker/src/lambda.rs",
        "worker/src/poller.rs",
        "worker/src/telemetry.rs",
        "shared/aws/src/s3/body.rs",
    ] {
        // The message is the last argument of a macro.
        for call in macros.captures_iter(&read(file)) {
            let message = &call[1];
            assert!(of_fleet.contains(&format!("`{message}`")), "{file}: {message}");
            messages += 1;
        }
    }
    assert!(messages > 15, "{messages}");
}

#[test]
fn the_cost_document_has_the_numbers_of_the_estimate() {
    let document = read("docs/cost.md");
    let estimate = |count: u64, size: u64, memory_mb: u32| {
        let mut objects = Objects::default();
        (0..count).for_each(|_| objects.add(size));
        Estimate::new("", objects, memory_mb)
    };
    let day = estimate(17_280, 10_500_000, 1769);
    let idle = day.idle_month;
    let rows = [
        format!("S3 reads       = {S3_READS} x N"),
        format!("SQS requests   = {SQS_REQUESTS} x N"),
        format!("log bytes      = {LOG_BYTES} x N"),
        format!("| **total** | | **{:.4}** |", day.dollars.total),
        format!("| SQS requests | 5,184 | {:.4} |", day.dollars.sqs),
        format!("x 0.10 | {:.2} |", idle.alarms),
        format!("| 1 x 3.00 | {:.2} |", idle.dashboard),
        format!("requests | {:.2} |", idle.sqs),
        format!("| **total** | | **{:.2}** |", idle.total),
        format!("cost {:.2} dollars", estimate(4320, 42_000_000, 1769).dollars.total),
        format!("(172,800 of 1.05 MB), {:.2}", estimate(172_800, 1_050_000, 1769).dollars.total),
        format!("{:.3} dollars at 1024 MB", estimate(17_280, 10_500_000, 1024).dollars.total),
        format!("{:.3} at 512", estimate(17_280, 10_500_000, 512).dollars.total),
    ];
    for row in rows {
        assert!(document.contains(&row), "{row}");
    }
    let alarms = read("cdk/lib/alarms.ts");
    let count = alarms.matches("slug: '").count();
    // Each expression here watches two metrics.
    let metrics = count + alarms.matches("new MathExpression(").count();
    assert!((metrics as f64 - ALARM_METRICS).abs() < f64::EPSILON, "{metrics}");
    assert!(document.contains(&format!("{count} alarms with {metrics} metrics")), "{count} {metrics}");
    assert!((METRICS.len() as f64 - CUSTOM_METRICS).abs() < f64::EPSILON);
    let concurrency = format!("maxConcurrency: {MAX_CONCURRENCY},");
    assert!(read("cdk/lib/props.ts").contains(&concurrency), "{concurrency}");
}

#[test]
fn every_link_between_documents_leads_somewhere() {
    let documents = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"].map(str::to_owned).into_iter();
    let below = files_below(&root().join("docs")).into_iter().map(|file| format!("docs/{file}"));
    for document in documents
        .chain(below)
        .filter(|document| Path::new(document).extension().is_some_and(|ending| ending == "md"))
    {
        let text = read(&document);
        let directory = root().join(&document).parent().unwrap().to_owned();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = target.split('#').next().unwrap();
            if !file.is_empty() && !file.contains("://") {
                assert!(directory.join(file).exists(), "{document}: {target}");
            }
        }
    }
}
