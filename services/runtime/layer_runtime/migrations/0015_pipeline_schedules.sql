-- Pipelines that fire at the times of a cron expression. A firing opens a window in which there are
-- workers; it closes when it has been open for a while and nothing waits or is worked on.

ALTER TABLE layer.pipelines
    ADD COLUMN cron text NOT NULL DEFAULT '',
    ADD COLUMN fires_at timestamptz,                        -- next; NULL without a schedule
    ADD COLUMN fired_at timestamptz,                        -- last
    ADD COLUMN is_window_open boolean NOT NULL DEFAULT false;

CREATE INDEX pipelines_firing ON layer.pipelines (fires_at) WHERE fires_at IS NOT NULL;
