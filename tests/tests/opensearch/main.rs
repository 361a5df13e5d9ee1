//! The indexer on a real node of OpenSearch. Run it with `make test-opensearch`, which installs the node.
//! `cargo test --test opensearch -- WORD` runs the checks whose names contain the word.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod commands;
mod faults;
mod fleet;
mod indexing;
mod mappings;
mod processes;
mod removal;
mod rows;
mod session;
mod templates;
mod verify;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitCode,
    time::Instant,
};

use flowherd_tests::search_node::SearchNode;

use self::session::Session;

/// A check on the node that most checks share, and its name.
type Check = (&'static str, fn(&Session));

macro_rules! checks {
    ($name:ident: $kind:ty: $($module:ident::$check:ident),* $(,)?) => {
        const $name: &[$kind] = &[$((stringify!($check), $module::$check)),*];
    };
}

checks![SHARED: Check:
    templates::the_version_of_the_node_is_supported,
    templates::a_template_is_installed_once_and_a_repeated_installation_changes_nothing,
    templates::an_older_template_is_replaced,
    templates::a_newer_template_is_refused_and_stays,
    templates::a_foreign_template_is_refused_and_stays,
    templates::a_foreign_index_under_the_names_of_a_table_is_refused,
    templates::a_template_with_a_higher_priority_is_reported,
    templates::a_new_column_is_added_to_indices_that_exist,
    templates::a_column_with_another_type_is_refused_with_the_name_of_the_index,
    templates::a_data_stream_is_created_and_accepts_new_documents_only,
    templates::an_index_with_a_name_of_its_own_is_created_once,
    mappings::documents_are_found_by_address_range_time_and_number,
    mappings::values_that_do_not_fit_their_type_and_unknown_fields_are_refused,
    mappings::a_column_declared_as_address_is_found_by_network_and_refuses_other_values,
    mappings::a_long_text_is_kept_but_not_searchable,
    mappings::a_repeated_document_exists,
    mappings::a_table_with_the_maximum_of_columns_has_a_template,
    indexing::an_object_is_indexed_once_and_a_repetition_adds_nothing,
    indexing::a_mapping_conflict_is_named_and_the_other_rows_are_indexed,
    indexing::rows_go_to_the_index_of_their_own_day,
    indexing::a_data_stream_has_each_row_once_until_it_is_rolled_over,
    indexing::flow_logs_are_indexed_under_the_names_of_the_common_schema,
    verify::counts_of_the_cluster_agree_with_the_ledger,
    verify::a_deleted_document_is_noticed,
    verify::an_exchanged_document_is_noticed,
    verify::an_index_that_is_not_there_has_no_documents,
    removal::an_index_of_flowherd_is_removed_after_a_plan,
    removal::a_pattern_with_a_foreign_index_removes_nothing,
    removal::a_data_stream_is_removed_as_a_whole,
    removal::names_without_an_index_and_invalid_names_are_refused,
    commands::commands_index_verify_and_drop_the_tables_of_a_resumed_run,
];

// Checks that start their own node.
checks![ALONE: (&str, fn()):
    faults::requests_that_the_node_refuses_for_memory_are_sent_again,
    faults::documents_that_the_node_has_no_queue_for_are_sent_again,
    faults::a_request_that_is_too_large_is_halved,
    faults::a_node_that_is_killed_and_started_again_has_every_row_once,
    faults::three_indexers_with_abandoned_attempts_and_a_killed_node_leave_every_row_once,
    processes::worker_processes_that_are_killed_and_a_node_that_is_restarted_leave_every_row_once,
];

fn main() -> ExitCode {
    // Arguments that begin with dashes come from Cargo.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let is_chosen = |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word));
    let mut results = Vec::new();
    if SHARED.iter().any(|(name, _)| is_chosen(name)) {
        let node = SearchNode::start(&[]);
        let session = Session::new(&node);
        for (name, check) in SHARED.iter().filter(|(name, _)| is_chosen(name)) {
            results.push(run(name, || check(&session)));
        }
    }
    for (name, check) in ALONE.iter().filter(|(name, _)| is_chosen(name)) {
        results.push(run(name, check));
    }
    let failed = results.iter().filter(|passed| !**passed).count();
    println!("{} passed, {failed} failed", results.len() - failed);
    if failed == 0 && !results.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs a check; returns whether it passed.
fn run(name: &str, check: impl FnOnce()) -> bool {
    let begin = Instant::now();
    let passed = catch_unwind(AssertUnwindSafe(check)).is_ok();
    let verdict = if passed { "ok" } else { "FAILED" };
    println!("{name} ... {verdict} ({:.1} s)", begin.elapsed().as_secs_f32());
    passed
}
