//! The cost of a live day beside that of a listed run of the same objects. docs/live.md has the same numbers.

use serde::Serialize;

use super::{
    CUSTOM_METRICS, Estimate, FARGATE_IDLE_SECONDS, HOURS_PER_MONTH, KEYS_PER_LISTING, Workers, batches,
    prices::{
        CUSTOM_METRIC, EVENT, FARGATE_GB_HOUR, FARGATE_VCPU_HOUR, LAMBDA_GB_SECOND_ARM, LAMBDA_REQUEST,
        S3_READ, S3_WRITE, SCHEDULED, SQS_FIFO_REQUEST, SQS_STANDARD_REQUEST,
    },
};

/// Events in a call of the arrivals function, and tasks in a batch, if objects arrive evenly.
pub const EVENTS_PER_CALL: f64 = 5.0;
/// Seconds and memory of a call of the arrivals function.
const CALL_SECONDS: f64 = 0.3;
const CALL_GB: f64 = 1.0;
/// Reads of the ledger in a call.
const READS_PER_CALL: f64 = 3.0;
/// Custom metrics of the arrivals function.
const ARRIVAL_METRICS: f64 = 4.0;
/// Listings of the other days of a year, which the close passes over.
const OTHER_LISTINGS: f64 = 365.0;
const HOURS: f64 = 24.0;

/// Dollars of one part of a day.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Row {
    /// The part.
    pub what: &'static str,
    /// Dollars of the live day.
    pub live: f64,
    /// Dollars of the listed run.
    pub listed: f64,
}

/// A live day and a listed run of the same objects.
#[derive(Clone, Debug, Serialize)]
pub struct LiveDay {
    /// What differs.
    pub rows: Vec<Row>,
    /// What both cost: outputs, receipts and logs, and the time of workers on Lambda.
    pub common: f64,
    /// Sum of the live day.
    pub live_total: f64,
    /// Sum of the listed run.
    pub listed_total: f64,
}

impl LiveDay {
    /// Estimates the day of a listed run with these workers. They are no map, because a map has no live fleet.
    #[must_use]
    pub fn new(listed: &Estimate, workers: &Workers) -> Self {
        let count = listed.objects as f64;
        let calls = (count / EVENTS_PER_CALL).ceil();
        // Each call sends a batch of its own. Workers receive at most as many batches as were sent, unless their own are smaller.
        let received = calls.max(batches(listed.objects, workers.batch()));
        let pages = (count / KEYS_PER_LISTING).ceil();
        let row = |what, live, listed| Row { what, live, listed };
        let metrics = |number: f64, hours: f64| number * CUSTOM_METRIC / HOURS_PER_MONTH * hours;
        let mut rows = vec![
            row("events", count * EVENT, 0.0),
            row("requests to the arrivals queue", (count + 2.0 * calls) * SQS_STANDARD_REQUEST, 0.0),
            row(
                "arrivals function",
                calls * (CALL_SECONDS * CALL_GB * LAMBDA_GB_SECOND_ARM + LAMBDA_REQUEST),
                0.0,
            ),
            row("its reads of the ledger", calls * READS_PER_CALL * S3_READ, 0.0),
            row(
                "requests to the queue of the fleet",
                (calls + 2.0 * received) * SQS_FIFO_REQUEST,
                listed.dollars.sqs,
            ),
        ];
        match *workers {
            Workers::Lambda { .. } | Workers::Map { .. } => {
                let invocations = listed.lambda_requests as f64;
                rows.push(row(
                    "calls of the workers",
                    received * LAMBDA_REQUEST,
                    invocations * LAMBDA_REQUEST,
                ));
            }
            Workers::Fargate { vcpu, memory_mb, max_tasks, .. } => {
                // The lower end: objects arrive evenly, so one task is enough unless the work of the day needs more. It stops five
                // minutes after an object, or runs the whole day if the next one arrives before.
                let day = HOURS * 3600.0 - FARGATE_IDLE_SECONDS;
                let tasks = (listed.worker_seconds / day).ceil().clamp(1.0, f64::from(max_tasks.max(1)));
                let hours = (listed.worker_seconds + count * FARGATE_IDLE_SECONDS) / 3600.0;
                let hour = vcpu * FARGATE_VCPU_HOUR + f64::from(memory_mb) / 1024.0 * FARGATE_GB_HOUR;
                rows.push(row("tasks on Fargate", hours.min(tasks * HOURS) * hour, listed.dollars.fargate));
            }
        }
        let hours = (listed.elapsed_seconds / 3600.0).ceil();
        rows.extend([
            row("listings of the source", (pages + OTHER_LISTINGS) * S3_WRITE, pages * S3_WRITE),
            row("receipts that the close reads", count * S3_READ, 0.0),
            row("the schedule of the close", SCHEDULED, 0.0),
            row("metrics", metrics(CUSTOM_METRICS + ARRIVAL_METRICS, HOURS), metrics(CUSTOM_METRICS, hours)),
        ]);
        let sum = |of: fn(&Row) -> f64| rows.iter().map(of).sum::<f64>();
        let common = listed.dollars.total - sum(|row| row.listed);
        let live_total = common + sum(|row| row.live);
        Self { rows, common, live_total, listed_total: listed.dollars.total }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Objects, *};

