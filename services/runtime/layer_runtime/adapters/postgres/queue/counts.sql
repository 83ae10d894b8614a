-- Items by stage: those in the queue as they are, those that are settled from their changes.
-- $1 owner, $2 seconds of the window of the rate
SELECT stage, '' AS reason, count(*) AS waiting, 0::bigint AS leased, 0::bigint AS settled,
    0::bigint AS recent
FROM {queue} WHERE owner = $1 AND lease IS NULL GROUP BY stage
UNION ALL
SELECT stage, '', 0, count(*), 0, 0
FROM {queue} WHERE owner = $1 AND lease IS NOT NULL GROUP BY stage
UNION ALL
SELECT stage, reason, 0, 0, sum(change)::bigint,
    coalesce(sum(change) FILTER (
        WHERE change > 0 AND at > now() - $2 * interval '1 second'), 0)::bigint
FROM {counts} WHERE owner = $1 GROUP BY stage, reason
