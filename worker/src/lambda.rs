//! The worker as a Lambda function. The trigger of the queue invokes it with batches of messages, or a Distributed Map with
//! batches of items.

use std::{
    ops::ControlFlow,
    sync::OnceLock,
    time::{Duration, SystemTime},
};

use aws_lambda_events::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent, SqsMessage};
use flowherd_aws::Aws;
use flowherd_shared::{
    error::error_chain,
    queue::Queue,
    store::{Source, Store},
};
use jiff::{SignedDuration, Timestamp};
use lambda_runtime::{Diagnostic, Error, LambdaEvent, service_fn};
use serde_json::Value;
use tracing::{debug, error};

use crate::{
    checks::{self, Buckets, CheckedQueue},
    event::{self, EventError},
    handler::{Disposition, MessageHandler},
    index::IndexJob,
    map::{self, MapEvent, NoQueue},
    processor::StopReason,
    settings::{Driver, Settings},
};

/// Time before the end of an invocation in which no object begins or continues. It is enough for the last uploads and the
/// calls to the queue.
const MARGIN: SignedDuration = SignedDuration::from_secs(10);
/// Time before the end of an invocation at which every request ends, so that the function can still return its response.
const RESERVE: Duration = Duration::from_secs(2);
/// Number of concurrent objects: while one waits for S3, another uses the processor.
const CONCURRENCY: usize = 2;
/// Lambda sets the visibility timeout, and it must be at least the function's timeout
/// (<https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html>), so the worker does not extend it.
const NEVER_EXTENDED: Duration = Duration::from_hours(12);

/// Serves invocations until the process ends. All invocations share the connections.
pub(crate) fn run(settings: &Settings, aws: &Aws) -> Result<(), Error> {
    match &settings.driver {
        Driver::Queue { url } => serve_queue(settings, url, aws),
        Driver::Map { name } => serve_map(settings, name, aws),
    }
}

/// What an invocation of a queue's function uses.
type Connections<'a> = (&'a Buckets, &'a CheckedQueue, Option<&'a IndexJob<'a>>);

fn serve_queue(settings: &Settings, url: &str, aws: &Aws) -> Result<(), Error> {
    let (buckets, queue) = (OnceLock::new(), OnceLock::new());
    // Kept between invocations: connections to the cluster, and what is known of an outage. The first object connects, so a
    // secret that cannot be read is an outage. As the error of an invocation it would cost deliveries.
    let indexer = checks::indexer(settings, aws);
    let index = indexer.as_ref().map(|indexer| IndexJob::new(indexer));
    let serve = service_fn(|event: LambdaEvent<SqsEvent>| {
        let deadline = event.context.deadline();
        // The work blocks. The other threads of the runtime serve its connections meanwhile.
        let response = tokio::task::block_in_place(|| {
            aws.time_limit().set(Some(deadline - RESERVE));
            let buckets = checked(&buckets, || Buckets::new(settings, aws))?;
            let queue = checked(&queue, || CheckedQueue::new(url, aws))?;
            invoke(settings, (buckets, queue, index.as_ref()), event.payload.records, deadline)
        });
        async move { response }
    });
    aws.handle().block_on(lambda_runtime::run(serve))
}

/// Returns the result of the first successful check. Until a check succeeds, every invocation fails.
fn checked<T>(known: &OnceLock<T>, check: impl FnOnce() -> anyhow::Result<T>) -> Result<&T, Error> {
    if let Some(known) = known.get() {
        return Ok(known);
    }
    let checked = check().map_err(|problem| {
        let problem = error_chain(&*problem);
        error!(error = problem, "cannot work");
        Error::from(problem)
    })?;
    Ok(known.get_or_init(|| checked))
}

