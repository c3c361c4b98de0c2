package main

import (
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kmsocsp/ocsp/internal/servers"
)

// TestMain runs the server itself when a test has started this binary as one.
func TestMain(m *testing.M) {
	if os.Getenv("OCSPD_SERVE") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// daemon is a server in a process of its own, in a directory with what ten.sh makes.
type daemon struct {
	dir, listen, admin string
	cmd                *exec.Cmd
	ended              chan error
}

func sh(t *testing.T, dir, command string) string {
	t.Helper()
	cmd := exec.Command("sh", "-ec", command)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return string(out)
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, l.Close()) }()
	return l.Addr().String()
}

// prepare makes the directory. The settings are those of the repository, with the replacements.
func prepare(t *testing.T, replacements ...string) (d *daemon, rows string) {
	t.Helper()
	return prepareFor(t, "x'", replacements...)
}

// prepareFor does it for a database whose literals of octets begin with hex.
func prepareFor(t *testing.T, hex string, replacements ...string) (d *daemon, rows string) {
	t.Helper()
	script, err := filepath.Abs("ten.sh")
	require.NoError(t, err)
	text, err := os.ReadFile("ocspd.toml")
	require.NoError(t, err)
	d = &daemon{dir: t.TempDir(), listen: freeAddress(t), admin: freeAddress(t)}
	replacements = append(replacements, "127.0.0.1:8889", d.listen, "127.0.0.1:8890", d.admin)
	settings := strings.NewReplacer(replacements...).Replace(string(text))
	require.NoError(t, os.WriteFile(filepath.Join(d.dir, "ocspd.toml"), []byte(settings), 0o600))
	return d, sh(t, d.dir, "HEX="+strconv.Quote(hex)+" "+script)
}

func (d *daemon) command() *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "OCSPD_SERVE=1")
	cmd.Dir = d.dir
	return cmd
}

func (d *daemon) start(t *testing.T) {
	t.Helper()
	d.cmd, d.ended = d.command(), make(chan error, 1)
	log, err := os.Create(filepath.Join(d.dir, "log"))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, log.Close()) })
	d.cmd.Stderr = log
	require.NoError(t, d.cmd.Start())
	go func() { d.ended <- d.cmd.Wait() }()
	t.Cleanup(func() { _ = d.cmd.Process.Kill() })
	require.Eventually(t, func() bool {
		code, _ := d.get("/readyz")
		return code == http.StatusOK
	}, 30*time.Second, 20*time.Millisecond)
}

func (d *daemon) stop(t *testing.T) {
	t.Helper()
	require.NoError(t, d.cmd.Process.Signal(syscall.SIGTERM))
	require.NoError(t, <-d.ended)
}

func (d *daemon) log(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(d.dir, "log"))
	require.NoError(t, err)
	return string(text)
}

func (d *daemon) get(path string) (code int, body string) {
	response, err := http.Get("http://" + d.admin + path)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err.Error()
	}
	return response.StatusCode, string(text)
}

// ask asks with openssl, as the README does.
func (d *daemon) ask(t *testing.T, what string) string {
	t.Helper()
	return sh(t, d.dir, "openssl ocsp -issuer ca.pem -CAfile ca.pem -url http://"+d.listen+"/ "+what)
}

func execSQL(t *testing.T, driver, source, query string) {
	t.Helper()
	db, err := sql.Open(driver, source)
	require.NoError(t, err)
	_, err = db.Exec(query)
	require.NoError(t, err)
	require.NoError(t, db.Close())
}

// sqlite returns the source of the SQLite file, which is where the settings have it.
func (d *daemon) sqlite() string {
	return "file:" + filepath.Join(d.dir, "certificates.db") + "?_pragma=busy_timeout(5000)"
}

func TestTenCertificatesInSQLite(t *testing.T) {
	t.Parallel()
	testTenCertificates(t, "sqlite", "", "x'")
}

func TestTenCertificatesInPostgreSQL(t *testing.T) {
	t.Parallel()
	server := startServer(t, servers.PostgreSQL)
	testTenCertificates(t, "pgx", server.PostgresURL("postgres"), `'\x`)
}

func TestTenCertificatesInMariaDB(t *testing.T) {
	t.Parallel()
	server := startServer(t, servers.MariaDB)
	execSQL(t, "mysql", server.MySQLSource(""), "CREATE DATABASE ocspd")
	testTenCertificates(t, "mysql", server.MySQLSource("ocspd"), "x'")
}

func startServer(t *testing.T, start func() (*servers.Server, error)) *servers.Server {
	t.Helper()
	server, err := start()
	if errors.Is(err, servers.ErrMissing) && os.Getenv("OCSP_REQUIRE_TOOLS") != "1" {
		t.Skip(err)
	}
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Remove()) })
	return server
}

