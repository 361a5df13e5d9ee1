//! `flowherd names`: reads the names of interfaces, subnets and VPCs from AWS, or those of the past from files, and merges them
//! into a file.

mod history;
mod output;

use std::path::Path;

use anyhow::Context;
use flowherd_aws::{
    api::{ApiError, Retries},
    ec2::{self, Inventory, Target},
    settings::{is_region, is_role_arn},
};
use flowherd_shared::{
    config::ConfigError,
    names::merge::{Changes, Merged, Part, forget_before, merge},
};
use indicatif::HumanCount;

use self::output::Output;
use crate::{args::NamesArgs, location::Location, stop::Stop, summary, words::counted};

/// Reads the accounts and regions, or the files, writes the file and prints what was read.
pub(crate) fn names(args: &NamesArgs) -> Result<(), Stop> {
    let targets = targets(args)?;
    let output = Output::open(&args.output)?;
    // Checks the former file and the clock before any request.
    let refused = |error: ConfigError| Stop::Usage(lines(&args.output, &error));
    merge(output.former(), &[], now_ms()).map_err(refused)?;
    match &args.from_config {
        Some(location) => from_history(args, output, location),
        None => from_aws(args, output, targets),
    }
}

fn from_aws(args: &NamesArgs, output: Output, mut targets: Vec<Target>) -> Result<(), Stop> {
    let (former, removed) = forget(args, output.former())?;
    if args.organization {
        targets = of_organization(&targets, &args.role_name)?;
    }
    let read = ec2::read_names(&targets, Retries::default()).context("cannot start the runtime")?;
    let failures = ec2::failures(&targets, &read);
    failures.iter().for_each(|failure| summary::print_message(failure));
    let readings = || read.iter().flatten().map(|inventory| &inventory.reading);
    if readings().all(|reading| reading.parts.is_empty()) {
        summary::print_message(&format!("nothing could be read; {} is unchanged", args.output.display()));
        return Err(Stop::Failed);
    }
    let merged = merge(former.as_deref(), readings(), now_ms()).map_err(|error| unchanged(args, &error))?;
    let changes = write(args, output, merged, removed)?;
    summary::print(&table(&targets, &read))?;
    summary::print(&format!("\n{changes}\n"))?;
    if failures.is_empty() { Ok(()) } else { Err(Stop::Failed) }
}

fn from_history(args: &NamesArgs, output: Output, location: &Location) -> Result<(), Stop> {
    let history = history::read(location, output.former(), now_ms(), |error| unchanged(args, &error))?;
    history.failures.iter().for_each(|failure| summary::print_message(failure));
    if history.objects == 0 {
        let path = args.output.display();
        summary::print_message(&format!(
            "{location} has no file of AWS Config or CloudTrail that can be read; {path} is unchanged"
        ));
        return Err(Stop::Failed);
    }
    // The files may report names of any time again.
    let (kept, removed) = forget(args, Some(&history.merged.bytes))?;
    let bytes = kept.unwrap_or_default();
    let changes = write(args, output, Merged { bytes, ..history.merged }, removed)?;
    let [files, skipped] = [history.objects, history.skipped].map(|count| counted(count, "file", "files"));
    summary::print(&format!("{files} read, {skipped} of other types skipped\n{changes}\n"))?;
    if history.failures.is_empty() { Ok(()) } else { Err(Stop::Failed) }
}

/// Removes entries as `--forget-before` requires. Returns the file and the number of removed entries.
fn forget(args: &NamesArgs, file: Option<&[u8]>) -> Result<(Option<Vec<u8>>, u64), Stop> {
    match (args.forget_before, file) {
        (Some(time), Some(file)) => {
            let forgotten = forget_before(file, time.as_millisecond());
            let (bytes, removed) = forgotten.map_err(|error| Stop::Usage(lines(&args.output, &error)))?;
            Ok((Some(bytes), removed as u64))
        }
        _ => Ok((file.map(<[u8]>::to_vec), 0)),
    }
}

/// Prints why the new file is invalid.
fn unchanged(args: &NamesArgs, error: &ConfigError) -> Stop {
    lines(&args.output, error).iter().for_each(|line| summary::print_message(line));
    summary::print_message(&format!("{} is unchanged", args.output.display()));
    Stop::Failed
}

/// Writes the file, prints its notes, and returns the line with its changes.
fn write(args: &NamesArgs, output: Output, merged: Merged, removed: u64) -> Result<String, Stop> {
    let path = args.output.display();
    let Merged { bytes, changes, notes } = merged;
    output.replace(&bytes).with_context(|| format!("cannot write {path}"))?;
    for note in notes {
        summary::print_message(&format!("{path}: {note}"));
    }
    Ok(format!("{path}: {}", summarize_changes(changes, removed)))
}

/// Returns the time of the clock in whole seconds, as milliseconds since 1970.
fn now_ms() -> i64 {
    jiff::Timestamp::now().as_second() * 1000
}

