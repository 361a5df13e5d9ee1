//! Why a command ends early, and so its exit status.

use flowherd_aws::EnvironmentError;

/// Why a command ends without completing its work.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The work ended with a failure that was already printed. Status 1.
    Failed,
    /// An error stopped the work. Status 1.
    Broken(anyhow::Error),
    /// Mistakes in arguments or configuration, one line each. Nothing was done. Status 2.
    Usage(Vec<String>),
    /// The AWS environment is not usable. Nothing was done. Status 2. Only `--verbose` prints the causes.
    Environment(EnvironmentError),
}

impl From<EnvironmentError> for Stop {
    fn from(error: EnvironmentError) -> Self {
        Self::Environment(error)
    }
}

impl Stop {
    pub(crate) fn usage(problem: impl Into<String>) -> Self {
        Self::Usage(vec![problem.into()])
    }

    /// Returns why the command ends, with all causes.
    pub(crate) fn on_one_line(&self) -> String {
        match self {
            Self::Failed => "the work ended with a failure".to_owned(),
            Self::Broken(error) => format!("{error:#}"),
            Self::Usage(problems) => problems.join("; "),
            Self::Environment(error) => error.to_string(),
        }
    }
}

impl From<anyhow::Error> for Stop {
    fn from(error: anyhow::Error) -> Self {
        Self::Broken(error)
    }
}
