//! `flowherd estimate --index`.

use std::fs;

use flowherd_cli::{
    cost::{CONCURRENT_OBJECTS, OVERHEAD_SECONDS},
    index_cost::{
        CLUSTER_BYTES_PER_ROW, CPU_SECONDS_PER_ROW, CSV_BYTES_PER_ROW, IndexEstimate, IndexFleet,
        MAX_CONCURRENCY, MEMORY_MB, ObjectTotals, PLAIN_BYTES_PER_ROW, ROWS_PER_SECOND, RowObjects,
        SENT_BYTES_PER_ROW, TableObjects,
    },
};
use flowherd_tests::command::{Ran, flowherd};
use serde_json::Value;

use crate::place::{PROGRAM, Place};

fn estimate(place: &Place, more: &[&str]) -> Ran {
    let out = place.path("out");
    let args = ["estimate", "--index", out.to_str().unwrap()];
    flowherd(PROGRAM, args.into_iter().chain(more.iter().copied()))
}

fn parsed(place: &Place, more: &[&str]) -> Value {
    let ran = estimate(place, &[&["--json"], more].concat());
    assert_eq!(ran.status, 0, "{ran:?}");
    serde_json::from_str(&ran.stdout).unwrap()
}

#[test]
fn the_documents_are_the_rows_of_the_receipts_and_those_of_other_objects_by_their_size() {
    let place = Place::synth(6, 50, &[]);
    let report = place.report_done(&["--run", "r"]);
    let (rows, objects) =
        (report["tables"]["vpc_flow"].as_u64().unwrap(), report["objects"]["done"].as_u64().unwrap());
    let all = parsed(&place, &[]);
    let counts = |all: &Value| ["objects", "objects_with_receipt"].map(|name| all[name].as_u64().unwrap());
    assert_eq!((counts(&all), all["documents"].as_u64()), ([objects, objects], Some(rows)), "{all}");
    let text = estimate(&place, &[]);
    assert!(text.stdout.contains(&format!("rows: from {objects} receipts")), "{text:?}");
    assert_eq!(counts(&parsed(&place, &["--prefix", "csv/vpc_flow/"])), [objects, objects]);
    let none = estimate(&place, &["--prefix", "csv/none/"]);
    assert!(none.status == 0 && none.stderr.contains("no objects in"), "{none:?}");

    // A receipt of another version proves nothing of this one.
    let files = flowherd_tests::command::files_below(&place.path("out/csv"));
    let path = place.path("out/csv").join(&files[0]);
    let mut csv = fs::read(&path).unwrap();
    csv.extend_from_slice(&csv.clone());
    fs::write(&path, &csv).unwrap();
    let fewer = parsed(&place, &[]);
    assert_eq!(counts(&fewer), [objects, objects - 1]);
    let bytes = |name: &str| fewer[name].as_u64().unwrap() as f64;
    let of_receipts = bytes("rows_of_receipts");
    let by_size = csv.len() as f64 * of_receipts / (bytes("bytes") - csv.len() as f64);
    assert!((bytes("documents") - of_receipts - by_size).abs() <= 1.0, "{fewer}");

    fs::remove_dir_all(place.path("out/runs/r/receipts")).unwrap();
    let without = parsed(&place, &[]);
    let by_size = without["bytes"].as_u64().unwrap() as f64 / CSV_BYTES_PER_ROW;
    assert_eq!(
        (counts(&without), without["documents"].as_u64()),
        ([objects, 0], Some(by_size.round() as u64))
    );
}

#[test]
fn receipts_of_a_run_before_many_others_are_found_and_one_that_does_not_add_up_is_ignored() {
    let place = Place::synth(6, 50, &[]);
    let objects = place.report_done(&["--run", "r"])["objects"]["done"].as_u64().unwrap();
    let run = fs::read_to_string(place.path("out/runs/r/run.json")).unwrap();
    for number in 0..20 {
        let mut later: Value = serde_json::from_str(&run).unwrap();
        later["run"] = format!("later-{number}").into();
        later["started"] = format!("2099-01-01T00:00:{number:02}.000Z").into();
        let path = place.path(&format!("out/runs/later-{number}"));
        fs::create_dir(&path).unwrap();
        fs::write(path.join("run.json"), later.to_string()).unwrap();
    }
    assert_eq!(parsed(&place, &[])["objects_with_receipt"], objects);

    let receipts = place.path("out/runs/r/receipts");
    let path = receipts.join(&flowherd_tests::command::files_below(&receipts)[0]);
    let mut receipt: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    receipt["records"]["read"] = u64::MAX.into();
    fs::write(&path, receipt.to_string()).unwrap();
    assert_eq!(parsed(&place, &[])["objects_with_receipt"], objects - 1);
}

#[test]
fn a_prefix_without_rows_and_a_directory_without_results_are_refused() {
    let place = Place::synth(1, 5, &[]);
    place.report_done(&[]);
    let source = estimate(&place, &["--prefix", "firehose/"]);
    assert!(source.status == 2 && source.stderr.contains("in csv/TABLE/ of the results"), "{source:?}");
    let logs = place.path("in");
    let ran = flowherd(PROGRAM, ["estimate", "--index", logs.to_str().unwrap()]);
    assert!(ran.status == 2 && ran.stderr.contains("no results there"), "{ran:?}");
}

#[test]
fn the_index_document_has_the_numbers_of_the_estimate() {
    let document = crate::docs::markdown::read("docs/indexing.md");
    let (count, bytes) = (17_280, 214_099_200_000_u64);
    let listed = ObjectTotals { count, bytes };
    let table = TableObjects { listed, ..TableObjects::default() };
    let fleet = IndexFleet {
        memory_mb: MEMORY_MB,
        vcpus: None,
        concurrency: MAX_CONCURRENCY,
        rows_per_second: ROWS_PER_SECOND,
    };
    let day = IndexEstimate::new("", &RowObjects([("vpc_flow".to_owned(), table)].into()), fleet);
    let rate = format!("{},{:03}", ROWS_PER_SECOND / 1000, ROWS_PER_SECOND % 1000);
    let rows = [
        format!(
            "documents            = rows of the receipts + B / {CSV_BYTES_PER_ROW} for objects without one"
        ),
        format!("bytes before gzip    = {PLAIN_BYTES_PER_ROW} x rows"),
        format!("bytes sent           = {SENT_BYTES_PER_ROW} x rows"),
        format!("bytes in the cluster = {CLUSTER_BYTES_PER_ROW} x rows"),
        format!("rows / {rate} s"),
        format!(
            "rows x {:.2} µs / processors + {OVERHEAD_SECONDS} x N / {CONCURRENT_OBJECTS}",
            CPU_SECONDS_PER_ROW * 1e6
        ),
        format!("| {:.2} billion |", day.documents as f64 / 1e9),
        format!("| {:.2} TB |\n| bytes sent |", day.plain_bytes as f64 / 1e12),
        format!("| {:.0} GB |\n| bytes in the cluster |", day.sent_bytes as f64 / 1e9),
        format!("| {:.2} TB |\n| elapsed time |", day.cluster_bytes as f64 / 1e12),
        format!("s | {:.0} h |", day.elapsed_seconds / 3600.0),
    ];
    let missing: Vec<&String> = rows.iter().filter(|row| !document.contains(&**row)).collect();
    assert!(missing.is_empty(), "{missing:#?}");
}
