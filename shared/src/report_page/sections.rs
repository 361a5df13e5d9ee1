//! The sections of the page without a time axis.

use maud::{Markup, html};

use super::{
    advice::{self, Advice},
    charts::{self, Mark},
    state_name,
    text::{Key, Long, Message, Name, bytes, count, duration, number, percent, plural},
    timeline,
};
use crate::ledger::{
    DocumentCounts, DoneObject, Report, ReportExample, ReportFailure, Run, counts_by_rule_and_reason,
};

const MAX_WARNINGS: usize = 10;
const MAX_TABLES: usize = 30;
const MAX_REJECTS: usize = 20;
const MAX_RULES: usize = 30;
const MAX_ABSENT_COLUMNS: usize = 20;
const MAX_FAILURES: usize = 20;
/// Failures that the page shows for each advice.
const MAX_FAILURES_OF_ADVICE: usize = 5;
const MAX_RESUMES: usize = 10;

/// The name of the run, its result, and what needs attention.
pub(super) fn verdict(run: &Run, report: &Report) -> Markup {
    html! {
        header {
            h1 { "Run " (Name(&report.run)) }
            p class={ "verdict " (state_name(report.state)) } {
                strong { (state_name(report.state)) } " " (super::verdict(report))
            }
            (facts(report))
            dl {
                dt { "prefix" } dd { @if report.prefix.is_empty() { "all keys" } @else { code { (Key(&report.prefix)) } } }
                dt { "started" } dd { (Name(&report.started)) }
                @if let Some(resumed) = &run.resumed { dt { "resumed" } dd { (Name(resumed)) } }
                dt { "finished" } dd {
                    (Name(&report.finished))
                    @if let Some(elapsed) = elapsed(run, report) { ", after " (duration(elapsed)) }
                }
            }
            @for prefix in report.unlisted.iter().take(MAX_WARNINGS) {
                p.attention {
                    "Not listed: " code { (Key(prefix)) } ". The fleet has lost this prefix, and access is denied."
                }
            }
            (more(report.unlisted.len(), MAX_WARNINGS, "prefix", "prefixes"))
            @if let Some(purged) = &report.purged {
                p.attention {
                    "The queue was purged at " (Name(&purged.at)) " for run " (Name(&purged.by))
                    ". This run lost messages. Resume it."
                }
            }
            @for warning in report.warnings.iter().take(MAX_WARNINGS) {
                p.attention { "Warning: " (Long(&warning.to_string())) }
            }
            (more(report.warnings.len(), MAX_WARNINGS, "warning", "warnings"))
        }
    }
}

/// The numbers that a reader needs first.
fn facts(report: &Report) -> Markup {
    let (objects, records) = (&report.objects, &report.records);
    let done = objects.done.saturating_add(objects.skipped);
    let done = (number(done), format!("of {} done", count(objects.listed, "object")));
    let facts = if let Some(documents) = &report.documents {
        [
            done,
            (
                number(documents.indexed),
                plural(documents.indexed, "document created", "documents created").to_owned(),
            ),
            (number(documents.existing), "in the cluster before".to_owned()),
            (number(documents.refused), format!("refused, {}", percent(documents.refused, documents.rows))),
        ]
    } else {
        let rejected = format!("rejected, {}", percent(records.rejected, records.read));
        let (periods, with_rows) = timeline::periods_with_rows(report);
        [
            done,
            (number(records.rows), plural(records.rows, "row", "rows").to_owned()),
            (number(records.rejected), rejected),
            (number(periods), with_rows),
        ]
    };
    html! {
        ul.facts { @for (figure, name) in &facts { li { strong { (figure) } " " (name) } } }
    }
}

/// Returns the milliseconds from the start, or from the resume, to the report; `None` if a time is damaged.
fn elapsed(run: &Run, report: &Report) -> Option<u64> {
    let time = |text: &str| text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_millisecond);
    let (from, to) = (time(run.resumed.as_ref().unwrap_or(&report.started))?, time(&report.finished)?);
    u64::try_from(to - from).ok()
}

/// Objects by outcome.
pub(super) fn objects(report: &Report) -> Markup {
    let objects = &report.objects;
    let parts = [
        ("done", objects.done),
        ("skipped", objects.skipped),
        ("failed", objects.failed),
        ("missing", objects.missing),
    ];
    html! {
        section {
            h2 { "Objects" }
            (bar("Objects by outcome", "listed", objects.listed, &parts))
        }
    }
}

/// Documents by outcome, and bytes.
fn documents(report: &Report, documents: &DocumentCounts) -> Markup {
    let sizes = &report.bytes;
    let parts =
        [("indexed", documents.indexed), ("existing", documents.existing), ("refused", documents.refused)];
    html! {
        section {
            h2 { "Documents" }
            (bar("Rows of the objects that are done", "rows", documents.rows, &parts))
            p { "The cluster had the existing documents before: an earlier attempt or run has created them." }
            p { (bytes(sizes.compressed_in)) " in, " (bytes(sizes.decoded_in)) " decoded." }
        }
    }
}

