-- Traffic by autonomous system
-- Traffic between inner and outer addresses, by the autonomous system (ASN) of the outer address: bytes and addresses in both
-- directions, and rejected flows. An address is inner if it has a name or it is private. With --ip only of that host or network,
-- with --port only of that port. Needs the columns srcaddr_asn, srcaddr_as_org, dstaddr_asn and dstaddr_as_org, which [[enrich]]
-- adds from a MaxMind database. A flow that several interfaces record counts once for each of them.
SELECT asn, max(as_org) AS as_org, sum(CASE WHEN is_out THEN CAST(bytes AS DECIMAL(38, 0)) END) AS bytes_out,
  sum(CASE WHEN NOT is_out THEN CAST(bytes AS DECIMAL(38, 0)) END) AS bytes_in, count(DISTINCT outer_address) AS addresses,
  count(CASE WHEN action = 'REJECT' THEN 1 END) AS rejected, count(*) AS flows, min("timestamp") AS first_seen,
  max("timestamp") AS last_seen
FROM (
  SELECT "timestamp", action, bytes, {inner_src} AS is_out,
    CASE WHEN {inner_src} THEN dstaddr_asn ELSE srcaddr_asn END AS asn,
    CASE WHEN {inner_src} THEN dstaddr_as_org ELSE srcaddr_as_org END AS as_org,
    CASE WHEN {inner_src} THEN dstaddr ELSE srcaddr END AS outer_address
  FROM {flows}
  WHERE ({inner_src}) <> ({inner_dst}){and_either_ip}{and_is_port}
) AS crossing
GROUP BY asn
ORDER BY flows DESC, asn
LIMIT {limit}
