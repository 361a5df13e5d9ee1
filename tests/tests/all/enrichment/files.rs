//! Mistakes in `[[enrich]]` and in its files, and `flowherd convert` with them.

use std::{collections::BTreeMap, fs};

use flowherd_shared::{
    config::Config,
    limits::{MAX_ENRICHMENT_BYTES, MAX_ENRICHMENT_ROWS, MAX_ENRICHMENTS},
};
use flowherd_tests::{
    command::flowherd,
    objects::{envelope, event, gunzip},
};
use serde_json::Value;

use super::{RULES, load};
use crate::place::{PROGRAM, Place};

const THREATS: &str = "[[enrich]]\nfile = \"threats.csv\"\nkey = \"ip\"\nmatch = \"cidr\"\non = [\"srcaddr\"]\n\
    columns = { threat = \"list\", score = { path = \"score\", type = \"int\" } }\n";

#[test]
fn every_mistake_in_an_entry_is_reported() {
    let entry = |text: &str| format!("[[enrich]]\n{text}\n");
    let cases = [
        entry(""),
        entry("file = \"a.csv\"\nsource = \"names\""),
        entry("source = \"name\"\non = [\"srcaddr\"]"),
        entry("file = \"a.parquet\"\non = [\"srcaddr\"]"),
        entry("file = \"a.csv\"\non = [\"srcaddr\", \"srcaddr\"]\ncolumn = \"x\"\ntables = []"),
        entry(
            "file = \"a.csv\"\nkey = \"k\"\nmatch = \"prefix\"\non = [\"srcaddr\"]\ncolumns = { a = \"\" }",
        ),
        entry(
            "file = \"a.mmdb\"\nkey = \"k\"\nmatch = \"cidr\"\non = [\"srcaddr\"]\ncolumns = { a = \"a..b\" }",
        ),
        entry("file = \"a.mmdb\"\non = [\"srcaddr\"]\ncolumns = { a = { path = \"a\", type = \"number\" } }"),
        entry(
            "file = \"a.mmdb\"\non = [\"srcaddr\"]\ncolumns = { a = { path = \"a\", type = \"timestamp\" } }",
        ),
        entry("file = \"a.mmdb\"\non = [\"srcaddr\"]\ncolumns = { a = 1 }"),
        entry("file = \"a.txt\"\nmatch = \"value\"\non = [\"srcaddr\"]\ncolumns = { a = \"a\" }"),
        entry(
            "file = \"a.json\"\non = [\"srcaddr\"]\ncolumns = { a = \"prefix\", b = { path = \"region\", type = \"int\" } }",
        ),
        entry("source = \"names\"\non = [\"srcaddr\"]\ncolumns = { a = \"interface\" }"),
        entry("file = \"a.txt\"\nmatch = \"value\"\non = [\"scraddr\", \"timestamp\"]\ncolumn = \"x\""),
        entry(
            "file = \"a.txt\"\nmatch = \"value\"\non = [\"srcaddr\"]\ncolumn = \"x\"\ntables = [\"dns\", \"flows\"]",
        ),
        entry("file = \"a.txt\"\nmatch = \"value\"\non = [\"srcaddr\"]\ncolumn = \"is bad\""),
        entry("file = \"a.txt\"\nmatch = \"value\"\non = [\"srcaddr\"]\ncolumn = \"x\"").repeat(2),
        entry("file = \"a.txt\"\nmatch = \"value\"\non = [\"srcaddr\"]\ncolumn = \"x\"")
            .repeat(MAX_ENRICHMENTS + 1),
    ];
    let reported = cases.map(|text| {
        let error = Config::parse(&format!("{RULES}{text}")).unwrap_err();
        let text = if text.len() > 500 { "…" } else { &text };
        format!("--- {text}\n{error}\n")
    });
    insta::assert_snapshot!(reported.concat());
}

