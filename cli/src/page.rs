//! The page of a report in a file that the user names.

use std::{fs, path::Path};

use anyhow::Context;
use flowherd_shared::{
    ledger::{Report, Run},
    report_page,
};

/// Writes the page of a report if there is a file to write.
pub(crate) fn write(file: Option<&Path>, run: &Run, report: &Report) -> anyhow::Result<()> {
    let Some(file) = file else { return Ok(()) };
    fs::write(file, report_page::render(run, report))
        .with_context(|| format!("--html {}: cannot write the page", file.display()))
}
