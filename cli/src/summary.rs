//! Text for people: reports as aligned tables, and messages on standard error.

use std::io::{self, Write};

use comfy_table::{CellAlignment, Table, presets::NOTHING};
use flowherd_shared::ledger::{Report, ReportState};
use indicatif::{HumanBytes, HumanCount};

use crate::stop::Stop;

/// Failures shown; the others are in the ledger.
const FAILURES_SHOWN: usize = 10;
/// Absent columns shown; the others are in the report.
const ABSENT_SHOWN: usize = 10;

/// Returns the summary of a run whose results are below `dest`.
pub(crate) fn report(report: &Report, dest: &str) -> String {
    let state = state(report.state);
    let (objects, records, bytes) = (&report.objects, &report.records, &report.bytes);
    let run = printable(&report.run);
    let mut text = format!("run {run}: {state}\n\n");
    let mut record_counts = vec![
        ("read", records.read),
        ("rows", records.rows),
        ("rejected", records.rejected),
        ("control", records.control),
    ];
    let rare = [("dropped", records.dropped), ("repaired", records.repaired)];
    record_counts.extend(rare.into_iter().filter(|(_, count)| *count > 0));
    text += &numbers(&[
        (
            "objects",
            &[
                ("listed", objects.listed),
                ("done", objects.done),
                ("failed", objects.failed),
                ("skipped", objects.skipped),
                ("missing", objects.missing),
            ],
        ),
        ("records", &record_counts),
    ]);
    text += &format!(
        "\nbytes    {} in, {} decoded, {} out\n",
        HumanBytes(bytes.compressed_in),
        HumanBytes(bytes.decoded_in),
        HumanBytes(bytes.compressed_out)
    );
    // Also text of the ledger, because others may have written it.
    let rows = report.tables.iter().map(|(table, rows)| [printable(table), HumanCount(*rows).to_string()]);
    text += &listing(["table", "rows"], rows);
    let rejects =
        report.rejects.iter().map(|(reason, count)| [printable(reason), HumanCount(*count).to_string()]);
    text += &listing(["rejected", "records"], rejects);
    text += &absent_columns(report);
    if !report.warnings.is_empty() {
        text += "\nwarnings\n";
        for warning in &report.warnings {
            text += &format!("  {}\n", printable(&warning.to_string()));
        }
    }
    if !report.failures.is_empty() {
        text += "\nfailed\n";
        for failure in report.failures.iter().take(FAILURES_SHOWN) {
            text += &format!("  {}: {}\n", printable(&failure.key), printable(&failure.error));
        }
        if report.objects.failed > FAILURES_SHOWN as u64 {
            text += &format!("  and {} more\n", report.objects.failed - FAILURES_SHOWN as u64);
        }
    }
    if let Some(purged) = &report.purged {
        text += &format!(
            "\npurged   the queue was purged at {} for run {}; this run lost messages\n",
            printable(&purged.at),
            printable(&purged.by)
        );
    }
    text += &format!("\nrows     {dest}/csv/\nrejects  {dest}/rejects/\nledger   {dest}/runs/{run}/\n");
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

/// One line about a column without a value in any row of a rule.
pub(crate) fn absent_column(rule: &str, column: &str, rows: u64) -> String {
    let records = match rows {
        1 => "in the only record".to_owned(),
        rows => format!("in all {} records", HumanCount(rows)),
    };
    format!("{column}: absent {records} of rule {rule}")
}

/// Indented lines, the first [`ABSENT_SHOWN`] of them.
pub(crate) fn shortened(lines: &[String]) -> String {
    let more = lines.len().saturating_sub(ABSENT_SHOWN);
    let mut text: String =
        lines.iter().take(ABSENT_SHOWN).map(|line| format!("  {}\n", printable(line))).collect();
    if more > 0 {
        text += &format!("  and {more} more\n");
    }
    text
}

/// Prints what needs attention to standard error: each warning, and that no object was listed.
pub(crate) fn warn(report: &Report, source: &str) {
    if let Some(message) = report.no_objects(source) {
        print_message(&message);
    }
    for warning in &report.warnings {
        print_message(&format!("warning: {warning}"));
    }
}

/// Fails unless every object is done; with `strict` also if the run needs attention.
pub(crate) fn verdict(report: &Report, strict: bool) -> Result<(), Stop> {
    let fails = report.state != ReportState::Done || (strict && report.needs_attention());
    if fails { Err(Stop::Failed) } else { Ok(()) }
}

/// Returns the word for a state.
pub(crate) fn state(state: ReportState) -> &'static str {
    match state {
        ReportState::Done => "done",
        ReportState::Failed => "failed",
        ReportState::Incomplete => "incomplete",
    }
}

