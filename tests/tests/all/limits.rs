//! Limits of settings, messages and ledger files. Input above a limit is refused with a line that names what to do.
//! docs/limits.md has each limit with its test.

mod ledger;

use flowherd_shared::{
    config::Config,
    limits::{
        MAX_ARRAY_STEPS, MAX_ARRAYS, MAX_CIDR_BLOCKS, MAX_COLUMNS, MAX_CONFIG_BYTES, MAX_INTERFACES,
        MAX_NAME_BYTES, MAX_NAMES_BYTES, MAX_NETWORKS, MAX_REGEX_BYTES, MAX_REGEXES, MAX_RULES, MAX_TABLES,
    },
    names::NameIndex,
    pipeline::RunConfig,
};
use flowherd_tests::{
    command::{Ran, Running, flowherd},
    fake::{MemorySource, MemoryStore},
    objects::{FLOW, convert, envelope, event, gzip},
};
use flowherd_worker::processor::{Control, ObjectProcessor, Outcome};
use serde_json::Value;

use super::place::{PROGRAM, Place};

/// Maximum CPU seconds for the worst settings and messages: far more than bounded work takes in an unoptimized build, and far
/// less than unbounded work takes. The kernel counts them per process, so other processes do not matter.
const CPU_SECONDS: u32 = 20;

/// Runs `flowherd convert` in a place with its `f.toml`. The kernel kills the process after [`CPU_SECONDS`].
fn convert_in_bounded_time(place: &Place, more: &[&str]) -> Ran {
    let script = format!("ulimit -t {CPU_SECONDS} && exec \"$@\"");
    let config = place.path("f.toml");
    let args = place.convert_args(&[&["--config", config.to_str().unwrap()], more].concat());
    let bash = ["-c", &script, "bash", PROGRAM].map(str::to_owned);
    Running::start("bash", bash.into_iter().chain(args)).output()
}

fn config(text: &str) -> RunConfig {
    RunConfig::from(Config::parse(text).unwrap())
}

/// An object with `rejects` rejects and two rows.
fn noisy(rejects: usize) -> Vec<u8> {
    let odd = (0..rejects).map(|_| event(2, "no flow log"));
    let events: Vec<String> = [event(1, FLOW)].into_iter().chain(odd).chain([event(3, FLOW)]).collect();
    gzip(envelope("g", &events).as_bytes())
}

#[test]
fn an_object_with_too_many_rejects_fails() {
    let place = Place::new();
    place.object("few", &noisy(10)).object("many", &noisy(11)).object("none", &noisy(0));
    place.file("f.toml", b"[limits]\nmax_rejects = 10\n");
    let args = ["--config", place.path("f.toml").to_str().unwrap(), "--run", "r"].map(str::to_owned);
    let report = place.report(&args.each_ref().map(String::as_str));
    assert_eq!((&report["objects"]["done"], &report["objects"]["failed"]), (&2.into(), &1.into()));
    assert_eq!((&report["records"]["rejected"], &report["records"]["rows"]), (&10.into(), &4.into()));
    assert_eq!(
        report["failures"][0]["error"],
        "too many rejects: 11 of 13 records (limits.max_rejects is 10). Rule \"vpc-flow\" rejected 11 of them as \
         field-count. Run `flowherd explain` on the object, then correct the rule or raise the limit"
    );
    let written: Vec<String> = place.results().into_keys().collect();
    assert_eq!(written, ["csv/vpc_flow/few.csv.gz", "csv/vpc_flow/none.csv.gz", "rejects/few.jsonl.gz"]);

    // Outputs of an earlier run remain. Above the limit, nothing more is written.
    let source = MemorySource::from_iter([("k".to_owned(), noisy(50_000))]);
    let (store, few) = (MemoryStore::default(), config("[limits]\nmax_rejects = 10\n"));
    let work = |plan: &RunConfig| {
        ObjectProcessor::new("r", plan, &source, &store)
            .process_unqueued(&source.entry("k"), &Control::NEVER_STOP)
            .unwrap()
    };
    assert!(matches!(work(&config("[limits]\nmax_reject_percent = 100\n")), Outcome::Done(_)));
    let published = store.files();
    store.fail_at(None);
    let Outcome::Failed(failure) = work(&few) else { panic!("the object did not fail") };
    assert!(failure.error().starts_with("too many rejects: 50000 of 50002 records"), "{}", failure.error());
    // Two reads of an earlier failure, two new outputs, and the failure. No member of an output is written.
    assert_eq!(store.operations(), 5);
    for (path, bytes) in published {
        assert_eq!(store.files()[&path], bytes, "{path}");
    }
}

