//! `flowherd synth`: sample objects in the format of CloudWatch Logs and Firehose. The same seed gives the same bytes.

mod incident;
mod names;
mod traffic;
mod world;

use std::{
    fs,
    io::{self, Write as _},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::Context;
use flate2::{Compression, write::GzEncoder};
use indicatif::HumanBytes;
use jiff::{ToSpan, civil::Date, tz::TimeZone};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use self::{incident::Incident, traffic::Traffic, world::World};
use crate::{
    args::SynthArgs,
    progress::{Line, Rate, View},
    stop::Stop,
    summary,
    words::{counted, objects_per_second},
};

/// Maximum events per envelope, similar to CloudWatch Logs.
const ENVELOPE_EVENTS: u32 = 500;
/// Minimum envelopes per object, if it has enough records: several log streams.
const ENVELOPES: u32 = 8;
/// Every tenth object begins with a control message.
const CONTROL_EVERY: u32 = 10;

/// Writes the objects and, unless names are given, their `names.json`.
pub(crate) fn synth(args: &SynthArgs) -> Result<(), Stop> {
    if !(0.0..=100.0).contains(&args.malformed) {
        return Err(Stop::usage(format!(
            "--malformed {}: must be a percentage from 0 to 100",
            args.malformed
        )));
    }
    let mut random = ChaCha8Rng::seed_from_u64(args.seed);
    let world = match &args.names {
        Some(path) => names::world(path, &mut random)?,
        None => World::new(&mut random),
    };
    let write = |path: &Path, bytes: &[u8]| -> anyhow::Result<()> {
        let parent = path.parent().unwrap_or(path);
        fs::create_dir_all(parent)
            .and_then(|()| fs::write(path, bytes))
            .with_context(|| format!("cannot write {}", path.display()))
    };
    let incident = match (args.incident, world.incident_vpc) {
        (true, None) => return Err(Stop::usage(names::NO_INCIDENT)),
        (true, Some(vpc)) => Some(Incident::new(&world, vpc, midnight(args.day))),
        (false, _) => None,
    };
    if args.names.is_none() {
        let names = serde_json::to_vec_pretty(&world.names()).context("cannot write names.json")?;
        write(&args.dest.join("names.json"), &names)?;
    }
    let written = Written::default();
    let (shown, all, began) = (written.clone(), u64::from(args.objects), Instant::now());
    let line = Line::show(move || shown.view(all, began.elapsed()));
    for number in 0..args.objects {
        let (key, object) = object(args, &world, incident.as_ref(), number).context("cannot compress")?;
        write(&args.dest.join(key), &object)?;
        written.add(object.len() as u64);
    }
    // Standard output may be the same terminal.
    drop(line);
    summary::print(&written.summary(args))?;
    if let Some(incident) = &incident {
        summary::print(&incident.description())?;
    }
    Ok(())
}

/// What is written.
#[derive(Clone, Debug, Default)]
struct Written(Arc<Mutex<Counts>>);

#[derive(Debug, Default)]
struct Counts {
    objects: u64,
    bytes: u64,
    rate: Rate,
}

impl Written {
    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, bytes: u64) {
        let mut counts = self.lock();
        counts.objects += 1;
        counts.bytes += bytes;
    }

    fn view(&self, all: u64, now: Duration) -> View {
        let mut counts = self.lock();
        let Counts { objects, bytes, rate } = &mut *counts;
        rate.add(now, *objects);
        View::share(*objects, all)
            .objects(*objects, all, 0)
            .remaining(rate.remaining(all - *objects))
            .part(rate.per_second().map(objects_per_second))
            .part(Some(HumanBytes(*bytes).to_string()))
    }

    fn summary(&self, args: &SynthArgs) -> String {
        let counts = self.lock();
        let dest = args.dest.display();
        let names = args.names.clone().unwrap_or_else(|| args.dest.join("names.json"));
        format!(
            "{} with {} each, {} in all\nobjects  {dest}/firehose/\nnames    {}\n",
            counted(counts.objects, "object", "objects"),
            counted(args.records.into(), "record", "records"),
            HumanBytes(counts.bytes),
            names.display()
        )
    }
}

