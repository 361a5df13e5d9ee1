//! The settings of a search cluster, as coordinators, workers and commands read them.

use serde::{Deserialize, Serialize};

use crate::ledger::{Destination, FieldNaming, IndexTarget};

/// The names of indices without a setting.
pub const DEFAULT_INDEX_NAME: &str = "flowherd-{table}-{yyyy.MM.dd}";

/// The address of a cluster, how to authenticate, and where documents go. Holds no credentials.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClusterOptions {
    /// Such as `https://search.example.com:9200`.
    pub url: String,
    /// How requests authenticate.
    #[serde(default)]
    pub auth: AuthKind,
    /// The service in signatures: `es`, or `aoss` for OpenSearch Serverless.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<SigningName>,
    /// The region in signatures; that of the AWS environment without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The ARN of a secret of AWS Secrets Manager with the credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// Certificates of authorities in PEM form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// Whether the address may be `http` outside of this machine.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub insecure: bool,
    /// The names of indices; [`DEFAULT_INDEX_NAME`] without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index_name: Option<String>,
    /// The name of a data stream for each table, instead of indices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_stream: Option<String>,
    /// The names of fields.
    #[serde(default)]
    pub naming: FieldNaming,
    /// Maximum requests of a worker that run at the same time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<u16>,
    /// Maximum bytes of the documents of one request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bulk_bytes: Option<u32>,
}

/// How requests authenticate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AuthKind {
    /// Not at all.
    #[default]
    None,
    /// User and password.
    Basic,
    /// An API key.
    ApiKey,
    /// AWS Signature Version 4.
    #[serde(rename = "sigv4")]
    SigV4,
}

/// The service in signatures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SigningName {
    /// Amazon OpenSearch Service.
    #[default]
    Es,
    /// Amazon OpenSearch Serverless.
    Aoss,
}

impl ClusterOptions {
    /// Reads the JSON form. The error names the member and an example.
    pub fn parse(json: &str) -> Result<Self, String> {
        let options: Self = serde_json::from_str(json).map_err(|error| {
            format!(
                "{error}; an example: {{\"url\": \"https://search.example.com\", \"auth\": \"basic\", \"secret\": \
                 \"arn:aws:secretsmanager:…\"}}"
            )
        })?;
        match options.problems().into_iter().next() {
            Some(problem) => Err(problem),
            None => Ok(options),
        }
    }

    /// Returns the members that contradict each other. The indexer checks their values.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.index_name.is_some() && self.data_stream.is_some() {
            problems.push("indexName and dataStream are set; remove one of them".to_owned());
        }
        let is_signed = self.auth == AuthKind::SigV4;
        if !is_signed && (self.service.is_some() || self.region.is_some()) {
            problems.push("service and region need auth \"sigv4\"".to_owned());
        }
        if self.secret.is_some() && (is_signed || self.auth == AuthKind::None) {
            problems.push("secret needs auth \"basic\" or \"api-key\"".to_owned());
        }
        problems
    }

    /// Returns where the documents of a run go that names no index.
    #[must_use]
    pub fn target(&self) -> IndexTarget {
        let destination = match (&self.data_stream, &self.index_name) {
            (Some(name), _) => Destination::DataStream(name.clone()),
            (None, Some(name)) => Destination::Pattern(name.clone()),
            (None, None) => Destination::Pattern(DEFAULT_INDEX_NAME.to_owned()),
        };
        IndexTarget { destination, naming: self.naming }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_a_cluster_have_defaults() {
        let options = ClusterOptions::parse(r#"{"url":"https://x"}"#).unwrap();
        assert_eq!(options.auth, AuthKind::None);
        let destination = Destination::Pattern(DEFAULT_INDEX_NAME.to_owned());
        assert_eq!(options.target(), IndexTarget { destination, naming: FieldNaming::Columns });
        let stream =
            ClusterOptions::parse(r#"{"url":"https://x","dataStream":"f-{table}","naming":"ecs"}"#).unwrap();
        let destination = Destination::DataStream("f-{table}".to_owned());
        assert_eq!(stream.target(), IndexTarget { destination, naming: FieldNaming::Ecs });
        assert_eq!(ClusterOptions::parse(&serde_json::to_string(&stream).unwrap()).unwrap(), stream);
    }

    #[test]
    fn a_mistake_in_the_settings_of_a_cluster_is_named() {
        for (json, expected) in [
            ("{}", "missing field `url`"),
            (r#"{"url":"https://x","auth":"kerberos"}"#, "unknown variant `kerberos`"),
            (r#"{"url":"https://x","indexNames":"x"}"#, "unknown field `indexNames`"),
            (r#"{"url":"https://x","indexName":"a","dataStream":"b"}"#, "indexName and dataStream are set"),
            (r#"{"url":"https://x","secret":"arn:x"}"#, "secret needs auth"),
            (r#"{"url":"https://x","auth":"basic","region":"eu-west-1"}"#, "service and region need auth"),
        ] {
            let problem = ClusterOptions::parse(json).unwrap_err();
            assert!(problem.contains(expected), "{json}: {problem}");
        }
    }
}