#[test]
fn explain_shows_the_rejects_of_an_object_that_has_too_many() {
    let place = Place::new();
    place.object("k", &noisy(11));
    place.file("f.toml", b"[limits]\nmax_rejects = 10\nmax_reject_bytes = 1024\n");
    let (object, config) = (place.path("in/k"), place.path("f.toml"));
    let args = ["explain", object.to_str().unwrap(), "--config", config.to_str().unwrap()];
    let ran = flowherd(PROGRAM, args);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    assert!(
        ran.stdout.contains("rejected: field-count") && ran.stdout.contains("\"message\":\"no flow log\"")
    );
    assert_eq!(ran.stderr.lines().count(), 2, "{}", ran.stderr);
    assert!(ran.stderr.starts_with(
        "flowherd: `flowherd convert` fails this object: 11 rejects, and limits.max_rejects is 10\nflowherd: `flowherd convert` fails this object: "
    ));
    assert!(
        ran.stderr.ends_with(" bytes of rejects, and limits.max_reject_bytes is 1024\n"),
        "{}",
        ran.stderr
    );
}

#[test]
fn rejects_of_too_many_bytes_fail_the_object_too() {
    let rejects = |bytes: u64| {
        let plan = config(&format!("[limits]\nmax_reject_bytes = {bytes}\n"));
        let (counts, outputs) = convert(&noisy(10)[..], "k", &plan).map_err(|error| error.to_string())?;
        assert_eq!(counts.rejected, 10);
        Ok::<_, String>(outputs[1].1.len() as u64)
    };
    let bytes = rejects(1 << 20).unwrap();
    assert_eq!(rejects(bytes), Ok(bytes));
    let error = rejects(bytes - 1).unwrap_err();
    assert!(error.starts_with("too many rejects: 10 of 12 records"), "{error}");
    assert!(error.contains(&format!("(limits.max_reject_bytes is {})", bytes - 1)), "{error}");
}

#[test]
fn an_object_error_takes_precedence_over_its_rejects() {
    let plan = config("[limits]\nmax_rejects = 3\n");
    let whole = noisy(100);
    let error = convert(&whole[..whole.len() - 4], "k", &plan).unwrap_err().to_string();
    assert!(error.starts_with("truncated: "), "{error}");
    let lines = format!("{}start start\n", "odd\n".repeat(10));
    assert!(convert(lines.as_bytes(), "k", &plan).unwrap_err().to_string().contains("twice"));
}

fn rule(name: &str, table: &str, format: &str) -> String {
    format!("[[rule]]\nname = '{name}'\ntable = '{table}'\nformat = {{ {format} }}\n")
}

fn regex(pattern: &str) -> String {
    rule("r", "t", &format!("kind = 'regex', pattern = '{pattern}'"))
}

fn json_columns(from: usize, to: usize) -> String {
    let columns = (from..to).map(|number| format!("{{ name = 'c{number}', path = '/c{number}' }}"));
    format!("kind = 'json', columns = [ {} ]", columns.collect::<Vec<_>>().join(", "))
}

fn json_query(query: &str) -> String {
    format!("kind = 'json', columns = [ {{ name = 'q', jsonpath = {query:?} }} ]")
}

fn many(count: usize, one: impl Fn(usize) -> String) -> String {
    (0..count).map(one).collect()
}

