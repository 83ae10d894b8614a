-- name: known
SELECT number FROM layer.functions WHERE number = $1 FOR KEY SHARE

-- name: found
SELECT id FROM layer.function_items
WHERE function = $1 AND namespace = $2 AND id = ANY($3::text[])

-- name: enqueue_racing
-- Items of which another transaction may be creating some: waits for it. Twice the price of
-- copying in what is not `found`.
INSERT INTO layer.function_items (function, namespace, id)
SELECT $1, $2, id FROM unnest($3::text[]) AS id
ON CONFLICT (function, namespace, id) DO NOTHING

-- name: force
-- A row that was inserted has no xmax: that tells the new ones.
INSERT INTO layer.function_items AS i (function, namespace, id, due_at, is_forced)
SELECT $1, $2, id, now(), true FROM unnest($3::text[]) AS id
ON CONFLICT (function, namespace, id) DO UPDATE
    SET generation = i.generation + 1, is_forced = true,
        due_at = CASE WHEN i.failed_at IS NULL THEN i.due_at ELSE now() END,
        attempts = CASE WHEN i.failed_at IS NULL THEN i.attempts ELSE 0 END,
        failed_at = NULL, message = NULL
RETURNING (xmax = 0) AS is_new

-- name: expire
WITH silent AS MATERIALIZED (
    SELECT namespace, id FROM layer.function_items
    WHERE function = $1 AND lease IS NOT NULL AND due_at <= now()
    ORDER BY due_at LIMIT 1000
    FOR UPDATE SKIP LOCKED
)
UPDATE layer.function_items i
SET lease = NULL, worker = NULL, lease_s = NULL, due_at = now(), attempts = i.attempts + 1,
    message = $3, failed_at = CASE WHEN i.attempts + 1 >= $2 THEN now() END
FROM silent s
WHERE i.function = $1 AND i.namespace = s.namespace AND i.id = s.id

-- name: claim
WITH picked AS MATERIALIZED (
    SELECT namespace, id FROM layer.function_items
    WHERE function = $1 AND lease IS NULL AND failed_at IS NULL AND due_at <= now()
    ORDER BY due_at, namespace, id LIMIT $3
    FOR UPDATE SKIP LOCKED
), token AS MATERIALIZED (
    SELECT nextval('layer.function_leases') AS lease
)
UPDATE layer.function_items i
SET lease = t.lease, worker = $2, lease_s = $4::integer, due_at = now() + make_interval(secs => $4::integer),
    claimed_generation = i.generation
FROM picked p, token t
WHERE i.function = $1 AND i.namespace = p.namespace AND i.id = p.id
RETURNING i.namespace, i.id, i.lease, i.generation, i.is_forced, i.done_digest

-- name: remember
-- From now on a result may be written of which the queue never hears.
UPDATE layer.function_items i
SET version = $3, stamp_ms = g.stamp_ms, digest = g.digest, done_digest = NULL
FROM unnest($4::text[], $5::text[], $6::bigint[], $7::bytea[]) AS g (namespace, id, stamp_ms, digest)
WHERE i.function = $1 AND i.namespace = g.namespace AND i.id = g.id AND i.lease = $2

-- name: release
UPDATE layer.function_items
SET lease = NULL, worker = NULL, lease_s = NULL, due_at = now()
WHERE function = $1 AND lease = $2

-- name: held
UPDATE layer.function_items i
SET due_at = greatest(i.due_at, now() + make_interval(secs => $6))
FROM unnest($3::text[], $4::text[], $5::bigint[]) AS g (namespace, id, lease)
WHERE i.function = $1 AND i.namespace = g.namespace AND i.id = g.id
    AND i.lease IS NOT NULL AND i.worker = $2 AND (g.lease = 0 OR g.lease = i.lease)
RETURNING i.*

-- name: heartbeat
UPDATE layer.function_items i
SET due_at = now() + make_interval(secs => i.lease_s)
FROM unnest($3::text[], $4::text[], $5::bigint[]) AS g (namespace, id, lease)
WHERE i.function = $1 AND i.namespace = g.namespace AND i.id = g.id
    AND i.lease IS NOT NULL AND i.worker = $2 AND (g.lease = 0 OR g.lease = i.lease)
RETURNING true