fn invoke(
    settings: &Settings,
    (Buckets { source, results }, CheckedQueue { queue, attributes }, index): Connections<'_>,
    messages: Vec<SqsMessage>,
    deadline: SystemTime,
) -> Result<SqsBatchResponse, Error> {
    let mut handler =
        MessageHandler::new((&settings.common.source_bucket, source), results, (queue, NEVER_EXTENDED));
    handler.metrics_queue = Some(settings.driver.name());
    handler.index = index;
    handler.max_deliveries = attributes.redrive.as_ref().map(|redrive| redrive.max_receive_count);
    handler.deletes_messages = false;
    let deadline = Timestamp::try_from(deadline)?;
    batch(&handler, messages, deadline, concurrency(settings)).map_err(|problem| {
        error!(error = %problem, "cannot read the event");
        problem.into()
    })
}

fn concurrency(settings: &Settings) -> usize {
    settings.concurrency.map_or(CONCURRENCY, |number| usize::from(number.get()))
}

/// Returns whether enough time remains before the deadline to begin or continue an object.
fn has_time(deadline: Timestamp, now: Timestamp) -> ControlFlow<StopReason> {
    let remaining = deadline.duration_since(now);
    if remaining < MARGIN { ControlFlow::Break(StopReason::Deadline) } else { ControlFlow::Continue(()) }
}

/// Handles the messages of one invocation. Returns those that SQS must deliver again: all messages that are not known to be
/// done. Their visibility timeouts are already set
/// (<https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html>).
pub fn batch<I: Source, O: Store, Q: Queue>(
    handler: &MessageHandler<'_, I, O, Q>,
    messages: Vec<SqsMessage>,
    deadline: Timestamp,
    concurrency: usize,
) -> Result<SqsBatchResponse, EventError> {
    let messages = event::messages(messages)?;
    let ids: Vec<String> = messages.iter().map(|message| message.id.clone()).collect();
    debug!(messages = ids.len(), "batch");
    let has_time = || has_time(deadline, (handler.clock)());
    let dispositions = handler.batch(messages, concurrency, &|| true, &has_time);
    let failed =
        ids.into_iter().zip(dispositions).filter(|(_, disposition)| *disposition != Some(Disposition::Ack));
    let mut response = SqsBatchResponse::default();
    response.batch_item_failures = failed
        .map(|(id, _)| {
            let mut failure = BatchItemFailure::default();
            failure.item_identifier = id;
            failure
        })
        .collect();
    Ok(response)
}

fn serve_map(settings: &Settings, name: &str, aws: &Aws) -> Result<(), Error> {
    let buckets = OnceLock::new();
    let serve = service_fn(|event: LambdaEvent<Value>| {
        let deadline = event.context.deadline();
        let response = tokio::task::block_in_place(|| {
            let event = MapEvent::parse(event.payload)
                .map_err(|problem| diagnostic("Refused", error_chain(&problem)))?;
            let deadline = deadline.min(event.ends().into());
            aws.time_limit().set(Some(deadline - RESERVE));
            let buckets = checked(&buckets, || Buckets::new(settings, aws));
            let buckets = buckets.map_err(|problem| diagnostic("Retry", problem.to_string()))?;
            convert(settings, name, buckets, &event, deadline)
        });
        async move { response }
    });
    aws.handle().block_on(lambda_runtime::run(serve))
}

fn convert(
    settings: &Settings,
    name: &str,
    Buckets { source, results }: &Buckets,
    event: &MapEvent,
    deadline: SystemTime,
) -> Result<Value, Diagnostic> {
    let mut handler =
        MessageHandler::new((&settings.common.source_bucket, source), results, (&NoQueue, NEVER_EXTENDED));
    handler.metrics_queue = Some(name);
    handler.skips_resumed = true;
    let deadline = Timestamp::try_from(deadline).map_err(|problem| {
        diagnostic("Retry", format!("the invocation has an invalid deadline: {problem}"))
    })?;
    let has_time = || has_time(deadline, Timestamp::now());
    let answer = map::convert(&handler, event, concurrency(settings), &has_time);
    answer.map(map::Answer::to_json).map_err(|unfinished| diagnostic("Retry", unfinished.to_string()))
}

/// Returns the error as the function reports it. The state machine makes another attempt after `Retry`, but not after
/// `Refused`.
fn diagnostic(error_type: &str, error_message: String) -> Diagnostic {
    error!(error = error_message, error_type, "not all objects are done");
    Diagnostic { error_type: error_type.to_owned(), error_message }
}
