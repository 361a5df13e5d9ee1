//! Writes results to a bucket.

use std::io::{self, Write};

use aws_sdk_s3::types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart};
use flowherd_shared::store::Sink;
use tracing::warn;

use super::{Bucket, errors};
use crate::io_error;

/// Size of each part, and the largest output that is a single PUT: the usual object needs one request instead of four.
/// S3 takes parts of 5 MiB to 5 GiB, and 10,000 of them
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>): 160 GB of output from one object.
const PART_BYTES: usize = 16 << 20;

/// The checksum that S3 verifies of each body. An upload in parts names it when it begins, and each part carries it: S3
/// refuses to complete an upload whose parts have another checksum than the upload
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity-upload.html>). Named in each request,
/// because `AWS_REQUEST_CHECKSUM_CALCULATION` would otherwise change the parts alone.
pub(super) const CHECKSUM: ChecksumAlgorithm = ChecksumAlgorithm::Crc32;

/// A result being written: nobody sees it before its last request. Up to 16 MiB it is a single PUT, larger it goes in parts.
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
    /// Nothing is sent yet.
    pub(super) fn new(bucket: Bucket, path: &str) -> Self {
        Self { bucket, path: path.to_owned(), pending: Vec::new(), multipart: None }
    }

    fn send_part(&mut self) -> io::Result<()> {
        let Bucket { client, handle, name, owner } = &self.bucket;
        let multipart = match &mut self.multipart {
            Some(multipart) => multipart,
            unbegun => {
                let request = client.create_multipart_upload().bucket(name).key(&self.path);
                let request = request.checksum_algorithm(CHECKSUM);
                let request = request.set_expected_bucket_owner(owner.clone()).send();
                let answer =
                    handle.block_on(request).map_err(|error| errors::of_result(&self.path, &error))?;
                let id = answer.upload_id.filter(|id| !id.is_empty());
                let id = id.ok_or_else(|| io::Error::other("S3 gave no id for the upload in parts"))?;
                unbegun.insert(Multipart { id, parts: Vec::new() })
            }
        };
        let number = i32::try_from(multipart.parts.len() + 1).map_err(io::Error::other)?;
        let bytes = std::mem::take(&mut self.pending);
        let request =
            client.upload_part().bucket(name).key(&self.path).upload_id(&multipart.id).part_number(number);
        let request = request.checksum_algorithm(CHECKSUM);
        let request = request.set_expected_bucket_owner(owner.clone()).body(bytes.into()).send();
        let answer = handle.block_on(request).map_err(|error| io_error(&error))?;
        let etag = answer.e_tag.ok_or_else(|| io::Error::other("S3 gave no ETag for a part"))?;
        // The checksum again: S3 compares it with that of the part that it keeps.
        let part = CompletedPart::builder()
            .part_number(number)
            .e_tag(etag)
            .set_checksum_crc32(answer.checksum_crc32);
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
    fn commit(mut self) -> io::Result<String> {
        if self.multipart.is_none() {
            return self.bucket.put_whole(&self.path, std::mem::take(&mut self.pending));
        }
        if !self.pending.is_empty() {
            self.send_part()?;
        }
        let Some(Multipart { id, parts }) = &self.multipart else {
            return Err(io::Error::other("the upload in parts was never begun"));
        };
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
