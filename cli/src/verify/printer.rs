//! Prints what `flowherd verify` finds.

use anyhow::Context;
use flowherd_shared::ledger::Run;
use indicatif::{HumanBytes, HumanCount};

use super::{Difference, Totals};
use crate::{
    stop::Stop,
    summary::{self, columns, printable},
    words::counted,
};

/// Prints difference by difference, because there may be millions.
pub(super) struct Printer {
    pub(super) as_json: bool,
    pub(super) count: u64,
}

impl Printer {
    pub(super) fn add(&mut self, difference: &Difference) -> Result<(), Stop> {
        let is_first = self.count == 0;
        self.count += 1;
        if self.as_json {
            let before = if is_first { "{\"problems\":[\n" } else { ",\n" };
            let difference = serde_json::to_string(difference).context("cannot print JSON")?;
            return summary::print(&format!("{before}{difference}"));
        }
        summary::print(&format!("{}: {}\n", printable(&difference.path), printable(&difference.problem)))
    }

    /// Prints the verdict; without totals, only the end of the JSON.
    pub(super) fn finish(&self, run: &Run, totals: Option<&Totals>) -> Result<(), Stop> {
        if self.as_json {
            let before = if self.count == 0 { "{\"problems\":[" } else { "\n" };
            let name = serde_json::to_string(&run.run).context("cannot print JSON")?;
            let totals = serde_json::to_string(&totals).context("cannot print JSON")?;
            return summary::print(&format!("{before}],\"run\":{name},\"totals\":{totals}}}\n"));
        }
        let Some(totals) = totals else { return Ok(()) };
        let mut verdict = match self.count {
            0 => format!("{} as written", counted(totals.outputs, "output is", "outputs are")),
            count => counted(count, "problem", "problems"),
        };
        if totals.missing > 0 {
            let objects = counted(totals.missing, "object has", "objects have");
            verdict += &format!("; {objects} neither a valid receipt nor a failure: not verified");
        }
        let count = |number| HumanCount(number).to_string();
        let row = vec![
            count(totals.done + totals.skipped),
            count(totals.outputs),
            count(totals.rows),
            count(totals.rejected),
            HumanBytes(totals.bytes).to_string(),
        ];
        let table = columns(&["objects", "outputs", "rows", "rejected", "bytes"], [row], 0);
        let mut text = format!("run {}: {verdict}\n\n{table}", printable(&run.run));
        if totals.other_versions > 0 {
            let outputs = match totals.other_versions {
                1 => "1 output has the bytes that were written, but another version: it was".to_owned(),
                more => format!(
                    "{} outputs have the bytes that were written, but other versions: they were",
                    HumanCount(more)
                ),
            };
            text += &format!("\n{outputs} copied or written again\n");
        }
        summary::print(&text)
    }
}
