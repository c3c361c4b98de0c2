CREATE TRIGGER ocsp_notify_delete AFTER DELETE ON ocsp_certificates
	REFERENCING OLD TABLE AS ocsp_before FOR EACH STATEMENT EXECUTE FUNCTION ocsp_notify()
