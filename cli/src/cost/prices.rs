//! Dollars in us-east-1, November 2026, without free tiers. docs/cost.md has the same numbers.

/// <https://aws.amazon.com/lambda/pricing/>
pub(super) const LAMBDA_GB_SECOND_ARM: f64 = 0.000_013_333_4;
pub(super) const LAMBDA_REQUEST: f64 = 0.20 / 1e6;
/// Linux on arm64: <https://aws.amazon.com/fargate/pricing/>
pub(super) const FARGATE_VCPU_HOUR: f64 = 0.032_38;
pub(super) const FARGATE_GB_HOUR: f64 = 0.003_56;
/// <https://aws.amazon.com/step-functions/pricing/>
pub(super) const STATE_TRANSITION: f64 = 0.000_025;
pub(super) const EXPRESS_REQUEST: f64 = 1.00 / 1e6;
pub(super) const EXPRESS_GB_SECOND: f64 = 0.000_016_67;
/// <https://aws.amazon.com/s3/pricing/>
pub(super) const S3_READ: f64 = 0.000_4 / 1e3;
pub(super) const S3_WRITE: f64 = 0.005 / 1e3;
/// <https://aws.amazon.com/sqs/pricing/>
pub(super) const SQS_FIFO_REQUEST: f64 = 0.50 / 1e6;
pub(super) const SQS_STANDARD_REQUEST: f64 = 0.40 / 1e6;
/// The rate of custom events. Events of S3 are "AWS opt-in data events", whose rate is assumed to be the same; only "AWS management
/// events" are free of charge (<https://aws.amazon.com/eventbridge/pricing/>).
pub(super) const EVENT: f64 = 1.00 / 1e6;
/// An invocation of `EventBridge` Scheduler; assumed.
pub(super) const SCHEDULED: f64 = 1.00 / 1e6;
/// <https://aws.amazon.com/cloudwatch/pricing/>
pub(super) const LOG_BYTE: f64 = 0.50 / 1e9;
/// Per month, prorated by the hour, for hours with values.
pub(super) const CUSTOM_METRIC: f64 = 0.30;
pub(super) const ALARM_METRIC: f64 = 0.10;
pub(super) const DASHBOARD: f64 = 3.0;
