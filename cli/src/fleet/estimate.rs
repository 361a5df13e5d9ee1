//! `flowherd estimate`: lists a prefix or a directory and estimates the work and cost of a run. It changes nothing.

mod index;

use std::{path::Path, time::Duration};

use anyhow::Context;
use aws_sdk_lambda::types::AccountLimit;
use flowherd_aws::Aws;
use flowherd_shared::{
    error::error_chain,
    ledger::no_objects,
    store::{Lister, pages},
};
use indicatif::{HumanBytes, HumanCount};
use serde::Serialize;

use super::{Deployment, buckets, connected, json, patience::Patience};
use crate::{
    args::EstimateArgs,
    convert::listing::Listing,
    cost::{BYTES_PER_SECOND, Estimate, Objects},
    stop::Stop,
    summary,
    words::about,
};

/// The output of `--json`.
#[derive(Serialize)]
struct Output {
    #[serde(flatten)]
    estimate: Estimate,
    /// Concurrent executions that the account's functions may still use; `null` if unknown.
    unreserved_concurrency: Option<u32>,
}

/// `flowherd estimate`.
pub(crate) fn estimate(args: &EstimateArgs) -> Result<(), Stop> {
    if args.index.index {
        return index::estimate(args);
    }
    let prefix = args.prefix.as_deref().unwrap_or_default();
    if let Some(source) = &args.source {
        let objects = of_directory(source, prefix)?;
        return show(args, &source.display().to_string(), objects, None);
    }
    if let Some(name) = &args.bucket {
        let (aws, bucket) = buckets::find(name)?;
        let patience = Patience::new(Duration::from_secs(args.fleet.timeout));
        let objects = of_bucket(&bucket, name, prefix, &patience)?;
        let concurrency =
            patience.during("the account's settings in Lambda", || unreserved_concurrency(&aws));
        return show(args, &format!("s3://{name}"), objects, Some(concurrency));
    }
    connected(&args.fleet, |Deployment { connected, settings, patience, aws, .. }| {
        let bucket = &settings.common.source_bucket;
        let objects = of_bucket(&connected.source, bucket, prefix, patience)?;
        let concurrency = patience.during("the account's settings in Lambda", || unreserved_concurrency(aws));
        show(args, &format!("s3://{bucket}"), objects, Some(concurrency))
    })
}

fn of_directory(source: &Path, prefix: &str) -> Result<Objects, Stop> {
    if !source.exists() {
        return Err(Stop::usage(format!("no file or directory {}", source.display())));
    }
    let mut objects = Objects::default();
    let listing = Listing { source, prefix, excluded: Vec::new() };
    let listed = listing.each(|found| {
        objects.add(found.entry.size);
        Ok(())
    });
    listed.with_context(|| format!("cannot list {}", source.display()))?;
    Ok(objects)
}

fn of_bucket(bucket: &impl Lister, name: &str, prefix: &str, patience: &Patience) -> Result<Objects, Stop> {
    let mut objects = Objects::default();
    let mut pages = pages(bucket, prefix);
    while let Some(page) = patience.during(format!("the listing of {name}"), || pages.next()) {
        let page = page.context("cannot list the prefix")?;
        page.entries.iter().for_each(|entry| objects.add(entry.size));
    }
    Ok(objects)
}

/// Prints the estimate. `unreserved` is the account's concurrency, or why it is not known; `None` if it was not asked.
fn show(
    args: &EstimateArgs,
    source: &str,
    objects: Objects,
    unreserved: Option<Result<u32, String>>,
) -> Result<(), Stop> {
    let prefix = args.prefix.as_deref().unwrap_or_default();
    if objects.count == 0 {
        summary::print_message(&no_objects(source, prefix));
    }
    let estimate = Estimate::new(prefix, objects, args.memory, args.concurrency);
    if args.json {
        if let Some(Err(why)) = &unreserved {
            summary::print_message(why);
        }
        let unreserved_concurrency = unreserved.and_then(Result::ok);
        return summary::print(&json(&Output { estimate, unreserved_concurrency })?);
    }
    let unreserved = unreserved
        .map_or_else(String::new, |unreserved| concurrency_text(unreserved, args.concurrency) + "\n");
    summary::print(&(text(&estimate) + &unreserved))
}

