-- Functions that fire at the times of a cron expression, and why one is stopped.
--
-- A firing is counted, then swept for, then settled when nothing that it found is left to do. From
-- the first to the last its window is open.

ALTER TABLE layer.functions
    ADD COLUMN pause_reason text,                              -- NULL while it is not stopped
    ADD COLUMN fires_at timestamptz,                           -- next; NULL without a schedule
    ADD COLUMN fired_at timestamptz,                           -- last
    ADD COLUMN firing_count bigint NOT NULL DEFAULT 0,
    ADD COLUMN swept_firing_count bigint NOT NULL DEFAULT 0,   -- of them, those swept for
    ADD COLUMN settled_firing_count bigint NOT NULL DEFAULT 0; -- of those, whose work is done

CREATE INDEX functions_firing ON layer.functions (fires_at) WHERE fires_at IS NOT NULL;