/// Returns a table of text. Columns from `numbers_from` on are right-aligned.
pub(crate) fn columns(
    head: &[&str],
    rows: impl IntoIterator<Item = Vec<String>>,
    numbers_from: usize,
) -> String {
    let mut table = plain_table();
    table.add_row(head);
    for row in rows {
        table.add_row(row.iter().map(|cell| printable(cell)));
    }
    align_right(&mut table, numbers_from);
    finish(&table)
}

/// Prints to standard output. A closed pipe is no error.
pub(crate) fn print(text: &str) -> Result<(), Stop> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(anyhow::Error::new(error).context("cannot print").into())
        }
        _ => Ok(()),
    }
}

fn numbers(lines: &[(&str, &[(&str, u64)])]) -> String {
    let mut table = plain_table();
    for (name, numbers) in lines {
        let mut head = vec![(*name).to_owned()];
        let mut row = vec![String::new()];
        for (name, number) in *numbers {
            head.push((*name).to_owned());
            row.push(HumanCount(*number).to_string());
        }
        table.add_row(head);
        table.add_row(row);
    }
    align_right(&mut table, 1);
    finish(&table)
}

fn listing(head: [&str; 2], rows: impl Iterator<Item = [String; 2]>) -> String {
    let mut table = plain_table();
    table.add_row(head);
    let before = table.row_iter().count();
    for row in rows {
        table.add_row(row);
    }
    if table.row_iter().count() == before {
        return String::new();
    }
    align_right(&mut table, 1);
    format!("\n{}", finish(&table))
}

/// Returns a table without borders.
pub(crate) fn plain_table() -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table
}

/// Returns the table's text without surrounding blanks.
pub(crate) fn finish(table: &Table) -> String {
    let lines =
        table.lines().map(|line| line.strip_prefix(' ').unwrap_or(&line).trim_end().to_owned() + "\n");
    lines.collect()
}

fn align_right(table: &mut Table, from: usize) {
    for column in table.column_iter_mut().skip(from) {
        column.set_cell_alignment(CellAlignment::Right);
    }
}

/// Prints one line to standard error. A closed standard error does not stop the work.
pub(crate) fn print_message(text: &str) {
    let _ = writeln!(io::stderr(), "flowherd: {}", printable(text));
}

/// Replaces characters that could move the cursor of a terminal or disguise text. Keys, messages and values may hold them.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|character| if is_printable(character) { character } else { '\u{fffd}' }).collect()
}

/// Returns false for control characters, ends of lines or paragraphs, and characters that change the direction of text
/// (<https://www.unicode.org/reports/tr36/#Bidirectional_Text_Spoofing>).
pub(crate) fn is_printable(character: char) -> bool {
    let changes_direction = matches!(
        character,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    );
    !(character.is_control() || changes_direction)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printed_text_has_no_control_characters_and_none_that_change_its_direction() {
        let hostile = "a\u{1b}[2J\nb\u{9b}1m\u{7f}\u{202e}gpj.exe\u{2028}\u{2066}é日";
        assert_eq!(
            printable(hostile),
            "a\u{fffd}[2J\u{fffd}b\u{fffd}1m\u{fffd}\u{fffd}gpj.exe\u{fffd}\u{fffd}é日"
        );
    }
}
