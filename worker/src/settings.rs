//! The settings of a worker, from its environment.

use std::num::NonZeroU16;

use flowherd_aws::settings::{CommonSettings, QUEUE_URL, Variables, queue_name};
use flowherd_shared::cluster::ClusterOptions;

/// The variable that names the workers of a Distributed Map.
const MAP: &str = "FLOWHERD_MAP";

/// The variable that chooses what the worker does with an object.
const JOB: &str = "FLOWHERD_JOB";
/// The variable of the search cluster.
const CLUSTER: &str = "FLOWHERD_CLUSTER";

/// A worker's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Settings that the coordinator has too.
    pub common: CommonSettings,
    /// `FLOWHERD_QUEUE_URL` or `FLOWHERD_MAP`.
    pub driver: Driver,
    /// `FLOWHERD_JOB` and `FLOWHERD_CLUSTER`.
    pub job: Job,
    /// `FLOWHERD_CONCURRENCY`: maximum concurrent objects of one invocation.
    pub concurrency: Option<NonZeroU16>,
}

/// What the worker does with an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Job {
    /// Converts it to rows.
    Convert,
    /// Sends its rows to this cluster.
    Index(Box<ClusterOptions>),
}

impl Job {
    fn read(variables: &mut Variables<'_>, common: &CommonSettings, driver: &Driver) -> Self {
        const EXAMPLE: &str = r#"{"url": "https://search.example.com"}"#;
        let is_job = |job: &str| matches!(job, "convert" | "index");
        let job = variables.optional(JOB, is_job, "index, or convert");
        let cluster = variables.optional(CLUSTER, |_| true, EXAMPLE);
        if job.as_deref() != Some("index") {
            if cluster.is_some() {
                variables.problem(format!("{CLUSTER} is set and {JOB} is not index; set {JOB}=index"));
            }
            return Self::Convert;
        }
        if common.source_bucket != common.results_bucket {
            variables.problem(format!(
                "FLOWHERD_SOURCE_BUCKET={:?}: a worker with {JOB}=index reads rows of the results bucket; set it to {:?}",
                common.source_bucket, common.results_bucket
            ));
        }
        if matches!(driver, Driver::Map { .. }) {
            variables.problem(format!("{MAP} is set and {JOB} is index; an index fleet needs {QUEUE_URL}"));
        }
        match cluster.as_deref().map(ClusterOptions::parse) {
            Some(Ok(options)) => return Self::Index(Box::new(options)),
            Some(Err(problem)) => variables.problem(format!("{CLUSTER} is not valid: {problem}")),
            None => variables.problem(format!("{CLUSTER} is not set; an example: {EXAMPLE}")),
        }
        Self::Convert
    }
}

/// How objects reach the worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Driver {
    /// As messages of a FIFO queue.
    Queue {
        /// The URL of the queue.
        url: String,
    },
    /// As items of a Distributed Map.
    Map {
        /// The dimension `Queue` of these workers' metrics, instead of a queue's name.
        name: String,
    },
}

impl Driver {
    fn read(variables: &mut Variables<'_>) -> Self {
        let Some(name) = variables.optional(MAP, is_map_name, "Flowherd-bulk") else {
            return Self::Queue { url: CommonSettings::read_queue_url(variables) };
        };
        if variables.optional(QUEUE_URL, |_| true, "").is_some() {
            variables.problem(format!("{QUEUE_URL} and {MAP} are set; remove one of them"));
        }
        Self::Map { name }
    }

    /// Returns the name of the queue or of the map, which is the dimension of all metrics.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Queue { url } => queue_name(url),
            Self::Map { name } => name,
        }
    }
}

