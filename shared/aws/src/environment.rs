//! Checks the AWS environment of a command before its first request, because the SDK's own errors name no variable.

use aws_credential_types::provider::{ProvideCredentials, error::CredentialsError};

use crate::connect::{Aws, is_aws};

/// Why a command cannot use AWS with its environment.
#[derive(Debug, thiserror::Error)]
pub enum EnvironmentError {
    /// Neither the environment nor the profile has a region.
    #[error(
        "no AWS region found; set AWS_REGION, such as AWS_REGION=eu-west-1, or set region in the AWS profile"
    )]
    NoRegion,
    /// The endpoint is not a URL.
    #[error("AWS_ENDPOINT_URL={0:?} is not the URL of a server; an example: http://127.0.0.1:4566")]
    Endpoint(String),
    /// No provider of the SDK's chain has credentials, and no profile is named.
    #[error("no AWS credentials found; set AWS_PROFILE or run `aws sso login`")]
    NoCredentials(#[source] CredentialsError),
    /// The named profile has no credentials, or does not exist.
    #[error(
        "AWS_PROFILE={profile} has no credentials; correct it, or run `aws sso login --profile {profile}`"
    )]
    Profile {
        /// The name of the profile.
        profile: String,
        /// All causes.
        source: CredentialsError,
    },
    /// A provider has credentials, but they cannot be read or have expired.
    #[error("cannot load the AWS credentials: {cause}; check AWS_PROFILE or run `aws sso login`")]
    Credentials {
        /// The innermost cause.
        cause: String,
        /// All causes.
        source: CredentialsError,
    },
    /// The queue is of another region than the requests.
    #[error(
        "FLOWHERD_QUEUE_URL={url} is in {of_queue}, but the AWS region is {region}; set AWS_REGION={of_queue}"
    )]
    QueueRegion {
        /// The queue's URL.
        url: String,
        /// The region in the URL.
        of_queue: String,
        /// The region of the environment.
        region: String,
    },
    /// The queue is not on AWS, but the requests would go there.
    #[error(
        "FLOWHERD_QUEUE_URL={0} is not a queue of AWS, and AWS_ENDPOINT_URL is not set; set it to the queue's server, such as \
         http://127.0.0.1:4566"
    )]
    NoEndpoint(String),
}

impl Aws {
    /// Checks region, endpoint and credentials. `profile` is the value of `AWS_PROFILE`. Sends requests only if the provider of the
    /// credentials needs them.
    ///
    /// # Errors
    /// [`EnvironmentError`], which names the variable to set.
    pub fn check_environment(&self, profile: Option<String>) -> Result<(), EnvironmentError> {
        if self.config().region().is_none() {
            return Err(EnvironmentError::NoRegion);
        }
        if let Some(endpoint) = self.config().endpoint_url().filter(|endpoint| !is_url(endpoint)) {
            return Err(EnvironmentError::Endpoint(endpoint.to_owned()));
        }
        let not_configured = || EnvironmentError::NoCredentials(CredentialsError::not_loaded_no_source());
        let provider = self.config().credentials_provider().ok_or_else(not_configured)?;
        match self.handle().block_on(provider.provide_credentials()) {
            Ok(_) => Ok(()),
            Err(source @ CredentialsError::CredentialsNotLoaded(_)) => Err(match profile {
                Some(profile) => EnvironmentError::Profile { profile, source },
                None => EnvironmentError::NoCredentials(source),
            }),
            Err(source) => Err(EnvironmentError::Credentials { cause: innermost(&source), source }),
        }
    }

    /// Checks that requests to a queue go to its region and server: the SDK takes both from the environment, not from the
    /// queue's URL.
    ///
    /// # Errors
    /// [`EnvironmentError::QueueRegion`] or [`EnvironmentError::NoEndpoint`].
    pub fn check_queue(&self, url: &str) -> Result<(), EnvironmentError> {
        let region = self.config().region().map(AsRef::as_ref).unwrap_or_default();
        check_queue(url, region, self.endpoint("SQS").is_some())
    }
}

fn check_queue(url: &str, region: &str, has_endpoint: bool) -> Result<(), EnvironmentError> {
    if has_endpoint {
        return Ok(());
    }
    if !is_aws(url) {
        return Err(EnvironmentError::NoEndpoint(url.to_owned()));
    }
    // <https://docs.aws.amazon.com/general/latest/gr/sqs-service.html>; older forms of the URL are not checked.
    let host = url.split_once("://sqs.").and_then(|(_, host)| host.split_once(".amazonaws."));
    match host {
        Some((of_queue, _)) if of_queue != region => Err(EnvironmentError::QueueRegion {
            url: url.to_owned(),
            of_queue: of_queue.to_owned(),
            region: region.to_owned(),
        }),
        _ => Ok(()),
    }
}

fn is_url(endpoint: &str) -> bool {
    let host = endpoint.strip_prefix("http://").or_else(|| endpoint.strip_prefix("https://"));
    host.is_some_and(|host| !host.is_empty() && !host.starts_with(['/', ':']))
}

fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_of_another_region_or_server_is_reported_by_its_variable() {
        let queue = "https://sqs.eu-west-1.amazonaws.com/123456789012/flowherd.fifo";
        assert!(check_queue(queue, "eu-west-1", false).is_ok());
        assert!(check_queue(queue, "us-east-1", true).is_ok());
        assert!(check_queue("https://sqs.cn-north-1.amazonaws.com.cn/1/a.fifo", "cn-north-1", false).is_ok());
        assert!(check_queue("https://eu-west-1.queue.amazonaws.com/1/a.fifo", "us-east-1", false).is_ok());
        let other = check_queue(queue, "us-east-1", false).unwrap_err().to_string();
        assert!(other.starts_with("FLOWHERD_QUEUE_URL=https://sqs.eu-west-1"), "{other}");
        assert!(other.ends_with("the AWS region is us-east-1; set AWS_REGION=eu-west-1"), "{other}");
        let local =
            check_queue("http://127.0.0.1:9324/0/a.fifo", "us-east-1", false).unwrap_err().to_string();
        assert!(local.contains("AWS_ENDPOINT_URL is not set"), "{local}");
    }

    #[test]
    fn an_endpoint_is_a_url_with_a_host() {
        for url in ["http://127.0.0.1:4566", "https://s3.example.com/", "http://[::1]:9000"] {
            assert!(is_url(url), "{url}");
        }
        for text in ["localhost:4566", "127.0.0.1", "http://", "http://:9000", "ftp://a"] {
            assert!(!is_url(text), "{text}");
        }
    }
}
