-- name: find
SELECT payload FROM layer.document_queue WHERE pipeline = $1 AND document = $2
UNION ALL
SELECT payload FROM layer.document_settled WHERE pipeline = $1 AND document = $2
LIMIT 1

-- name: lock
SELECT payload FROM layer.document_queue WHERE pipeline = $1 AND document = $2 FOR UPDATE

-- name: held
SELECT true FROM layer.document_queue WHERE pipeline = $1 AND document = $2 AND lease = $3

-- name: failed
SELECT document, reason, attempts, settled_at FROM layer.document_settled
WHERE pipeline = $1 AND stage = 'failed' AND document > $2
ORDER BY document LIMIT $3

-- name: stage
-- Documents with their payloads, as new, whatever they were.
-- $1 pipeline, $2 documents, $3 payloads, $4 stage
INSERT INTO layer.document_queue AS queue (pipeline, document, stage, due_at, entered_at, payload)
SELECT $1, document, $4, now(), now(), payload
FROM unnest($2::text[], $3::bytea[]) AS staged (document, payload)
ON CONFLICT (pipeline, document) DO UPDATE
SET stage = excluded.stage, due_at = excluded.due_at, entered_at = excluded.entered_at,
    payload = excluded.payload, attempts = 0, reason = NULL,
    lease = NULL, lease_s = NULL, worker = NULL, claimed_from = NULL

-- name: unsettle
-- Settled documents that are in the queue again. $1 pipeline, $2 documents
WITH gone AS (
    DELETE FROM layer.document_settled WHERE pipeline = $1 AND document = ANY($2::text[])
    RETURNING document, stage, coalesce(reason, '') AS reason, payload
), counted AS (
    INSERT INTO layer.document_counts (pipeline, stage, reason, at, change)
    SELECT $1, stage, reason, now(), -count(*) FROM gone GROUP BY stage, reason
)
SELECT document, payload FROM gone

-- name: known
-- Documents that exist, in either place. $1 pipeline, $2 documents
SELECT document FROM layer.document_queue WHERE pipeline = $1 AND document = ANY($2::text[])
UNION ALL
SELECT document FROM layer.document_settled WHERE pipeline = $1 AND document = ANY($2::text[])

-- name: enqueue_racing
-- Documents that are neither waiting nor settled, one of which another transaction may be creating:
-- waits for it. Twice the price of copying in what `known` has not found. Returns those that are
-- new. $1 pipeline, $2 documents, each once, $3 stage
INSERT INTO layer.document_queue (pipeline, document, stage)
SELECT $1, document, $3
FROM unnest($2::text[]) AS document
WHERE document <> ALL(ARRAY(
    SELECT document FROM layer.document_settled
    WHERE pipeline = $1 AND document = ANY($2::text[])
))
ON CONFLICT (pipeline, document) DO NOTHING
RETURNING document

-- name: forget_settled
-- What was settled while it was enqueued: it is in one table only, and the settled one wins.
-- $1 pipeline, $2 documents that this transaction has enqueued
DELETE FROM layer.document_queue AS queue USING layer.document_settled AS settled
WHERE queue.pipeline = $1 AND queue.document = ANY($2::text[])
    AND settled.pipeline = $1 AND settled.document = queue.document
RETURNING queue.document

-- name: claim
-- The oldest waiting documents that nobody else is taking at this moment.
-- $1 pipeline, $2 stage, $3 limit, $4 stage to move to, $5 worker, $6 seconds, $7 token (NULL = a new
-- one)
WITH token AS MATERIALIZED (
    SELECT coalesce($7::bigint, nextval('layer.document_leases')) AS number
), picked AS (
    SELECT ctid AS place, due_at, entered_at
    FROM layer.document_queue
    WHERE pipeline = $1 AND stage = $2 AND lease IS NULL AND due_at <= now()
    ORDER BY due_at
    LIMIT $3
    FOR UPDATE SKIP LOCKED
), claimed AS (
    -- By place: a row that changed since the snapshot is left for the next claim.
    UPDATE layer.document_queue AS queue
    SET stage = $4, claimed_from = $2, worker = $5, lease_s = $6::integer,
        lease = (SELECT number FROM token),
        due_at = now() + $6::integer * interval '1 second', entered_at = now()
    FROM picked
    WHERE queue.ctid = picked.place
    RETURNING queue.document, queue.lease, picked.due_at AS order_at,
        extract(epoch FROM now() - picked.entered_at)::float8 AS stage_s
)
SELECT document, lease, stage_s FROM claimed ORDER BY order_at, document

