-- usable since: 2
CREATE TABLE nodes (
	id         TEXT PRIMARY KEY,
	name       TEXT NOT NULL,
	ring_keys  TEXT NOT NULL,
	expires_at BIGINT NOT NULL
);
