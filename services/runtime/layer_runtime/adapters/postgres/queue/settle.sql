-- Items that are done or given up leave the queue.
-- $1 owner, $2 items, $3 stage to settle in, $4 reason, $5 stage, $6 worker, $7 token
-- (NULL = whichever)
WITH gone AS (
    DELETE FROM {queue}
    WHERE owner = $1 AND item = ANY($2::text[])
        AND ($5::text IS NULL OR stage = $5)
        AND ($6::text IS NULL OR worker = $6)
        AND ($7::bigint IS NULL OR lease = $7)
    RETURNING item, attempts, payload, entered_at
), kept AS (
    INSERT INTO {settled} (owner, item, stage, settled_at, attempts, reason, payload)
    SELECT $1, item, $3, now(), attempts, nullif($4, ''), payload FROM gone
    ON CONFLICT (owner, item) DO UPDATE
    SET stage = excluded.stage, settled_at = excluded.settled_at, reason = excluded.reason
), counted AS (
    INSERT INTO {counts} (owner, stage, reason, at, change)
    SELECT $1, $3, $4, now(), count(*) FROM gone HAVING count(*) > 0
)
SELECT item, extract(epoch FROM now() - entered_at)::float8 AS stage_s FROM gone
