package test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

const steps = 10

func TestDemo(t *testing.T) {
	env := environment(t, "AWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY=leaked", "AWS_ENDPOINT_URL=http://127.0.0.1:1")
	got := run(t, env, "", "podid", "demo")
	if got.code != 0 || got.stderr != "" {
		t.Errorf("exit code %d, stderr %q; want 0 and nothing", got.code, got.stderr)
	}
	if ok, bad := strings.Count(got.stdout, "✓"), strings.Count(got.stdout, "✗"); ok != steps+1 || bad != 0 {
		t.Errorf("%d ✓ and %d ✗, want one ✓ for each of %d steps and one at the end", ok, bad, steps)
	}
	for _, want := range []string{"①", "②", "③", "④⑤", "unable to load credentials", "test-file-1.md", "ResourceNotFoundException", "s3:PutObject"} {
		if !strings.Contains(got.stdout, want) {
			t.Errorf("%q is not in the story: %s", want, got.stdout)
		}
	}
	if strings.Contains(got.stdout, "\x1b") {
		t.Error("there are colours where nobody sees them")
	}
	checkEmpty(t, env)
}

// told is a line of podid demo --json; the last one has a number of steps and no title.
type told struct {
	Step, Steps int
	Title       string
	OK          bool
	Error       string
	Calls       []string
	DurationNs  int64
}

func tell(t *testing.T, stdout string) (lines []told) {
	t.Helper()
	for line := range strings.Lines(stdout) {
		var step told
		if err := json.Unmarshal([]byte(line), &step); err != nil {
			t.Fatalf("line %q: %v", line, err)
		}
		lines = append(lines, step)
	}
	return lines
}

func TestDemoJSON(t *testing.T) {
	env := environment(t)
	got := run(t, env, "", "podid", "demo", "--json")
	lines := tell(t, got.stdout)
	if got.code != 0 || got.stderr != "" || len(lines) != steps+1 {
		t.Fatalf("exit code %d, %d lines, stderr %q; want 0, %d lines", got.code, len(lines), got.stderr, steps+1)
	}
	for i, line := range lines[:steps] {
		if line.Step != i+1 || !line.OK || line.Title == "" || line.DurationNs <= 0 || len(line.Calls) == 0 || line.Error != "" {
			t.Errorf("step %d is %+v", i+1, line)
		}
	}
	if end := lines[steps]; !end.OK || end.Steps != steps {
		t.Errorf("the end is %+v", end)
	}
	checkEmpty(t, env)
}

func TestDemoFails(t *testing.T) {
	dir := t.TempDir()
	for name, test := range map[string]struct{ app, want string }{
		"another application": {"exec " + os.Args[0] + " child wrong-app", "404"},
		"no application":      {"exit 0", "ended before it listened"},
	} {
		t.Run(name, func(t *testing.T) {
			env := environment(t)
			app := writeFile(t, filepath.Join(dir, name), "#!/bin/sh\n"+test.app+"\n", 0o700)
			got := run(t, env, "", "podid", "demo", "--app", app)
			if got.code != 1 || strings.Count(got.stdout, "✗") != 1 || strings.Count(got.stdout, "✓") != 2 || !strings.Contains(got.stderr, "step 3") {
				t.Errorf("got %+v, want exit code 1 after two ✓ and a ✗", got)
			}
			if !strings.Contains(got.stdout, test.want) {
				t.Errorf("stdout %q does not say %q", got.stdout, test.want)
			}
			checkEmpty(t, env)

			got = run(t, env, "", "podid", "demo", "--json", "--app", app)
			lines := tell(t, got.stdout)
			if last := lines[len(lines)-1]; got.code != 1 || len(lines) != 3 || last.OK || last.Error == "" {
				t.Errorf("as JSON: got %+v, want exit code 1 and the third step to fail", got)
			}
		})
	}
	t.Run("no such file", func(t *testing.T) {
		run(t, environment(t), "", "podid", "demo", "--app", filepath.Join(dir, "none")).line(t, filepath.Join(dir, "none"), "--app", "make build")
	})
}

func TestDemoInterrupted(t *testing.T) {
	env := environment(t)
	app := writeFile(t, filepath.Join(t.TempDir(), "app"), "#!/bin/sh\necho $$ > \"$HOME/started\"\nexec sleep 60\n", 0o700)
	p := start(t, env, nil, "podid", "demo", "--app", app)
	eventually(t, "application", func() error {
		_, err := os.Stat(filepath.Join(value(env, "HOME"), "started"))
		return err
	})
	if code := p.stop(t, syscall.SIGINT); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	checkEmpty(t, env)
}
