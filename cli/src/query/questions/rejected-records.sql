-- Records that became no row, by reason
-- How many records fitted no rule or did not fit theirs, by log group, and the text of one of them. Records without a
-- time, or with one that is none, are counted whatever time was asked.
SELECT reason, log_group, count(*) AS records, count(DISTINCT object) AS objects, min(message) AS example
FROM {rejects}
GROUP BY reason, log_group
ORDER BY records DESC, reason, log_group
LIMIT {limit}