#[test]
fn settings_that_would_exhaust_memory_or_time_are_refused_in_bounded_time() {
    let flow = "kind = 'vpc-flow'";
    let one = |number: usize| rule(&format!("r{number}"), "t", flow);
    let of_table = |number: usize| rule(&format!("r{number}"), &format!("t{number}"), flow);
    let of_regex = |number: usize| rule(&format!("r{number}"), "t", "kind = 'regex', pattern = '(?P<a>.)'");
    let of_message = |number: usize| one(number) + &format!("match.message = 'm{number}'\n");
    let of_array = |number: usize| one(number) + &format!("records = '/a{number}'\n");
    let array = |pointer: &str| one(0) + &format!("records = '{pointer}'\n");
    let groups = many(200, |number| format!(r"(?P<g{number}>\w+) "));
    let nested = |front: &str, back: &str| {
        format!("{}1{}", front.repeat(MAX_CONFIG_BYTES / 8), back.repeat(MAX_CONFIG_BYTES / 8))
    };
    let cases = [
        ("#".repeat(MAX_CONFIG_BYTES + 1), "has more than 1048576 bytes, the limit of this file"),
        (many(MAX_RULES + 1, one), "257 rules: the limit is 256"),
        (many(MAX_TABLES + 1, of_table), "65 tables: the limit is 64"),
        (many(MAX_REGEXES + 1, of_regex), "33 regular expressions: the limit is 32"),
        (many(MAX_REGEXES + 1, of_message), "33 regular expressions: the limit is 32"),
        (
            rule("r", "t", &json_query(&format!("$[?{}]", "match(@,'a.')||".repeat(60) + "@"))).repeat(18),
            "1080 calls of match() and search() in queries: the limit is 1024",
        ),
        (rule("r", "t", &json_query("$[?match(@, '(a{1,100}){1,100}')]")), "too large when it is compiled"),
        (rule("r", "t", &json_query(&format!("$[?{}@", "length(".repeat(100)))), "nested deeper than 8"),
        (many(MAX_ARRAYS + 1, of_array), "17 different arrays of records: the limit is 16"),
        (array(&"/a".repeat(MAX_ARRAY_STEPS + 1)), "has more than 8 steps"),
        (array(&format!("/{}", "a".repeat(65))), "or one of more than 64 bytes"),
        (regex(&"a".repeat(MAX_REGEX_BYTES + 1)), "has 16385 bytes: the limit is 16384"),
        (regex("(?P<a>(a{1,1000}){1,1000})"), "too large when it is compiled"),
        (regex("(?P<a>((((((a{9}){9}){9}){9}){9}){9}){9})"), "too large when it is compiled"),
        (regex(r"(?P<a>(\w{1,100}){1,100})"), "too large when it is compiled"),
        (regex(&groups), "too large when it is compiled"),
        (regex(&format!("(?P<a>{}{})", "(".repeat(8000), ")".repeat(8000))), "nest"),
        (rule("r", "t", &json_columns(0, MAX_COLUMNS + 1)), "has 1001 columns"),
        (
            rule("r", "t", &json_columns(0, 600)) + &rule("s", "t", &json_columns(500, 1100)),
            "more than 1000 columns together",
        ),
        (rule("r", "t", &format!("{flow}, fields = '{}'", "${x} ".repeat(100_000))), "100000 words"),
        (format!("a = {}", nested("[", "]")), "nested too deeply for a flowherd.toml"),
        (format!("a = {}", nested("{a=", "}")), "nested too deeply for a flowherd.toml"),
        (format!("{}a = 1", "a.".repeat(MAX_CONFIG_BYTES / 4)), "nested too deeply for a flowherd.toml"),
        (format!("[{}a]", "a.".repeat(MAX_CONFIG_BYTES / 4)), "nested too deeply for a flowherd.toml"),
        (format!("x = '{}'", "y".repeat(MAX_CONFIG_BYTES / 2)), "unknown field"),
        ("recursive = 1".to_owned(), "line 1: unknown field `recursive`"),
        (many(MAX_RULES, |_| rule(&"n".repeat(3000), "T", flow)), "and 717 more problems"),
    ];
    let place = Place::new();
    for (text, expected) in cases {
        place.file("f.toml", text.as_bytes());
        let ran = convert_in_bounded_time(&place, &[]);
        assert_eq!(ran.status, 2, "{expected}: {ran:.2000?}");
        assert!(ran.stderr.contains(expected), "{expected}: {:.2000}", ran.stderr);
        let lines = || ran.stderr.lines();
        assert!(lines().count() <= 51 && lines().all(|line| line.len() < 2600), "{:.5000}", ran.stderr);
    }
    // Usual settings are far below.
    for pattern in [
        r"^(?P<level>\w+) (?P<src>\S+) -> (?P<dst>\S+)$",
        r#"^(?P<ip>\S+) \S+ (?P<user>\S+) \[(?P<time>[^\]]+)\] "(?P<method>\w+) (?P<path>\S+) (?P<proto>[^"]*)" (?P<status>\d{3}) (?P<size>\d+|-) "(?P<referer>[^"]*)" "(?P<agent>[^"]*)"$"#,
        r"(?P<date>\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,9})?(Z|[+-]\d{2}:\d{2})) (?P<word>\w{1,16}) (?P<rest>.*)",
    ] {
        Config::parse(&regex(pattern)).unwrap();
    }
}

