//! Decides whether a SQL statement only reads, before Athena runs it.
//!
//! Athena executes `DROP TABLE` as readily as `SELECT`. A prefix does not tell them apart: a comment or a parenthesis may come
//! first, `WITH` may introduce an `INSERT`, and `EXPLAIN ANALYZE` executes its statement. This module reads the tokens of
//! Trino's grammar (<https://github.com/trinodb/trino/blob/435/core/trino-parser/src/main/antlr4/io/trino/sql/parser/SqlBase.g4>).
//! It refuses what it does not know.

/// The statements that run without `--allow-changes`.
const READING: &str = "SELECT, WITH, SHOW, DESCRIBE and EXPLAIN";

/// Checks a statement. An empty one is never allowed; one that may change data or tables only with `allow_changes`.
///
/// # Errors
/// One line that says why the statement does not run.
pub(super) fn check(sql: &str, allow_changes: bool) -> Result<(), String> {
    let tokens = match tokens(sql) {
        Ok(tokens) => tokens,
        Err(_) if allow_changes => return Ok(()),
        Err(unclosed) => return Err(format!("the statement has {unclosed} without an end; close it")),
    };
    let mut statements =
        tokens.split(|token| *token == Token::Symbol(';')).filter(|tokens| !tokens.is_empty());
    let Some(first) = statements.next() else {
        return Err(
            "the statement is empty; an example: flowherd query \"SELECT count(*) FROM vpc_flow_text\""
                .to_owned(),
        );
    };
    if allow_changes {
        return Ok(());
    }
    if statements.next().is_some() {
        return Err(
            "the text has several statements, and Athena runs one at a time; run them one by one".to_owned()
        );
    }
    match Reader(first).statement() {
        Ok(()) => Ok(()),
        Err(found) => Err(format!(
            "the statement has {found}, which may change data or tables: only {READING} run without --allow-changes"
        )),
    }
}

/// A token. Comments and white space are none.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    /// A keyword, an unquoted name or a number, in capitals.
    Word(String),
    /// Text or a name in quotes.
    Quoted,
    Symbol(char),
}

/// Splits SQL into tokens. The error names what has no end.
fn tokens(sql: &str) -> Result<Vec<Token>, &'static str> {
    let mut tokens = Vec::new();
    let mut rest = sql;
    while let Some(first) = rest.chars().next() {
        if let Some(comment) = rest.strip_prefix("--") {
            let end = comment.find(['\r', '\n']).unwrap_or(comment.len());
            rest = &comment[end..];
        } else if let Some(comment) = rest.strip_prefix("/*") {
            // Comments do not nest in Trino.
            let end = comment.find("*/").ok_or("a comment")?;
            rest = &comment[end + 2..];
        } else if matches!(first, '\'' | '"' | '`') {
            rest = after_quote(&rest[1..], first).ok_or("a quote")?;
            tokens.push(Token::Quoted);
        } else if is_of_word(first) {
            let end = rest.find(|character| !is_of_word(character)).unwrap_or(rest.len());
            tokens.push(Token::Word(rest[..end].to_ascii_uppercase()));
            rest = &rest[end..];
        } else {
            if !matches!(first, ' ' | '\t' | '\r' | '\n') {
                tokens.push(Token::Symbol(first));
            }
            rest = &rest[first.len_utf8()..];
        }
    }
    Ok(tokens)
}

fn is_of_word(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '_'
}

/// Returns what follows the closing quote. A doubled quote is part of the text.
fn after_quote(mut text: &str, quote: char) -> Option<&str> {
    loop {
        text = &text[text.find(quote)? + 1..];
        match text.strip_prefix(quote) {
            Some(after) => text = after,
            None => return Some(text),
        }
    }
}

/// Reads the tokens of one statement from its beginning.
struct Reader<'a>(&'a [Token]);

