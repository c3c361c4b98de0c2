-- The comment is the version: see migrate.go. VARBINARY compares octets, where any collation of VARCHAR takes
-- 'ca' and 'ca ' for equal.
CREATE TABLE ocsp_certificates (
	issuer     VARBINARY(255) NOT NULL,
	serial     VARBINARY(64)  NOT NULL,
	state      VARCHAR(20) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
	reason     VARCHAR(20) CHARACTER SET ascii COLLATE ascii_bin NOT NULL DEFAULT '',
	revoked_at BIGINT NULL,
	not_after  BIGINT NULL,
	PRIMARY KEY (issuer, serial),
	CONSTRAINT ocsp_issuer CHECK (LENGTH(issuer) >= 1),
	CONSTRAINT ocsp_serial CHECK (LENGTH(serial) >= 1),
	CONSTRAINT ocsp_state CHECK (state IN ('PreActive', 'Active', 'Deactivated', 'Compromised', 'Destroyed', 'DestroyedCompromised')),
	CONSTRAINT ocsp_reason CHECK (reason IN ('', 'unspecified', 'keyCompromise', 'cACompromise', 'affiliationChanged', 'superseded', 'cessationOfOperation', 'certificateHold', 'privilegeWithdrawn', 'aACompromise')),
	CONSTRAINT ocsp_revoked_at_range CHECK (revoked_at BETWEEN -62135596799 AND 253402300799),
	CONSTRAINT ocsp_not_after_range CHECK (not_after BETWEEN -62135596799 AND 253402300799),
	CONSTRAINT ocsp_serial_canonical CHECK (LENGTH(serial) = 1 OR NOT (
		SUBSTRING(serial, 1, 1) = x'00' AND SUBSTRING(serial, 2, 1) < x'80' OR
		SUBSTRING(serial, 1, 1) = x'FF' AND SUBSTRING(serial, 2, 1) >= x'80')),
	CONSTRAINT ocsp_revoked_at CHECK ((state IN ('PreActive', 'Active')) = (revoked_at IS NULL)),
	CONSTRAINT ocsp_good_has_no_reason CHECK (reason = '' OR revoked_at IS NOT NULL),
	CONSTRAINT ocsp_hold CHECK (reason <> 'certificateHold' OR state = 'Deactivated')
) ENGINE = InnoDB COMMENT = 'ocspsql schema version 1'
