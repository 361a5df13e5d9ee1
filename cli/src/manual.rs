//! `flowherd completions` and `flowherd man`: texts that clap generates from the command line.

use std::fs;

use anyhow::Context;
use clap::CommandFactory;
use clap_mangen::Man;

use crate::{
    args::{Args, CompletionsArgs, ManArgs},
    stop::Stop,
    summary,
};

/// Prints the completions for a shell.
pub(crate) fn completions(args: &CompletionsArgs) -> Result<(), Stop> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Args::command(), "flowherd", &mut script);
    summary::print(&String::from_utf8_lossy(&script))
}

/// Prints the page `flowherd(1)`, or writes the pages of all commands to a directory.
pub(crate) fn man(args: &ManArgs) -> Result<(), Stop> {
    let command = Args::command();
    let Some(dir) = &args.dir else {
        let mut page = Vec::new();
        Man::new(command).render(&mut page).context("cannot write the page")?;
        return summary::print(&String::from_utf8_lossy(&page));
    };
    let context = || format!("cannot write the pages to {}", dir.display());
    fs::create_dir_all(dir).with_context(context)?;
    clap_mangen::generate_to(command, dir).with_context(context)?;
    Ok(())
}
