-- usable since: 2
-- The newest step that was used while nobody knew whether the clock was right.
ALTER TABLE totp ADD COLUMN step_ahead BIGINT NOT NULL DEFAULT 0;
