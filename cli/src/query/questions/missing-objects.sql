-- What a run lacks, and why
-- Objects of --run that were listed and have no receipt in it: failed, with the reason, or without any result. The report of
-- the run is the proof, and checks the version of every output. This question helps to find and join objects. Two kinds have no
-- receipt here although the report counts them: objects that a resumed run skipped because an earlier run converted them, and,
-- on Athena, keys with a part that begins with _ or a dot, because Athena does not read such files.
SELECT listed."key", listed."size", CASE WHEN failed."key" IS NULL THEN 'no receipt' ELSE 'failed' END AS state,
  failed.verdict, failed.attempts, failed.errors[1] AS error, TRY(failed.errors[2]) AS because
FROM (SELECT "key", "size" FROM "ledger_manifest" WHERE run = {run}) AS listed
LEFT JOIN (SELECT "key" FROM "ledger_receipts" WHERE run = {run}) AS done ON done."key" = listed."key"
LEFT JOIN (SELECT "key", verdict, attempts, errors FROM "ledger_failures" WHERE run = {run}) AS failed
  ON failed."key" = listed."key"
WHERE done."key" IS NULL
ORDER BY state, listed."key"
LIMIT {limit}
