//! The notification configuration of a bucket.

use aws_sdk_s3::error::SdkError;
use flowherd_shared::store::StoreError;

use super::Bucket;

impl Bucket {
    /// Returns whether the bucket sends its events to `EventBridge`
    /// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/enable-event-notifications-eventbridge.html>).
    pub fn sends_events(&self) -> Result<bool, StoreError> {
        let request = self.client.get_bucket_notification_configuration().bucket(&self.name);
        let request = request.set_expected_bucket_owner(self.owner.clone()).send();
        let response = self.handle.block_on(request);
        let response = response
            .map_err(|error: SdkError<_, _>| self.error("GetBucketNotificationConfiguration", "", error))?;
        Ok(response.event_bridge_configuration().is_some())
    }
}