/// Records by outcome, bytes, and rows by table. For an index run, its documents.
pub(super) fn records(report: &Report) -> Markup {
    if let Some(counts) = &report.documents {
        return documents(report, counts);
    }
    let (records, sizes) = (&report.records, &report.bytes);
    let parts = [
        ("rows", records.rows),
        ("rejected", records.rejected),
        ("control", records.control),
        ("dropped", records.dropped),
    ];
    html! {
        section {
            h2 { "Records" }
            (bar("Records of the objects that are done", "read", records.read, &parts))
            @if records.repaired > 0 {
                p { "Invalid text was replaced in " (count(records.repaired, "row")) "." }
            }
            @if records.named_by_guess > 0 {
                p { "No name is known for the time of " (count(records.named_by_guess, "row")) "; each has the name of the nearest other time." }
            }
            p {
                (bytes(sizes.compressed_in)) " in, " (bytes(sizes.decoded_in)) " decoded, " (bytes(sizes.compressed_out)) " out."
            }
            @if !report.tables.is_empty() {
                table {
                    thead { tr { th scope="col" { "table" } th.number scope="col" { "rows" } } }
                    tbody {
                        @for (table, rows) in report.tables.iter().take(MAX_TABLES) {
                            tr { th scope="row" { (Name(table)) } td.number { (number(*rows)) } }
                        }
                    }
                }
                (more(report.tables.len(), MAX_TABLES, "table", "tables"))
            }
        }
    }
}

/// Rejects by rule and reason with an example of each, and the records of each rule.
pub(super) fn rejects(report: &Report) -> Markup {
    let rejects = counts_by_rule_and_reason(&report.rules, &report.rejects);
    let example = |rule: Option<&str>, reason: &str| -> Option<&ReportExample> {
        report.examples.iter().find(|one| one.example.rule.as_deref() == rule && one.example.reason == reason)
    };
    html! {
        section {
            h2 { "Rejects" }
            @if rejects.is_empty() {
                p { "No record was rejected." }
            } @else {
                table.wide {
                    thead {
                        tr {
                            th scope="col" { "reason" } th scope="col" { "rule" } th.number scope="col" { "records" }
                            th scope="col" { "example" }
                        }
                    }
                    tbody {
                        @for (rule, reason, records) in rejects.iter().take(MAX_REJECTS) {
                            tr {
                                th scope="row" { (Name(reason)) }
                                td data-label="rule" { @if let Some(rule) = rule { (Name(rule)) } @else { "none" } }
                                td.number data-label="records" { (number(*records)) }
                                td {
                                    @if let Some(ReportExample { key, example }) = example(*rule, reason) {
                                        code.message { (Message(&example.message)) }
                                        br;
                                        small { "record " (number(example.record)) " of " code { (Key(key)) } }
                                    } @else { "see rejects/" }
                                }
                            }
                        }
                    }
                }
                (more(rejects.len(), MAX_REJECTS, "pair of rule and reason", "pairs of rule and reason"))
                p { "docs/operations.md has a section for each reason. Numbers of records start at 0." }
            }
            (rules(report))
        }
    }
}

fn rules(report: &Report) -> Markup {
    let absent: Vec<(&str, &str)> = report
        .rules
        .iter()
        .flat_map(|(rule, totals)| totals.absent_columns.iter().map(|column| (&**rule, &**column)))
        .collect();
    html! {
        @if !report.rules.is_empty() {
            h3 { "Records by rule" }
            table {
                thead {
                    tr {
                        th scope="col" { "rule" } th.number scope="col" { "rows" }
                        th.number scope="col" { "rejected" } th.number scope="col" { "dropped" }
                    }
                }
                tbody {
                    @for (rule, totals) in report.rules.iter().take(MAX_RULES) {
                        tr {
                            th scope="row" { (Name(rule)) }
                            td.number { (number(totals.rows)) }
                            td.number { (number(totals.rejected())) }
                            td.number { (number(totals.dropped)) }
                        }
                    }
                }
            }
            (more(report.rules.len(), MAX_RULES, "rule", "rules"))
        }
        @if !absent.is_empty() {
            h3 { "Columns without a value in any row" }
            ul {
                @for (rule, column) in absent.iter().take(MAX_ABSENT_COLUMNS) {
                    li { code { (Name(column)) } " of rule " (Name(rule)) }
                }
            }
            (more(absent.len(), MAX_ABSENT_COLUMNS, "column", "columns"))
        }
    }
}

/// Failures with the same advice.
struct FailureGroup<'a> {
    advice: Option<&'static Advice>,
    failures: Vec<&'a ReportFailure>,
    /// How many of them the page shows.
    shown: usize,
}

