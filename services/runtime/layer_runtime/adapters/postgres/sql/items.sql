-- Statements over given items of a namespace take their ids in order, and what belongs to each in
-- arrays beside them, at width_bucket(id, ids): a join would be as slow as the plan that is made of it
-- while there are few items, which is kept. For the same reason they say of leases nothing from which
-- an index of some rows could be chosen. Whoever has no lease has no worker.

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
WITH silent AS (
    SELECT ctid AS place FROM layer.function_items
    WHERE function = $1 AND lease IS NOT NULL AND due_at <= now()
    ORDER BY due_at LIMIT 1000
    FOR UPDATE SKIP LOCKED
)
UPDATE layer.function_items i
SET lease = NULL, worker = NULL, lease_s = NULL, due_at = now(), attempts = i.attempts + 1,
    message = $3, failed_at = CASE WHEN i.attempts + 1 >= $2 THEN now() END
FROM silent s
WHERE i.ctid = s.place

-- name: claim
-- By place: an item that changed since the snapshot is left for the next claim.
WITH picked AS (
    SELECT ctid AS place FROM layer.function_items
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
WHERE i.ctid = p.place
RETURNING i.namespace, i.id, i.lease, i.generation, i.is_forced, i.done_digest

-- name: remember
-- From now on a result may be written of which the queue never hears.
-- $1 function, $2 namespace, $3 ids, $4 lease, $5 version, $6 stamps, $7 digests
UPDATE layer.function_items
SET version = $5, stamp_ms = ($6::bigint[])[width_bucket(id, $3::text[])],
    digest = ($7::bytea[])[width_bucket(id, $3::text[])], done_digest = NULL
WHERE function = $1 AND namespace = $2 AND id = ANY($3::text[]) AND lease IS NOT DISTINCT FROM $4

-- name: release
UPDATE layer.function_items
SET lease = NULL, worker = NULL, lease_s = NULL, due_at = now()
WHERE function = $1 AND lease = $2

-- name: held
-- Items that a worker holds; those whose lease ends before $6 seconds are over are held as long.
-- $1 function, $2 namespace, $3 ids, $4 leases (0 = whichever), $5 worker
WITH prolonged AS (
    UPDATE layer.function_items
    SET due_at = now() + make_interval(secs => $6)
    WHERE function = $1 AND namespace = $2 AND id = ANY($3::text[]) AND worker = $5
        AND ($4::bigint[])[width_bucket(id, $3::text[])] IN (0, lease)
        AND due_at < now() + make_interval(secs => $6)
    RETURNING *
)
SELECT * FROM prolonged
UNION ALL
SELECT * FROM layer.function_items
WHERE function = $1 AND namespace = $2 AND id = ANY($3::text[]) AND worker = $5
    AND ($4::bigint[])[width_bucket(id, $3::text[])] IN (0, lease)
    AND due_at >= now() + make_interval(secs => $6)

-- name: heartbeat
-- $1 function, $2 namespace, $3 ids, $4 leases (0 = whichever), $5 worker
UPDATE layer.function_items
SET due_at = now() + make_interval(secs => lease_s)
WHERE function = $1 AND namespace = $2 AND id = ANY($3::text[]) AND worker = $5
    AND ($4::bigint[])[width_bucket(id, $3::text[])] IN (0, lease)
RETURNING true

-- name: finish
-- $1 function, $2 namespace, $3 ids, $4 leases, $5 generations
DELETE FROM layer.function_items
WHERE function = $1 AND namespace = $2 AND id = ANY($3::text[])
    AND lease IS NOT DISTINCT FROM ($4::bigint[])[width_bucket(id, $3::text[])]
    AND generation = ($5::bigint[])[width_bucket(id, $3::text[])]
RETURNING true

-- name: wait_again
-- Of items that a write has made due once more while they were completed.
-- $1 function, $2 namespace, $3 ids, $4 leases
UPDATE layer.function_items
SET lease = NULL, worker = NULL, lease_s = NULL, due_at = now(), attempts = 0, message = NULL,
    done_digest = digest
WHERE function = $1 AND namespace = $2 AND id = ANY($3::text[])
    AND lease IS NOT DISTINCT FROM ($4::bigint[])[width_bucket(id, $3::text[])]
RETURNING true

-- name: look_again
-- At items that a write has made due once more while it was found that they need no work.
-- $1 function, $2 namespace, $3 ids, $4 leases
UPDATE layer.function_items
SET lease = NULL, worker = NULL, lease_s = NULL, due_at = now()
WHERE function = $1 AND namespace = $2 AND id = ANY($3::text[])
    AND lease IS NOT DISTINCT FROM ($4::bigint[])[width_bucket(id, $3::text[])]

-- name: completed
INSERT INTO layer.function_completions (function, count) VALUES ($1, $2)

-- name: requeue
-- $1 function, $2 namespace, $3 ids, $4 leases
UPDATE layer.function_items
SET lease = NULL, worker = NULL, lease_s = NULL, due_at = now(), is_forced = true
WHERE function = $1 AND namespace = $2 AND id = ANY($3::text[])
    AND lease IS NOT DISTINCT FROM ($4::bigint[])[width_bucket(id, $3::text[])]

-- name: judge
-- $1 function, $2 namespace, $3 ids, $4 leases, $5 attempts, $6 pauses in s (NULL = given up),
-- $7 messages (NULL = as before)
UPDATE layer.function_items
SET lease = NULL, worker = NULL, lease_s = NULL, attempts = ($5::integer[])[width_bucket(id, $3::text[])],
    message = coalesce(($7::text[])[width_bucket(id, $3::text[])], message),
    due_at = now() + make_interval(
        secs => coalesce(($6::double precision[])[width_bucket(id, $3::text[])], 0)),
    failed_at = CASE
        WHEN ($6::double precision[])[width_bucket(id, $3::text[])] IS NULL THEN now() END
WHERE function = $1 AND namespace = $2 AND id = ANY($3::text[])
    AND lease IS NOT DISTINCT FROM ($4::bigint[])[width_bucket(id, $3::text[])]
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
-- $1 function, $2 namespace, $3 ids
SELECT *, lease IS NOT NULL AND due_at > now() AS is_held FROM layer.function_items
WHERE function = $1 AND namespace = $2 AND id = ANY($3::text[])

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
