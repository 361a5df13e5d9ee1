//! `flowherd query`: a statement for Athena, and its answer as a table.

use std::{thread, time::Duration};

use anyhow::{Context, anyhow};
use aws_sdk_athena::{
    Client,
    types::{
        QueryExecution, QueryExecutionContext, QueryExecutionState, QueryExecutionStatistics, ResultSet, Row,
    },
};
use flowherd_aws::{Aws, io_error};
use indicatif::{HumanBytes, ProgressBar};

use super::{json, stack};
use crate::{
    Stop,
    args::QueryArgs,
    summary::{self, columns, tell},
};

/// Dollars for each byte scanned, in us-east-1 (<https://aws.amazon.com/athena/pricing/>): 5 a terabyte, and 10 MB at
/// least.
const DOLLARS_A_BYTE: f64 = 5.0 / 1e12;
const LEAST_BYTES: u64 = 10 << 20;

/// Runs the statement, waits, and prints what it gives.
pub(crate) fn query(args: &QueryArgs) -> Result<(), Stop> {
    let aws = Aws::connect().context("cannot start the runtime")?;
    let stack = stack::outputs(&aws, &args.fleet)?;
    let athena = Athena { aws: &aws, client: Client::new(aws.config()) };
    let id = athena.start(&args.sql, &stack.needed("Database")?, &stack.needed("Workgroup")?)?;
    let progress = ProgressBar::new_spinner().with_message(format!("query {id}"));
    progress.enable_steady_tick(Duration::from_millis(200));
    let ended = athena.wait(&id);
    progress.finish_and_clear();
    let scanned =
        ended?.statistics().and_then(QueryExecutionStatistics::data_scanned_in_bytes).unwrap_or_default();
    let scanned = u64::try_from(scanned).unwrap_or_default();
    let mut rows = athena.rows(&id)?.into_iter();
    let head = rows.next().unwrap_or_default();
    let rows: Vec<Vec<String>> = rows.collect();
    let text = if args.json {
        let object = |row: &Vec<String>| -> serde_json::Map<String, serde_json::Value> {
            head.iter().cloned().zip(row.iter().cloned().map(Into::into)).collect()
        };
        json(&rows.iter().map(object).collect::<Vec<_>>())?
    } else if args.csv {
        let mut writer = csv::Writer::from_writer(Vec::new());
        for row in std::iter::once(&head).chain(&rows) {
            writer.write_record(row).map_err(anyhow::Error::new)?;
        }
        writer.flush().context("cannot write CSV")?;
        String::from_utf8_lossy(&writer.into_inner().map_err(|error| anyhow!("{error}"))?).into_owned()
    } else {
        // Numbers to the right, if nothing else is in the column.
        let is_number = |row: &Vec<String>| row.last().is_some_and(|value| value.parse::<f64>().is_ok());
        let numbers_from = if !rows.is_empty() && rows.iter().all(is_number) { 1 } else { head.len() };
        let head: Vec<&str> = head.iter().map(String::as_str).collect();
        columns(&head, rows.iter().cloned(), numbers_from)
    };
    summary::print(&text)?;
    let dollars = scanned.max(LEAST_BYTES) as f64 * DOLLARS_A_BYTE;
    tell(&format!("{} rows; {} scanned, about ${dollars:.5}", rows.len(), HumanBytes(scanned)));
    Ok(())
}

struct Athena<'a> {
    aws: &'a Aws,
    client: Client,
}

impl Athena<'_> {
    fn start(&self, sql: &str, database: &str, workgroup: &str) -> Result<String, Stop> {
        let database = QueryExecutionContext::builder().database(database).build();
        let request = self.client.start_query_execution().query_string(sql).work_group(workgroup);
        let request = request.query_execution_context(database).send();
        let answer = self.aws.handle().block_on(request).map_err(|error| anyhow!(io_error(&error)));
        let id = answer.context("Athena does not take the statement")?.query_execution_id;
        Ok(id.context("Athena gives the query no id")?)
    }

    fn wait(&self, id: &str) -> Result<QueryExecution, Stop> {
        for turn in 0_u64.. {
            let request = self.client.get_query_execution().query_execution_id(id).send();
            let answer = self.aws.handle().block_on(request).map_err(|error| anyhow!(io_error(&error)));
            let query =
                answer.context("cannot ask Athena")?.query_execution.context("Athena has lost the query")?;
            let status = query.status();
            match status.and_then(|status| status.state()) {
                Some(QueryExecutionState::Succeeded) => return Ok(query),
                Some(QueryExecutionState::Failed | QueryExecutionState::Cancelled) => {
                    let why =
                        status.and_then(|status| status.state_change_reason()).unwrap_or("no reason given");
                    return Err(anyhow!("{why}").context(format!("query {id} failed")).into());
                }
                _ => thread::sleep(Duration::from_millis((100 * (turn + 1)).min(2000))),
            }
        }
        Err(anyhow!("query {id} never ended").into())
    }

    /// The names of the columns, and then the rows.
    fn rows(&self, id: &str) -> Result<Vec<Vec<String>>, Stop> {
        let (mut rows, mut token) = (Vec::new(), None);
        loop {
            let request = self.client.get_query_results().query_execution_id(id).set_next_token(token);
            let answer =
                self.aws.handle().block_on(request.send()).map_err(|error| anyhow!(io_error(&error)));
            let answer = answer.context("cannot read the answer")?;
            let values = |row: &Row| -> Vec<String> {
                row.data().iter().map(|datum| datum.var_char_value().unwrap_or_default().to_owned()).collect()
            };
            rows.extend(answer.result_set().into_iter().flat_map(ResultSet::rows).map(values));
            token = answer.next_token;
            if token.is_none() {
                return Ok(rows);
            }
        }
    }
}
