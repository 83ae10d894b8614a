-- What was settled while it was enqueued: it is in one table only, and the settled one wins.
-- $1 owner, $2 items that this transaction has enqueued
DELETE FROM {queue} AS queue USING {settled} AS settled
WHERE queue.owner = $1 AND queue.item = ANY($2::text[])
    AND settled.owner = $1 AND settled.item = queue.item
RETURNING queue.item
