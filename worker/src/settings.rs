//! The settings of a worker, from its environment.

use std::num::NonZeroU16;

use flowherd_aws::settings::{CommonSettings, QUEUE_URL, Variables, queue_name};

/// The variable that names the workers of a Distributed Map.
const MAP: &str = "FLOWHERD_MAP";

/// A worker's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Settings that the coordinator has too.
    pub common: CommonSettings,
    /// `FLOWHERD_QUEUE_URL` or `FLOWHERD_MAP`.
    pub driver: Driver,
    /// `FLOWHERD_CONCURRENCY`: maximum concurrent objects of one invocation.
    pub concurrency: Option<NonZeroU16>,
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
        let concurrency = variables
            .optional("FLOWHERD_CONCURRENCY", concurrency, "2, and at most 10")
            .and_then(|value| value.parse().ok());
        variables.finish(Self { common, driver, concurrency })
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
