//! `HeadObject` of a result, with the times of S3's own clock.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use aws_sdk_s3::{
    config::{
        ConfigBag, Intercept, RuntimeComponents, interceptors::BeforeDeserializationInterceptorContextRef,
    },
    error::BoxError,
    operation::head_object::HeadObjectError,
    primitives::{DateTime, DateTimeFormat},
};
use flowherd_shared::store::{Head, StoreError};

use super::{Bucket, errors};

/// Keeps the `Date` header of a response: the SDK's output has no field for it.
#[derive(Clone, Debug, Default)]
struct ResponseDate(Arc<Mutex<Option<String>>>);

impl ResponseDate {
    fn get(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Intercept for ResponseDate {
    fn name(&self) -> &'static str {
        "ResponseDate"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let date = context.response().headers().get("date").map(str::to_owned);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = date;
        Ok(())
    }
}

impl Bucket {
    /// Reads the metadata of a result. Both times are S3's: `Last-Modified` of the object and `Date` of the response
    /// (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadObject.html>,
    /// <https://docs.aws.amazon.com/AmazonS3/latest/API/RESTCommonResponseHeaders.html>).
    pub(super) fn head_result(&self, path: &str) -> Result<Option<Head>, StoreError> {
        let date = ResponseDate::default();
        let request = self.client.head_object().bucket(&self.name).key(path);
        let request = request.set_expected_bucket_owner(self.owner.clone());
        let request = request.customize().interceptor(date.clone()).send();
        let response = match self.handle.block_on(request) {
            Ok(response) => response,
            Err(error) if error.as_service_error().is_some_and(HeadObjectError::is_not_found) => {
                return Ok(None);
            }
            Err(error) => return Err(self.error("HeadObject", path, error)),
        };
        let missing = |header| errors::incomplete("HeadObject", &self.name, path, header);
        let modified = response.last_modified().and_then(|time| SystemTime::try_from(*time).ok());
        let now = date.get().and_then(|date| DateTime::from_str(&date, DateTimeFormat::HttpDate).ok());
        Ok(Some(Head {
            modified: modified.ok_or_else(|| missing("Last-Modified"))?,
            now: now.and_then(|now| SystemTime::try_from(now).ok()).ok_or_else(|| missing("Date"))?,
            etag: response.e_tag.ok_or_else(|| missing("ETag"))?,
        }))
    }
}
