//! What the files report about each resource, at its times.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
};

/// Maximum different changes of all resources. They are in memory, with about 200 bytes each.
pub(super) const MAX_CHANGES: usize = 2_000_000;

/// A kind of resource that has a name, or gives one to network interfaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Interface,
    Subnet,
    Vpc,
    Instance,
    /// A NAT gateway or a VPC endpoint.
    Gateway,
    /// The attachment of an interface to an instance. Only its end has its id alone.
    Attachment,
}

/// A resource at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct State {
    /// Account and region that own it.
    pub(super) source: String,
    /// Its `Name` tag.
    pub(super) tag: Option<String>,
    /// Of an interface: its description. Of a gateway: its name without a tag.
    pub(super) description: String,
    /// Type of an interface.
    pub(super) interface_kind: String,
    /// The instance to which an interface is attached.
    pub(super) instance: Option<String>,
    /// The id of this attachment.
    pub(super) attachment: Option<Arc<str>>,
    /// Whether the files do not have the resource itself so far, only changes of it.
    pub(super) is_partial: bool,
    /// Whether an interface ends with its instance.
    pub(super) ends_with_instance: bool,
    pub(super) subnet_id: Option<String>,
    pub(super) vpc_id: Option<String>,
    pub(super) cidrs: Vec<String>,
    /// The interfaces of a gateway.
    pub(super) interfaces: Vec<String>,
    /// When it was created, in milliseconds since 1970.
    pub(super) created: Option<i64>,
}

impl State {
    /// Ends the attachment of an interface.
    pub(super) fn detach(&mut self) {
        (self.instance, self.attachment) = (None, None);
        self.ends_with_instance = false;
    }
}

/// What happened to a resource. Of several changes at the same time, the last one in this order applies last.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Change {
    /// The whole resource was recorded.
    Seen(Arc<State>),
    /// An interface was attached to this instance, by an attachment with this id if the event has it.
    Attached(Arc<str>, Option<Arc<str>>),
    /// The attachment with this id ended.
    Detached(Arc<str>),
    /// Its `Name` tag was set, or removed.
    Tagged(Option<Arc<str>>),
    Deleted,
}

/// A change of one resource, as a file reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Report {
    pub(super) kind: Kind,
    pub(super) id: String,
    /// Milliseconds since 1970.
    pub(super) at_ms: i64,
    /// Account and region in which it happened.
    pub(super) source: Arc<str>,
    pub(super) change: Change,
}

/// A change at its time, with the account and region in which it happened.
pub(super) type Timed = (i64, Change, Arc<str>);

/// The changes of all resources. Their order and repetitions in the files do not matter.
#[derive(Debug, Default)]
pub(super) struct Changes {
    resources: BTreeMap<(Kind, String), BTreeSet<Timed>>,
    /// AWS Config records a resource again when only its addresses or security groups change, so most states repeat.
    states: HashSet<Arc<State>>,
    sources: HashSet<Arc<str>>,
    count: usize,
}

impl Changes {
    pub(super) fn add(&mut self, report: Report) {
        let Report { kind, id, at_ms, source, change } = report;
        let change = match change {
            Change::Seen(state) => Change::Seen(interned(&mut self.states, state)),
            other => other,
        };
        let source = interned(&mut self.sources, source);
        if self.resources.entry((kind, id)).or_default().insert((at_ms, change, source)) {
            self.count += 1;
        }
    }

    /// Returns whether there are more changes than the limit.
    pub(super) fn exceed(&self, limit: usize) -> bool {
        self.count > limit
    }

    /// Returns the resources of a kind, sorted by id.
    pub(super) fn of(&self, kind: Kind) -> impl Iterator<Item = (&str, &BTreeSet<Timed>)> {
        let all = self.resources.iter().filter(move |((of, _), _)| *of == kind);
        all.map(|((_, id), changes)| (&**id, changes))
    }
}

/// Returns the value that the set has already, or adds it.
fn interned<T: ?Sized + Eq + std::hash::Hash>(set: &mut HashSet<Arc<T>>, value: Arc<T>) -> Arc<T> {
    if let Some(known) = set.get(&value) {
        return Arc::clone(known);
    }
    set.insert(Arc::clone(&value));
    value
}
