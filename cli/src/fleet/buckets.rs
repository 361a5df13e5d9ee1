//! Buckets that are used without a deployed fleet.

use std::time::Duration;

use flowherd_aws::{
    Aws,
    s3::{Bucket, FoundBucket},
};
use flowherd_shared::error::error_chain;

use super::{connect, patience::Patience};
use crate::stop::Stop;

/// Maximum time to wait for the first responses of AWS.
const LIMIT: Duration = Duration::from_mins(2);

/// Connects to AWS and finds a bucket that these credentials may list. Keep the connection while the bucket is used.
pub(crate) fn find(name: &str) -> Result<(Aws, Bucket), Stop> {
    let (aws, found) = connect_to(name)?;
    if !found.is_readable {
        return Err(Stop::usage(format!(
            "cannot list s3://{name}: access denied. Check the credentials, and that they have s3:ListBucket for this bucket"
        )));
    }
    Ok((aws, found.bucket))
}

/// Connects to AWS and finds a bucket. Keep the connection while the bucket is used.
pub(crate) fn connect_to(name: &str) -> Result<(Aws, FoundBucket), Stop> {
    let patience = Patience::new(LIMIT);
    let aws = connect(&patience)?;
    let found = patience.during(format!("bucket {name}"), || aws.find_bucket(name, None, None));
    let found = found.map_err(|error| Stop::usage(error_chain(&error)))?;
    Ok((aws, found))
}