#[test]
fn the_slowest_accepted_pattern_ends() {
    // Each pattern keeps its maximum number of states alive and never matches. The longest message by default has 26 times as
    // many bytes, and takes 26 times as long.
    let slow: [fn(usize) -> String; 3] = [
        |states| format!("(?P<a>[ab]*a[ab]{{{states}}}c)"),
        |states| format!("(?P<a>(a?){{{states}}}c)"),
        |states| format!("(?P<a>.{{0,{states}}}c)"),
    ];
    for pattern in slow {
        let taken = |states: &usize| Config::parse(&regex(&pattern(*states))).is_ok();
        let states = (0..20).map(|power| 1 << power).take_while(taken).last().unwrap();
        let message: String = "ab".repeat(20_000).chars().rev().collect();
        let place = Place::new();
        place.object("k", envelope("g", &[event(1, &message)]).as_bytes());
        place.file("f.toml", regex(&pattern(states)).as_bytes());
        let ran = convert_in_bounded_time(&place, &["--json"]);
        assert_eq!(ran.status, 0, "{}: {ran:?}", pattern(states));
        let report: Value = serde_json::from_str(&ran.stdout).unwrap();
        assert_eq!(report["rejects"], serde_json::json!({ "no-match": 1 }));
    }
}

#[test]
fn a_header_line_of_any_length_is_refused_in_bounded_time() {
    let line = |word: &str, after: &str| format!("{word} ").repeat(60_000) + after + "\n" + FLOW + "\n";
    let error = |text: &str| convert(text.as_bytes(), "k", &RunConfig::default()).unwrap_err().to_string();
    assert!(error(&line("start", "")).contains("twice"));
    assert!(error(&line("start next-year", "")).len() < 200);
    // Field names at the end of a long line are a header line joined to it. Between other words they are not.
    assert!(error(&line("x", &"start ".repeat(60_001))).contains("is joined to other text"));
    let (counts, _) = convert(
        line("x", &("start end srcaddr ".repeat(9) + &"x ".repeat(9000))).as_bytes(),
        "k",
        &RunConfig::default(),
    )
    .unwrap();
    assert_eq!((counts.rows, counts.rejected), (1, 1));
}