impl<'a> Reader<'a> {
    /// Checks that the statement only reads. The error names the keyword or token that prevents it.
    fn statement(&mut self) -> Result<(), String> {
        if self.takes_word("SHOW") || self.takes_word("DESCRIBE") {
            return Ok(());
        }
        if self.takes_word("EXPLAIN") {
            return self.explained();
        }
        self.query()
    }

    /// Checks the statement of an `EXPLAIN`. Only `ANALYZE` executes it
    /// (<https://docs.aws.amazon.com/athena/latest/ug/athena-explain-statement.html>).
    fn explained(&mut self) -> Result<(), String> {
        let mut is_executed = false;
        loop {
            if self.takes_word("ANALYZE") {
                is_executed = true;
            } else if self.has_options() {
                self.group()?;
            } else if !self.takes_word("VERBOSE") {
                break;
            }
        }
        if is_executed { self.statement() } else { Ok(()) }
    }

    /// Returns whether the next tokens are options such as `(TYPE IO)`, and not a query in parentheses.
    fn has_options(&self) -> bool {
        match self.0 {
            [Token::Symbol('('), Token::Word(option), ..] => matches!(&**option, "TYPE" | "FORMAT"),
            _ => false,
        }
    }

    /// Checks a query: parentheses, `WITH` and its queries, and then `SELECT`.
    fn query(&mut self) -> Result<(), String> {
        while self.takes(&Token::Symbol('(')) {}
        if self.takes_word("WITH") {
            self.takes_word("RECURSIVE");
            self.named_queries()?;
            return self.query();
        }
        if self.takes_word("SELECT") { Ok(()) } else { Err(self.found()) }
    }

    /// Reads `name (columns) AS (query), …`.
    fn named_queries(&mut self) -> Result<(), String> {
        loop {
            match self.0 {
                [Token::Word(_) | Token::Quoted, rest @ ..] => self.0 = rest,
                _ => return Err(self.found()),
            }
            if self.0.first() == Some(&Token::Symbol('(')) {
                self.group()?;
            }
            if !self.takes_word("AS") {
                return Err(self.found());
            }
            let mut query = Reader(self.group()?);
            if !query.takes_word("VALUES") && !query.takes_word("TABLE") {
                query.query()?;
            }
            if !self.takes(&Token::Symbol(',')) {
                return Ok(());
            }
        }
    }

