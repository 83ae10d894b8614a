-- Functions, what they are told, and the rows that wait for them.

CREATE TABLE layer.functions (
    number integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id text COLLATE "C" NOT NULL UNIQUE,
    stem text COLLATE "C" NOT NULL UNIQUE,  -- of its markers: "a-b" and "a_b" would share theirs
    spec bytea NOT NULL,                    -- JSON, of domain.functions.FunctionSpec
    candidate_of integer UNIQUE REFERENCES layer.functions ON DELETE CASCADE,
    outputs text[] NOT NULL DEFAULT '{}',   -- of a candidate
    is_paused boolean NOT NULL,
    is_swept boolean NOT NULL,              -- whether it is triggered by discovery
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    sweep_due_at timestamptz NOT NULL DEFAULT now(),
    sweep_count bigint NOT NULL DEFAULT 0,  -- that came to their end
    sweep_failures integer NOT NULL DEFAULT 0, -- since the last of them
    swept_at timestamptz,
    active_namespaces text[] NOT NULL DEFAULT '{}'
);

-- What one replica at a time does for a function, and until when it has said so.
CREATE TABLE layer.function_duties (
    function integer NOT NULL REFERENCES layer.functions ON DELETE CASCADE,
    duty text NOT NULL,
    holder text NOT NULL,
    until timestamptz NOT NULL,
    PRIMARY KEY (function, duty)
);

CREATE SEQUENCE layer.function_leases;

-- Rows that wait, are worked on, or were given up. Those that are done leave it.
CREATE TABLE layer.function_items (
    function integer NOT NULL,
    namespace text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    due_at timestamptz NOT NULL,            -- waiting: claimable from then on; leased: until then
    attempts integer NOT NULL DEFAULT 0,    -- that failed, or whose lease ran out
    lease bigint,                           -- of the claim that holds it; NULL while it waits
    lease_s integer,                        -- for which it was claimed
    worker text COLLATE "C",                -- who holds it
    failed_at timestamptz,                  -- NULL unless it was given up
    message text,                           -- of the last attempt that failed
    generation bigint NOT NULL DEFAULT 0,   -- raised by a write that makes it due once more
    is_forced boolean NOT NULL DEFAULT false, -- due whatever its marker says
    version text,                           -- the function's when it was claimed
    stamp_ms bigint,                        -- of the row when it was claimed
    digest bytea,                           -- of the inputs that were given out
    done_digest bytea,                      -- of the inputs that were processed last
    PRIMARY KEY (function, namespace, id)
);
CREATE INDEX function_items_waiting ON layer.function_items (function, due_at, namespace, id)
    WHERE lease IS NULL AND failed_at IS NULL;
CREATE INDEX function_items_leased ON layer.function_items (function, due_at)
    WHERE lease IS NOT NULL;
CREATE INDEX function_items_failed ON layer.function_items (function, namespace, id)
    WHERE failed_at IS NOT NULL;
ALTER TABLE layer.function_items SET (
    fillfactor = 70,
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000,
    autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 50000,
    autovacuum_vacuum_cost_delay = 0
);

-- What was completed lately, of which the rate is made. Nothing is ever updated here.
CREATE TABLE layer.function_completions (
    function integer NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    count integer NOT NULL
);
CREATE INDEX function_completions_at ON layer.function_completions (function, at);