-- name: claim_prefix
-- As `claim`, of the documents whose ids start with $8 and are below $9, in the order of their ids.
WITH token AS MATERIALIZED (
    SELECT coalesce($7::bigint, nextval('layer.document_leases')) AS number
), picked AS (
    SELECT ctid AS place, entered_at
    FROM layer.document_queue
    WHERE pipeline = $1 AND document >= $8 AND document < $9
        AND stage = $2 AND lease IS NULL AND due_at <= now()
    ORDER BY document
    LIMIT $3
    FOR UPDATE SKIP LOCKED
), claimed AS (
    UPDATE layer.document_queue AS queue
    SET stage = $4, claimed_from = $2, worker = $5, lease_s = $6::integer,
        lease = (SELECT number FROM token),
        due_at = now() + $6::integer * interval '1 second', entered_at = now()
    FROM picked
    WHERE queue.ctid = picked.place
    RETURNING queue.document, queue.lease,
        extract(epoch FROM now() - picked.entered_at)::float8 AS stage_s
)
SELECT document, lease, stage_s FROM claimed ORDER BY document

-- name: expire
-- Documents whose lease has run out go back to where they were claimed from, or are given up when
-- that happened too often: one that ends its workers must not do so for ever.
-- $1 pipeline, $2 attempts at most, $3 limit
WITH late AS (
    SELECT ctid AS place, attempts + 1 >= $2 AS is_last
    FROM layer.document_queue
    WHERE pipeline = $1 AND lease IS NOT NULL AND due_at <= now()
    ORDER BY due_at
    LIMIT $3
    FOR UPDATE SKIP LOCKED
), again AS (
    UPDATE layer.document_queue AS queue
    SET stage = claimed_from, claimed_from = NULL, lease = NULL, lease_s = NULL, worker = NULL,
        attempts = attempts + 1, reason = 'lease_expired', due_at = now(), entered_at = now()
    FROM late WHERE queue.ctid = late.place AND NOT late.is_last
    RETURNING queue.document
), gone AS (
    DELETE FROM layer.document_queue AS queue USING late
    WHERE queue.ctid = late.place AND late.is_last
    RETURNING queue.document, queue.attempts, queue.payload
), kept AS (
    INSERT INTO layer.document_settled
        (pipeline, document, stage, settled_at, attempts, reason, payload)
    SELECT $1, document, 'failed', now(), attempts + 1, 'lease_expired', payload FROM gone
    ON CONFLICT (pipeline, document) DO NOTHING
), counted AS (
    INSERT INTO layer.document_counts (pipeline, stage, reason, at, change)
    SELECT $1, 'failed', 'lease_expired', now(), count(*) FROM gone HAVING count(*) > 0
)
SELECT document, false AS is_failed FROM again UNION ALL SELECT document, true FROM gone

-- name: heartbeat
-- $1 pipeline, $2 documents, $3 stage, $4 worker, $5 token (NULL = whichever)
UPDATE layer.document_queue
SET due_at = now() + lease_s * interval '1 second'
WHERE pipeline = $1 AND document = ANY($2::text[]) AND stage = $3 AND worker = $4
    AND ($5::bigint IS NULL OR lease = $5)
RETURNING document

-- name: move
-- Documents to another stage of the queue; their leases end.
-- $1 pipeline, $2 documents, $3 stage to move to, $4 stage, $5 worker, $6 token (NULL = whichever)
UPDATE layer.document_queue AS queue
SET stage = $3, claimed_from = NULL, lease = NULL, lease_s = NULL, worker = NULL,
    due_at = now(), entered_at = now()
WHERE pipeline = $1 AND document = ANY($2::text[])
    AND ($4::text IS NULL OR stage = $4)
    AND ($5::text IS NULL OR worker = $5)
    AND ($6::bigint IS NULL OR lease = $6)
RETURNING document

-- name: reopen
-- Settled documents back into the queue, as new.
-- $1 pipeline, $2 documents, $3 stage to move to, $4 stage (NULL = whichever)
WITH gone AS (
    DELETE FROM layer.document_settled WHERE pipeline = $1 AND document = ANY($2::text[])
        AND ($4::text IS NULL OR stage = $4)
    RETURNING document, stage, coalesce(reason, '') AS reason, payload
), counted AS (
    INSERT INTO layer.document_counts (pipeline, stage, reason, at, change)
    SELECT $1, stage, reason, now(), -count(*) FROM gone GROUP BY stage, reason
)
INSERT INTO layer.document_queue (pipeline, document, stage, due_at, entered_at, payload)
SELECT $1, document, $3, now(), now(), payload FROM gone
ON CONFLICT (pipeline, document) DO NOTHING
RETURNING document

