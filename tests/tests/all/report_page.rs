//! The page of a report: its content, its size, and that log content cannot leave its text.

mod size;

use std::{fs, path::Path, process::Command};

use flowherd_shared::{
    layout,
    ledger::{
        Destination, DocumentCounts, DoneObject, FieldNaming, IndexTarget, Job, Purged, RecordCounts,
        RejectExample, Report, ReportExample, ReportFailure, ReportState, RuleTotals, Run, Warning,
    },
    limits::MAX_REPORT_PERIODS,
    pipeline::RunConfig,
    report_page,
    times::{Period, TimeCounts},
};
use flowherd_tests::{
    command::flowherd,
    ledger::run,
    objects::{FLOW, envelope, event, gzip},
};
use html5gum::{DefaultEmitter, Token, Tokenizer};

use super::{
    fleet::Fleet,
    place::{PROGRAM, Place},
};

const HOUR: i64 = 3_600_000;
/// 2026-02-18T10:00:00Z.
const TEN: i64 = 1_771_408_800_000;

/// The tokens of a page, as browsers read it.
#[derive(Default)]
struct Tokens {
    /// Tags with their attributes, except for numbers in charts.
    tags: Vec<String>,
    attributes: Vec<(String, String, String)>,
    texts: Vec<String>,
}

fn tokens(page: &str) -> Tokens {
    let mut emitter = DefaultEmitter::<()>::default();
    emitter.naively_switch_states(true);
    let mut tokens = Tokens::default();
    let utf8 = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    for Ok(token) in Tokenizer::new_with_emitter(page, emitter) {
        match token {
            Token::StartTag(tag) => {
                let name = utf8(&tag.name);
                let names: Vec<String> = tag.attributes.keys().map(|name| utf8(name)).collect();
                tokens.tags.push(format!("{name} {}", names.join(" ")));
                for (attribute, value) in &tag.attributes {
                    tokens.attributes.push((name.clone(), utf8(attribute), utf8(value)));
                }
            }
            Token::EndTag(tag) => tokens.tags.push(format!("/{}", utf8(&tag.name))),
            Token::String(text) => tokens.texts.push(utf8(&text)),
            Token::Doctype(_) => {}
            Token::Comment(comment) => panic!("a comment: {}", utf8(&comment)),
            Token::Error(error) => panic!("not well-formed: {error:?}"),
        }
    }
    tokens
}

fn hours(count: i64, each: u64) -> TimeCounts {
    let mut counts = TimeCounts::default();
    (0..count)
        .for_each(|hour| counts.add_period(Period::hour_of(TEN + hour * HOUR), each, MAX_REPORT_PERIODS));
    counts
}

/// A run and a report with `text` in every field that holds text.
fn report_of(text: &str) -> (Run, Report) {
    let owned = || text.to_owned();
    let mut run = run("r", &RunConfig::default(), None);
    run.run = owned();
    run.prefix = owned();
    run.version = owned();
    run.started = owned();
    run.resumed = Some(owned());
    run.resumes = vec![owned()];
    run.fingerprint.config_hash = owned();
    run.fingerprint.names_hash = owned();
    let mut report = Report::new(&run);
    report.finished = owned();
    report.state = ReportState::Failed;
    report.objects.listed = 3;
    (report.objects.done, report.objects.failed) = (1, 2);
    report.records = RecordCounts { read: 2, rows: 1, rejected: 1, ..RecordCounts::default() };
    report.tables = [(owned(), 1)].into();
    report.rejects = [(owned(), 1)].into();
    let absent_columns = [owned()].into();
    report.rules =
        [(owned(), RuleTotals { rejects: [(owned(), 1)].into(), absent_columns, ..RuleTotals::default() })]
            .into();
    let example = RejectExample { rule: Some(owned()), reason: owned(), record: 1, message: owned() };
    report.examples = vec![ReportExample { key: owned(), example }];
    (report.times, report.arrivals, report.arrivals_by_day) = (hours(3, 1), hours(3, 1), hours(1, 1));
    let object = DoneObject { key: owned(), compressed_in: 1, decoded_in: 1, rows: 1, milliseconds: 1 };
    (report.slowest, report.largest) = (vec![object.clone()], vec![object]);
    report.warnings = vec![Warning::ObjectsWithoutRows { count: 1, key: owned() }];
    report.purged = Some(Purged { by: owned(), at: owned() });
    report.failures = vec![
        ReportFailure { key: owned(), error: owned() },
        ReportFailure { key: owned(), error: format!("truncated: {text}") },
    ];
    (run, report)
}

