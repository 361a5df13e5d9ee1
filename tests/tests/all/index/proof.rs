//! What receipts prove of an index run, for `flowherd index --verify`.

use flowherd_coordinator::{manifest, reconcile};

use super::*;

/// Returns the sum of the documents of all receipts of a run, and the keys of the objects without one.
fn proofs(indexing: &Indexing, run: &str) -> (u64, Vec<String>) {
    let run: Run = read_json(&indexing.day.store, &layout::run(run)).unwrap().unwrap();
    let (mut documents, mut without) = (0, Vec::new());
    for part in 0..manifest::parts(&run).unwrap() {
        reconcile::receipts(&indexing.day.store, &run, part, |entry, receipt| {
            match receipt.and_then(|receipt| receipt.documents) {
                Some(counts) => documents += counts.indexed + counts.existing,
                None => without.push(entry.key.clone()),
            }
        })
        .unwrap();
    }
    (documents, without)
}

#[test]
fn a_run_that_is_being_planned_proves_nothing() {
    let indexing = Indexing::new();
    let state = indexing.begin(&options(RUN)).unwrap();
    let run: Run = read_json(&indexing.day.store, &layout::run(&state.run)).unwrap().unwrap();
    let error = manifest::parts(&run).unwrap_err().to_string();
    assert!(error.contains("flowherd status index-1"), "{error}");
}

#[test]
fn an_object_that_failed_has_no_receipt_and_is_named() {
    let indexing = Indexing::new();
    let key = indexing.rows.keys()[4].clone();
    indexing.rows.put(&key, b"not gzip".to_vec());
    let report = indexing.run(RUN);
    assert_eq!((report.objects.done, report.objects.failed), (OBJECTS as u64 - 1, 1));
    let (documents, without) = proofs(&indexing, RUN);
    assert!(documents < ROWS, "{documents}");
    assert_eq!(without, [key]);
}

#[test]
fn an_object_that_a_resumed_run_skips_has_the_receipt_of_the_earlier_run() {
    let indexing = Indexing::new();
    indexing.run(RUN);
    let (resume, run) = (Some(RUN.to_owned()), Some("resumed".to_owned()));
    let resumed = RunOptions { resume, run, ..RunOptions::default() };
    assert_eq!(indexing.finish(indexing.begin(&resumed).unwrap()).objects.skipped, OBJECTS as u64);
    assert_eq!(proofs(&indexing, "resumed"), (ROWS, Vec::new()));
}