#[test]
fn every_mistake_in_a_file_is_reported_once_with_its_line() {
    let many: String = (0..100_000).map(|number| format!("10.0.0.1,a,{number}\n")).collect();
    let cases: [(&str, Vec<u8>); 13] = [
        ("no header", b"".to_vec()),
        ("no column", b"ip,name\n".to_vec()),
        ("a column twice", b"ip,list,score,ip\n".to_vec()),
        ("fields", b"ip,list,score\n10.0.0.1,a\n10.0.0.2,a,1,2\n10.0.0.3,a,1\n".to_vec()),
        ("host bits", b"ip,list,score\n10.0.0.0/8,a,1\n10.0.0.1/8,a,1\n".to_vec()),
        (
            "no addresses",
            b"ip,list,score\nexample.com,a,1\n,a,1\n10.0.0.1:80,a,1\n010.0.0.1,a,1\n1.2.3.4/33,,\n".to_vec(),
        ),
        ("clash", b"ip,list,score\n10.0.0.1,a,1\n\n10.0.0.1/32,a,1\n10.0.0.1,b,1\n".to_vec()),
        ("many", format!("ip,list,score\n{many}").into_bytes()),
        ("types", b"ip,list,score\n10.0.0.1,a,1\n10.0.0.2,a,1.5\n10.0.0.3,a,99999999999\n".to_vec()),
        ("long", format!("ip,list,score\n10.0.0.1,{},1\n", "x".repeat(1001)).into_bytes()),
        ("text", b"ip,list,score\n10.0.0.1,a,1\n10.0.0.2,caf\xe9,1\n".to_vec()),
        ("parquet", b"PAR1\x15\x04\x15\x10PAR1".to_vec()),
        ("cut", flowherd_tests::objects::gzip(b"ip,list,score\n10.0.0.1,a,1\n")[..30].to_vec()),
    ];
    let rules = format!("{RULES}{THREATS}");
    let reported = cases.map(|(what, bytes)| {
        let error = load(&rules, "{}", &[("threats.csv", &bytes)]).unwrap_err();
        format!("--- {what}\n{error}\n")
    });
    insta::assert_snapshot!(reported.concat());
}

#[test]
fn a_file_that_is_too_large_is_refused() {
    let rules = format!("{RULES}{THREATS}");
    let refused = |bytes: &[u8]| load(&rules, "{}", &[("threats.csv", bytes)]).unwrap_err();
    let error = refused(&vec![b'\n'; MAX_ENRICHMENT_BYTES + 1]);
    assert_eq!(error, "threats.csv: has 134217729 bytes: the limit is 134217728; use a smaller file");
    let bomb = flowherd_tests::objects::gzip(&vec![b'\n'; MAX_ENRICHMENT_BYTES + 1]);
    assert!(refused(&bomb).starts_with("threats.csv: cannot be read: "), "{}", refused(&bomb));
    let rows = format!("ip,list,score\n{}", "10.0.0.1,a,1\n".repeat(MAX_ENRICHMENT_ROWS + 1));
    let error = refused(rows.as_bytes());
    assert_eq!(error, "threats.csv: has more than 1000000 rows; keep only rows that appear in the logs");
    let third = format!("ip,list,score\n#{}\n10.0.0.1,a,1\n", "x".repeat(45 << 20)).into_bytes();
    let three = ["a.csv", "b.csv", "c.csv"];
    let entries = three.map(|file| {
        THREATS
            .replace("threats.csv", file)
            .replace("threat =", &format!("t{} =", &file[..1]))
            .replace("score =", &format!("s{} =", &file[..1]))
    });
    let error = load(&format!("{RULES}{}", entries.concat()), "{}", &three.map(|file| (file, &third[..])));
    let error = error.unwrap_err();
    assert!(
        error.starts_with("enrich: the files have 141557847 bytes together: the limit is 134217728"),
        "{error}"
    );
}

#[test]
fn files_count_decompressed_and_once_for_each_entry() {
    let large = format!("ip,list,score\n#{}\n10.0.0.1,a,1\n", "x".repeat(70 << 20));
    let entry = |file: &str, column: &str| {
        THREATS
            .replace("threats.csv", file)
            .replace("threat =", &format!("t{column} ="))
            .replace("score =", &format!("s{column} ="))
    };
    let rules = format!("{RULES}{}{}", entry("a.csv.gz", "a"), entry("a.csv.gz", "b"));
    let error =
        load(&rules, "{}", &[("a.csv.gz", &flowherd_tests::objects::gzip(large.as_bytes()))]).unwrap_err();
    assert!(error.starts_with("enrich: the files have 146800698 bytes together"), "{error}");
}

#[test]
fn a_file_without_rows_and_a_quoted_field_of_several_lines_are_refused() {
    let rules = format!("{RULES}{THREATS}");
    let refused = |text: &str| load(&rules, "{}", &[("threats.csv", text.as_bytes())]).unwrap_err();
    assert_eq!(
        refused("ip,list,score\n"),
        "threats.csv: has no rows; get the file again, or remove its entry"
    );
    assert_eq!(
        refused("ip,list,score\n10.0.0.1,\"a,1\n10.0.0.2,b\",2\n"),
        "threats.csv: line 2: a quoted field reaches into the next line; correct its quotes"
    );
}

fn place() -> Place {
    let place = Place::new();
    place.object("a", envelope("flow", &[event(1, "198.51.100.7 10.0.0.1 1")]).as_bytes());
    place.file("in/f.toml", format!("{RULES}{THREATS}").as_bytes());
    place.file("in/threats.csv", b"ip,list,score\n198.51.100.0/24,before,1\n");
    place
}

fn rows(place: &Place) -> String {
    let text = String::from_utf8(gunzip(&fs::read(place.path("out/csv/flow/a.csv.gz")).unwrap())).unwrap();
    text.lines().nth(1).unwrap().to_owned()
}

