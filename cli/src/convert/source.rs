//! The objects of `flowherd convert`: files, standard input, or a bucket.

use std::{
    io::{self, Read},
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
};

use flowherd_aws::{Aws, s3::Bucket};
use flowherd_shared::store::{ManifestEntry, Source, StoreError, pages};
use flowherd_worker::processor::now;

use super::listing::{Found, Listing};
use crate::{args::ConvertArgs, fleet::buckets, local::DirSource, location::Location, stop::Stop};

/// The key of standard input without `--key`.
const STDIN_KEY: &str = "stdin";

/// The objects of a run.
pub(super) enum Objects {
    Files(PathBuf, DirSource),
    Stdin(StdinSource),
    Bucket {
        bucket: Bucket,
        /// Requests run on its runtime.
        _connection: Box<Aws>,
    },
}

impl Objects {
    /// Checks the flags for this SOURCE, and connects to a bucket.
    pub(super) fn open(args: &ConvertArgs) -> Result<Self, Stop> {
        let is_given =
            [("prefix", args.prefix.is_some()), ("resume", args.resume), ("key", args.key.is_some())];
        for (flag, is_given) in is_given {
            let problem = match (&args.source, flag) {
                (Location::Stdin, "prefix") => "it does not apply to standard input",
                (Location::Stdin, "resume") => "standard input cannot be read again; omit --resume",
                (Location::Bucket { .. }, "prefix") => {
                    "give the prefix in SOURCE, such as s3://my-archive/firehose/"
                }
                (Location::Files(_) | Location::Bucket { .. }, "key") => "it is for standard input, SOURCE -",
                _ => continue,
            };
            if is_given {
                return Err(Stop::usage(format!("--{flag}: {problem}")));
            }
        }
        match &args.source {
            Location::Files(path) => Ok(Self::Files(path.clone(), DirSource::new(path))),
            Location::Stdin => {
                let key = args.key.clone().unwrap_or_else(|| STDIN_KEY.to_owned());
                Ok(Self::Stdin(StdinSource { key, is_read: AtomicBool::new(false) }))
            }
            Location::Bucket { bucket, .. } => {
                let (aws, bucket) = buckets::find(bucket)?;
                Ok(Self::Bucket { bucket, _connection: Box::new(aws) })
            }
        }
    }

    /// Calls `found` for every object.
    pub(super) fn each(
        &self,
        prefix: &str,
        excluded: Vec<PathBuf>,
        mut found: impl FnMut(Found) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        match self {
            Self::Files(path, _) => Listing { source: path, prefix, excluded }.each(found),
            Self::Stdin(stdin) => {
                // The time, so that no receipt of another input counts.
                let etag = format!("stdin-{}", now()?);
                // The size is not known before the end.
                let entry = ManifestEntry { key: stdin.key.clone(), size: 0, etag };
                found(Found { entry, problem: None })
            }
            Self::Bucket { bucket, .. } => {
                for page in pages(bucket, prefix) {
                    for entry in page?.entries {
                        found(Found { entry, problem: None })?;
                    }
                }
                Ok(())
            }
        }
    }
}

impl Source for Objects {
    type Body = Box<dyn Read + Send>;

    fn open(&self, object: &ManifestEntry) -> Result<Box<dyn Read + Send>, StoreError> {
        match self {
            Self::Files(_, source) => Ok(Box::new(source.open(object)?)),
            Self::Stdin(stdin) => Ok(Box::new(stdin.open()?)),
            Self::Bucket { bucket, .. } => Ok(Box::new(bucket.open(object)?)),
        }
    }

    fn head(&self, key: &str) -> Result<Option<ManifestEntry>, StoreError> {
        match self {
            Self::Files(_, source) => source.head(key),
            Self::Stdin(_) => Ok(None),
            Self::Bucket { bucket, .. } => Source::head(bucket, key),
        }
    }
}

/// Standard input as one object.
pub(super) struct StdinSource {
    key: String,
    is_read: AtomicBool,
}

impl StdinSource {
    fn open(&self) -> Result<io::Stdin, StoreError> {
        if self.is_read.swap(true, Ordering::SeqCst) {
            return Err(StoreError::Invalid("standard input was read before".to_owned().into()));
        }
        Ok(io::stdin())
    }
}
