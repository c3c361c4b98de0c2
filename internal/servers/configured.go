package servers

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Configured starts a program, which is called as its Debian package, on files of its own, which it finds in its
// folder, and returns when it listens. In the file "config" and in the arguments DIR stands for the folder, ADDRESS
// for the host and the port to listen on, and PORT for the port alone. Where we are root it runs as nobody.
func Configured(program string, files map[string]string, args ...string) (*Server, error) {
	path, err := find(program, "/usr/sbin/"+program, program)
	if err != nil {
		return nil, err
	}
	s, err := prepare("nobody")
	if err != nil {
		return nil, err
	}
	s.stop = "-TERM" // nginx and HAProxy know it, and Apache's parent forgets its children at an interrupt
	fill := strings.NewReplacer("DIR", s.dir, "ADDRESS", s.Address(), "PORT", strconv.Itoa(s.Port)).Replace
	s.command = []string{path}
	for _, arg := range args {
		s.command = append(s.command, fill(arg))
	}
	for name, text := range files {
		if name == "config" {
			text = fill(text)
		}
		err = errors.Join(err, s.write(name, text))
	}
	s.ready = func() error {
		conn, err := net.Dial("tcp", s.Address())
		if err != nil {
			return err
		}
		return conn.Close()
	}
	if err == nil {
		err = s.Start()
	}
	if err != nil {
		return nil, errors.Join(err, s.Remove())
	}
	return s, nil
}

// write writes a file that only the server can read.
func (s *Server) write(name, text string) error {
	path := filepath.Join(s.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil || s.credential == nil {
		return err
	}
	return os.Chown(path, int(s.credential.Uid), int(s.credential.Gid))
}

// Dir returns the server's folder.
func (s *Server) Dir() string { return s.dir }

// Log returns what the server has said, and after it the file "log" of its folder, if it has one.
func (s *Server) Log() string {
	text, _ := os.ReadFile(filepath.Join(s.dir, "log"))
	return s.log.String() + string(text)
}
