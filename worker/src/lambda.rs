//! The worker as a Lambda function behind the queue: a batch of messages in, those that are not done out.

use std::{
    sync::OnceLock,
    time::{Duration, SystemTime},
};

use aws_lambda_events::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent, SqsMessage};
use flowherd_aws::Aws;
use flowherd_shared::{
    queue::Queue,
    store::{Source, Store},
};
use jiff::{SignedDuration, Timestamp};
use lambda_runtime::{Error, LambdaEvent, service_fn};
use tracing::{debug, error};

use crate::{
    checks::Connected,
    event::{EventError, received},
    settings::Settings,
    tasks::{Answer, Limit, Tasks},
};

/// No object is begun or read on in the last seconds of an invocation: enough for the last uploads and the requests to
/// the queue.
const MARGIN: SignedDuration = SignedDuration::from_secs(10);
/// Every request ends this long before the invocation does, so that the queue can be told and the response be sent.
const RESERVE: Duration = Duration::from_secs(2);
/// Objects at once: while one waits for S3, another has the processor.
const CONCURRENCY: usize = 2;
/// Lambda sets the visibility timeout, and it must be at least the function's timeout
/// (<https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html>), so the worker extends nothing.
const NEVER_EXTENDED: Duration = Duration::from_hours(12);

/// Serves invocations without end. All of them share the connections.
pub(crate) fn run(settings: &Settings, aws: &Aws) -> Result<(), Error> {
    let connected = OnceLock::new();
    let serve = service_fn(|event: LambdaEvent<SqsEvent>| {
        let deadline = event.context.deadline();
        // The work blocks; the runtime's other threads serve its connections meanwhile.
        let answer = tokio::task::block_in_place(|| {
            invoke(settings, aws, &connected, event.payload.records, deadline)
        });
        async move { answer }
    });
    aws.handle().block_on(lambda_runtime::run(serve))
}

/// Serves one invocation. The first one checks what the settings name; until that succeeds, every batch fails as a whole.
fn invoke(
    settings: &Settings,
    aws: &Aws,
    connected: &OnceLock<Connected>,
    messages: Vec<SqsMessage>,
    deadline: SystemTime,
) -> Result<SqsBatchResponse, Error> {
    aws.time_limit().set(Some(deadline - RESERVE));
    let Connected { source, results, queue, attributes } = if let Some(connected) = connected.get() {
        connected
    } else {
        let checked = Connected::new(settings, aws).map_err(|problem| {
            let problem = format!("{problem:#}");
            error!(error = problem, "cannot work");
            Error::from(problem)
        })?;
        connected.get_or_init(|| checked)
    };
    let mut tasks = Tasks::new((&settings.source_bucket, source), results, (queue, NEVER_EXTENDED));
    tasks.metrics_of = Some(settings.queue_name());
    tasks.max_deliveries = attributes.redrive.as_ref().map(|redrive| redrive.max_receive_count);
    tasks.acknowledges = false;
    let concurrency = settings.concurrency.map_or(CONCURRENCY, |number| usize::from(number.get()));
    let deadline = Timestamp::try_from(deadline)?;
    batch(&tasks, messages, deadline, concurrency).map_err(|problem| {
        error!(error = %problem, "cannot read the event");
        problem.into()
    })
}

/// Works on the messages of one invocation, and names those that must be delivered again: all of which it is not known
/// that they are done. Their visibility timeout is set already, so that they come when they should
/// (<https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html>).
pub fn batch<I: Source, O: Store, Q: Queue>(
    tasks: &Tasks<'_, I, O, Q>,
    messages: Vec<SqsMessage>,
    deadline: Timestamp,
    concurrency: usize,
) -> Result<SqsBatchResponse, EventError> {
    let messages = received(messages)?;
    let ids: Vec<String> = messages.iter().map(|message| message.id.clone()).collect();
    debug!(messages = ids.len(), "batch");
    let has_time = || {
        let left = deadline.duration_since((tasks.clock)());
        if left < MARGIN { Err(Limit::Deadline) } else { Ok(()) }
    };
    let answers = tasks.batch(messages, concurrency, &|| true, &has_time);
    let failed = ids.into_iter().zip(answers).filter(|(_, answer)| *answer != Some(Answer::Done));
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