/// Returns one object: envelopes of several log streams, each in a gzip member.
fn object(
    args: &SynthArgs,
    world: &World,
    incident: Option<&Incident<'_>>,
    number: u32,
) -> io::Result<(String, Vec<u8>)> {
    // Each object has its own random stream, so it does not depend on the others.
    let mut random = ChaCha8Rng::seed_from_u64(args.seed);
    random.set_stream(u64::from(number) + 1);
    let (begin, seconds) = interval(args.day, number, args.objects);
    let key = key(args.day, begin, &mut random);

    let mut object = Vec::new();
    if number.is_multiple_of(CONTROL_EVERY) {
        object.extend(member(&control_envelope(begin, &mut random))?);
    }
    let size = (args.records / ENVELOPES).clamp(1, ENVELOPE_EVENTS);
    let mut remaining = args.records;
    while remaining > 0 {
        let events = remaining.min(size);
        let mut traffic = Traffic::new(world, begin, seconds, args.malformed / 100.0, &mut random);
        object.extend(member(&traffic.envelope(events))?);
        remaining -= events;
    }
    for envelope in incident.into_iter().flat_map(|incident| incident.envelopes(begin, seconds)) {
        object.extend(member(&envelope)?);
    }
    Ok((key, object))
}

/// Returns the Unix second at which an object's records begin, and the number of seconds that it covers.
fn interval(day: Date, number: u32, objects: u32) -> (i64, i64) {
    const DAY: i64 = 86_400;
    let midnight = midnight(day);
    let seconds = (DAY / i64::from(objects)).max(1);
    (midnight + DAY * i64::from(number) / i64::from(objects), seconds)
}

fn midnight(day: Date) -> i64 {
    day.to_zoned(TimeZone::UTC).map_or(0, |time| time.timestamp().as_second())
}

/// Returns a key as Firehose names objects: `<prefix>YYYY/MM/dd/HH/<stream>-<version>-<date>-<uuid>`.
fn key(day: Date, begin: i64, random: &mut ChaCha8Rng) -> String {
    let midnight = day.to_datetime(jiff::civil::Time::midnight());
    let time = midnight.checked_add(begin.rem_euclid(86_400).seconds()).unwrap_or(midnight);
    let digits: String =
        (0..32).map(|_| char::from(b"0123456789abcdef"[random.random_range(0..16)])).collect();
    let path = time.strftime("firehose/%Y/%m/%d/%H/flowherd-sample-1-%Y-%m-%d-%H-%M-%S");
    let uuid = [&digits[..8], &digits[8..12], "4", &digits[13..16], "8", &digits[17..20], &digits[20..]];
    let [first, second, version, third, variant, fourth, last] = uuid;
    format!("{path}-{first}-{second}-{version}{third}-{variant}{fourth}-{last}")
}

fn member(text: &str) -> io::Result<Vec<u8>> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(text.as_bytes())?;
    gzip.finish()
}

fn control_envelope(begin: i64, random: &mut ChaCha8Rng) -> String {
    let id = traffic::event_id(random);
    format!(
        r#"{{"messageType":"CONTROL_MESSAGE","owner":"CloudwatchLogs","logGroup":"","logStream":"","subscriptionFilters":[],"logEvents":[{{"id":"{id}","timestamp":{begin}000,"message":"CWL CONTROL MESSAGE: Checking health of destination Firehose."}}]}}"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::render;

    #[test]
    fn the_line_of_a_sample_fits_60_80_and_200_columns() {
        let written = Written::default();
        for second in 0..=10 {
            (0..300).for_each(|_| written.add(1 << 20));
            written.view(17_280, Duration::from_secs(second));
        }
        let of = |width| render(&written.view(17_280, Duration::from_secs(10)), Some(width));
        assert_eq!(of(60), "19%  3,300/17,280 objects done  47 s remaining");
        assert_eq!(of(80), "[==>         ]  19%  3,300/17,280 objects done  47 s remaining  300 objects/s");
        assert_eq!(
            of(200),
            "[====>                   ]  19%  3,300/17,280 objects done  47 s remaining  300 objects/s  3.22 GiB"
        );
    }
}
