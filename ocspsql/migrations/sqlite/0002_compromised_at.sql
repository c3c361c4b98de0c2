ALTER TABLE ocsp_certificates ADD COLUMN compromised_at INTEGER
	CONSTRAINT ocsp_compromised_at CHECK (compromised_at IS NULL OR revoked_at IS NOT NULL AND compromised_at BETWEEN -62135596799 AND 253402300799)
