//! How to check each number of the page by hand: a command on the files of the ledger, and a statement for Athena.

use maud::{Markup, html};
use serde::Serialize;

use super::text::whole_size;
use crate::{
    layout,
    ledger::{Report, Run},
    limits::MAX_REPORT_PERIODS,
    times::{PeriodUnit, TimeCounts},
};

/// Maximum bytes of HTML of what a command prints. A check with more is left out, because a part of it proves nothing.
const MAX_EXPECTED: usize = 8_000;

struct Check {
    name: &'static str,
    /// What the command prints.
    expected: String,
    command: String,
    sql: Option<String>,
}

/// Returns the section.
pub(super) fn section(run: &Run, report: &Report) -> Markup {
    // The name becomes part of commands, and a forged ledger may have any name.
    let name = if layout::is_run_name(&report.run) { &report.run } else { "RUN" };
    html! {
        section {
            h2 { "Check each number" }
            p {
                "Run the commands in the directory of the results. Results in a bucket need a copy of the ledger first:"
            }
            pre { code { "aws s3 cp --recursive --quiet s3://RESULTS/runs/" (name) "/ runs/" (name) "/" } }
            p {
                "The statements run in Athena on the tables of " code { "flowherd sql" } ". After a resume, receipts and failures \
                 can remain that no longer count. docs/operations.md has more checks under \"Reconcile by hand\", also of the outputs."
            }
            @for check in checks(run, report, name) {
                h3 { (check.name) }
                pre { code.command { (check.command) } }
                @if let Some(sql) = check.sql { pre { code.sql { (sql) } } }
                p { "Expected: " code.expected { (check.expected) } }
            }
        }
    }
}

fn checks(run: &Run, report: &Report, name: &str) -> Vec<Check> {
    let files = |part: &str| format!("find runs/{name} -path 'runs/{name}/{part}/*' -type f -name '*.json'");
    let receipts = |jq: &str| format!("{} -exec cat {{}} + |\n  jq -s -c '{jq}'", files("receipts"));
    let from =
        |columns: &str, part: &str| format!("SELECT {columns}\nFROM ledger_{part}\nWHERE run = '{name}'");
    let grouped = |map: &str| {
        receipts(&format!(
            "map(.{map} | to_entries) | add // [] | group_by(.key) |\n    map({{(.[0].key): (map(.value) | add)}}) | add // {{}}"
        ))
    };
    let grouped_sql = |map: &str| {
        format!(
            "SELECT name, sum(number)\nFROM ledger_receipts CROSS JOIN UNNEST({map}) AS entries (name, number)\nWHERE run = \
             '{name}' GROUP BY name ORDER BY name"
        )
    };
    let total = |object: &str, fields: &[&str]| {
        let sums: Vec<String> =
            fields.iter().map(|field| format!("{field}: (map(.{field}) | add // 0)")).collect();
        receipts(&format!("map(.{object}) | {{{}}}", sums.join(",\n    ")))
    };
    let total_sql = |object: &str, fields: &[&str]| {
        let sums: Vec<String> = fields.iter().map(|field| format!("sum({object}.{field})")).collect();
        from(&sums.join(", "), "receipts")
    };
    let records = ["read", "rows", "rejected", "control", "dropped", "repaired", "named_by_guess"];
    let bytes = ["compressed_in", "decoded_in", "compressed_out"];
    let tables = "[.[].outputs[] | select(.table)] | group_by(.table) |\n    map({(.[0].table): (map(.rows) | add)}) | add // {}";
    let fingerprint = &run.fingerprint;
    let mut checks = vec![
        Check {
            name: "Objects listed",
            expected: report.objects.listed.to_string(),
            command: format!(
                "find runs/{name} -path 'runs/{name}/manifest/*' -type f -exec gzip -dc {{}} + | wc -l"
            ),
            sql: Some(from("count(*)", "manifest")),
        },
        Check {
            name: "Objects done by this run",
            expected: report.objects.done.to_string(),
            command: format!("{} | wc -l", files("receipts")),
            sql: Some(from("count(*)", "receipts")),
        },
        Check {
            name: "Objects failed",
            expected: report.objects.failed.to_string(),
            command: format!("{} | wc -l", files("failures")),
            sql: Some(from("count(*)", "failures")),
        },
        Check {
            name: "Records",
            expected: json(&report.records),
            command: total("records", &records),
            sql: Some(total_sql("records", &records)),
        },
        Check {
            name: "Bytes",
            expected: json(&report.bytes),
            command: total("bytes", &bytes),
            sql: Some(total_sql("bytes", &bytes)),
        },
        Check {
            name: "Rows by table",
            expected: json(&report.tables),
            command: receipts(tables),
            sql: Some(format!(
                "SELECT output.\"table\", sum(output.\"rows\")\nFROM ledger_receipts CROSS JOIN UNNEST(outputs) AS output (path, \
                 \"table\", \"rows\", bytes, crc64nvme, etag)\nWHERE run = '{name}' AND output.\"table\" IS NOT NULL GROUP BY 1 ORDER BY 1"
            )),
        },
        Check {
            name: "Rejects by reason",
            expected: json(&report.rejects),
            command: grouped("rejects"),
            sql: Some(grouped_sql("rejects")),
        },
    ];
    if let Some(documents) = &report.documents {
        checks.push(Check {
            name: "Documents",
            expected: json(documents),
            command: total("documents", &["rows", "indexed", "existing", "refused"]),
            sql: None,
        });
    }
    if let Some((expected, length)) = rows_by_time(&report.times) {
        checks.push(Check {
            name: "Rows by time",
            expected,
            command: receipts(&format!(
                "map(.times | to_entries) | add // [] | group_by(.key[:{length}]) |\n    map({{(.[0].key[:{length}]): (map(.value) | add)}}) | add // {{}}"
            )),
            sql: Some(format!(
                "SELECT substr(name, 1, {length}), sum(number)\nFROM ledger_receipts CROSS JOIN UNNEST(times) AS entries (name, \
                 number)\nWHERE run = '{name}' GROUP BY 1 ORDER BY 1"
            )),
        });
    }
    if report.objects.done > 0 {
        checks.push(Check {
            name: "Configuration and names of all receipts",
            expected: json(&[&fingerprint.config_hash, &fingerprint.names_hash]),
            command: receipts("map([.config_hash, .names_hash]) | unique | .[]"),
            sql: Some(from("DISTINCT config_hash, names_hash", "receipts")),
        });
    }
    checks.retain(|check| whole_size(&check.expected).is_some_and(|size| size <= MAX_EXPECTED));
    checks
}

/// Returns the rows in the shortest periods that fit the page, and the length of the periods' names. Receipts may have
/// shorter periods; the beginning of a period's name is the name of the longer one. `None` if no periods fit, or if the report
/// may have left out years.
fn rows_by_time(times: &TimeCounts) -> Option<(String, usize)> {
    let units =
        [(PeriodUnit::Hour, 13), (PeriodUnit::Day, 10), (PeriodUnit::Month, 7), (PeriodUnit::Year, 4)];
    if times.is_empty() || times.unit() == PeriodUnit::Year && times.number_of_periods() >= MAX_REPORT_PERIODS
    {
        return None;
    }
    units.into_iter().filter(|(unit, _)| *unit >= times.unit()).find_map(|(unit, length)| {
        let mut times = times.clone();
        times.lengthen(unit);
        let expected = json(&times);
        (whole_size(&expected)? <= MAX_EXPECTED).then_some((expected, length))
    })
}

/// Numbers and texts always have a JSON form.
fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
