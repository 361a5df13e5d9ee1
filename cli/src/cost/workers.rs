//! The workers of a fleet: what runs them, and how many.

/// Memory at which a function has one vCPU
/// (<https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html>).
pub const ONE_VCPU_MB: f64 = 1769.0;
/// Objects that a function processes at once.
pub const CONCURRENT_OBJECTS: f64 = 2.0;
/// Messages per invocation: the stack's default `batchSize`.
pub const BATCH: u32 = 10;
/// The stack's default `maxConcurrency`.
pub const MAX_CONCURRENCY: u32 = 50;
/// The stack's default `workerMemoryMb`.
pub const MEMORY_MB: u32 = 1769;
/// Metrics that the alarms of a stack watch: an alarm on an expression counts once per metric in it.
pub const ALARM_METRICS: f64 = 9.0;
/// Without the alarms on the queue.
const ALARM_METRICS_OF_MAP: f64 = 5.0;
/// With `no-tasks` and those that scale the tasks, instead of the alarms on the function.
const ALARM_METRICS_OF_FARGATE: f64 = 14.0;

/// The workers of a fleet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Workers {
    /// Functions that the queue triggers.
    Lambda {
        /// Memory of a function.
        memory_mb: u32,
        /// Maximum functions at the same time.
        concurrency: u32,
        /// Maximum messages per invocation.
        batch: u32,
    },
    /// Functions that a Distributed Map invokes.
    Map {
        /// Memory of a function.
        memory_mb: u32,
        /// Maximum functions at the same time.
        concurrency: u32,
        /// Maximum objects per invocation.
        batch: u32,
    },
    /// Tasks of ECS on Fargate.
    Fargate {
        /// Processors of a task.
        vcpu: f64,
        /// Memory of a task.
        memory_mb: u32,
        /// Maximum tasks at the same time.
        max_tasks: u32,
        /// Waiting messages per task, above which tasks are added.
        backlog_per_task: u32,
    },
}

impl Default for Workers {
    /// Returns those of a stack with default settings.
    fn default() -> Self {
        Self::of_driver(false)
    }
}

impl Workers {
    /// Returns the functions of a stack with default settings.
    #[must_use]
    pub fn of_driver(is_map: bool) -> Self {
        let (memory_mb, concurrency, batch) = (MEMORY_MB, MAX_CONCURRENCY, BATCH);
        if is_map {
            Self::Map { memory_mb, concurrency, batch }
        } else {
            Self::Lambda { memory_mb, concurrency, batch }
        }
    }

    /// Returns whether they are functions of Lambda.
    #[must_use]
    pub fn are_functions(&self) -> bool {
        self.batch().is_some()
    }

    /// Returns the workers with another limit or memory.
    #[must_use]
    pub fn with(mut self, concurrency_limit: Option<u32>, memory: Option<u32>) -> Self {
        let (Self::Lambda { memory_mb, concurrency: limit, .. }
        | Self::Map { memory_mb, concurrency: limit, .. }
        | Self::Fargate { memory_mb, max_tasks: limit, .. }) = &mut self;
        *limit = concurrency_limit.unwrap_or(*limit);
        *memory_mb = memory.unwrap_or(*memory_mb);
        self
    }

    /// Maximum workers at the same time.
    pub(super) fn limit(&self) -> u32 {
        match *self {
            Self::Lambda { concurrency, .. } | Self::Map { concurrency, .. } => concurrency,
            Self::Fargate { max_tasks, .. } => max_tasks,
        }
    }

    /// Workers that share a run of this number of objects.
    pub(super) fn count(&self, objects: u64) -> u32 {
        match *self {
            Self::Fargate { max_tasks, backlog_per_task, .. } => {
                let needed = objects.div_ceil(u64::from(backlog_per_task.max(1)));
                u32::try_from(needed).unwrap_or(u32::MAX).min(max_tasks)
            }
            Self::Lambda { .. } | Self::Map { .. } => self.limit(),
        }
    }

    pub(super) fn memory_mb(&self) -> u32 {
        let (Self::Lambda { memory_mb, .. } | Self::Map { memory_mb, .. } | Self::Fargate { memory_mb, .. }) =
            *self;
        memory_mb
    }

    /// Processors of a worker. More memory than that of one processor is not faster.
    pub(super) fn vcpus(&self) -> f64 {
        match *self {
            Self::Fargate { vcpu, .. } => vcpu,
            Self::Lambda { .. } | Self::Map { .. } => (f64::from(self.memory_mb()) / ONE_VCPU_MB).min(1.0),
        }
    }

    /// Objects that a worker processes at once.
    pub(super) fn concurrent_objects(&self) -> f64 {
        match *self {
            Self::Fargate { vcpu, .. } => (2.0 * vcpu).max(CONCURRENT_OBJECTS),
            Self::Lambda { .. } | Self::Map { .. } => CONCURRENT_OBJECTS,
        }
    }

    /// Objects per invocation; `None` without invocations.
    pub(super) fn batch(&self) -> Option<u32> {
        match *self {
            Self::Lambda { batch, .. } | Self::Map { batch, .. } => Some(batch.max(1)),
            Self::Fargate { .. } => None,
        }
    }

    /// Whether a trigger of Lambda polls the queue, also without a run.
    pub(super) fn are_triggered(&self) -> bool {
        matches!(self, Self::Lambda { .. })
    }

    pub(super) fn alarm_metrics(&self) -> f64 {
        match self {
            Self::Lambda { .. } => ALARM_METRICS,
            Self::Map { .. } => ALARM_METRICS_OF_MAP,
            Self::Fargate { .. } => ALARM_METRICS_OF_FARGATE,
        }
    }
}