// testTenCertificates looks into a database. Without a source it is the one of the settings.
func testTenCertificates(t *testing.T, driver, source, hex string) {
	var replacements []string
	if source != "" {
		replacements = []string{`driver = "sqlite"`, fmt.Sprintf("driver = %q", driver),
			`source = "`, fmt.Sprintf("source = %q # ", source)}
	}
	d, rows := prepareFor(t, hex, replacements...)
	if source == "" {
		source = d.sqlite()
	}
	d.start(t)
	require.Contains(t, d.ask(t, "-serial 1"), "1: unknown")
	for row := range strings.Lines(rows) {
		execSQL(t, driver, source, row)
	}
	for serial := 1; serial <= 10; serial++ {
		want := "good"
		if serial == 3 {
			want = "revoked"
		}
		out := d.ask(t, "-serial "+strconv.Itoa(serial))
		require.Contains(t, out, "Response verify OK")
		require.Contains(t, out, ": "+want)
	}
	require.Contains(t, d.ask(t, "-cert cert03.pem"), "keyCompromise")
	require.Contains(t, d.ask(t, "-serial 11"), "11: unknown")

	// The next answer after a revocation says so.
	execSQL(t, driver, source, fmt.Sprintf("UPDATE ocsp_certificates SET state = 'Deactivated', "+
		"reason = 'superseded', revoked_at = %d WHERE serial = %s05'", time.Now().Unix(), hex))
	require.Contains(t, d.ask(t, "-cert cert05.pem"), "cert05.pem: revoked")

	code, metrics := d.get("/metrics")
	require.Equal(t, http.StatusOK, code)
	require.Regexp(t, `(?m)^ocsp_answers_total\{.*revoked`, metrics)
	code, _ = d.get("/healthz")
	require.Equal(t, http.StatusOK, code)
	d.stop(t)
	require.Equal(t, 2, strings.Count(d.log(t), "\n"))
	require.Contains(t, d.log(t), "starts: listen "+d.listen+", admin "+d.admin+
		", CA CN=Ten CA, signer [pem.delegate]\n")
	require.Contains(t, d.log(t), " ended\n")
}

// Probes count as no answers. They fail while the table does not answer.
func TestReadiness(t *testing.T) {
	t.Parallel()
	d, _ := prepare(t)
	d.start(t) // which has asked
	_, metrics := d.get("/metrics")
	require.NotContains(t, metrics, "ocsp_answers_total")
	execSQL(t, "sqlite", d.sqlite(), "ALTER TABLE ocsp_certificates RENAME TO away")
	code, body := d.get("/readyz")
	require.Equal(t, http.StatusServiceUnavailable, code)
	require.Contains(t, body, "ocsp_certificates")
	execSQL(t, "sqlite", d.sqlite(), "ALTER TABLE away RENAME TO ocsp_certificates")
	code, _ = d.get("/readyz")
	require.Equal(t, http.StatusOK, code)
	d.stop(t)
}

// SIGHUP takes a new delegate, and keeps the former one while the files do not fit each other.
func TestHangupReadsKeyAndCertificate(t *testing.T) {
	t.Parallel()
	d, rows := prepare(t)
	d.start(t)
	execSQL(t, "sqlite", d.sqlite(), rows)
	responder := func() string {
		out := d.ask(t, "-cert cert01.pem -resp_text -no_nonce")
		return regexp.MustCompile(`Responder Id: (\S+)`).FindString(out)
	}
	before := responder()
	require.NotEmpty(t, before)
	hangup := func(logged string) {
		require.NoError(t, d.cmd.Process.Signal(syscall.SIGHUP))
		require.Eventually(t, func() bool {
			_, out := d.get("/healthz")
			text, err := os.ReadFile(filepath.Join(d.dir, "log"))
			return out == "" && err == nil && strings.Contains(string(text), logged)
		}, 20*time.Second, 20*time.Millisecond, logged)
	}
	sh(t, d.dir, "cp ocsp.key old.key; cp cert01.key ocsp.key")
	hangup("[pem.delegate] key")
	require.Equal(t, before, responder())
	sh(t, d.dir, `openssl req -new -key ocsp.key -subj /CN=new -out new.csr
		printf 'extendedKeyUsage=OCSPSigning\nkeyUsage=digitalSignature\n1.3.6.1.5.5.7.48.1.5=ASN1:NULL\n' >new.ext
		openssl x509 -req -in new.csr -CA ca.pem -CAkey ca.key -set_serial 0x7e -extfile new.ext -out ocsp.pem`)
	hangup("error: <nil>")
	require.NotEqual(t, before, responder())
	d.stop(t)
}

