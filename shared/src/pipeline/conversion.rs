//! Converts each record of an object into a row, a reject, a count, or more records.

use std::io::{self, Read, Write};

use super::{
    Counts, Exceeded, Outputs, RunConfig,
    enrich::Enricher,
    layers::Layers,
    records::{Record, Records, RecordsPath},
    rules::{Parsed, Rules},
};
use crate::{
    error::{ObjectError, Reason},
    limits::{Limits, PAYLOAD_GRACE_BYTES},
};

/// The conversion of one object.
pub(super) struct Conversion<'a, W, C> {
    pub(super) rules: Rules<'a>,
    /// The rules for records of payloads, and the arrays that they read. Created with the first payload.
    for_payloads: Option<(Rules<'a>, Vec<RecordsPath>)>,
    enricher: Enricher<'a>,
    /// An object with too many rejects has no outputs. Its remaining records are counted, so that the error distinguishes a
    /// wrong rule from noise in the log.
    pub(super) outputs: Result<Outputs<'a, W, C>, Exceeded>,
    pub(super) counts: Counts,
    limits: Limits,
    /// Decoded bytes of all payloads so far.
    payload_bytes: u64,
}

/// The rules that a record is tried on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Object,
    Payload,
}

impl<'a, W: Write, C: FnMut(&str) -> io::Result<W>> Conversion<'a, W, C> {
    pub(super) fn new(key: &'a str, run_config: &'a RunConfig, create: C) -> Self {
        let config = &run_config.config;
        Self {
            rules: Rules::new(&config.rules, &config.tables, &config.arrays, key),
            for_payloads: None,
            enricher: run_config.enricher(),
            outputs: Ok(Outputs::new(config, key, create)),
            counts: Counts::new(config),
            limits: config.limits,
            payload_bytes: 0,
        }
    }

    /// Handles a record of the object.
    pub(super) fn record(&mut self, record: &Record<'_>) -> Result<(), ObjectError> {
        self.record_at(record, Level::Object)
    }

    fn record_at(&mut self, record: &Record<'_>, level: Level) -> Result<(), ObjectError> {
        if record.is_control() {
            self.counts.add_control();
            return Ok(());
        }
        let mut refused = None;
        loop {
            refused = self.record_below(record, level, refused)?;
            if refused.is_none() {
                return Ok(());
            }
        }
    }

    /// Tries the rules below the one that refused a record. Returns the rule that found invalid nested records.
    fn record_below(
        &mut self,
        record: &Record<'_>,
        level: Level,
        refused: Option<(usize, Reason)>,
    ) -> Result<Option<(usize, Reason)>, ObjectError> {
        let rules = match (level, &mut self.for_payloads) {
            (Level::Payload, Some((rules, _))) => rules,
            _ => &mut self.rules,
        };
        match rules.parse_below(record, refused)? {
            Parsed::Header { table } => {
                if let Ok(outputs) = &mut self.outputs {
                    outputs.table(table)?;
                }
            }
            Parsed::Control => self.counts.add_control(),
            Parsed::Dropped { rule } => self.counts.add_dropped(rule),
            Parsed::Row(row) => {
                if let Ok(outputs) = &mut self.outputs {
                    let names = self.enricher.names(&row);
                    outputs.row(&row, &names)?;
                    self.counts.named_by_guess += u64::from(names.has_guess);
                }
                self.counts.add_row(&row);
            }
            Parsed::Nested { otherwise, rule } => {
                let (number, array) = (rule.number, rule.source.records);
                let content = rules.take_nested();
                let read_before = self.counts.read;
                let is_valid = match array {
                    Some(array) if otherwise == Reason::NotJson => {
                        let paths = rules.only_array(array);
                        self.elements(&content, &paths, record, level)?
                    }
                    _ => self.payload(&content)?,
                };
                if !is_valid {
                    return Ok(Some((number, otherwise)));
                }
                if self.counts.read == read_before {
                    self.counts.add_control();
                }
            }
            Parsed::Reject { reason, rule } => {
                let number = rule.map(|rule| rule.number);
                self.reject(record, reason, number)?;
            }
        }
        Ok(None)
    }

