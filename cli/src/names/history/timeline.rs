//! The names of each resource at its times, from its changes.

use std::collections::{BTreeMap, BTreeSet};

use flowherd_aws::ec2::InterfaceNames;

use super::changes::{Change, Changes, Kind, State, Timed};

/// The names of one interface, subnet or VPC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Timeline {
    pub(super) subnet_id: Option<String>,
    pub(super) vpc_id: Option<String>,
    /// When it is known first, and last.
    pub(super) first: i64,
    pub(super) last: i64,
    /// In order. Only the last one may have no end.
    pub(super) segments: Vec<Segment>,
}

/// A name during a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) from: i64,
    pub(super) until: Option<i64>,
    pub(super) name: String,
    pub(super) is_provisional: bool,
    pub(super) cidrs: Vec<String>,
    pub(super) source: String,
}

/// The timelines of a section, by id.
pub(super) type Timelines = BTreeMap<String, Timeline>;

/// The state of a resource from a time on; `None` after its deletion.
type States = Vec<(i64, Option<State>)>;

/// A name from a time on; `None` without a tag.
type Tags = Vec<(i64, Option<String>)>;

/// Returns the timelines of subnets or VPCs.
pub(super) fn networks(changes: &Changes, kind: Kind) -> Timelines {
    let timeline = |(id, changes): (&str, &BTreeSet<Timed>)| {
        let states = states(changes);
        let segments = segments(&states, |state, _| (state.tag.clone().unwrap_or_default(), false));
        Some((id.to_owned(), timeline(&states, segments)?))
    };
    changes.of(kind).filter_map(timeline).collect()
}

/// Returns the timelines of interfaces. Their names depend on instances and gateways.
pub(super) fn interfaces(changes: &Changes) -> Timelines {
    let owners = Owners::new(changes);
    let ends = ends_of_attachments(changes);
    let timeline = |(id, changes): (&str, &BTreeSet<Timed>)| {
        let ended = changes.iter().filter_map(attachment).filter_map(|id| ends.get(id)).copied().flatten();
        let mut all: BTreeSet<Timed> = ended.cloned().collect();
        all.extend(changes.iter().cloned());
        let mut states = states(&all);
        owners.end_with_instance(&mut states);
        owners.add_breaks(id, &mut states);
        let segments = segments(&states, |state, at| owners.name(id, state, at));
        Some((id.to_owned(), timeline(&states, segments)?))
    };
    changes.of(Kind::Interface).filter_map(timeline).collect()
}

/// Returns the changes that ended each attachment, by its id.
fn ends_of_attachments(changes: &Changes) -> BTreeMap<&str, &BTreeSet<Timed>> {
    changes.of(Kind::Attachment).collect()
}

/// Returns the id of the attachment that a change of an interface reports.
fn attachment((_, change, _): &Timed) -> Option<&str> {
    match change {
        Change::Seen(state) => state.attachment.as_deref(),
        Change::Attached(_, attachment) => attachment.as_deref(),
        Change::Detached(_) | Change::Tagged(_) | Change::Deleted => None,
    }
}

/// Returns the state after each time at which something changed.
fn states(changes: &BTreeSet<Timed>) -> States {
    let mut states: States = Vec::new();
    let mut last: Option<State> = None;
    let mut ended: BTreeSet<&str> = BTreeSet::new();
    for (at, change, source) in changes {
        let unknown = || State { is_partial: true, ..State::default() };
        let mut state = last.clone().unwrap_or_else(unknown);
        if state.source.is_empty() {
            source.as_ref().clone_into(&mut state.source);
        }
        let is_deleted = match change {
            Change::Seen(seen) => {
                state = State::clone(seen);
                // After the event, AWS Config may still record the attachment as `detaching`:
                // https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_NetworkInterfaceAttachment.html
                if state.attachment.as_deref().is_some_and(|id| ended.contains(id)) {
                    state.detach();
                }
                false
            }
            Change::Attached(instance, attachment) => {
                state.instance = Some(instance.as_ref().to_owned());
                state.attachment.clone_from(attachment);
                // Only instances' own interfaces are deleted with them by default:
                // https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_AttachNetworkInterface.html
                state.ends_with_instance = false;
                false
            }
            Change::Detached(attachment) => {
                ended.insert(&**attachment);
                let is_deleted = states.last().is_some_and(|(_, state)| state.is_none());
                // The interface may already have another attachment.
                if is_deleted || state.attachment.as_ref() != Some(attachment) {
                    continue;
                }
                state.detach();
                false
            }
            Change::Tagged(name) => {
                state.tag = name.as_deref().map(str::to_owned);
                false
            }
            Change::Deleted => true,
        };
        let now = (!is_deleted).then(|| state.clone());
        last = Some(state);
        match states.last_mut() {
            Some((time, at_time)) if time == at => *at_time = now,
            _ => states.push((*at, now)),
        }
    }
    states
}