fn names(interfaces: usize, subnets: usize, blocks: usize) -> String {
    let list =
        |count: usize, one: &dyn Fn(usize) -> String| (0..count).map(one).collect::<Vec<_>>().join(",");
    let interface = |number: usize| {
        let subnet = number % subnets.max(1);
        format!(
            r#""eni-{number:017}":{{"description":"web {number}","subnet_id":"subnet-{subnet:017}","vpc_id":"vpc-0"}}"#
        )
    };
    let subnet = |number: usize| {
        let blocks = list(blocks, &|block| {
            let at = number * blocks + block;
            format!(r#""{}.{}.{}.{}/32""#, at >> 24, at >> 16 & 255, at >> 8 & 255, at & 255)
        });
        format!(r#""subnet-{number:017}":{{"name":"private {number}","vpc_id":"vpc-0","cidrs":[{blocks}]}}"#)
    };
    format!(
        r#"{{"interfaces":{{{}}},"subnets":{{{}}},"vpcs":{{"vpc-0":{{"name":"prod"}}}}}}"#,
        list(interfaces, &interface),
        list(subnets, &subnet)
    )
}

#[test]
fn names_that_would_exhaust_memory_are_refused_and_a_large_organisation_is_not() {
    let large = NameIndex::parse(names(100_000, 20_000, 2).as_bytes()).unwrap();
    assert_eq!(large.sizes(), (100_000, 20_000, 1));

    let ids = |section: &str, count: usize| {
        let ids: Vec<String> = (0..count).map(|number| format!("\"{number}\":{{}}")).collect();
        format!(r#"{{"{section}":{{{}}}}}"#, ids.join(","))
    };
    let named = |name: usize| format!(r#"{{"vpcs":{{"vpc-1":{{"name":"{}"}}}}}}"#, "n".repeat(name));
    let cases = [
        (" ".repeat(MAX_NAMES_BYTES + 1), "has 335544321 bytes"),
        (ids("interfaces", MAX_INTERFACES + 1), "interfaces: more than 1500000 entries"),
        (ids("subnets", MAX_NETWORKS + 1), "subnets: more than 250000 entries"),
        (ids("vpcs", MAX_NETWORKS + 1), "vpcs: more than 250000 entries"),
        (format!(r#"{{"interfaces":{{{}"#, r#""eni-1":[],"#.repeat(1_000_000)), "duplicate id \"eni-1\""),
        (names(0, 1, MAX_CIDR_BLOCKS + 1), "more than 250000 CIDR blocks"),
        (names(0, 2, MAX_CIDR_BLOCKS / 2 + 1), "more than 250000 CIDR blocks"),
        (
            format!(r#"{{"vpcs":{{"vpc-1":[{}]}}}}"#, vec!["{}"; MAX_NETWORKS + 1].join(",")),
            "vpcs: more than 250000 entries, the last of them of \"vpc-1\"",
        ),
        (named(MAX_NAME_BYTES + 1), "VPC \"vpc-1\": its name has 1025 bytes"),
        (format!(r#"{{"vpcs":{{"{}":{{}}}}}}"#, "v".repeat(MAX_NAME_BYTES + 1)), "more than 1024 bytes"),
        (format!("{{\"vpcs\":{}", "[".repeat(1 << 20)), "invalid type"),
        (format!("{{\"vpcs\":{}", "{\"a\":".repeat(1 << 20)), "unknown field"),
    ];
    for (json, expected) in cases {
        let error = NameIndex::parse(json.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(expected) && error.len() < 1000, "{expected}: {error:.1000}");
    }
    NameIndex::parse(named(MAX_NAME_BYTES).as_bytes()).unwrap();
}

#[test]
fn an_endless_settings_file_is_refused() {
    let place = Place::new();
    for (flag, limit) in [("--config", 1_048_576), ("--names", 335_544_320)] {
        let ran = place.convert(&[flag, "/dev/zero"]);
        assert_eq!(ran.status, 2);
        assert!(ran.stderr.contains(&format!("/dev/zero has more than {limit} bytes")), "{}", ran.stderr);
    }
}

#[test]
fn a_row_of_nested_values_has_bounded_size() {
    let whole = (0..40).map(|number| format!("{{ name = 'c{number}', path = '' }}")).collect::<Vec<_>>();
    let json = rule("r", "t", &format!("kind = 'json', columns = [ {} ]", whole.join(", ")));
    let groups = format!("{}.*{}", many(40, |number| format!("(?P<g{number}>")), ")".repeat(40));
    for text in [json, regex(&groups)] {
        let plan = config(&text);
        let outcome = |bytes: usize| {
            let message = format!("{{\"a\":\"{}\"}}", "x".repeat(bytes));
            let (counts, _) = convert(envelope("g", &[event(1, &message)]).as_bytes(), "k", &plan).unwrap();
            (counts.rows, counts.rejects.keys().map(|reason| reason.as_str()).collect::<Vec<_>>())
        };
        assert_eq!(outcome(500_000), (1, vec![]));
        assert_eq!(outcome(1_000_000), (0, vec!["too-long"]));
    }
}

const GUARDED: &str = r#"
[[rule]]
name = "waf"
match = { log_group = "waf*" }
table = "waf"
metadata = ["log_group"]
format = { kind = "json", columns = [
  { name = "text", path = "/text" }, { name = "number", path = "/number", type = "double" } ] }
[[rule]]
name = "ids"
match = { log_group = "=ids" }
table = "ids"
metadata = ["log_group"]
format = { kind = "regex", pattern = '^(?P<text>[^|]*)[|](?P<number>.*)$', types = { number = "int" } }
[[rule]]
name = "flow"
table = "vpc_flow"
metadata = ["log_stream"]
format = { kind = "vpc-flow", fields = "${interface-id} ${srcaddr} ${bytes} ${start} ${instance-tag}" }
"#;

#[test]
fn with_the_guard_on_no_text_begins_like_a_formula() {
    let json = |text: &str, number: &str| event(1, &format!(r#"{{"text":{text},"number":{number}}}"#));
    let object = [
        envelope(
            "waf",
            &[
                json("\"=HYPERLINK(\\\"http://x\\\",\\\"y\\\")\"", "-5"),
                json("\"+1\"", "\"-1.5e3\""),
                json("\"-\"", "\"-1+cmd|' /C calc'!A0\""),
                json("\"\\t=1\"", "\"@x\""),
                json("\"\\r\\n=1\"", "null"),
                json("\"＝1\"", "\"=1\""),
                json("\"-5\"", "\"-\""),
                json("\" =1\"", "+5"),
                json("\"a=1\"", "1"),
            ],
        ),
        envelope("=ids", &[event(1, "@a|-5"), event(2, "plain|-x"), event(3, "=no bar")]),
        envelope("flow", &[event(1, "eni-1 10.0.0.5 5 1 -tag"), event(2, "- - - - -")])
            .replace("eni-1-all", "@stream"),
    ]
    .concat();
    let names = r#"{"interfaces":{"eni-1":{"description":"=a, \"b\"","subnet_id":"s","vpc_id":"v"}},
        "subnets":{"s":{"name":"-sub","vpc_id":"v","cidrs":["10.0.0.0/24"]}},"vpcs":{"v":{"name":"plain"}}}"#;
    let names = || NameIndex::parse(names.as_bytes()).unwrap();
    let texts = |config: &str| {
        let plan = RunConfig::new(Config::parse(config).unwrap(), names());
        convert(object.as_bytes(), "k", &plan).unwrap().1
    };
    let guarded = texts(&format!("{GUARDED}[csv]\nguard_formulas = true\n"));
    let lines = |table: usize| guarded[table].1.lines().skip(1).map(|row| &row[25..]).collect::<Vec<_>>();
    assert_eq!(
        lines(0),
        [
            r#"waf,"'=HYPERLINK(""http://x"",""y"")",-5"#,
            "waf,'+1,-1.5e3",
            "waf,-,'-1+cmd|' /C calc'!A0",
            "waf,'\t=1,'@x",
            r"waf,'\r\n=1,-",
            "waf,'＝1,'=1",
            "waf,'-5,-",
            "waf,a=1,1",
        ]
    );
    assert_eq!(lines(1), ["'=ids,'@a,-5", "'=ids,plain,'-x"]);
    assert_eq!(
        lines(2),
        [
            r#"'@stream,eni-1,10.0.0.5,5,1,'-tag,"'=a, ""b""",'-sub,plain,'-sub,-"#,
            "'@stream,-,-,-,-,-,-,-,-,-,-",
        ]
    );
    // Rejects are JSON, so the guard does not change them.
    let rejects: Vec<Value> = guarded[3].1.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rejects.len(), 2);
    assert_eq!((&rejects[1]["message"], &rejects[1]["log_group"]), (&"=no bar".into(), &"=ids".into()));

    // Without the guard, values are unchanged.
    let plain = texts(GUARDED);
    assert!(plain[0].1.contains(r#",waf,"=HYPERLINK(""http://x"",""y"")",-5"#), "{}", plain[0].1);
    assert!(
        plain[1].1.contains(",=ids,@a,-5") && plain[2].1.contains(r#"-tag,"=a, ""b""",-sub,plain,-sub,-"#)
    );
    assert!(plain[..3].iter().all(|(_, text)| !text.contains('\'') || text.contains("calc'")));
    assert_eq!(plain[3], guarded[3]);
}
