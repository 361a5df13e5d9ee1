//! Sends the rows of Flowherd's CSV to a search cluster (OpenSearch, or Elasticsearch with the same API).
//!
//! [`job::Indexer`] reads the `csv.gz` of one object and creates one document for each row. Begin there to follow a row:
//! [`rows`] reads it, [`document`] encodes it, [`bulk`] collects documents to requests, [`client`] sends them, [`answer`] reads
//! the outcome of each document, and [`pace`] decides how many requests run at a time and when a worker pauses.

pub mod answer;
pub mod bulk;
pub mod client;
pub mod cluster;
pub mod document;
pub mod ecs;
mod glob;
pub mod index_name;
pub mod job;
pub mod pace;
pub mod removal;
pub mod rows;
pub mod schema;
pub mod settings;
pub mod target;
pub mod template;
pub mod verify;
