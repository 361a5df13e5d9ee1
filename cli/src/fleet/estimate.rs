//! `flowherd estimate`: lists a prefix and estimates the work and cost of a run. It changes nothing.

use anyhow::Context;
use aws_sdk_lambda::types::AccountLimit;
use flowherd_aws::Aws;
use flowherd_shared::{error::error_chain, ledger::no_objects, store::pages};
use indicatif::{HumanBytes, HumanCount};
use serde::Serialize;

use super::{Fleet, connected, json};
use crate::{
    args::EstimateArgs,
    cost::{BYTES_PER_SECOND, Estimate, MAX_CONCURRENCY, Objects},
    stop::Stop,
    summary,
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
    connected(&args.fleet, |Fleet { coordinator, patience, aws, .. }| {
        let (mut objects, what) = (Objects::default(), format!("the listing of {}", coordinator.bucket));
        let mut pages = pages(coordinator.source, &args.prefix);
        while let Some(page) = patience.during(&*what, || pages.next()) {
            let page = page.context("cannot list the prefix")?;
            page.entries.iter().for_each(|entry| objects.add(entry.size));
        }
        if objects.count == 0 {
            summary::print_message(&no_objects(&format!("s3://{}", coordinator.bucket), &args.prefix));
        }
        let concurrency = patience.during("the account's settings in Lambda", || unreserved_concurrency(aws));
        let unreserved_concurrency = concurrency.as_ref().ok().copied();
        let estimate = Estimate::new(&args.prefix, objects, args.memory);
        if args.json {
            concurrency.err().iter().for_each(|why| summary::print_message(why));
            return summary::print(&json(&Output { estimate, unreserved_concurrency })?);
        }
        summary::print(&format!("{}{}\n", text(&estimate), concurrency_text(concurrency)))
    })
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

fn concurrency_text(concurrency: Result<u32, String>) -> String {
    match concurrency {
        Ok(number) if number < MAX_CONCURRENCY => format!(
            "the account has {number} unreserved concurrent executions in this region, fewer than the stack's default \
             maxConcurrency of {MAX_CONCURRENCY}:\nworkers are throttled; raise the quota of Lambda, or lower maxConcurrency"
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
    let table = summary::columns(&["a run of this prefix", "about"], rows, 1);
    let idle = &estimate.idle_month;
    format!(
        "{table}\nassumed: {} MB of memory, arm64, prices of us-east-1 without free tiers, {:.0} MB of compressed logs per \
         second and vCPU;\nstorage, transfer, Step Functions and Athena scans are not included\n\n\
         the stack itself: about ${:.2} per month without a run (alarms ${:.2}, dashboard ${:.2}, polls of the empty queue \
         ${:.2})\n",
        estimate.memory_mb,
        BYTES_PER_SECOND / 1e6,
        idle.total,
        idle.alarms,
        idle.dashboard,
        idle.sqs
    )
}
