-- usable since: 2
ALTER TABLE attempts ADD COLUMN place TEXT NOT NULL DEFAULT '';