fn page_of(text: &str) -> String {
    let (run, report) = report_of(text);
    report_page::render(&run, &report)
}

#[test]
fn the_page_of_an_index_run_has_documents_and_no_rows_by_time() {
    let (mut run, mut report) = report_of("r");
    let destination = Destination::To("incident".to_owned());
    run.job = Job::Index(IndexTarget { destination, naming: FieldNaming::Columns });
    report.documents = Some(DocumentCounts { rows: 1_000, indexed: 700, existing: 299, refused: 1 });
    let page = report_page::render(&run, &report);
    for text in [
        "<h2>Documents</h2>",
        "<strong>700</strong> documents created",
        "<strong>299</strong> in the cluster before",
    ] {
        assert!(page.contains(text), "{text}");
    }
    assert!(!page.contains("Rows and objects by"), "{page}");
}

#[test]
fn hostile_text_stays_text_in_every_field() {
    // Not a valid name of a run either, so the commands have none.
    let harmless = tokens(&page_of("harm less"));
    let uses = harmless.texts.iter().map(|text| text.matches("harm less").count()).sum::<usize>();
    assert!(uses > 30, "{uses}");
    for hostile in [
        "<script>alert(1)</script>",
        "\"><img src=x onerror=alert(1)>",
        "' onload='alert(1)",
        "</title></style></textarea></code><iframe src=//x>",
        "<!-- ",
        "]]> <![CDATA[",
        "&lt;b&gt; &#60; &amp",
        "</svg><svg onload=alert(1)>",
        "{{1}} ${1} `x` $(x)",
    ] {
        let page = tokens(&page_of(hostile));
        assert_eq!(page.tags, harmless.tags, "{hostile}");
        let attributes = |tokens: &Tokens| -> Vec<_> {
            tokens.attributes.iter().map(|(_, _, value)| value.clone()).collect()
        };
        assert_eq!(attributes(&page), attributes(&harmless), "{hostile}");
        // Every text is the harmless one with the hostile text in its place, except JSON, which escapes quotes.
        let is_json = |text: &str| text.starts_with(['{', '[']);
        let expected = harmless.texts.iter().map(|text| text.replace("harm less", hostile));
        for (text, expected) in page.texts.iter().zip(expected).filter(|(text, _)| !is_json(text)) {
            assert_eq!(*text, expected);
        }
    }
}

#[test]
fn the_name_of_a_forged_run_is_not_in_a_command() {
    let commands = |page: &str| -> Vec<String> {
        let page = tokens(page);
        page.texts
            .into_iter()
            .filter(|text| text.contains("find runs/") || text.contains("run = '"))
            .collect()
    };
    let page = page_of("r; rm -rf ~ '");
    assert!(commands(&page).len() > 10);
    assert!(commands(&page).iter().all(|command| !command.contains("rm -rf") && command.contains("RUN")));
    assert!(commands(&page_of("run-1")).iter().all(|command| command.contains("run-1")));
}

#[test]
fn the_page_has_no_scripts_and_loads_nothing() {
    let page = page_of("x");
    let tokens = tokens(&page);
    let forbidden = [
        "script",
        "link",
        "iframe",
        "img",
        "image",
        "object",
        "embed",
        "base",
        "form",
        "a",
        "use",
        "foreignobject",
    ];
    for tag in &tokens.tags {
        assert!(!forbidden.contains(&tag.trim_start_matches('/').split(' ').next().unwrap()), "{tag}");
    }
    for (tag, name, value) in &tokens.attributes {
        let loads =
            ["src", "href", "xlink:href", "srcset", "style", "action", "data", "poster", "background"];
        assert!(!loads.contains(&&**name) && !name.starts_with("on"), "{tag} {name}");
        assert!(!value.contains("//") || name == "xmlns", "{tag} {name}={value}");
    }
    let style = page.split("<style>").nth(1).unwrap().split("</style>").next().unwrap();
    assert!(style.len() > 1000 && !style.contains("url(") && !style.contains("@import"), "{style}");
    assert!(page.contains("default-src 'none'"));
}

