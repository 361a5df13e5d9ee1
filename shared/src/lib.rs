//! Flowherd's pure core: from the bytes of one log object to enriched CSV, and the ledger that proves nothing is lost.
//!
//! No AWS types, no async runtime, no clock, no environment: bytes and plain structs in, bytes and plain structs out.
//! Start reading at [`pipeline`].

pub mod backoff;
pub mod checksum;
pub mod cluster;
pub mod config;
pub mod enrichment;
pub mod error;
pub mod flow_fields;
mod interner;
pub mod layout;
pub mod ledger;
pub mod limits;
pub mod names;
pub mod pipeline;
pub mod presets;
mod problems;
pub mod queue;
pub mod report_page;
pub mod store;
pub mod table;
pub mod task;
pub mod text;
pub mod times;
pub mod timestamp;
