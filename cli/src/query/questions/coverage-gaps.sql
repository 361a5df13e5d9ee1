-- Where flow logs are missing
-- Interfaces and hours for which AWS skipped records (SKIPDATA: an internal error or its own limit), or recorded no traffic
-- (NODATA in all records). With --interface only that one. An hour without any record has no row here: compare with the hour
-- before.
SELECT date_trunc('hour', "timestamp") AS hour, interface_id, max(interface_description) AS interface,
  count_if(log_status = 'OK') AS ok, count_if(log_status = 'NODATA') AS nodata,
  count_if(log_status = 'SKIPDATA') AS skipdata
FROM {flows}
WHERE {interface} IS NULL OR interface_id = {interface}
GROUP BY date_trunc('hour', "timestamp"), interface_id
HAVING count_if(log_status = 'SKIPDATA') > 0 OR count_if(log_status = 'OK') = 0
ORDER BY skipdata DESC, hour, interface_id
LIMIT {limit}
