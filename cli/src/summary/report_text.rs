//! The summary of a run.

use std::time::Duration;

use comfy_table::CellAlignment;
use console::StyledObject;
use flowherd_shared::ledger::{Report, ReportState};
use indicatif::{HumanBytes, HumanCount};
use jiff::Timestamp;

use super::{absent_column, printable, shortened, state, state_style, table};
use crate::words::{bytes_per_second, duration};

/// Failures shown; the others are in the ledger.
const FAILURES_SHOWN: usize = 10;

/// The parts of a summary that are not in the report.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Details<'a> {
    /// Location of the results.
    pub(crate) dest: &'a str,
    /// The time that this process took, and the bytes of objects that it read. Without it, the times of the report count.
    pub(crate) work: Option<(Duration, u64)>,
    /// The word for objects without an outcome.
    pub(crate) missing: &'static str,
    /// Whether to list failed objects. A command that has printed each of them does not.
    pub(crate) lists_failures: bool,
}

impl<'a> Details<'a> {
    /// Returns the details of a run in the ledger.
    pub(crate) fn of_ledger(dest: &'a str) -> Self {
        Self { dest, work: None, missing: "missing", lists_failures: true }
    }
}

/// Returns the summary of a run, at most `width` wide apart from names and messages.
pub(crate) fn text(report: &Report, details: &Details<'_>, width: Option<usize>) -> String {
    let (objects, records, bytes) = (&report.objects, &report.records, &report.bytes);
    // The text of the ledger may hold control characters, because others may have written it.
    let run = printable(&report.run);
    let mut text = format!("run {run}: {}\n\n", coloured(report.state));
    let mut record_counts = vec![
        ("read", records.read),
        ("rows", records.rows),
        ("rejected", records.rejected),
        ("control", records.control),
    ];
    let rare = [
        ("dropped", records.dropped),
        ("repaired", records.repaired),
        ("named by guess", records.named_by_guess),
    ];
    record_counts.extend(rare.into_iter().filter(|(_, count)| *count > 0));
    let object_counts = [
        ("listed", objects.listed),
        ("done", objects.done),
        ("failed", objects.failed),
        ("skipped", objects.skipped),
        (details.missing, objects.missing),
    ];
    let documents = report.documents.unwrap_or_default();
    let document_counts = [
        ("rows", documents.rows),
        ("indexed", documents.indexed),
        ("existing", documents.existing),
        ("refused", documents.refused),
    ];
    let contents: Counts<'_> = match report.documents {
        Some(_) => ("documents", &document_counts),
        None => ("records", &record_counts),
    };
    text += &numbers(&[("objects", &object_counts), contents], width);
    text += &format!(
        "\nbytes    {} in, {} decoded, {} out\n",
        HumanBytes(bytes.compressed_in),
        HumanBytes(bytes.decoded_in),
        HumanBytes(bytes.compressed_out)
    );
    text += &time(report, details.work);
    text += &counts(report.tables.iter().map(|(table, rows)| (format!("rows of {table}"), *rows)));
    text += &counts(report.rejects.iter().map(|(reason, count)| (format!("rejected: {reason}"), *count)));
    text += &absent_columns(report);
    if !report.warnings.is_empty() {
        text += "\nwarnings\n";
        for warning in &report.warnings {
            text += &format!("  {}\n", printable(&warning.to_string()));
        }
    }
    if details.lists_failures {
        text += &failures(report);
    }
    for prefix in &report.unlisted {
        text += &format!(
            "\nunlisted {}: the fleet has lost this prefix, and access is denied\n",
            printable(prefix)
        );
    }
    if let Some(purged) = &report.purged {
        text += &format!(
            "\npurged   the queue was purged at {} for run {}; this run lost messages\n",
            printable(&purged.at),
            printable(&purged.by)
        );
    }
    let dest = printable(details.dest);
    text += &match report.documents {
        Some(_) => format!("\nrefused  {dest}/rejects/{run}/\n"),
        None => format!("\nrows     {dest}/csv/\nrejects  {dest}/rejects/\n"),
    };
    text += &format!("ledger   {dest}/runs/{run}/\n");
    if objects.failed > 0 && !details.lists_failures {
        text += &format!("failures {dest}/runs/{run}/failures/\n");
    }
    text
}

fn coloured(of: ReportState) -> StyledObject<&'static str> {
    state_style(state(of)).apply_to(state(of))
}