/// Returns whether a text can name a map: the stack's name, a dash and the fleet's name.
fn is_map_name(name: &str) -> bool {
    name.len() <= 80 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

impl Settings {
    /// Reads all settings, or returns every problem with them.
    pub fn read(variable: &dyn Fn(&str) -> Option<String>) -> Result<Self, Vec<String>> {
        let mut variables = Variables::new(variable);
        let concurrency = |value: &str| value.parse::<NonZeroU16>().is_ok_and(|number| number.get() <= 10);
        let common = CommonSettings::read(&mut variables);
        let driver = Driver::read(&mut variables);
        let job = Job::read(&mut variables, &common, &driver);
        let concurrency = variables
            .optional("FLOWHERD_CONCURRENCY", concurrency, "2, and at most 10")
            .and_then(|value| value.parse().ok());
        variables.finish(Self { common, driver, job, concurrency })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_problem_names_the_value_and_an_example() {
        let given = |name: &str| (name == "FLOWHERD_QUEUE_URL").then(|| "https://sqs/plain".to_owned());
        let problems = Settings::read(&given).unwrap_err();
        assert_eq!(problems.len(), 3);
        assert!(problems[0].starts_with("FLOWHERD_SOURCE_BUCKET is not set; an example: "));
        assert!(
            problems[2].starts_with("FLOWHERD_QUEUE_URL=\"https://sqs/plain\" is not valid; an example: ")
        );
    }

    #[test]
    fn an_empty_optional_setting_is_not_set() {
        let given = |name: &str| match name {
            "FLOWHERD_QUEUE_URL" => Some("http://127.0.0.1:1/1/x.fifo".to_owned()),
            "FLOWHERD_SOURCE_BUCKET" | "FLOWHERD_RESULTS_BUCKET" => Some("bucket".to_owned()),
            _ => Some(String::new()),
        };
        let settings = Settings::read(&given).unwrap();
        assert_eq!((settings.driver.name(), settings.concurrency), ("x.fifo", None));
    }

    #[test]
    fn a_worker_that_indexes_has_a_cluster_and_reads_the_results_bucket() {
        let with = |source: &'static str, job: &'static str, cluster: &'static str| {
            Settings::read(&move |name: &str| match name {
                QUEUE_URL => Some("http://127.0.0.1:1/1/x.fifo".to_owned()),
                "FLOWHERD_SOURCE_BUCKET" => Some(source.to_owned()),
                "FLOWHERD_RESULTS_BUCKET" => Some("bucket".to_owned()),
                JOB => Some(job.to_owned()),
                CLUSTER => Some(cluster.to_owned()),
                _ => None,
            })
        };
        let url = r#"{"url": "https://search.example.com"}"#;
        let Job::Index(cluster) = with("bucket", "index", url).unwrap().job else {
            panic!("an index worker")
        };
        assert_eq!(cluster.url, "https://search.example.com");
        assert_eq!(with("logs", "convert", "").unwrap().job, Job::Convert);
        for (source, job, cluster, expected) in [
            ("logs", "index", url, "FLOWHERD_SOURCE_BUCKET=\"logs\": a worker with FLOWHERD_JOB=index"),
            ("bucket", "index", "", "FLOWHERD_CLUSTER is not set"),
            ("bucket", "index", "{}", "FLOWHERD_CLUSTER is not valid: missing field `url`"),
            ("bucket", "search", "", "FLOWHERD_JOB=\"search\" is not valid"),
            ("bucket", "", url, "FLOWHERD_CLUSTER is set and FLOWHERD_JOB is not index"),
        ] {
            let problems = with(source, job, cluster).unwrap_err();
            assert!(problems.len() == 1 && problems[0].starts_with(expected), "{problems:?}");
        }
    }

    #[test]
    fn a_worker_has_a_queue_or_a_map() {
        let with = |queue: &'static str, map: &'static str| {
            Settings::read(&move |name: &str| match name {
                QUEUE_URL => Some(queue.to_owned()),
                MAP => Some(map.to_owned()),
                "FLOWHERD_SOURCE_BUCKET" | "FLOWHERD_RESULTS_BUCKET" => Some("bucket".to_owned()),
                _ => None,
            })
        };
        assert_eq!(with("", "Flowherd-bulk").unwrap().driver.name(), "Flowherd-bulk");
        let both = with("http://127.0.0.1:1/1/x.fifo", "Flowherd-bulk").unwrap_err();
        assert_eq!(both, ["FLOWHERD_QUEUE_URL and FLOWHERD_MAP are set; remove one of them"]);
        let invalid = with("http://127.0.0.1:1/1/x.fifo", "bulk/x").unwrap_err();
        assert_eq!(invalid, ["FLOWHERD_MAP=\"bulk/x\" is not valid; an example: Flowherd-bulk"]);
        assert!(with("", "").unwrap_err()[0].starts_with("FLOWHERD_QUEUE_URL is not set"));
    }
}