    /// Takes a group in parentheses and returns the tokens between them.
    fn group(&mut self) -> Result<&'a [Token], String> {
        let all = self.0;
        if all.first() != Some(&Token::Symbol('(')) {
            return Err(self.found());
        }
        let mut depth = 0_usize;
        for (at, token) in all.iter().enumerate() {
            match token {
                Token::Symbol('(') => depth += 1,
                Token::Symbol(')') if depth == 1 => {
                    self.0 = &all[at + 1..];
                    return Ok(&all[1..at]);
                }
                Token::Symbol(')') => depth -= 1,
                _ => {}
            }
        }
        Err("a parenthesis without an end".to_owned())
    }

    fn takes_word(&mut self, word: &str) -> bool {
        let is_next = matches!(self.0.first(), Some(Token::Word(next)) if next == word);
        if is_next {
            self.0 = &self.0[1..];
        }
        is_next
    }

    fn takes(&mut self, token: &Token) -> bool {
        let is_next = self.0.first() == Some(token);
        if is_next {
            self.0 = &self.0[1..];
        }
        is_next
    }

    /// Returns the next token for an error.
    fn found(&self) -> String {
        match self.0.first() {
            Some(Token::Word(word)) => word.clone(),
            Some(Token::Symbol(symbol)) => format!("{symbol:?}"),
            Some(Token::Quoted) => "text in quotes".to_owned(),
            None => "no SELECT".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_that_only_read_run() {
        for sql in [
            "SELECT 1",
            " \t\n-- DROP TABLE t\n/* INSERT */ select ';' , 'it''s; DROP TABLE t', \"a\"\"b\" FROM t;",
            "SELECT 1 ; ; -- end",
            "(SELECT 1) UNION ALL (SELECT 2)",
            "((SELECT 1))",
            "WITH a AS (SELECT 1), \"b\" (x, y) AS (VALUES (1, 2)) SELECT delete, \"drop\" FROM a, b",
            "WITH RECURSIVE a (n) AS ((SELECT 1) UNION ALL SELECT n + 1 FROM a) (SELECT * FROM a)",
            "WITH a AS (WITH b AS (TABLE t) SELECT * FROM b) SELECT replace('(', ')', '') FROM a",
            "SHOW TABLES",
            "show create table t",
            "DESCRIBE t",
            "EXPLAIN SELECT 1",
            "EXPLAIN (TYPE IO, FORMAT JSON) SELECT 1",
            "EXPLAIN INSERT INTO t SELECT 1",
            "EXPLAIN ANALYZE SELECT 1",
            "EXPLAIN ANALYZE VERBOSE (FORMAT JSON) (SELECT 1)",
        ] {
            assert_eq!(check(sql, false), Ok(()), "{sql}");
        }
    }

    #[test]
    fn statements_that_may_change_something_need_a_flag() {
        for (sql, found) in [
            ("DROP TABLE t", "DROP"),
            ("/* SELECT */ DROP TABLE t", "DROP"),
            ("/* /* */ DROP TABLE t -- */", "DROP"),
            ("-- SELECT\rDROP TABLE t", "DROP"),
            ("(((DROP TABLE t", "DROP"),
            ("SELECTED", "SELECTED"),
            ("INSERT INTO t SELECT 1", "INSERT"),
            ("CREATE TABLE t AS SELECT 1", "CREATE"),
            ("UNLOAD (SELECT 1) TO 's3://b/' WITH (format = 'JSON')", "UNLOAD"),
            ("MSCK REPAIR TABLE t", "MSCK"),
            ("EXECUTE p", "EXECUTE"),
            ("WITH a AS (SELECT 1) INSERT INTO t SELECT * FROM a", "INSERT"),
            ("WITH a AS (SELECT ') SELECT') DELETE FROM t", "DELETE"),
            ("WITH a AS (DELETE FROM t) SELECT 1", "DELETE"),
            ("WITH INSERT INTO t SELECT 1", "INTO"),
            ("EXPLAIN ANALYZE INSERT INTO t SELECT 1", "INSERT"),
            ("EXPLAIN /* */ ANALYZE VERBOSE INSERT INTO t SELECT 1", "INSERT"),
            ("EXPLAIN (TYPE IO) ANALYZE DELETE FROM t", "DELETE"),
            ("'SELECT' DROP TABLE t", "text in quotes"),
            ("\u{a0}SELECT 1", "'\\u{a0}'"),
            ("WITH a AS (SELECT 1", "a parenthesis without an end"),
        ] {
            let problem = check(sql, false).unwrap_err();
            assert!(problem.starts_with(&format!("the statement has {found}, ")), "{sql}: {problem}");
            assert!(problem.ends_with("--allow-changes"), "{sql}: {problem}");
            assert_eq!(check(sql, true), Ok(()), "{sql}");
        }
    }

    #[test]
    fn several_statements_and_text_without_an_end_are_refused() {
        for sql in ["SELECT 1; DROP TABLE t", "SELECT 1; SELECT 2"] {
            assert!(check(sql, false).unwrap_err().starts_with("the text has several statements"), "{sql}");
        }
        assert_eq!(
            check("SELECT 'a", false).unwrap_err(),
            "the statement has a quote without an end; close it"
        );
        assert_eq!(
            check("SELECT 1 /* a", false).unwrap_err(),
            "the statement has a comment without an end; close it"
        );
    }

    #[test]
    fn an_empty_statement_never_runs() {
        for sql in ["", "  \n", ";;", "-- SELECT 1", "/* SELECT 1 */ ;"] {
            for allow_changes in [false, true] {
                assert!(
                    check(sql, allow_changes).unwrap_err().starts_with("the statement is empty"),
                    "{sql}"
                );
            }
        }
    }
}
