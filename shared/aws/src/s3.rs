//! Objects and results in S3 buckets.

use std::{
    io::{self, Read, Write},
    time::Duration,
};

use aws_sdk_s3::{
    Client,
    error::{ProvideErrorMetadata, SdkError},
    operation::{
        get_object::GetObjectError, head_object::HeadObjectError, list_objects_v2::ListObjectsV2Output,
    },
    primitives::ByteStream,
    types::{CompletedMultipartUpload, CompletedPart, EncodingType, Object},
};
use flowherd_shared::{
    ledger::ManifestEntry,
    limits::{MAX_KEY_BYTES, MAX_RESULT_BYTES},
    store::{Lister, Page, Sink, Source, Store, too_large},
};
use percent_encoding::percent_decode_str;
use tokio::runtime::Handle;
use tracing::warn;

use crate::io_error;

/// From this size on an upload goes in parts, and of this size each part is. S3 takes 5 MiB at least and 10,000 parts
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>): 80 GB of output from one object.
const PART_BYTES: usize = 8 << 20;
/// How often in a row a body that breaks off is asked for again without having given a byte.
const RESUMES: u32 = 5;

/// One bucket.
#[derive(Clone, Debug)]
pub struct Bucket {
    client: Client,
    handle: Handle,
    name: String,
    owner: Option<String>,
}

impl Bucket {
    /// `handle` is of the runtime on which the client works; `owner` the account that the bucket must belong to.
    #[must_use]
    pub fn new(client: Client, handle: Handle, name: &str, owner: Option<&str>) -> Self {
        Self { client, handle, name: name.to_owned(), owner: owner.map(str::to_owned) }
    }

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

    fn get(&self, object: &ManifestEntry, from: u64) -> io::Result<ByteStream> {
        let mut request = self.client.get_object().bucket(&self.name).key(&object.key).if_match(&object.etag);
        request = request.set_expected_bucket_owner(self.owner.clone());
        if from > 0 {
            request = request.range(format!("bytes={from}-"));
        }
        let answer = self.handle.block_on(request.send()).map_err(|error| match error.code() {
            // What is gone, or was overwritten, does not come back by trying again.
            Some("PreconditionFailed") => io::Error::new(
                io::ErrorKind::NotFound,
                "the object has changed since it was listed; redrive to take it as it is now",
            ),
            Some("NoSuchKey") => {
                io::Error::new(io::ErrorKind::NotFound, "the object is gone since it was listed; put it back, then redrive")
            }
            Some("InvalidObjectState") => io::Error::new(
                io::ErrorKind::NotFound,
                "the object is archived; restore it, then redrive",
            ),
            // What S3 also says of an object that is not there to those who may not list the bucket
            // (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html>). Either way only somebody can help.
            Some("AccessDenied") => io::Error::new(
                io::ErrorKind::NotFound,
                "S3 denies access: the object may be gone since it was listed, or this worker may not read it; repair, then redrive",
            ),
            _ => io_error(&error),
        })?;
        if from > 0
            && !answer.content_range().is_some_and(|range| range.starts_with(&format!("bytes {from}-")))
        {
            return Err(io::Error::other("S3 did not go on where the body broke off"));
        }
        Ok(answer.body)
    }
}

impl Source for Bucket {
    type Body = Body;

    fn open(&self, object: &ManifestEntry) -> io::Result<Body> {
        let stream = self.get(object, 0)?;
        let (bucket, object) = (self.clone(), object.clone());
        Ok(Body { bucket, object, stream, chunk: Vec::new(), at: 0, read: 0, resumes: 0 })
    }

    fn now(&self, key: &str) -> io::Result<Option<ManifestEntry>> {
        let request = self.client.head_object().bucket(&self.name).key(key);
        let request = request.set_expected_bucket_owner(self.owner.clone()).send();
        match self.handle.block_on(request) {
            Ok(answer) => {
                let size = answer.content_length().and_then(|size| u64::try_from(size).ok());
                let (Some(size), Some(etag)) = (size, answer.e_tag) else {
                    return Err(io::Error::other("S3 names neither size nor ETag"));
                };
                Ok(Some(ManifestEntry { key: key.to_owned(), size, etag }))
            }
            Err(error) if error.as_service_error().is_some_and(HeadObjectError::is_not_found) => Ok(None),
            // Opening it will tell the same with a name.
            Err(error) if error.raw_response().is_some_and(|answer| answer.status().as_u16() == 403) => {
                Ok(None)
            }
            Err(error) => Err(io_error(&error)),
        }
    }
}