/// Failures by advice.
pub(super) fn failures(report: &Report) -> Markup {
    let failed = report.objects.failed;
    let named = report.failures.len() as u64;
    html! {
        section {
            h2 { "Failures" }
            @if failed == 0 {
                p { "No object failed." }
            } @else if named < failed {
                p { "report.json names " (number(named)) " of " (count(failed, "failure")) "; all are in failures/." }
            }
            @for FailureGroup { advice, failures, shown } in failure_groups(&report.failures) {
                @if let Some(Advice { error, fix }) = advice {
                    h3 { (error.trim_end_matches(':')) ": " (count(failures.len() as u64, "object")) }
                    p { (fix) " docs/operations.md has a section on this error." }
                } @else {
                    h3 { "Other errors: " (count(failures.len() as u64, "object")) }
                    p { "docs/operations-fleet.md has these errors under \"Error texts\"." }
                }
                ul {
                    @for failure in failures.iter().take(shown) {
                        li { code { (Key(&failure.key)) } br; (Long(&failure.error)) }
                    }
                }
                (more(failures.len(), shown, "failure", "failures"))
            }
        }
    }
}

/// Returns the failures by advice, the largest group first.
fn failure_groups(failures: &[ReportFailure]) -> Vec<FailureGroup<'_>> {
    let mut groups: Vec<FailureGroup<'_>> = Vec::new();
    for failure in failures {
        let advice = advice::for_error(&failure.error);
        match groups.iter_mut().find(|group| group.advice == advice) {
            Some(group) => group.failures.push(failure),
            None => groups.push(FailureGroup { advice, failures: vec![failure], shown: 0 }),
        }
    }
    groups.sort_by_key(|group| std::cmp::Reverse(group.failures.len()));
    let mut room = MAX_FAILURES;
    for group in &mut groups {
        group.shown = group.failures.len().min(MAX_FAILURES_OF_ADVICE).min(room);
        room -= group.shown;
    }
    groups
}

/// The slowest and the largest objects.
pub(super) fn top_objects(report: &Report) -> Markup {
    let table = |title: &str, objects: &[DoneObject]| {
        html! {
            h3 { (title) }
            table.wide {
                thead {
                    tr {
                        th scope="col" { "object" } th.number scope="col" { "time" } th.number scope="col" { "in" }
                        th.number scope="col" { "decoded" } th.number scope="col" { "rows" }
                    }
                }
                tbody {
                    @for object in objects {
                        tr {
                            th scope="row" { code { (Key(&object.key)) } }
                            td.number data-label="time" { (duration(object.milliseconds)) }
                            td.number data-label="in" { (bytes(object.compressed_in)) }
                            td.number data-label="decoded" { (bytes(object.decoded_in)) }
                            td.number data-label="rows" { (number(object.rows)) }
                        }
                    }
                }
            }
        }
    };
    html! {
        @if !report.slowest.is_empty() {
            section {
                h2 { "Slowest and largest objects" }
                (table("Slowest", &report.slowest))
                (table("Largest", &report.largest))
            }
        }
    }
}

/// What the run was done with.
pub(super) fn fingerprints(run: &Run) -> Markup {
    let hash = |hash: &str| html! { @if hash.is_empty() { "none" } @else { code { (Name(hash)) } } };
    html! {
        section {
            h2 { "Configuration and names" }
            dl {
                dt { "configuration" } dd { (hash(&run.fingerprint.config_hash)) }
                dt { "names" } dd { (hash(&run.fingerprint.names_hash)) }
                dt { "Flowherd" } dd { (Name(&run.version)) }
                @if !run.resumes.is_empty() {
                    dt { "resumes" }
                    dd {
                        @for earlier in run.resumes.iter().take(MAX_RESUMES) { (Name(earlier)) " " }
                        (more(run.resumes.len(), MAX_RESUMES, "run", "runs"))
                    }
                }
            }
            p { "Each receipt has both SHA-256 fingerprints. A receipt with others does not count." }
        }
    }
}

/// A stacked bar with its table.
fn bar(title: &str, whole_name: &str, whole: u64, parts: &[(&'static str, u64)]) -> Markup {
    let mark = |(name, value): &(&'static str, u64)| Mark {
        class: name,
        value: *value,
        title: format!("{} {name}", number(*value)),
    };
    let marks: Vec<Mark> = parts.iter().map(mark).collect();
    html! {
        figure {
            @if whole > 0 { (charts::stacked_bar(title, &marks)) }
            table {
                caption { (title) }
                tbody {
                    tr.whole { th scope="row" { (whole_name) } td.number { (number(whole)) } td.number {} }
                    @for (name, value) in parts {
                        tr {
                            th scope="row" { span class={ "swatch " (name) } {} " " (name) }
                            td.number { (number(*value)) }
                            td.number { (percent(*value, whole)) }
                        }
                    }
                }
            }
        }
    }
}

/// Says how many entries of a list are not shown.
fn more(length: usize, shown: usize, one: &str, several: &str) -> Markup {
    let hidden = length.saturating_sub(shown) as u64;
    html! { @if hidden > 0 { p { "And " (number(hidden)) " more " (plural(hidden, one, several)) " in report.json." } } }
}
