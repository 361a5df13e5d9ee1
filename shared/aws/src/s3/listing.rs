//! Listings of a bucket. Each response is checked before it is used.

use std::time::SystemTime;

use aws_sdk_s3::{
    operation::list_objects_v2::ListObjectsV2Output,
    types::{EncodingType, Object},
};
use flowherd_shared::store::{Lister, ManifestEntry, Page, StoreError};
use percent_encoding::percent_decode_str;

use super::Bucket;

impl Lister for Bucket {
    fn page(&self, prefix: &str, after: Option<&str>) -> Result<Page, StoreError> {
        let mut token = None;
        loop {
            let response = self.list(prefix, after, None, token)?;
            let entries = entries(&response)?;
            check_order(after, &entries)?;
            let modified = response.contents().iter().map(modified).collect();
            // The next page begins after a key, not at a token: planning can continue after a page in the manifest
            // without listing it again.
            match (has_more(&response)?, entries.last()) {
                (true, Some(last)) => return Ok(Page { next: Some(last.key.clone()), entries, modified }),
                (false, _) => return Ok(Page { next: None, entries, modified }),
                // S3 may return a page without keys that is not the last one.
                (true, None) => token = Some(next_token(&response)?),
            }
        }
    }
}

impl Bucket {
    /// Returns the names directly below a prefix that ends with `/`, without the prefix: the directories of a file system.
    pub fn names_below(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let (mut names, mut token) = (Vec::new(), None);
        loop {
            let response = self.list(prefix, None, Some("/"), token)?;
            let is_encoded = is_encoded(&response);
            for found in response.common_prefixes() {
                let found = found.prefix().unwrap_or_default();
                let decoded = if is_encoded { decode(found) } else { Some(found.to_owned()) };
                let name = decoded.as_deref().and_then(|found| found.strip_prefix(prefix));
                let name = name.ok_or_else(|| {
                    invalid(format!(
                        "the listing of {prefix:?} has the common prefix {found:?}; use another store"
                    ))
                })?;
                names.push(name.trim_end_matches('/').to_owned());
            }
            if !has_more(&response)? {
                return Ok(names);
            }
            token = Some(next_token(&response)?);
        }
    }

    fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        delimiter: Option<&str>,
        token: Option<String>,
    ) -> Result<ListObjectsV2Output, StoreError> {
        // Encoded, because a key may contain characters that XML cannot.
        let request = self.client.list_objects_v2().bucket(&self.name).prefix(prefix);
        let request = request.encoding_type(EncodingType::Url).set_expected_bucket_owner(self.owner.clone());
        let request = request.set_delimiter(delimiter.map(str::to_owned));
        let request = request.set_start_after(after.map(str::to_owned)).set_continuation_token(token).send();
        self.handle.block_on(request).map_err(|error| self.error("ListObjectsV2", prefix, error))
    }
}

fn is_encoded(response: &ListObjectsV2Output) -> bool {
    response.encoding_type() == Some(&EncodingType::Url)
}

fn entries(response: &ListObjectsV2Output) -> Result<Vec<ManifestEntry>, StoreError> {
    let is_encoded = is_encoded(response);
    let key = |object: &Object| {
        if is_encoded { decode(object.key()?) } else { object.key().map(str::to_owned) }
    };
    let entry = |object: &Object| {
        let size = u64::try_from(object.size()?).ok()?;
        // S3 matches an empty ETag with nothing and `*` with any version.
        let etag = object.e_tag().filter(|etag| !matches!(*etag, "" | "*"))?;
        Some(ManifestEntry { key: key(object)?, size, etag: etag.to_owned() })
    };
    // An object that the listing left out would be lost without an error.
    let incomplete = |object: &Object| {
        let key = object.key().unwrap_or_default();
        invalid(format!(
            "the listing has an object ({key:?}) without key, size or ETag, or with a key that is not UTF-8; remove or \
             rename it"
        ))
    };
    response.contents().iter().map(|object| entry(object).ok_or_else(|| incomplete(object))).collect()
}

fn modified(object: &Object) -> Option<SystemTime> {
    SystemTime::try_from(*object.last_modified()?).ok()
}

