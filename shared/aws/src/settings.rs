//! Settings from the environment: every problem told together, each with what was received and an example.

/// Reads settings through a closure, so that tests need no environment.
#[allow(missing_debug_implementations)] // it holds a function
pub struct Variables<'a> {
    variable: &'a dyn Fn(&str) -> Option<String>,
    problems: Vec<String>,
}

impl<'a> Variables<'a> {
    /// `variable` gives the value of a name.
    pub fn new(variable: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self { variable, problems: Vec::new() }
    }

    /// A value that must be there and fit.
    pub fn needed(&mut self, name: &str, fits: impl Fn(&str) -> bool, example: &str) -> String {
        self.optional(name, fits, example).unwrap_or_else(|| {
            if (self.variable)(name).is_none_or(|value| value.is_empty()) {
                self.problems.push(format!("{name} is not set; an example: {example}"));
            }
            String::new()
        })
    }

    /// A value that must fit if it is there. An empty one counts as none.
    pub fn optional(&mut self, name: &str, fits: impl Fn(&str) -> bool, example: &str) -> Option<String> {
        let value = (self.variable)(name).filter(|value| !value.is_empty())?;
        if fits(&value) {
            return Some(value);
        }
        self.problems.push(format!("{name}={value:?} does not fit; an example: {example}"));
        None
    }

    /// Adds a problem that is found elsewhere.
    pub fn problem(&mut self, told: String) {
        self.problems.push(told);
    }

    /// The settings, unless there was a problem.
    pub fn finish<T>(self, settings: T) -> Result<T, Vec<String>> {
        if self.problems.is_empty() { Ok(settings) } else { Err(self.problems) }
    }
}

/// Bucket names: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html>.
#[must_use]
pub fn is_bucket(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-');
    (3..=63).contains(&name.len()) && name.bytes().all(fits)
}

/// The URL of a FIFO queue: its name ends so, in lower case.
#[must_use]
pub fn is_fifo_url(url: &str) -> bool {
    url.starts_with("http") && url.rsplit('.').next() == Some("fifo")
}

/// The id of an account.
#[must_use]
pub fn is_account(id: &str) -> bool {
    id.len() == 12 && id.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether this may be the name of a region, as in `eu-west-1` or `us-gov-east-1`
/// (<https://docs.aws.amazon.com/general/latest/gr/rande.html>).
#[must_use]
pub fn is_region(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    name.contains('-') && name.len() <= 32 && name.bytes().all(fits)
}
