-- Items to another stage of the queue; their leases end.
-- $1 owner, $2 items, $3 stage to move to, $4 stage, $5 worker, $6 token (NULL = whichever)
UPDATE {queue} AS queue
SET stage = $3, claimed_from = NULL, lease = NULL, lease_s = NULL, worker = NULL,
    due_at = now(), entered_at = now()
WHERE owner = $1 AND item = ANY($2::text[])
    AND ($4::text IS NULL OR stage = $4)
    AND ($5::text IS NULL OR worker = $5)
    AND ($6::bigint IS NULL OR lease = $6)
RETURNING item