#[test]
fn every_chart_has_a_title_a_description_and_a_table() {
    let page = page_of("x");
    let charts: Vec<&str> =
        page.split("<svg").skip(1).map(|chart| chart.split("</svg>").next().unwrap()).collect();
    assert_eq!(charts.len(), 4);
    for chart in &charts {
        assert!(
            chart.contains("<title>") && chart.contains("<desc>") && chart.contains(r#"role="img""#),
            "{chart}"
        );
    }
    let tables = page.matches("<table").count();
    assert!(tables >= 3, "{tables}");
}

/// A run with rows in two hours and a gap, rejects of two reasons, and a failed object.
fn day() -> Place {
    let place = Place::new();
    let rows = |ms: i64, count: i64| -> Vec<String> {
        (0..count).map(|number| event(ms + number * 1000, FLOW)).collect()
    };
    let bad = event(TEN, "<b onclick=alert(1)>GET / 200</b>");
    place.object("firehose/2026/02/18/10/a.gz", &gzip(envelope("vpc", &rows(TEN, 40)).as_bytes()));
    place.object(
        "firehose/2026/02/18/11/b.gz",
        &gzip(envelope("vpc", &[rows(TEN + 30_000, 5), vec![bad]].concat()).as_bytes()),
    );
    place.object("firehose/2026/02/18/14/c.gz", &gzip(envelope("vpc", &rows(TEN + 4 * HOUR, 20)).as_bytes()));
    place.object("firehose/2026/02/18/14/d.gz", &gzip(envelope("vpc", &rows(TEN, 20)).as_bytes())[..60]);
    place
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> T {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// The page of a run and report with fixed times and durations.
fn page_at_fixed_times(mut run: Run, mut report: Report) -> String {
    "VERSION".clone_into(&mut run.version);
    "2026-02-19T00:00:00.000Z".clone_into(&mut run.started);
    report.started.clone_from(&run.started);
    "2026-02-19T00:01:30.000Z".clone_into(&mut report.finished);
    report.slowest.iter_mut().chain(&mut report.largest).for_each(|object| object.milliseconds = 7);
    report.slowest.clone_from(&report.largest);
    report_page::render(&run, &report)
}

#[test]
fn the_page_of_a_small_day() {
    let place = day();
    assert_eq!(place.convert(&["--run", "r"]).status, 1);
    let out = place.path("out");
    let (run, report): (Run, Report) =
        (read(&out.join(layout::run("r"))), read(&out.join(layout::report("r"))));
    assert_eq!(
        fs::read_to_string(out.join(layout::report_page("r"))).unwrap(),
        report_page::render(&run, &report)
    );
    insta::assert_snapshot!(page_at_fixed_times(run, report));
}

#[test]
fn convert_and_the_fleet_write_the_same_page() {
    let place = Place::new();
    let fleet = Fleet::new(12);
    for (key, bytes) in (0..12).map(|number| super::fleet::object("firehose", number)) {
        place.object(&key, &bytes);
    }
    assert_eq!(place.convert(&["--run", "r", "--prefix", "firehose/"]).status, 0);
    let report = fleet.finish(fleet.begin("r", "firehose/"));
    let files = fleet.store.files();
    let run: Run = serde_json::from_slice(&files[&layout::run("r")]).unwrap();
    let page = std::str::from_utf8(&files[&layout::report_page("r")]).unwrap();
    assert_eq!(page, report_page::render(&run, &report));
    let out = place.path("out");
    let local = page_at_fixed_times(read(&out.join(layout::run("r"))), read(&out.join(layout::report("r"))));
    assert_eq!(local, page_at_fixed_times(run, report));
}

/// The texts of the page's code of a class.
fn code_of(page: &str, class: &str) -> Vec<String> {
    let start = format!("<code class=\"{class}\">");
    let parts = page.split(&start).skip(1);
    parts.map(|part| tokens(part.split("</code>").next().unwrap()).texts.concat()).collect()
}

/// A run with one row in each hour; an object has 100 hours.
fn one_row_an_hour(hours: i64) -> Place {
    let place = Place::new();
    let events: Vec<String> = (0..hours).map(|hour| event(TEN + hour * HOUR, FLOW)).collect();
    for (number, events) in events.chunks(100).enumerate() {
        place.object(&format!("firehose/{number}.gz"), &gzip(envelope("vpc", events).as_bytes()));
    }
    place
}

#[test]
fn each_command_of_the_page_prints_the_number_of_the_page() {
    let empty = Place::new();
    fs::create_dir_all(empty.path("in")).unwrap();
    // 20 days are more hours than a report counts. Receipts of 100 hours count days, and those of fewer count hours.
    let places = [(day(), 9), (one_row_an_hour(30), 9), (one_row_an_hour(490), 9), (empty, 7)];
    for (place, checks) in places {
        place.convert(&["--run", "r"]);
        let page = fs::read_to_string(place.path("out/runs/r/report.html")).unwrap();
        let (commands, expected) = (code_of(&page, "command"), code_of(&page, "expected"));
        assert_eq!((commands.len(), expected.len()), (checks, checks));
        for (command, expected) in commands.iter().zip(&expected) {
            let ran =
                Command::new("bash").args(["-c", command]).current_dir(place.path("out")).output().unwrap();
            assert!(ran.status.success() && ran.stderr.is_empty(), "{command}: {ran:?}");
            assert_eq!(String::from_utf8(ran.stdout).unwrap().trim(), expected, "{command}");
        }
        assert_eq!(code_of(&page, "sql").len(), checks);
    }
}

#[test]
fn a_run_whose_page_cannot_be_written_has_its_report_and_a_warning() {
    let place = Place::new();
    place.object("firehose/a.gz", &gzip(envelope("vpc", &[event(TEN, FLOW)]).as_bytes()));
    place.convert(&["--run", "r"]);
    let page = place.path("out/runs/r/report.html");
    fs::remove_file(&page).unwrap();
    fs::remove_file(place.path("out/runs/r/report.json")).unwrap();
    // A directory with a file cannot be replaced by a file.
    fs::create_dir(&page).unwrap();
    fs::write(page.join("x"), "x").unwrap();
    let ran = place.convert(&["--run", "r", "--resume"]);
    assert_eq!(ran.status, 0, "{ran:?}");
    assert!(ran.stderr.contains("warning: cannot write the page of the report: "), "{ran:?}");
    let report: Report = read(&place.path("out/runs/r/report.json"));
    assert_eq!(report.state, ReportState::Done);
}

#[test]
fn one_object_or_row_has_the_singular() {
    let place = Place::new();
    place.object("firehose/a.gz", &gzip(envelope("vpc", &[event(TEN, FLOW)]).as_bytes()));
    assert_eq!(place.convert(&["--run", "r"]).status, 0);
    let page = fs::read_to_string(place.path("out/runs/r/report.html")).unwrap();
    assert!(page.contains("The object is done. ") && page.contains("<strong>1</strong> row<"), "{page}");
    let (run, mut report) = report_of("x");
    report.rules = (0..25)
        .map(|rule| {
            let totals = RuleTotals { rejects: [("x".to_owned(), 1)].into(), ..RuleTotals::default() };
            (format!("rule-{rule:02}"), totals)
        })
        .collect();
    report.rejects = [("x".to_owned(), 25)].into();
    let page = report_page::render(&run, &report);
    assert!(page.contains("And 5 more pairs of rule and reason in report.json."), "{page}");
}

#[test]
fn the_advice_for_a_w3c_header_names_no_rule() {
    let (run, mut report) = report_of("x");
    let error = "the header line names \"date\" twice, so its values are ambiguous; correct the header line";
    report.failures = vec![ReportFailure { key: "k".to_owned(), error: error.to_owned() }];
    let page = report_page::render(&run, &report);
    assert!(page.contains("Correct the header line of the W3C log, or exclude the object."), "{page}");
    assert!(!page.contains("into the rule"), "{page}");
}

#[test]
fn report_writes_the_page_of_a_local_run_to_the_file() {
    let place = day();
    place.convert(&["--run", "r"]);
    let (out, file) = (place.path("out"), place.path("page.html"));
    let (out, file) = (out.to_str().unwrap(), file.to_str().unwrap());
    let ran = flowherd(PROGRAM, ["report", "r", "--results", out, "--html", file]);
    assert_eq!(ran.status, 1, "{ran:?}");
    assert!(ran.stdout.starts_with("run r: failed\n"), "{ran:?}");
    assert_eq!(fs::read(file).unwrap(), fs::read(place.path("out/runs/r/report.html")).unwrap());

    let ran = flowherd(PROGRAM, ["report", "r", "--results", out, "--html", "/nowhere/page.html"]);
    assert_eq!(ran.status, 1);
    assert!(ran.stderr.contains("--html /nowhere/page.html: cannot write the page: "), "{ran:?}");
    let ran = flowherd(PROGRAM, ["report", "other", "--results", out]);
    assert_eq!((ran.status, ran.stderr.contains("no run named \"other\" in ")), (2, true), "{ran:?}");
    fs::remove_file(place.path("out/runs/r/report.json")).unwrap();
    let ran = flowherd(PROGRAM, ["report", "r", "--results", out]);
    assert_eq!((ran.status, ran.stderr.contains("run r has no report")), (1, true), "{ran:?}");
}

#[test]
fn a_receipt_has_rows_by_hour_and_the_first_reject_of_each_rule_and_reason() {
    let place = Place::new();
    let rules = "[[rule]]\nname = 'app'\ntable = 'app'\nmatch = { log_group = 'app' }\nformat = { kind = 'json', columns = [ { name = 'a', path = '/a' } ] }\n";
    place.file("flowherd.toml", rules.as_bytes());
    let long = "ü".repeat(300);
    let app = envelope(
        "app",
        &[
            event(TEN, "{\"a\":1}"),
            event(TEN + HOUR, "{\"a\":1}"),
            event(TEN, &long),
            event(TEN, "second"),
            event(TEN, "{\"b\":1}"),
        ],
    );
    let lines = "no rule takes this line\n";
    place.object("k", &[app.into_bytes(), lines.into()].concat());
    let config = place.path("flowherd.toml");
    place.report(&["--run", "r", "--config", config.to_str().unwrap()]);
    let receipt: serde_json::Value = read(&place.path("out/runs/r/receipts/k.json"));
    assert_eq!(receipt["times"], serde_json::json!({ "2026-02-18T10": 1, "2026-02-18T11": 1 }));
    assert_eq!(
        receipt["examples"],
        serde_json::json!([
            { "rule": "app", "reason": "not-json", "record": 2, "message": "ü".repeat(200) },
            { "rule": "app", "reason": "no-columns", "record": 4, "message": "{\"b\":1}" },
            { "reason": "no-rule", "record": 5, "message": "no rule takes this line" },
        ])
    );
}

/// What Chromium finds in a page: an entry for each view.
fn views(page: &Path) -> Vec<serde_json::Value> {
    let browser = Path::new(env!("CARGO_MANIFEST_DIR")).join("browser");
    // Kept, so that a person can look at them.
    let pictures = Path::new(env!("CARGO_TARGET_TMPDIR")).join("report-page");
    fs::create_dir_all(&pictures).unwrap();
    let mut node = Command::new("node");
    let ran = node.arg(browser.join("page.mjs")).args([page, &pictures]).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let views: Vec<serde_json::Value> = serde_json::from_slice(&ran.stdout).unwrap();
    assert_eq!(views.len(), 5);
    views
}

/// `make test` skips this test by its name where the browser does not start.
#[test]
#[ignore = "needs tests/browser/node_modules; run `make test`"]
fn a_browser_shows_the_page_at_any_width_in_light_dark_and_print_and_sends_no_request() {
    let place = day();
    place.convert(&["--run", "r"]);
    let hostile = page_of("<script>alert(1)</script><img src=https://127.0.0.1/x onerror=alert(1)>");
    place.file("hostile.html", hostile.as_bytes());
    let none = serde_json::json!([]);
    for page in ["out/runs/r/report.html", "hostile.html"] {
        let views = views(&place.path(page));
        let paper = |name: &str| views.iter().find(|view| view["name"] == name).unwrap()["paper"].clone();
        for view in &views {
            assert_eq!((&view["requests"], &view["messages"]), (&none, &none), "{view}");
            assert_eq!((&view["overflow"], &view["scripts"]), (&0.into(), &0.into()), "{view}");
            assert_eq!(view["barriers"], none, "{view}");
            let charts = view["charts"].as_array().unwrap();
            assert_eq!(charts.len(), 4, "{view}");
            for chart in charts {
                let (width, marks) = (chart["width"].as_f64().unwrap(), chart["marks"].as_u64().unwrap());
                assert!(width > 300.0 && marks > 0, "{view}");
                assert_ne!(chart["fill"], "rgb(0, 0, 0)", "{view}");
            }
        }
        assert_eq!(paper("print"), "rgb(255, 255, 255)");
        assert_eq!(paper("wide-light"), "rgb(255, 255, 255)");
        assert_ne!(paper("wide-dark"), paper("wide-light"));
    }
    // The same checks find faults in a page that has them.
    let faults = "<!doctype html><title>x</title><p style='color:#ccc'>little contrast</p><p style='width:2000px'>x</p>\
                  <img src='http://127.0.0.1:9/x' alt='x'><script>console.log('ran')</script>";
    place.file("faults.html", faults.as_bytes());
    for view in views(&place.path("faults.html")) {
        assert_eq!(view["requests"], serde_json::json!(["http://127.0.0.1:9/x"]));
        assert!(view["messages"].to_string().contains("\"ran\""), "{view}");
        assert_eq!(view["scripts"], 1, "{view}");
        assert!(view["overflow"].as_u64().unwrap() > 500, "{view}");
        assert!(view["barriers"].to_string().contains("color-contrast"), "{view}");
    }
}
