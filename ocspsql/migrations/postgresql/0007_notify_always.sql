-- Otherwise they do not fire under session_replication_role = replica, and such a change is not heard.
ALTER TABLE ocsp_certificates
	ENABLE ALWAYS TRIGGER ocsp_notify_update,
	ENABLE ALWAYS TRIGGER ocsp_notify_delete,
	ENABLE ALWAYS TRIGGER ocsp_notify_truncate
