-- usable since: 2
CREATE TABLE clock (
	id            BIGINT PRIMARY KEY,
	high_water_at BIGINT,
	leapt_at      BIGINT,
	seen_at       BIGINT,
	version       BIGINT NOT NULL
);
