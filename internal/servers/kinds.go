package servers

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Password is that of the servers' user "tester", which no error and no log may repeat.
const Password = "s3cret-Passw0rd"

// PostgreSQL starts a new PostgreSQL server.
func PostgreSQL() (*Server, error) {
	initdb, err := find("initdb", "/usr/lib/postgresql/*/bin/initdb", "postgresql")
	if err != nil {
		return nil, err
	}
	s, err := prepare("postgres")
	if err != nil {
		return nil, err
	}
	err = s.initPostgreSQL(initdb)
	if err == nil {
		err = s.Start()
	}
	if err != nil {
		return nil, errors.Join(err, s.Remove())
	}
	return s, nil
}

func (s *Server) initPostgreSQL(initdb string) error {
	password, data := filepath.Join(s.dir, "password"), filepath.Join(s.dir, "data")
	if err := s.write("password", Password); err != nil {
		return err
	}
	if err := s.run(initdb, "-D", data, "-U", "tester", "--pwfile", password, "-A", "scram-sha-256", "-E", "UTF8", "--no-sync"); err != nil {
		return err
	}
	bin, port := filepath.Dir(initdb), fmt.Sprint(s.Port)
	s.command = []string{filepath.Join(bin, "postgres"), "-D", data, "-h", "127.0.0.1", "-p", port, "-k", s.dir,
		"-c", "fsync=off", "-c", "shared_buffers=256MB", "-c", "max_wal_size=4GB"}
	s.ready = func() error {
		return exec.Command(filepath.Join(bin, "pg_isready"), "-q", "-t", "1", "-h", "127.0.0.1", "-p", port).Run()
	}
	return nil
}

// PostgresURL returns the URL of a database of a PostgreSQL server; "postgres" is always there.
func (s *Server) PostgresURL(database string) string {
	return fmt.Sprintf("postgres://tester:%s@%s/%s?sslmode=disable", Password, s.Address(), database)
}

// MariaDB starts a new MariaDB server.
func MariaDB() (*Server, error) {
	program, err := find("mariadbd", "/usr/sbin/mariadbd", "mariadb-server")
	if err != nil {
		return nil, err
	}
	s, err := prepare("mysql")
	if err != nil {
		return nil, err
	}
	err = s.initMariaDB(program)
	if err == nil {
		err = s.Start()
	}
	if err != nil {
		return nil, errors.Join(err, s.Remove())
	}
	return s, nil
}

// initMariaDB makes a server without defaults, so that the machine's own and its files are left alone.
func (s *Server) initMariaDB(program string) error {
	install, err := find("mariadb-install-db", "/usr/bin/mariadb-install-db", "mariadb-server")
	if err != nil {
		return err
	}
	client, err := find("mariadb", "/usr/bin/mariadb", "mariadb-client")
	if err != nil {
		return err
	}
	grant := "CREATE USER IF NOT EXISTS tester@'127.0.0.1' IDENTIFIED BY '" + Password + "';\n" +
		"GRANT ALL ON *.* TO tester@'127.0.0.1';\n"
	if err := s.write("init.sql", grant); err != nil {
		return err
	}
	data, port := "--datadir="+filepath.Join(s.dir, "data"), fmt.Sprintf("--port=%d", s.Port)
	if err := s.run(install, "--no-defaults", data, "--auth-root-authentication-method=normal", "--skip-test-db", "--skip-log-bin"); err != nil {
		return err
	}
	s.stop = "-TERM"
	s.command = []string{program, "--no-defaults", data, port, "--bind-address=127.0.0.1", "--socket=" + filepath.Join(s.dir, "sock"),
		"--pid-file=" + filepath.Join(s.dir, "pid"), "--tmpdir=" + s.dir, "--init-file=" + filepath.Join(s.dir, "init.sql"),
		"--skip-name-resolve", "--innodb-flush-log-at-trx-commit=2", "--innodb-buffer-pool-size=256M"}
	s.ready = func() error {
		cmd := exec.Command(client, "--no-defaults", "--protocol=tcp", "--host=127.0.0.1", port, "--user=tester", "--connect-timeout=1", "--execute=SELECT 1")
		cmd.Env = append(os.Environ(), "MYSQL_PWD="+Password)
		return cmd.Run()
	}
	return nil
}

// MySQLSource returns the data source name of a database of a MariaDB server, as the driver "mysql" has it.
func (s *Server) MySQLSource(database string) string {
	return fmt.Sprintf("tester:%s@tcp(%s)/%s", Password, s.Address(), database)
}

// Redis starts a new Redis server.
func Redis() (*Server, error) {
	program, err := find("redis-server", "/usr/bin/redis-server", "redis-server")
	if err != nil {
		return nil, err
	}
	s, err := prepare("redis")
	if err != nil {
		return nil, err
	}
	s.command = []string{program, "--port", fmt.Sprint(s.Port), "--bind", "127.0.0.1", "--dir", s.dir, "--appendonly", "yes", "--save", "", "--requirepass", Password}
	s.ready = func() error {
		conn, err := net.DialTimeout("tcp", s.Address(), time.Second)
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close() }()
		if err := conn.SetDeadline(time.Now().Add(time.Second)); err != nil {
			return err
		}
		if _, err := fmt.Fprintf(conn, "AUTH %s\r\nPING\r\n", Password); err != nil {
			return err
		}
		reader := bufio.NewReader(conn)
		for _, want := range []string{"+OK", "+PONG"} {
			line, err := reader.ReadString('\n')
			if err != nil {
				return err
			}
			if strings.TrimSpace(line) != want {
				return fmt.Errorf("it answers %q", line)
			}
		}
		return nil
	}
	if err := s.Start(); err != nil {
		return nil, errors.Join(err, s.Remove())
	}
	return s, nil
}

// RedisURL returns the URL of a Redis server's database 0.
func (s *Server) RedisURL() string { return fmt.Sprintf("redis://:%s@%s/0", Password, s.Address()) }
