-- usable since: 2
-- What a node knows that earlier versions don't; see package cluster.
ALTER TABLE nodes ADD COLUMN knows TEXT NOT NULL DEFAULT '';
-- Who caused an event, and why; see package audit.
ALTER TABLE events ADD COLUMN actor_id TEXT;
ALTER TABLE events ADD COLUMN client_id TEXT;
ALTER TABLE events ADD COLUMN reason TEXT;
-- Earlier versions know neither these columns nor this one. Without the condition, one that
-- still runs would seal an event as if it didn't have them, and the log would never verify.
ALTER TABLE events ADD COLUMN sealed_form BIGINT
	CHECK (seq IS NULL OR actor_id IS NULL AND client_id IS NULL AND reason IS NULL OR sealed_form IS NOT NULL);
