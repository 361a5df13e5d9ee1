//! Whole runs: commands and workers as processes.

use flowherd_shared::{
    queue::{NewMessage, Queue, QueueDepth},
    store::{Lister, Store},
};
use flowherd_tests::{
    command::Running,
    local_cloud::wait_until,
    objects::{APP_RULES, SPECIAL_KEYS, large_object},
    servers::Servers,
};

use super::{
    differences::differs,
    fleet::{Fleet, report, stop},
    place::PROGRAM,
};

pub(crate) fn outputs_below_and_above_the_part_size_equal_those_of_convert(servers: &Servers<'_>) {
    let fleet = Fleet::new(servers, "sizes", 6, 300);
    fleet.place.file("flowherd.toml", APP_RULES.as_bytes());
    let large = large_object();
    fleet.source.put("firehose/large", &large).unwrap();
    fleet.place.object("firehose/large", &large);
    let worker = fleet.worker();
    let ran = fleet.flowherd(&["run", "--prefix", "firehose/", "--run", "r", "--watch", "--json"]);
    stop(worker);
    assert_eq!((ran.status, &report(&ran)["state"]), (0, &"done".into()), "{ran:?}");
    fleet.check_same_as_convert(&report(&ran));
    assert!(fleet.outputs()["csv/app/firehose/large.csv.gz"].len() > 16 << 20);
    assert_eq!(fleet.queues.queue.depth().unwrap(), QueueDepth::default());

    // The other commands read the same ledger.
    let runs = fleet.flowherd(&["runs"]);
    assert!(runs.stdout.lines().any(|line| line.starts_with("r ") && line.contains(" done ")), "{runs:?}");
    assert_eq!(fleet.flowherd(&["status"]).status, 0);
    let again = fleet.flowherd(&["report", "r", "--json"]);
    assert_eq!((again.status, report(&again)), (0, report(&ran)));
}

pub(crate) fn keys_with_special_characters_are_converted(servers: &Servers<'_>) {
    let fleet = Fleet::new(servers, "keys", 1, 5);
    let plain = fleet.source.page("firehose/", None).unwrap().entries.remove(0).key;
    let object = Store::get(&fleet.source, &plain).unwrap().unwrap();
    // Ledger and output keys, which are longer, stay below 1024 bytes.
    let long = ["k"; 4].map(|part| part.repeat(220)).join("/");
    let keys = SPECIAL_KEYS.into_iter().chain([&*long]);
    let keys: Vec<&str> =
        keys.filter(|key| !differs(&servers.kind.to_string(), &format!("key {key:?}"))).collect();
    for key in &keys {
        fleet
            .source
            .put(&format!("special/{key}"), &object)
            .unwrap_or_else(|error| panic!("{key:?}: {error}"));
    }
    let worker = fleet.worker();
    let ran = fleet.flowherd(&["run", "--prefix", "special/", "--watch", "--json"]);
    stop(worker);
    assert_eq!((ran.status, &report(&ran)["objects"]["done"]), (0, &keys.len().into()), "{ran:?}");
    let local = fleet.place.report(&[
        "--prefix",
        "firehose/",
        "--names",
        fleet.place.path("in/names.json").to_str().unwrap(),
    ]);
    assert_eq!(local["objects"]["done"], 1);
    let converted = &fleet.place.results()[&format!("csv/vpc_flow/{plain}.csv.gz")];
    let outputs = fleet.outputs();
    for key in keys {
        let output = outputs.get(&format!("csv/vpc_flow/special/{key}.csv.gz"));
        assert!(output == Some(converted), "{key:?}");
    }
}