/// Checks that the keys are in order and follow `after`, because the next page begins after the last key. A directory bucket
/// lists its keys in no order (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html>).
fn check_order(after: Option<&str>, entries: &[ManifestEntry]) -> Result<(), StoreError> {
    let begins = after.zip(entries.first()).is_none_or(|(after, first)| *first.key > *after);
    if begins && entries.is_sorted_by(|one, next| one.key < next.key) {
        return Ok(());
    }
    Err(invalid(
        "the listing is not in the order of keys, or does not begin after the requested key; use a general purpose bucket, \
         or another store",
    ))
}

/// Returns whether more pages follow. A truncated response still parses, as a shorter one. S3 sends the number of keys and
/// whether more follow before the keys, so both reveal it
/// (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html>). Some stores do not count common prefixes.
fn has_more(response: &ListObjectsV2Output) -> Result<bool, StoreError> {
    let keys = response.contents().len();
    let Some(count) = response.key_count().and_then(|count| usize::try_from(count).ok()) else {
        return Err(StoreError::transient(
            "the listing has no number of keys: the response was truncated, or this store never returns the number; try \
             again, or use another store",
        ));
    };
    let is_whole = count == keys + response.common_prefixes().len() || count == keys;
    let truncated =
        || StoreError::transient("the listing ends too soon: the response was truncated; try again");
    response.is_truncated().filter(|_| is_whole).ok_or_else(truncated)
}

/// Returns the token of the next page.
fn next_token(response: &ListObjectsV2Output) -> Result<String, StoreError> {
    let token = response.next_continuation_token().filter(|token| !token.is_empty());
    let missing = "the listing has more pages, but no token for the next one; use another store";
    token.map(str::to_owned).ok_or_else(|| invalid(missing))
}

fn invalid(message: impl Into<String>) -> StoreError {
    StoreError::Invalid(message.into().into())
}

/// Decodes a key of a listing. It is encoded as in a form: `+` is a space.
fn decode(key: &str) -> Option<String> {
    Some(percent_decode_str(&key.replace('+', "%20")).decode_utf8().ok()?.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(keys: &[&str], count: Option<i32>, more: Option<bool>) -> ListObjectsV2Output {
        let object = |key: &&str| Object::builder().key(*key).size(1).e_tag("e").build();
        ListObjectsV2Output::builder()
            .set_contents(Some(keys.iter().map(object).collect()))
            .set_key_count(count)
            .set_is_truncated(more)
            .build()
    }

    #[test]
    fn a_listing_with_fewer_keys_than_it_counts_is_an_error() {
        assert!(!has_more(&response(&["a", "b"], Some(2), Some(false))).unwrap());
        assert!(has_more(&response(&["a", "b"], Some(2), Some(true))).unwrap());
        for (keys, count, more) in
            [(&["a"][..], Some(2), Some(false)), (&["a"], None, Some(false)), (&["a"], Some(1), None)]
        {
            assert!(has_more(&response(keys, count, more)).is_err(), "{keys:?} {count:?} {more:?}");
        }
    }

    #[test]
    fn a_listing_that_is_not_in_order_after_the_requested_key_is_an_error() {
        let check = |after, keys: &[&str]| check_order(after, &entries(&response(keys, None, None)).unwrap());
        check(None, &[]).unwrap();
        check(Some("a"), &["b", "c"]).unwrap();
        for (after, keys) in
            [(Some("b"), ["b", "c"]), (Some("c"), ["a", "b"]), (None, ["b", "a"]), (None, ["a", "a"])]
        {
            let error = check(after, &keys).unwrap_err();
            assert!(error.to_string().contains("in the order of keys"), "{error}");
            assert!(matches!(error, StoreError::Invalid(_)), "{error:?}");
        }
    }

    #[test]
    fn a_listed_object_without_a_version_is_an_error_that_names_it() {
        for etag in ["", "*"] {
            let object = Object::builder().key("k").size(1).e_tag(etag).build();
            let listing = ListObjectsV2Output::builder().contents(object).build();
            let error = entries(&listing).unwrap_err().to_string();
            assert!(error.contains("\"k\""), "{error}");
        }
    }
}
