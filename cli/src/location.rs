//! SOURCE of `flowherd convert`.

use std::{ffi::OsString, fmt, path::PathBuf};

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
    pub(crate) fn path(&self) -> Option<&PathBuf> {
        match self {
            Self::Files(path) => Some(path),
            Self::Stdin | Self::Bucket { .. } => None,
        }
    }

    /// Returns the name without the prefix, which messages have separately.
    pub(crate) fn root(&self) -> String {
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
