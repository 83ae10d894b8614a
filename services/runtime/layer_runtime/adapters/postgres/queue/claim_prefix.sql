-- As claim.sql, of the items whose ids start with $8 and are below $9; in the order of their ids.
WITH picked AS (
    SELECT ctid AS place, entered_at
    FROM {queue}
    WHERE owner = $1 AND item >= $8 AND item < $9
        AND stage = $2 AND lease IS NULL AND due_at <= now()
    ORDER BY item
    LIMIT $3
    FOR UPDATE SKIP LOCKED
), claimed AS (
    UPDATE {queue} AS queue
    SET stage = $4, claimed_from = $2, worker = $5, lease_s = $6, lease = $7,
        due_at = now() + $6 * interval '1 second', entered_at = now()
    FROM picked
    WHERE queue.ctid = picked.place
    RETURNING queue.item, queue.payload, queue.attempts,
        extract(epoch FROM now() - picked.entered_at)::float8 AS stage_s
)
SELECT item, payload, attempts, stage_s FROM claimed ORDER BY item