-- name: reopen_some
-- Settled documents of a stage back into the queue, to be claimed from it: $3 of them, by id, those
-- whose ids start with $4. $1 pipeline, $2 stage
WITH gone AS (
    DELETE FROM layer.document_settled WHERE pipeline = $1 AND document = ANY(ARRAY(
        SELECT document FROM layer.document_settled
        WHERE pipeline = $1 AND stage = $2 AND starts_with(document, $4)
        ORDER BY document LIMIT $3 FOR UPDATE SKIP LOCKED))
    RETURNING document, stage, coalesce(reason, '') AS reason, payload
), counted AS (
    INSERT INTO layer.document_counts (pipeline, stage, reason, at, change)
    SELECT $1, stage, reason, now(), -count(*) FROM gone GROUP BY stage, reason
)
INSERT INTO layer.document_queue (pipeline, document, stage, due_at, entered_at, payload)
SELECT $1, document, $2, now(), now(), payload FROM gone
ON CONFLICT (pipeline, document) DO NOTHING

-- name: settle
-- Documents that are done or given up leave the queue.
-- $1 pipeline, $2 documents, $3 stage to settle in, $4 reason, $5 stage, $6 worker, $7 token
-- (NULL = whichever)
WITH gone AS (
    DELETE FROM layer.document_queue
    WHERE pipeline = $1 AND document = ANY($2::text[])
        AND ($5::text IS NULL OR stage = $5)
        AND ($6::text IS NULL OR worker = $6)
        AND ($7::bigint IS NULL OR lease = $7)
    RETURNING document, attempts, payload, entered_at
), kept AS (
    INSERT INTO layer.document_settled
        (pipeline, document, stage, settled_at, attempts, reason, payload)
    SELECT $1, document, $3, now(), attempts, nullif($4, ''), payload FROM gone
    ON CONFLICT (pipeline, document) DO UPDATE
    SET stage = excluded.stage, settled_at = excluded.settled_at, reason = excluded.reason
), counted AS (
    INSERT INTO layer.document_counts (pipeline, stage, reason, at, change)
    SELECT $1, $3, $4, now(), count(*) FROM gone HAVING count(*) > 0
)
SELECT document, extract(epoch FROM now() - entered_at)::float8 AS stage_s FROM gone

-- name: resettle
-- Settled documents to another stage of the settled ones.
-- $1 pipeline, $2 documents, $3 stage to settle in, $4 reason, $5 stage (NULL = whichever)
WITH before AS (
    SELECT document, stage, coalesce(reason, '') AS reason
    FROM layer.document_settled
    WHERE pipeline = $1 AND document = ANY($2::text[]) AND ($5::text IS NULL OR stage = $5)
    ORDER BY document
    FOR UPDATE
), changed AS (
    UPDATE layer.document_settled AS settled
    SET stage = $3, reason = nullif($4, ''), settled_at = now()
    FROM before
    WHERE settled.pipeline = $1 AND settled.document = before.document AND before.stage <> $3
    RETURNING before.stage, before.reason
), counted AS (
    INSERT INTO layer.document_counts (pipeline, stage, reason, at, change)
    SELECT $1, stage, reason, now(), -count(*) FROM changed GROUP BY stage, reason
    UNION ALL
    SELECT $1, $3, $4, now(), count(*) FROM changed HAVING count(*) > 0
)
SELECT document FROM before

