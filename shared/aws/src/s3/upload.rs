//! Results on their way to a bucket.

use std::io::{self, Write};

use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use flowherd_shared::store::Sink;
use tracing::warn;

use super::Bucket;
use crate::io_error;

/// From this size on an upload goes in parts, and of this size each part is. S3 takes 5 MiB at least and 10,000 parts
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>): 80 GB of output from one object.
const PART_BYTES: usize = 8 << 20;

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