// What cannot work ends the process with the setting and a cure. Most of it does so before a database
// is made.
func TestErrorsNameTheSetting(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		old, new, want string
		opens          bool
	}{
		"unknown key":  {old: "ca_uid", new: "ca_udi", want: "ca_udi"},
		"driver":       {old: `driver = "sqlite"`, new: `driver = "oracle"`, want: `driver must be one of ["pgx" "sqlite" "mysql"]`},
		"no table":     {old: "migrate = true", new: "migrate = false", want: "[store] migrate = false (true: make it)", opens: true},
		"no file":      {old: `"ocsp.pem"`, new: `"missing.pem"`, want: "[pem.delegate] certificate: give its file in PEM: open missing.pem"},
		"wrong key":    {old: `"ocsp.key"`, new: `"ca.key"`, want: "[pem.delegate] key: give its file in PEM, not encrypted"},
		"not a uid":    {old: `responder_uid = "delegate"`, new: `responder_uid = "d"`, want: `responder_uid = "d"`},
		"bad validity": {old: "cache_ttl_secs = 86400", new: "cache_ttl_secs = 1", want: "cache_ttl_secs = 1"},
		"listen":       {old: `"127.0.0.1:8889"`, new: `"127.0.0.1:99999"`, want: "[server] listen", opens: true},
		"empty listen": {old: `"127.0.0.1:8889"`, new: `""`, want: `[server] listen = "", admin = "127.0.0.1:`},
		"empty admin":  {old: `"127.0.0.1:8890"`, new: `""`, want: `admin = "": give both an address and port`},
		"no listen":    {old: "listen = ", new: "# listen = ", want: `[server] listen = ""`},
		"no admin":     {old: "admin = ", new: "# admin = ", want: `admin = "": give both an address and port`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, _ := prepare(t, c.old, c.new)
			out, err := d.command().CombinedOutput()
			require.Error(t, err)
			require.Contains(t, string(out), c.want)
			database := filepath.Join(d.dir, "certificates.db")
			if c.opens {
				require.FileExists(t, database)
			} else {
				require.NoFileExists(t, database)
			}
		})
	}
}

func TestNoSettings(t *testing.T) {
	t.Parallel()
	d, _ := prepare(t)
	require.NoError(t, os.Remove(filepath.Join(d.dir, "ocspd.toml")))
	out, err := d.command().CombinedOutput()
	require.Error(t, err)
	require.Regexp(t, `^-config ocspd\.toml: .*open ocspd\.toml: `, string(out))
}

// The settings of the unit leave little that the server could do to the machine.
func TestUnitIsHardened(t *testing.T) {
	t.Parallel()
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		unit, err := os.ReadFile("ocspd.service")
		require.NoError(t, err)
		require.Contains(t, string(unit), "ProtectSystem=strict")
		return
	}
	out, err := exec.Command(analyze, "security", "--offline=yes", "--no-pager", "--threshold=19",
		"ocspd.service").CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "OK")
}

// What the Containerfile runs builds, from pinned images, and does not run as root.
func TestContainerfile(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("Containerfile")
	require.NoError(t, err)
	for _, from := range regexp.MustCompile(`(?m)^FROM (\S+)`).FindAllStringSubmatch(string(text), -1) {
		require.Regexp(t, `^(scratch|\S+:\d+\.\d+\.\d+-\S+)$`, from[1])
	}
	require.Regexp(t, `(?m)^USER [1-9]\d*:`, string(text))
	run := regexp.MustCompile(`(?m)^RUN (go build .*)$`).FindStringSubmatch(string(text))
	require.Len(t, run, 2)
	binary := filepath.Join(t.TempDir(), "ocspd")
	sh(t, ".", "GOWORK=off CGO_ENABLED=0 "+strings.Replace(run[1], "/ocspd", binary, 1))
	info, err := os.Stat(binary)
	require.NoError(t, err)
	require.NotZero(t, info.Size())
}

// A query over a table of the operator's own, which has serial numbers in upper-case hex.
func TestQueryOfTheOperator(t *testing.T) {
	t.Parallel()
	d, _ := prepare(t, "migrate = true", "migrate = false", "# query = ", "query = ",
		"AND serial = ?", "AND serial = upper(?)", `# serial = "hex"`, `serial = "hex-octets"`)
	execSQL(t, "sqlite", d.sqlite(), "CREATE TABLE certs (ca, serial, state, reason, revoked_at, "+
		"PRIMARY KEY (ca, serial)); INSERT INTO certs VALUES ('ca', '01', 'Active', '', NULL), "+
		"('ca', '0A', 'Deactivated', 'superseded', 1700000000)")
	d.start(t)
	require.Contains(t, d.ask(t, "-cert cert01.pem"), "cert01.pem: good")
	require.Contains(t, d.ask(t, "-cert cert0a.pem"), "superseded")
	require.Contains(t, d.ask(t, "-cert cert02.pem"), "cert02.pem: unknown")
	d.stop(t)
}
