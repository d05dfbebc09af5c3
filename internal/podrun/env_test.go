package podrun

import "testing"

func TestExpand(t *testing.T) {
	values := map[string]string{"A": "a", "B": "$(A)", "EMPTY": ""}
	for in, want := range map[string]string{
		"":               "",
		"plain":          "plain",
		"$(A)":           "a",
		"x$(A)y$(A)":     "xaya",
		"$(B)":           "$(A)",
		"$(EMPTY)":       "",
		"$(NONE)":        "$(NONE)",
		"$(NONE)$(A)":    "$(NONE)a",
		"$$(A)":          "$(A)",
		"$$$(A)":         "$a",
		"$$$$(A)":        "$$(A)",
		"$":              "$",
		"$$":             "$",
		"$A":             "$A",
		"$(A":            "$(A",
		"$($(A)":         "$($(A)",
		"$()":            "$()",
		"a$":             "a$",
		"price: $5 $(A)": "price: $5 a",
	} {
		if got := expand(in, values); got != want {
			t.Errorf("expand(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestRewrite(t *testing.T) {
	var p paths
	p.add("/var/run/secrets/", "/tmp/short")
	p.add("/var/run/secrets/aws", "/tmp/long")
	p.add("/", "/tmp/root")
	for in, want := range map[string]string{
		"":                          "",
		"/":                         "/",
		"/etc/passwd":               "/etc/passwd",
		"/var/run/secrets":          "/tmp/short",
		"/var/run/secrets/":         "/tmp/short/",
		"/var/run/secrets/x":        "/tmp/short/x",
		"/var/run/secrets/aws":      "/tmp/long",
		"/var/run/secrets/aws/t":    "/tmp/long/t",
		"/var/run/secrets/awsome":   "/tmp/short/awsome",
		"/var/run/secretset":        "/var/run/secretset",
		"/var/run/secrets.d":        "/var/run/secrets.d",
		"/other/var/run/secrets/x":  "/other/var/run/secrets/x",
		"file:///var/run/secrets/x": "file:///tmp/short/x",
		"--f=/var/run/secrets/x":    "--f=/tmp/short/x",
		"/bin:/var/run/secrets/aws:/var/run/secrets": "/bin:/tmp/long:/tmp/short",
		`{"f":"/var/run/secrets/aws"}`:               `{"f":"/tmp/long"}`,
	} {
		if got := p.rewrite(in); got != want {
			t.Errorf("rewrite(%q) = %q, want %q", in, got, want)
		}
	}
}
