//! The maximum size of a page, and what the page omits to stay below it.

use std::collections::BTreeMap;

use flowherd_shared::{
    error::Reason,
    ledger::{
        DoneObject, MAX_REPORT_FAILURES, RejectExample, Report, ReportExample, ReportFailure, RuleTotals,
        Warning,
    },
    limits::{
        MAX_EXAMPLE_CHARS, MAX_REPORT_EXAMPLES, MAX_REPORT_PAGE_BYTES, MAX_REPORT_PERIODS, MAX_RULES,
        MAX_TABLES, MAX_TOP_OBJECTS,
    },
    report_page,
    times::{Period, TimeCounts},
};

use super::{HOUR, TEN, code_of, hours, report_of, tokens};

/// Returns a text that is six times as long in HTML. The number makes it unique.
fn large(number: usize, bytes: usize) -> String {
    format!("{number:06}{}", "\"".repeat(bytes - 6))
}

#[test]
fn the_page_of_the_largest_report_is_smaller_than_its_limit() {
    let (mut run, mut report) = report_of(&large(0, 1024));
    run.resumes = (0..1000).map(|number| large(number, 80)).collect();
    report.objects.listed = u64::MAX;
    report.objects.failed = u64::MAX;
    report.tables = (0..MAX_TABLES).map(|number| (large(number, 128), u64::MAX)).collect();
    let rejects: BTreeMap<String, u64> =
        Reason::ALL.iter().map(|reason| (reason.as_str().to_owned(), u64::MAX / 1_000_000)).collect();
    let absent_columns = (0..1000).map(|number| large(number, 128)).collect();
    let totals = RuleTotals { rows: u64::MAX, dropped: u64::MAX, rejects: rejects.clone(), absent_columns };
    report.rules = (0..MAX_RULES).map(|number| (large(number, 128), totals.clone())).collect();
    report.rejects = rejects;
    let pairs = (0..).flat_map(|number| Reason::ALL.iter().map(move |reason| (number, *reason)));
    report.examples = pairs
        .take(MAX_REPORT_EXAMPLES)
        .map(|(number, reason)| ReportExample {
            key: large(number, 1024),
            example: RejectExample {
                rule: Some(large(number, 128)),
                reason: reason.as_str().to_owned(),
                record: u64::MAX,
                message: large(number, MAX_EXAMPLE_CHARS),
            },
        })
        .collect();
    (report.times, report.arrivals) = (TimeCounts::default(), TimeCounts::default());
    for place in 0..100 {
        // Hours apart, so that the columns between them are ranges, which have long names.
        let period = Period::hour_of(TEN + place * 30 * HOUR);
        report.times.add_period(period, u64::MAX / 1000, MAX_REPORT_PERIODS);
        report.arrivals.add_period(period, u64::MAX / 1000, MAX_REPORT_PERIODS);
    }
    let object = |number| DoneObject {
        key: large(number, 1024),
        compressed_in: u64::MAX,
        decoded_in: u64::MAX,
        rows: u64::MAX,
        milliseconds: u64::MAX,
    };
    report.slowest = (0..MAX_TOP_OBJECTS).map(object).collect();
    report.largest.clone_from(&report.slowest);
    let warning = |number| Warning::ObjectsWithoutRows { count: u64::MAX, key: large(number, 1024) };
    report.warnings = (0..MAX_RULES).map(warning).collect();
    // Every kind of error.
    let errors: Vec<&str> = report_page::ADVICE.iter().map(|advice| advice.error).chain(["other"]).collect();
    report.failures = (0..MAX_REPORT_FAILURES)
        .map(|number| ReportFailure {
            key: large(number, 1024),
            error: format!("{} {}", errors[number % errors.len()], large(number, 2000)),
        })
        .collect();
    let page = report_page::render(&run, &report);
    assert!(page.len() < MAX_REPORT_PAGE_BYTES, "{}", page.len());
    assert!(page.len() > MAX_REPORT_PAGE_BYTES / 2, "{}", page.len());
    tokens(&page);
}

#[test]
fn a_check_whose_output_does_not_fit_the_page_is_left_out() {
    let (run, mut report) = report_of("x");
    let checks = |report: &Report| code_of(&report_page::render(&run, report), "expected");
    let all = checks(&report);
    report.tables = (0..MAX_TABLES).map(|number| (large(number, 128), 1)).collect();
    assert_eq!(checks(&report).len(), all.len() - 1);
    // The hours of two weeks do not fit, so the check has days.
    report.times = hours(336, u64::MAX / 1000);
    let by_day = checks(&report).into_iter().find(|text| text.starts_with("{\"2026-02-18\":")).unwrap();
    let by_day: BTreeMap<String, u64> = serde_json::from_str(&by_day).unwrap();
    assert_eq!(by_day.len(), 15);
}
