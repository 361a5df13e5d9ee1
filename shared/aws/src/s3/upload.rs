//! Writes results to a bucket.

use std::io::{self, Write};

use aws_sdk_s3::types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart};
use flowherd_shared::{
    error::error_chain,
    store::{Problem, Sink, StoreError},
};
use tracing::warn;

use super::{Bucket, errors};

/// Size of a part, and of the largest output that is a single PUT: a typical output needs one request instead of four.
/// S3 takes parts of 5 MiB to 5 GiB, and 10,000 of them
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>): 160 GB of output from one object.
const PART_BYTES: usize = 16 << 20;

/// The checksum algorithm of each body, which S3 verifies. A multipart upload and all its parts must have the same algorithm
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity-upload.html>). Each request names it,
/// because `AWS_REQUEST_CHECKSUM_CALCULATION` would otherwise change the parts but not the upload.
pub(super) const CHECKSUM: ChecksumAlgorithm = ChecksumAlgorithm::Crc32;

/// A result being written. Nobody sees it before the last request. A result of up to 16 MiB is a single PUT, a larger one a
/// multipart upload.
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
    /// Creates an upload. Makes no request.
    pub(super) fn new(bucket: Bucket, path: &str) -> Self {
        Self { bucket, path: path.to_owned(), pending: Vec::new(), multipart: None }
    }

    fn send_part(&mut self) -> Result<(), StoreError> {
        let Bucket { client, handle, name, owner } = &self.bucket;
        let multipart = match &mut self.multipart {
            Some(multipart) => multipart,
            unbegun => {
                let request = client.create_multipart_upload().bucket(name).key(&self.path);
                let request = request.checksum_algorithm(CHECKSUM);
                let request = request.set_expected_bucket_owner(owner.clone()).send();
                let response = handle.block_on(request);
                let response = response
                    .map_err(|error| self.bucket.error("CreateMultipartUpload", &self.path, error))?;
                let id = response.upload_id.filter(|id| !id.is_empty());
                let id = id.ok_or_else(|| {
                    errors::incomplete("CreateMultipartUpload", name, &self.path, "UploadId")
                })?;
                unbegun.insert(Multipart { id, parts: Vec::new() })
            }
        };
        let number = i32::try_from(multipart.parts.len() + 1).map_err(|error| {
            StoreError::Invalid(Problem::caused_by(format!("{} has too many parts", self.path), error))
        })?;
        let bytes = std::mem::take(&mut self.pending);
        let request =
            client.upload_part().bucket(name).key(&self.path).upload_id(&multipart.id).part_number(number);
        let request = request.checksum_algorithm(CHECKSUM);
        let request = request.set_expected_bucket_owner(owner.clone()).body(bytes.into()).send();
        let response = handle.block_on(request);
        let response = response.map_err(|error| self.bucket.error("UploadPart", &self.path, error))?;
        let etag = response.e_tag;
        let etag = etag.ok_or_else(|| errors::incomplete("UploadPart", name, &self.path, "ETag"))?;
        // S3 compares the checksum with that of the stored part.
        let part = CompletedPart::builder()
            .part_number(number)
            .e_tag(etag)
            .set_checksum_crc32(response.checksum_crc32);
        multipart.parts.push(part.build());
        Ok(())
    }
}

impl Write for Upload {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.pending.len() + bytes.len() > self.pending.capacity() && self.pending.len() > PART_BYTES / 8 {
            // Reserves a whole part at once. Doubling the capacity would reserve up to twice as much.
            self.pending.reserve_exact(PART_BYTES + bytes.len() - self.pending.len());
        }
        self.pending.extend_from_slice(bytes);
        while self.pending.len() > PART_BYTES {
            let rest = self.pending.split_off(PART_BYTES);
            self.send_part()?;
            self.pending = rest;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for Upload {
    fn commit(mut self) -> Result<String, StoreError> {
        if self.multipart.is_none() {
            return self.bucket.put_object(&self.path, std::mem::take(&mut self.pending));
        }
        if !self.pending.is_empty() {
            self.send_part()?;
        }
        let Some(Multipart { id, parts }) = &self.multipart else {
            return Err(StoreError::Invalid(format!("the upload of {} did not begin", self.path).into()));
        };
        let Bucket { client, handle, name, owner } = &self.bucket;
        let whole = CompletedMultipartUpload::builder().set_parts(Some(parts.clone())).build();
        let request = client.complete_multipart_upload().bucket(name).key(&self.path).upload_id(id);
        let request = request.set_expected_bucket_owner(owner.clone());
        let response = handle.block_on(request.multipart_upload(whole).send());
        let response =
            response.map_err(|error| self.bucket.error("CompleteMultipartUpload", &self.path, error))?;
        self.multipart = None;
        let etag = response.e_tag;
        etag.ok_or_else(|| errors::incomplete("CompleteMultipartUpload", name, &self.path, "ETag"))
    }
}

impl Drop for Upload {
    /// Aborts an upload that was not committed. If this fails, the lifecycle rule of the bucket removes the parts.
    fn drop(&mut self) {
        let Some(Multipart { id, .. }) = self.multipart.take() else { return };
        let Bucket { client, handle, name, owner } = &self.bucket;
        let request = client.abort_multipart_upload().bucket(name).key(&self.path).upload_id(id);
        let request = request.set_expected_bucket_owner(owner.clone()).send();
        if let Err(error) = handle.block_on(request) {
            warn!(path = self.path, error = %error_chain(&error), "cannot abort a multipart upload");
        }
    }
}
