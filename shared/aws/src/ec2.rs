//! Reads the names of network interfaces, subnets and VPCs from the EC2 API.

mod answer;
mod failures;
mod interface_name;
mod inventory;
mod organization;
#[cfg(test)]
mod tests;

use std::{io, time::Duration};

use aws_config::{
    BehaviorVersion, Region, default_provider::region::DefaultRegionChain,
    profile::ProfileFileCredentialsProvider, provider_config::ProviderConfig, sts::AssumeRoleProvider,
    timeout::TimeoutConfig,
};
use aws_credential_types::provider::SharedCredentialsProvider;
use tokio::{
    runtime::Runtime,
    task::JoinSet,
    time::{Instant, timeout_at},
};

use self::inventory::read_inventory;
pub use self::{
    failures::failures,
    interface_name::InterfaceNames,
    inventory::{Inventory, Resource},
};
use crate::api::{ApiClient, ApiError, EC2, Retries, STS};

/// Accounts and regions that are read at the same time. Each has its own rate limits
/// (<https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html>).
const CONCURRENT: usize = 8;
/// Name of the sessions of assumed roles, which CloudTrail shows.
const SESSION: &str = "flowherd-names";
/// Timeout of one request for credentials.
const CREDENTIALS: Duration = Duration::from_secs(30);

/// An account, by its credentials, and a region.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// The profile; `None` for the credentials of the environment.
    pub profile: Option<String>,
    /// The role that these credentials assume.
    pub role_arn: Option<String>,
    /// The region; `None` for the one of the profile or the environment.
    pub region: Option<String>,
}

/// Reads the names of all targets. Returns one result for each, in the same order.
///
/// # Errors
/// If the runtime cannot start. Other errors are in the results.
pub fn read_names(targets: &[Target], retries: Retries) -> io::Result<Vec<Result<Inventory, ApiError>>> {
    Ok(Runtime::new()?.block_on(read_names_until(targets, retries, None)))
}

/// Returns the targets of an organization; see [`Target::of_organization`].
///
/// # Errors
/// If the runtime cannot start. The inner error is AWS's.
pub fn accounts_of_organization(
    target: &Target,
    role_name: &str,
    retries: Retries,
) -> io::Result<Result<Vec<Target>, ApiError>> {
    Ok(Runtime::new()?.block_on(target.of_organization(role_name, retries)))
}

/// Reads the names of all targets until `end`. Returns one result for each, in the same order: [`ApiError::OutOfTime`] for
/// each that is not complete then.
pub async fn read_names_until(
    targets: &[Target],
    retries: Retries,
    end: Option<Instant>,
) -> Vec<Result<Inventory, ApiError>> {
    let mut results: Vec<Option<Result<Inventory, ApiError>>> = targets.iter().map(|_| None).collect();
    let mut waiting = targets.iter().cloned().enumerate();
    let mut running = JoinSet::new();
    loop {
        while running.len() < CONCURRENT
            && let Some((number, target)) = waiting.next()
        {
            running.spawn(async move {
                let read = target.read(retries);
                let result = match end {
                    Some(end) => timeout_at(end, read).await.unwrap_or(Err(ApiError::OutOfTime)),
                    None => read.await,
                };
                (number, result)
            });
        }
        match running.join_next().await {
            Some(Ok((number, result))) => results[number] = Some(result),
            // The task panicked. Its result stays empty.
            Some(Err(_)) => {}
            None => break,
        }
    }
    results.into_iter().map(|result| result.unwrap_or(Err(ApiError::Panicked))).collect()
}

impl Target {
    async fn read(&self, retries: Retries) -> Result<Inventory, ApiError> {
        read_inventory(&mut self.client(retries).await?).await
    }

    async fn client(&self, retries: Retries) -> Result<ApiClient, ApiError> {
        let timeouts = TimeoutConfig::builder().operation_attempt_timeout(CREDENTIALS).build();
        let mut loader = aws_config::defaults(BehaviorVersion::latest()).timeout_config(timeouts.clone());
        let mut region = self.region.clone().map(Region::new);
        if let Some(profile) = &self.profile {
            if region.is_none() {
                region = DefaultRegionChain::builder().profile_name(profile).build().region().await;
            }
            // A profile with a role needs a region for STS.
            let settings = ProviderConfig::without_region()
                .with_region(region.clone())
                .with_timeout_config(timeouts.clone());
            // The default chain prefers the keys of the environment to any profile.
            let provider =
                ProfileFileCredentialsProvider::builder().configure(&settings).profile_name(profile);
            loader = loader.profile_name(profile).credentials_provider(provider.build());
        }
        if let Some(region) = region {
            loader = loader.region(region);
        }
        let config = loader.load().await;
        let credentials = match &self.role_arn {
            Some(role) => {
                let role = AssumeRoleProvider::builder(role).configure(&config).session_name(SESSION);
                Some(SharedCredentialsProvider::new(role.build().await))
            }
            None => config.credentials_provider(),
        };
        ApiClient::new(&config, credentials, retries, &[EC2, STS])
    }
}
