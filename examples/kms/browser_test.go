package main

import (
	"bufio"
	"context"
	_ "embed"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/examples/kms/internal/ca"
	"github.com/kmsocsp/ocsp/examples/kms/internal/cli"
	"github.com/kmsocsp/ocsp/examples/kms/internal/config"
	"github.com/kmsocsp/ocsp/examples/kms/internal/page"
)

var screenshots = flag.String("screenshots", "", "a `directory` for TestBrowser's pictures of the page")

// inspect reports what is wrong with the page in a browser: contrast, structure, labels.
//
//go:embed testdata/inspect.js
var inspect string

// findChromium returns the browser's path, and skips the test where it is not installed, unless
// that is not allowed.
func findChromium(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	const missing = "Chromium is not installed: apt-get install chromium, or scripts/install.sh browser"
	if os.Getenv("OCSP_REQUIRE_TOOLS") == "1" {
		t.Fatal(missing)
	}
	t.Skip(missing)
	return ""
}

// tab is a browser with one tab.
type tab struct {
	*testing.T
	ctx context.Context
	url string

	mu       sync.Mutex
	problems []string // that the browser reports
}

// newTab opens a browser of a screen's size on a server at that URL.
func newTab(t *testing.T, url string, width, height int64) *tab {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(findChromium(t)),
		chromedp.NoSandbox, // it sees nothing but our pages, and as root it wants that
		chromedp.Flag("disable-dev-shm-usage", true), chromedp.WSURLReadTimeout(time.Minute))
	ctx, stop := context.WithTimeout(context.WithoutCancel(t.Context()), 2*time.Minute)
	t.Cleanup(stop)
	ctx, cancel := chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(cancel)
	ctx, _ = chromedp.NewContext(ctx)
	t.Cleanup(func() { // lets it end by itself, since one that is killed may still write into its folder
		if err := chromedp.Cancel(ctx); err != nil {
			t.Error(err)
		}
	})
	b := &tab{T: t, ctx: ctx, url: url}
	chromedp.ListenTarget(ctx, func(event any) {
		b.mu.Lock()
		defer b.mu.Unlock()
		switch e := event.(type) {
		case *runtime.EventExceptionThrown:
			b.problems = append(b.problems, e.ExceptionDetails.Error())
		case *log.EventEntryAdded:
			// The network's are about pages that are errors on purpose.
			if e.Entry.Level == log.LevelError && e.Entry.Source != log.SourceNetwork {
				b.problems = append(b.problems, e.Entry.Text)
			}
		}
	})
	t.Cleanup(func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if len(b.problems) > 0 {
			t.Errorf("the browser reports %q", b.problems)
		}
	})
	b.run(chromedp.EmulateViewport(width, height, func(p1 *emulation.SetDeviceMetricsOverrideParams, p2 *emulation.SetTouchEmulationEnabledParams) {
		p1.Mobile = width < 500
		p1.DeviceScaleFactor = 1
	}))
	return b
}

func (b *tab) run(actions ...chromedp.Action) {
	b.Helper()
	if err := chromedp.Run(b.ctx, actions...); err != nil {
		var url, text string
		_ = chromedp.Run(b.ctx, chromedp.Location(&url), chromedp.Text("body", &text))
		b.Fatalf("%v, at %s:\n%s", err, url, text)
	}
}

// load does what loads a page, and waits for that.
func (b *tab) load(status int64, actions ...chromedp.Action) {
	b.Helper()
	res, err := chromedp.RunResponse(b.ctx, actions...)
	if err != nil {
		b.Fatal(err)
	}
	if res.Status != status {
		b.Fatalf("%s: %d, want %d", res.URL, res.Status, status)
	}
}

func (b *tab) open(path string) {
	b.Helper()
	b.load(200, chromedp.Navigate(b.url+path))
}

// text returns the text of the page as it is to be seen.
func (b *tab) text(selector string) string {
	b.Helper()
	var text string
	b.run(chromedp.Text(selector, &text, chromedp.ByQuery))
	return text
}

