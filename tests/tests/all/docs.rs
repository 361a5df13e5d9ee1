//! Compares the documents with the code: names, numbers, texts, tests and links.

pub(crate) mod markdown;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::Command,
};

use flowherd_cli::cost::{
    ALARM_METRICS, BATCH, CUSTOM_METRICS, Estimate, IdleMonth, LOG_BYTES, MAX_CONCURRENCY, MEMORY_MB,
    Objects, S3_READS, SQS_BATCH, Workers, live::LiveDay,
};
use flowherd_shared::{
    error::Reason,
    flow_fields::{FLOW_FIELDS, TGW_FIELDS},
    ledger::Warning,
    limits::Limits,
    report_page::{ADVICE, Advice},
};
use flowherd_tests::command::{files_below, flowherd};
use flowherd_worker::telemetry::METRICS;
use pulldown_cmark::HeadingLevel;
use regex::Regex;

use self::markdown::{Document, read, root};
use super::place::PROGRAM;

/// Source files below these directories, by path from the repository's root.
fn sources(directories: &[&str], extension: &str) -> BTreeMap<String, String> {
    let below = |directory: &&str| {
        files_below(&root().join(directory)).into_iter().map(|file| format!("{directory}/{file}")).collect()
    };
    let files = directories.iter().flat_map(|directory| -> Vec<String> { below(directory) });
    let has_extension = |file: &String| Path::new(file).extension().is_some_and(|end| end == extension);
    let sources: BTreeMap<_, _> =
        files.filter(has_extension).map(|file| (file.clone(), read(&file))).collect();
    assert!(!sources.is_empty(), "no {extension} files below {directories:?}");
    sources
}

const CRATES: [&str; 7] =
    ["cli/src", "coordinator/src", "indexer", "shared", "tests/src", "tests/tests", "worker/src"];

/// Names of the tests in a source file, including those in macros.
fn tests_in(source: &str) -> BTreeSet<&str> {
    let test = Regex::new(r"#\[test\]\s*(?:#\[[^\n]*\]\s*)*fn (\w+)\(").unwrap();
    test.captures_iter(source).map(|found| found.get(1).unwrap().as_str()).collect()
}

