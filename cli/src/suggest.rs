//! `flowherd suggest`: prints the rules that fit samples of logs.
//!
//! files ▶ [`sample`] ▶ [`clusters`] ▶ [`recognise`] ▶ [`found`] ▶ [`rules`] ▶ [`verify`]. Standard output gets the
//! configuration, standard error what was read and what each rule takes.

mod clusters;
mod draft;
mod files;
mod flow_guess;
mod found;
mod json_shape;
mod names;
mod preset_rule;
mod probe;
mod recognise;
mod rules;
mod sample;
mod spread;
mod text_shape;
mod toml_text;
mod trim;
mod values;
mod verify;
mod w3c_shape;
mod wrapped;

use std::io::{self, Write};

use flowherd_shared::config::ConfigError;
use indicatif::{HumanBytes, HumanCount};

use self::{
    clusters::{Cluster, Clusters},
    found::Found,
    recognise::Recogniser,
    rules::{Suggested, UncertainRule},
    sample::{Sample, Samples},
    verify::{RejectLimits, RuleCounts, Verified},
};
use crate::{args::SuggestArgs, stop::Stop, summary, words::counted};

/// Problems with files that are printed.
const MAX_PROBLEMS: usize = 20;
/// Rejects in a hundred records above which an inferred rule is only a comment, unless the examined records have shown rejects.
const MAX_REJECT_PERCENT: u64 = 5;

/// Prints the rules that fit the files.
pub(crate) fn suggest(args: &SuggestArgs) -> Result<(), Stop> {
    let files = files::choose(&args.paths).map_err(Stop::Usage)?;
    let Samples { samples: mut read, mut problems } = sample::read(&files);
    problems.splice(0..0, files.problems.iter().cloned());
    let mut clusters = Clusters::default();
    read.retain(|sample| {
        let added = clusters.add(&sample.key, &sample.text);
        added.map_err(|problem| problems.push(format!("{}: {problem}", sample.key))).is_ok()
    });
    print_sampled(files.found, &read);
    print_problems(&problems);
    let (faulty, beyond_limit) = (clusters.faulty, clusters.beyond_limit);
    let found = find_all(clusters.finish(), &Recogniser::new(preset_rule::all()));
    let (mut rules, uncertain) = rules::rules(found);
    let suggestion = settle(&mut rules, &uncertain, &read).map_err(|error| {
        anyhow::Error::new(error).context("the suggested rules are not valid; please report this")
    })?;
    let has_rules = rules.iter().any(|rule| rule.why_commented.is_none());
    if !rules.is_empty() || !uncertain.is_empty() {
        summary::print(&suggestion.text)?;
    }
    print_problems(&suggestion.verified.problems);
    print_counts(&rules, &suggestion.verified, faulty + beyond_limit);
    if has_rules {
        return Ok(());
    }
    summary::print_message(match suggestion.verified.read {
        0 => "no records found: pass log files, or directories of them, as they are in the archive",
        _ => "no rule fits all of these records; write one as in docs/configuration.md#rules",
    });
    Err(Stop::Failed)
}

/// Recognises the clusters, then the records inside of payloads that they hold.
fn find_all(clusters: Vec<Cluster>, recogniser: &Recogniser) -> Vec<Found> {
    let found = found::find(clusters, recogniser, Vec::new());
    let mut inner = Clusters::default();
    for found in &found {
        for (file, payload) in &found.chain.payloads {
            // A payload that is no log makes its message a reject, which the verification counts.
            let _ = inner.add(&found.cluster.files[*file].key, payload);
        }
    }
    found::find(inner.finish(), recogniser, found)
}

/// The printed file, and what it does with the sample.
struct Suggestion {
    text: String,
    verified: Verified,
}

/// Verifies the rules, and turns inferred ones that reject too much into comments, until all others are right.
fn settle(
    rules: &mut [Suggested],
    uncertain: &[UncertainRule],
    samples: &[Sample],
) -> Result<Suggestion, ConfigError> {
    loop {
        let counts = vec![String::new(); rules.len()];
        let verified = if rules.iter().any(|rule| rule.why_commented.is_none()) {
            verify::verify(&rules::file("", rules, &counts, uncertain), samples, RejectLimits::Lift)?
        } else {
            verify::nothing_taken(samples)?
        };
        let mut is_settled = true;
        for rule in rules.iter_mut().filter(|rule| rule.why_commented.is_none() && !rule.decodes) {
            let counts = verified.rules.get(&rule.name).cloned().unwrap_or_default();
            if let Some(why) = why_commented(rule, &counts) {
                rule.why_commented = Some(why);
                is_settled = false;
            }
        }
        if is_settled {
            let verified = if rules.iter().any(|rule| rule.why_commented.is_none()) {
                verify::verify(&rules::file("", rules, &counts, uncertain), samples, RejectLimits::Apply)?
            } else {
                verified
            };
            for rule in rules.iter_mut() {
                let has_rejects = verified.rules.get(&rule.name).is_some_and(|counts| counts.rejected > 0);
                let example = rule.reject_example.take().filter(|_| has_rejects);
                rule.notes.extend(example.map(|example| format!("One of the rejected records: {example}")));
            }
            let counts: Vec<String> = rules.iter().map(|rule| counts_text(rule, &verified)).collect();
            return Ok(Suggestion {
                text: rules::file(&head(samples, &verified), rules, &counts, uncertain),
                verified,
            });
        }
    }
}