func (b *tab) sees(selector string, wants ...string) {
	b.Helper()
	text := b.text(selector)
	for _, want := range wants {
		if !strings.Contains(text, want) {
			b.Errorf("%s lacks %q:\n%s", selector, want, text)
		}
	}
}

// shot takes a picture of the whole page, if that is asked for.
func (b *tab) shot(name string) {
	b.Helper()
	var picture []byte
	b.save(name, &picture, chromedp.FullScreenshot(&picture, 100))
}

// glance takes a picture of what a screen of that size shows.
func (b *tab) glance(name string, width, height int64) {
	b.Helper()
	var picture []byte
	b.save(name, &picture, chromedp.EmulateViewport(width, height), chromedp.CaptureScreenshot(&picture))
}

func (b *tab) save(name string, picture *[]byte, take ...chromedp.Action) {
	b.Helper()
	if *screenshots == "" {
		return
	}
	b.run(take...)
	if err := os.WriteFile(filepath.Join(*screenshots, name+".png"), *picture, 0o600); err != nil {
		b.Fatal(err)
	}
}

// inspect looks for what people could not read or find on the page, and for what is wider than the
// screen.
func (b *tab) inspect() {
	b.Helper()
	var url string
	b.run(chromedp.Location(&url))
	for _, scheme := range []string{"dark", "light"} {
		var problems []string
		b.run(emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}),
			chromedp.Evaluate(inspect, &problems))
		for _, problem := range problems {
			b.Errorf("%s, %s: %s", url, scheme, problem)
		}
	}
}

func (b *tab) logIn(token string) {
	b.Helper()
	b.open("/")
	b.load(200, chromedp.SendKeys("#token", token, chromedp.ByQuery), chromedp.Click("main button", chromedp.ByQuery))
	b.sees("h1", "Certificates")
}

func (b *tab) certify(name string) {
	b.Helper()
	b.open("/")
	b.load(200, chromedp.SendKeys("#name", name, chromedp.ByQuery), chromedp.Click("main form button", chromedp.ByQuery))
}

func (b *tab) revoke(reason string) {
	b.Helper()
	b.load(200, chromedp.SetValue("#reason", reason, chromedp.ByQuery), chromedp.Click(`form[action$="/revoke"] button`, chromedp.ByQuery))
}

func (b *tab) destroy() {
	b.Helper()
	b.load(200, chromedp.Click(`form[action$="/destroy"] button`, chromedp.ByQuery))
}

// life issues a certificate, sees it good, revokes it, sees it revoked, and destroys it.
func (b *tab) life(shot string) {
	b.Helper()
	b.certify("web.example")
	b.sees("h1", "web.example", "Active")
	b.sees(".message", "It is issued.", "BEGIN PRIVATE KEY")
	b.sees(".verdict", "good", "not revoked")
	b.run(chromedp.WaitVisible(".life text.now", chromedp.ByQuery))
	b.load(200, chromedp.Click(".answer a.button", chromedp.ByQuery))
	b.sees(".answer", "from the cache")
	b.shot(shot + "-good")
	b.revoke("superseded")
	b.sees(".message", "It is revoked")
	b.sees(".verdict", "revoked")
	b.sees(".answer", "another certificate replaces it (superseded)")
	b.shot(shot + "-revoked")
	b.destroy()
	b.sees("h1", "Destroyed")
	b.sees(".verdict", "revoked")
	b.sees(".answer", "(superseded)")
}

// TestBrowser uses the page with Chromium.
func TestBrowser(t *testing.T) {
	findChromium(t)
	for name, test := range map[string]func(*testing.T){
		"new user": testNewUser, "without JavaScript": testWithoutJavaScript, "keyboard": testKeyboard, "phone": testPhone, "live": testLive,
	} {
		t.Run(name, test)
	}
}

// served serves a KMS and returns it with its URL.
func served(t *testing.T, adjust func(*config.Config)) (*kms, string) {
	t.Helper()
	k := newKMS(t, adjust)
	server := httptest.NewServer(k.handler())
	t.Cleanup(server.Close)
	return k, server.URL
}