/// The bytes of an object. The SDK does not ask again for a body that breaks off midway; this does, from where it broke,
/// and only for the same version.
#[derive(Debug)]
pub struct Body {
    bucket: Bucket,
    object: ManifestEntry,
    stream: ByteStream,
    /// What was received and not yet given out: `chunk[at..]`.
    chunk: Vec<u8>,
    at: usize,
    /// Bytes received in all.
    read: u64,
    resumes: u32,
}

impl Body {
    /// Receives the next chunk; false at the end.
    fn receive(&mut self) -> io::Result<bool> {
        loop {
            match self.bucket.handle.block_on(self.stream.next()) {
                Some(Ok(chunk)) => {
                    self.chunk.clear();
                    self.chunk.extend_from_slice(&chunk);
                    self.at = 0;
                    self.read += chunk.len() as u64;
                    self.resumes = 0;
                    return Ok(true);
                }
                // A connection that closes early need not be told as an error.
                None if self.read >= self.object.size => return Ok(false),
                broken => {
                    let error = match broken {
                        Some(Err(error)) => io_error(&error),
                        _ => io::Error::new(io::ErrorKind::UnexpectedEof, "the body ends too soon"),
                    };
                    if self.resumes == RESUMES || self.read >= self.object.size {
                        return Err(error);
                    }
                    self.resumes += 1;
                    warn!(key = self.object.key, at = self.read, error = %error, "the body broke off; going on from there");
                    let pause = Duration::from_millis(100 << self.resumes);
                    self.bucket.handle.block_on(async { tokio::time::sleep(pause).await });
                    self.stream = self.bucket.get(&self.object, self.read)?;
                }
            }
        }
    }
}

