package dbtest

import (
	"fmt"
	"os"
	"path/filepath"
)

func newPostgreSQL() *server {
	s := &server{driver: "pgx"}
	s.address = func(database string) string {
		if database == "" {
			database = "postgres"
		}
		return fmt.Sprintf("postgres://tester:%s@127.0.0.1:%d/%s?sslmode=disable", Password, s.port, database)
	}
	s.start = startPostgreSQL
	return s
}

func startPostgreSQL(s *server) error {
	initdb, err := find("initdb", "/usr/lib/postgresql/*/bin/initdb", "postgresql")
	if err != nil {
		return err
	}
	credential, uid, gid, err := account("postgres")
	if err != nil {
		return err
	}
	if err := s.prepare(uid, gid); err != nil {
		return err
	}
	password, data := filepath.Join(s.dir, "password"), filepath.Join(s.dir, "data")
	if err := os.WriteFile(password, []byte(Password), 0o600); err != nil {
		return err
	}
	if err := os.Chown(password, uid, gid); err != nil {
		return err
	}
	if err := s.run(credential, initdb, "-D", data, "-U", "tester", "--pwfile", password, "-A", "scram-sha-256", "-E", "UTF8", "--no-sync"); err != nil {
		return err
	}
	return s.serve(credential, filepath.Join(filepath.Dir(initdb), "postgres"), "-D", data, "-h", "127.0.0.1", "-p", fmt.Sprint(s.port),
		"-k", s.dir, "-c", "fsync=off", "-c", "shared_buffers=256MB", "-c", "max_wal_size=4GB")
}

func newMariaDB() *server {
	s := &server{driver: "mysql"}
	s.address = func(database string) string {
		return fmt.Sprintf("tester:%s@tcp(127.0.0.1:%d)/%s", Password, s.port, database)
	}
	s.start = startMariaDB
	return s
}

func startMariaDB(s *server) error {
	program, err := find("mariadbd", "/usr/sbin/mariadbd", "mariadb-server")
	if err != nil {
		return err
	}
	install, err := find("mariadb-install-db", "/usr/bin/mariadb-install-db", "mariadb-server")
	if err != nil {
		return err
	}
	credential, uid, gid, err := account("mysql")
	if err != nil {
		return err
	}
	if err := s.prepare(uid, gid); err != nil {
		return err
	}
	data, script := "--datadir="+filepath.Join(s.dir, "data"), filepath.Join(s.dir, "init.sql")
	grant := "CREATE USER tester@'127.0.0.1' IDENTIFIED BY '" + Password + "';\nGRANT ALL ON *.* TO tester@'127.0.0.1';\n"
	if err := os.WriteFile(script, []byte(grant), 0o644); err != nil {
		return err
	}
	// Without defaults, so that the machine's own server and its folders are left alone.
	if err := s.run(credential, install, "--no-defaults", data, "--auth-root-authentication-method=normal", "--skip-test-db", "--skip-log-bin"); err != nil {
		return err
	}
	return s.serve(credential, program, "--no-defaults", data, "--bind-address=127.0.0.1", fmt.Sprintf("--port=%d", s.port),
		"--socket="+filepath.Join(s.dir, "sock"), "--pid-file="+filepath.Join(s.dir, "pid"), "--tmpdir="+s.dir, "--init-file="+script,
		"--skip-name-resolve", "--innodb-flush-log-at-trx-commit=2", "--innodb-buffer-pool-size=256M")
}