/// Asks Lambda for the account's limit of concurrent executions. New accounts have fewer than 1,000
/// (<https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>).
fn unreserved_concurrency(aws: &Aws) -> Result<u32, String> {
    let request = aws_sdk_lambda::Client::new(aws.config()).get_account_settings().send();
    let answer = aws.handle().block_on(request).map_err(|error| error_chain(&error));
    let limit = answer.map(|answer| answer.account_limit);
    let unreserved = |limit: AccountLimit| limit.unreserved_concurrent_executions;
    let unreserved = limit.and_then(|limit| {
        let number = limit.and_then(unreserved).and_then(|number| u32::try_from(number).ok());
        number.ok_or_else(|| "Lambda returned no number".to_owned())
    });
    unreserved.map_err(|why| {
        format!(
            "cannot read the account's concurrent executions (lambda:GetAccountSettings): {why}; new accounts have fewer \
             than 1,000, and workers beyond the limit are throttled"
        )
    })
}

fn concurrency_text(unreserved: Result<u32, String>, concurrency: u32) -> String {
    match unreserved {
        Ok(number) if number < concurrency => format!(
            "the account has {number} unreserved concurrent executions in this region, fewer than the assumed maxConcurrency \
             of {concurrency}:\nworkers are throttled; raise the quota of Lambda, or lower maxConcurrency"
        ),
        Ok(number) => format!(
            "the account has {} unreserved concurrent executions in this region",
            HumanCount(number.into())
        ),
        Err(why) => why,
    }
}

fn text(estimate: &Estimate) -> String {
    let count = |number| HumanCount(number).to_string();
    let dollars = |amount: f64| format!("${amount:.4}");
    let rows = [
        ("objects", count(estimate.objects)),
        ("bytes", HumanBytes(estimate.bytes).to_string()),
        ("largest object", HumanBytes(estimate.largest_bytes).to_string()),
        ("elapsed time", about(Duration::from_secs_f64(estimate.elapsed_seconds))),
        ("worker seconds", format!("{:.0}", estimate.worker_seconds)),
        ("Lambda GB-seconds", format!("{:.0}", estimate.lambda_gb_seconds)),
        ("Lambda requests", count(estimate.lambda_requests)),
        ("S3 reads", count(estimate.s3_reads)),
        ("S3 writes and lists", count(estimate.s3_writes_and_lists)),
        ("SQS requests", count(estimate.sqs_requests)),
        ("logs and metrics", HumanBytes(estimate.log_bytes).to_string()),
        ("Lambda", dollars(estimate.dollars.lambda)),
        ("S3 requests", dollars(estimate.dollars.s3)),
        ("SQS", dollars(estimate.dollars.sqs)),
        ("CloudWatch", dollars(estimate.dollars.cloudwatch)),
        ("total", dollars(estimate.dollars.total)),
    ];
    let rows = rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]);
    let table = summary::columns(&["a run of these objects", "about"], rows, 1);
    let idle = &estimate.idle_month;
    format!(
        "{table}\nassumed: {} workers at once with {} MB of memory, arm64, prices of us-east-1 without free tiers, {:.0} MB of compressed logs per \
         second and vCPU;\nstorage, transfer, Step Functions and Athena scans are not included\n\n\
         the stack itself: about ${:.2} per month without a run (alarms ${:.2}, dashboard ${:.2}, polls of the empty queue \
         ${:.2})\n",
        estimate.concurrency,
        estimate.memory_mb,
        BYTES_PER_SECOND / 1e6,
        idle.total,
        idle.alarms,
        idle.dashboard,
        idle.sqs
    )
}