/// Returns each combination of credentials and region, or all mistakes.
fn targets(args: &NamesArgs) -> Result<Vec<Target>, Stop> {
    let mut problems = Vec::new();
    for region in args.region.iter().filter(|region| !is_region(region)) {
        problems.push(format!("--region {region:?}: not a region; an example: eu-west-1"));
    }
    for role in args.role_arn.iter().filter(|role| !is_role_arn(role)) {
        problems.push(format!(
            "--role-arn {role:?}: not the ARN of a role; an example: arn:aws:iam::123456789012:role/flowherd-names"
        ));
    }
    if args.organization && !is_role_name(&args.role_name) {
        problems.push(format!(
            "--role-name {:?}: not the name of a role; an example: flowherd-names",
            args.role_name
        ));
    }
    if args.profile.len() > 1 && (args.organization || !args.role_arn.is_empty()) {
        problems.push(
            "--role-arn or --organization with several --profile: the profile that assumes the roles is ambiguous; run the command once for \
             each profile"
                .to_owned(),
        );
    }
    if !problems.is_empty() {
        return Err(Stop::Usage(problems));
    }
    let profiles: Vec<Option<String>> = optional(&args.profile);
    let roles: Vec<Option<String>> = optional(&args.role_arn);
    let mut targets = Vec::new();
    for profile in &profiles {
        for role_arn in &roles {
            for region in optional(&args.region) {
                targets.push(Target { profile: profile.clone(), role_arn: role_arn.clone(), region });
            }
        }
    }
    Ok(targets)
}

/// Returns each active account of the organization of the credentials, in each region.
fn of_organization(regions: &[Target], role_name: &str) -> Result<Vec<Target>, Stop> {
    let [first, ..] = regions else { return Ok(Vec::new()) };
    let accounts = ec2::accounts_of_organization(first, role_name, Retries::default())
        .context("cannot start the runtime")?
        .context("cannot list the accounts of the organization; nothing was read")?;
    let in_region = |account: &Target| {
        let of = |region: &Target| Target { region: region.region.clone(), ..account.clone() };
        regions.iter().map(of).collect::<Vec<_>>()
    };
    Ok(accounts.iter().flat_map(in_region).collect())
}

/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html>
fn is_role_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"+=,.@_-/".contains(&byte);
    !name.is_empty() && name.bytes().all(fits)
}

/// Returns the values, or one absent value.
fn optional(values: &[String]) -> Vec<Option<String>> {
    if values.is_empty() { vec![None] } else { values.iter().cloned().map(Some).collect() }
}

fn lines(path: &Path, error: &ConfigError) -> Vec<String> {
    error.problems.iter().map(|problem| format!("{}: {problem}", path.display())).collect()
}

/// Returns a line for each account and region; `-` for a part that could not be read.
fn table(targets: &[Target], read: &[Result<Inventory, ApiError>]) -> String {
    let rows = targets.iter().zip(read).map(|(target, read)| {
        let count = |part: Part| {
            let found = read.as_ref().ok().and_then(|inventory| inventory.reading.parts.get(&part));
            found.map_or("-".to_owned(), |found| HumanCount(found.len() as u64).to_string())
        };
        target.columns(read).into_iter().chain(Part::ALL.map(count)).collect()
    });
    let head = ["account", "region", "credentials", "interfaces", "subnets", "vpcs"];
    summary::columns(&head, rows, 3)
}

fn summarize_changes(changes: Changes, removed: u64) -> String {
    let Changes { new, changed, gone, returned } = changes;
    let ids = [(new, "new"), (changed, "changed"), (gone, "gone"), (returned, "returned")];
    let ids = ids.iter().filter(|(count, _)| *count > 0);
    let mut parts: Vec<String> =
        ids.map(|(count, kind)| format!("{} {kind}", counted(*count, "id", "ids"))).collect();
    if removed > 0 {
        parts.push(format!("{} removed", counted(removed, "entry", "entries")));
    }
    if parts.is_empty() { "no changes".to_owned() } else { parts.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_account_is_read_in_each_region() {
        let args = |profiles: &[&str], roles: &[&str], regions: &[&str]| {
            let [profile, role_arn, region] = [profiles, roles, regions]
                .map(|values| values.iter().map(|value| (*value).to_owned()).collect());
            NamesArgs {
                output: "f".into(),
                region,
                profile,
                role_arn,
                organization: false,
                role_name: "r".to_owned(),
                from_config: None,
                forget_before: None,
            }
        };
        let roles = ["arn:aws:iam::123456789012:role/a", "arn:aws-cn:iam::123456789013:role/path/b"];
        assert_eq!(targets(&args(&[], &[], &[])).unwrap(), [Target::default()]);
        assert_eq!(targets(&args(&["p", "q"], &[], &["eu-west-1", "us-east-1"])).unwrap().len(), 4);
        let of_roles = targets(&args(&["p"], &roles, &["eu-west-1"])).unwrap();
        assert_eq!(of_roles.len(), 2);
        assert!(of_roles.iter().all(|target| target.profile.as_deref() == Some("p")));
        let wrong = targets(&args(&["p", "q"], &["arn:aws:iam::123456789012:user/x"], &["EU"]));
        assert!(matches!(wrong, Err(Stop::Usage(problems)) if problems.len() == 3));
    }
}
