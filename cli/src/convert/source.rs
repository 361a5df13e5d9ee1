//! SOURCE of `flowherd convert`: files, standard input, or a bucket.

use std::{
    ffi::OsString,
    fmt,
    io::{self, Read},
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
};

use flowherd_aws::{Aws, s3::Bucket};
use flowherd_shared::store::{ManifestEntry, Source, StoreError, pages};
use flowherd_worker::processor::now;

use super::listing::{Found, Listing};
use crate::{args::ConvertArgs, fleet::buckets, local::DirSource, stop::Stop};

/// The key of standard input without `--key`.
const STDIN_KEY: &str = "stdin";

/// SOURCE as it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Location {
    /// A file or a directory.
    Files(PathBuf),
    /// `-`
    Stdin,
    /// `s3://bucket/prefix`
    Bucket {
        /// Name of the bucket.
        bucket: String,
        /// Only keys that begin with it.
        prefix: String,
    },
}

impl Location {
    /// Parses the argument. A path may have any bytes.
    pub(crate) fn parse(text: OsString) -> Result<Self, String> {
        match text.to_str() {
            Some("-") => Ok(Self::Stdin),
            Some(url) if url.starts_with("s3://") => {
                let rest = &url["s3://".len()..];
                let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
                if bucket.is_empty() {
                    return Err("no bucket; an example: s3://my-archive/firehose/2026/02/18/".to_owned());
                }
                Ok(Self::Bucket { bucket: bucket.to_owned(), prefix: prefix.to_owned() })
            }
            _ => Ok(Self::Files(text.into())),
        }
    }

    /// Returns the path of a file or directory.
    pub(super) fn path(&self) -> Option<&PathBuf> {
        match self {
            Self::Files(path) => Some(path),
            Self::Stdin | Self::Bucket { .. } => None,
        }
    }

    /// Returns the name without the prefix, which messages have separately.
    pub(super) fn root(&self) -> String {
        match self {
            Self::Bucket { bucket, .. } => format!("s3://{bucket}"),
            location => location.to_string(),
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Files(path) => path.display().fmt(f),
            Self::Stdin => f.write_str("standard input"),
            Self::Bucket { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
        }
    }
}

/// The objects of a run.
pub(super) enum Objects {
    Files(PathBuf, DirSource),
    Stdin(StdinSource),
    Bucket {
        bucket: Bucket,
        /// Requests run on its runtime.
        _connection: Aws,
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
                Ok(Self::Bucket { bucket, _connection: aws })
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
    type Body = Box<dyn Read>;

    fn open(&self, object: &ManifestEntry) -> Result<Box<dyn Read>, StoreError> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_a_path_standard_input_or_a_bucket() {
        let of = |text: &str| Location::parse(text.into());
        let bucket = |bucket: &str, prefix: &str| {
            Ok(Location::Bucket { bucket: bucket.to_owned(), prefix: prefix.to_owned() })
        };
        assert_eq!(of("-"), Ok(Location::Stdin));
        assert_eq!(of("./-"), Ok(Location::Files("./-".into())));
        assert_eq!(of("s3:/x"), Ok(Location::Files("s3:/x".into())));
        assert_eq!(of("s3://b"), bucket("b", ""));
        assert_eq!(of("s3://b/"), bucket("b", ""));
        assert_eq!(of("s3://b/p/2026/"), bucket("b", "p/2026/"));
        assert!(of("s3://").is_err() && of("s3:///p").is_err());
        assert_eq!(of("s3://b/p").unwrap().to_string(), "s3://b/p");
    }
}