/// Returns the names of the states, without repetitions. `name` returns the name at a time, and whether it is provisional.
fn segments(states: &States, name: impl Fn(&State, i64) -> (String, bool)) -> Vec<Segment> {
    let created = states.iter().filter_map(|(_, state)| state.as_ref()?.created).min();
    let mut segments: Vec<Segment> = Vec::new();
    for (number, (at, state)) in states.iter().enumerate() {
        let Some(state) = state else { continue };
        let (name, is_provisional) = name(state, *at);
        let until = states.get(number + 1).map(|(at, _)| *at);
        let (cidrs, source) = (state.cidrs.clone(), state.source.clone());
        let segment = Segment { from: *at, until, name, is_provisional, cidrs, source };
        match segments.last_mut() {
            Some(last) if last.until == Some(segment.from) && last.is_like(&segment) => {
                last.until = segment.until;
            }
            _ => segments.push(segment),
        }
    }
    if let (Some(first), Some(created)) = (segments.first_mut(), created) {
        first.from = first.from.min(created);
    }
    segments
}

fn timeline(states: &States, segments: Vec<Segment>) -> Option<Timeline> {
    let known = || states.iter().filter_map(|(_, state)| state.as_ref());
    let last = states.last()?.0;
    Some(Timeline {
        // An id keeps its subnet and its VPC.
        subnet_id: known().find_map(|state| state.subnet_id.clone()),
        vpc_id: known().find_map(|state| state.vpc_id.clone()),
        first: segments.first().map_or(last, |segment| segment.from),
        last,
        segments,
    })
}

impl Segment {
    fn is_like(&self, other: &Self) -> bool {
        self.name == other.name
            && self.is_provisional == other.is_provisional
            && self.cidrs == other.cidrs
            && self.source == other.source
    }
}

/// What gives names to interfaces.
struct Owners {
    /// The tags of each instance, and when it was terminated.
    instances: BTreeMap<String, (Tags, Option<i64>)>,
    /// The names of the gateway of each interface.
    gateways: BTreeMap<String, Tags>,
}

impl Owners {
    fn new(changes: &Changes) -> Self {
        let instance = |(id, changes): (&str, &BTreeSet<Timed>)| {
            let states = states(changes);
            let terminated = states.last().filter(|(_, state)| state.is_none()).map(|(at, _)| *at);
            let tags = states.into_iter().filter_map(|(at, state)| Some((at, state?.tag))).collect();
            (id.to_owned(), (tags, terminated))
        };
        let mut gateways: BTreeMap<String, Tags> = BTreeMap::new();
        for (_, changes) in changes.of(Kind::Gateway) {
            for (at, state) in states(changes) {
                let Some(state) = state else { continue };
                let name = state.tag.unwrap_or(state.description);
                for interface in state.interfaces {
                    gateways.entry(interface).or_default().push((at, Some(name.clone())));
                }
            }
        }
        gateways.values_mut().for_each(|names| names.sort());
        Self { instances: changes.of(Kind::Instance).map(instance).collect(), gateways }
    }

    /// Ends an interface with its instance. EC2 deletes such interfaces itself, so CloudTrail has no event of it. AWS Config
    /// records the deletion, which then follows.
    fn end_with_instance(&self, states: &mut States) {
        let Some((at, Some(state))) = states.last() else { return };
        let instance = state.instance.as_ref().filter(|_| state.ends_with_instance);
        let terminated = instance.and_then(|id| self.instances.get(id)?.1);
        if let Some(terminated) = terminated.filter(|terminated| terminated > at) {
            states.push((terminated, None));
        }
    }

    /// Repeats the state of an interface at each time at which its instance or gateway got another name.
    fn add_breaks(&self, id: &str, states: &mut States) {
        let mut breaks: States = Vec::new();
        for (number, (from, state)) in states.iter().enumerate() {
            let Some(state) = state else { continue };
            let until = states.get(number + 1).map_or(i64::MAX, |(until, _)| *until);
            let instance =
                state.instance.as_ref().and_then(|id| self.instances.get(id)).map(|(tags, _)| tags);
            let times = [instance, self.gateways.get(id)].into_iter().flatten().flatten().map(|(at, _)| *at);
            let within = times.filter(|at| from < at && *at < until);
            breaks.extend(within.map(|at| (at, Some(state.clone()))));
        }
        states.extend(breaks);
        states.sort_by_key(|(at, _)| *at);
        states.dedup_by_key(|(at, _)| *at);
    }

    fn name(&self, id: &str, state: &State, at: i64) -> (String, bool) {
        let instance = state.instance.as_deref();
        let known = instance.and_then(|id| self.instances.get(id)).filter(|(tags, _)| !tags.is_empty());
        let gateway = self.gateways.get(id).and_then(|names| name_at(names, at));
        let names = InterfaceNames {
            tag: state.tag.as_deref(),
            description: &state.description,
            kind: &state.interface_kind,
            instance,
            instance_tag: known.map(|(tags, _)| name_at(tags, at)),
            gateway,
            lacks_gateways: false,
        };
        let (name, is_provisional) = names.resolve();
        // Its own description is not in the files.
        let is_unknown = state.is_partial && state.tag.is_none() && instance.is_none() && gateway.is_none();
        (name, is_provisional || is_unknown)
    }
}

/// Returns the name at a time; before the first one, the first one.
fn name_at(names: &Tags, at: i64) -> Option<&str> {
    let last = names.iter().rev().find(|(from, _)| *from <= at).or_else(|| names.first());
    last.and_then(|(_, name)| name.as_deref())
}
