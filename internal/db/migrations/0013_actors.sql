-- usable since: 2
-- What a node knows that earlier versions don't; see package cluster.
ALTER TABLE nodes ADD COLUMN knows TEXT NOT NULL DEFAULT '';
-- Who caused an event, and why; see package audit.
ALTER TABLE events ADD COLUMN actor_id TEXT;
ALTER TABLE events ADD COLUMN client_id TEXT;
ALTER TABLE events ADD COLUMN reason TEXT;
