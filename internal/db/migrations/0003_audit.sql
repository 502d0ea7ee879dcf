-- usable since: 2
ALTER TABLE events ADD COLUMN authenticator_id TEXT;
ALTER TABLE events ADD COLUMN seq BIGINT;
ALTER TABLE events ADD COLUMN mac BYTEA;
CREATE INDEX events_unsealed ON events (at, id) WHERE seq IS NULL;
CREATE UNIQUE INDEX events_seq ON events (seq) WHERE seq IS NOT NULL;

CREATE TABLE audit_head (
	seq BIGINT NOT NULL,
	mac BYTEA
);
INSERT INTO audit_head (seq) VALUES (0);

CREATE TABLE audit_checkpoints (
	seq     BIGINT PRIMARY KEY,
	head    BYTEA NOT NULL,
	events  BIGINT NOT NULL,
	made_at BIGINT NOT NULL,
	mac     BYTEA NOT NULL
);

CREATE TABLE leases (
	name       TEXT PRIMARY KEY,
	holder     TEXT NOT NULL,
	expires_at BIGINT NOT NULL
);
