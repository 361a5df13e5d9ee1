//! Which run `flowherd index --verify` compares.

use flowherd_shared::ledger::{Destination, IndexTarget, ReportState, Run, layout};

use super::super::super::{Deployment, runs};
use crate::{
    args::IndexArgs,
    runs_table::ReportFile,
    stop::Stop,
    summary::{print_message, printable},
};

/// An index run, and where its documents are.
pub(super) struct Choice {
    pub(super) run: Run,
    pub(super) target: IndexTarget,
}

/// Returns the named run, or the latest one of the prefix, the fleet and the destination that has ended.
pub(super) fn run(deployment: &Deployment<'_>, args: &IndexArgs) -> Result<Choice, Stop> {
    let Some(name) = &args.run else { return latest(deployment, args) };
    let run = runs::find(deployment, name)?;
    let Some(target) = run.job.target().cloned() else {
        return Err(Stop::usage(format!(
            "run {name} converts objects and has no documents; compare its outputs with: flowherd verify {name}"
        )));
    };
    check_named(&run, &target.destination, args)?;
    Ok(Choice { run, target })
}

/// Returns the latest run whose report is final. Names the latest of those after it, and all that have a damaged report.
fn latest(deployment: &Deployment<'_>, args: &IndexArgs) -> Result<Choice, Stop> {
    let (prefix, to) = (args.prefix.as_deref().unwrap_or_default(), args.to.as_deref());
    let fleet = deployment.settings.fleets.index_fleet(args.of_fleet.as_deref())?;
    let mut candidates = runs::runs_of(deployment, Some(fleet))?;
    candidates.retain(|run| run.prefix == prefix);
    let mut open = None;
    let choose = |run: Run, report: ReportFile| {
        let target = run.job.target().filter(|target| is_wanted(&target.destination, to))?.clone();
        match &report {
            Some(Err(why)) => deployment.name_damage(&format!(
                "{}: {why}; write it again with: flowherd report {} --now",
                layout::report(&run.run),
                run.run
            )),
            Some(Ok(report)) if report.state != ReportState::Incomplete => {
                return Some(Choice { run, target });
            }
            Some(Ok(_)) => open = open.take().or_else(|| Some(open_because("is incomplete", &run))),
            None => open = open.take().or_else(|| Some(open_because("has no report yet", &run))),
        }
        None
    };
    let found = runs::choose(deployment, &candidates, choose)?;
    match (found, open) {
        (Some(found), open) => {
            open.iter().for_each(|why| print_message(why));
            Ok(found)
        }
        (None, Some(open)) => Err(Stop::usage(open)),
        (None, None) => Err(Stop::usage(none_of(prefix, to, fleet))),
    }
}

fn open_because(why: &str, run: &Run) -> String {
    format!("run {0} of the prefix {why}: flowherd status {0}", run.run)
}

fn none_of(prefix: &str, to: Option<&str>, fleet: &str) -> String {
    let to = to.map_or_else(|| "without --to".to_owned(), |index| format!("with --to {index}"));
    format!(
        "no index run of prefix {prefix:?} {to} in fleet {fleet} has a valid report; list all runs with: flowherd runs; verify one \
         of them with: flowherd index --verify --run RUN"
    )
}

/// Returns whether the documents of a run are where those of runs with this `--to` are; without one, where the settings of the fleet
/// send them.
fn is_wanted(destination: &Destination, to: Option<&str>) -> bool {
    match destination {
        Destination::To(index) => to == Some(index),
        Destination::Pattern(_) | Destination::DataStream(_) => to.is_none(),
    }
}

/// Refuses a named run of another prefix, fleet or index than the arguments.
fn check_named(run: &Run, destination: &Destination, args: &IndexArgs) -> Result<(), Stop> {
    let name = &run.run;
    if let Some(prefix) = args.prefix.as_ref().filter(|prefix| **prefix != run.prefix) {
        return Err(Stop::usage(format!("run {name} has the prefix {:?}, not {prefix:?}", run.prefix)));
    }
    if let Some(fleet) = args.of_fleet.as_ref().filter(|fleet| **fleet != run.fleet) {
        return Err(Stop::usage(format!("run {name} is of fleet {}, not of fleet {fleet}", run.fleet)));
    }
    if let Some(to) = args.to.as_deref().filter(|to| !is_wanted(destination, Some(to))) {
        return Err(Stop::usage(format!(
            "run {name} has sent its documents to {}, not to index {to}",
            described(destination)
        )));
    }
    Ok(())
}

/// Returns a destination for people.
pub(super) fn described(destination: &Destination) -> String {
    match destination {
        Destination::Pattern(layout) => format!("indices {}", printable(layout)),
        Destination::DataStream(layout) => format!("data stream {}", printable(layout)),
        Destination::To(index) => format!("index {}", printable(index)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_one_index_are_not_those_of_the_settings() {
        let to = Destination::To("a".to_owned());
        assert!(is_wanted(&to, Some("a")) && !is_wanted(&to, Some("b")) && !is_wanted(&to, None));
        for other in [Destination::Pattern("a".to_owned()), Destination::DataStream("a".to_owned())] {
            assert!(is_wanted(&other, None) && !is_wanted(&other, Some("a")));
        }
    }
}