    fn reject(
        &mut self,
        record: &Record<'_>,
        reason: Reason,
        rule: Option<usize>,
    ) -> Result<(), ObjectError> {
        if let Ok(outputs) = &mut self.outputs {
            let rule = rule.map(|number| &outputs.config.rules[number]);
            if let Some(writing) = rule.and_then(|rule| rule.writing()) {
                outputs.table(writing.table)?;
            }
            outputs.reject(self.counts.read, record, reason)?;
        }
        self.counts.add_reject(reason, rule, record);
        if let Some(exceeded) = self.outputs.as_ref().ok().and_then(Outputs::exceeded) {
            // Drops the sinks: nothing of the object is published.
            self.outputs = Err(exceeded);
        }
        Ok(())
    }

    /// Handles the records of a payload. Returns false, and handles none, if it cannot be read as an object.
    fn payload(&mut self, payload: &[u8]) -> Result<bool, ObjectError> {
        let remaining = self.limits.max_decoded_bytes.saturating_sub(self.payload_bytes);
        let allowed = self.limits.max_decode_ratio * payload.len() as u64 + PAYLOAD_GRACE_BYTES;
        let limits = Limits { max_decoded_bytes: allowed.min(remaining), ..self.limits };
        let (rules, arrays) = self.for_payloads.get_or_insert_with(|| {
            let rules = self.rules.for_payloads();
            let arrays = rules.arrays();
            (rules, arrays)
        });
        let arrays = arrays.clone();
        // Reads it to its end first, so that a payload that would fail as an object gives no rows.
        let have_header_lines = rules.have_header_lines();
        rules.restart();
        let check = |record: &Record<'_>| {
            if have_header_lines && !record.is_control() {
                rules.parse(record)?;
            }
            Ok(true)
        };
        match read_to_end(open(payload, limits, &arrays), check) {
            Ok((bytes, _)) => self.payload_bytes += bytes,
            Err(ObjectError::TooLarge { .. }) if remaining < allowed => {
                return Err(ObjectError::PayloadsTooLarge { max: self.limits.max_decoded_bytes });
            }
            // A bomb costs what it was allowed to decode, so that many of them end the object.
            Err(ObjectError::TooLarge { .. } | ObjectError::Bomb { .. }) => {
                self.payload_bytes += limits.max_decoded_bytes;
                return Ok(false);
            }
            Err(_) => return Ok(false),
        }
        if let Some((rules, _)) = &mut self.for_payloads {
            rules.restart();
        }
        let mut records = open(payload, limits, &arrays)?;
        while let Some(record) = records.next()? {
            self.record_at(&record, Level::Payload)?;
        }
        Ok(true)
    }

    /// Handles the elements of an event's array of records. They have the event's origin and time. Returns false,
    /// and handles none, if the message is damaged.
    fn elements(
        &mut self,
        message: &[u8],
        paths: &[RecordsPath],
        event: &Record<'_>,
        level: Level,
    ) -> Result<bool, ObjectError> {
        // A message with more than one JSON text has records that are not elements.
        let is_element = |record: &Record<'_>| Ok(record.element.is_some());
        if !matches!(read_to_end(open(message, self.limits, paths), is_element), Ok((_, true))) {
            return Ok(false);
        }
        let mut records = open(message, self.limits, paths)?;
        while let Some(element) = records.next()? {
            let Record { origin, timestamp, file, id, extracted, .. } = *event;
            // The message is its text with invalid parts replaced, so each element counts as repaired.
            let repaired = element.repaired.or(event.repaired.map(|_| element.message()));
            let element = Record {
                origin,
                timestamp,
                repaired,
                file,
                id,
                extracted,
                is_first: false,
                is_line: false,
                ..element
            };
            self.record_at(&element, level)?;
        }
        Ok(true)
    }
}

fn open<'c>(
    content: &'c [u8],
    limits: Limits,
    arrays: &[RecordsPath],
) -> Result<Records<&'c [u8]>, ObjectError> {
    Ok(Records::with_arrays(Layers::open(content, limits)?, limits, arrays.to_vec()))
}

/// Returns the number of decoded bytes, and whether all records pass the check.
fn read_to_end<R: Read>(
    records: Result<Records<R>, ObjectError>,
    mut check: impl FnMut(&Record<'_>) -> Result<bool, ObjectError>,
) -> Result<(u64, bool), ObjectError> {
    let mut records = records?;
    let mut pass = true;
    while let Some(record) = records.next()? {
        pass &= check(&record)?;
    }
    Ok((records.decoded_bytes(), pass))
}
