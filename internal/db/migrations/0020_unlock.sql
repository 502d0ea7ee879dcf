-- usable since: 2
-- How many codes were typed for a link, and how the browser that asked for it is found.
ALTER TABLE tickets ADD COLUMN tries BIGINT NOT NULL DEFAULT 0;
CREATE INDEX tickets_browser ON tickets (browser_hash) WHERE browser_hash IS NOT NULL;
