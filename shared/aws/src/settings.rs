//! Settings from the environment. All problems are reported together, each with the received value and an example.

/// Reads settings through a closure, so that tests need no environment.
#[allow(missing_debug_implementations)] // it holds a function
pub struct Variables<'a> {
    variable: &'a dyn Fn(&str) -> Option<String>,
    problems: Vec<String>,
}

impl<'a> Variables<'a> {
    /// `variable` returns the value of a variable.
    pub fn new(variable: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self { variable, problems: Vec::new() }
    }

    /// Returns the value of a required variable.
    pub fn required(&mut self, name: &str, is_valid: impl Fn(&str) -> bool, example: &str) -> String {
        self.optional(name, is_valid, example).unwrap_or_else(|| {
            if (self.variable)(name).is_none_or(|value| value.is_empty()) {
                self.problems.push(format!("{name} is not set; an example: {example}"));
            }
            String::new()
        })
    }

    /// Returns the value of an optional variable. An empty value counts as not set.
    pub fn optional(&mut self, name: &str, is_valid: impl Fn(&str) -> bool, example: &str) -> Option<String> {
        let value = (self.variable)(name).filter(|value| !value.is_empty())?;
        if is_valid(&value) {
            return Some(value);
        }
        self.problems.push(format!("{name}={value:?} is not valid; an example: {example}"));
        None
    }

    /// Adds a problem.
    pub fn problem(&mut self, problem: String) {
        self.problems.push(problem);
    }

    /// Returns the settings, or all problems.
    pub fn finish<T>(self, settings: T) -> Result<T, Vec<String>> {
        if self.problems.is_empty() { Ok(settings) } else { Err(self.problems) }
    }
}

/// The variable of the URL of the tasks' queue.
pub const QUEUE_URL: &str = "FLOWHERD_QUEUE_URL";

/// The settings that coordinators and workers share: the buckets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommonSettings {
    /// `FLOWHERD_SOURCE_BUCKET`: the only bucket from which objects are listed and read.
    pub source_bucket: String,
    /// `FLOWHERD_SOURCE_BUCKET_OWNER`: the account that must own it.
    pub source_bucket_owner: Option<String>,
    /// `FLOWHERD_SOURCE_BUCKET_REGION`: its region; a request finds it if it is not set.
    pub source_bucket_region: Option<String>,
    /// `FLOWHERD_RESULTS_BUCKET`: the bucket of the outputs and the ledger.
    pub results_bucket: String,
    /// `FLOWHERD_RESULTS_BUCKET_OWNER`: the account that must own it.
    pub results_bucket_owner: Option<String>,
}

impl CommonSettings {
    /// Reads the settings. `variables` collects the problems.
    pub fn read(variables: &mut Variables<'_>) -> Self {
        const ACCOUNT: &str = "123456789012";
        Self {
            source_bucket: variables.required("FLOWHERD_SOURCE_BUCKET", is_bucket, "my-firehose-archive"),
            source_bucket_owner: variables.optional("FLOWHERD_SOURCE_BUCKET_OWNER", is_account, ACCOUNT),
            source_bucket_region: variables.optional("FLOWHERD_SOURCE_BUCKET_REGION", is_region, "eu-west-1"),
            results_bucket: variables.required("FLOWHERD_RESULTS_BUCKET", is_bucket, "my-flowherd-results"),
            results_bucket_owner: variables.optional("FLOWHERD_RESULTS_BUCKET_OWNER", is_account, ACCOUNT),
        }
    }

    /// Reads the URL of the FIFO queue of the tasks.
    pub fn read_queue_url(variables: &mut Variables<'_>) -> String {
        let example = "https://sqs.eu-west-1.amazonaws.com/123456789012/flowherd.fifo";
        variables.required(QUEUE_URL, is_fifo_url, example)
    }
}

/// Returns the name of a queue, which is the dimension of its metrics.
#[must_use]
pub fn queue_name(url: &str) -> &str {
    url.rsplit('/').next().unwrap_or(url)
}

/// Returns whether this can be the name of a bucket: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html>.
#[must_use]
pub fn is_bucket(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-');
    (3..=63).contains(&name.len()) && name.bytes().all(fits)
}

/// Returns whether this can be the URL of a FIFO queue, whose name ends with `.fifo`.
#[must_use]
pub fn is_fifo_url(url: &str) -> bool {
    url.starts_with("http") && url.rsplit('.').next() == Some("fifo")
}

/// Returns whether this can be the id of an account.
#[must_use]
pub fn is_account(id: &str) -> bool {
    id.len() == 12 && id.bytes().all(|byte| byte.is_ascii_digit())
}

/// Returns whether this can be the ARN of a role (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference-arns.html>).
#[must_use]
pub fn is_role_arn(arn: &str) -> bool {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    matches!(&*parts, ["arn", _, "iam", "", account, name] if is_account(account) && name.starts_with("role/"))
}

/// Returns whether this can be the name of a region, as in `eu-west-1` or `us-gov-east-1`
/// (<https://docs.aws.amazon.com/general/latest/gr/rande.html>).
#[must_use]
pub fn is_region(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    name.contains('-') && name.len() <= 32 && name.bytes().all(fits)
}
