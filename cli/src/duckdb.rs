//! Runs statements in `DuckDB`: with its program, or with its package for Python.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    process::{Command, Stdio},
    thread,
};

use anyhow::{Context, anyhow};
use tempfile::NamedTempFile;

use crate::{query::schema::DUCKDB_MAJOR, stop::Stop};

/// Prints the version of the package, or runs the statements of a file. An error is its first line.
const PYTHON: &str = "import sys
# Not the modules of the working directory.
sys.path = [path for path in sys.path if path]
import duckdb
if len(sys.argv) < 2:
    print(duckdb.__version__)
else:
    try:
        duckdb.connect().execute(open(sys.argv[1], encoding='utf-8').read())
    except duckdb.Error as error:
        sys.exit(str(error))
";

/// A `DuckDB` of a version that can read the views.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Engine {
    /// The program `duckdb`.
    Program,
    /// The package `duckdb` of `python3`.
    Python,
}

/// The format of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// CSV with a header.
    Csv,
    /// One JSON object a line.
    Json,
}

impl Engine {
    /// Finds the program, or else the package.
    pub(crate) fn find() -> Result<Self, Stop> {
        let mut found = Vec::new();
        for engine in [Self::Program, Self::Python] {
            match engine.version()? {
                Some(version) if major(&version).is_some_and(|major| major >= DUCKDB_MAJOR) => {
                    return Ok(engine);
                }
                Some(version) => found.push(format!("{} has version {version}", engine.name())),
                None => found.push(format!("there is no {}", engine.name())),
            }
        }
        Err(Stop::usage(format!(
            "--local needs DuckDB {DUCKDB_MAJOR}.0 or later: {}. Install it from https://duckdb.org/docs/installation, or with \
             `pip install duckdb`",
            found.join(", and ")
        )))
    }

    fn name(self) -> &'static str {
        match self {
            Self::Program => "program duckdb",
            Self::Python => "package duckdb of python3",
        }
    }

    fn command(self) -> Command {
        match self {
            Self::Program => Command::new("duckdb"),
            Self::Python => {
                let mut command = Command::new("python3");
                command.args(["-c", PYTHON]);
                command
            }
        }
    }

    /// Returns the version; `None` without program or package.
    fn version(self) -> Result<Option<String>, Stop> {
        let mut command = self.command();
        if self == Self::Program {
            command.arg("-version");
        }
        match command.stdin(Stdio::null()).output() {
            Ok(output) if output.status.success() => {
                let text = String::from_utf8_lossy(&output.stdout);
                Ok(text.split_whitespace().next().map(str::to_owned))
            }
            Ok(_) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => {
                Err(anyhow::Error::new(error).context(format!("cannot run the {}", self.name())).into())
            }
        }
    }

    /// Runs `setup`, and then one query whose result `read` takes. Only a query runs: `DuckDB` itself parses the text of the
    /// table function `query`, and refuses other statements.
    pub(crate) fn query<T>(
        self,
        setup: &str,
        query: &str,
        format: Format,
        read: impl FnOnce(&mut dyn BufRead) -> Result<T, Stop>,
    ) -> Result<T, Stop> {
        let format = match format {
            Format::Csv => "CSV, HEADER",
            Format::Json => "JSON",
        };
        let query = query.replace('\'', "''");
        let statements = format!(
            "SET enable_progress_bar = false;\n{setup}\nCOPY (SELECT * FROM query('{query}')) TO '/dev/stdout' (FORMAT {format});\n"
        );
        let mut file = NamedTempFile::new().context("cannot create a temporary file")?;
        file.write_all(statements.as_bytes()).context("cannot write a temporary file")?;
        let mut command = self.command();
        if self == Self::Program {
            command.args(["-no-init", "-bail", "-f"]);
        }
        command.arg(file.path()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().with_context(|| format!("cannot run the {}", self.name()))?;
        let (stdout, stderr) = (process.stdout.take(), process.stderr.take());
        let stderr = thread::spawn(move || {
            let mut text = String::new();
            // Whatever arrives is only the text of an error.
            let _ = stderr.map(|mut stderr| stderr.read_to_string(&mut text));
            text
        });
        let mut stdout = BufReader::new(stdout.context("DuckDB has no standard output")?);
        let answer = read(&mut stdout);
        // A closed pipe would be an error for DuckDB.
        io::copy(&mut stdout, &mut io::sink()).context("cannot read the result of DuckDB")?;
        let status = process.wait().context("cannot wait for DuckDB")?;
        let stderr = stderr.join().map_err(|_| anyhow!("a thread panicked"))?;
        let answer = answer?;
        if !status.success() {
            let why = stderr.lines().find(|line| !line.trim().is_empty()).unwrap_or("no reason given");
            return Err(anyhow!(why.to_owned()).context("DuckDB refuses the statement").into());
        }
        Ok(answer)
    }
}

/// Returns the first number of a version such as `v2.0.1`.
fn major(version: &str) -> Option<u32> {
    version.trim_start_matches('v').split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_is_the_first_number() {
        assert_eq!(["v2.0.1", "10.1", "1.5.6", "x"].map(major), [Some(2), Some(10), Some(1), None]);
    }
}
