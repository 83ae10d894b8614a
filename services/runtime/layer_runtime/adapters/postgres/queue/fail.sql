-- An attempt went wrong: the items wait for a time that doubles with each, or are given up.
-- $1 owner, $2 items, $3 a reason for each, $4 whether each is hopeless, $5 stage, $6 worker,
-- $7 token (NULL = whichever), $8 attempts at most, $9 first pause and $10 longest, in seconds
WITH failing AS (
    SELECT * FROM unnest($2::text[], $3::text[], $4::bool[]) AS failing (item, reason, is_hopeless)
), gone AS (
    DELETE FROM {queue} AS queue USING failing
    WHERE queue.owner = $1 AND queue.item = failing.item
        AND ($5::text IS NULL OR queue.stage = $5)
        AND ($6::text IS NULL OR queue.worker = $6)
        AND ($7::bigint IS NULL OR queue.lease = $7)
        AND (failing.is_hopeless OR queue.attempts + 1 >= $8)
    RETURNING queue.item, queue.attempts, queue.payload, failing.reason
), again AS (
    UPDATE {queue} AS queue
    SET stage = coalesce(claimed_from, stage), claimed_from = NULL,
        lease = NULL, lease_s = NULL, worker = NULL,
        attempts = attempts + 1, reason = failing.reason, entered_at = now(),
        due_at = now() + interval '1 second' * (0.5 + random() / 2)
            * least($9::float8 * 2 ^ least(attempts, 60), $10::float8)
    FROM failing
    WHERE queue.owner = $1 AND queue.item = failing.item
        AND ($5::text IS NULL OR queue.stage = $5)
        AND ($6::text IS NULL OR queue.worker = $6)
        AND ($7::bigint IS NULL OR queue.lease = $7)
        AND NOT (failing.is_hopeless OR queue.attempts + 1 >= $8)
    RETURNING queue.item, queue.reason
), kept AS (
    INSERT INTO {settled} (owner, item, stage, settled_at, attempts, reason, payload)
    SELECT $1, item, 'failed', now(), attempts + 1, reason, payload FROM gone
    ON CONFLICT (owner, item) DO NOTHING
), counted AS (
    INSERT INTO {counts} (owner, stage, reason, at, change)
    SELECT $1, 'failed', reason, now(), count(*) FROM gone GROUP BY reason
)
SELECT item, reason, false AS is_failed FROM again
UNION ALL SELECT item, reason, true FROM gone