-- name: fail
-- An attempt went wrong: the documents wait for a time that doubles with each, or are given up.
-- $1 pipeline, $2 documents, $3 a reason for each, $4 whether each is hopeless, $5 stage,
-- $6 worker, $7 token (NULL = whichever), $8 attempts at most, $9 first and $10 longest pause in s
WITH failing AS (
    SELECT * FROM unnest($2::text[], $3::text[], $4::bool[])
        AS failing (document, reason, is_hopeless)
), gone AS (
    DELETE FROM layer.document_queue AS queue USING failing
    WHERE queue.pipeline = $1 AND queue.document = failing.document
        AND ($5::text IS NULL OR queue.stage = $5)
        AND ($6::text IS NULL OR queue.worker = $6)
        AND ($7::bigint IS NULL OR queue.lease = $7)
        AND (failing.is_hopeless OR queue.attempts + 1 >= $8)
    RETURNING queue.document, queue.attempts, queue.payload, failing.reason
), again AS (
    UPDATE layer.document_queue AS queue
    SET stage = coalesce(claimed_from, stage), claimed_from = NULL,
        lease = NULL, lease_s = NULL, worker = NULL,
        attempts = attempts + 1, reason = failing.reason, entered_at = now(),
        due_at = now() + interval '1 second' * (0.5 + random() / 2)
            * least($9::float8 * 2 ^ least(attempts, 60), $10::float8)
    FROM failing
    WHERE queue.pipeline = $1 AND queue.document = failing.document
        AND ($5::text IS NULL OR queue.stage = $5)
        AND ($6::text IS NULL OR queue.worker = $6)
        AND ($7::bigint IS NULL OR queue.lease = $7)
        AND NOT (failing.is_hopeless OR queue.attempts + 1 >= $8)
    RETURNING queue.document, queue.reason
), kept AS (
    INSERT INTO layer.document_settled
        (pipeline, document, stage, settled_at, attempts, reason, payload)
    SELECT $1, document, 'failed', now(), attempts + 1, reason, payload FROM gone
    ON CONFLICT (pipeline, document) DO NOTHING
), counted AS (
    INSERT INTO layer.document_counts (pipeline, stage, reason, at, change)
    SELECT $1, 'failed', reason, now(), count(*) FROM gone GROUP BY reason
)
SELECT document, reason, false AS is_failed FROM again
UNION ALL SELECT document, reason, true FROM gone

-- name: counts
-- Documents by pipeline and stage: the sums of what was noted, not the documents themselves.
-- $1 pipelines, $2 seconds of the window of the rate
SELECT pipeline, stage, '' AS reason, sum(change)::bigint AS count,
    coalesce(sum(change) FILTER (WHERE is_leased), 0)::bigint AS leased, 0::bigint AS recent
FROM layer.document_queue_counts WHERE pipeline = ANY($1::integer[]) GROUP BY pipeline, stage
UNION ALL
SELECT pipeline, stage, reason, sum(change)::bigint, 0,
    coalesce(sum(change) FILTER (
        WHERE change > 0 AND at > now() - $2 * interval '1 second'), 0)::bigint
FROM layer.document_counts WHERE pipeline = ANY($1::integer[]) GROUP BY pipeline, stage, reason

-- name: fold
-- Sums up the changes of pipelines; those that a rate still needs once, by the second.
-- $1 pipelines, $2 seconds that a rate needs
WITH queued AS (
    DELETE FROM layer.document_queue_counts WHERE pipeline = ANY($1::integer[])
    RETURNING pipeline, stage, is_leased, change
), kept AS (
    INSERT INTO layer.document_queue_counts (pipeline, stage, is_leased, change)
    SELECT pipeline, stage, is_leased, sum(change)
    FROM queued GROUP BY 1, 2, 3 HAVING sum(change) <> 0
), settled AS (
    DELETE FROM layer.document_counts WHERE pipeline = ANY($1::integer[])
        AND (at < now() - $2 * interval '1 second' OR at <> date_trunc('second', at))
    RETURNING pipeline, stage, reason, change, CASE
        WHEN at < now() - $2 * interval '1 second' THEN 'epoch'
        ELSE date_trunc('second', at) END AS at
)
INSERT INTO layer.document_counts (pipeline, stage, reason, at, change)
SELECT pipeline, stage, reason, at, sum(change)
FROM settled GROUP BY 1, 2, 3, 4, at <> 'epoch' AND change > 0 HAVING sum(change) <> 0

-- name: purge
-- Some of the rows of a pipeline that is gone. $1 pipeline, $2 limit
WITH queued AS (
    DELETE FROM layer.document_queue WHERE pipeline = $1 AND document = ANY(ARRAY(
        SELECT document FROM layer.document_queue WHERE pipeline = $1
        ORDER BY document LIMIT $2 FOR UPDATE SKIP LOCKED))
    RETURNING 1
), settled AS (
    DELETE FROM layer.document_settled WHERE pipeline = $1 AND document = ANY(ARRAY(
        SELECT document FROM layer.document_settled WHERE pipeline = $1
        ORDER BY document LIMIT $2 FOR UPDATE SKIP LOCKED))
    RETURNING 1
), counted AS (
    DELETE FROM layer.document_counts WHERE pipeline = $1
), queue_counted AS (
    DELETE FROM layer.document_queue_counts WHERE pipeline = $1
)
SELECT (SELECT count(*) FROM queued) + (SELECT count(*) FROM settled)
