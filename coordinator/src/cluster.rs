//! The search cluster of a fleet, over the network.

use flowherd_aws::{Aws, cluster::ClusterConnectError};
use flowherd_indexer::{
    client::Client,
    cluster::{Cluster, ClusterError as IndexerError},
    target,
    template::Template,
};
use flowherd_shared::{cluster::ClusterOptions, error::error_chain, ledger::IndexTarget, table::Table};

use crate::search::{ClusterError, SearchCluster};

/// A search cluster. Connects when it is used.
#[derive(Debug)]
pub struct RemoteCluster<'a> {
    aws: &'a Aws,
    options: &'a ClusterOptions,
}

impl<'a> RemoteCluster<'a> {
    /// Uses the settings of a fleet.
    #[must_use]
    pub fn new(aws: &'a Aws, options: &'a ClusterOptions) -> Self {
        Self { aws, options }
    }

    /// Connects to the cluster, with the credentials of the environment or of the fleet's secret.
    ///
    /// # Errors
    /// [`ClusterError`] by what the caller can do about it.
    pub fn connect(&self) -> Result<Client, ClusterError> {
        let settings =
            self.aws.cluster(self.options, &|name| std::env::var(name).ok()).map_err(
                |error| match error {
                    ClusterConnectError::Refused(why) => ClusterError::Refused(why),
                    error @ ClusterConnectError::Unavailable { .. } => {
                        ClusterError::Unavailable(error.into())
                    }
                },
            )?;
        Client::new(&settings).map_err(|error| ClusterError::Refused(error_chain(&error)))
    }
}

impl SearchCluster for RemoteCluster<'_> {
    fn prepare(&self, tables: &[&Table], target: &IndexTarget) -> Result<Vec<String>, ClusterError> {
        let refused = |error: &dyn std::error::Error| ClusterError::Refused(error_chain(error));
        let destination = target::destination(target).map_err(|error| refused(&error))?;
        let mut templates = Vec::new();
        for table in tables {
            let schema = target::schema(table, target).map_err(|error| refused(&error))?;
            templates.push(Template::new(table, &schema, &destination));
        }
        let client = self.connect()?;
        let cluster = Cluster::new(&client);
        self.aws
            .handle()
            .block_on(async {
                cluster.version().await?;
                for template in &templates {
                    cluster.install(template, &destination).await?;
                }
                Ok(Vec::new())
            })
            .map_err(of_indexer)
    }
}

/// Maps an error by whether a later call can succeed.
#[must_use]
pub fn of_indexer(error: IndexerError) -> ClusterError {
    match &error {
        IndexerError::Request { source, .. } if source.can_retry() => ClusterError::Unavailable(error.into()),
        _ => ClusterError::Refused(error_chain(&error)),
    }
}
