-- Settled items that are in the queue again. $1 owner, $2 items
WITH gone AS (
    DELETE FROM {settled} WHERE owner = $1 AND item = ANY($2::text[])
    RETURNING item, stage, coalesce(reason, '') AS reason, payload
), counted AS (
    INSERT INTO {counts} (owner, stage, reason, at, change)
    SELECT $1, stage, reason, now(), -count(*) FROM gone GROUP BY stage, reason
)
SELECT item, payload FROM gone