/// Tests of this binary by module path, as the harness lists them.
fn tests_of_this_binary() -> Vec<String> {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let output = command.args(["--list", "--format", "terse"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let list = String::from_utf8(output.stdout).unwrap();
    let tests: Vec<String> =
        list.lines().filter_map(|line| line.strip_suffix(": test").map(str::to_owned)).collect();
    assert!(tests.contains(&"docs::every_promise_names_one_test_that_exists".to_owned()), "{list}");
    tests
}

#[test]
fn every_promise_names_one_test_that_exists() {
    let document = Document::read("docs/semantics.md");
    let tests = tests_of_this_binary();
    let of_indexer = sources(&["indexer"], "rs");
    let of_indexer: Vec<&str> = of_indexer.values().flat_map(|source| tests_in(source)).collect();
    let mut promised = BTreeSet::new();
    for heading in document.headings_of(HeadingLevel::H3) {
        let named = document.tests();
        let named: Vec<&str> =
            named.iter().filter(|(of, _)| std::ptr::eq(*of, heading)).map(|(_, name)| *name).collect();
        let [name] = named[..] else { panic!("\"{}\" names {named:?}, not one test", heading.text) };
        let here = tests.iter().filter(|test| test.rsplit("::").next() == Some(name)).count();
        let found = here + of_indexer.iter().filter(|test| **test == name).count();
        assert_eq!(found, 1, "tests named {name}");
        assert!(promised.insert(name), "{name} is the test of two promises");
    }
    assert!(promised.len() > 30, "{promised:?}");
    let of_promises = tests.iter().filter_map(|test| test.strip_prefix("promises::"));
    let unnamed: Vec<&str> = of_promises
        .map(|test| test.rsplit("::").next().unwrap())
        .filter(|name| !promised.contains(name))
        .collect();
    assert_eq!(unnamed, [""; 0], "tests of promises.rs without a promise in docs/semantics.md");
}

#[test]
fn every_test_that_the_threat_model_names_exists() {
    let document = Document::read("docs/security.md");
    let rust = sources(&CRATES, "rs");
    let rust: BTreeSet<&str> = rust.values().flat_map(|source| tests_in(source)).collect();
    let cdk: String = sources(&["cdk/test"], "ts").into_values().collect();
    let tests = document.tests();
    assert!(tests.len() > 25, "{}", tests.len());
    for (_, name) in tests {
        assert!(rust.contains(name) || cdk.contains(&format!("test('{name}',")), "no test is named {name}");
    }
}

/// Names that the parser of the configuration expects in place of a wrong one.
fn expected(config: &str) -> BTreeSet<String> {
    let error = flowherd_shared::config::Config::parse(config).unwrap_err().to_string();
    let (_, names) = error.split_once("expected ").unwrap_or_else(|| panic!("{config}: {error}"));
    // The names of keys are in backquotes, and words are in quotes.
    let (names, quote) = names.split_once("; an example").map_or((names, '`'), |(words, _)| (words, '"'));
    let names: BTreeSet<String> = names.split(quote).skip(1).step_by(2).map(str::to_owned).collect();
    assert!(!names.is_empty(), "{config}: {error}");
    names
}

#[test]
fn every_flag_key_field_and_metric_is_in_the_configuration_document() {
    let document = Document::read("docs/configuration.md");
    let help = flowherd(PROGRAM, ["--help"]).stdout;
    let (_, commands) = help.split_once("Commands:\n").expect("commands");
    let commands = commands.lines().take_while(|line| !line.is_empty());
    let commands: Vec<&str> =
        commands.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help").collect();
    assert!(commands.len() >= 12, "{commands:?}");
    let flag = Regex::new(r"--[a-z][a-z0-9-]*").unwrap();
    for command in commands {
        let ran = flowherd(PROGRAM, [command, "--help"]);
        assert_eq!(ran.status, 0, "{ran:?}");
        let flags: BTreeSet<&str> = flag.find_iter(&ran.stdout).map(|found| found.as_str()).collect();
        assert!(flags.contains("--help"), "{command}: {flags:?}");
        for flag in flags.into_iter().filter(|flag| *flag != "--help") {
            assert!(document.has_code(flag), "{command} {flag}");
        }
    }
    let variable = Regex::new(r#""(FLOWHERD_[A-Z0-9_]+)""#).unwrap();
    let settings = sources(&["worker/src", "coordinator/src"], "rs");
    let variables: BTreeSet<&str> = settings
        .values()
        .flat_map(|source| variable.captures_iter(source).map(|found| found.get(1).unwrap().as_str()))
        .collect();
    assert!(variables.len() >= 9, "{variables:?}");
    for name in ["--poll", "--concurrency", "--grace"].into_iter().chain(variables) {
        assert!(document.has_code(name), "{name}");
    }
    let rule = |text: &str| format!("[[rule]]\nname = \"r\"\ntable = \"t\"\n{text}");
    let keys = [
        "x = 1".to_owned(),
        "[[rule]]\nx = 1".to_owned(),
        "[csv]\nx = 1".to_owned(),
        "[limits]\nx = 1".to_owned(),
        "[[enrich]]\nx = 1".to_owned(),
        "[[enrich]]\nsource = \"x\"".to_owned(),
        "[[enrich]]\nfile = \"x.csv\"\nmatch = \"x\"".to_owned(),
        "[[enrich]]\ncolumns = { a = { x = 1 } }".to_owned(),
        rule("match = { x = 1 }"),
        rule("on_mismatch = \"x\""),
        rule("bad_text = \"x\""),
        rule("lines = \"x\""),
        rule("decode = \"x\""),
        rule("timestamp = { x = 1 }"),
        rule("timestamp = { unit = \"x\" }"),
        rule("format = { kind = \"x\" }"),
        rule("format = { x = 1 }"),
        rule("format = { unknown_fields = \"x\" }"),
        rule("format = { delimiter = \"x\" }"),
        rule("format = { columns = [ { x = 1 } ] }"),
    ];
    let metadata =
        ["owner", "log_group", "log_stream", "event_id", "key", "extracted:NAME"].map(str::to_owned);
    for key in keys.iter().flat_map(|config| expected(config)).chain(metadata) {
        assert!(
            document.codes.iter().any(|code| Regex::new(&format!(r"\b{key}\b")).unwrap().is_match(code)),
            "{key}"
        );
    }
    for field in FLOW_FIELDS.iter().chain(TGW_FIELDS) {
        assert!(document.codes.contains(field.name), "{}", field.name);
    }
    let row = |cells: &[&str]| {
        document
            .rows
            .iter()
            .any(|(_, row)| row.len() >= cells.len() && row.iter().zip(cells).all(|(a, b)| a == b))
    };
    for metric in METRICS {
        assert!(row(&[&format!("`{}`", metric.name), metric.unit, metric.meaning]), "{}", metric.name);
    }
    for (name, value) in serde_json::to_value(Limits::default()).unwrap().as_object().unwrap() {
        assert!(row(&[&format!("`{name}`"), &value.to_string()]), "{name} {value}");
    }
}

#[test]
fn every_limit_is_in_its_document_with_its_number_and_a_test_that_exists() {
    let document = Document::read("docs/limits.md");
    let values: Vec<&str> =
        document.rows.iter().filter_map(|(_, row)| row.get(1).map(String::as_str)).collect();
    let code = read("shared/src/limits.rs");
    let constant = Regex::new(r"(?m)^pub const (MAX_\w+): \w+ = ([0-9_]+)(?: << ([0-9]+))?;").unwrap();
    let mut constants = 0;
    for found in constant.captures_iter(&code) {
        let number: u64 = found[2].replace('_', "").parse().unwrap();
        let number = number << found.get(3).map_or(0, |by| by.as_str().parse::<u32>().unwrap());
        assert!(values.contains(&number.to_string().as_str()), "{}: {number}", &found[1]);
        constants += 1;
    }
    assert!(constants > 20, "{constants}");
    for (name, _) in serde_json::to_value(Limits::default()).unwrap().as_object().unwrap() {
        let is_of = |value: &&&str| value.starts_with(&format!("`{name}`, "));
        assert!(values.iter().any(|value| is_of(&value)), "{name}");
    }
    let rust = sources(&CRATES, "rs");
    let test = Regex::new(r"^`(\w+)`(?: in `([^`]+)`)?$").unwrap();
    let mut tests = 0;
    for (_, row) in &document.rows {
        let Some(found) = row.last().and_then(|last| test.captures(last)) else { continue };
        let is_meant = |file: &&String| match found.get(2) {
            Some(path) => *file == path.as_str(),
            None => file.starts_with("tests/tests/all/"),
        };
        let files = rust.iter().filter(|(file, _)| is_meant(file));
        let is_there = files.flat_map(|(_, source)| tests_in(source)).any(|name| name == &found[1]);
        assert!(is_there, "no test {}", &row[row.len() - 1]);
        tests += 1;
    }
    assert!(tests > 20, "{tests}");
}

#[test]
fn the_runbook_has_a_section_for_every_reason_and_every_error() {
    let runbook = Document::read("docs/operations.md");
    for reason in Reason::ALL {
        assert!(runbook.has_heading(&format!("`{}`", reason.as_str())), "{}", reason.as_str());
    }
    for name in Warning::KINDS {
        let headings = [format!("`{name}`"), format!("Warning `{name}`")];
        assert!(headings.iter().any(|heading| runbook.has_heading(heading)), "{name}");
    }
    let errors = read("shared/src/error.rs");
    let message = Regex::new(r#"#\[error\(\s*"([^"]+)"#).unwrap();
    let value = Regex::new(r"\{[^}]*\}").unwrap();
    let messages: Vec<&str> = message
        .captures_iter(&errors)
        .map(|found| value.split(found.get(1).unwrap().as_str()))
        .filter_map(|mut parts| parts.find(|part| !part.trim().is_empty()))
        .map(|part| part.split(':').next().unwrap().trim())
        .collect();
    assert_eq!(messages.len(), errors.matches("#[error(").count(), "{messages:?}");
    assert!(messages.len() >= 8, "{messages:?}");
    for message in messages {
        let has_section = runbook.headings_of(HeadingLevel::H3).any(|heading| heading.text.contains(message));
        assert!(has_section && message.len() > 4, "{message}");
    }
}

#[test]
fn the_page_has_advice_for_every_error_in_the_runbook() {
    let runbook = read("docs/operations.md");
    let section = runbook.split("\n## ").find(|part| part.starts_with("Objects that failed")).unwrap();
    let headings: Vec<&str> = section.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    assert!(headings.len() > 15, "{headings:?}");
    for heading in &headings {
        assert!(ADVICE.iter().any(|advice| heading.contains(advice.error)), "{heading}");
    }
    for Advice { error, .. } in ADVICE {
        assert!(headings.iter().any(|heading| heading.contains(error)), "{error}");
    }
}

#[test]
fn the_runbook_has_a_section_for_every_alarm_and_every_log_message() {
    let runbook = Document::read("docs/operations.md");
    let alarms = ["alarms", "names-refresh", "live", "worker-service"];
    let alarms: String = alarms.iter().map(|file| read(&format!("cdk/lib/{file}.ts"))).collect();
    let slug = Regex::new("slug: '([^']+)'").unwrap();
    let slugs: Vec<&str> = slug.captures_iter(&alarms).map(|found| found.get(1).unwrap().as_str()).collect();
    assert!(slugs.len() >= 9, "{slugs:?}");
    for slug in slugs {
        assert!(runbook.has_heading(&format!("alarm-{slug}")), "{slug}");
    }
    let of_fleet = Document::read("docs/operations-fleet.md");
    // The message is the last argument of a macro.
    let macros = Regex::new(r#"(?s)\b(?:debug|info|warn|error)!\((?:[^;]*?)"([^"]+)"\s*,?\s*\)"#).unwrap();
    let sources = sources(&["worker/src", "coordinator/src", "shared/aws/src"], "rs");
    let (mut messages, mut missing) = (0, Vec::new());
    for (file, source) in &sources {
        let code = source.split("#[cfg(test)]").next().unwrap();
        // A message that begins with a placeholder is the text of an error.
        for call in macros.captures_iter(code).filter(|call| !call[1].starts_with('{')) {
            messages += 1;
            if !of_fleet.codes.contains(&call[1]) {
                missing.push(format!("{file}: {}", &call[1]));
            }
        }
    }
    assert!(messages > 15, "{messages}");
    assert_eq!(missing, [""; 0], "log messages without an entry in docs/operations-fleet.md");
}

#[test]
fn the_cost_document_has_the_numbers_of_the_estimate() {
    let document = read("docs/cost.md");
    let estimate = |count: u64, size: u64, memory_mb: u32| {
        let mut objects = Objects::default();
        (0..count).for_each(|_| objects.add(size));
        Estimate::new("", objects, &Workers::Lambda { memory_mb, concurrency: MAX_CONCURRENCY, batch: BATCH })
    };
    let fargate = Workers::Fargate { vcpu: 1.0, memory_mb: 2048, max_tasks: 10, backlog_per_task: 4 };
    let idle_of = |workers: &Workers| format!("{:.2} dollars", IdleMonth::new(workers).total);
    let day = estimate(17_280, 10_500_000, 1769);
    let idle = day.idle_month;
    let rows = [
        format!("5 metrics have alarms: {}", idle_of(&Workers::of_driver(true))),
        format!("tasks: {}", idle_of(&fargate)),
        format!("S3 reads       = {S3_READS} x N"),
        format!("SQS requests   = N / {SQS_BATCH} sends + 2 x (N / batchSize)"),
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
    // Each expression watches two metrics.
    let metrics = count + alarms.matches("new MathExpression(").count();
    assert!((metrics as f64 - ALARM_METRICS).abs() < f64::EPSILON, "{metrics}");
    assert!(document.contains(&format!("{count} alarms with {metrics} metrics")), "{count} {metrics}");
    assert!((METRICS.len() as f64 - CUSTOM_METRICS).abs() < f64::EPSILON);
    let props = read("cdk/lib/props.ts");
    for default in [
        format!("maxConcurrency: {MAX_CONCURRENCY},"),
        format!("batchSize: {BATCH},"),
        format!("workerMemoryMb: {MEMORY_MB},"),
    ] {
        assert!(props.contains(&default), "{default}");
    }
}

#[test]
fn the_cost_document_has_the_prices_of_the_estimate() {
    let document = read("docs/cost.md");
    let prices = read("cli/src/cost/prices.rs");
    let number = Regex::new(r"pub\(super\) const (\w+): f64 = ([\d._]+)").unwrap();
    let found: Vec<_> = number.captures_iter(&prices).map(|found| found.extract::<2>().1).collect();
    assert_eq!(found.len(), prices.matches("pub(super) const").count());
    for [name, value] in found {
        let value: f64 = value.replace('_', "").parse().unwrap();
        let shown = [format!("| {value} |"), format!("| {value:.2} |")];
        assert!(shown.iter().any(|shown| document.contains(shown)), "{name}: {value}");
    }
    for page in Regex::new("<(https://aws.amazon.com/[^>]+)>").unwrap().captures_iter(&prices) {
        assert!(document.contains(&format!("({})", &page[1])), "{}", &page[1]);
    }
}

#[test]
fn the_document_of_live_fleets_has_the_numbers_of_the_estimate() {
    let document = read("docs/live.md");
    let mut objects = Objects::default();
    (0..100_000).for_each(|_| objects.add(1_000_000));
    let day = |workers: &Workers| LiveDay::new(&Estimate::new("", objects, workers), workers);
    let of_lambda = day(&Workers::default());
    let [mut live, mut listed] = [0.0, 0.0];
    for row in &of_lambda.rows {
        let numbers = format!("| {:.3} | {:.3} |", row.live, row.listed);
        let has_row = |line: &str| line.starts_with(&format!("| {}", row.what)) && line.ends_with(&numbers);
        assert!(document.lines().any(has_row), "{row:?}");
        live += row.live;
        listed += row.listed;
    }
    assert!(document.contains(&format!("| **sum** | **{live:.3}** | **{listed:.3}** |")), "{live} {listed}");
    let fargate = Workers::Fargate { vcpu: 1.0, memory_mb: 2048, max_tasks: 10, backlog_per_task: 4 };
    let day = day(&fargate);
    let tasks = day.rows.iter().find(|row| row.what == "tasks on Fargate").unwrap();
    assert!(document.contains(&format!("runs the whole day: {:.2} with one vCPU", tasks.live)), "{tasks:?}");
}

/// All Markdown files of the repository by path.
fn documents() -> BTreeMap<String, Document> {
    let tops = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "cdk/README.md"];
    let below = sources(&["docs"], "md").into_keys();
    let paths = tops.map(str::to_owned).into_iter().chain(below);
    paths.map(|path| (path.clone(), Document::read(&path))).collect()
}

/// Why a link does not resolve, if so. `from` is the directory of its document.
fn broken(documents: &BTreeMap<String, Document>, from: &Document, link: &str) -> Option<&'static str> {
    if link.contains("://") || link.starts_with("mailto:") {
        return None;
    }
    let (file, anchor) = link.split_once('#').map_or((link, None), |(file, anchor)| (file, Some(anchor)));
    let mut path: Vec<&str> = from.path.split('/').collect();
    if !file.is_empty() {
        path.pop();
        for part in file.split('/') {
            match part {
                "." | "" => {}
                ".." => _ = path.pop(),
                part => path.push(part),
            }
        }
    }
    let path = path.join("/");
    if !root().join(&path).exists() {
        return Some("no such file");
    }
    let anchor = anchor?;
    let Some(document) = documents.get(&path) else {
        return Some("an anchor into a file that is not checked");
    };
    let has_anchor = document.headings.iter().any(|heading| heading.anchor == anchor);
    (!has_anchor).then_some("no such heading")
}

#[test]
fn every_link_of_a_document_leads_to_a_file_and_a_heading() {
    let documents = documents();
    let mut wrong = Vec::new();
    let mut links = 0;
    for document in documents.values() {
        for link in &document.links {
            links += 1;
            wrong.extend(
                broken(&documents, document, link).map(|why| format!("{}: {link}: {why}", document.path)),
            );
        }
    }
    assert!(links > 100, "{links}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_document_that_the_code_names_exists() {
    let documents = documents();
    let root = &documents["README.md"];
    let named = Regex::new(r"\bdocs/[a-z0-9/-]+\.md(?:#[a-z0-9_-]+)?").unwrap();
    let mut code = sources(&CRATES, "rs");
    code.extend(sources(&["cdk/lib", "cdk/test", "cdk/bin"], "ts"));
    let mut count = 0;
    for (file, source) in &code {
        // An anchor that ends with a hyphen is completed at run time.
        for name in named.find_iter(source).filter(|name| !name.as_str().ends_with('-')) {
            count += 1;
            assert_eq!(broken(&documents, root, name.as_str()), None, "{file}: {}", name.as_str());
        }
    }
    assert!(count > 10, "{count}");
}

#[test]
fn the_first_screen_of_the_readme_has_the_figures_of_the_measurements() {
    let measured = read("docs/performance.md");
    let cells = |program: &str| -> Vec<&str> {
        let row = measured.lines().find(|line| line.starts_with(&format!("| {program}"))).unwrap();
        row.split('|').map(str::trim).collect()
    };
    let readme = read("README.md");
    let first_screen: Vec<&str> = readme.lines().take(39).collect();
    let text = first_screen.join(" ");
    let claim = format!(
        "takes {} s of CPU: a Python script needs {} times as much, and Node's record streams {} times",
        cells("`flowherd convert --jobs 1`")[2],
        cells("Python: ")[3],
        cells("Node: one record at a time")[3]
    );
    assert!(text.contains(&claim), "{claim}");
    assert!(text.contains("docs/performance.md#repeat-the-measurements"), "how to repeat them");
}
