-- Items with their payloads, as new, whatever they were. $1 owner, $2 items, $3 payloads, $4 stage
INSERT INTO {queue} AS queue (owner, item, stage, due_at, entered_at, payload)
SELECT $1, item, $4, now(), now(), payload
FROM unnest($2::text[], $3::bytea[]) AS staged (item, payload)
ON CONFLICT (owner, item) DO UPDATE
SET stage = excluded.stage, due_at = excluded.due_at, entered_at = excluded.entered_at,
    payload = excluded.payload, attempts = 0, reason = NULL,
    lease = NULL, lease_s = NULL, worker = NULL, claimed_from = NULL
