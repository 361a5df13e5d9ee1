//! `flowherd explain`: shows the layers of a file and the outcome of its records under each rule.

use std::{
    fmt::Write as _,
    fs::File,
    io::{self, Read, Write},
};

use anyhow::Context;
use console::measure_text_width;
use flate2::read::MultiGzDecoder;
use flowherd_shared::{
    ledger::layout,
    limits::Limits,
    pipeline::{self, Counts, Finished, RunConfig, rules::Action},
};
use indicatif::{HumanBytes, HumanCount};

use crate::{
    args::ExplainArgs,
    inputs,
    stop::Stop,
    summary::{self, table},
    terminal,
    words::counted,
};

/// Maximum bytes kept of each compressed output, enough for its first rows.
const KEPT_BYTES: usize = 4 << 20;
/// Maximum characters shown of a cell.
const SHOWN_CHARS: usize = 40;
/// Blanks between two columns of a table.
const GAP: usize = 2;

/// Prints the layers of the file, its records and first rows.
pub(crate) fn explain(args: &ExplainArgs) -> Result<(), Stop> {
    let mut plan = inputs::read(args.config.as_ref(), args.names.as_ref())?.run_config;
    // An object with too many rejects must be shown too.
    let limits = plan.config.limits;
    plan.config.limits =
        Limits { max_rejects: u64::MAX, max_reject_percent: 100, max_reject_bytes: u64::MAX, ..limits };
    let name = || args.file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let key = args.key.clone().unwrap_or_else(name);
    let file =
        File::open(&args.file).map_err(|error| Stop::usage(format!("{}: {error}", args.file.display())))?;
    let finished = pipeline::run(file, &key, &plan, |_| Ok(HeadBuffer::default()))
        .with_context(|| args.file.display().to_string())?;
    let mut text = format!("{}\n\n", summary::printable(&args.file.display().to_string()));
    text += &layers(&finished.counts);
    text += &records(&plan, &finished.counts);
    text += &absent_columns(&plan, &finished.counts);
    let counts = finished.counts.clone();
    text += &rows(&plan, finished, &key, args.rows.into())?;
    summary::print(&text)?;
    let Counts { rejected, reject_bytes, .. } = counts;
    let mut exceeded = Vec::new();
    let rejects = counted(rejected, "reject", "rejects");
    if rejected > limits.max_rejects {
        exceeded.push(format!("{rejects}, and limits.max_rejects is {}", limits.max_rejects));
    }
    if counts.exceeds_percent(limits.max_reject_percent) {
        let (rows, max) = (counted(counts.rows, "row", "rows"), limits.max_reject_percent);
        exceeded.push(format!("{rejects} and {rows}, and limits.max_reject_percent is {max}"));
    }
    if reject_bytes > limits.max_reject_bytes {
        let max = limits.max_reject_bytes;
        exceeded.push(format!("{reject_bytes} bytes of rejects, and limits.max_reject_bytes is {max}"));
    }
    for limit in exceeded {
        summary::print_message(&format!("`flowherd convert` fails this object: {limit}"));
    }
    if needs_rules(&counts, args.config.is_none()) {
        let file = args.file.display();
        summary::print_message(&format!(
            "most records fit no rule: `flowherd suggest {file}` prints rules for them"
        ));
    }
    Ok(())
}

/// Returns whether most records match no rule, or do not fit the built-in one.
fn needs_rules(counts: &Counts, is_built_in: bool) -> bool {
    let unfit = if is_built_in { counts.rejected } else { counts.without_rule.rejected() };
    unfit > counts.rows + counts.dropped + (counts.rejected - unfit)
}

fn layers(counts: &Counts) -> String {
    let mut text = format!("object   {}\n", HumanBytes(counts.compressed_in));
    // As in error messages, layer 0 is the object as stored.
    for (layer, counts) in counts.layers.iter().enumerate() {
        // The entries of a zip archive may be compressed differently.
        let codecs = counts.iter().map(|count| {
            let (codec, units) = count.codec.names();
            format!("{codec}, {units}: {}", HumanCount(count.units))
        });
        let _ = writeln!(text, "layer {layer}  {}", codecs.collect::<Vec<_>>().join("; "));
    }
    let items = counts.items;
    let kinds = [
        (items.envelopes, "CloudWatch Logs envelopes"),
        (items.objects, "JSON objects"),
        (items.lines, "lines"),
    ];
    let held: Vec<&str> = kinds.iter().filter(|(count, _)| *count > 0).map(|(_, kind)| *kind).collect();
    let shape = if held.is_empty() { "nothing".to_owned() } else { held.join(" and ") };
    text + &format!("layer {}  {} of {shape}\n\n", counts.layers.len(), HumanBytes(counts.decoded_in))
}

fn records(plan: &RunConfig, counts: &Counts) -> String {
    let mut table = table::plain();
    table.add_row(["records", "outcome"]);
    for (rule, counts) in plan.config.rules.iter().zip(&counts.rules) {
        let (count, outcome) = match &rule.action {
            Action::Write(writing) => {
                let table = &plan.config.tables[writing.table].name;
                (counts.rows, format!("rows of {table}, by rule {}", rule.name))
            }
            Action::Drop => (counts.dropped, format!("dropped by rule {}", rule.name)),
            // Its records are those of other rules.
            Action::Decode => continue,
        };
        table.add_row([HumanCount(count).to_string(), outcome]);
    }
    if counts.repaired > 0 {
        table.add_row([
            HumanCount(counts.repaired).to_string(),
            "of these rows with invalid text replaced".to_owned(),
        ]);
    }
    if counts.named_by_guess > 0 {
        table.add_row([
            HumanCount(counts.named_by_guess).to_string(),
            "of these rows with a name of another time".to_owned(),
        ]);
    }
    for (reason, count) in &counts.rejects {
        table.add_row([HumanCount(*count).to_string(), format!("rejected: {}", reason.as_str())]);
    }
    if counts.control > 0 {
        table.add_row([HumanCount(counts.control).to_string(), "control: counted, never written".to_owned()]);
    }
    table::finish(&table)
}

