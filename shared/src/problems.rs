//! The problems of a file that a user writes, collected so that one error reports all of them.

/// Problems that one error reports. A file of a MiB can have one on each line.
const MAX_REPORTED: usize = 50;

/// All problems of a `flowherd.toml` or a `names.json`, one line each.
#[derive(Debug, thiserror::Error)]
#[error("{}", problems.join("\n"))]
pub struct ConfigError {
    /// What is wrong, where, and what is right instead.
    pub problems: Vec<String>,
}

impl ConfigError {
    /// Returns the error for a single problem.
    #[must_use]
    pub fn of(problem: String) -> Self {
        Self { problems: vec![problem] }
    }

    /// Returns the error for a state that no input can cause.
    pub(crate) fn bug(why: &dyn std::fmt::Display) -> Self {
        Self::of(format!("a bug in Flowherd: {why}; please report it"))
    }
}

/// Collects problems. Keeps the first 50 and the count of all.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    first: Vec<String>,
    count: usize,
}

impl Problems {
    pub(crate) fn add(&mut self, problem: String) {
        self.count += 1;
        if self.first.len() < MAX_REPORTED {
            self.first.push(problem);
        }
    }

    /// Returns how many problems were added.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Returns an error if a problem was added.
    pub(crate) fn check(&mut self) -> Result<(), ConfigError> {
        if self.count == 0 {
            return Ok(());
        }
        let mut problems = std::mem::take(&mut self.first);
        if self.count > problems.len() {
            problems.push(format!("and {} more problems", self.count - problems.len()));
        }
        Err(ConfigError { problems })
    }
}

impl Extend<String> for Problems {
    fn extend<T: IntoIterator<Item = String>>(&mut self, problems: T) {
        problems.into_iter().for_each(|problem| self.add(problem));
    }
}