/// Returns a line with the time of a run and its rate; none if the report's times are unusable.
fn time(report: &Report, work: Option<(Duration, u64)>) -> String {
    let time_of_report = || {
        let time = |text: &str| text.parse::<Timestamp>().ok();
        let elapsed = time(&report.finished)?.duration_since(time(&report.started)?);
        let elapsed = Duration::try_from(elapsed).ok()?;
        Some((elapsed, report.bytes.compressed_in, " from the begin to the report"))
    };
    let of_process = work.map(|(elapsed, bytes)| (elapsed, bytes, ""));
    let Some((elapsed, bytes, what)) = of_process.or_else(time_of_report) else { return String::new() };
    let rate = bytes as f64 / elapsed.as_secs_f64();
    let rate =
        if bytes > 0 && rate.is_finite() { format!(", {}", bytes_per_second(rate)) } else { String::new() };
    format!("time     {}{what}{rate}\n", duration(elapsed))
}

fn failures(report: &Report) -> String {
    if report.failures.is_empty() {
        return String::new();
    }
    let mut text = "\nfailed\n".to_owned();
    for failure in report.failures.iter().take(FAILURES_SHOWN) {
        text += &format!("  {}: {}\n", printable(&failure.key), printable(&failure.error));
    }
    if report.objects.failed > FAILURES_SHOWN as u64 {
        text += &format!("  and {} more\n", report.objects.failed - FAILURES_SHOWN as u64);
    }
    text
}

/// Columns without a value in any row, by rule.
fn absent_columns(report: &Report) -> String {
    let absent = report.rules.iter().flat_map(|(rule, totals)| {
        totals.absent_columns.iter().map(move |column| absent_column(rule, column, totals.rows))
    });
    let lines = shortened(&absent.collect::<Vec<_>>());
    if lines.is_empty() { lines } else { format!("\nabsent columns\n{lines}") }
}

/// A name and its counts, each with a name.
type Counts<'a> = (&'a str, &'a [(&'a str, u64)]);

