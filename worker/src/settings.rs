//! The settings of a worker, from its environment.

use std::num::NonZeroU16;

use flowherd_aws::settings::{CommonSettings, Variables, queue_name};

/// A worker's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Settings that the coordinator has too.
    pub common: CommonSettings,
    /// `FLOWHERD_QUEUE_URL`: the FIFO queue of the tasks.
    pub queue_url: String,
    /// `FLOWHERD_CONCURRENCY`: maximum concurrent objects of one invocation.
    pub concurrency: Option<NonZeroU16>,
}

impl Settings {
    /// Reads all settings, or returns every problem with them.
    pub fn read(variable: &dyn Fn(&str) -> Option<String>) -> Result<Self, Vec<String>> {
        let mut variables = Variables::new(variable);
        let concurrency = |value: &str| value.parse::<NonZeroU16>().is_ok_and(|number| number.get() <= 10);
        let common = CommonSettings::read(&mut variables);
        let queue_url = CommonSettings::read_queue_url(&mut variables);
        let concurrency = variables
            .optional("FLOWHERD_CONCURRENCY", concurrency, "2, and at most 10")
            .and_then(|value| value.parse().ok());
        variables.finish(Self { common, queue_url, concurrency })
    }

    /// Returns the name of the queue, which is the dimension of all metrics.
    #[must_use]
    pub fn queue_name(&self) -> &str {
        queue_name(&self.queue_url)
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
        assert_eq!((settings.queue_name(), settings.concurrency), ("x.fifo", None));
    }
}