pub(crate) fn failed_objects_are_done_after_repair_and_a_redrive_by_sqs(servers: &Servers<'_>) {
    let fleet = Fleet::new(servers, "redrive", 6, 50);
    let entries = fleet.source.page("firehose/", None).unwrap().entries;
    let objects: Vec<(&str, Vec<u8>)> = entries
        .iter()
        .map(|entry| (&*entry.key, Store::get(&fleet.source, &entry.key).unwrap().unwrap()))
        .collect();
    let (damaged, whole) = &objects[0];
    fleet.source.put(damaged, &whole[..whole.len() - 5]).unwrap();
    let ran = fleet.flowherd(&["run", "--prefix", "firehose/", "--run", "r"]);
    assert_eq!(ran.status, 0, "{ran:?}");
    fleet.source.remove(objects[1].0).unwrap();
    let no_task = NewMessage {
        body: "no task".to_owned(),
        group: "no-task".to_owned(),
        deduplication: "no-task".to_owned(),
    };
    assert_eq!(fleet.queues.queue.send(&[no_task]).unwrap(), []);
    let worker = fleet.worker();
    wait_until("three dead-letter messages", || fleet.queues.dead.depth().unwrap().visible == 3);
    wait_until("the other objects are done", || fleet.results_below("runs/r/receipts/").len() == 4);
    let ran = fleet.flowherd(&["report", "r", "--json"]);
    assert_eq!((ran.status, &report(&ran)["objects"]["failed"]), (1, &2.into()), "{ran:?}");
    let failures = report(&ran)["failures"].to_string();
    assert!(failures.contains("truncated") && failures.contains("no longer exists"), "{failures}");

    for (key, object) in &objects[..2] {
        fleet.source.put(key, object).unwrap();
    }
    // The checks must not report before the move task ends, because the queue is empty until then.
    let environment = fleet.environment_with("FLOWHERD_SETTLE_SECONDS", "60");
    let redrive = Running::start_in(PROGRAM, environment, ["redrive", "--watch", "--json"]);
    wait_until("SQS has completed the task", || {
        servers.sqs.move_tasks(&fleet.queues.dead_arn) == ["COMPLETED"]
    });
    if differs("ElasticMQ", "a move task moves the messages of a FIFO queue") {
        servers.sqs.redrive(&fleet.queues, 3);
    }
    let ran = redrive.output();
    assert_eq!((ran.status, &report(&ran)["state"]), (0, &"done".into()), "{ran:?}");
    fleet.check_same_as_convert(&report(&ran));
    wait_until("only the message that is not a task is a dead-letter message again", || {
        fleet.queues.dead.depth().unwrap().visible == 1
    });
    stop(worker);
}

pub(crate) fn another_worker_finishes_the_objects_of_a_killed_one(servers: &Servers<'_>) {
    let fleet = Fleet::new(servers, "killed", 120, 60);
    let run = fleet.start(&["run", "--prefix", "firehose/", "--run", "r", "--watch", "--json"]);
    let (mut killed, other) = (fleet.worker(), fleet.worker());
    wait_until("some objects are done", || fleet.results_below("runs/r/receipts/").len() >= 15);
    killed.signal("KILL");
    killed.wait();
    let ran = run.output();
    assert_eq!((ran.status, &report(&ran)["state"]), (0, &"done".into()), "{ran:?}");
    stop(other);
    fleet.check_same_as_convert(&report(&ran));
    assert_eq!(fleet.queues.dead.depth().unwrap(), QueueDepth::default());
}

pub(crate) fn a_prefix_is_run_again_after_a_purge(servers: &Servers<'_>) {
    let fleet = Fleet::new(servers, "again", 3, 20);
    let ran = fleet.flowherd(&["run", "--prefix", "firehose/", "--run", "first"]);
    assert_eq!(ran.status, 0, "{ran:?}");
    let refused = fleet.flowherd(&["rerun", "--prefix", "elsewhere/"]);
    assert!(refused.status == 2 && refused.stderr.contains("first"), "{refused:?}");
    let worker = fleet.worker();
    let ran = fleet.flowherd(&["rerun", "--prefix", "firehose/", "--watch", "--json"]);
    stop(worker);
    assert_eq!((ran.status, &report(&ran)["objects"]["done"]), (0, &3.into()), "{ran:?}");
    fleet.check_same_as_convert(&report(&ran));
}
