-- Records that became no row, by reason
-- The number of records that match no rule or do not fit their rule, by log group, with one example. Records without a valid
-- timestamp count in every time.
SELECT reason, log_group, count(*) AS records, count(DISTINCT object) AS objects, min(message) AS example
FROM {rejects}
GROUP BY reason, log_group
ORDER BY records DESC, reason, log_group
LIMIT {limit}