impl Read for Body {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.at == self.chunk.len() && !self.receive()? {
            return Ok(0);
        }
        let count = out.len().min(self.chunk.len() - self.at);
        out[..count].copy_from_slice(&self.chunk[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

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
        self.handle.block_on(request).map_err(|error| match error.code() {
            Some("AccessDenied" | "NoSuchBucket") => {
                io::Error::new(io::ErrorKind::PermissionDenied, io_error(&error))
            }
            _ => io_error(&error),
        })
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
        io::Error::other(format!(
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
    Err(io::Error::other(
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
    token.map(str::to_owned).ok_or_else(|| io::Error::other(missing))
}

/// A key as a listing encodes it: as in a form, where a blank is `+`.
fn decoded(key: &str) -> Option<String> {
    Some(percent_decode_str(&key.replace('+', "%20")).decode_utf8().ok()?.into_owned())
}

impl Store for Bucket {
    type Sink = Upload;

    fn create(&self, path: &str) -> io::Result<Upload> {
        check_length(path)?;
        let bucket = self.clone();
        Ok(Upload { bucket, path: path.to_owned(), pending: Vec::new(), multipart: None })
    }

    fn put(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        self.put_whole(path, bytes.to_vec()).map(|_| ())
    }

    fn get(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        self.get_within(path, MAX_RESULT_BYTES)
    }

    fn get_within(&self, path: &str, most: u64) -> io::Result<Option<Vec<u8>>> {
        if check_length(path).is_err() {
            return Ok(None);
        }
        let request = self.client.get_object().bucket(&self.name).key(path);
        let request = request.set_expected_bucket_owner(self.owner.clone()).send();
        let mut answer = match self.handle.block_on(request) {
            Ok(answer) => answer,
            Err(SdkError::ServiceError(error)) if matches!(error.err(), GetObjectError::NoSuchKey(_)) => {
                return Ok(None);
            }
            Err(error) => return Err(io_error(&error)),
        };
        let mut bytes = Vec::new();
        while let Some(chunk) = self.handle.block_on(answer.body.next()) {
            let chunk = chunk.map_err(|error| io_error(&error))?;
            if (bytes.len() + chunk.len()) as u64 > most {
                return Err(too_large(path, most));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(Some(bytes))
    }

    fn etag(&self, path: &str) -> io::Result<Option<String>> {
        if check_length(path).is_err() {
            return Ok(None);
        }
        let request = self.client.head_object().bucket(&self.name).key(path);
        let request = request.set_expected_bucket_owner(self.owner.clone()).send();
        match self.handle.block_on(request) {
            Ok(answer) => Ok(answer.e_tag),
            Err(error) if error.as_service_error().is_some_and(HeadObjectError::is_not_found) => Ok(None),
            Err(error) => Err(io_error(&error)),
        }
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        if check_length(path).is_err() {
            return Ok(());
        }
        let request = self.client.delete_object().bucket(&self.name).key(path);
        let request = request.set_expected_bucket_owner(self.owner.clone()).send();
        self.handle.block_on(request).map_err(|error| io_error(&error))?;
        Ok(())
    }
}

/// A source key may be as long as any, so that its output's, which is longer, may be none: nothing can be there.
fn check_length(path: &str) -> io::Result<()> {
    if path.len() <= MAX_KEY_BYTES {
        return Ok(());
    }
    let why = format!("{} bytes, but S3 takes keys of up to {MAX_KEY_BYTES}", path.len());
    Err(io::Error::new(io::ErrorKind::InvalidFilename, why))
}

impl Bucket {
    fn put_whole(&self, path: &str, bytes: Vec<u8>) -> io::Result<String> {
        check_length(path)?;
        let request = self.client.put_object().bucket(&self.name).key(path).body(bytes.into());
        let request = request.set_expected_bucket_owner(self.owner.clone()).send();
        let answer = self.handle.block_on(request).map_err(|error| io_error(&error))?;
        answer.e_tag.ok_or_else(|| io::Error::other("S3 gave no ETag for what was written"))
    }
}

/// A result on its way: nobody sees it before its last request. Small ones are a single PUT, others go in parts.
#[derive(Debug)]
pub struct Upload {
    bucket: Bucket,
    path: String,
    pending: Vec<u8>,
    multipart: Option<Multipart>,
}

#[derive(Debug)]
struct Multipart {
    id: String,
    parts: Vec<CompletedPart>,
}

impl Upload {
    fn send_part(&mut self) -> io::Result<()> {
        let Bucket { client, handle, name, owner } = &self.bucket;
        let multipart = match &mut self.multipart {
            Some(multipart) => multipart,
            unbegun => {
                let request = client.create_multipart_upload().bucket(name).key(&self.path);
                let request = request.set_expected_bucket_owner(owner.clone()).send();
                let answer = handle.block_on(request).map_err(|error| io_error(&error))?;
                unbegun.insert(Multipart { id: answer.upload_id.unwrap_or_default(), parts: Vec::new() })
            }
        };
        let number = i32::try_from(multipart.parts.len() + 1).map_err(io::Error::other)?;
        let bytes = std::mem::take(&mut self.pending);
        let request =
            client.upload_part().bucket(name).key(&self.path).upload_id(&multipart.id).part_number(number);
        let request = request.set_expected_bucket_owner(owner.clone()).body(bytes.into()).send();
        let answer = handle.block_on(request).map_err(|error| io_error(&error))?;
        // The SDK sends a checksum with each part, and S3 may want them all again at the end
        // (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity-upload.html>).
        let part = CompletedPart::builder()
            .part_number(number)
            .set_e_tag(answer.e_tag)
            .set_checksum_crc32(answer.checksum_crc32)
            .set_checksum_crc32_c(answer.checksum_crc32_c)
            .set_checksum_crc64_nvme(answer.checksum_crc64_nvme)
            .set_checksum_sha1(answer.checksum_sha1)
            .set_checksum_sha256(answer.checksum_sha256);
        multipart.parts.push(part.build());
        Ok(())
    }
}

impl Write for Upload {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.pending.len() + bytes.len() > self.pending.capacity() && self.pending.len() > PART_BYTES / 8 {
            // At once what a part takes: doubled, the last step would take twice that.
            self.pending.reserve_exact(PART_BYTES + bytes.len() - self.pending.len());
        }
        self.pending.extend_from_slice(bytes);
        if self.pending.len() >= PART_BYTES {
            self.send_part()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for Upload {
    fn commit(mut self) -> io::Result<String> {
        if self.multipart.is_none() {
            return self.bucket.put_whole(&self.path, std::mem::take(&mut self.pending));
        }
        if !self.pending.is_empty() {
            self.send_part()?;
        }
        let Some(Multipart { id, parts }) = &self.multipart else { return Err(io::ErrorKind::Other.into()) };
        let Bucket { client, handle, name, owner } = &self.bucket;
        let whole = CompletedMultipartUpload::builder().set_parts(Some(parts.clone())).build();
        let request = client.complete_multipart_upload().bucket(name).key(&self.path).upload_id(id);
        let request = request.set_expected_bucket_owner(owner.clone());
        let answer =
            handle.block_on(request.multipart_upload(whole).send()).map_err(|error| io_error(&error))?;
        self.multipart = None;
        answer.e_tag.ok_or_else(|| io::Error::other("S3 gave no ETag for what was written"))
    }
}

impl Drop for Upload {
    /// Takes back the parts of what was not committed. What this misses, the bucket's lifecycle rule removes.
    fn drop(&mut self) {
        let Some(Multipart { id, .. }) = self.multipart.take() else { return };
        let Bucket { client, handle, name, owner } = &self.bucket;
        let request = client.abort_multipart_upload().bucket(name).key(&self.path).upload_id(id);
        let request = request.set_expected_bucket_owner(owner.clone()).send();
        if let Err(error) = handle.block_on(request) {
            warn!(path = self.path, error = %io_error(&error), "cannot abort an upload");
        }
    }
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
