-- Items whose lease has run out go back to where they were claimed from, or are given up when that
-- happened too often: one that ends its workers must not do so for ever.
-- $1 owner, $2 attempts at most, $3 limit
WITH late AS (
    SELECT ctid AS place, attempts + 1 >= $2 AS is_last
    FROM {queue}
    WHERE owner = $1 AND lease IS NOT NULL AND due_at <= now()
    ORDER BY due_at
    LIMIT $3
    FOR UPDATE SKIP LOCKED
), again AS (
    UPDATE {queue} AS queue
    SET stage = claimed_from, claimed_from = NULL, lease = NULL, lease_s = NULL, worker = NULL,
        attempts = attempts + 1, reason = 'lease_expired', due_at = now(), entered_at = now()
    FROM late WHERE queue.ctid = late.place AND NOT late.is_last
    RETURNING queue.item
), gone AS (
    DELETE FROM {queue} AS queue USING late
    WHERE queue.ctid = late.place AND late.is_last
    RETURNING queue.item, queue.attempts, queue.payload
), kept AS (
    INSERT INTO {settled} (owner, item, stage, settled_at, attempts, reason, payload)
    SELECT $1, item, 'failed', now(), attempts + 1, 'lease_expired', payload FROM gone
    ON CONFLICT (owner, item) DO NOTHING
), counted AS (
    INSERT INTO {counts} (owner, stage, reason, at, change)
    SELECT $1, 'failed', 'lease_expired', now(), count(*) FROM gone HAVING count(*) > 0
)
SELECT item, false AS is_failed FROM again UNION ALL SELECT item, true FROM gone
