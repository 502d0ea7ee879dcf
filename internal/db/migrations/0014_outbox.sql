-- usable since: 2
-- What the server still has to send to others; see package outbox. Earlier versions neither
-- write nor read it: events that they record while they run beside this version have no notices.
CREATE TABLE outbox (
	id            TEXT PRIMARY KEY,
	kind          TEXT NOT NULL,
	account_id        TEXT NOT NULL,
	address       TEXT NOT NULL,
	topic         TEXT NOT NULL,
	body          BYTEA NOT NULL,
	priority      BIGINT NOT NULL,
	brief         BOOLEAN NOT NULL,
	admitted      BOOLEAN NOT NULL,
	more          BIGINT NOT NULL,
	tries         BIGINT NOT NULL,
	unsure        BOOLEAN NOT NULL,
	due_at        BIGINT NOT NULL,
	claimed_until BIGINT,
	created_at    BIGINT NOT NULL,
	gives_up_at   BIGINT NOT NULL,
	last_error    TEXT NOT NULL
);
CREATE INDEX outbox_due ON outbox (kind, priority, due_at);
CREATE INDEX outbox_account ON outbox (account_id, kind, topic);

-- When the messages of the last day were sent, as far as quotas limit them.
CREATE TABLE outbox_quotas (
	kind    TEXT NOT NULL,
	account_id  TEXT NOT NULL,
	topic   TEXT NOT NULL,
	slot    BIGINT NOT NULL,
	used_at BIGINT NOT NULL,
	PRIMARY KEY (kind, account_id, topic, slot)
);
