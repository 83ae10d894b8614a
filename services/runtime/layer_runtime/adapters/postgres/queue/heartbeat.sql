-- $1 owner, $2 items, $3 stage, $4 worker, $5 token (NULL = whichever)
UPDATE {queue}
SET due_at = now() + lease_s * interval '1 second'
WHERE owner = $1 AND item = ANY($2::text[]) AND stage = $3 AND worker = $4
    AND lease IS NOT NULL AND ($5::bigint IS NULL OR lease = $5)
RETURNING item