    fn day(count: u64, workers: &Workers) -> LiveDay {
        let mut objects = Objects::default();
        (0..count).for_each(|_| objects.add(1_000_000));
        LiveDay::new(&Estimate::new("", objects, workers), workers)
    }

    #[test]
    fn a_live_day_costs_more_than_a_listed_run_by_the_rows_that_differ() {
        let day = day(100_000, &Workers::default());
        let difference: f64 = day.rows.iter().map(|row| row.live - row.listed).sum();
        assert!((day.live_total - day.listed_total - difference).abs() < 1e-9);
        assert!(day.common > 0.0 && difference > 0.0);
    }

    #[test]
    fn a_task_on_fargate_stops_after_five_idle_minutes_and_not_more_than_max_run() {
        let hours = |count, max_tasks| {
            let workers = Workers::Fargate { vcpu: 1.0, memory_mb: 2048, max_tasks, backlog_per_task: 4 };
            let day = day(count, &workers);
            day.rows.into_iter().find(|row| row.what == "tasks on Fargate").unwrap().live / 0.0395
        };
        assert!(hours(0, 10).abs() < f64::EPSILON);
        // An object takes 1 / 19 + 0.075 seconds.
        let second = 1.0 / 19.0 + 0.075;
        assert!((hours(1, 10) - (300.0 + second) / 3600.0).abs() < 1e-9);
        assert!((hours(12, 10) - 12.0 * (300.0 + second) / 3600.0).abs() < 1e-9);
        assert!((hours(100_000, 10) - 24.0).abs() < 1e-9);
        // 1,000,000 objects take 127,632 seconds.
        assert!((hours(1_000_000, 10) - 48.0).abs() < 1e-9);
        assert!((hours(1_000_000, 1) - 24.0).abs() < 1e-9);
    }

    #[test]
    fn requests_of_a_live_day_depend_on_the_batch_of_the_fleet() {
        let dollars = |what, batch| {
            let workers = Workers::Lambda { memory_mb: 1769, concurrency: 50, batch };
            day(1000, &workers).rows.into_iter().find(|row| row.what == what).unwrap().live
        };
        // 200 calls send 200 batches of five. Workers receive and delete 200 or 1,000.
        for (batch, received) in [(10, 200.0), (5, 200.0), (1, 1000.0)] {
            let requests = dollars("requests to the queue of the fleet", batch) / SQS_FIFO_REQUEST;
            assert!((requests - (200.0 + 2.0 * received)).abs() < 1e-6, "{requests}");
            let calls = dollars("calls of the workers", batch) / LAMBDA_REQUEST;
            assert!((calls - received).abs() < 1e-6, "{calls}");
        }
    }
}