-- name: finish
DELETE FROM layer.function_items i
USING unnest($2::text[], $3::text[], $4::bigint[], $5::bigint[]) AS g (namespace, id, lease, generation)
WHERE i.function = $1 AND i.namespace = g.namespace AND i.id = g.id
    AND i.lease = g.lease AND i.generation = g.generation
RETURNING true

-- name: wait_again
-- Of items that a write has made due once more while they were completed.
UPDATE layer.function_items i
SET lease = NULL, worker = NULL, lease_s = NULL, due_at = now(), attempts = 0, message = NULL,
    done_digest = i.digest
FROM unnest($2::text[], $3::text[], $4::bigint[]) AS g (namespace, id, lease)
WHERE i.function = $1 AND i.namespace = g.namespace AND i.id = g.id AND i.lease = g.lease
RETURNING true

-- name: look_again
-- At items that a write has made due once more while it was found that they need no work.
UPDATE layer.function_items i
SET lease = NULL, worker = NULL, lease_s = NULL, due_at = now()
FROM unnest($2::text[], $3::text[], $4::bigint[]) AS g (namespace, id, lease)
WHERE i.function = $1 AND i.namespace = g.namespace AND i.id = g.id AND i.lease = g.lease

-- name: completed
INSERT INTO layer.function_completions (function, count) VALUES ($1, $2)

-- name: requeue
UPDATE layer.function_items i
SET lease = NULL, worker = NULL, lease_s = NULL, due_at = now(), is_forced = true
FROM unnest($2::text[], $3::text[], $4::bigint[]) AS g (namespace, id, lease)
WHERE i.function = $1 AND i.namespace = g.namespace AND i.id = g.id AND i.lease = g.lease

-- name: judge
UPDATE layer.function_items i
SET lease = NULL, worker = NULL, lease_s = NULL, attempts = g.attempts,
    message = coalesce(g.message, i.message),
    due_at = now() + make_interval(secs => coalesce(g.pause_s, 0)),
    failed_at = CASE WHEN g.pause_s IS NULL THEN now() END
FROM unnest($2::text[], $3::text[], $4::bigint[], $5::integer[], $6::double precision[], $7::text[])
    AS g (namespace, id, lease, attempts, pause_s, message)
WHERE i.function = $1 AND i.namespace = g.namespace AND i.id = g.id AND i.lease = g.lease
RETURNING true

-- name: reset_failed
-- Some of those that were given up. $1 function, $2 limit
UPDATE layer.function_items
SET failed_at = NULL, message = NULL, attempts = 0, due_at = now()
WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM layer.function_items
    WHERE function = $1 AND failed_at IS NOT NULL
    ORDER BY namespace, id LIMIT $2 FOR UPDATE))
RETURNING true

-- name: find
-- A lease that has run out holds nothing, whether or not anybody has noticed yet.
SELECT i.*, i.lease IS NOT NULL AND i.due_at > now() AS is_held
FROM unnest($2::text[], $3::text[]) AS g (namespace, id)
JOIN layer.function_items i
    ON i.function = $1 AND i.namespace = g.namespace AND i.id = g.id

-- name: failed
SELECT namespace, id, message, attempts, failed_at FROM layer.function_items
WHERE function = $1 AND failed_at IS NOT NULL AND (namespace, id) > ($2, $3)
ORDER BY namespace, id LIMIT $4

-- name: figures
-- Items by state: the sums of what was noted, not the items themselves.
SELECT function, coalesce(sum(change) FILTER (WHERE state = 'pending'), 0)::bigint AS pending,
    coalesce(sum(change) FILTER (WHERE state = 'processing'), 0)::bigint AS processing,
    coalesce(sum(change) FILTER (WHERE state = 'failed'), 0)::bigint AS failed
FROM layer.function_item_counts
WHERE $1::integer IS NULL OR function = $1
GROUP BY function

-- name: fold
-- Sums up what was noted.
WITH noted AS (
    DELETE FROM layer.function_item_counts RETURNING function, state, change
)
INSERT INTO layer.function_item_counts (function, state, change)
SELECT function, state, sum(change) FROM noted GROUP BY 1, 2 HAVING sum(change) <> 0

-- name: completions
SELECT function, sum(count)::bigint AS completed FROM layer.function_completions
WHERE ($1::integer IS NULL OR function = $1) AND at > now() - make_interval(secs => $2)
GROUP BY function

-- name: forget_completions
DELETE FROM layer.function_completions WHERE at < now() - make_interval(secs => $1)
