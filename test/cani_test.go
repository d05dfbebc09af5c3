package test

import (
	"bufio"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const testFile = "arn:aws:s3:::demo/test-file-1.md"

func TestCanI(t *testing.T) {
	_, env := pods(t)
	const carts = "--service-account=carts/carts"
	bucketPolicy, noPolicy := filepath.Join(t.TempDir(), "bucket.json"), filepath.Join(t.TempDir(), "none.json")
	for file, text := range map[string]string{noPolicy: "{", bucketPolicy: `{"Version":"2012-10-17","Statement":{"Effect":"Allow",
		"Principal":{"AWS":"arn:aws:iam::111122223333:role/carts"},"Action":"s3:PutObject","Resource":"arn:aws:s3:::demo/*"}}`} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, test := range map[string]struct {
		env    []string
		args   []string
		code   int
		stdout []string // none: nothing is printed
		stderr []string // one line, if any
	}{
		"allowed": {
			env, []string{"s3:GetObject", testFile, carts}, 0, []string{"allowed: carts/carts of cluster local", "✓ permissions"},
			nil,
		},
		"denied": {
			env, []string{"s3:PutObject", testFile, carts}, 1,
			[]string{"denied: ", "permissions of arn:aws:iam::111122223333:role/carts\n  denied because no identity-based policy allows the s3:PutObject action"}, nil,
		},
		"no association": {
			env, []string{"s3:GetObject", testFile, "--service-account", "carts/orders"}, 1,
			[]string{"aws eks create-pod-identity-association"}, nil,
		},
		"role": {
			env, []string{"s3:GetObject", testFile, "--role", "arn:aws:iam::111122223333:role/carts"}, 0,
			[]string{"allowed: arn:"}, nil,
		},
		"no such role": {
			env, []string{"s3:GetObject", testFile, "--role", "arn:aws:iam::111122223333:role/none"}, 1, []string{"no such role"},
			nil,
		},
		"unknown": {
			env, []string{"ec2:DescribeInstances", "*", "--role", "arn:aws:iam::444455556666:role/far"}, 2, []string{"unknown: ", "? permissions"}, []string{"account 111122223333"},
		},
		"principal": {
			env, []string{"s3:PutObject", testFile, "--principal", "arn:aws:iam::111122223333:user/admin"}, 0,
			[]string{"allowed: arn:aws:iam::111122223333:user/admin", "✓ permissions"}, nil,
		},
		"principal that is none": {
			env, []string{"s3:PutObject", testFile, "--principal", "admin"}, 2, nil, []string{"want the ARN of a user"},
		},
		"role that is none": {
			env, []string{"s3:PutObject", testFile, "--role", "arn:aws:iam::111122223333:user/admin"}, 2, nil, []string{"not the ARN of an IAM role"},
		},
		"resource policy": {
			env, []string{"s3:PutObject", testFile, carts, "--resource-policy", bucketPolicy}, 0,
			[]string{"– permissions", `✓ resource policy of ` + testFile + `: allowed by resource-based policy "given", statement 1`}, nil,
		},
		"no resource policy": {env, []string{"s3:GetObject", testFile, carts, "--resource-policy", "none"}, 0, []string{"✓ permissions"}, nil},
		"resource of another": {
			env, []string{"s3:GetObject", testFile, carts, "--resource-policy", "none", "--resource-account", "444455556666"}, 1,
			[]string{"resource policy of " + testFile + "\n  denied because no resource-based policy allows"}, nil,
		},
		"resource policy that is not there": {
			env, []string{"s3:GetObject", testFile, carts, "--resource-policy", bucketPolicy + "s"}, 2, nil, []string{"no such file"},
		},
		"resource policy that is none": {
			env, []string{"s3:GetObject", testFile, carts, "--resource-policy", noPolicy}, 2, nil, []string{"Syntax errors in policy."},
		},
		"no cluster": {
			env, []string{"s3:GetObject", testFile, carts, "--cluster", "edge"}, 2, nil, []string{"no cluster edge"},
		},
		"not running": {
			plus(env, "AWS_ENDPOINT_URL=http://127.0.0.1:1"), []string{"s3:GetObject", testFile, carts}, 2, nil,
			[]string{"nothing listens"},
		},
		"old credentials": {
			plus(env, "AWS_SECRET_ACCESS_KEY=other"), []string{"s3:GetObject", testFile, carts}, 2, nil, []string{"Signature"},
		},
		"nothing sourced": {environment(t), []string{"s3:GetObject", testFile, carts}, 2, nil, []string{". .podid/admin.env"}},
		"no resource":     {env, []string{"s3:GetObject", carts}, 2, nil, []string{"2 arg"}},
		"unknown flag":    {env, []string{"--user", "x"}, 2, nil, []string{"--user"}},
		"PODID_": {
			plus(env, "PODID_AWS=perhaps"), []string{"s3:GetObject", testFile, carts}, 2, nil, []string{"PODID_AWS"},
		},
		"nobody": {
			env, []string{"s3:GetObject", testFile}, 2, nil, []string{"--service-account NAMESPACE/NAME", "--principal ARN", "--role ARN"},
		},
		"both": {
			env, []string{"s3:GetObject", testFile, carts, "--role", "arn:aws:iam::111122223333:role/carts"}, 2, nil,
			[]string{"either"},
		},
		"no namespace": {
			env, []string{"s3:GetObject", testFile, "--service-account", "carts"}, 2, nil, []string{"NAMESPACE/NAME"},
		},
		"context": {
			env, []string{"s3:GetObject", testFile, carts, "--context", "s3:prefix"}, 2, nil, []string{"KEY=VALUE"},
		},
		"output":              {env, []string{"s3:GetObject", testFile, carts, "-o", "yaml"}, 2, nil, []string{"text or json"}},
		"wildcard":            {env, []string{"s3:*", testFile, carts}, 2, nil, []string{"without wildcards"}},
		"not the name of one": {env, []string{"s3:GetObject", "demo", carts}, 2, nil, []string{"want the ARN"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := run(t, test.env, "", "podid", append([]string{"can-i"}, test.args...)...)
			lines := strings.Count(got.stderr, "\n")
			if got.code != test.code || (got.stdout == "") != (test.stdout == nil) || lines != min(len(test.stderr), 1) {
				t.Errorf("got %+v, want exit code %d, stdout %q, stderr %q", got, test.code, test.stdout, test.stderr)
			}
			for _, want := range test.stdout {
				if !strings.Contains(got.stdout, want) {
					t.Errorf("stdout %q does not say %q", got.stdout, want)
				}
			}
			for _, want := range test.stderr {
				if !strings.Contains(got.stderr, want) {
					t.Errorf("stderr %q does not say %q", got.stderr, want)
				}
			}
		})
	}

	t.Run("json", func(t *testing.T) {
		got := run(t, env, "", "podid", "can-i", "s3:ListBucket", "arn:aws:s3:::other", carts, "-o", "json")
		var answer struct {
			Verdict, Role string
			Path          []struct{ Name, Verdict string }
		}
		if err := json.Unmarshal([]byte(got.stdout), &answer); err != nil || got.code != 1 {
			t.Fatalf("got %+v, %v; want exit code 1 and JSON", got, err)
		}
		told := []string{answer.Verdict, answer.Role}
		for _, link := range answer.Path {
			told = append(told, link.Name+" "+link.Verdict)
		}
		want := []string{"denied", "arn:aws:iam::111122223333:role/carts", "association allowed", "trust policy allowed", "permissions denied"}
		if diff := cmp.Diff(want, told); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	})
	checkEmpty(t, env)
}

func TestWhoCan(t *testing.T) {
	d, env := pods(t)
	role := "arn:aws:iam::111122223333:role/carts"
	id := d.associate(t, "orders", role)
	got := run(t, env, "", "podid", "who-can", "s3:GetObject", testFile)
	lines := strings.Split(got.stdout, "\n")
	if got.code != 0 || got.stderr != "" || len(lines) != 4 {
		t.Fatalf("got %+v, want a table of two", got)
	}
	for i, want := range [][]string{{"NAMESPACE", "SERVICE", "ACCOUNT", "ROLE", "ASSOCIATION"}, nil, {"carts", "orders", role, id}} {
		if want != nil && cmp.Diff(want, strings.Fields(lines[i])) != "" {
			t.Errorf("line %d is %q, want %q", i+1, lines[i], want)
		}
	}
	if got := run(t, env, "", "podid", "who-can", "s3:PutObject", testFile, "-o", "json"); got.code != 0 || got.stdout != "{\n  \"allowed\": [],\n  \"unknown\": []\n}\n" {
		t.Errorf("who may write: got %+v, want nobody", got)
	}
	if got := run(t, env, "", "podid", "who-can", "s3:*", testFile); got.code != 2 || got.stdout != "" {
		t.Errorf("a wildcard: got %+v, want exit code 2", got)
	}
}

// TestCanIOfAWS wants --aws to ask AWS whatever endpoint is set. AWS is out of reach here: all that leaves the machine is sent to a
// proxy, which takes down who is called, and refuses.
func TestCanIOfAWS(t *testing.T) {
	proxy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer proxy.Close()
	called := make(chan string, 100)
	go func() {
		for {
			conn, err := proxy.Accept()
			if err != nil {
				return
			}
			if r, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
				called <- r.Method + " " + r.Host
			}
			_, _ = conn.Write([]byte("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"))
			_ = conn.Close()
		}
	}()
	env := environment(t, "HTTPS_PROXY=http://"+proxy.Addr().String(), "AWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY=x", "AWS_REGION=us-west-2",
		"AWS_MAX_ATTEMPTS=1", "AWS_ENDPOINT_URL=http://127.0.0.1:1", "AWS_ENDPOINT_URL_EKS=http://127.0.0.1:1", "AWS_ENDPOINT_URL_STS=http://127.0.0.1:1")
	got := run(t, env, "", "podid", "can-i", "s3:GetObject", testFile, "--service-account", "carts/carts", "--aws")
	if got.code != 2 || got.stdout != "" {
		t.Errorf("got %+v, want exit code 2", got)
	}
	select {
	case host := <-called:
		if host != "CONNECT sts.us-west-2.amazonaws.com:443" {
			t.Errorf("called %s, want STS of AWS", host)
		}
	default:
		t.Errorf("AWS was not called: %+v", got)
	}
}