/// Returns a line for each column without a value in any row.
fn absent_columns(plan: &RunConfig, counts: &Counts) -> String {
    let mut lines = Vec::new();
    for (rule, counts) in plan.config.rules.iter().zip(&counts.rules) {
        let columns = rule.writing().map_or_else(Vec::new, |writing| writing.format.columns());
        lines.extend(counts.absent_columns.iter().map(|column| {
            summary::absent_column(&rule.name, &columns[usize::from(*column)].name, counts.rows)
        }));
    }
    let lines = summary::shortened(&lines);
    if lines.is_empty() { lines } else { format!("\nabsent columns\n{lines}") }
}

/// Returns the first rows of each table, and the first rejects.
fn rows(plan: &RunConfig, finished: Finished<HeadBuffer>, key: &str, limit: usize) -> anyhow::Result<String> {
    let mut text = String::new();
    for (output, head) in finished.outputs {
        let lines = head.lines(limit + 1);
        if let Some(table) = output.table {
            let _ = writeln!(text, "\n{}", plan.config.tables[table].name);
            text += &as_columns(&lines)?;
        } else {
            let _ = writeln!(text, "\n{}", layout::rejects(key));
            for line in lines.iter().take(limit) {
                text += &summary::printable(line);
                text.push('\n');
            }
        }
    }
    Ok(text)
}

/// Shows the records of an output side by side, one line for each column of the output, because dozens of values do not fit
/// on a line.
fn as_columns(lines: &[String]) -> anyhow::Result<String> {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .from_reader(io::Cursor::new(lines.join("\n")));
    let records: Vec<csv::StringRecord> =
        reader.records().collect::<Result<_, _>>().context("cannot read the CSV that was written")?;
    let cell = |value: &str| {
        let mut shown: String = summary::printable(value).chars().take(SHOWN_CHARS).collect();
        if value.chars().count() > SHOWN_CHARS {
            shown.push('…');
        }
        shown
    };
    let mut records = records.iter().map(|record| record.iter().map(cell).collect());
    let names: Vec<String> = records.next().unwrap_or_default();
    let records: Vec<Vec<String>> = records.collect();
    Ok(side_by_side(&names, &records, terminal::width()))
}

/// Returns as many records beside each other as fit the width, then the next ones below. One record is never divided.
fn side_by_side(names: &[String], records: &[Vec<String>], width: Option<usize>) -> String {
    let widest =
        |texts: &[String]| texts.iter().map(|text| measure_text_width(text)).max().unwrap_or_default();
    let (mut blocks, mut begin, mut used) = (Vec::new(), 0, widest(names));
    for (at, record) in records.iter().enumerate() {
        let more = GAP + widest(record);
        if at > begin && width.is_some_and(|width| used + more > width) {
            blocks.push(block(names, &records[begin..at]));
            (begin, used) = (at, widest(names));
        }
        used += more;
    }
    blocks.push(block(names, &records[begin..]));
    blocks.join("\n")
}

fn block(names: &[String], records: &[Vec<String>]) -> String {
    let mut table = table::plain();
    for (column, name) in names.iter().enumerate() {
        let values = records.iter().map(|record| record.get(column).map_or("", String::as_str));
        table.add_row([&**name].into_iter().chain(values));
    }
    table::finish(&table)
}

/// A writer that keeps the first [`KEPT_BYTES`] bytes.
#[derive(Debug, Default)]
struct HeadBuffer(Vec<u8>);

impl HeadBuffer {
    fn lines(&self, limit: usize) -> Vec<String> {
        let mut text = Vec::new();
        // The last gzip member may be truncated; the members before it are enough.
        let _ = MultiGzDecoder::new(&self.0[..]).take(KEPT_BYTES as u64).read_to_end(&mut text);
        String::from_utf8_lossy(&text).lines().take(limit).map(str::to_owned).collect()
    }
}

impl Write for HeadBuffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = KEPT_BYTES - self.0.len();
        self.0.extend_from_slice(&bytes[..bytes.len().min(room)]);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_side_by_side_as_far_as_the_terminal_is_wide() {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let names = texts(&["srcaddr", "action"]);
        let records = [["10.0.0.1", "ACCEPT"], ["10.0.0.2", "REJECT"], ["10.0.0.3", "ACCEPT"]];
        let records = records.map(|record| texts(&record));
        let three = "srcaddr  10.0.0.1  10.0.0.2  10.0.0.3\naction   ACCEPT    REJECT    ACCEPT\n";
        let two =
            "srcaddr  10.0.0.1  10.0.0.2\naction   ACCEPT    REJECT\n\nsrcaddr  10.0.0.3\naction   ACCEPT\n";
        let one = "srcaddr  10.0.0.1\naction   ACCEPT\n\nsrcaddr  10.0.0.2\naction   REJECT\n\n\
                   srcaddr  10.0.0.3\naction   ACCEPT\n";
        for (width, expected) in [
            (None, three),
            (Some(37), three),
            (Some(36), two),
            (Some(27), two),
            (Some(26), one),
            (Some(1), one),
        ] {
            assert_eq!(side_by_side(&names, &records, width), expected, "{width:?}");
        }
        assert_eq!(side_by_side(&names, &[], Some(80)), "srcaddr\naction\n");
    }
}
