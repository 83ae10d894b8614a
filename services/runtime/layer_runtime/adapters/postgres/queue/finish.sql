-- Items that are done and need not be remembered leave the queue. Parameters as in settle.sql.
WITH gone AS (
    DELETE FROM {queue}
    WHERE owner = $1 AND item = ANY($2::text[])
        AND ($5::text IS NULL OR stage = $5)
        AND ($6::text IS NULL OR worker = $6)
        AND ($7::bigint IS NULL OR lease = $7)
    RETURNING item, entered_at
), counted AS (
    INSERT INTO {counts} (owner, stage, reason, at, change)
    SELECT $1, $3, $4, now(), count(*) FROM gone HAVING count(*) > 0
)
SELECT item, extract(epoch FROM now() - entered_at)::float8 AS stage_s FROM gone
