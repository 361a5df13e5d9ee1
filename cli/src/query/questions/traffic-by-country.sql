-- Traffic by country
-- Traffic between inner and outer addresses, by the country of the outer address: bytes and addresses in both directions, and
-- rejected flows. An address is inner if it has a name or it is private. With --ip only of that host or network, with --port only
-- of that port. Needs the columns srcaddr_country and dstaddr_country, which [[enrich]] adds from a MaxMind database. A flow that
-- several interfaces record (a transit gateway's, a firewall's) counts once for each of them.
SELECT COALESCE(country, 'unknown') AS country, sum(CASE WHEN is_out THEN CAST(bytes AS DECIMAL(38, 0)) END) AS bytes_out,
  sum(CASE WHEN NOT is_out THEN CAST(bytes AS DECIMAL(38, 0)) END) AS bytes_in, count(DISTINCT outer_address) AS addresses,
  count(CASE WHEN action = 'REJECT' THEN 1 END) AS rejected, count(*) AS flows, min("timestamp") AS first_seen,
  max("timestamp") AS last_seen
FROM (
  SELECT "timestamp", action, bytes, {inner_src} AS is_out,
    CASE WHEN {inner_src} THEN dstaddr_country ELSE srcaddr_country END AS country,
    CASE WHEN {inner_src} THEN dstaddr ELSE srcaddr END AS outer_address
  FROM {flows}
  WHERE ({inner_src}) <> ({inner_dst}){and_either_ip}{and_is_port}
) AS crossing
GROUP BY country
ORDER BY flows DESC, country
LIMIT {limit}
