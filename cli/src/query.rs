//! Tables, views and prepared questions for SQL engines that read the results.

pub mod layout;
pub mod questions;
pub mod schema;
