//! Listings of a bucket, each page looked at before it is believed.

use std::io;

use aws_sdk_s3::{
    operation::list_objects_v2::ListObjectsV2Output,
    types::{EncodingType, Object},
};
use flowherd_shared::{
    ledger::ManifestEntry,
    store::{Lister, Page},
};
use percent_encoding::percent_decode_str;

use super::{Bucket, errors};
use crate::io_error;

impl Lister for Bucket {
    fn page(&self, prefix: &str, after: Option<&str>) -> io::Result<Page> {
        let mut token = None;
        loop {
            let answer = self.list(prefix, after, token)?;
            let entries = entries(&answer)?;
            check_order(after, &entries)?;
            // Behind a key rather than from a token: a page that was written down can be gone on from without listing it.
            match (has_more(&answer)?, entries.last()) {
                (true, Some(last)) => return Ok(Page { next: Some(last.key.clone()), entries }),
                (false, _) => return Ok(Page { next: None, entries }),
                // A store may leave out all that it has read so far.
                (true, None) => token = Some(next_token(&answer)?),
            }
        }
    }
}

impl Bucket {
    /// The names directly below a prefix that ends with `/`, without it: what would be directories.
    pub fn names_below(&self, prefix: &str) -> io::Result<Vec<String>> {
        let (mut names, mut token) = (Vec::new(), None);
        loop {
            let request = self.client.list_objects_v2().bucket(&self.name).prefix(prefix).delimiter("/");
            let request = request.set_expected_bucket_owner(self.owner.clone());
            let request = request.set_continuation_token(token).send();
            let answer = self.handle.block_on(request).map_err(|error| io_error(&error))?;
            let below = answer.common_prefixes().iter().filter_map(|found| {
                Some(found.prefix()?.strip_prefix(prefix)?.trim_end_matches('/').to_owned())
            });
            names.extend(below);
            if !has_more(&answer)? {
                return Ok(names);
            }
            token = Some(next_token(&answer)?);
        }
    }

    fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        token: Option<String>,
    ) -> io::Result<ListObjectsV2Output> {
        // Encoded, because a key may hold characters that XML cannot.
        let request = self.client.list_objects_v2().bucket(&self.name).prefix(prefix);
        let request = request.encoding_type(EncodingType::Url).set_expected_bucket_owner(self.owner.clone());
        let request = request.set_start_after(after.map(str::to_owned)).set_continuation_token(token).send();
        self.handle.block_on(request).map_err(|error| errors::of_listing(&self.name, &error))
    }
}

fn entries(answer: &ListObjectsV2Output) -> io::Result<Vec<ManifestEntry>> {
    let is_encoded = answer.encoding_type() == Some(&EncodingType::Url);
    let key = |object: &Object| {
        if is_encoded { decoded(object.key()?) } else { object.key().map(str::to_owned) }
    };
    let entry = |object: &Object| {
        let size = u64::try_from(object.size()?).ok()?;
        // One that says nothing, or anything, is no version.
        let etag = object.e_tag().filter(|etag| !matches!(*etag, "" | "*"))?;
        Some(ManifestEntry { key: key(object)?, size, etag: etag.to_owned() })
    };
    // Left out silently, it would be lost.
    let incomplete = |object: &Object| {
        let key = object.key().unwrap_or_default();
        invalid(format!(
            "the listing names an object ({key:?}) without key, size or ETag, or whose key is no UTF-8; remove or rename it"
        ))
    };
    answer.contents().iter().map(|object| entry(object).ok_or_else(|| incomplete(object))).collect()
}

/// A listing goes on behind its last key, so it must be in the order of keys, and begin behind the key it was asked for.
/// That of a directory bucket is not (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html>).
fn check_order(after: Option<&str>, entries: &[ManifestEntry]) -> io::Result<()> {
    let begins = after.zip(entries.first()).is_none_or(|(after, first)| *first.key > *after);
    if begins && entries.is_sorted_by(|one, next| one.key < next.key) {
        return Ok(());
    }
    Err(invalid(
        "the listing is not in the order of keys, or does not go on where it was asked to; use a general purpose bucket, or \
         another store",
    ))
}

/// Whether more pages follow this one, if it is whole. One that was cut off parses all the same, as a shorter one: S3 says
/// before the keys how many there are, and whether more follow
/// (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html>). Some stores leave directories out of the count.
fn has_more(answer: &ListObjectsV2Output) -> io::Result<bool> {
    let keys = answer.contents().len();
    let Some(count) = answer.key_count().and_then(|count| usize::try_from(count).ok()) else {
        return Err(io::Error::other(
            "the listing does not say how many keys it names: it was cut off, or this store never says; try again, or use \
             another store",
        ));
    };
    let is_whole = count == keys + answer.common_prefixes().len() || count == keys;
    answer.is_truncated().filter(|_| is_whole).ok_or_else(|| {
        io::Error::new(io::ErrorKind::UnexpectedEof, "the listing ends too soon: it was cut off; try again")
    })
}

/// Where the next page begins, of an answer that has one.
fn next_token(answer: &ListObjectsV2Output) -> io::Result<String> {
    let token = answer.next_continuation_token().filter(|token| !token.is_empty());
    let missing = "the listing has more pages, but does not say where; use another store";
    token.map(str::to_owned).ok_or_else(|| invalid(missing))
}

/// An answer that would be the same again.
fn invalid(why: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.into())
}

/// A key as a listing encodes it: as in a form, where a blank is `+`.
fn decoded(key: &str) -> Option<String> {
    Some(percent_decode_str(&key.replace('+', "%20")).decode_utf8().ok()?.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(keys: &[&str], count: Option<i32>, more: Option<bool>) -> ListObjectsV2Output {
        let object = |key: &&str| Object::builder().key(*key).size(1).e_tag("e").build();
        ListObjectsV2Output::builder()
            .set_contents(Some(keys.iter().map(object).collect()))
            .set_key_count(count)
            .set_is_truncated(more)
            .build()
    }

    #[test]
    fn a_listing_that_names_fewer_keys_than_it_says_is_no_listing() {
        assert!(!has_more(&answer(&["a", "b"], Some(2), Some(false))).unwrap());
        assert!(has_more(&answer(&["a", "b"], Some(2), Some(true))).unwrap());
        for (keys, count, more) in
            [(&["a"][..], Some(2), Some(false)), (&["a"], None, Some(false)), (&["a"], Some(1), None)]
        {
            assert!(has_more(&answer(keys, count, more)).is_err(), "{keys:?} {count:?} {more:?}");
        }
    }

    #[test]
    fn a_listing_that_does_not_go_on_behind_its_last_key_is_an_error() {
        let check = |after, keys: &[&str]| check_order(after, &entries(&answer(keys, None, None)).unwrap());
        check(None, &[]).unwrap();
        check(Some("a"), &["b", "c"]).unwrap();
        for (after, keys) in
            [(Some("b"), ["b", "c"]), (Some("c"), ["a", "b"]), (None, ["b", "a"]), (None, ["a", "a"])]
        {
            let told = check(after, &keys).unwrap_err().to_string();
            assert!(told.contains("in the order of keys"), "{told}");
            assert_eq!(check(after, &keys).unwrap_err().kind(), io::ErrorKind::InvalidData);
        }
    }

    #[test]
    fn an_object_without_a_version_is_named_and_not_left_out() {
        for etag in ["", "*"] {
            let object = Object::builder().key("k").size(1).e_tag(etag).build();
            let told = entries(&ListObjectsV2Output::builder().contents(object).build()).unwrap_err();
            assert!(told.to_string().contains("\"k\""), "{told}");
        }
    }
}