#[test]
fn a_run_keeps_copies_of_its_files_and_their_content_decides_which_receipts_count() {
    let place = place();
    let config = place.path("in/f.toml");
    let args = ["--config", config.to_str().unwrap(), "--run", "r"];
    let report = place.report_done(&args);
    assert_eq!(report["objects"]["listed"], 1, "the file is not an object");
    assert!(rows(&place).ends_with(",before,1"), "{}", rows(&place));
    let run = |name: &str| -> Value {
        serde_json::from_slice(&fs::read(place.path(&format!("out/runs/{name}/run.json"))).unwrap()).unwrap()
    };
    let first = run("r");
    let file = &first["enrichment"][0];
    assert_eq!((&file["file"], &file["bytes"]), (&"threats.csv".into(), &39.into()));
    let copy = place.path(&format!("out/runs/r/enrich/{}", file["sha256"].as_str().unwrap()));
    assert_eq!(fs::read(copy).unwrap(), fs::read(place.path("in/threats.csv")).unwrap());

    // `verify` and queries find the rules of the run, whose fingerprint covers the file.
    let out = place.path("out");
    let ran = flowherd(PROGRAM, ["verify", "r", "--results", out.to_str().unwrap()]);
    assert_eq!(ran.status, 0, "{ran:?}");
    let receipts = fs::read(place.path("out/runs/r/receipts/a.json")).unwrap();
    place.report_done(&[&args[..], &["--resume"]].concat());
    assert_eq!(
        fs::read(place.path("out/runs/r/receipts/a.json")).unwrap(),
        receipts,
        "nothing was done again"
    );

    place.file("in/threats.csv", b"ip,list,score\n198.51.100.0/24,after,1\n");
    place.report_done(&[&args[..], &["--resume"]].concat());
    assert!(rows(&place).ends_with(",after,1"), "{}", rows(&place));
    assert_ne!(run("r")["config_hash"], first["config_hash"]);
    assert_eq!(run("r")["names_hash"], first["names_hash"]);
}

#[test]
fn mistakes_in_rules_names_and_files_are_reported_together_before_any_work() {
    let place = place();
    place.file("in/threats.csv", b"ip,list,score\n198.51.100.1/24,a,1\n198.51.100.7,a,b\n");
    let other = THREATS
        .replace("threats.csv", "not/there.csv")
        .replace("threat", "other")
        .replace("score =", "points =");
    place.file("in/f.toml", format!("{RULES}{THREATS}{other}").as_bytes());
    let config = place.path("in/f.toml");
    let ran = place.convert(&["--config", config.to_str().unwrap()]);
    assert_eq!(ran.status, 2);
    assert!(ran.stderr.contains("in/not/there.csv: No such file or directory"), "{}", ran.stderr);
    assert_eq!(ran.stderr.lines().count(), 3, "{}", ran.stderr);
    place.file("in/f.toml", format!("{RULES}{THREATS}").as_bytes());
    let ran = place.convert(&["--config", config.to_str().unwrap()]);
    assert_eq!(ran.status, 2);
    let lines: Vec<&str> = ran.stderr.lines().collect();
    assert_eq!(lines.len(), 2, "{}", ran.stderr);
    assert!(lines[1].contains("threats.csv: line 3: score is \"b\""), "{}", ran.stderr);
    assert!(
        lines[0].contains("threats.csv: line 2: ip \"198.51.100.1/24\" has host bits set"),
        "{}",
        ran.stderr
    );
    assert!(!place.path("out").exists());
    let check = flowherd(PROGRAM, ["check", config.to_str().unwrap()]);
    assert_eq!((check.status, check.stderr), (2, ran.stderr));
}

#[test]
fn tables_views_and_check_have_the_columns_with_their_types() {
    let place = place();
    let config = place.path("in/f.toml");
    let config = config.to_str().unwrap();
    let check = flowherd(PROGRAM, ["check", config]);
    assert!(
        check.stdout.contains("dst_subnet_name, srcaddr_threat, srcaddr_score int\n"),
        "{}",
        check.stdout
    );
    // The definitions need the rules only.
    fs::remove_file(place.path("in/threats.csv")).unwrap();
    let sql = flowherd(PROGRAM, ["sql", "--config", config, "--results", "s3://b/"]);
    assert_eq!(sql.status, 0, "{sql:?}");
    let view = "TRY_CAST(NULLIF(\"srcaddr_score\", '-') AS INTEGER) AS \"srcaddr_score\"";
    assert!(sql.stdout.contains(view), "{}", sql.stdout);
    let texts: BTreeMap<&str, bool> = ["`srcaddr_threat` string", "`srcaddr_score` string"]
        .map(|text| (text, sql.stdout.contains(text)))
        .into();
    assert!(texts.values().all(|is_there| *is_there), "{texts:?} {}", sql.stdout);
}
