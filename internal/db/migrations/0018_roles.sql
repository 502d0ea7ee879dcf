-- usable since: 2
-- A program of this version knows the roles auditor and helpdesk, but the migration writes none.
-- The index finds the accounts that have another role than member.
CREATE INDEX accounts_with_role_by_name ON accounts (name COLLATE "C") WHERE role <> 'member';
