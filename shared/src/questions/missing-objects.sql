-- What a run lacks, and why
-- Objects of --run that were listed and have no receipt: failed with their reason, or missing. The report of the run
-- counts more strictly, by the version of every output; where the two differ, the report is right.
SELECT listed."key", listed."size", CASE WHEN failed."key" IS NULL THEN 'missing' ELSE 'failed' END AS state,
  failed.verdict, failed.attempts, failed.errors[1] AS error, TRY(failed.errors[2]) AS because
FROM (SELECT "key", "size" FROM "ledger_manifest" WHERE run = {run}) AS listed
LEFT JOIN (SELECT "key" FROM "ledger_receipts" WHERE run = {run}) AS done ON done."key" = listed."key"
LEFT JOIN (SELECT "key", verdict, attempts, errors FROM "ledger_failures" WHERE run = {run}) AS failed
  ON failed."key" = listed."key"
WHERE done."key" IS NULL
ORDER BY state, listed."key"
LIMIT {limit}
