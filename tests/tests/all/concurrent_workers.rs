//! Two workers that process the same object at the same time.

use std::{ops::ControlFlow, sync::Arc, time::Duration};

use flowherd_shared::{
    ledger::{ReportState, layout},
    queue::Queue,
    task::Task,
};
use flowherd_worker::handler::Disposition;

use super::{delivery::counts, fleet::Fleet};

#[test]
fn two_workers_on_one_object_leave_a_valid_receipt() {
    let fleet = Arc::new(Fleet::new(1));
    fleet.store.version_each_write();
    let step = fleet.plan("r", "");
    let receive = || fleet.queue.receive(1, Duration::ZERO).unwrap().remove(0);
    let first = receive();
    // The visibility timeout ends during the work. One worker has committed its outputs and is about to write its receipt.
    // Meanwhile the other worker processes the whole object.
    fleet.queue.change_visibility(&first.handle, Duration::ZERO).unwrap();
    let second = receive();
    let key = Task::parse(&first.body).unwrap().object.key;
    let other = Arc::clone(&fleet);
    fleet.store.before(layout::receipt("r", &key), move || {
        let answer = other.handler(&other.source).single(&first, &|| ControlFlow::Continue(()));
        assert_eq!(answer, Some(Disposition::Ack));
    });
    fleet.handler(&fleet.source).single(&second, &|| ControlFlow::Continue(()));
    assert_eq!(counts(&fleet.finish(step)), (ReportState::Done, 1, 0, 0));
}

#[test]
fn a_worker_suspended_past_its_visibility_timeout_checks_the_outputs_again() {
    let fleet = Arc::new(Fleet::new(1));
    fleet.store.version_each_write();
    let step = fleet.plan("r", "");
    let first = fleet.queue.receive(1, Duration::ZERO).unwrap().remove(0);
    let key = Task::parse(&first.body).unwrap().object.key;
    // The worker has committed its outputs and is about to write its receipt when its machine is suspended. Meanwhile another
    // worker processes the object and deletes the message.
    let other = Arc::clone(&fleet);
    fleet.store.before(layout::receipt("r", &key), move || {
        other.queue.advance(other.settings.visibility);
        other.drain(1);
    });
    let mut handler = fleet.handler(&fleet.source);
    let clock = || jiff::Timestamp::UNIX_EPOCH + fleet.queue.now();
    handler.clock = &clock;
    handler.single(&first, &|| ControlFlow::Continue(()));
    assert_eq!(fleet.queue.bodies().len(), 0);
    assert_eq!(counts(&fleet.finish(step)), (ReportState::Done, 1, 0, 0));
}