// testNewUser starts the program as its user does, opens the link that it prints, and does all
// there is.
func testNewUser(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg, dir := config.Default(), t.TempDir()
	cfg.Server.Listen = listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	cfg.OCSP.CacheTTLSecs = 300
	writeWith(t, cfg, dir, "backdate_secs = 59") // so that the bar in the pictures shows now apart from its beginning
	ctx, stop := context.WithCancel(t.Context())
	reader, writer := io.Pipe()
	ended := make(chan int, 1)
	go func() {
		code := cli.Run(ctx, serve, []string{"-data", dir}, writer, os.Stderr)
		_ = writer.Close()
		ended <- code
	}()
	t.Cleanup(func() {
		stop()
		if code := <-ended; code != 0 {
			t.Errorf("exit status %d", code)
		}
	})
	var link string
	lines := bufio.NewScanner(reader)
	for link == "" && lines.Scan() {
		if line := strings.TrimSpace(lines.Text()); strings.HasPrefix(line, "http://") {
			link = line
		}
	}
	go func() { _, _ = io.Copy(io.Discard, reader) }() // it serves once its hints are read
	base, path, found := strings.Cut(link, "/login")
	if !found {
		t.Fatalf("the link is %q", link)
	}
	b := newTab(t, base, 1200, 800)
	b.open("/login" + path)
	b.inspect()
	b.load(200, chromedp.Click("main button", chromedp.ByQuery))
	b.sees("h1", "Certificates")
	b.sees("table", ca.First, "Active")
	b.life("desktop")
	for _, name := range []string{"mail.example", "db-1.internal", "gateway.example"} {
		b.certify(name)
	}
	b.load(200, chromedp.Click(".answer a.button", chromedp.ByQuery))
	b.glance("kms-page", 1200, 800)
	b.revoke("keyCompromise")
	b.glance("kms-page-phone", 360, 740)
	b.run(chromedp.EmulateViewport(1200, 800))
	b.open("/")
	b.sees("table", "gateway.example", "Compromised", "keyCompromise")
	b.shot("desktop-list")
	b.run(emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: "dark"}}))
	b.shot("desktop-dark")
	b.load(200, chromedp.Click(`nav a[href="/counters"]`, chromedp.ByQuery))
	b.sees("#counters", "Signatures spared")
	b.shot("desktop-counters")
	b.load(200, chromedp.Click(".top form button", chromedp.ByQuery))
	b.sees("h1", "Log in")
	b.load(403, chromedp.SendKeys("#token", "wrong", chromedp.ByQuery), chromedp.Click("main button", chromedp.ByQuery))
	b.sees("[role=alert]", "not the token")
	b.inspect()
	b.shot("desktop-login")
}

func testWithoutJavaScript(t *testing.T) {
	k, url := served(t, nil)
	b := newTab(t, url, 1200, 800)
	b.run(emulation.SetScriptExecutionDisabled(true))
	b.logIn(k.cfg.Server.Token)
	b.life("plain")
	b.open("/counters?live=1")
	b.sees("main", "every 5 seconds", "Signatures spared")
	if text := b.text("main"); strings.Contains(text, "pause") {
		t.Error("the script runs")
	}
	b.load(200, chromedp.Click(`.card a[href="/counters"]`, chromedp.ByQuery))
}

// tabTo presses the tab key until something is focused, and looks at what is focused on the way.
func (b *tab) tabTo(selector string) {
	b.Helper()
	const focused = `(() => {
		const e = document.activeElement, s = getComputedStyle(e);
		return [e.matches(%q), e === document.body || s.outlineStyle !== "none" && parseFloat(s.outlineWidth) >= 2];
	})()`
	for range 40 {
		var is [2]bool
		b.run(chromedp.KeyEvent(kb.Tab), chromedp.Evaluate(fmt.Sprintf(focused, selector), &is))
		if !is[1] {
			b.Errorf("on the way to %s something has no visible focus", selector)
		}
		if is[0] {
			return
		}
	}
	b.Fatalf("the tab key does not lead to %s", selector)
}

