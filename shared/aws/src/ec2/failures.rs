//! Messages about accounts, regions and resources that could not be read.

use flowherd_shared::error::error_chain;

use super::{Inventory, Resource, Target};
use crate::api::ApiError;

/// Returns a line for each account, region or resource that could not be read.
#[must_use]
pub fn failures(targets: &[Target], read: &[Result<Inventory, ApiError>]) -> Vec<String> {
    let lines = targets.iter().zip(read).flat_map(|(target, read)| {
        let [account, region, credentials] = target.columns(read);
        let place = format!("account {account}, region {region}, {credentials}");
        match read {
            Err(error) => vec![format!("{place}: {}. Its former names stay", chain(error))],
            Ok(inventory) => {
                let line = |(resource, error): &(Resource, ApiError)| {
                    format!(
                        "{place}: cannot read {resource}: {}. {}",
                        chain(error),
                        retention_note(*resource)
                    )
                };
                inventory.failures.iter().map(line).collect()
            }
        }
    });
    lines.collect()
}

/// Returns an error and its causes on one line. Those of credentials have several.
fn chain(error: &ApiError) -> String {
    error_chain(error).split_whitespace().collect::<Vec<_>>().join(" ")
}

fn retention_note(resource: Resource) -> &'static str {
    match resource {
        Resource::Interfaces | Resource::Subnets | Resource::Vpcs => "The former names stay",
        Resource::Instances | Resource::NatGateways | Resource::Endpoints => {
            "Interfaces keep their former names; those of new interfaces are provisional"
        }
    }
}

impl Target {
    /// Returns account, region and credentials; `?` for what is not known.
    #[must_use]
    pub fn columns(&self, read: &Result<Inventory, ApiError>) -> [String; 3] {
        let reading = read.as_ref().ok().map(|inventory| &inventory.reading);
        let unknown = || "?".to_owned();
        let of_role = || self.role_arn.as_ref().and_then(|arn| arn.split(':').nth(4)).map(str::to_owned);
        let account = reading.map(|reading| reading.account.clone()).or_else(of_role);
        let region = reading.map(|reading| reading.region.clone()).or_else(|| self.region.clone());
        let credentials = match (&self.role_arn, &self.profile) {
            (Some(role), _) => format!("role {}", role.rsplit('/').next().unwrap_or(role)),
            (None, Some(profile)) => format!("profile {profile}"),
            (None, None) => "environment".to_owned(),
        };
        [account.unwrap_or_else(unknown), region.unwrap_or_else(unknown), credentials]
    }
}
