//! Athena's API: starts a query, waits for it, reads its result page by page, and lists tables.

use std::{thread, time::Duration};

use anyhow::{Context, anyhow};
use aws_sdk_athena::{
    Client,
    types::{
        QueryExecutionContext, QueryExecutionState, QueryExecutionStatistics, ResultSet, ResultSetMetadata,
        Row, TableMetadata,
    },
};
use flowherd_aws::Aws;
use indicatif::HumanBytes;

use crate::{fleet::patience::Patience, progress::StageLine, stop::Stop};

/// The catalog of Glue's Data Catalog.
const CATALOG: &str = "AwsDataCatalog";
/// Types of numbers.
const NUMBERS: [&str; 8] = ["tinyint", "smallint", "integer", "bigint", "double", "float", "real", "decimal"];

/// Values of one row; `None` is null.
pub(super) type Values = Vec<Option<String>>;

/// A workgroup and a database.
pub(super) struct Athena<'a> {
    aws: &'a Aws,
    client: Client,
    database: String,
    workgroup: String,
}

/// A column of a result.
#[derive(Clone, Debug)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) is_number: bool,
}

impl<'a> Athena<'a> {
    pub(super) fn new(aws: &'a Aws, database: String, workgroup: String) -> Self {
        Self { aws, client: Client::new(aws.config()), database, workgroup }
    }

    pub(super) fn start(&self, sql: &str) -> Result<String, Stop> {
        let database = QueryExecutionContext::builder().database(&self.database).build();
        let request = self.client.start_query_execution().query_string(sql).work_group(&self.workgroup);
        let request = request.query_execution_context(database).send();
        let answer = self.aws.handle().block_on(request).map_err(anyhow::Error::new);
        let id = answer.context("Athena refuses the statement")?.query_execution_id;
        Ok(id.context("Athena returns no query id")?)
    }

    /// Waits until the query ends and shows its progress. Returns the number of scanned bytes.
    pub(super) fn wait(&self, id: &str, progress: &StageLine, patience: &Patience) -> Result<u64, Stop> {
        for turn in 0_u64.. {
            let request = self.client.get_query_execution().query_execution_id(id).send();
            let ask = || self.aws.handle().block_on(request).map_err(anyhow::Error::new);
            let answer = patience.during(format!("the state of query {id}"), ask);
            let query = answer
                .context("cannot get the state of the query")?
                .query_execution
                .context("Athena does not know the query")?;
            let scanned = query.statistics().and_then(QueryExecutionStatistics::data_scanned_in_bytes);
            let scanned = scanned.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or_default();
            let status = query.status();
            match status.and_then(|status| status.state()) {
                Some(QueryExecutionState::Succeeded) => return Ok(scanned),
                Some(QueryExecutionState::Failed | QueryExecutionState::Cancelled) => {
                    let why =
                        status.and_then(|status| status.state_change_reason()).unwrap_or("no reason given");
                    // Errors are one line.
                    let why = why.split_whitespace().collect::<Vec<_>>().join(" ");
                    return Err(anyhow!(why).context(format!("query {id} failed")).into());
                }
                state => {
                    let state = state.map_or("sent", QueryExecutionState::as_str).to_ascii_lowercase();
                    progress.set(format!("query {id}: {state}, {} scanned", HumanBytes(scanned)));
                    thread::sleep(Duration::from_millis((100 * (turn + 1)).min(2000)));
                }
            }
        }
        Err(anyhow!("query {id} never ended").into())
    }

    /// Passes the columns and each page of rows to `take`, until it returns false.
    pub(super) fn answer(
        &self,
        id: &str,
        mut take: impl FnMut(&[Column], Vec<Values>) -> Result<bool, Stop>,
    ) -> Result<(), Stop> {
        let (mut token, mut is_first) = (None, true);
        loop {
            let request = self.client.get_query_results().query_execution_id(id).set_next_token(token);
            let answer = self.aws.handle().block_on(request.send()).map_err(anyhow::Error::new);
            let answer = answer.context("cannot read the result of the query")?;
            let set = answer.result_set();
            let columns = columns(set);
            let mut rows: Vec<Values> = set.into_iter().flat_map(ResultSet::rows).map(values).collect();
            // The result of a SELECT begins with the names of its columns. That of a DDL statement does not.
            let is_head = |row: &Values| {
                row.iter().map(Option::as_deref).eq(columns.iter().map(|column| Some(&*column.name)))
            };
            if is_first && rows.first().is_some_and(is_head) {
                rows.remove(0);
            }
            is_first = false;
            let should_continue = take(&columns, rows)?;
            token = answer.next_token;
            if token.is_none() || !should_continue {
                return Ok(());
            }
        }
    }

    /// Lists the tables and views of the database.
    pub(super) fn tables(&self) -> Result<Vec<TableMetadata>, Stop> {
        let (mut tables, mut token) = (Vec::new(), None);
        loop {
            let request =
                self.client.list_table_metadata().catalog_name(CATALOG).database_name(&self.database);
            let request = request.work_group(&self.workgroup).set_next_token(token);
            let answer = self.aws.handle().block_on(request.send()).map_err(anyhow::Error::new);
            let answer = answer.with_context(|| format!("cannot list the tables of {}", self.database))?;
            tables.extend(answer.table_metadata_list.unwrap_or_default());
            token = answer.next_token;
            if token.is_none() {
                return Ok(tables);
            }
        }
    }
}

fn columns(set: Option<&ResultSet>) -> Vec<Column> {
    let metadata = set.and_then(ResultSet::result_set_metadata);
    let columns = metadata.into_iter().flat_map(ResultSetMetadata::column_info);
    columns
        .map(|column| Column {
            name: column.label().unwrap_or_else(|| column.name()).to_owned(),
            is_number: NUMBERS.contains(&column.r#type()),
        })
        .collect()
}

fn values(row: &Row) -> Values {
    row.data().iter().map(|datum| datum.var_char_value().map(str::to_owned)).collect()
}