/// Returns a table with a line of counts for each name, or in a narrow terminal a line for each count.
fn numbers(lines: &[Counts<'_>], width: Option<usize>) -> String {
    let mut wide = table::plain();
    let mut narrow = table::plain();
    for (name, counts) in lines {
        let of_count = |(_, count): &(&str, u64)| HumanCount(*count).to_string();
        wide.add_row([""].into_iter().chain(counts.iter().map(|(head, _)| *head)));
        wide.add_row([(*name).to_owned()].into_iter().chain(counts.iter().map(of_count)));
        for count in *counts {
            narrow.add_row([format!("{name} {}", count.0), of_count(count)]);
        }
    }
    for column in wide.column_iter_mut().skip(1).chain(narrow.column_iter_mut().skip(1)) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let wide = table::finish(&wide);
    if width.is_some_and(|width| table::widest(&wide) > width) { table::finish(&narrow) } else { wide }
}

fn counts(rows: impl Iterator<Item = (String, u64)>) -> String {
    let mut table = table::plain();
    for (name, count) in rows {
        table.add_row([printable(&name), HumanCount(count).to_string()]);
    }
    if table.is_empty() {
        return String::new();
    }
    table.column_iter_mut().skip(1).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    format!("\n{}", table::finish(&table))
}

#[cfg(test)]
mod tests {
    use flowherd_shared::ledger::DocumentCounts;

    use super::*;

    fn report() -> Report {
        serde_json::from_value(serde_json::json!({
            "run": "r", "fleet": "main", "prefix": "", "started": "2026-02-18T00:00:00Z", "finished": "2026-02-18T02:03:30Z",
            "state": "incomplete",
            "objects": { "listed": 24_000, "done": 8_214, "failed": 3, "skipped": 0, "missing": 15_783 },
            "records": { "read": 123_456_789, "rows": 123_450_000, "rejected": 6_000, "control": 789, "dropped": 0,
                         "repaired": 2, "named_by_guess": 0 },
            "bytes": { "compressed_in": 76_000_000_000_u64, "decoded_in": 900_000_000_000_u64, "compressed_out": 60_000_000_000_u64 },
            "tables": { "vpc_flow": 123_449_999, "waf": 1 }, "rejects": { "bad-timestamp": 6_000 },
            "rules": {}, "times": {}, "arrivals": {}, "arrivals_by_day": {}, "slowest": [], "largest": [], "warnings": [], "failures": [{ "key": "a/bad", "error": "truncated" }]
        }))
        .unwrap()
    }

    #[test]
    fn a_summary_names_its_rows_and_has_time_and_rate() {
        let text = text(&report(), &Details::of_ledger("s3://results"), Some(80));
        insta::assert_snapshot!(text, @r"
        run r: incomplete

                      listed         done    failed  skipped   missing
        objects       24,000        8,214         3        0    15,783
                        read         rows  rejected  control  repaired
        records  123,456,789  123,450,000     6,000      789         2

        bytes    70.78 GiB in, 838.19 GiB decoded, 55.88 GiB out
        time     2 h 3 min from the begin to the report, 9.78 MiB/s

        rows of vpc_flow  123,449,999
        rows of waf                 1

        rejected: bad-timestamp  6,000

        failed
          a/bad: truncated

        rows     s3://results/csv/
        rejects  s3://results/rejects/
        ledger   s3://results/runs/r/
        ");
        assert!(text.lines().all(|line| line.len() <= 80), "{text}");
    }

    #[test]
    fn a_summary_of_an_index_run_has_its_documents() {
        let documents = DocumentCounts { rows: 300_000, indexed: 200_000, existing: 99_998, refused: 2 };
        let mut report = report();
        report.documents = Some(documents);
        report.tables.clear();
        report.rejects = [("mapper_parsing_exception".to_owned(), 2)].into();
        let text = text(&report, &Details::of_ledger("s3://results"), Some(80));
        insta::assert_snapshot!(text, @r"
        run r: incomplete

                    listed     done    failed  skipped  missing
        objects     24,000    8,214         3        0   15,783
                      rows  indexed  existing  refused
        documents  300,000  200,000    99,998        2

        bytes    70.78 GiB in, 838.19 GiB decoded, 55.88 GiB out
        time     2 h 3 min from the begin to the report, 9.78 MiB/s

        rejected: mapper_parsing_exception  2

        failed
          a/bad: truncated

        refused  s3://results/rejects/r/
        ledger   s3://results/runs/r/
        ");
    }

    #[test]
    fn a_summary_in_a_narrow_terminal_has_a_line_for_each_count() {
        let details = Details {
            dest: "out",
            work: Some((Duration::from_millis(1_440), 3 << 20)),
            missing: "not done",
            lists_failures: false,
        };
        let text = text(&report(), &details, Some(60));
        insta::assert_snapshot!(text, @r"
        run r: incomplete

        objects listed         24,000
        objects done            8,214
        objects failed              3
        objects skipped             0
        objects not done       15,783
        records read      123,456,789
        records rows      123,450,000
        records rejected        6,000
        records control           789
        records repaired            2

        bytes    70.78 GiB in, 838.19 GiB decoded, 55.88 GiB out
        time     1.4 s, 2.08 MiB/s

        rows of vpc_flow  123,449,999
        rows of waf                 1

        rejected: bad-timestamp  6,000

        rows     out/csv/
        rejects  out/rejects/
        ledger   out/runs/r/
        failures out/runs/r/failures/
        ");
        assert!(text.lines().all(|line| line.len() <= 60), "{text}");
    }

    #[test]
    fn a_summary_without_usable_times_or_bytes_has_no_rate() {
        for (started, finished) in
            [("yesterday", "2026-02-17T00:00:00Z"), ("2026-02-18T00:00:00Z", "2026-02-17T00:00:00Z")]
        {
            let mut report = report();
            (report.started, report.finished) = (started.to_owned(), finished.to_owned());
            assert_eq!(time(&report, None), "", "{started} {finished}");
        }
        assert_eq!(time(&report(), Some((Duration::ZERO, 5))), "time     0.0 s\n");
        assert_eq!(time(&report(), Some((Duration::from_secs(5), 0))), "time     5.0 s\n");
    }

    #[test]
    fn done_is_green_failed_is_red_and_incomplete_is_yellow() {
        let states = [ReportState::Done, ReportState::Failed, ReportState::Incomplete];
        let shown = states.map(|state| coloured(state).force_styling(true).to_string());
        assert_eq!(
            shown,
            [
                "\u{1b}[32m\u{1b}[1mdone\u{1b}[0m",
                "\u{1b}[31m\u{1b}[1mfailed\u{1b}[0m",
                "\u{1b}[33m\u{1b}[1mincomplete\u{1b}[0m"
            ]
        );
    }

    #[test]
    fn a_summary_has_no_control_characters_of_the_ledger() {
        let mut report = report();
        let hostile = "\u{1b}[2J".to_owned();
        (report.failures[0].key, report.failures[0].error) = (hostile.clone(), hostile.clone());
        report.tables.insert(hostile.clone(), 1);
        report.rejects.insert(hostile.clone(), 1);
        report.run = hostile;
        for width in [None, Some(10)] {
            assert!(!text(&report, &Details::of_ledger("d"), width).contains("\u{1b}[2J"), "{width:?}");
        }
    }
}