// testKeyboard does it all without a pointer.
func testKeyboard(t *testing.T) {
	k, url := served(t, nil)
	b := newTab(t, url, 1200, 800)
	b.open("/")
	b.tabTo("#token")
	b.load(200, chromedp.KeyEvent(k.cfg.Server.Token), chromedp.KeyEvent(kb.Enter))
	b.tabTo(".skip")
	b.run(chromedp.KeyEvent(kb.Enter))
	b.tabTo("#name") // is the first in the content
	b.run(chromedp.KeyEvent("web.example"))
	b.tabTo("main form button")
	b.load(200, chromedp.KeyEvent(" "))
	b.sees(".verdict", "good")
	b.tabTo("#reason")
	var reason string
	for range 10 {
		b.run(chromedp.KeyEvent(kb.ArrowDown), chromedp.Value("#reason", &reason, chromedp.ByQuery))
		if reason == "superseded" {
			break
		}
	}
	b.tabTo(`form[action$="/revoke"] button`)
	b.load(200, chromedp.KeyEvent(kb.Enter))
	b.sees(".answer", "revoked", "(superseded)")
	b.tabTo(`form[action$="/destroy"] button`)
	b.load(200, chromedp.KeyEvent(kb.Enter))
	b.sees("h1", "Destroyed")
	b.tabTo("summary")
	b.run(chromedp.KeyEvent(kb.Enter))
	b.sees(".answer details", "GET /ocsp/")
	b.tabTo(".top form button")
	b.load(200, chromedp.KeyEvent(kb.Enter))
	b.sees("h1", "Log in")
}

// testPhone looks at each page on a small screen, where nothing may be wider than that.
func testPhone(t *testing.T) {
	k, url := served(t, nil)
	b := newTab(t, url, 360, 740)
	b.open("/")
	b.inspect()
	b.shot("phone-login")
	b.logIn(k.cfg.Server.Token)
	b.life("phone")
	b.inspect()
	b.run(chromedp.Evaluate(`for (const d of document.querySelectorAll("details")) d.open = true`, nil))
	b.inspect()
	b.certify(strings.Repeat("w", 64)) // the longest name
	b.inspect()
	b.revoke("privilegeWithdrawn")
	b.inspect()
	b.open("/")
	b.shot("phone-list")
	b.load(400, chromedp.SendKeys("#name", strings.Repeat("no/", 20), chromedp.ByQuery), chromedp.Click("main form button", chromedp.ByQuery))
	b.sees("[role=alert]", "invalid name")
	b.inspect()
	b.shot("phone-error")
	b.open("/counters")
	b.inspect()
	b.shot("phone-counters")
	for n := range 2 * page.Rows {
		if _, _, err := k.Certify(t.Context(), fmt.Sprintf("n%d.example", n), ocsp.Active); err != nil {
			t.Fatal(err)
		}
	}
	b.open("/?page=2")
	b.inspect()
	b.load(200, chromedp.Click("[rel=next]", chromedp.ByQuery))
	b.sees(".pager", "Page 3 of 3")
	b.load(404, chromedp.Navigate(url+"/certificates/none"))
	b.inspect()

	k, url = served(t, func(cfg *config.Config) { cfg.OCSP.Enabled = false })
	b = newTab(t, url, 360, 740)
	b.logIn(k.cfg.Server.Token)
	b.open("/certificates/" + first(t, k).UID)
	b.sees(".answer", "OCSP is switched off.")
	b.inspect()
	b.shot("phone-disabled")
}

// testLive: the counters follow, until they are to pause.
func testLive(t *testing.T) {
	k, url := served(t, nil)
	b := newTab(t, url, 1200, 800)
	b.logIn(k.cfg.Server.Token)
	const count = `document.querySelector("#counters .tile dd").textContent === %q`
	for _, want := range []string{"1", "2"} {
		ocspStatus(t, k, first(t, k).UID)
		b.run(chromedp.Poll(fmt.Sprintf(count, want), nil, chromedp.WithPollingTimeout(time.Minute)))
	}
	b.sees("button.live", "Live: pause")
	b.run(chromedp.Click("button.live", chromedp.ByQuery))
	b.sees("button.live", "Paused: go on")
	b.inspect()
}
