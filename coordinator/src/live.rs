//! Live runs: objects are converted as they arrive. Each fleet has one run a day.
//!
//! S3 ▶ `EventBridge` ▶ a standard arrivals queue ▶ [`arrive`] ▶ tasks of the run of the day. After the day, [`close`] lists it,
//! sends the objects without a receipt, and hands the run to the operations of every run. Events only save time: the listing
//! proves that nothing was lost.
//!
//! A run accepts arrivals until `runs/<run>/closing.json` exists. What arrives later goes into another run of the same day, which
//! the next close closes. So an event that comes late is never without a run that lists its object.

pub mod arrive;
pub mod batch;
mod begin;
pub mod close;
pub mod day;
pub mod event;
pub mod listing;
pub(crate) mod stage;
pub mod status;