/// Returns why a rule is only a comment, if it is one.
fn why_commented(rule: &Suggested, counts: &RuleCounts) -> Option<String> {
    let RuleCounts { rows, rejected, .. } = *counts;
    if rows == 0 {
        return Some(match rejected {
            0 => "rules above take all of its records".to_owned(),
            _ => format!("it rejects all {rejected} records as {}", counts.reason()),
        });
    }
    let is_checked = rule.is_inferred && !rule.expects_rejects;
    (is_checked && rejected * 100 > (rows + rejected) * MAX_REJECT_PERCENT)
        .then(|| format!("it rejects {rejected} of {} records as {}", rows + rejected, counts.reason()))
}

fn head(samples: &[Sample], verified: &Verified) -> String {
    format!(
        "Suggested by `flowherd suggest` from {} of {}, which give {}. Check the names and types, and \
         compare each `match` with the keys of your archive. Here they are the paths below the given directory. \
         `flowherd explain OBJECT --config flowherd.toml` shows the rows of one object.",
        counted(verified.read, "record", "records"),
        counted(samples.len() as u64, "file", "files"),
        counted(verified.rows, "row", "rows")
    )
}

fn counts_text(rule: &Suggested, verified: &Verified) -> String {
    let read = HumanCount(verified.read);
    match verified.rules.get(&rule.name) {
        None => "Takes no records of the sample:".to_owned(),
        Some(_) if rule.decodes => "Decodes payloads, whose records the other rules take:".to_owned(),
        Some(RuleCounts { rows, rejected: 0, .. }) => {
            format!("Takes {} of {read} records:", HumanCount(*rows))
        }
        Some(counts) => format!(
            "Takes {} of {read} records, and rejects {} (mostly {}):",
            HumanCount(counts.rows),
            HumanCount(counts.rejected),
            counts.reason()
        ),
    }
}

fn print_sampled(found: u64, samples: &[Sample]) {
    let bytes: usize = samples.iter().map(|sample| sample.text.len()).sum();
    let cut = samples.iter().filter(|sample| sample.is_cut).count();
    let of_cut = if cut > 0 { format!("; only the beginning of {cut} of them") } else { String::new() };
    summary::print_message(&format!(
        "sampled {} of {} files, {} decoded{of_cut}",
        samples.len(),
        HumanCount(found),
        HumanBytes(bytes as u64)
    ));
}

fn print_problems(problems: &[String]) {
    problems.iter().take(MAX_PROBLEMS).for_each(|problem| summary::print_message(problem));
    if problems.len() > MAX_PROBLEMS {
        let more = counted((problems.len() - MAX_PROBLEMS) as u64, "more file", "more files");
        summary::print_message(&format!("and {more} with problems"));
    }
}

/// Prints a table of the rules and of what remains. A closed standard error does not stop the work.
fn print_counts(rules: &[Suggested], verified: &Verified, faulty: u64) {
    let count = |count: u64| HumanCount(count).to_string();
    let mut rows = Vec::new();
    for rule in rules.iter().filter(|rule| rule.why_commented.is_none()) {
        let counts = verified.rules.get(&rule.name).cloned().unwrap_or_default();
        rows.push(vec![rule.name.clone(), rule.table.clone(), count(counts.rows), count(counts.rejected)]);
    }
    for (source, records) in &verified.remaining {
        rows.push(vec![format!("no rule: {source}"), String::new(), "0".to_owned(), count(*records)]);
    }
    if !rows.is_empty() {
        let table = summary::columns(&["rule", "table", "rows", "rejected"], rows, 2);
        let _ = write!(io::stderr(), "\n{table}");
    }
    if faulty > 0 {
        summary::print_message(&format!(
            "{} damaged or beyond the limits of a sample",
            counted(faulty, "record is", "records are")
        ));
    }
}
