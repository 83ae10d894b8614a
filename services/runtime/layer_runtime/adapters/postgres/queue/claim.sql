-- The oldest waiting items that nobody else is taking at this moment.
-- $1 owner, $2 stage, $3 limit, $4 stage to move to, $5 worker, $6 seconds, $7 token
WITH picked AS (
    SELECT ctid AS place, due_at, entered_at
    FROM {queue}
    WHERE owner = $1 AND stage = $2 AND lease IS NULL AND due_at <= now()
    ORDER BY due_at
    LIMIT $3
    FOR UPDATE SKIP LOCKED
), claimed AS (
    -- By place: a row that changed since the snapshot is left for the next claim.
    UPDATE {queue} AS queue
    SET stage = $4, claimed_from = $2, worker = $5, lease_s = $6, lease = $7,
        due_at = now() + $6 * interval '1 second', entered_at = now()
    FROM picked
    WHERE queue.ctid = picked.place
    RETURNING queue.item, queue.payload, queue.attempts, picked.due_at AS order_at,
        extract(epoch FROM now() - picked.entered_at)::float8 AS stage_s
)
SELECT item, payload, attempts, stage_s FROM claimed ORDER BY order_at, item
