//! The stages of the indexer, each reading on one thread.

use std::path::Path;

use flowherd_deflate::Deflater;
use flowherd_indexer::{
    answer::{self, DocumentOutcome},
    bulk::Bulk,
    document::{Encoder, Origin},
    rows::{Row, Rows},
};

use crate::{
    cpu_ns,
    rows::{ETAG, KEY, target},
};

/// Documents of a request.
const BULK_ROWS: u64 = 8000;

/// Called with the number of each row, and the row.
type EachRow<'a> = Box<dyn FnMut(u64, &Row) + 'a>;

/// Prints the time of each stage for one row.
pub(crate) fn print(file: &Path, count: u64) {
    let object = std::fs::read(file).unwrap();
    let target = target();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let read = |mut each: EachRow<'_>| {
        runtime.block_on(async {
            let mut row = Row::default();
            let mut rows = Rows::open(&object[..], &target.columns, &mut row).await.unwrap();
            while let Some(number) = rows.next(&mut row).await.unwrap() {
                each(number, &row);
                if number == count {
                    break;
                }
            }
        });
    };
    let reading = median(|| read(Box::new(|_, _| {})));

    let mut bulks = Vec::new();
    let encode = |bulks: &mut Vec<Bulk>| {
        bulks.clear();
        let origin = Origin { key: KEY, etag: ETAG, run: "2026-02-18-vpc" };
        let mut encoder = Encoder::new(&target.schema, &target.index, origin);
        read(Box::new(|number, row| {
            if number % BULK_ROWS == 1 {
                bulks.push(Bulk::with_capacity(6 << 20));
            }
            bulks.last_mut().unwrap().append(&mut encoder, number, row.values(), 1 << 20).unwrap();
        }));
    };
    let encoded = median(|| encode(&mut bulks));

    let mut deflater = Deflater::default();
    let mut compressed_bytes = 0;
    let compressed = median(|| {
        compressed_bytes = bulks.iter().map(|bulk| deflater.member(bulk.lines()).len()).sum::<usize>();
    });

    let items = vec![r#"{"create":{"status":201}}"#; BULK_ROWS as usize].join(",");
    let body = format!(r#"{{"errors":false,"items":[{items}]}}"#);
    let answered = median(|| {
        for _ in 0..count / BULK_ROWS {
            let take = |_, outcome| assert_eq!(outcome, DocumentOutcome::Created);
            answer::parse(body.as_bytes(), BULK_ROWS as usize, take).unwrap();
        }
    });

    let document_bytes: usize = bulks.iter().map(|bulk| bulk.lines().len()).sum();
    let count = count as f64;
    println!("{:>10}  {:>8}", "stage", "ns a row");
    for (stage, ns) in
        [("read", reading), ("encode", encoded - reading), ("compress", compressed), ("answer", answered)]
    {
        println!("{stage:>10}  {:>8.0}", ns / count);
    }
    println!(
        "{:.0} bytes a document, {:.0} compressed",
        document_bytes as f64 / count,
        compressed_bytes as f64 / count
    );
}

/// Returns the median CPU time in nanoseconds.
fn median(mut stage: impl FnMut()) -> f64 {
    let mut times: Vec<f64> = (0..5)
        .map(|_| {
            let began = cpu_ns();
            stage();
            (cpu_ns() - began) as f64
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
