CREATE TABLE ocsp_certificates (
	issuer     TEXT COLLATE "C" NOT NULL CONSTRAINT ocsp_issuer CHECK (octet_length(issuer) BETWEEN 1 AND 255),
	serial     BYTEA            NOT NULL CONSTRAINT ocsp_serial CHECK (octet_length(serial) BETWEEN 1 AND 64),
	state      TEXT COLLATE "C" NOT NULL CONSTRAINT ocsp_state CHECK (state IN ('PreActive', 'Active', 'Deactivated', 'Compromised', 'Destroyed', 'DestroyedCompromised')),
	reason     TEXT COLLATE "C" NOT NULL DEFAULT '' CONSTRAINT ocsp_reason CHECK (reason IN ('', 'unspecified', 'keyCompromise', 'cACompromise', 'affiliationChanged', 'superseded', 'cessationOfOperation', 'certificateHold', 'privilegeWithdrawn', 'aACompromise')),
	revoked_at BIGINT                    CONSTRAINT ocsp_revoked_at_range CHECK (revoked_at BETWEEN -62135596799 AND 253402300799),
	not_after  BIGINT                    CONSTRAINT ocsp_not_after_range CHECK (not_after BETWEEN -62135596799 AND 253402300799),
	PRIMARY KEY (issuer, serial),
	CONSTRAINT ocsp_serial_canonical CHECK (octet_length(serial) = 1 OR NOT (
		substring(serial FROM 1 FOR 1) = '\x00' AND substring(serial FROM 2 FOR 1) < '\x80' OR
		substring(serial FROM 1 FOR 1) = '\xff' AND substring(serial FROM 2 FOR 1) >= '\x80')),
	CONSTRAINT ocsp_revoked_at CHECK ((state IN ('PreActive', 'Active')) = (revoked_at IS NULL)),
	CONSTRAINT ocsp_good_has_no_reason CHECK (reason = '' OR revoked_at IS NOT NULL),
	CONSTRAINT ocsp_hold CHECK (reason <> 'certificateHold' OR state = 'Deactivated')
)
