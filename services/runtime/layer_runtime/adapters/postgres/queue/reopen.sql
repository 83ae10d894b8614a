-- Settled items back into the queue, as new. $1 owner, $2 items, $3 stage to move to, $4 stage
WITH gone AS (
    DELETE FROM {settled} WHERE owner = $1 AND item = ANY($2::text[])
        AND ($4::text IS NULL OR stage = $4)
    RETURNING item, stage, coalesce(reason, '') AS reason, payload
), counted AS (
    INSERT INTO {counts} (owner, stage, reason, at, change)
    SELECT $1, stage, reason, now(), -count(*) FROM gone GROUP BY stage, reason
)
INSERT INTO {queue} (owner, item, stage, due_at, entered_at, payload)
SELECT $1, item, $3, now(), now(), payload FROM gone
ON CONFLICT (owner, item) DO NOTHING
RETURNING item
