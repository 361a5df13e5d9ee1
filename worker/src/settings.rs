//! What a worker is told by its environment.

use std::path::PathBuf;

/// A worker's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `FLOWHERD_SOURCE_BUCKET`: the only bucket whose objects are read.
    pub source_bucket: String,
    /// `FLOWHERD_RESULTS_BUCKET`: where outputs and the ledger go.
    pub results_bucket: String,
    /// `FLOWHERD_QUEUE_URL`: the FIFO queue of tasks.
    pub queue_url: String,
    /// `FLOWHERD_CONFIG`: a `flowherd.toml`; without it, everything is a version 2 flow log.
    pub config: Option<PathBuf>,
    /// `FLOWHERD_LOOKUPS`: a `lookups.json`.
    pub lookups: Option<PathBuf>,
}

impl Settings {
    /// Reads all settings, or tells every problem with them, each with what was received and an example.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, Vec<String>> {
        let mut problems = Vec::new();
        let mut text = |name: &str, fits: fn(&str) -> bool, example: &str| match variable(name) {
            Some(value) if fits(&value) => value,
            Some(value) => {
                problems.push(format!("{name}={value:?} does not fit; an example: {example}"));
                String::new()
            }
            None => {
                problems.push(format!("{name} is not set; an example: {example}"));
                String::new()
            }
        };
        let settings = Self {
            source_bucket: text("FLOWHERD_SOURCE_BUCKET", is_bucket, "my-firehose-archive"),
            results_bucket: text("FLOWHERD_RESULTS_BUCKET", is_bucket, "my-flowherd-results"),
            queue_url: text(
                "FLOWHERD_QUEUE_URL",
                // The name of a FIFO queue ends so, in lower case.
                |url| url.starts_with("http") && url.rsplit('.').next() == Some("fifo"),
                "https://sqs.eu-west-1.amazonaws.com/123456789012/flowherd.fifo",
            ),
            config: variable("FLOWHERD_CONFIG").map(PathBuf::from),
            lookups: variable("FLOWHERD_LOOKUPS").map(PathBuf::from),
        };
        if problems.is_empty() { Ok(settings) } else { Err(problems) }
    }
}

/// Bucket names: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html>.
fn is_bucket(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-');
    (3..=63).contains(&name.len()) && name.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_is_told_with_what_was_received_and_an_example() {
        let given = |name: &str| (name == "FLOWHERD_QUEUE_URL").then(|| "https://sqs/plain".to_owned());
        let problems = Settings::read(given).unwrap_err();
        assert_eq!(problems.len(), 3);
        assert!(problems[0].starts_with("FLOWHERD_SOURCE_BUCKET is not set; an example: "));
        assert!(
            problems[2].starts_with("FLOWHERD_QUEUE_URL=\"https://sqs/plain\" does not fit; an example: ")
        );
    }

    #[test]
    fn rules_and_lookups_may_be_left_out() {
        let given = |name: &str| match name {
            "FLOWHERD_QUEUE_URL" => Some("http://127.0.0.1:1/x.fifo".to_owned()),
            "FLOWHERD_CONFIG" | "FLOWHERD_LOOKUPS" => None,
            _ => Some("bucket".to_owned()),
        };
        let settings = Settings::read(given).unwrap();
        assert_eq!((settings.source_bucket.as_str(), settings.config), ("bucket", None));
    }
}
