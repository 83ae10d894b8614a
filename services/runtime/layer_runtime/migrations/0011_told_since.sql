-- Whether a write was told of while an item was held: a result that is found written already may
-- be of inputs from before that write.

ALTER TABLE layer.function_items
    ADD COLUMN claimed_generation bigint NOT NULL DEFAULT 0;  -- as it was when it was claimed
